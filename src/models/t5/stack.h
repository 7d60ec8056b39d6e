// The blocks of T5 (Raffel et al., 2020; v1.1: Shazeer, 2020), with the parameter names of
// transformers' T5Stack.
//
// Suffixes: B sequences, T tokens, S keys, C width (d_model), H heads, D head size (d_kv), P
// inputs, each of which several sequences may share.
#pragma once

#include <memory>
#include <vector>

#include "corten/seq2seq.h"
#include "models/t5/config.h"
#include "models/t5/relative_bias.h"

namespace corten::t5 {

/// A matrix without bias.
class Matrix : public nn::Linear {
 public:
  Matrix(int64_t in, int64_t out, double std) : nn::Linear(in, out, false, init::normal(0, std)) {}
  std::string type_name() const override { return "Linear"; }
};

/// RMS norm in the dtype of the weights, which the sum of the layers' results may exceed.
class LayerNorm : public nn::RMSNorm {
 public:
  explicit LayerNorm(const Config& config)
      : nn::RMSNorm(config.d_model, config.layer_norm_epsilon) {}
  Tensor forward(const Tensor& x) override { return nn::RMSNorm::forward(x).to(weight.dtype()); }
  std::string type_name() const override { return "T5LayerNorm"; }
};

/// Scores are not scaled: q starts from smaller weights instead.
class Attention : public nn::Module {
 public:
  explicit Attention(const Config& config);
  /// Keys or values [B, H, S, D] of states [B, S, C].
  Tensor keys(const Tensor& x_BSC) { return heads(k_(x_BSC)); }
  Tensor values(const Tensor& x_BSC) { return heads(v_(x_BSC)); }
  /// mask: bool or addends of the scores; may be undefined.
  Tensor operator()(const Tensor& x_BTC, const Tensor& k_BHSD, const Tensor& v_BHSD,
                    const Tensor& mask, bool causal);
  void add_relative_bias(std::unique_ptr<RelativeBias> bias);
  RelativeBias& relative_bias() { return *relative_attention_bias_; }
  std::string type_name() const override { return "T5Attention"; }

 private:
  Tensor heads(const Tensor& x_BTX) const;

  int64_t heads_;
  double dropout_;
  Matrix q_, k_, v_, o_;
  std::unique_ptr<RelativeBias> relative_attention_bias_;  ///< of the first block, for all
};

/// x + dropout(f(layer_norm(x))), where f is `inner`.
class Layer : public nn::Module {
 public:
  Layer(const Config& config, std::string name, std::unique_ptr<nn::Module> inner);
  template <typename F>
  Tensor operator()(const Tensor& x_BTC, F&& f) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      Tensor h_BTC = layer_norm_(in[0]);
      return in[0] + dropout_(f(h_BTC));
    });
  }
  nn::Module& inner() { return *inner_; }
  std::string type_name() const override { return "T5Layer"; }

 private:
  std::unique_ptr<nn::Module> inner_;
  LayerNorm layer_norm_;
  nn::Dropout dropout_;
};

/// What a stack knows in one call.
struct Call {
  Tensor bias;          ///< addends of own scores, [1 or B, H, T, S], for hidden keys -infinity
  bool causal = false;  ///< later keys are hidden, whatever the bias says
  KvCache* cache = nullptr;
  Tensor position;  ///< i64 0-d of the one token that `cache` gets
  /// Decoders only: states [B, S, C] of the input, or keys and values of each block.
  Tensor input_BSC;
  const Seq2SeqCache* cross = nullptr;
  Tensor cross_mask;  ///< bool [P, 1, 1, S]; undefined: everything is seen
};

class Block : public nn::Module {
 public:
  Block(const Config& config, bool decoder, bool first);
  Tensor operator()(const Tensor& x_BTC, const Call& call, size_t index);
  Attention& own() { return static_cast<Attention&>(layer_[0].inner()); }
  Attention& cross() { return static_cast<Attention&>(layer_[1].inner()); }
  std::string type_name() const override { return "T5Block"; }

 private:
  Tensor look_at_own(const Tensor& h_BTC, const Call& call, size_t index);
  Tensor look_at_input(const Tensor& h_BTC, const Call& call, size_t index);

  bool decoder_;
  nn::ModuleList<Layer> layer_;
};

/// The encoder or the decoder: [B, T, C] to [B, T, C].
class Stack : public nn::Module {
 public:
  Stack(const Config& config, bool decoder);
  Tensor operator()(const Tensor& x_BTC, const Call& call);
  /// Addends of the scores [1, H, T, S] of positions i64 [T, 1] and [1, S].
  Tensor bias(const Tensor& query_T1, const Tensor& key_1S) {
    return block_[0].own().relative_bias()(query_T1, key_1S);
  }
  size_t size() const { return block_.size(); }
  Block& operator[](size_t index) { return block_[index]; }
  std::string type_name() const override { return "T5Stack"; }

 private:
  nn::ModuleList<Block> block_;
  LayerNorm final_layer_norm_;
  nn::Dropout dropout_;
};

}  // namespace corten::t5
