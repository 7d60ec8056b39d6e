#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/format.h"
#include "corten/generate.h"

namespace corten {
namespace {

/// Uniform in [0, 1) with 53 bits: Philox-4x32-10 (Salmon et al., SC'11, section 3.3) with key =
/// seed and counter = (step, row).
double uniform(int64_t seed, int64_t step, int64_t row) {
  auto low = [](int64_t x) { return static_cast<uint32_t>(x); };
  auto high = [](int64_t x) { return static_cast<uint32_t>(static_cast<uint64_t>(x) >> 32); };
  uint32_t c[4] = {low(step), high(step), low(row), high(row)};
  uint32_t k[2] = {low(seed), high(seed)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
        static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9, k[1] += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{c[0]} << 32 | c[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace

void check_sampling(const Sampling& s) {
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature))
    usage_error("[generate] the temperature {} is not a number from 0 up", s.temperature);
  if (s.top_k < 0) usage_error("[generate] top_k {} is negative", s.top_k);
  if (!(s.top_p > 0 && s.top_p <= 1)) usage_error("[generate] top_p {} is not in (0, 1]", s.top_p);
}

int64_t sample_token(const float* logits, int64_t vocab_size, const Sampling& sampling,
                     int64_t step, int64_t row) {
  check_sampling(sampling);
  for (int64_t i = 0; i < vocab_size; ++i)
    if (std::isnan(logits[i]))
      usage_error("[generate] the logit of token {} is NaN: the weights are broken", i);
  const int64_t best = std::max_element(logits, logits + vocab_size) - logits;
  if (sampling.temperature == 0 || sampling.top_k == 1) return best;

  // Candidates from the most likely one down; equal ones by id.
  std::vector<int64_t> ids(static_cast<size_t>(vocab_size));
  std::iota(ids.begin(), ids.end(), 0);
  auto before = [&](int64_t a, int64_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  if (sampling.top_k > 0 && sampling.top_k < vocab_size) {
    std::nth_element(ids.begin(), ids.begin() + sampling.top_k, ids.end(), before);
    ids.resize(static_cast<size_t>(sampling.top_k));
  }
  std::sort(ids.begin(), ids.end(), before);

  const double top = logits[best];
  std::vector<double> weights;
  double total = 0;
  for (int64_t id : ids) {
    weights.push_back(std::exp((logits[id] - top) / sampling.temperature));
    total += weights.back();
  }
  if (sampling.top_p < 1) {
    double reached = 0;
    size_t kept = 0;
    while (kept < weights.size() && reached < sampling.top_p * total) reached += weights[kept++];
    weights.resize(std::max<size_t>(kept, 1));
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  double left = uniform(sampling.seed, step, row) * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return ids[i];
  }
  return ids[weights.size() - 1];
}

}  // namespace corten
