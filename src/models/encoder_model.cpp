// What encoders have in common: reading and writing folders, the losses of the heads.
#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "corten/encoders.h"
#include "corten/safetensors.h"
#include "io/tensor_bytes.h"
#include "models/layers/encoder.h"
#include "models/layers/labels.h"
#include "models/model_folder.h"
#include "nn/state.h"

namespace corten {
namespace {

constexpr std::string_view kMaskedLM = "ForMaskedLM", kPlain = "Model";

/// Names of the layer norms' parameters in the first checkpoints.
std::string with_present_names(std::string_view stored) {
  std::string name(stored);
  for (const auto& [old, present] :
       {std::pair<std::string_view, std::string_view>{"LayerNorm.gamma", "LayerNorm.weight"},
        {"LayerNorm.beta", "LayerNorm.bias"}})
    if (name.ends_with(old)) name.replace(name.size() - old.size(), old.size(), present);
  return name;
}

layers::LabelsConfig labels_config(const layers::EncoderConfig& c) {
  return {c.num_labels, c.problem_type};
}

}  // namespace

EncoderModel::EncoderModel(const layers::EncoderFamily& family, const layers::EncoderConfig& config,
                           std::string_view task)
    : family_(family),
      config_(std::make_unique<const layers::EncoderConfig>(config)),
      task_(task) {}
EncoderModel::~EncoderModel() = default;

int64_t EncoderModel::vocab_size() const {
  return config_->vocab_size;
}
int64_t EncoderModel::hidden_size() const {
  return config_->hidden_size;
}
int64_t EncoderModel::max_positions() const {
  return config_->max_positions();
}
DType EncoderModel::dtype() const {
  for (const Tensor& parameter : parameters()) return parameter.dtype();
  return DType::f32;
}
std::string EncoderModel::type_name() const {
  return std::string(family_.name) + task_;
}

std::string EncoderModel::config_json() const {
  Json out = config_->json;
  out.set("architectures", Json(std::vector<std::string>{type_name()}));
  return out.dump(2) + "\n";
}

void EncoderModel::save_pretrained(const std::string& folder, uint64_t max_shard_size) const {
  save_model(folder, Json::parse(config_json(), "config.json"), dtype(), state_dict(),
             max_shard_size);
}

bool EncoderModel::has_tied_decoder() const {
  return task_ == kMaskedLM && config_->tie_word_embeddings;
}

/// The parameters that the file must have: all of the encoder but its pooler.
bool EncoderModel::belongs_to_encoder(std::string_view name) const {
  const std::string prefix = task_ == kPlain ? "" : std::string(family_.model_type) + ".";
  return name.starts_with(prefix) && !name.starts_with(prefix + "pooler.");
}

/// The name under which the model holds a tensor of a file; "" for buffers of older versions.
std::string EncoderModel::map_weight_name(std::string_view stored) const {
  std::string name = with_present_names(stored);
  if (name.ends_with("embeddings.position_ids")) return "";
  const std::string prefix = std::string(family_.model_type) + ".";
  if (task_ == kPlain) {
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
    return name;
  }
  for (const std::string& part :
       {std::string("embeddings."), std::string(family_.stack) + ".", std::string("pooler.")})
    if (name.starts_with(part)) return prefix + name;
  return name;
}

void EncoderModel::check_tied(const Safetensors& file, std::string_view folder) const {
  const std::string embedding_name =
      std::string(family_.model_type) + ".embeddings.word_embeddings.weight";
  const StoredTensor* decoder = file.find(std::string(family_.lm_decoder) + ".weight");
  const StoredTensor* embedding = nullptr;
  for (const StoredTensor& tensor : file.tensors())
    if (map_weight_name(tensor.name) == embedding_name) embedding = &tensor;
  if (decoder && embedding &&
      (decoder->dtype != embedding->dtype || decoder->dims != embedding->dims ||
       !std::ranges::equal(decoder->bytes, embedding->bytes)))
    usage_error(
        "{}: {} differs from {}, but \"tie_word_embeddings\" is true: set it to false in "
        "config.json",
        folder, decoder->name, embedding->name);
}

EncoderLoadReport EncoderModel::load_weights(const std::string& folder, int64_t seed,
                                             bool ignore_mismatched_sizes) {
  if (!folder_exists(folder)) usage_error("there is no folder {}", folder);
  const Safetensors file = Safetensors::open(folder);
  if (has_tied_decoder()) check_tied(file, folder);
  const StateDict mine = state_dict();
  std::map<std::string, const StoredTensor*, std::less<>> stored;
  for (const StoredTensor& tensor : file.tensors())
    if (const std::string name = map_weight_name(tensor.name); !name.empty())
      if (!stored.emplace(name, &tensor).second)
        usage_error("{}: {} and {} are the same parameter", folder, stored.at(name)->name,
                    tensor.name);
  // The output layer's bias stands in files under one of two names, or both.
  const std::string bias(family_.lm_bias), decoder_bias = std::string(family_.lm_decoder) + ".bias";
  std::vector<std::string> used;
  if (task_ == kMaskedLM && !bias.empty())
    for (const auto& [name, other] : {std::pair{bias, decoder_bias}, {decoder_bias, bias}})
      if (!stored.contains(name) && stored.contains(other) && find_tensor(mine, name)) {
        stored.emplace(name, stored.at(other));
        used.push_back(other);
      }

  EncoderLoadReport report;
  nn::StateDifference difference;
  for (const auto& [name, tensor] : mine) {
    const auto found = stored.find(name);
    if (found == stored.end()) {
      (belongs_to_encoder(name) ? difference.missing : report.initialized).push_back(name);
      continue;
    }
    const StoredTensor& source = *found->second;
    const auto dtype = dtype_from_safetensors(source.dtype);
    if (tensor.shape() != source.dims) {
      if (ignore_mismatched_sizes && !belongs_to_encoder(name)) {
        report.initialized.push_back(name);
        report.mismatched.push_back(name);
      } else {
        difference.misshapen.push_back(format("{} is [{}] in the model and [{}] in the file", name,
                                              fmt::join(tensor.shape(), ","),
                                              fmt::join(source.dims, ",")));
      }
    } else if (!dtype || !is_floating(*dtype)) {
      usage_error("{}: weights of type {} are not supported ({})", folder, source.dtype, name);
    }
  }
  nn::check_states(type_name(), folder, difference);
  for (const auto& [name, tensor] : stored) {
    const bool is_copy = has_tied_decoder() && name.starts_with(family_.lm_decoder);
    if (!find_tensor(mine, name) && !is_copy && std::ranges::find(used, name) == used.end())
      report.unused.push_back(tensor->name);
  }

  if (!report.initialized.empty()) initialize(seed);
  NoGradGuard no_grad;
  for (const auto& [name, tensor] : mine) {
    if (std::ranges::find(report.initialized, name) != report.initialized.end()) continue;
    Tensor target = tensor;
    target.copy_(tensor_from_stored(*stored.at(name)));
  }
  mark_initialized();
  report_ = report;
  return report;
}

Tensor MaskedLM::operator()(const EncoderInput& input) {
  return run({input.ids}, [&](const std::vector<Tensor>& in) {
    EncoderInput replaced = input;
    replaced.ids = in[0];
    return forward_logits(replaced);
  });
}

Tensor MaskedLM::loss(const EncoderInput& input, const Tensor& labels, Reduction reduction) {
  if (labels.shape() != input.ids.shape())
    usage_error("[{}] labels {} do not fit the ids {}", type_name(), nn::type_text(labels),
                nn::type_text(input.ids));
  return cross_entropy((*this)(input), labels, reduction);
}

Tensor SequenceClassifier::operator()(const EncoderInput& input) {
  return run({input.ids}, [&](const std::vector<Tensor>& in) {
    EncoderInput replaced = input;
    replaced.ids = in[0];
    return forward_logits(replaced);
  });
}

int64_t SequenceClassifier::num_labels() const {
  return config().num_labels;
}

double SequenceClassifier::forward_flops(int64_t batch, int64_t tokens) const {
  const auto B = static_cast<double>(batch), T = static_cast<double>(tokens);
  const auto C = static_cast<double>(config().hidden_size),
             F = static_cast<double>(config().intermediate_size);
  const double layer = 2 * T * (4 * C * C + 2 * C * F) + 4 * T * T * C;
  // Heads read one state, through a layer of its width.
  const double head = 2 * C * (C + static_cast<double>(config().num_labels));
  return B * (static_cast<double>(config().num_hidden_layers) * layer + head);
}

ProblemType SequenceClassifier::problem_type(const Tensor& labels) const {
  return layers::problem_type(labels_config(config()), labels);
}

Tensor SequenceClassifier::loss(const EncoderInput& input, const Tensor& labels) {
  return layers::classification_loss(labels_config(config()), type_name(), (*this)(input), labels);
}

}  // namespace corten
