// Scores of T5 (Raffel et al., 2020, section 2.1) depend on where a key stands relative to the
// query: every head learns an addend for each of some ranges ("buckets") of distances.
#pragma once

#include <vector>

#include "corten/nn.h"

namespace corten::t5 {

/// The bucket of key - query = -max_distance, ..., max_distance, beyond which nothing changes.
/// Encoders (`bidirectional`) have half of the buckets for keys before the query and half for those
/// after it; decoders have them all for the former. Half of these stand for one distance each, the
/// others for ranges that grow exponentially up to max_distance.
std::vector<int64_t> relative_buckets(bool bidirectional, int64_t buckets, int64_t max_distance);

class RelativeBias : public nn::Embedding {
 public:
  RelativeBias(bool bidirectional, int64_t buckets, int64_t max_distance, int64_t heads,
               init::Initializer weight_init);
  /// The addends [1, H, T, S] of positions i64 [T, 1] and [1, S].
  Tensor operator()(const Tensor& query_T1, const Tensor& key_1S);
  std::string type_name() const override { return "Embedding"; }

 private:
  int64_t max_distance_;
  Tensor buckets_;  ///< i64 [2 max_distance + 1]
};

}  // namespace corten::t5
