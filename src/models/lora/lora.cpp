#include "corten/lora.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/file.h"
#include "base/format.h"
#include "corten/models.h"
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
  bool embeds;          ///< the layer is an embedding
  double scale;
  Matrix a, b;
  int64_t hook = -1;

  Adapter(std::string the_name, nn::Module& the_layer, int64_t in, int64_t out, bool transposed,
          int64_t rank, double the_scale)
      : name(std::move(the_name)),
        layer(&the_layer),
        fan_in_fan_out(transposed),
        embeds(dynamic_cast<nn::Embedding*>(layer) != nullptr),
        scale(the_scale),
        a({rank, in}, initial_a()),
        b({out, rank}, init::zeros()) {}

  std::string a_name() const { return name + (embeds ? ".lora_embedding_A" : ".lora_A.weight"); }
  std::string b_name() const { return name + (embeds ? ".lora_embedding_B" : ".lora_B.weight"); }
  /// The name in a file of the layer's own weight.
  std::string base_name() const { return name + ".base_layer.weight"; }

  /// Values keyed by the layer's name, whatever else has an adapter.
  void initialize(int64_t seed) {
    const NoGradGuard no_grad;
    if (embeds)
      b.weight.copy_(init::normal(0, 1)(b.weight.shape(), seed, b_name()));
    else
      a.weight.copy_(initial_a()(a.weight.shape(), seed, a_name()));
    if (embeds) a.weight.fill_(0);
    a.mark_initialized();
    b.mark_initialized();
  }
  Tensor& weight() const {
    if (auto* linear = dynamic_cast<nn::Linear*>(layer)) return linear->weight;
    if (auto* embedding = dynamic_cast<nn::Embedding*>(layer)) return embedding->weight;
    return static_cast<nn::Conv1D*>(layer)->weight;
  }
  Tensor apply(const Tensor& x, const Tensor& out, double dropout_p) const {
    if (embeds) return (out + linear(embedding(x, a.weight.t()), b.weight) * scale).to(out.dtype());
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

std::string_view last_part(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

/// Embeddings that models look ids up in as a whole; positions are sliced.
bool is_token_embedding(std::string_view name) {
  const std::string_view part = last_part(name);
  return part == "embed_tokens" || part == "wte" || part == "word_embeddings";
}
bool is_head(std::string_view name) {
  return last_part(name) == "lm_head";
}

/// Sizes of a layer that can have an adapter; zeros for others.
struct Fans {
  int64_t in = 0, out = 0;
  bool transposed = false;
};
Fans fans_of(std::string_view name, nn::Module& module) {
  if (const auto* layer = dynamic_cast<nn::Quantizable*>(&module); layer && layer->is_quantized())
    usage_error("[lora] adapters need float weights, and those of the model are quantised to {} bits", layer->quantized().how.bits);
  if (auto* linear = dynamic_cast<nn::Linear*>(&module))
    return {linear->weight.size(1), linear->weight.size(0), false};
  if (auto* conv = dynamic_cast<nn::Conv1D*>(&module))
    return {conv->weight.size(0), conv->weight.size(1), true};
  if (auto* embedding = dynamic_cast<nn::Embedding*>(&module);
      embedding && is_token_embedding(name))
    return {embedding->weight.size(0), embedding->weight.size(1), true};
  return {};
}

}  // namespace

struct LoraModel::Impl {
  nn::Module& base;
  LoraConfig config;
  std::vector<std::unique_ptr<Adapter>> adapters;
  StateDict extra;                ///< parameters of the model that are trained, too
  std::vector<Tensor> originals;  ///< what they were
  bool saves_base = false;        ///< files hold the model's own weights of embedding and head
  /// Of adapters whose layer got its own weight from a file, and what that was.
  std::vector<std::pair<Adapter*, Tensor>> replaced;

  Impl(nn::Module& the_base, LoraConfig the_config)
      : base(the_base), config(std::move(the_config)) {}

  void attach(int64_t seed) {
    // As PEFT, which trains the head of a classifier in any case.
    if (config.task_type == "SEQ_CLS" && config.modules_to_save.empty())
      config.modules_to_save = {"classifier", "score"};
    const lora::Targets targets(config, base);
    for (const auto& [name, module] : base.named_modules()) {
      const bool embeds = dynamic_cast<nn::Embedding*>(module) != nullptr;
      if (!targets.matches(name, !embeds && fans_of(name, *module).in > 0)) continue;
      const Fans fans = fans_of(name, *module);
      if (fans.in == 0)
        usage_error("[lora] {} is {}, not a linear layer or the token embedding", name,
                    module->type_name());
      if (fans.transposed && !embeds) config.fan_in_fan_out = true;
      const int64_t rank = targets.rank(name);
      const double alpha = targets.alpha(name);
      const double divisor =
          config.use_rslora ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank);
      adapters.push_back(std::make_unique<Adapter>(name, *module, fans.in, fans.out,
                                                   fans.transposed, rank, alpha / divisor));
    }
    if (adapters.empty())
      usage_error("[lora] no layer of {} matches {}", base.type_name(), targets.description());
    // PEFT passes over names without a module; this one would be missed.
    if (names_target("lm_head") &&
        std::ranges::none_of(base.named_modules(), [](const auto& m) { return is_head(m.first); }))
      usage_error(
          "[lora] {} has no lm_head to adapt: its head is the token embedding, or it has none",
          base.type_name());
    base.requires_grad_(false);
    choose_extra(targets);
    saves_base = names_target("lm_head") || names_target("embed_tokens") ||
                 (config.target_modules.empty() && config.target_pattern != "all-linear" &&
                  std::ranges::any_of(adapters, [](const auto& a) {
                    return is_head(a->name) || last_part(a->name) == "embed_tokens";
                  }));
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

  bool names_target(std::string_view module) const {
    return std::ranges::find(config.target_modules, module) != config.target_modules.end();
  }
  static bool has_base_in_files(const Adapter& adapter) {
    return is_head(adapter.name) || adapter.embeds;
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
    out.emplace_back(adapter->a_name(), adapter->a.weight);
    out.emplace_back(adapter->b_name(), adapter->b.weight);
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
  if (impl_->saves_base)
    for (const auto& adapter : impl_->adapters)
      if (Impl::has_base_in_files(*adapter))
        out.emplace_back(std::string(kPrefix) + adapter->base_name(), adapter->weight());
  return out;
}

bool LoraModel::brings(std::string_view parameter) const {
  const auto is_weight = [&](const auto& entry) {
    return entry.first->name + ".weight" == parameter;
  };
  return find_tensor(impl_->extra, parameter) || std::ranges::any_of(impl_->replaced, is_weight);
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
  StateDict state = state_dict();
  std::vector<std::pair<Adapter*, Tensor>> replaced;
  for (const auto& adapter : impl_->adapters) {
    const std::string name = std::string(kPrefix) + adapter->base_name();
    if (!Impl::has_base_in_files(*adapter)) continue;
    if (!impl_->saves_base) state.emplace_back(name, adapter->weight());
    if (file.find(name)) replaced.emplace_back(adapter.get(), adapter->weight().detach().clone());
  }
  copy_weights(
      "lora", path, file, state, [&](std::string_view stored) { return map_name(stored, file); },
      nullptr, [](std::string_view name) { return name.ends_with(".base_layer.weight"); });
  if (impl_->replaced.empty()) impl_->replaced = std::move(replaced);
}

void LoraModel::merge_and_unload() {
  const auto* model = dynamic_cast<const CausalLM*>(&impl_->base);
  const bool tied = model && std::ranges::none_of(impl_->base.named_modules(),
                                                  [](const auto& m) { return is_head(m.first); });
  for (const auto& adapter : impl_->adapters)
    if (tied && adapter->embeds)
      usage_error("[lora] {} cannot be merged: the head of {} is tied to it and would change, too",
                  adapter->name, impl_->base.type_name());
  impl_->detach();
  const NoGradGuard no_grad;
  for (auto& adapter : impl_->adapters) {
    Tensor weight = adapter->weight();
    weight.copy_((weight.to(DType::f32) + adapter->delta()).to(weight.dtype()));
  }
  impl_->replaced.clear();
  impl_->adapters.clear();
}

void LoraModel::unload() {
  impl_->detach();
  const NoGradGuard no_grad;
  for (size_t i = 0; i < impl_->extra.size(); ++i)
    impl_->extra[i].second.copy_(impl_->originals[i]);
  for (auto& [adapter, weight] : impl_->replaced) adapter->weight().copy_(weight);
  impl_->replaced.clear();
  impl_->adapters.clear();
}

}  // namespace corten
