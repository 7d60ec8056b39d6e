// Encoders, and decoders in their place, by the model_type of their config.
#include <algorithm>
#include <functional>
#include <iterator>

#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "corten/encoders.h"
#include "corten/vision.h"
#include "models/auto_model.h"
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

[[noreturn]] void unknown_type(const std::string& wanted, std::string_view source,
                               bool decoders_too) {
  const std::vector<std::string> image_models = image_model_types();
  if (std::ranges::find(image_models, wanted) != image_models.end())
    usage_error("{}: model_type \"{}\" is an image model: use AutoImageModel or "
                "AutoModelForImageClassification",
                source, wanted);
  wrong_model_type(wanted, decoders_too ? "an encoder or a decoder" : "an encoder", source);
}

/// How a class makes its models: of encoders, and of decoders if it has those.
template <typename M>
struct Maker {
  std::unique_ptr<M> (*encoder)(const EncoderFamily& family, const EncoderConfig& config);
  std::unique_ptr<M> (*decoder)(layers::HeadlessDecoder parts);
};
constexpr Maker<Encoder> kModel = {
    [](const EncoderFamily& family, const EncoderConfig& config) -> std::unique_ptr<Encoder> {
      return std::make_unique<layers::EncoderBody>(family, config, family.has_pooler);
    },
    layers::make_decoder_model};
constexpr Maker<MaskedLM> kMaskedLM = {
    [](const EncoderFamily& family, const EncoderConfig& config) {
      return family.make_masked_lm(config);
    },
    nullptr};
constexpr Maker<SequenceClassifier> kClassifier = {
    [](const EncoderFamily& family, const EncoderConfig& config) {
      return family.make_classifier(config);
    },
    layers::make_decoder_classifier};

/// What a config describes, before it takes memory; `json` must outlive it.
template <typename M>
struct Plan {
  int64_t parameters = 0;  ///< that the file must have at least
  std::function<std::unique_ptr<M>()> make;
};
template <typename M>
Plan<M> plan(const Json& json, const std::string& source, const Maker<M>& maker,
             std::optional<int64_t> num_labels) {
  std::vector<std::string> known = encoder_model_types();
  if (maker.decoder) std::ranges::copy(model_types(), std::back_inserter(known));
  const std::string wanted = model_type_of(json, source, known);
  for (const EncoderFamily* family : families())
    if (family->model_type == wanted) {
      EncoderConfig config = family->read(json, source);
      if (num_labels) layers::set_num_labels(config, *num_labels);
      return {config.encoder_parameters(),
              [&maker, family, config] { return maker.encoder(*family, config); }};
    }
  if (!maker.decoder || !is_decoder_type(wanted))
    unknown_type(wanted, source, maker.decoder != nullptr);
  return {model_info(json, source).num_parameters, [&maker, &json, source, num_labels] {
            layers::HeadlessDecoder parts = headless_decoder(json, source);
            if (num_labels && *num_labels != parts.kind->labels.num_labels) {
              layers::name_labels(parts.kind->config, *num_labels);
              parts.kind->labels.num_labels = *num_labels;
            }
            return maker.decoder(std::move(parts));
          }};
}

template <typename M>
std::unique_ptr<M> from_config_text(std::string_view text, std::string_view source,
                                    const Maker<M>& maker) {
  const Json json = parse_config(text, source);
  return plan(json, std::string(source), maker, {}).make();
}

template <typename M>
std::unique_ptr<M> from_folder(const std::string& folder, const EncoderLoadOptions& options,
                               const Maker<M>& maker) {
  const std::string path = join_path(folder, "config.json");
  const Json json = read_config_json(folder);
  const Plan<M> planned = plan(json, path, maker, options.num_labels);
  const StoredWeights stored = stored_weights(folder);
  check_parameter_count(planned.parameters, stored, path, folder);
  std::unique_ptr<M> model = planned.make();
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
  return from_folder<Encoder>(folder, options, kModel);
}
std::unique_ptr<Encoder> AutoModel::from_config(std::string_view config_json,
                                                std::string_view source) {
  return from_config_text<Encoder>(config_json, source, kModel);
}
std::unique_ptr<MaskedLM> AutoModelForMaskedLM::from_pretrained(const std::string& folder,
                                                                const EncoderLoadOptions& options) {
  return from_folder<MaskedLM>(folder, options, kMaskedLM);
}
std::unique_ptr<MaskedLM> AutoModelForMaskedLM::from_config(std::string_view config_json,
                                                            std::string_view source) {
  return from_config_text<MaskedLM>(config_json, source, kMaskedLM);
}
std::unique_ptr<SequenceClassifier> AutoModelForSequenceClassification::from_pretrained(
    const std::string& folder, const EncoderLoadOptions& options) {
  return from_folder<SequenceClassifier>(folder, options, kClassifier);
}
std::unique_ptr<SequenceClassifier> AutoModelForSequenceClassification::from_config(
    std::string_view config_json, std::string_view source) {
  return from_config_text<SequenceClassifier>(config_json, source, kClassifier);
}

}  // namespace corten
