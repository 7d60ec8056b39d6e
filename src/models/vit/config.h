// The config of a vision transformer, and the names of its weights in files.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/layers/image_model.h"

namespace corten::vit {

struct Config : layers::ImageConfig {
  int64_t hidden_size = 768, intermediate_size = 3072;
  int64_t num_hidden_layers = 12, num_attention_heads = 12;
  std::optional<int64_t> head_dim, pooler_output_size;  ///< unset: C / H, and C
  std::string hidden_act = "gelu", pooler_act = "tanh";
  double hidden_dropout = 0, attention_dropout = 0;
  double initializer_range = 0.02, layer_norm_eps = 1e-12;
  bool qkv_bias = true;
  std::array<int64_t, 2> image_size = {224, 224}, patch_size = {16, 16};  ///< rows, columns

  int64_t attention_size() const {
    return num_attention_heads * head_dim.value_or(hidden_size / num_attention_heads);
  }
  int64_t patches() const {
    return (image_size[0] / patch_size[0]) * (image_size[1] / patch_size[1]);
  }
  int64_t parameters() const override;
};

std::shared_ptr<layers::ImageConfig> read(const Json& json, std::string_view source);
std::optional<Json> from_timm(std::string_view architecture);
std::vector<layers::StoredPart> parts(std::string_view stored);

}  // namespace corten::vit
