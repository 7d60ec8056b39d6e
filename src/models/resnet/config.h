// The config of a residual network, and the names of its weights in files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/layers/image_model.h"

namespace corten::resnet {

struct Config : layers::ImageConfig {
  int64_t embedding_size = 64;  ///< channels of the stem
  std::vector<int64_t> hidden_sizes = {256, 512, 1024, 2048}, depths = {3, 4, 6, 3};  ///< of stages
  std::string layer_type = "bottleneck", hidden_act = "relu";
  bool downsample_in_first_stage = false, downsample_in_bottleneck = false;

  bool bottleneck() const { return layer_type == "bottleneck"; }
  int64_t parameters() const override;
};

inline constexpr int64_t kReduction = 4;  ///< of channels inside of a bottleneck

std::shared_ptr<layers::ImageConfig> read(const Json& json, std::string_view source);
std::optional<Json> from_timm(std::string_view architecture);
std::vector<layers::StoredPart> parts(std::string_view stored);

}  // namespace corten::resnet
