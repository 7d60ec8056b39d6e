#include "corten/lora.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/file.h"
#include "base/format.h"
#include "corten/random.h"
#include "corten/safetensors.h"
#include "io/tensor_bytes.h"
#include "models/lora/targets.h"
#include "models/stored_weights.h"

namespace corten {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr const char* kWeights = "adapter_model.safetensors";

/// A matrix under the name that PEFT gives it.
struct Matrix : nn::Module {
  Matrix(Shape shape, init::Initializer initializer) {
    register_parameter("weight", weight, std::move(shape), std::move(initializer));
  }
  std::string type_name() const override { return "Linear"; }
  Tensor weight;
};

/// As torch.nn.Linear.
init::Initializer initial_a() {
  return init::kaiming_uniform(std::sqrt(5.0));
}

/// A and B of one layer.
struct Adapter {
  std::string name;  ///< of the layer
  nn::Module* layer;
  bool fan_in_fan_out;  ///< the layer's weight is [in, out]
  double scale;
  Matrix a, b;
  int64_t hook = -1;

  Adapter(std::string the_name, nn::Module& the_layer, int64_t in, int64_t out, bool transposed,
          int64_t rank, double the_scale)
      : name(std::move(the_name)),
        layer(&the_layer),
        fan_in_fan_out(transposed),
        scale(the_scale),
        a({rank, in}, initial_a()),
        b({out, rank}, init::zeros()) {}

  /// Values of A keyed by the layer's name, whatever else has an adapter.
  void initialize(int64_t seed) {
    const NoGradGuard no_grad;
    a.weight.copy_(initial_a()(a.weight.shape(), seed, name + ".lora_A.weight"));
    a.mark_initialized();
    b.mark_initialized();
  }
  Tensor& weight() const {
    if (auto* linear = dynamic_cast<nn::Linear*>(layer)) return linear->weight;
    return static_cast<nn::Conv1D*>(layer)->weight;
  }
  Tensor apply(const Tensor& x, const Tensor& out, double dropout_p) const {
    const Tensor dropped = dropout(x.to(DType::f32), dropout_p, layer->is_training());
    const Tensor delta = linear(linear(dropped, a.weight), b.weight);
    return (out + delta * scale).to(out.dtype());
  }
  /// s B A as the layer stores its weight, f32.
  Tensor delta() const {
    const Tensor product = matmul(b.weight, a.weight) * scale;
    return fan_in_fan_out ? product.t() : product;
  }
};

/// With bias = "all" PEFT stores the biases of a module that is saved as a whole several times: as
/// they were ("original_module"), and once more under the name that it has in memory.
std::string map_name(std::string_view stored, const Safetensors& file) {
  constexpr std::string_view kInMemory = ".modules_to_save.";
  if (stored.find(".original_module.") != stored.npos) return "";
  std::string name(stored);
  if (const size_t at = stored.find(kInMemory); at != stored.npos) {
    name.replace(at, kInMemory.size(), ".");
    if (file.find(name)) return "";
  }
  return name;
}

/// Sizes of a layer that can have an adapter; zeros for others.
struct Fans {
  int64_t in = 0, out = 0;
  bool transposed = false;
};
Fans fans_of(nn::Module& module) {
  if (const auto* layer = dynamic_cast<nn::Quantizable*>(&module); layer && layer->is_quantized())
    usage_error("[lora] adapters need float weights, and those of the model are quantised to {} bits", layer->quantized().how.bits);
  if (auto* linear = dynamic_cast<nn::Linear*>(&module))
    return {linear->weight.size(1), linear->weight.size(0), false};
  if (auto* conv = dynamic_cast<nn::Conv1D*>(&module))
    return {conv->weight.size(0), conv->weight.size(1), true};
  return {};
}

}  // namespace

struct LoraModel::Impl {
  nn::Module& base;
  LoraConfig config;
  std::vector<std::unique_ptr<Adapter>> adapters;
  StateDict extra;                ///< parameters of the model that are trained, too
  std::vector<Tensor> originals;  ///< what they were

  Impl(nn::Module& the_base, LoraConfig the_config)
      : base(the_base), config(std::move(the_config)) {}

