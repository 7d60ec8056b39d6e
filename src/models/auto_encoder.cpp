// Encoders by the model_type of their config.
#include <algorithm>

#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "corten/encoders.h"
#include "corten/vision.h"
#include "models/bert/bert.h"
#include "models/distilbert/distilbert.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "models/roberta/roberta.h"
#include "models/stored_weights.h"

namespace corten {
namespace {

using layers::EncoderConfig;
using layers::EncoderFamily;

/// The table of encoders: one entry each.
const std::vector<const EncoderFamily*>& families() {
  static const std::vector<const EncoderFamily*> all = {&bert::kFamily, &roberta::kFamily,
                                                        &distilbert::kFamily};
  return all;
}

const EncoderFamily& family_of(const Json& config, std::string_view source) {
  const std::string wanted = model_type_of(config, source, encoder_model_types());
  for (const EncoderFamily* family : families())
    if (family->model_type == wanted) return *family;
  const std::vector<std::string> image_models = image_model_types();
  if (std::ranges::find(image_models, wanted) != image_models.end())
    usage_error("{}: model_type \"{}\" is an image model: use AutoImageModel or "
                "AutoModelForImageClassification",
                source, wanted);
  wrong_model_type(wanted, "an encoder", source);
}

std::unique_ptr<Encoder> make_encoder(const EncoderFamily& family, const EncoderConfig& config) {
  return std::make_unique<layers::EncoderBody>(family, config, family.has_pooler);
}
std::unique_ptr<MaskedLM> make_masked_lm(const EncoderFamily& family, const EncoderConfig& config) {
  return family.make_masked_lm(config);
}
std::unique_ptr<SequenceClassifier> make_classifier(const EncoderFamily& family,
                                                    const EncoderConfig& config) {
  return family.make_classifier(config);
}

template <typename M>
using Make = std::unique_ptr<M> (*)(const EncoderFamily& family, const EncoderConfig& config);

template <typename M>
std::unique_ptr<M> from_config_text(std::string_view text, std::string_view source, Make<M> make) {
  const Json json = parse_config(text, source);
  const EncoderFamily& family = family_of(json, source);
  return make(family, family.read(json, source));
}

template <typename M>
std::unique_ptr<M> from_folder(const std::string& folder, const EncoderLoadOptions& options,
                               Make<M> make) {
  const std::string path = join_path(folder, "config.json");
  const Json json = read_config_json(folder);
  const EncoderFamily& family = family_of(json, path);
  EncoderConfig config = family.read(json, path);
  if (options.num_labels) layers::set_num_labels(config, *options.num_labels);
  const StoredWeights stored = stored_weights(folder);
  check_parameter_count(config.encoder_parameters(), stored, path, folder);
  std::unique_ptr<M> model = make(family, config);
  if (const DType wanted = options.dtype.value_or(stored.dtype); wanted != DType::f32)
    model->to(wanted);
  model->load_weights(folder, options.seed, options.ignore_mismatched_sizes);
  model->eval();
  return model;
}

}  // namespace

std::vector<std::string> encoder_model_types() {
  std::vector<std::string> names;
  for (const EncoderFamily* family : families()) names.emplace_back(family->model_type);
  return names;
}

std::unique_ptr<Encoder> AutoModel::from_pretrained(const std::string& folder,
                                                    const EncoderLoadOptions& options) {
  return from_folder<Encoder>(folder, options, make_encoder);
}
std::unique_ptr<Encoder> AutoModel::from_config(std::string_view config_json,
                                                std::string_view source) {
  return from_config_text<Encoder>(config_json, source, make_encoder);
}
std::unique_ptr<MaskedLM> AutoModelForMaskedLM::from_pretrained(const std::string& folder,
                                                                const EncoderLoadOptions& options) {
  return from_folder<MaskedLM>(folder, options, make_masked_lm);
}
std::unique_ptr<MaskedLM> AutoModelForMaskedLM::from_config(std::string_view config_json,
                                                            std::string_view source) {
  return from_config_text<MaskedLM>(config_json, source, make_masked_lm);
}
std::unique_ptr<SequenceClassifier> AutoModelForSequenceClassification::from_pretrained(
    const std::string& folder, const EncoderLoadOptions& options) {
  return from_folder<SequenceClassifier>(folder, options, make_classifier);
}
std::unique_ptr<SequenceClassifier> AutoModelForSequenceClassification::from_config(
    std::string_view config_json, std::string_view source) {
  return from_config_text<SequenceClassifier>(config_json, source, make_classifier);
}

}  // namespace corten
