#include "models/generation/token_scores.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/format.h"

namespace corten::generation {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Vectors of four, which every processor has, so that the bits are the same on all.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr int64_t kLanes = 4;

inline Floats load(const float* from) {
  Floats out;
  std::memcpy(&out, from, sizeof out);
  return out;
}
inline Floats splat(float x) {
  return Floats{x, x, x, x};
}

/// e^x for x <= 0 to 2e-7 relative, 0 below -87: 2^n e^r with n = round(x / log 2) and the Taylor
/// series of e^r, |r| <= log(2) / 2, up to r^7.
inline Floats exp_of_negative(Floats x) {
  const Ints is_tiny = x < splat(-87.0f);
  const Floats magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x * splat(1.44269504f) + magic;
  const Floats n = shifted - magic;
  // log 2 in two parts, of which the first has few enough bits for n times it to be exact.
  const Floats r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
  Floats p = splat(1.0f / 5040) * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = (p * r + splat(1.0f)) * r + splat(1.0f);
  const Ints power = (std::bit_cast<Ints>(shifted) + 127) << 23;
  const Floats y = p * std::bit_cast<Floats>(power);
  return std::bit_cast<Floats>(std::bit_cast<Ints>(y) & ~is_tiny);
}

inline float exp_of_negative(float x) {
  return exp_of_negative(splat(x))[0];
}

float greatest_of(const float* values, int64_t count) {
  Floats most[4];
  for (Floats& m : most) m = splat(-kInfinity);
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    for (int64_t j = 0; j < 4; ++j) {
      const Floats x = load(values + i + j * kLanes);
      most[j] = x > most[j] ? x : most[j];
    }
  float out = -kInfinity;
  for (const Floats& m : most)
    for (int64_t lane = 0; lane < kLanes; ++lane) out = std::max(out, m[lane]);
  for (; i < count; ++i) out = values[i] > out ? values[i] : out;
  return out;
}

double sum_of(const float* values, size_t count) {
  double lanes[8] = {};
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(values[i + lane]);
  for (; i < count; ++i) lanes[0] += static_cast<double>(values[i]);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

bool has_nan(const float* values, int64_t count) {
  Ints found{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats x = load(values + i);
    found |= x != x;
  }
  bool out = found[0] | found[1] | found[2] | found[3];
  for (; i < count; ++i) out |= std::isnan(values[i]);
  return out;
}

}  // namespace

std::vector<std::unique_ptr<TokenScores::Buffers>>& TokenScores::spare_buffers() {
  thread_local std::vector<std::unique_ptr<Buffers>> spare;
  return spare;
}

TokenScores::TokenScores(std::span<float> values)
    : values_(values),
      buffers_([] {
        auto& spare = spare_buffers();
        if (spare.empty()) return std::make_unique<Buffers>();
        std::unique_ptr<Buffers> out = std::move(spare.back());
        spare.pop_back();
        return out;
      }()),
      left_(buffers_->left) {
  left_.clear();
}

TokenScores::~TokenScores() {
  spare_buffers().push_back(std::move(buffers_));
}

template <typename F>
void TokenScores::each(F&& f) const {
  if (all_)
    for (int32_t id = 0; id < static_cast<int32_t>(values_.size()); ++id) f(id);
  else
    for (int32_t id : left_) f(id);
}

template <typename F>
void TokenScores::filter(F&& keep) {
  if (all_) {
    left_.resize(values_.size());
    size_t n = 0;
    for (int32_t id = 0; id < static_cast<int32_t>(values_.size()); ++id) {
      left_[n] = id;
      n += keep(id) ? 1 : 0;
    }
    left_.resize(n);
    all_ = false;
  } else {
    std::erase_if(left_, [&](int32_t id) { return !keep(id); });
  }
  total_.reset();
}

int64_t TokenScores::best() const {
  if (best_) return *best_;
  if (!all_) {
    best_ = *std::ranges::max_element(left_, {}, [&](int32_t id) { return values_[id]; });
    return *best_;
  }
  if (has_nan(values_.data(), size())) {
    const auto at = std::ranges::find_if(values_, [](float x) { return std::isnan(x); });
    usage_error("[generate] the logit of token {} is NaN: the weights are broken",
                at - values_.begin());
  }
  const float most = greatest_of(values_.data(), size());
  if (!std::isfinite(most) && most < 0)
    usage_error("[generate] none of the {} tokens is left to choose from: all are forbidden",
                size());
  best_ = std::ranges::find(values_, most) - values_.begin();
  if (!std::isfinite(most))
    usage_error("[generate] the logit of token {} is infinite: the weights are broken", *best_);
  return *best_;
}

const float* TokenScores::weights() {
  if (buffers_->weights.size() < values_.size()) buffers_->weights.resize(values_.size());
  float* w = buffers_->weights.data();
  if (has_weights_) return w;
  has_weights_ = true;
  const float top = values_[static_cast<size_t>(best())];
  if (!all_) {
    for (int32_t id : left_) w[id] = exp_of_negative(values_[id] - top);
    return w;
  }
  int64_t i = 0;
  for (; i + kLanes <= size(); i += kLanes) {
    const Floats x = exp_of_negative(load(values_.data() + i) - splat(top));
    std::memcpy(w + i, &x, sizeof x);
  }
  for (; i < size(); ++i) w[i] = exp_of_negative(values_[i] - top);
  return w;
}

double TokenScores::total() {
  if (total_) return *total_;
  const float* w = weights();
  double sum = 0;
  if (all_)
    sum = sum_of(w, values_.size());
  else
    for (int32_t id : left_) sum += static_cast<double>(w[id]);
  total_ = sum;
  return sum;
}

std::vector<int32_t> TokenScores::greatest(int64_t count) const {
  if (count == 1) return {static_cast<int32_t>(best())};
  // A heap with the worst of the best so far on top: nearly all blocks of tokens fail one
  // comparison.
  const auto better = [&](int32_t a, int32_t b) {
    return values_[a] > values_[b] || (values_[a] == values_[b] && a < b);
  };
  std::vector<int32_t> heap;
  heap.reserve(static_cast<size_t>(count));
  const auto consider = [&](int32_t id) {
    if (static_cast<int64_t>(heap.size()) == count) {
      if (!(values_[id] > values_[heap.front()])) return;
      std::ranges::pop_heap(heap, better);
      heap.pop_back();
    }
    heap.push_back(id);
    std::ranges::push_heap(heap, better);
  };
  constexpr int64_t kBlock = 16;
  if (!all_) {
    for (int32_t id : left_) consider(id);
  } else {
    for (int64_t begin = 0; begin < size(); begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, size());
      if (static_cast<int64_t>(heap.size()) == count &&
          !(greatest_of(values_.data() + begin, end - begin) > values_[heap.front()]))
        continue;
      for (int64_t id = begin; id < end; ++id) consider(static_cast<int32_t>(id));
    }
  }
  std::ranges::sort(heap, better);
  return heap;
}

