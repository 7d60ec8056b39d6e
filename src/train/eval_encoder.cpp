#include "train/eval_encoder.h"

#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "corten/encoders.h"
#include "corten/lora.h"
#include "corten/safetensors.h"
#include "models/auto_model.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "train/check_ids.h"

namespace corten {
namespace {

Json config_of(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  return has_file(path) ? read_config_json(folder) : Json::object();
}

std::string architecture_of(const std::string& folder) {
  return first_architecture(config_of(folder));
}

void set_result(EvalLogitsResult& result, const Tensor& values) {
  result.shape = values.shape();
  result.values = values.to_vector<float>();
}

/// Whether an adapter makes a classifier of its base, whose config does not say so.
bool adapts_classifier(const ModelPlace& place) {
  return !place.adapter.empty() &&
         LoraConfig::from_pretrained(place.adapter).task_type == "SEQ_CLS";
}
/// Those of the head that came with it.
std::optional<int64_t> labels_of_adapter(const std::string& folder) {
  const Safetensors file = Safetensors::open(join_path(folder, "adapter_model.safetensors"));
  for (const StoredTensor& tensor : file.tensors())
    for (const std::string_view head : {"score.weight", "classifier.weight", "out_proj.weight"})
      if (tensor.dims.size() == 2 && std::string_view(tensor.name).ends_with(head) &&
          tensor.name.find("lora_") == std::string::npos &&
          (head != "out_proj.weight" || tensor.name.find("classifier.") != std::string::npos))
        return tensor.dims[0];
  return std::nullopt;
}

/// Numbers of a head that was drawn at random would say nothing; an adapter may bring one.
void check_complete(const EncoderModel& model, const std::string& folder,
                    const LoraModel* adapter = nullptr) {
  const std::vector<std::string>& drawn = model.load_report().initialized;
  const auto brings = [&](const std::string& name) { return adapter && adapter->brings(name); };
  if (!std::ranges::all_of(drawn, brings))
    usage_error("{} holds no {}, of {} in config.json's \"architectures\"", folder,
                fmt::join(drawn, ", "), model.type_name());
}

/// Classes as they are; numbers for each label as floating-point ones.
Tensor sequence_labels(const SequenceClassifier& model, const std::vector<int64_t>& labels) {
  const auto count = static_cast<int64_t>(labels.size());
  const Tensor classes = from_vector(labels, {count});
  if (model.problem_type(classes) != ProblemType::single_label_classification)
    return classes.to(DType::f32).reshape({1, count});
  for (int64_t label : labels)
    if (label < 0 || label >= model.num_labels())
      usage_error("label {} is outside the {} classes of the model", label, model.num_labels());
  return classes;
}

}  // namespace

bool evaluated_as_encoder(const ModelPlace& place) {
  const std::string& folder = place.folder;
  const Json config = config_of(folder);
  const Json* type = config.is_object() ? config.find("model_type") : nullptr;
  if (!type || !type->is_string()) return false;
  const std::vector<std::string> encoders = encoder_model_types();
  if (std::ranges::find(encoders, type->as_string()) != encoders.end()) return true;
  const std::string architecture = architecture_of(folder);
  const bool continues = architecture.empty() || architecture.ends_with("ForCausalLM") ||
                         architecture.ends_with("LMHeadModel") ||
                         architecture.ends_with("DoubleHeadsModel");
  return is_decoder_type(type->as_string()) && (!continues || adapts_classifier(place));
}

EvalLogitsResult eval_encoder(const EvalLogitsOptions& options, const ModelPlace& place) {
  const std::string& folder = place.folder;
  if (options.model.device != "cpu")
    usage_error("evaluation needs device \"cpu\", not \"{}\"", options.model.device);
  default_thread_pool().set_num_threads(static_cast<int>(options.model.threads));
  EncoderLoadOptions load{.dtype = options.model.dtype};
  const Shape shape = {1, static_cast<int64_t>(options.input_ids.size())};
  EncoderInput input{.ids = from_vector(options.input_ids, shape)};
  if (!options.attention_mask.empty())
    input.attention_mask = from_vector(options.attention_mask, shape);
  const NoGradGuard no_grad;
  EvalLogitsResult result;
  const std::string architecture = architecture_of(folder);
  const bool classifies = adapts_classifier(place);
  if (!classifies &&
      (architecture.ends_with("ForMaskedLM") || architecture.ends_with("ForPreTraining"))) {
    auto model = AutoModelForMaskedLM::from_pretrained(folder, load);
    check_complete(*model, folder);
    const auto adapter = attach_adapter(*model, place);
    for (int64_t label : options.labels)
      if (label != -100 && (label < 0 || label >= model->vocab_size()))
        usage_error("label {} is outside the vocabulary of {}", label, model->vocab_size());
    if (!options.labels.empty() && options.labels.size() != options.input_ids.size())
      usage_error("{} numbers of labels do not fit {} input ids", options.labels.size(),
                  options.input_ids.size());
    check_token_ids(options.input_ids, model->config_json());
    set_result(result, (*model)(input));
    if (!options.labels.empty())
      result.loss = model->loss(input, from_vector(options.labels, shape)).item<double>();
  } else if (classifies || architecture.ends_with("ForSequenceClassification")) {
    if (classifies) load.num_labels = labels_of_adapter(place.adapter);
    auto model = AutoModelForSequenceClassification::from_pretrained(folder, load);
    const auto adapter = attach_adapter(*model, place);
    check_complete(*model, folder, adapter.get());
    check_token_ids(options.input_ids, model->config_json());
    set_result(result, (*model)(input));
    if (!options.labels.empty())
      result.loss = model->loss(input, sequence_labels(*model, options.labels)).item<double>();
  } else {
    if (!options.labels.empty())
      usage_error("labels need a model with a head, which {} (\"{}\") is not", folder,
                  architecture);
    auto model = AutoModel::from_pretrained(folder, load);
    const auto adapter = attach_adapter(*model, place);
    check_token_ids(options.input_ids, model->config_json());
    set_result(result, (*model)(input).last_hidden_state);
    result.hidden_state = true;
  }
  return result;
}

}  // namespace corten
