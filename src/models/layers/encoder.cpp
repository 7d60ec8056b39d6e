#include "models/layers/encoder.h"

#include <cmath>

#include "base/format.h"
#include "nn/state.h"

namespace corten::layers {
namespace {

/// N(0, std^2), but 0 for what stands for padding.
init::Initializer embedding_init(double std, std::optional<int64_t> padding) {
  return [=](const Shape& shape, int64_t seed, std::string_view name) {
    Tensor out = init::normal(0, std)(shape, seed, name);
    if (padding) out.slice(0, *padding, *padding + 1).fill_(0);
    return out;
  };
}

/// sin and cos of position / 10000^(i / C), alternating (Vaswani et al., 2017, section 3.5).
Tensor sinusoids(const Shape& shape, int64_t, std::string_view) {
  const int64_t positions = shape[0], width = shape[1];
  std::vector<float> values;
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < width; ++i) {
      const double exponent = static_cast<double>(i / 2 * 2) / static_cast<double>(width);
      const double angle = static_cast<double>(p) / std::pow(10000.0, exponent);
      values.push_back(static_cast<float>(i % 2 == 0 ? std::sin(angle) : std::cos(angle)));
    }
  return from_vector(values, shape);
}

init::Initializer position_init(const EncoderConfig& c) {
  if (c.sinusoidal_positions) return sinusoids;
  return embedding_init(c.initializer_range,
                        c.positions_from_ids ? c.pad_token_id : std::optional<int64_t>());
}

/// As torch.nn.Embedding with a padding_idx: the row that stands for padding is not learned.
Tensor without_padding_gradient(const Tensor& x_BTC, const Tensor& ids_BT, int64_t padding) {
  if (!is_grad_enabled()) return x_BTC;
  Tensor is_padding_BT1 = (ids_BT == static_cast<double>(padding)).unsqueeze(2);
  return where(is_padding_BT1, x_BTC.detach(), x_BTC);
}

}  // namespace

Tensor attend(const Tensor& q_BTC, const Tensor& k_BTC, const Tensor& v_BTC, int64_t heads,
              const Tensor& mask_B11T, double dropout_p) {
  const int64_t B = q_BTC.size(0), T = q_BTC.size(1), C = q_BTC.size(2);
  const auto split = [&](const Tensor& x_BTC) {
    return x_BTC.reshape({B, T, heads, C / heads}).transpose(1, 2);
  };
  Tensor y_BHTD = scaled_dot_product_attention(split(q_BTC), split(k_BTC), split(v_BTC), mask_B11T,
                                               {.dropout_p = dropout_p});
  return y_BHTD.transpose(1, 2).reshape({B, T, C});
}

EncoderEmbeddings::EncoderEmbeddings(const EncoderConfig& c)
    : positions_from_ids_(c.positions_from_ids),
      pad_token_id_(c.pad_token_id),
      word_embeddings_(c.vocab_size, c.hidden_size,
                       embedding_init(c.initializer_range, c.pad_token_id)),
      position_embeddings_(c.max_position_embeddings, c.hidden_size, position_init(c)),
      LayerNorm_(c.hidden_size, c.layer_norm_eps),
      dropout_(c.hidden_dropout) {
  register_module("word_embeddings", word_embeddings_);
  register_module("position_embeddings", position_embeddings_);
  if (c.type_vocab_size > 0) {
    token_type_embeddings_ = std::make_unique<nn::Embedding>(c.type_vocab_size, c.hidden_size,
                                                             init::normal(0, c.initializer_range));
    register_module("token_type_embeddings", *token_type_embeddings_);
  }
  register_module("LayerNorm", LayerNorm_);
  register_module("dropout", dropout_);
}

Tensor EncoderEmbeddings::positions(const Tensor& ids_BT) const {
  const int64_t B = ids_BT.size(0), T = ids_BT.size(1);
  if (!positions_from_ids_) return arange(T).reshape({1, T});
  const auto padding = static_cast<double>(*pad_token_id_);
  Tensor is_token_BT = ids_BT != padding;
  Tensor upto_TT = arange(T).reshape({1, T}) <= arange(T).reshape({T, 1});
  Tensor counted_BTT = logical_and(upto_TT, is_token_BT.reshape({B, 1, T})).to(DType::i64);
  Tensor count_BT = counted_BTT.sum({2});
  return where(is_token_BT, count_BT, zeros_like(count_BT)) + padding;
}