TokenScores::Last TokenScores::reach(double mass, float centre) {
  // Weights per interval of distances find the interval in which the sum crosses the mass; only its
  // tokens are sorted.
  constexpr int32_t kIntervals = 2048;
  constexpr float kPerUnit = 64, kEnd = kIntervals - 1;
  const float* w = weights();
  const auto count = static_cast<size_t>(all_ ? size() : std::ssize(left_));
  const auto id_at = [&](size_t i) { return all_ ? static_cast<int32_t>(i) : left_[i]; };
  std::vector<int32_t>& intervals = buffers_->intervals;
  if (intervals.size() < count) intervals.resize(count);
  size_t i = 0;
  if (all_)
    for (; i + kLanes <= count; i += kLanes) {
      const Floats x = load(values_.data() + i) - splat(centre);
      const Floats scaled = (x < 0 ? -x : x) * splat(kPerUnit);
      const Ints at = __builtin_convertvector(scaled < kEnd ? scaled : splat(kEnd), Ints);
      std::memcpy(intervals.data() + i, &at, sizeof at);
    }
  for (; i < count; ++i)
    intervals[i] =
        static_cast<int32_t>(std::min(std::abs(values_[id_at(i)] - centre) * kPerUnit, kEnd));

  // What lies in the last interval, from 32 on, is the rest: its sum is not needed.
  std::array<double, kIntervals> sums{};
  for (i = 0; i < count; ++i) sums[intervals[i]] += static_cast<double>(w[id_at(i)]);
  double before = 0;
  int32_t at = 0;
  while (at < kIntervals - 1 && before + sums[at] < mass) before += sums[at++];

  const auto distance = [&](size_t k) { return std::abs(values_[id_at(k)] - centre); };
  std::vector<Last> inside;
  for (i = 0; i < count; ++i)
    if (intervals[i] == at) inside.push_back({distance(i), id_at(i)});
  if (inside.empty()) {  // by rounding, all weights together do not reach the mass
    Last last;
    for (i = 0; i < count; ++i)
      if (distance(i) >= last.distance) last = {distance(i), id_at(i)};
    return last;
  }
  std::ranges::sort(inside, [](const Last& a, const Last& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.id > b.id);
  });
  for (const Last& token : inside) {
    before += static_cast<double>(w[token.id]);
    if (before >= mass) return token;
  }
  return inside.back();
}

void TokenScores::temperature(double temperature) {
  if (temperature == 1) return;
  const auto divisor = static_cast<float>(temperature);
  if (all_) {
    int64_t i = 0;
    for (; i + kLanes <= size(); i += kLanes) {
      const Floats x = load(values_.data() + i) / splat(divisor);
      std::memcpy(values_.data() + i, &x, sizeof x);
    }
    for (; i < size(); ++i) values_[i] /= divisor;
  } else {
    for (int32_t id : left_) values_[id] /= divisor;
  }
  has_weights_ = false;
  total_.reset();
}

void TokenScores::top_k(int64_t k, int64_t keep) {
  k = std::max(k, keep);
  const int64_t count = all_ ? size() : static_cast<int64_t>(left_.size());
  if (k >= count) return;
  best();
  const float least = values_[greatest(k).back()];
  filter([&](int32_t id) { return values_[id] >= least; });
}

