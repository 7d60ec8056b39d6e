// What makes a family of image models.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "corten/vision.h"
#include "models/layers/labels.h"

namespace corten::layers {

/// The fields that all families have.
struct ImageConfig {
  int64_t num_channels = 3;
  LabelsConfig labels;
  Json json = Json::object();  ///< the whole config, with the family's fields filled in

  virtual ~ImageConfig() = default;
  /// Of the model without its head.
  virtual int64_t parameters() const = 0;
};
using ImageConfigPtr = std::shared_ptr<const ImageConfig>;

/// A parameter that a tensor of a file is, or one that is part `part` of `parts` of its rows.
struct StoredPart {
  std::string name;
  int64_t part = 0, parts = 1;
};

struct ImageFamily {
  std::string_view model_type;  ///< of config.json; also the body's name in a model with a head
  std::string_view name;        ///< begins the classes of transformers
  std::string_view head;        ///< begins the names of the classifier's parameters
  std::shared_ptr<ImageConfig> (*read)(const Json& json, std::string_view source);
  /// The config of one of timm's architectures, without labels, or nothing if it is another family's.
  std::optional<Json> (*from_timm)(std::string_view architecture);
  /// What a tensor of a file is in a model with a head; the body's parts have no prefix yet. Empty:
  /// nothing, which is no fault.
  std::vector<StoredPart> (*parts)(std::string_view stored);
  std::unique_ptr<ImageEncoder> (*make_encoder)(const ImageConfigPtr& config);
  std::unique_ptr<ImageClassifier> (*make_classifier)(const ImageConfigPtr& config);
};

/// Fills config.json: model_type, the fields of `json`, and those of `fields` that it lacks; reads
/// num_channels and the labels.
void complete_image_config(ImageConfig& config, const Json& json, const Json& fields,
                           std::string_view source, std::string_view model_type);
/// One integer or two, rows before columns.
std::array<int64_t, 2> read_size(const Json& json, std::string_view key, int64_t missing,
                                 std::string_view source);

}  // namespace corten::layers
