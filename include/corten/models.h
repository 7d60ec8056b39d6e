// Language models in Hugging Face layout: a folder with config.json, model.safetensors,
// generation_config.json and tokenizer files, readable and written as the transformers library
// does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"
#include "corten/load_report.h"
#include "corten/nn.h"
#include "corten/safetensors.h"

namespace corten {

/// Keys and values of all layers for decoding token by token: tensors of fixed size, written in
/// place, so that a decoding step is compiled once.
struct KvCache {
  int64_t batch = 0, length = 0;     ///< sequences; positions there is room for
  std::vector<Tensor> keys, values;  ///< one per layer: [batch, key heads, length, head size]
  /// For prompts with padding, undefined without: bool [batch, length], false where there is some,
  /// and i64 [batch], how much of it each sequence has.
  Tensor visible, shift;
};

/// A decoder-only language model. B sequences of T tokens, V vocabulary entries.
class CausalLM : public nn::Module {
 public:
  /// Logits [B, T, V] of the next token after each position. ids: i64 or i32 [B, T]; attention_mask
  /// (may be undefined): [B, T], 0 where a token is padding that no other one may see. Learned
  /// positions (GPT-2) count from 0 in every row, rotary ones from the first token that is no
  /// padding. Usage error if T exceeds max_positions() or an id the vocabulary.
  Tensor operator()(const Tensor& ids, const Tensor& attention_mask = {});
  /// Mean (or sum, or none: [B, T]) cross entropy in nats of targets [B, T], which are the ids
  /// shifted by one; targets of -100 do not count.
  Tensor loss(const Tensor& ids, const Tensor& targets, Reduction reduction = Reduction::mean);
  /// The loss that transformers gives for `labels` [B, T]: the ids themselves, which are shifted
  /// here, -100 for those that do not count, which padding should be. The mean over all that do.
  /// attention_mask as of operator(); may be undefined.
  Tensor loss(const Tensor& ids, const Tensor& labels, const Tensor& attention_mask);

  /// Room for `length` tokens of each sequence; zeros of the weights' dtype. `padded`: for prompts
  /// with an attention mask. Usage error beyond max_positions().
  KvCache make_cache(int64_t batch, int64_t length, bool padded = false);
  /// Runs ids [B, T] as the first tokens, fills the cache and gives the logits [B, V] after the
  /// last one. attention_mask [B, T], for caches made `padded` and for no others: 0 for padding,
  /// which stands at the left, so that the last token of each row is one of the prompt; positions
  /// count from the first visible token, as in transformers' generate().
  Tensor prefill(const Tensor& ids, KvCache& cache, const Tensor& attention_mask = {});
  /// Runs one token of each sequence, ids [B, 1], in slot `position` (i64 0-d) of the cache, which
  /// holds all earlier ones: [B, V]. The same bits as uncached logits.
  Tensor decode(const Tensor& ids, const Tensor& position, KvCache& cache);

  /// Whether extend() runs its tokens together; otherwise decode() has to take them one by one.
  virtual bool can_extend() const { return false; }
  /// Runs ids [B, T] in slots position .. position + T - 1 of a cache without padding: logits
  /// [B, T, V], of the same bits as T calls of decode(). Internal error unless can_extend().
  Tensor extend(const Tensor& ids, const Tensor& position, KvCache& cache);

  virtual int64_t vocab_size() const = 0;
  virtual int64_t max_positions() const = 0;
  /// Tokens that end a text: those of the config, or of generation_config.json where the model was
  /// loaded with one.
  const std::vector<int64_t>& eos_token_ids() const { return eos_token_ids_; }
  void set_eos_token_ids(std::vector<int64_t> ids) { eos_token_ids_ = std::move(ids); }
  /// The generation_config.json that the model was loaded with, "{}" if none (see GenerationConfig
  /// in corten/generate.h). Setting one takes over its end tokens. Usage error "source: ..." for
  /// broken JSON.
  const std::string& generation_config_json() const { return generation_config_json_; }
  void set_generation_config_json(std::string_view json,
                                  std::string_view source = "generation_config.json");
  /// The model's config.json.
  virtual std::string config_json() const = 0;
  /// Of the weights: what parameters are stored as. Of quantised models: those that are not quantised.
  DType dtype() const;
  /// How the weights are quantised, if they are: see quantize_model().
  const std::optional<Quantization>& quantization() const { return quantization_; }
  /// Multiplications and additions of unpadded matrix products of one forward pass over [B, T], the
  /// causal half of attention only; a backward pass takes twice as many.
  virtual double forward_flops(int64_t batch, int64_t tokens) const = 0;

  /// Writes config.json, generation_config.json and model.safetensors (tied weights once), each
  /// atomically, into `folder`, which is made if there is none. Weights of more than
  /// `max_shard_size` bytes become shards with an index. transformers' from_pretrained() reads it.
  void save_pretrained(const std::string& folder, uint64_t max_shard_size = kMaxShardSize) const;
  /// Copies weights from the .safetensors files of `folder`, of any floating type; those of
  /// quantised layers are quantised, or copied if the file has them quantised. A head that the file
  /// lacks and that is not the token embedding is drawn from `seed`: see load_report(). Usage error
  /// listing what else is missing, unexpected and misshapen tensors; then nothing was changed.
  void load_weights(const std::string& folder, int64_t seed = 0);
  /// Of the last load_weights().
  const LoadReport& load_report() const { return report_; }

