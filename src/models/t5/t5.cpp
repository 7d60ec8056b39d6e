#include "models/t5/t5.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/format.h"
#include "corten/safetensors.h"
#include "models/t5/stack.h"

namespace corten::t5 {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

/// What the models have in common: not a module, because parameters have no prefix.
struct Parts {
  Parts(const Config& c, bool with_decoder)
      : config(c),
        shared(c.vocab_size, c.d_model, init::normal(0, c.initializer_factor)),
        encoder(c, false) {
    if (with_decoder) decoder = std::make_unique<Stack>(c, true);
  }

  Tensor encode(const Tensor& ids_BS, const Tensor& mask_BS) {
    const int64_t S = ids_BS.size(1);
    Call call;
    call.bias = encoder.bias(arange(S).reshape({S, 1}), arange(S).reshape({1, S}));
    if (mask_BS.defined()) call.bias = hide(call.bias, mask_BS);
    return encoder(shared(ids_BS), call);
  }
  Tensor decode(const Seq2SeqInput& input) {
    const int64_t T = input.decoder_ids.size(1);
    Call call;
    call.input_BSC = encode(input.ids, input.attention_mask);
    call.causal = true;
    call.bias = decoder->bias(arange(T).reshape({T, 1}), arange(T).reshape({1, T}));
    if (input.decoder_attention_mask.defined())
      call.bias = hide(call.bias, input.decoder_attention_mask);
    if (input.attention_mask.defined()) call.cross_mask = seen(input.attention_mask);
    return (*decoder)(shared(input.decoder_ids), call);
  }

  static Tensor seen(const Tensor& mask_BS) {
    return (mask_BS != 0.0).reshape({mask_BS.size(0), 1, 1, mask_BS.size(1)});
  }
  static Tensor hide(const Tensor& bias, const Tensor& mask_BS) {
    return where(seen(mask_BS), bias, scalar(kHidden, bias.dtype()));
  }

  Config config;
  nn::Embedding shared;
  Stack encoder;
  std::unique_ptr<Stack> decoder;
};

std::string config_text(const Config& config, std::string_view architecture) {
  Json out = config.json;
  out.set("architectures", Json(std::vector<std::string>{std::string(architecture)}));
  return out.dump(2) + "\n";
}

constexpr std::string_view kEncoderEmbedding = "encoder.embed_tokens.weight",
                           kDecoderEmbedding = "decoder.embed_tokens.weight";

bool is_copy_of_embedding(std::string_view name) {
  return name == kEncoderEmbedding || name == kDecoderEmbedding;
}

bool differ(const StoredTensor& a, const StoredTensor& b) {
  return a.dtype != b.dtype || a.dims != b.dims || !std::ranges::equal(a.bytes, b.bytes);
}

/// Stacks of older files hold the token embedding, too, which may be the only place; the first
/// checkpoints have a bias of the first cross-attention that nothing ever used.
std::string map_name(std::string_view stored, const Safetensors& file) {
  if (stored == "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight") return "";
  if (!is_copy_of_embedding(stored)) return std::string(stored);
  const bool is_first = stored == kEncoderEmbedding || !file.find(kEncoderEmbedding);
  return is_first && !file.find("shared.weight") ? "shared.weight" : "";
}

void check_embeddings(const Safetensors& file, std::string_view folder) {
  const StoredTensor* shared = file.find("shared.weight");
  if (!shared) shared = file.find(kEncoderEmbedding);
  for (const StoredTensor& tensor : file.tensors())
    if (shared && is_copy_of_embedding(tensor.name) && differ(tensor, *shared))
      usage_error("{}: {} differs from {}; models with several token embeddings are not supported",
                  folder, tensor.name, shared->name);
}

class Model : public Seq2SeqModel {
 public:
  Model(const Config& config, bool encoder_only) : parts_(config, !encoder_only) {
    register_module("shared", parts_.shared);
    register_module("encoder", parts_.encoder);
    if (parts_.decoder) register_module("decoder", *parts_.decoder);
  }
  int64_t vocab_size() const override { return parts_.config.vocab_size; }
  std::string config_json() const override { return config_text(parts_.config, type_name()); }
  bool has_decoder() const override { return parts_.decoder != nullptr; }
  std::string type_name() const override { return has_decoder() ? "T5Model" : "T5EncoderModel"; }

 protected:
  Tensor forward_encoder(const Tensor& ids_BS, const Tensor& mask_BS) override {
    return parts_.encode(ids_BS, mask_BS);
  }
  Tensor forward_hidden(const Seq2SeqInput& input) override { return parts_.decode(input); }
  std::string map_weight_name(std::string_view stored, const Safetensors& file) const override {
    if (stored == "lm_head.weight" || (!has_decoder() && stored.starts_with("decoder."))) return "";
    return map_name(stored, file);
  }
  void check_weights(const Safetensors& file, std::string_view folder) const override {
    check_embeddings(file, folder);
  }

