// Low-rank adapters (LoRA: Hu et al., 2021) in the layout of the PEFT library: a frozen model
// learns W + s B A with small matrices A and B beside its large ones, and only those are stored.
//
//   auto model = load_model("base");
//   LoraModel lora(*model, {.r = 8, .lora_alpha = 16, .target_modules = {"q_proj", "v_proj"}});
//   ... train: only lora.trainable_parameters() have gradients ...
//   lora.save_pretrained("adapter");           // adapter_config.json, adapter_model.safetensors
//
//   LoraModel again(*other, LoraConfig::from_pretrained("adapter"));
//   again.load_weights("adapter");
//   again.merge_and_unload();                  // other is a plain model with the sums as weights
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/nn.h"

namespace corten {

/// Fields of adapter_config.json, with PEFT's names and defaults.
struct LoraConfig {
  int64_t r = 8;          ///< rank: A is [r, in], B [out, r]
  double lora_alpha = 8;  ///< s = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora
  double lora_dropout = 0;
  /// Full names of linear layers, or their last parts. Empty: see target_pattern.
  std::vector<std::string> target_modules = {};
  /// Instead of them a regular expression for whole names, or "all-linear": all but the head. If
  /// both are empty, what PEFT chooses for the model_type given to set_default_targets().
  std::string target_pattern = {};
  std::vector<std::string> exclude_modules = {};  ///< names or their last parts
  std::string exclude_pattern = {};               ///< or a regular expression
  std::vector<int64_t> layers_to_transform = {};  ///< of the targets; empty: all
  std::vector<std::string> layers_pattern = {};   ///< the name before a layer's number; empty: any
  /// Ends of the names of modules that are trained and stored as a whole, such as a new head.
  std::vector<std::string> modules_to_save = {};
  std::string bias = "none";  ///< biases that are trained, too: none, all, lora_only
  bool use_rslora = false;    ///< Kalajdzievski (2023)
  /// Weights are [in, out], as those of GPT-2's Conv1D; seen from the layers.
  bool fan_in_fan_out = false;
  /// r and lora_alpha of modules whose name ends with a match.
  std::vector<std::pair<std::string, int64_t>> rank_pattern = {};
  std::vector<std::pair<std::string, double>> alpha_pattern = {};
  std::string base_model_name_or_path = {};
  std::string task_type = {};  ///< "CAUSAL_LM", "SEQ_CLS", ...; empty: null
  std::string other_fields =
      "{}";  ///< JSON object of what Corten has no use for; written back as it was

  /// Usage error "source: ..." for broken JSON, wrong types, values out of range and variants of
  /// LoRA that Corten lacks (DoRA, replicated layers, tokens, parameters).
  static LoraConfig from_json(std::string_view text,
                              std::string_view source = "adapter_config.json");
  /// Of a folder's adapter_config.json.
  static LoraConfig from_pretrained(const std::string& folder);
  std::string to_json() const;
  bool has_targets() const { return !target_modules.empty() || !target_pattern.empty(); }
  /// PEFT's choice for a model without targets: queries and values of most. Usage error for types
  /// that it has none for.
  void set_default_targets(std::string_view model_type);
};

/// Adapters beside the linear layers (nn::Linear and nn::Conv1D) and token embeddings of a model,
/// as forward hooks. The model stays what it was, frozen but for what the config asks for. As in
/// PEFT, the adapter of a token embedding does not reach a head that is tied to it.
class LoraModel {
 public:
  /// `base` must outlive this. A starts uniformly (as torch.nn.Linear), B from zeros, so that
  /// nothing changes at first; those of embeddings from zeros and normally; all are f32. Usage
  /// error if no layer, or a layer of another kind, matches, or the head is asked for where it is
  /// no layer.
  LoraModel(nn::Module& base, LoraConfig config, int64_t seed = 0);
  /// Takes the adapters off; the model keeps its frozen weights.
  ~LoraModel();
  LoraModel(const LoraModel&) = delete;
  LoraModel& operator=(const LoraModel&) = delete;

  const LoraConfig& config() const;
  /// Those of the adapters, then biases and modules_to_save of the model, under names of the model.
  StateDict trainable_parameters() const;
  int64_t num_trainable_parameters() const;
  /// Names of the layers with an adapter.
  std::vector<std::string> adapted_modules() const;

  /// What the file of an adapter holds: trainable_parameters() under PEFT's names. Where
  /// target_modules name the token embedding or the head ("embed_tokens", "lm_head"), also the
  /// model's own weights of those, because a vocabulary may have grown.
  StateDict state_dict() const;
  /// Whether a parameter of the model is trained here, or was read from an adapter's file.
  bool brings(std::string_view parameter) const;
  /// Writes adapter_config.json and adapter_model.safetensors, each atomically, into `folder`.
  void save_pretrained(const std::string& folder) const;
  /// Copies an adapter's tensors, and the model's own weights of embedding and head if the file has
  /// them. Usage error listing missing, unexpected and misshapen ones; then nothing was changed.
  void load_weights(const std::string& folder);

  /// Adds s B A to the model's weights, computed in f32, and takes the adapters off. Usage error
  /// for an adapter of an embedding that the head is tied to, which the sum would change, too.
  void merge_and_unload();
  /// Takes the adapters off and gives back the biases and modules that they came with.
  void unload();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whether `folder` holds an adapter_config.json.
bool holds_adapter(const std::string& folder);

}  // namespace corten
