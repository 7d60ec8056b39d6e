#include "models/t5/stack.h"

#include <cmath>

#include "models/layers/activation.h"

namespace corten::t5 {
namespace {

double inverse_root(int64_t size) {
  return 1 / std::sqrt(static_cast<double>(size));
}

/// wo(dropout(act(wi x))), or wo(dropout(act(wi_0 x) * (wi_1 x))).
class FeedForward : public nn::Module {
 public:
  explicit FeedForward(const Config& c)
      : act_(layers::make_activation(c.activation)),
        wi_(c.d_model, c.d_ff, c.initializer_factor * inverse_root(c.d_model)),
        wo_(c.d_ff, c.d_model, c.initializer_factor * inverse_root(c.d_ff)),
        dropout_(c.dropout_rate) {
    register_module(c.is_gated ? "wi_0" : "wi", wi_);
    if (c.is_gated) {
      wi_1_ = std::make_unique<Matrix>(c.d_model, c.d_ff,
                                       c.initializer_factor * inverse_root(c.d_model));
      register_module("wi_1", *wi_1_);
    }
    register_module("wo", wo_);
    register_module("dropout", dropout_);
    register_module("act", *act_);
  }
  Tensor forward(const Tensor& x_BTC) override {
    Tensor h_BTF = (*act_)(wi_(x_BTC));
    if (wi_1_) h_BTF = h_BTF * (*wi_1_)(x_BTC);
    h_BTF = dropout_(h_BTF);
    // What leaves this layer exceeds the range of f16 in models that were trained in bf16.
    if (h_BTF.dtype() == DType::f16) return matmul(h_BTF, wo_.weight.t(), DType::f32);
    return wo_(h_BTF);
  }
  std::string type_name() const override {
    return wi_1_ ? "T5DenseGatedActDense" : "T5DenseActDense";
  }

 private:
  std::unique_ptr<nn::Module> act_;
  Matrix wi_, wo_;
  std::unique_ptr<Matrix> wi_1_;  ///< null if not gated
  nn::Dropout dropout_;
};

}  // namespace

Attention::Attention(const Config& c)
    : heads_(c.num_heads),
      dropout_(c.dropout_rate),
      q_(c.d_model, c.inner(), c.initializer_factor * inverse_root(c.d_model * c.d_kv)),
      k_(c.d_model, c.inner(), c.initializer_factor * inverse_root(c.d_model)),
      v_(c.d_model, c.inner(), c.initializer_factor * inverse_root(c.d_model)),
      o_(c.inner(), c.d_model, c.initializer_factor * inverse_root(c.inner())) {
  register_module("q", q_);
  register_module("k", k_);
  register_module("v", v_);
  register_module("o", o_);
}

void Attention::add_relative_bias(std::unique_ptr<RelativeBias> bias) {
  relative_attention_bias_ = std::move(bias);
  register_module("relative_attention_bias", *relative_attention_bias_);
}

Tensor Attention::heads(const Tensor& x_BTX) const {
  return x_BTX.reshape({x_BTX.size(0), x_BTX.size(1), heads_, -1}).transpose(1, 2);
}

Tensor Attention::operator()(const Tensor& x_BTC, const Tensor& k_BHSD, const Tensor& v_BHSD,
                             const Tensor& mask, bool causal) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor y_BHTD = scaled_dot_product_attention(
        heads(q_(in[0])), k_BHSD, v_BHSD, mask,
        {.causal = causal, .scale = 1, .dropout_p = is_training() ? dropout_ : 0});
    return o_(y_BHTD.transpose(1, 2).reshape({in[0].size(0), in[0].size(1), -1}));
  });
}

Layer::Layer(const Config& c, std::string name, std::unique_ptr<nn::Module> inner)
    : inner_(std::move(inner)), layer_norm_(c), dropout_(c.dropout_rate) {
  register_module(std::move(name), *inner_);
  register_module("layer_norm", layer_norm_);
  register_module("dropout", dropout_);
}

Block::Block(const Config& c, bool decoder, bool first) : decoder_(decoder) {
  register_module("layer", layer_);
  layer_.emplace(c, "SelfAttention", std::make_unique<Attention>(c));
  if (first)
    own().add_relative_bias(std::make_unique<RelativeBias>(
        !decoder, c.relative_attention_num_buckets, c.relative_attention_max_distance, c.num_heads,
        init::normal(0, c.initializer_factor * inverse_root(c.d_model))));
  if (decoder) layer_.emplace(c, "EncDecAttention", std::make_unique<Attention>(c));
  layer_.emplace(c, "DenseReluDense", std::make_unique<FeedForward>(c));
}

Tensor Block::look_at_own(const Tensor& h_BTC, const Call& call, size_t index) {
  Tensor k_BHSD = own().keys(h_BTC), v_BHSD = own().values(h_BTC);
  if (call.cache) {
    const Tensor slot = call.position.reshape({1, 1, 1, 1}).expand(k_BHSD.shape());
    for (auto [side, one] :
         {std::pair{&call.cache->keys, &k_BHSD}, {&call.cache->values, &v_BHSD}}) {
      Tensor all = (*side)[index];
      all.copy_(scatter(all, 2, slot, one->to(all.dtype())));
      *one = all;
    }
  }
  return own()(h_BTC, k_BHSD, v_BHSD, call.bias, call.causal);
}

Tensor Block::look_at_input(const Tensor& h_BTC, const Call& call, size_t index) {
  if (!call.cross)
    return cross()(h_BTC, cross().keys(call.input_BSC), cross().values(call.input_BSC),
                   call.cross_mask, false);
  // Sequences of the same input are queries of the same keys.
  const int64_t B = h_BTC.size(0), C = h_BTC.size(2), P = call.cross->inputs;
  return cross()(h_BTC.reshape({P, B / P, C}), call.cross->cross_keys[index],
                 call.cross->cross_values[index], call.cross_mask, false)
      .reshape({B, 1, C});
}

Tensor Block::operator()(const Tensor& x_BTC, const Call& call, size_t index) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor y_BTC = layer_[0](in[0], [&](const Tensor& h) { return look_at_own(h, call, index); });
    if (decoder_)
      y_BTC = layer_[1](y_BTC, [&](const Tensor& h) { return look_at_input(h, call, index); });
    Layer& last = layer_[layer_.size() - 1];
    return last(y_BTC, [&](const Tensor& h) { return last.inner()(h); });
  });
}

Stack::Stack(const Config& c, bool decoder) : final_layer_norm_(c), dropout_(c.dropout_rate) {
  register_module("block", block_);
  register_module("final_layer_norm", final_layer_norm_);
  register_module("dropout", dropout_);
  const int64_t layers = decoder ? c.decoder_layers() : c.num_layers;
  for (int64_t i = 0; i < layers; ++i) block_.emplace(c, decoder, i == 0);
}

Tensor Stack::operator()(const Tensor& x_BTC, const Call& call) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor y_BTC = dropout_(in[0]);
    // Sums of layers exceed the range of f16.
    if (y_BTC.dtype() == DType::f16) y_BTC = y_BTC.to(DType::f32);
    for (size_t i = 0; i < block_.size(); ++i) y_BTC = block_[i](y_BTC, call, i);
    return dropout_(final_layer_norm_(y_BTC));
  });
}

}  // namespace corten::t5
