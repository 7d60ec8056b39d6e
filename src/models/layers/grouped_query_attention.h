// Attention with rotary embeddings in which groups of queries share keys and values (Ainslie et
// al., 2023).
//
// Suffixes: B sequences, T tokens, S slots with keys, C width, H query heads, K key and value
// heads, G = H / K, D head size.
#pragma once

#include <memory>
#include <vector>

#include "corten/nn.h"
#include "models/layers/decoder_config.h"
#include "models/layers/placement.h"
#include "models/layers/rms_norm.h"
#include "models/layers/rotary_embedding.h"

namespace corten::layers {

/// What all layers of one call share.
struct DecoderCall {
  Placement placement;
  Rotation rotation;
  KvCache* cache = nullptr;  ///< to fill, or to read and extend; may be null
  Tensor position;           ///< of the one token that is decoded; undefined: the first tokens
  /// Gets the embeddings and what follows each layer, the final norm included; may be null.
  std::vector<Tensor>* hidden_states = nullptr;
};

class GroupedQueryAttention : public nn::Module {
 public:
  GroupedQueryAttention(const DecoderConfig& config, int64_t layer);
  Tensor operator()(const Tensor& x_BTC, const DecoderCall& call);
  std::string type_name() const override { return "Attention"; }

 private:
  Tensor heads(const Tensor& x_BTX, RMSNorm* norm) const;
  /// Brings the cache up to date; keys and values become those of all its slots when decoding.
  void use_cache(Tensor& k_BKSD, Tensor& v_BKSD, const DecoderCall& call) const;
  Tensor attend(const Tensor& q_BHTD, const Tensor& k_BKSD, const Tensor& v_BKSD,
                const Placement& placement) const;
  /// With scores capped smoothly: softmax(cap tanh(q k^T scale / cap)) v.
  Tensor attend_capped(const Tensor& q_BKGTD, const Tensor& k_BK1SD, const Tensor& v_BK1SD,
                       const Tensor& mask_B11TS) const;

  int64_t layer_, heads_, kv_heads_, head_size_, window_;
  double scale_, dropout_;
  std::optional<double> softcap_;
  nn::Linear q_proj_, k_proj_, v_proj_, o_proj_;
  std::unique_ptr<RMSNorm> q_norm_, k_norm_;
};

}  // namespace corten::layers
