#include "models/layers/grouped_query_attention.h"

#include <cmath>
#include <limits>

#include "corten/random.h"

namespace corten::layers {

GroupedQueryAttention::GroupedQueryAttention(const DecoderConfig& c, int64_t layer)
    : layer_(layer),
      heads_(c.heads()),
      kv_heads_(c.kv_heads()),
      head_size_(c.head_size()),
      window_(c.window(layer)),
      scale_(1 / std::sqrt(c.query_pre_attn_scalar.value_or(static_cast<double>(head_size_)))),
      dropout_(c.attention_dropout),
      softcap_(c.attn_logit_softcapping),
      q_proj_(c.hidden_size, heads_ * head_size_, c.query_key_value_bias,
              init::normal(0, c.initializer_range)),
      k_proj_(c.hidden_size, kv_heads_ * head_size_, c.query_key_value_bias,
              init::normal(0, c.initializer_range)),
      v_proj_(c.hidden_size, kv_heads_ * head_size_, c.query_key_value_bias,
              init::normal(0, c.initializer_range)),
      o_proj_(heads_ * head_size_, c.hidden_size, c.output_bias,
              init::normal(0, c.initializer_range)) {
  register_module("q_proj", q_proj_);
  register_module("k_proj", k_proj_);
  register_module("v_proj", v_proj_);
  register_module("o_proj", o_proj_);
  if (!c.query_key_norm) return;
  q_norm_ = std::make_unique<RMSNorm>(head_size_, c.rms_norm_eps, c.norm_offset);
  k_norm_ = std::make_unique<RMSNorm>(head_size_, c.rms_norm_eps, c.norm_offset);
  register_module("q_norm", *q_norm_);
  register_module("k_norm", *k_norm_);
}

Tensor GroupedQueryAttention::heads(const Tensor& x_BTX, RMSNorm* norm) const {
  Tensor x_BTHD = x_BTX.reshape({x_BTX.size(0), x_BTX.size(1), -1, head_size_});
  return (norm ? (*norm)(x_BTHD) : x_BTHD).transpose(1, 2);
}

void GroupedQueryAttention::use_cache(Tensor& k_BKSD, Tensor& v_BKSD,
                                      const DecoderCall& call) const {
  if (!call.cache) return;
  const int64_t B = k_BKSD.size(0), T = k_BKSD.size(2);
  for (auto [side, one] : {std::pair{&call.cache->keys, &k_BKSD}, {&call.cache->values, &v_BKSD}}) {
    Tensor all = (*side)[static_cast<size_t>(layer_)];
    if (!call.position.defined()) {
      // The first tokens see nothing but each other, so that the cache is only written.
      all.slice(2, 0, T).copy_(*one);
      continue;
    }
    Tensor slot =
        call.placement.slots().reshape({1, 1, T, 1}).expand({B, kv_heads_, T, head_size_});
    all.copy_(scatter(all, 2, slot, one->to(all.dtype())));
    *one = all;
  }
}

Tensor GroupedQueryAttention::operator()(const Tensor& x_BTC, const DecoderCall& call) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor q_BHTD = rotate(heads(q_proj_(in[0]), q_norm_.get()), call.rotation);
    Tensor k_BKSD = rotate(heads(k_proj_(in[0]), k_norm_.get()), call.rotation);
    Tensor v_BKSD = heads(v_proj_(in[0]), nullptr);
    use_cache(k_BKSD, v_BKSD, call);
    Tensor y_BTHD = attend(q_BHTD, k_BKSD, v_BKSD, call.placement).transpose(1, 2);
    return o_proj_(y_BTHD.reshape({in[0].size(0), in[0].size(1), heads_ * head_size_}));
  });
}

Tensor GroupedQueryAttention::attend(const Tensor& q_BHTD, const Tensor& k_BKSD,
                                     const Tensor& v_BKSD, const Placement& placement) const {
  const int64_t B = q_BHTD.size(0), T = q_BHTD.size(2), S = k_BKSD.size(2);
  const int64_t K = kv_heads_, G = heads_ / kv_heads_, D = head_size_;
  const bool causal = placement.is_causal(window_);
  AttentionOptions options{
      .causal = causal, .scale = scale_, .dropout_p = is_training() ? dropout_ : 0};
  if (G == 1 && !softcap_)
    return scaled_dot_product_attention(q_BHTD, k_BKSD, v_BKSD,
                                        causal ? Tensor() : placement.mask(window_), options);
  // Keys and values are shared by a view: nothing is copied.
  Tensor q_BKGTD = q_BHTD.reshape({B, K, G, T, D});
  Tensor k_BK1SD = k_BKSD.reshape({B, K, 1, S, D}), v_BK1SD = v_BKSD.reshape({B, K, 1, S, D});
  Tensor mask_B11TS;
  if (!causal || softcap_) {
    Tensor mask_B1TS = placement.mask(window_);
    mask_B11TS = mask_B1TS.reshape({mask_B1TS.size(0), 1, 1, T, S});
  }
  Tensor y_BKGTD =
      softcap_ ? attend_capped(q_BKGTD, k_BK1SD, v_BK1SD, mask_B11TS)
               : scaled_dot_product_attention(q_BKGTD, k_BK1SD, v_BK1SD, mask_B11TS, options);
  return y_BKGTD.reshape({B, heads_, T, D});
}

Tensor GroupedQueryAttention::attend_capped(const Tensor& q_BKGTD, const Tensor& k_BK1SD,
                                            const Tensor& v_BK1SD, const Tensor& mask_B11TS) const {
  Tensor scores = matmul(q_BKGTD, k_BK1SD.transpose(3, 4), DType::f32) * scale_;
  scores = tanh(scores / *softcap_) * *softcap_;
  scores = where(mask_B11TS, scores, scalar(-std::numeric_limits<double>::infinity()));
  Tensor weights = softmax(scores, -1).to(v_BK1SD.dtype());
  return matmul(dropout(weights, dropout_, is_training()), v_BK1SD);
}

}  // namespace corten::layers
