// The decoder that the families share: token embedding, blocks, final norm and head, with the
// parameter names of transformers' LlamaForCausalLM.
//
// Suffixes: B sequences, T tokens, C width (hidden_size), V vocabulary.
#pragma once

#include <memory>

#include "corten/models.h"
#include "corten/nn.h"
#include "models/layers/decoder_config.h"
#include "models/layers/grouped_query_attention.h"
#include "models/layers/headless_decoder.h"

namespace corten::layers {

/// One transformer block: [B, T, C] to [B, T, C].
class Block : public nn::Module {
 public:
  virtual Tensor operator()(const Tensor& x_BTC, const DecoderCall& call) = 0;
  std::string type_name() const override { return "DecoderLayer"; }
};

/// What makes a family of decoders.
struct DecoderFamily {
  std::string_view model_type;    ///< of config.json
  std::string_view architecture;  ///< the class of transformers
  int64_t norms_per_layer;        ///< of width C
  DecoderConfig (*read)(const Json& json, std::string_view source);
  std::unique_ptr<Block> (*make_block)(const DecoderConfig& config, int64_t layer);
};

/// The decoder without its head.
class Decoder : public nn::Module {
 public:
  Decoder(const DecoderFamily& family, const DecoderConfig& config);
  Tensor operator()(const Tensor& ids_BT, const DecoderCall& call);
  const nn::Embedding& token_embedding() const { return embed_tokens_; }
  std::string type_name() const override { return "Model"; }

 private:
  double embedding_scale_;
  std::optional<int64_t> pad_token_id_;
  nn::Embedding embed_tokens_;
  nn::ModuleList<Block> layers_;
  RMSNorm norm_;
};

/// Multiplications and additions of unpadded products, without those of a head.
double decoder_flops(const DecoderConfig& config, int64_t batch, int64_t tokens);
/// Tokens of one call without a cache.
int64_t longest_input(const DecoderConfig& config);
/// Usage error for the mistakes that are often made between a config and its weights, each with
/// what to change. The head is not looked at.
void check_decoder_weights(const DecoderConfig& config, const Safetensors& file,
                           std::string_view folder);
/// The decoder without the head that continues text.
HeadlessDecoder headless_decoder(const DecoderFamily& family, DecoderConfig config);

class DecoderLM : public CausalLM {
 public:
  DecoderLM(const DecoderFamily& family, DecoderConfig config);
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t max_positions() const override { return config_.max_position_embeddings; }
  bool can_extend() const override { return true; }
  std::string config_json() const override { return config_.json.dump(2) + "\n"; }
  double forward_flops(int64_t batch, int64_t tokens) const override;
  std::string type_name() const override { return std::string(family_.architecture); }

 protected:
  Tensor forward_logits(const Tensor& ids_BT, const Tensor& attention_mask_BT) override;
  Tensor forward_prefill(const Tensor& ids_BT, const Tensor& attention_mask_BT,
                         KvCache& cache) override;
  Tensor forward_decode(const Tensor& ids_B1, const Tensor& position, KvCache& cache) override;
  Tensor forward_extend(const Tensor& ids_BT, const Tensor& position, KvCache& cache) override;
  CacheShape cache_shape() const override;
  int64_t longest_input() const override;
  std::string map_weight_name(std::string_view stored) const override;
  void check_weights(const Safetensors& file, std::string_view folder) const override;

 private:
  Tensor head(const Tensor& x_BTC) const;

  DecoderFamily family_;
  DecoderConfig config_;
  RotaryEmbedding rotary_;
  Decoder model_;
  std::unique_ptr<nn::Linear> lm_head_;  ///< null if tied to the token embedding
};

}  // namespace corten::layers