void TokenScores::top_p(double p, int64_t keep) {
  const float top = values_[static_cast<size_t>(best())];
  std::vector<int32_t> best_ones;
  if (keep > 1) best_ones = greatest(keep);
  const Last last = reach(p * total(), top);
  const float edge = values_[last.id];
  filter([&](int32_t id) {
    const float x = values_[id];
    return x > edge || (x == edge && id >= last.id) ||
           std::ranges::find(best_ones, id) != best_ones.end();
  });
  if (edge == top) best_.reset();  // it may be one of several, of which those of greater id stay
}

void TokenScores::min_p(double min_p, int64_t keep) {
  best();
  const auto least = static_cast<float>(min_p);
  const float* w = weights();
  const std::vector<int32_t> best_ones = greatest(keep);
  filter([&](int32_t id) {
    return w[id] >= least || std::ranges::find(best_ones, id) != best_ones.end();
  });
}

/// -sum p log p = log Z - sum w (score - best) / Z with Z = sum w.
double TokenScores::entropy() {
  const float* w = weights();
  const float top = values_[static_cast<size_t>(best())];
  double sum = 0;
  each([&](int32_t id) {
    if (w[id] > 0) sum += static_cast<double>(w[id]) * static_cast<double>(values_[id] - top);
  });
  return std::log(total()) - sum / total();
}

void TokenScores::typical(double mass, int64_t keep) {
  const float top = values_[static_cast<size_t>(best())];
  // The surprise of a score x is log Z - (x - top); its distance from the entropy is that of x from
  // the score whose surprise is the entropy.
  const auto centre = static_cast<float>(static_cast<double>(top) + std::log(total()) - entropy());
  const auto distance = [&](int32_t id) { return std::abs(values_[id] - centre); };
  const float most = reach(mass * total(), centre).distance;
  std::vector<int32_t> nearest;  // the first `keep` tokens in the order of distance
  if (keep > 1) {
    each([&](int32_t id) { nearest.push_back(id); });
    const auto end = nearest.begin() + std::min<int64_t>(keep, std::ssize(nearest));
    std::partial_sort(nearest.begin(), end, nearest.end(), [&](int32_t a, int32_t b) {
      return distance(a) < distance(b) || (distance(a) == distance(b) && a < b);
    });
    nearest.erase(end, nearest.end());
  }
  filter([&](int32_t id) {
    return distance(id) <= most || std::ranges::find(nearest, id) != nearest.end();
  });
  best_.reset();
  has_weights_ = false;
}

void TokenScores::remove_improbable(double least, int64_t keep) {
  best();
  const float* w = weights();
  const auto bar = static_cast<float>(least * total());
  const std::vector<int32_t> best_ones = greatest(keep);
  const float kept = values_[best_ones.back()];
  filter([&](int32_t id) { return w[id] >= bar || values_[id] >= kept; });
}

void TokenScores::epsilon(double epsilon, int64_t keep) {
  remove_improbable(epsilon, keep);
}

void TokenScores::eta(double eta, int64_t keep) {
  remove_improbable(std::min(eta, std::sqrt(eta) * std::exp(-entropy())), keep);
}

void TokenScores::log_softmax() {
  const float top = values_[static_cast<size_t>(best())];
  const auto log_total = static_cast<float>(std::log(total()));
  if (all_)
    for (float& x : values_) x = (x - top) - log_total;
  else
    for (int32_t id : left_) values_[id] = (values_[id] - top) - log_total;
}

void TokenScores::apply_removals() {
  if (all_) return;
  size_t next = 0;
  for (size_t id = 0; id < values_.size(); ++id)
    if (next < left_.size() && static_cast<size_t>(left_[next]) == id)
      ++next;
    else
      values_[id] = -kInfinity;
  all_ = true;
  left_.clear();
  has_weights_ = false;
  total_.reset();
}

int64_t TokenScores::draw(double u) {
  const float* w = weights();
  const double target = u * total();
  double sum = 0;
  int64_t last = best();
  if (all_) {
    // Whole blocks are skipped by their sums.
    constexpr size_t kBlock = 256;
    for (size_t begin = 0; begin < values_.size(); begin += kBlock) {
      const size_t end = std::min(begin + kBlock, values_.size());
      const double block = sum_of(w + begin, end - begin);
      if (sum + block <= target) {
        sum += block;
        continue;
      }
      for (size_t i = begin; i < end; ++i) {
        if (w[i] == 0) continue;
        last = static_cast<int64_t>(i);
        sum += static_cast<double>(w[i]);
        if (sum > target) return last;
      }
    }
    return last;
  }
  for (int32_t id : left_) {
    if (w[id] == 0) continue;
    last = id;
    sum += static_cast<double>(w[id]);
    if (sum > target) break;
  }
  return last;
}

std::vector<double> TokenScores::probabilities() {
  std::vector<double> out(values_.size(), 0.0);
  const float* w = weights();
  const double sum = total();
  each([&](int32_t id) { out[id] = static_cast<double>(w[id]) / sum; });
  return out;
}

}  // namespace corten::generation
