#include "models/gpt2/gpt2.h"

#include <array>
#include <cmath>

#include "models/config_fields.h"
#include "models/gpt2/config.h"
#include "models/layers/activation.h"
#include "models/layers/placement.h"
#include "models/stored_weights.h"

namespace corten::gpt2 {
namespace {

init::Initializer weights(const GPT2Config& c) {
  return init::normal(0, c.initializer_range);
}
init::Initializer residual_weights(const GPT2Config& c) {
  return init::scaled_residual(c.initializer_range, c.n_layer);
}

/// Undefined where attention is plainly causal.
Tensor mask_of(const layers::Placement& placement) {
  return placement.is_causal() ? Tensor() : placement.mask();
}

constexpr std::array<std::string_view, 4> kParts = {"wte.", "wpe.", "h.", "ln_f."};

/// Old checkpoints hold the causal mask.
bool is_buffer(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

/// Of the transformer without its head.
double body_flops(const GPT2Config& c, int64_t batch, int64_t tokens) {
  const auto B = static_cast<double>(batch), T = static_cast<double>(tokens);
  const auto C = static_cast<double>(c.n_embd), F = static_cast<double>(c.inner());
  const double layer =
      2 * T * (4 * C * C + 2 * C * F) + 2 * C * T * (T + 1);  // 2 products of T(T+1)/2 pairs
  return B * static_cast<double>(c.n_layer) * layer;
}

class Body : public layers::DecoderBody {
 public:
  explicit Body(const GPT2Config& config) : transformer_(config) {}
  nn::Module& module() override { return transformer_; }
  Tensor operator()(const EncoderInput& input, std::vector<Tensor>* hidden_states) override {
    const auto placement = layers::Placement::whole(input.ids.size(1), input.attention_mask);
    return transformer_(input.ids, input.position_ids, mask_of(placement), {}, nullptr,
                        hidden_states);
  }

 private:
  Transformer transformer_;
};

}  // namespace

Attention::Attention(const GPT2Config& c, int64_t layer)
    : n_head_(c.n_head),
      head_size_(c.n_embd / c.n_head),
      scale_(c.scale_attn_weights ? 1 / std::sqrt(static_cast<double>(head_size_)) : 1),
      dropout_(c.attn_pdrop),
      c_attn_(c.n_embd, 3 * c.n_embd, weights(c)),
      c_proj_(c.n_embd, c.n_embd, residual_weights(c)),
      resid_dropout_(c.resid_pdrop) {
  if (c.scale_attn_by_inverse_layer_idx) scale_ /= static_cast<double>(layer + 1);
  register_module("c_attn", c_attn_);
  register_module("c_proj", c_proj_);
  register_module("resid_dropout", resid_dropout_);
}

Tensor Attention::heads(const Tensor& qkv_BTX, int64_t part) const {
  const int64_t B = qkv_BTX.size(0), T = qkv_BTX.size(1), C = n_head_ * head_size_;
  return qkv_BTX.slice(2, part * C, (part + 1) * C)
      .reshape({B, T, n_head_, head_size_})
      .transpose(1, 2);
}

Tensor Attention::operator()(const Tensor& x_BTC, const Tensor& mask, const LayerCache* cache) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    const int64_t B = in[0].size(0), T = in[0].size(1);
    Tensor qkv_BTX = c_attn_(in[0]);
    Tensor q_BHTD = heads(qkv_BTX, 0), k_BHSD = heads(qkv_BTX, 1), v_BHSD = heads(qkv_BTX, 2);
    AttentionOptions options{
        .causal = !mask.defined(), .scale = scale_, .dropout_p = is_training() ? dropout_ : 0};
    if (cache && !cache->position.defined()) {
      // The first tokens see nothing but each other, so that the cache is only written.
      cache->key_BHSD->slice(2, 0, T).copy_(k_BHSD);
      cache->value_BHSD->slice(2, 0, T).copy_(v_BHSD);
    } else if (cache) {
      Tensor slot_T = T == 1 ? cache->position : cache->position + arange(T);
      Tensor slot = slot_T.reshape({1, 1, T, 1}).expand({B, n_head_, T, head_size_});
      for (auto [all, one] : {std::pair{cache->key_BHSD, &k_BHSD}, {cache->value_BHSD, &v_BHSD}}) {
        all->copy_(scatter(*all, 2, slot, *one));
        *one = *all;
      }
    }
    Tensor y_BHTD = scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, mask, options);
    Tensor y_BTC = y_BHTD.transpose(1, 2).reshape({B, T, n_head_ * head_size_});
    return resid_dropout_(c_proj_(y_BTC));
  });
}

