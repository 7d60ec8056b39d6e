// LLaMA (Touvron et al., 2023; Llama 3, 2024): pre-norm blocks of grouped-query attention with
// rotary embeddings and a SwiGLU MLP. Mistral and Qwen are built of the same blocks.
#pragma once

#include "models/layers/decoder.h"
#include "models/layers/gated_mlp.h"

namespace corten::llama {

class Block : public layers::Block {
 public:
  Block(const layers::DecoderConfig& config, int64_t layer);
  Tensor operator()(const Tensor& x_BTC, const layers::DecoderCall& call) override;

 private:
  layers::GroupedQueryAttention self_attn_;
  layers::GatedMlp mlp_;
  layers::RMSNorm input_layernorm_, post_attention_layernorm_;
};

std::unique_ptr<layers::Block> make_block(const layers::DecoderConfig& config, int64_t layer);

extern const layers::DecoderFamily kFamily;

}  // namespace corten::llama
