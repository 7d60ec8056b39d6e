// Gemma 2 (Gemma Team, 2024): norms before and after attention and MLP, layers that look at a
// window and at everything in turn, capped attention scores and logits, GeGLU, and embeddings times
// sqrt(C).
#pragma once

#include "models/layers/decoder.h"
#include "models/layers/gated_mlp.h"

namespace corten::gemma2 {

class Block : public layers::Block {
 public:
  Block(const layers::DecoderConfig& config, int64_t layer);
  Tensor operator()(const Tensor& x_BTC, const layers::DecoderCall& call) override;

 private:
  layers::GroupedQueryAttention self_attn_;
  layers::GatedMlp mlp_;
  layers::RMSNorm input_layernorm_, post_attention_layernorm_;
  layers::RMSNorm pre_feedforward_layernorm_, post_feedforward_layernorm_;
};

extern const layers::DecoderFamily kFamily;

}  // namespace corten::gemma2
