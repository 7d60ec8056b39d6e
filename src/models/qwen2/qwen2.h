// Qwen2 and Qwen2.5 (Yang et al., 2024): LLaMA's blocks with biases on queries, keys and values,
// and sliding windows in the later layers if asked for.
#pragma once

#include "models/layers/decoder.h"

namespace corten::qwen2 {

/// Sizes that the config leaves open, and "use_sliding_window", "sliding_window",
/// "max_window_layers" and "layer_types"; the fields that Qwen2 and Qwen3 share.
void read_fields(layers::DecoderConfig& config, const Json& json, std::string_view source);
/// Fills in config.json, those fields included.
void finish_json(layers::DecoderConfig& config, const Json& json,
                 const layers::DecoderFamily& family);

extern const layers::DecoderFamily kFamily;

}  // namespace corten::qwen2
