// What image models have in common: reading and writing folders, the loss of the classifier.
#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/format.h"
#include "corten/safetensors.h"
#include "io/tensor_bytes.h"
#include "models/config_fields.h"
#include "models/layers/image_model.h"
#include "models/model_folder.h"
#include "nn/state.h"

namespace corten {
namespace layers {

void complete_image_config(ImageConfig& config, const Json& json, const Json& fields,
                           std::string_view source, std::string_view model_type) {
  FieldReader(json, source)("num_channels", config.num_channels);
  check_field(source, "num_channels", config.num_channels, 1, 1 << 16);
  config.labels = read_labels(json, source);
  config.json = Json::object({{"model_type", model_type}});
  for (const auto& [key, value] : json.items("config"))
    if (key != "model_type") config.json.set(key, value);
  for (const auto& [key, value] : fields.items("config"))
    if (!config.json.contains(key)) config.json.set(key, value);
  if (!config.json.contains("num_channels")) config.json.set("num_channels", config.num_channels);
}

std::array<int64_t, 2> read_size(const Json& json, std::string_view key, int64_t missing,
                                 std::string_view source) {
  const std::string what = format("{}: \"{}\"", source, key);
  std::array<int64_t, 2> size = {missing, missing};
  if (const Json* found = json.find(key); found && !found->is_null()) {
    if (found->is_array()) {
      const auto& both = found->elements(what);
      if (both.size() != 2) usage_error("{} has {} numbers instead of 2", what, both.size());
      size = {both[0].as_int(what), both[1].as_int(what)};
    } else {
      size.fill(found->as_int(what));
    }
  }
  for (int64_t part : size) check_field(source, key, part, 1, 1 << 16);
  return size;
}

}  // namespace layers

namespace {

constexpr std::string_view kPlain = "Model", kCounter = ".num_batches_tracked";

struct Source {
  const StoredTensor* tensor;
  int64_t part, parts;
  Shape shape() const {
    Shape out = tensor->dims;
    if (!out.empty() && out[0] % parts == 0) out[0] /= parts;
    return out;
  }
};

}  // namespace

ImageModel::ImageModel(const layers::ImageFamily& family,
                       std::shared_ptr<const layers::ImageConfig> config, std::string_view task)
    : family_(family), config_(std::move(config)), task_(task) {}
ImageModel::~ImageModel() = default;

int64_t ImageModel::num_channels() const {
  return config_->num_channels;
}
void ImageModel::set_interpolate_pos_encoding(bool interpolate) {
  if (interpolate) usage_error("[{}] has no positions to interpolate", type_name());
}
DType ImageModel::dtype() const {
  for (const Tensor& parameter : parameters()) return parameter.dtype();
  return DType::f32;
}
std::string ImageModel::type_name() const {
  return std::string(family_.name) + task_;
}
bool ImageModel::has_head() const {
  return task_ != kPlain;
}

std::string ImageModel::config_json() const {
  Json out = config_->json;
  out.set("architectures", Json(std::vector<std::string>{type_name()}));
  return out.dump(2) + "\n";
}

void ImageModel::save_pretrained(const std::string& folder, uint64_t max_shard_size) const {
  save_model(folder, Json::parse(config_json(), "config.json"), dtype(), state_dict(),
             max_shard_size);
}

/// The tensors that the file must have.
bool ImageModel::belongs_to_body(std::string_view name) const {
  if (name.ends_with(kCounter)) return false;
  const std::string prefix = has_head() ? std::string(family_.model_type) + "." : "";
  return name.starts_with(prefix) && !name.starts_with(prefix + "pooler.");
}

EncoderLoadReport ImageModel::load_weights(const std::string& folder, int64_t seed,
                                           bool ignore_mismatched_sizes) {
  if (!folder_exists(folder)) usage_error("there is no folder {}", folder);
  const Safetensors file = Safetensors::open(folder);
  const StateDict mine = state_dict();
  const std::string prefix = std::string(family_.model_type) + ".";
  EncoderLoadReport report;
  std::map<std::string, Source, std::less<>> stored;
  for (const StoredTensor& tensor : file.tensors()) {
    std::string_view name = tensor.name;
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    bool used = false;
    for (layers::StoredPart& part : family_.parts(name)) {
      if (has_head() && !part.name.starts_with(family_.head)) part.name = prefix + part.name;
      used |= find_tensor(mine, part.name) != nullptr;
      const auto [place, is_new] = stored.emplace(part.name, Source{&tensor, part.part, part.parts});
      if (!is_new)
        usage_error("{}: {} and {} are the same parameter", folder, place->second.tensor->name,
                    tensor.name);
    }
    if (!used) report.unused.push_back(tensor.name);
  }

  nn::StateDifference difference;
  for (const auto& [name, tensor] : mine) {
    const auto found = stored.find(name);
    if (found == stored.end()) {
      (belongs_to_body(name) ? difference.missing : report.initialized).push_back(name);
      continue;
    }
    const Source& source = found->second;
    const auto dtype = dtype_from_safetensors(source.tensor->dtype);
    if (tensor.shape() != source.shape()) {
      if (ignore_mismatched_sizes && !belongs_to_body(name)) {
        report.initialized.push_back(name);
        report.mismatched.push_back(name);
      } else {
        difference.misshapen.push_back(format("{} is [{}] in the model and [{}] in the file", name,
                                              fmt::join(tensor.shape(), ","),
                                              fmt::join(source.shape(), ",")));
      }
    } else if (!dtype || is_floating(*dtype) != is_floating(tensor.dtype())) {
      usage_error("{}: {} is {}, which cannot be converted to {}", folder, source.tensor->name,
                  source.tensor->dtype, corten::name(tensor.dtype()));
    }
  }
  nn::check_states(type_name(), folder, difference);

  if (!report.initialized.empty()) initialize(seed);
  NoGradGuard no_grad;
  for (const auto& [name, tensor] : mine) {
    Tensor target = tensor;
    if (std::ranges::find(report.initialized, name) != report.initialized.end()) {
      if (name.ends_with(kCounter)) target.fill_(0);
      continue;
    }
    const Source& source = stored.at(name);
    Tensor value = tensor_from_stored(*source.tensor);
    if (source.parts > 1) {
      const int64_t rows = value.size(0) / source.parts;
      value = value.slice(0, source.part * rows, (source.part + 1) * rows);
    }
    target.copy_(value);
  }
  mark_initialized();
  report_ = report;
  return report;
}

Tensor ImageModel::checked(const Tensor& pixels) const {
  if (!pixels.defined() || pixels.dim() != 4 || !is_floating(pixels.dtype()) ||
      pixels.size(1) != num_channels() || pixels.numel() == 0)
    usage_error("[{}] pixel values must be floating [images, {}, rows, columns], got {}",
                type_name(), num_channels(), pixels.defined() ? nn::type_text(pixels) : "nothing");
  return pixels.to(dtype());
}

Tensor ImageClassifier::operator()(const Tensor& pixels) {
  return run({pixels}, [&](const std::vector<Tensor>& in) { return forward_logits(in[0]); });
}
int64_t ImageClassifier::num_labels() const {
  return config().labels.num_labels;
}
ProblemType ImageClassifier::problem_type(const Tensor& labels) const {
  return layers::problem_type(config().labels, labels);
}
Tensor ImageClassifier::loss(const Tensor& pixels, const Tensor& labels) {
  return layers::classification_loss(config().labels, type_name(), (*this)(pixels), labels);
}

}  // namespace corten
