// Rotary position embeddings as configs describe them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace corten::layers {

/// Kinds of transformers' "rope_type", see rotary_embedding.h for what they compute.
struct RopeConfig {
  std::string type = "default";  ///< default, linear, dynamic, yarn or llama3
  double theta = 10000, factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;                ///< llama3
  double beta_fast = 32, beta_slow = 1;                            ///< yarn
  std::optional<double> attention_factor, mscale, mscale_all_dim;  ///< yarn
  bool truncate = true;                                            ///< yarn
  int64_t original_max_positions = 0;                              ///< llama3, yarn
};

/// Reads "rope_parameters" (transformers 5), or "rope_theta" and "rope_scaling" with "rope_type" or
/// "type" (transformers 4). Usage error "source: ..." for other kinds and for missing numbers.
RopeConfig read_rope(const Json& config, std::string_view source, int64_t max_positions);
/// Writes both spellings into a config that has neither.
void write_rope(const RopeConfig& rope, Json& config);

}  // namespace corten::layers
