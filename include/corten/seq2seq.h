// Encoder-decoders in Hugging Face layout: T5, of both versions (v1.1 and its kin, Flan-T5 among
// them); readable and written as the transformers library does.
//
//   auto model = AutoModelForSeq2SeqLM::from_pretrained(folder);
//   Tensor loss = model->loss({.ids = ids, .attention_mask = mask}, labels);
//   Generation out = generate(*model, {{37, 423, 1}}, {.max_new_tokens = 20});
//
// B sequences, S tokens of the input, T tokens of the output, C width, V vocabulary entries.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"
#include "corten/generate.h"
#include "corten/nn.h"
#include "corten/safetensors.h"

namespace corten {

/// What an encoder-decoder reads. The masks may be undefined.
struct Seq2SeqInput {
  Tensor ids = {};             ///< integers [B, S]
  Tensor attention_mask = {};  ///< [B, S], 0 where a token is padding, which no one sees
  Tensor decoder_ids = {};     ///< integers [B, T], each of which sees itself and the former
  Tensor decoder_attention_mask = {};  ///< [B, T], likewise
};

/// What decoding token by token keeps.
struct Seq2SeqCache {
  /// Of the written tokens: one row for each sequence.
  KvCache own;
  /// Of the input, computed once: [inputs, heads, S, head size] for each layer. Every input is
  /// that of batch / inputs neighbouring sequences, which share them.
  std::vector<Tensor> cross_keys, cross_values;
  Tensor visible;  ///< bool [inputs, S], false where the input is padding
  int64_t inputs = 0;
};

/// What all encoder-decoders have in common.
class Seq2SeqModel : public nn::Module {
 public:
  /// States of the input's tokens, [B, S, C].
  Tensor encode(const Tensor& ids, const Tensor& attention_mask = {});
  /// Last states of the decoder, [B, T, C]. Usage error if an id exceeds the vocabulary, shapes do
  /// not fit or the model is an encoder only.
  Tensor hidden_states(const Seq2SeqInput& input);

  virtual int64_t vocab_size() const = 0;
  /// Of the weights: what parameters are stored as.
  DType dtype() const;
  /// The model's config.json.
  virtual std::string config_json() const = 0;
  virtual bool has_decoder() const = 0;

  /// Writes config.json, generation_config.json and model.safetensors (tied weights once), each
  /// atomically, into `folder`, which is made if there is none. Weights of more than
  /// `max_shard_size` bytes become shards with an index. transformers' from_pretrained() reads it.
  void save_pretrained(const std::string& folder, uint64_t max_shard_size = kMaxShardSize) const;
  /// Copies weights from the .safetensors files of `folder`, of any floating type. Usage error
  /// listing missing, unexpected and misshapen tensors; then nothing was changed.
  void load_weights(const std::string& folder);

  /// The generation_config.json that the model was loaded with, "{}" if none. Usage error
  /// "source: ..." for broken JSON.
  const std::string& generation_config_json() const { return generation_config_json_; }
  void set_generation_config_json(std::string_view json,
                                  std::string_view source = "generation_config.json");

 protected:
  virtual Tensor forward_encoder(const Tensor& ids_BS, const Tensor& mask_BS) = 0;
  virtual Tensor forward_hidden(const Seq2SeqInput& input) = 0;
  /// The name under which the model holds a tensor of `file`: "" for one to leave out.
  virtual std::string map_weight_name(std::string_view stored, const Safetensors& file) const = 0;
  /// Usage error where weights and config cannot belong together.
  virtual void check_weights(const Safetensors& file, std::string_view folder) const = 0;
  void check_input(const Seq2SeqInput& input) const;

