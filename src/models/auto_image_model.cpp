// Image models by the model_type of their config, or by their architecture in timm.
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "models/layers/image_model.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "models/resnet/resnet.h"
#include "models/stored_weights.h"
#include "models/vit/vit.h"

namespace corten {
namespace {

using layers::ImageConfig;
using layers::ImageFamily;

/// The table of image models: one entry each.
const std::vector<const ImageFamily*>& families() {
  static const std::vector<const ImageFamily*> all = {&vit::kFamily, &resnet::kFamily};
  return all;
}

/// The config of transformers for one that timm wrote; others as they are.
Json without_timm(const Json& json, std::string_view source) {
  const Json* named = json.is_object() ? json.find("architecture") : nullptr;
  if (!named || json.contains("hidden_size") || json.contains("hidden_sizes")) return json;
  const std::string architecture = named->as_string(format("{}: \"architecture\"", source));
  if (const Json* args = json.find("model_args"); args && !args->is_null() && args->size() > 0)
    usage_error("{}: \"model_args\" is set, which Corten does not support", source);
  // Behind a dot is the name of the weights.
  const std::string_view plain = std::string_view(architecture).substr(0, architecture.find('.'));
  for (const ImageFamily* family : families())
    if (auto config = family->from_timm(plain)) {
      config->set("model_type", family->model_type);
      const Json* classes = json.find("num_classes");
      const int64_t labels = classes ? classes->as_int(format("{}: \"num_classes\"", source)) : 0;
      if (labels > 0) layers::name_labels(*config, labels);
      return *config;
    }
  usage_error("{}: the architecture \"{}\" of timm is none that Corten knows (known: {})", source,
              architecture, "vit_*_patch*_*, deit_*_patch16_224, resnet18 to resnet152");
}

const ImageFamily& family_of(const Json& config, std::string_view source) {
  const std::string wanted = model_type_of(config, source, image_model_types());
  for (const ImageFamily* family : families())
    if (family->model_type == wanted) return *family;
  wrong_model_type(wanted, "an image model", source);
}

template <typename M>
using Maker = std::unique_ptr<M> (*ImageFamily::*)(const layers::ImageConfigPtr& config);

template <typename M>
std::unique_ptr<M> from_text(std::string_view text, std::string_view source, Maker<M> make) {
  const Json json = without_timm(parse_config(text, source), source);
  const ImageFamily& family = family_of(json, source);
  return (family.*make)(family.read(json, source));
}

template <typename M>
std::unique_ptr<M> from_folder(const std::string& folder, const EncoderLoadOptions& options,
                               Maker<M> make) {
  const std::string path = join_path(folder, "config.json");
  const Json json = without_timm(read_config_json(folder), path);
  const ImageFamily& family = family_of(json, path);
  std::shared_ptr<ImageConfig> config = family.read(json, path);
  if (const int64_t labels = options.num_labels.value_or(config->labels.num_labels);
      labels != config->labels.num_labels) {
    layers::name_labels(config->json, labels);
    config->labels.num_labels = labels;
  }
  const StoredWeights stored = stored_weights(folder);
  check_parameter_count(config->parameters(), stored, path, folder);
  std::unique_ptr<M> model = (family.*make)(config);
  if (const DType wanted = options.dtype.value_or(stored.dtype); wanted != DType::f32)
    model->to(wanted);
  model->load_weights(folder, options.seed, options.ignore_mismatched_sizes);
  model->eval();
  return model;
}

}  // namespace

std::vector<std::string> image_model_types() {
  std::vector<std::string> names;
  for (const ImageFamily* family : families()) names.emplace_back(family->model_type);
  return names;
}

std::unique_ptr<ImageEncoder> AutoImageModel::from_pretrained(const std::string& folder,
                                                              const EncoderLoadOptions& options) {
  return from_folder<ImageEncoder>(folder, options, &ImageFamily::make_encoder);
}
std::unique_ptr<ImageEncoder> AutoImageModel::from_config(std::string_view config_json,
                                                          std::string_view source) {
  return from_text<ImageEncoder>(config_json, source, &ImageFamily::make_encoder);
}
std::unique_ptr<ImageClassifier> AutoModelForImageClassification::from_pretrained(
    const std::string& folder, const EncoderLoadOptions& options) {
  return from_folder<ImageClassifier>(folder, options, &ImageFamily::make_classifier);
}
std::unique_ptr<ImageClassifier> AutoModelForImageClassification::from_config(
    std::string_view config_json, std::string_view source) {
  return from_text<ImageClassifier>(config_json, source, &ImageFamily::make_classifier);
}

}  // namespace corten
