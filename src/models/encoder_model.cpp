// What models that read text have in common: reading and writing folders, the losses of the heads.
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
#include "models/layers/text_model_kind.h"
#include "models/model_folder.h"
#include "nn/state.h"
#include "runtime/tensor_impl.h"

namespace corten {

EncoderModel::EncoderModel(const layers::EncoderFamily& family, const layers::EncoderConfig& config,
                           std::string_view task)
    : kind_(layers::encoder_kind(family, config, task)) {}
EncoderModel::EncoderModel(std::unique_ptr<const layers::TextModelKind> kind)
    : kind_(std::move(kind)) {}
EncoderModel::~EncoderModel() = default;

int64_t EncoderModel::vocab_size() const {
  return kind_->vocab_size;
}
int64_t EncoderModel::hidden_size() const {
  return kind_->hidden_size;
}
int64_t EncoderModel::max_positions() const {
  return kind_->max_positions;
}
std::optional<int64_t> EncoderModel::pad_token_id() const {
  return kind_->pad_token_id;
}
DType EncoderModel::dtype() const {
  for (const Tensor& parameter : parameters()) return parameter.dtype();
  return DType::f32;
}
std::string EncoderModel::type_name() const {
  return kind_->type_name;
}

std::string EncoderModel::config_json() const {
  Json out = kind_->config;
  out.set("architectures", Json(std::vector<std::string>{type_name()}));
  return out.dump(2) + "\n";
}

void EncoderModel::save_pretrained(const std::string& folder, uint64_t max_shard_size) const {
  save_model(folder, Json::parse(config_json(), "config.json"), dtype(), state_dict(),
             max_shard_size);
}

LoadReport EncoderModel::load_weights(const std::string& folder, int64_t seed,
                                      bool ignore_mismatched_sizes) {
  if (!folder_exists(folder)) usage_error("there is no folder {}", folder);
  const Safetensors file = Safetensors::open(folder);
  kind_->check_weights(file, folder);
  const StateDict mine = state_dict();
  std::map<std::string, const StoredTensor*, std::less<>> stored;
  for (const StoredTensor& tensor : file.tensors())
    if (const std::string name = kind_->map_weight_name(tensor.name); !name.empty())
      if (!stored.emplace(name, &tensor).second)
        usage_error("{}: {} and {} are the same parameter", folder, stored.at(name)->name,
                    tensor.name);
  std::vector<std::string> used;
  for (const auto& [name, other] : kind_->other_names())
    if (!stored.contains(name) && stored.contains(other) && find_tensor(mine, name)) {
      stored.emplace(name, stored.at(other));
      used.push_back(other);
    }

  LoadReport report;
  nn::StateDifference difference;
  for (const auto& [name, tensor] : mine) {
    const auto found = stored.find(name);
    const bool required = kind_->is_required(name);
    if (found == stored.end()) {
      (required ? difference.missing : report.initialized).push_back(name);
      continue;
    }
    const StoredTensor& source = *found->second;
    const auto dtype = dtype_from_safetensors(source.dtype);
    if (tensor.shape() != source.dims) {
      if (ignore_mismatched_sizes && !required) {
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
  for (const auto& [name, tensor] : stored)
    if (!find_tensor(mine, name) && !kind_->is_copy(name) &&
        std::ranges::find(used, name) == used.end())
      report.unused.push_back(tensor->name);

  if (!report.initialized.empty()) initialize(seed);
  NoGradGuard no_grad;
  for (const auto& [name, tensor] : mine)
    if (std::ranges::find(report.initialized, name) == report.initialized.end())
      runtime::assign(tensor, runtime::take(tensor_from_stored(*stored.at(name))), "load_weights");
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
  return kind().labels.num_labels;
}

double SequenceClassifier::forward_flops(int64_t batch, int64_t tokens) const {
  return kind().forward_flops(batch, tokens);
}

ProblemType SequenceClassifier::problem_type(const Tensor& labels) const {
  return layers::problem_type(kind().labels, labels);
}

Tensor SequenceClassifier::loss(const EncoderInput& input, const Tensor& labels) {
  return layers::classification_loss(kind().labels, type_name(), (*this)(input), labels);
}

}  // namespace corten