 private:
  Parts parts_;
};

class ForConditionalGeneration : public Seq2SeqLM {
 public:
  ForConditionalGeneration(const Config& config, bool tied) : parts_(config, true) {
    register_module("shared", parts_.shared);
    register_module("encoder", parts_.encoder);
    register_module("decoder", *parts_.decoder);
    if (tied) return;
    lm_head_ =
        std::make_unique<Matrix>(config.d_model, config.vocab_size, config.initializer_factor);
    register_module("lm_head", *lm_head_);
  }
  int64_t vocab_size() const override { return parts_.config.vocab_size; }
  std::string config_json() const override { return config_text(parts_.config, type_name()); }
  bool has_decoder() const override { return true; }
  std::string type_name() const override { return "T5ForConditionalGeneration"; }
  double forward_flops(int64_t batch, int64_t tokens, int64_t decoder_tokens) const override {
    return parts_.config.forward_flops(batch, tokens, decoder_tokens);
  }

 protected:
  Tensor forward_encoder(const Tensor& ids_BS, const Tensor& mask_BS) override {
    return parts_.encode(ids_BS, mask_BS);
  }
  Tensor forward_hidden(const Seq2SeqInput& input) override { return parts_.decode(input); }
  Tensor forward_logits(const Seq2SeqInput& input) override { return head(parts_.decode(input)); }

  void forward_prefill(const Tensor& ids_BS, const Tensor& mask_BS, Seq2SeqCache& cache) override {
    const Tensor x_BSC = parts_.encode(ids_BS, mask_BS);
    for (size_t i = 0; i < parts_.decoder->size(); ++i) {
      Attention& cross = (*parts_.decoder)[i].cross();
      cache.cross_keys[i].copy_(cross.keys(x_BSC));
      cache.cross_values[i].copy_(cross.values(x_BSC));
    }
    if (mask_BS.defined())
      cache.visible.copy_(mask_BS != 0.0);
    else
      cache.visible.fill_(1);
  }

  Tensor forward_decode(const Tensor& ids_B1, const Tensor& position,
                        Seq2SeqCache& cache) override {
    const int64_t S = cache.own.length;
    const Tensor query_11 = position.reshape({1, 1}), key_1S = arange(S).reshape({1, S});
    Call call;
    const Tensor bias = parts_.decoder->bias(query_11, key_1S);
    call.bias =
        where((key_1S <= query_11).reshape({1, 1, 1, S}), bias, scalar(kHidden, bias.dtype()));
    call.cache = &cache.own;
    call.position = position;
    call.cross = &cache;
    call.cross_mask = cache.visible.reshape({cache.inputs, 1, 1, cache.visible.size(1)});
    return head((*parts_.decoder)(parts_.shared(ids_B1), call)).select(1, 0);
  }

  CacheShape cache_shape() const override {
    return {parts_.config.decoder_layers(), parts_.config.num_heads, parts_.config.d_kv};
  }
  std::vector<int64_t> default_eos_token_ids() const override { return parts_.config.eos_token_id; }
  std::optional<int64_t> default_decoder_start_token_id() const override {
    const Config& c = parts_.config;
    return c.decoder_start_token_id ? c.decoder_start_token_id : c.bos_token_id;
  }
  std::optional<int64_t> pad_token_id() const override { return parts_.config.pad_token_id; }

  std::string map_weight_name(std::string_view stored, const Safetensors& file) const override {
    if (stored == "lm_head.weight" && !lm_head_) return "";
    return map_name(stored, file);
  }
  void check_weights(const Safetensors& file, std::string_view folder) const override {
    check_embeddings(file, folder);
  }

 private:
  Tensor head(Tensor x_BTC) const {
    if (parts_.config.scales_outputs())
      x_BTC = x_BTC * (1 / std::sqrt(static_cast<double>(parts_.config.d_model)));
    return lm_head_ ? (*lm_head_)(x_BTC) : linear(x_BTC, parts_.shared.weight);
  }

  Parts parts_;
  std::unique_ptr<Matrix> lm_head_;  ///< null if tied to the token embedding
};

}  // namespace

std::unique_ptr<Seq2SeqModel> make_model(const Config& config, bool encoder_only) {
  return std::make_unique<Model>(config, encoder_only);
}
std::unique_ptr<Seq2SeqLM> make_lm(const Config& config, bool tied) {
  return std::make_unique<ForConditionalGeneration>(config, tied);
}

}  // namespace corten::t5
