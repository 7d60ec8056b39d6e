// Drawing a token from logits.
#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "corten/generate.h"
#include "models/generation/logits_processors.h"

namespace corten {

double generation::uniform(int64_t seed, int64_t step, int64_t row, int word) {
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
  const uint64_t bits = (uint64_t{c[2 * word]} << 32 | c[2 * word + 1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

void check_sampling(const Sampling& s) {
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature))
    usage_error("[generate] the temperature {} is not a number from 0 up", s.temperature);
  if (s.top_k < 0) usage_error("[generate] top_k {} is negative", s.top_k);
  if (!(s.top_p > 0 && s.top_p <= 1)) usage_error("[generate] top_p {} is not in (0, 1]", s.top_p);
  if (!(s.min_p >= 0 && s.min_p <= 1)) usage_error("[generate] min_p {} is not in [0, 1]", s.min_p);
  if (!(s.typical_p > 0 && s.typical_p <= 1))
    usage_error("[generate] typical_p {} is not in (0, 1]", s.typical_p);
  if (!(s.epsilon_cutoff >= 0 && s.epsilon_cutoff < 1))
    usage_error("[generate] epsilon_cutoff {} is not in [0, 1)", s.epsilon_cutoff);
  if (!(s.eta_cutoff >= 0 && s.eta_cutoff < 1))
    usage_error("[generate] eta_cutoff {} is not in [0, 1)", s.eta_cutoff);
}

int64_t sample_token(const float* logits, int64_t vocab_size, const Sampling& sampling,
                     int64_t step, int64_t row) {
  check_sampling(sampling);
  thread_local std::vector<float> values;
  values.assign(logits, logits + vocab_size);
  generation::TokenScores scores(values);
  if (sampling.temperature == 0) return scores.best();
  generation::apply_warpers(sampling, 1, scores);
  return scores.draw(generation::uniform(sampling.seed, step, row));
}

}  // namespace corten
