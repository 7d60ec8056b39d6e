// GPT-2 (Radford et al., 2019), with the parameter names of transformers' GPT2LMHeadModel.
//
// Suffixes of tensor names give the axes: B sequences, T tokens of each, S positions that can be
// looked at (T, or the cache's), C width (n_embd), F width inside the MLP (n_inner), H heads, D = C
// / H, V vocabulary.
#pragma once

#include "corten/models.h"
#include "corten/nn.h"
#include "models/layers/headless_decoder.h"

namespace corten::gpt2 {

/// Where an attention layer finds keys and values besides those of its input.
struct LayerCache {
  Tensor* key_BHSD = nullptr;
  Tensor* value_BHSD = nullptr;
  Tensor position;  ///< i64 0-d of the first token; undefined: the tokens begin their sequence
};

class Attention : public nn::Module {
 public:
  Attention(const GPT2Config& config, int64_t layer);
  /// mask: bool, broadcast to [B, H, T, S], true = visible; undefined: causal. `cache` may be null.
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask, const LayerCache* cache);

 private:
  Tensor heads(const Tensor& qkv_BTX, int64_t part) const;

  int64_t n_head_, head_size_;
  double scale_, dropout_;
  nn::Conv1D c_attn_, c_proj_;
  nn::Dropout resid_dropout_;
};

class Mlp : public nn::Module {
 public:
  explicit Mlp(const GPT2Config& config);
  Tensor forward(const Tensor& x_BTC) override;

 private:
  nn::Conv1D c_fc_, c_proj_;
  std::unique_ptr<nn::Module> act_;
  nn::Dropout dropout_;
};

class Block : public nn::Module {
 public:
  Block(const GPT2Config& config, int64_t layer);
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask, const LayerCache* cache);
  std::string type_name() const override { return "GPT2Block"; }

 private:
  nn::LayerNorm ln_1_;
  Attention attn_;
  nn::LayerNorm ln_2_;
  Mlp mlp_;
};

/// The transformer without its head.
class Transformer : public nn::Module {
 public:
  explicit Transformer(const GPT2Config& config);
  /// Final hidden states [B, T, C] of ids [B, T]. positions: i64 [1 or B, T]; undefined: from 0 on.
  /// `position`, the first one's slot in the cache, is undefined unless the tokens follow others.
  /// `hidden_states`, if not null, gets the embeddings and what follows each layer, the final norm
  /// included.
  Tensor operator()(const Tensor& ids_BT, const Tensor& positions_BT, const Tensor& mask,
                    const Tensor& position, KvCache* cache,
                    std::vector<Tensor>* hidden_states = nullptr);
  const nn::Embedding& token_embedding() const { return wte_; }
  std::string type_name() const override { return "GPT2Model"; }

 private:
  nn::Embedding wte_, wpe_;
  nn::Dropout drop_;
  nn::ModuleList<Block> h_;
  nn::LayerNorm ln_f_;
};

/// The transformer without the head that continues text.
layers::HeadlessDecoder headless_decoder(GPT2Config config);

class LMHeadModel : public CausalLM {
 public:
  explicit LMHeadModel(GPT2Config config);
  int64_t vocab_size() const override { return config_.vocab_size; }
  bool can_extend() const override { return true; }
  int64_t max_positions() const override { return config_.n_positions; }
  std::string config_json() const override { return config_.to_json(); }
  double forward_flops(int64_t batch, int64_t tokens) const override;
  std::string type_name() const override { return "GPT2LMHeadModel"; }

 protected:
  Tensor forward_logits(const Tensor& ids_BT, const Tensor& attention_mask_BT) override;
  Tensor forward_prefill(const Tensor& ids_BT, const Tensor& attention_mask_BT,
                         KvCache& cache) override;
  Tensor forward_decode(const Tensor& ids_B1, const Tensor& position, KvCache& cache) override;
  Tensor forward_extend(const Tensor& ids_BT, const Tensor& position, KvCache& cache) override;
  CacheShape cache_shape() const override;
  std::string map_weight_name(std::string_view stored) const override;

 private:
  Tensor head(const Tensor& x_BTC) const;

  GPT2Config config_;
  Transformer transformer_;
  std::unique_ptr<nn::Linear> lm_head_;  ///< null if tied to the token embedding
};

}  // namespace corten::gpt2
