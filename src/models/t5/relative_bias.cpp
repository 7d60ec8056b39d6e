#include "models/t5/relative_bias.h"

#include <algorithm>
#include <cmath>

namespace corten::t5 {

std::vector<int64_t> relative_buckets(bool bidirectional, int64_t buckets, int64_t max_distance) {
  std::vector<int64_t> out;
  const int64_t count = bidirectional ? buckets / 2 : buckets, exact = count / 2;
  for (int64_t relative = -max_distance; relative <= max_distance; ++relative) {
    const int64_t first = bidirectional && relative > 0 ? count : 0;
    const int64_t distance = bidirectional ? std::abs(relative) : std::max<int64_t>(0, -relative);
    int64_t bucket = distance;
    if (distance >= exact) {
      // In f32, as transformers computes it: where ranges end is decided by its rounding.
      const float ratio = static_cast<float>(distance) / static_cast<float>(exact);
      const auto range = static_cast<float>(
          std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
      const float step = std::log(ratio) / range * static_cast<float>(count - exact);
      bucket = std::min(exact + static_cast<int64_t>(step), count - 1);
    }
    out.push_back(first + bucket);
  }
  return out;
}

RelativeBias::RelativeBias(bool bidirectional, int64_t buckets, int64_t max_distance, int64_t heads,
                           init::Initializer weight_init)
    : nn::Embedding(buckets, heads, std::move(weight_init)),
      max_distance_(max_distance),
      buckets_(from_vector(relative_buckets(bidirectional, buckets, max_distance),
                           {2 * max_distance + 1})) {}

Tensor RelativeBias::operator()(const Tensor& query_T1, const Tensor& key_1S) {
  return run({query_T1, key_1S}, [&](const std::vector<Tensor>& in) {
    const int64_t T = in[0].size(0), S = in[1].size(1), H = weight.size(1);
    const auto most = static_cast<double>(max_distance_);
    Tensor relative_TS =
        minimum(maximum(in[1] - in[0], scalar(-most, DType::i64)), scalar(most, DType::i64));
    Tensor bucket = index_select(buckets_, 0, (relative_TS + most).reshape({T * S}));
    return index_select(weight.t(), 1, bucket).reshape({1, H, T, S});
  });
}

}  // namespace corten::t5