  void attach(int64_t seed) {
    // As PEFT, which trains the head of a classifier in any case.
    if (config.task_type == "SEQ_CLS" && config.modules_to_save.empty())
      config.modules_to_save = {"classifier", "score"};
    const lora::Targets targets(config, base);
    for (const auto& [name, module] : base.named_modules()) {
      if (!targets.matches(name, fans_of(*module).in > 0)) continue;
      const Fans fans = fans_of(*module);
      if (fans.in == 0)
        usage_error("[lora] {} is {}, not a linear layer", name, module->type_name());
      if (fans.transposed) config.fan_in_fan_out = true;
      const int64_t rank = targets.rank(name);
      const double alpha = targets.alpha(name);
      const double divisor =
          config.use_rslora ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank);
      adapters.push_back(std::make_unique<Adapter>(name, *module, fans.in, fans.out,
                                                   fans.transposed, rank, alpha / divisor));
    }
    if (adapters.empty())
      usage_error("[lora] no layer of {} matches {}", base.type_name(), targets.description());
    base.requires_grad_(false);
    choose_extra(targets);
    for (auto& adapter : adapters) {
      adapter->initialize(seed);
      Adapter* one = adapter.get();
      const double p = config.lora_dropout;
      one->hook = one->layer->register_forward_hook(
          [one, p](nn::Module&, const std::vector<Tensor>& in, Tensor& out) {
            out = one->apply(in[0], out, p);
          });
    }
  }

  bool is_adapted(std::string_view module) const {
    return std::ranges::any_of(adapters, [&](const auto& a) { return a->name == module; });
  }

  void choose_extra(const lora::Targets& targets) {
    std::set<std::string> names;
    for (const auto& [name, module] : base.named_modules())
      if (targets.is_saved(name))
        for (const auto& [parameter, tensor] : module->named_parameters())
          names.insert(name + "." + parameter);
    for (const auto& [name, tensor] : base.named_parameters()) {
      const std::string_view module = std::string_view(name).substr(0, name.rfind('.'));
      const bool is_bias =
          name.ends_with(".bias") &&
          (config.bias == "all" || (config.bias == "lora_only" && is_adapted(module)));
      if (!is_bias && !names.contains(name)) continue;
      Tensor parameter = tensor;
      parameter.set_requires_grad();
      extra.emplace_back(name, parameter);
      originals.push_back(parameter.detach().clone());
    }
  }

  void detach() {
    for (auto& adapter : adapters) {
      if (adapter->hook >= 0) adapter->layer->remove_hook(adapter->hook);
      adapter->hook = -1;
    }
  }
};

LoraModel::LoraModel(nn::Module& base, LoraConfig config, int64_t seed)
    : impl_(std::make_unique<Impl>(base, std::move(config))) {
  impl_->attach(seed);
}
LoraModel::~LoraModel() {
  impl_->detach();
}

const LoraConfig& LoraModel::config() const {
  return impl_->config;
}

StateDict LoraModel::trainable_parameters() const {
  StateDict out;
  for (const auto& adapter : impl_->adapters) {
    out.emplace_back(adapter->name + ".lora_A.weight", adapter->a.weight);
    out.emplace_back(adapter->name + ".lora_B.weight", adapter->b.weight);
  }
  out.insert(out.end(), impl_->extra.begin(), impl_->extra.end());
  return out;
}

int64_t LoraModel::num_trainable_parameters() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : trainable_parameters()) count += tensor.numel();
  return count;
}

std::vector<std::string> LoraModel::adapted_modules() const {
  std::vector<std::string> out;
  for (const auto& adapter : impl_->adapters) out.push_back(adapter->name);
  return out;
}

StateDict LoraModel::state_dict() const {
  StateDict out;
  for (const auto& [name, tensor] : trainable_parameters()) {
    // PEFT moves an adapted layer's own parameters one level down.
    std::string stored = name;
    if (const size_t dot = name.rfind('.');
        name.substr(dot) == ".bias" && impl_->is_adapted(name.substr(0, dot)))
      stored = name.substr(0, dot) + ".base_layer.bias";
    out.emplace_back(std::string(kPrefix) + stored, tensor);
  }
  return out;
}

void LoraModel::save_pretrained(const std::string& folder) const {
  create_folders(folder);
  write_state(join_path(folder, kWeights), state_dict(), {{"format", "pt"}});
  write_file_atomic(join_path(folder, "adapter_config.json"), impl_->config.to_json());
}

void LoraModel::load_weights(const std::string& folder) {
  const std::string path = join_path(folder, kWeights);
  if (!file_exists(path)) {
    if (const std::string pickle = join_path(folder, "adapter_model.bin"); file_exists(pickle))
      usage_error(
          "{} is a pickle file, which can run any code when it is read: save the adapter "
          "as {}",
          pickle, kWeights);
    usage_error("{} holds no adapter: there is no {}", folder, path);
  }
  const Safetensors file = Safetensors::open(path);
  copy_weights("lora", path, file, state_dict(),
               [&](std::string_view stored) { return map_name(stored, file); });
}

void LoraModel::merge_and_unload() {
  impl_->detach();
  const NoGradGuard no_grad;
  for (auto& adapter : impl_->adapters) {
    Tensor weight = adapter->weight();
    weight.copy_((weight.to(DType::f32) + adapter->delta()).to(weight.dtype()));
  }
  impl_->adapters.clear();
}

void LoraModel::unload() {
  impl_->detach();
  const NoGradGuard no_grad;
  for (size_t i = 0; i < impl_->extra.size(); ++i)
    impl_->extra[i].second.copy_(impl_->originals[i]);
  impl_->adapters.clear();
}

}  // namespace corten