Mlp::Mlp(const GPT2Config& c)
    : c_fc_(c.n_embd, c.inner(), weights(c)),
      c_proj_(c.inner(), c.n_embd, residual_weights(c)),
      act_(layers::make_activation(c.activation_function)),
      dropout_(c.resid_pdrop) {
  register_module("c_fc", c_fc_);
  register_module("c_proj", c_proj_);
  register_module("act", *act_);
  register_module("dropout", dropout_);
}

Tensor Mlp::forward(const Tensor& x_BTC) {
  Tensor x_BTF = (*act_)(c_fc_(x_BTC));
  return dropout_(c_proj_(x_BTF));
}

Block::Block(const GPT2Config& c, int64_t layer)
    : ln_1_(c.n_embd, c.layer_norm_epsilon),
      attn_(c, layer),
      ln_2_(c.n_embd, c.layer_norm_epsilon),
      mlp_(c) {
  register_module("ln_1", ln_1_);
  register_module("attn", attn_);
  register_module("ln_2", ln_2_);
  register_module("mlp", mlp_);
}

Tensor Block::operator()(const Tensor& x_BTC, const Tensor& mask, const LayerCache* cache) {
  return run({x_BTC}, [&](const std::vector<Tensor>& in) {
    Tensor h_BTC = in[0] + attn_(ln_1_(in[0]), mask, cache);
    return h_BTC + mlp_(ln_2_(h_BTC));
  });
}

Transformer::Transformer(const GPT2Config& c)
    : wte_(c.vocab_size, c.n_embd, weights(c)),
      wpe_(c.n_positions, c.n_embd, weights(c)),
      drop_(c.embd_pdrop),
      ln_f_(c.n_embd, c.layer_norm_epsilon) {
  register_module("wte", wte_);
  register_module("wpe", wpe_);
  register_module("drop", drop_);
  register_module("h", h_);
  register_module("ln_f", ln_f_);
  for (int64_t layer = 0; layer < c.n_layer; ++layer) h_.emplace(c, layer);
}

Tensor Transformer::operator()(const Tensor& ids_BT, const Tensor& positions_BT, const Tensor& mask,
                               const Tensor& position, KvCache* cache,
                               std::vector<Tensor>* hidden_states) {
  return run({ids_BT}, [&](const std::vector<Tensor>& in) {
    Tensor position_BTC =
        positions_BT.defined() ? wpe_(positions_BT) : wpe_.weight.slice(0, 0, in[0].size(1));
    Tensor x_BTC = drop_(wte_(in[0]) + position_BTC);
    for (size_t layer = 0; layer < h_.size(); ++layer) {
      if (hidden_states) hidden_states->push_back(x_BTC);
      LayerCache slots;
      if (cache) slots = {&cache->keys[layer], &cache->values[layer], position};
      x_BTC = h_[layer](x_BTC, mask, cache ? &slots : nullptr);
    }
    x_BTC = ln_f_(x_BTC);
    if (hidden_states) hidden_states->push_back(x_BTC);
    return x_BTC;
  });
}

LMHeadModel::LMHeadModel(GPT2Config config) : config_(std::move(config)), transformer_(config_) {
  register_module("transformer", transformer_);
  if (!config_.tie_word_embeddings) {
    lm_head_ =
        std::make_unique<nn::Linear>(config_.n_embd, config_.vocab_size, false, weights(config_));
    register_module("lm_head", *lm_head_);
  }
  set_eos_token_ids(config_.eos_token_id);
}