Tensor EncoderEmbeddings::operator()(const EncoderInput& input) {
  return run({input.ids}, [&](const std::vector<Tensor>& in) {
    Tensor x_BTC = word_embeddings_(in[0]);
    if (pad_token_id_) x_BTC = without_padding_gradient(x_BTC, in[0], *pad_token_id_);
    if (token_type_embeddings_) {
      Tensor types = input.token_type_ids;
      x_BTC = x_BTC + (types.defined() ? (*token_type_embeddings_)(types)
                                       : token_type_embeddings_->weight.slice(0, 0, 1));
    }
    Tensor positions_BT = input.position_ids.defined() ? input.position_ids : positions(in[0]);
    Tensor position_BTC = position_embeddings_(positions_BT);
    if (positions_from_ids_)
      position_BTC = without_padding_gradient(position_BTC, positions_BT, *pad_token_id_);
    return dropout_(LayerNorm_(x_BTC + position_BTC));
  });
}

Pooler::Pooler(const EncoderConfig& c) : dense_(c, c.hidden_size, c.hidden_size) {
  register_module("dense", dense_);
}
Tensor Pooler::forward(const Tensor& x_BTC) {
  return tanh(dense_(x_BTC.select(1, 0)));
}

EncoderBody::EncoderBody(const EncoderFamily& family, const EncoderConfig& c, bool with_pooler)
    : Encoder(family, c, "Model"), embeddings_(c) {
  register_module("embeddings", embeddings_);
  register_module(std::string(family.stack), stack_);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    stack_.layer.add(family.make_block(c));
  if (with_pooler) {
    pooler_ = std::make_unique<Pooler>(c);
    register_module("pooler", *pooler_);
  }
}

void EncoderBody::check(const EncoderInput& input) const {
  const Tensor& ids = input.ids;
  if (!ids.defined() || ids.dim() != 2 || is_floating(ids.dtype()) || ids.size(1) < 1)
    usage_error("[{}] token ids must be integers [batch, tokens], got {}", type_name(),
                ids.defined() ? nn::type_text(ids) : "nothing");
  if (ids.size(1) > max_positions() && !input.position_ids.defined())
    usage_error("[{}] {} tokens exceed the {} positions of the model", type_name(), ids.size(1),
                max_positions());
  const auto check_shape = [&](std::string_view what, const Tensor& tensor, bool one_row) {
    if (tensor.defined() && tensor.shape() != ids.shape() &&
        !(one_row && tensor.shape() == Shape{1, ids.size(1)}))
      usage_error("[{}] {} {} do not fit the ids {}", type_name(), what, nn::type_text(tensor),
                  nn::type_text(ids));
  };
  check_shape("attention masks", input.attention_mask, false);
  check_shape("token type ids", input.token_type_ids, true);
  check_shape("position ids", input.position_ids, true);
  if (input.token_type_ids.defined() && !embeddings_.has_token_types())
    usage_error("[{}] has no token types, but token type ids are given", type_name());
}

EncoderOutput EncoderBody::operator()(const EncoderInput& input) {
  check(input);
  EncoderOutput out;
  out.last_hidden_state = run({input.ids}, [&](const std::vector<Tensor>& in) {
    Tensor mask_B11T;
    if (input.attention_mask.defined())
      mask_B11T = (input.attention_mask != 0.0).reshape({in[0].size(0), 1, 1, in[0].size(1)});
    EncoderInput replaced = input;
    replaced.ids = in[0];
    Tensor x_BTC = embeddings_(replaced);
    for (size_t layer = 0; layer < stack_.layer.size(); ++layer) {
      if (input.output_hidden_states) out.hidden_states.push_back(x_BTC);
      x_BTC = stack_.layer[layer](x_BTC, mask_B11T);
    }
    if (input.output_hidden_states) out.hidden_states.push_back(x_BTC);
    return x_BTC;
  });
  if (pooler_) out.pooler_output = (*pooler_)(out.last_hidden_state);
  return out;
}

}  // namespace corten::layers