 private:
  std::string generation_config_json_ = "{}";
};

/// An encoder-decoder that writes text.
class Seq2SeqLM : public Seq2SeqModel {
 public:
  /// Logits [B, T, V] of the token after each of decoder_ids.
  Tensor operator()(const Seq2SeqInput& input);
  /// Mean (or sum, or none: [B, T]) cross entropy in nats of labels [B, T]; those of -100 do not
  /// count. Where the input has no decoder_ids, they are shift_right(labels).
  Tensor loss(const Seq2SeqInput& input, const Tensor& labels,
              Reduction reduction = Reduction::mean);
  /// What the decoder reads to predict `labels`: the start token, then all labels but the last,
  /// padding for those of -100. Usage error without a decoder_start_token_id or pad_token_id.
  Tensor shift_right(const Tensor& labels) const;

  /// Tokens that end a text, and the one that begins it: those of the config, or of
  /// generation_config.json where the model was loaded with one.
  std::vector<int64_t> eos_token_ids() const;
  std::optional<int64_t> decoder_start_token_id() const;
  /// Of the products of `batch` inputs of `tokens` tokens, whose outputs have `decoder_tokens`.
  virtual double forward_flops(int64_t batch, int64_t tokens, int64_t decoder_tokens) const = 0;

  /// Room for `length` tokens of each of `batch` sequences, which continue `inputs` inputs of
  /// `input_tokens` tokens.
  Seq2SeqCache make_cache(int64_t batch, int64_t length, int64_t inputs, int64_t input_tokens);
  /// Runs the encoder on ids [inputs, S] and notes what the decoder needs of it. attention_mask
  /// [inputs, S]; undefined: no padding.
  void prefill(const Tensor& ids, const Tensor& attention_mask, Seq2SeqCache& cache);
  /// Runs one token of each sequence, ids [B, 1], in slot `position` (i64 0-d) of the cache, which
  /// holds all earlier ones: logits [B, V], the same bits as uncached ones.
  Tensor decode(const Tensor& ids, const Tensor& position, Seq2SeqCache& cache);

 protected:
  virtual Tensor forward_logits(const Seq2SeqInput& input) = 0;
  virtual void forward_prefill(const Tensor& ids_BS, const Tensor& mask_BS,
                               Seq2SeqCache& cache) = 0;
  virtual Tensor forward_decode(const Tensor& ids_B1, const Tensor& position,
                                Seq2SeqCache& cache) = 0;
  /// Layers, heads and head size of the decoder.
  struct CacheShape {
    int64_t layers = 0, heads = 0, head_size = 0;
  };
  virtual CacheShape cache_shape() const = 0;
  /// Of config.json.
  virtual std::vector<int64_t> default_eos_token_ids() const = 0;
  virtual std::optional<int64_t> default_decoder_start_token_id() const = 0;
  virtual std::optional<int64_t> pad_token_id() const = 0;
};

/// Writes the outputs of several inputs, shorter ones of which are padded at the right. Everything
/// is as with decoders (corten/generate.h), where the prompt of each output is the start token.
/// `reasons`, `ids` and `scores` are those of the written tokens; `prompt_tokens` counts the
/// inputs'.
Generation generate(Seq2SeqLM& model, const std::vector<std::vector<int64_t>>& inputs,
                    const GenerationOptions& options = {}, const TokenCallback& on_token = {});

/// Encoder-decoders by the "model_type" of a config.json, as AutoModelForMaskedLM (corten/
/// encoders.h) for encoders: from_pretrained() gives a model in eval mode, from_config() one in
/// training mode that has no values until initialize() or load_weights().
struct AutoModelForSeq2SeqLM {
  static std::unique_ptr<Seq2SeqLM> from_pretrained(const std::string& folder,
                                                    std::optional<DType> dtype = {});
  static std::unique_ptr<Seq2SeqLM> from_config(std::string_view config_json,
                                                std::string_view source = "config.json");
};
/// The same without a head, what transformers' AutoModel gives; without a decoder, too, if the
/// config's "architectures" names an encoder.
struct AutoSeq2SeqModel {
  static std::unique_ptr<Seq2SeqModel> from_pretrained(const std::string& folder,
                                                       std::optional<DType> dtype = {});
  static std::unique_ptr<Seq2SeqModel> from_config(std::string_view config_json,
                                                   std::string_view source = "config.json");
};

/// t5.
std::vector<std::string> seq2seq_model_types();

}  // namespace corten