Tensor LMHeadModel::head(const Tensor& x_BTC) const {
  return lm_head_ ? (*lm_head_)(x_BTC) : transformer_.token_embedding().project(x_BTC);
}

Tensor LMHeadModel::forward_logits(const Tensor& ids_BT, const Tensor& attention_mask_BT) {
  const auto placement = layers::Placement::whole(ids_BT.size(1), attention_mask_BT);
  return head(transformer_(ids_BT, {}, mask_of(placement), {}, nullptr));
}

Tensor LMHeadModel::forward_prefill(const Tensor& ids_BT, const Tensor& attention_mask_BT,
                                    KvCache& cache) {
  const auto placement = layers::Placement::whole(ids_BT.size(1), attention_mask_BT);
  Tensor positions_BT;
  if (attention_mask_BT.defined()) positions_BT = placement.positions();
  Tensor x_BTC = transformer_(ids_BT, positions_BT, mask_of(placement), {}, &cache);
  return head(x_BTC.select(1, ids_BT.size(1) - 1));
}

Tensor LMHeadModel::forward_decode(const Tensor& ids_B1, const Tensor& position, KvCache& cache) {
  const auto placement = layers::Placement::next(position, cache);
  Tensor x_B1C = transformer_(ids_B1, placement.positions(), placement.mask(), position, &cache);
  return head(x_B1C.select(1, 0));
}

Tensor LMHeadModel::forward_extend(const Tensor& ids_BT, const Tensor& position, KvCache& cache) {
  const int64_t T = ids_BT.size(1), S = cache.length;
  Tensor position_T = position + arange(T);
  Tensor seen_11TS = (arange(S).reshape({1, S}) <= position_T.reshape({T, 1})).reshape({1, 1, T, S});
  return head(transformer_(ids_BT, position_T.reshape({1, T}), seen_11TS, position, &cache));
}

CausalLM::CacheShape LMHeadModel::cache_shape() const {
  return {config_.n_layer, config_.n_head, config_.n_embd / config_.n_head};
}

double LMHeadModel::forward_flops(int64_t batch, int64_t tokens) const {
  return body_flops(config_, batch, tokens) +
         2 * static_cast<double>(batch) * static_cast<double>(tokens) *
             static_cast<double>(config_.n_embd) * static_cast<double>(config_.vocab_size);
}

/// Checkpoints of GPT2Model lack the prefix; the head of a classifier is of no use here.
std::string LMHeadModel::map_weight_name(std::string_view stored) const {
  if (is_buffer(stored) || is_other_head(stored)) return "";
  if (stored == "lm_head.weight") return config_.tie_word_embeddings ? "" : std::string(stored);
  for (std::string_view part : kParts)
    if (stored.starts_with(part)) return "transformer." + std::string(stored);
  return std::string(stored);
}

layers::HeadlessDecoder headless_decoder(GPT2Config config) {
  layers::HeadlessDecoder out{std::make_unique<layers::DecoderKind>(),
                              std::make_unique<Body>(config)};
  layers::DecoderKind& kind = *out.kind;
  kind.config = gpt2_config_json(config);
  kind.vocab_size = config.vocab_size;
  kind.hidden_size = config.n_embd;
  kind.max_positions = config.n_positions;
  FieldReader(kind.config, "config.json")("pad_token_id", kind.pad_token_id);
  kind.labels = layers::read_labels(kind.config, "config.json");
  kind.name = "GPT2";
  kind.prefix = "transformer";
  kind.parts.assign(kParts.begin(), kParts.end());
  kind.initializer_range = config.initializer_range;
  kind.is_buffer = is_buffer;
  kind.body_flops = [config](int64_t batch, int64_t tokens) {
    return body_flops(config, batch, tokens);
  };
  return out;
}

}  // namespace corten::gpt2

namespace corten {

std::unique_ptr<CausalLM> make_gpt2(const GPT2Config& config) {
  // Through JSON, which checks the values.
  return std::make_unique<gpt2::LMHeadModel>(GPT2Config::from_json(config.to_json(), "GPT2Config"));
}

}  // namespace corten