 protected:
  virtual Tensor forward_logits(const Tensor& ids, const Tensor& attention_mask) = 0;
  virtual Tensor forward_prefill(const Tensor& ids, const Tensor& attention_mask,
                                 KvCache& cache) = 0;
  virtual Tensor forward_decode(const Tensor& ids, const Tensor& position, KvCache& cache) = 0;
  virtual Tensor forward_extend(const Tensor& ids, const Tensor& position, KvCache& cache);
  /// Layers, heads and head size of the cache.
  struct CacheShape {
    int64_t layers = 0, heads = 0, head_size = 0;
  };
  virtual CacheShape cache_shape() const = 0;
  /// Tokens that operator() takes; more than max_positions() where a cache is not possible.
  virtual int64_t longest_input() const { return max_positions(); }
  /// The name under which the model holds a tensor of a file: "" for one to leave out (buffers of
  /// older versions, copies of tied weights), the name itself if nothing matches.
  virtual std::string map_weight_name(std::string_view stored) const;
  /// Usage error that says what to change where weights and config cannot belong together.
  virtual void check_weights(const Safetensors& file, std::string_view folder) const;

 private:
  void check_ids(const Tensor& ids, int64_t longest) const;
  void check_mask(const Tensor& ids, const Tensor& attention_mask) const;
  friend void quantize_model(CausalLM& model, const Quantization& how, bool keep_values);
  std::vector<int64_t> eos_token_ids_;
  std::optional<Quantization> quantization_;
  std::string generation_config_json_ = "{}";
  LoadReport report_;
};

/// GPT-2's fields of config.json, with the defaults of transformers' GPT2Config.
struct GPT2Config {
  int64_t vocab_size = 50257, n_positions = 1024, n_embd = 768, n_layer = 12, n_head = 12;
  std::optional<int64_t> n_inner = {};  ///< width of the MLP; unset: 4 n_embd
  /// gelu_new, gelu_pytorch_tanh or gelu_fast (the tanh approximation), gelu, relu, silu or swish,
  /// tanh.
  std::string activation_function = "gelu_new";
  double resid_pdrop = 0.1, embd_pdrop = 0.1, attn_pdrop = 0.1;
  double layer_norm_epsilon = 1e-5, initializer_range = 0.02;
  bool scale_attn_weights = true, scale_attn_by_inverse_layer_idx = false;
  bool tie_word_embeddings = true;
  std::optional<int64_t> bos_token_id = 50256;
  std::vector<int64_t> eos_token_id = {50256};  ///< may be none or several
  std::string other_fields =
      "{}";  ///< JSON object of what Corten has no use for; written back as it was

  /// Usage error "source: ..." for broken JSON, wrong types, impossible sizes and features that
  /// Corten lacks.
  static GPT2Config from_json(std::string_view text, std::string_view source = "config.json");
  std::string to_json() const;
  int64_t inner() const { return n_inner.value_or(4 * n_embd); }
  int64_t num_parameters() const;  ///< of the model, without making it
};

/// The model of the text of a config.json ("model_type" decides), with zeros for weights until
/// initialize() or load_weights().
std::unique_ptr<CausalLM> make_model(std::string_view config_json,
                                     std::string_view source = "config.json");
std::unique_ptr<CausalLM> make_gpt2(const GPT2Config& config);
/// Model types that make_model() knows: gpt2, llama, mistral, qwen2, qwen3, gemma2.
std::vector<std::string> model_types();

/// What a config.json describes, without making the model.
struct ModelInfo {
  std::string model_type, architecture;  ///< "llama", "LlamaForCausalLM"
  int64_t num_parameters = 0, vocab_size = 0, max_positions = 0;
};
ModelInfo model_info(std::string_view config_json, std::string_view source = "config.json");

/// Reads a folder in Hugging Face layout, in eval mode. `dtype`: of the weights; unset: that of the
/// file. Usage error if the folder holds no model, or one that Corten does not know.
std::unique_ptr<CausalLM> load_model(const std::string& folder, std::optional<DType> dtype = {});

/// How load_model() loads.
struct LoadOptions {
  std::optional<DType> dtype = {};  ///< of the weights, but for quantised ones; unset: that of the file
  bool load_in_8bit = false, load_in_4bit = false;  ///< quantise float weights: at most one of them
  int64_t group_size = 0;                           ///< of 4 bits; 0: the default
  double llm_int8_threshold = 6;                    ///< Quantization::outlier_threshold

  /// What the last three fields ask for. Usage error for both at once.
  std::optional<Quantization> quantization() const;
};
/// The same with weights that are quantised as they are read, matrix by matrix. Folders of quantised models are loaded by either;
/// to quantise one again is a usage error.
std::unique_ptr<CausalLM> load_model(const std::string& folder, const LoadOptions& options);

/// Replaces the weights of linear layers by int8 or int4; token embedding and head, tied or not, get 8 bits either way. What is left
/// (norms, biases, positions) keeps its dtype. Without `keep_values` the weights become zeros, for load_weights(). Usage error for
/// a model that is quantised already.
void quantize_model(CausalLM& model, const Quantization& how, bool keep_values = true);

/// Copies tokenizer.json and the other tokenizer files that `from` has into `to`.
void copy_tokenizer_files(const std::string& from, const std::string& to);

}  // namespace corten
