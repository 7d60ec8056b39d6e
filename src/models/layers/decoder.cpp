#include "models/layers/decoder.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "corten/safetensors.h"
#include "models/stored_weights.h"

namespace corten::layers {
namespace {

constexpr std::array<std::string_view, 3> kDecoderParts = {"embed_tokens.", "layers.", "norm."};

bool is_decoder_buffer(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq");
}

/// A tensor of the decoder without its head, which files have with or without the prefix.
const StoredTensor* find_body_weight(const Safetensors& file, const std::string& name) {
  const StoredTensor* found = file.find("model." + name);
  return found ? found : file.find(name);
}

class FamilyBody : public DecoderBody {
 public:
  FamilyBody(const DecoderFamily& family, const DecoderConfig& c)
      : rotary_(c.rope, c.head_size(), c.max_position_embeddings), model_(family, c) {}
  nn::Module& module() override { return model_; }
  Tensor operator()(const EncoderInput& input, std::vector<Tensor>* hidden_states) override {
    const int64_t T = input.ids.size(1);
    DecoderCall call;
    call.placement = Placement::whole(T, input.attention_mask);
    const Tensor& given_BT = input.position_ids;
    call.rotation =
        rotary_(given_BT.defined() ? given_BT.to(DType::i64) : call.placement.positions(), T);
    call.hidden_states = hidden_states;
    return model_(input.ids, call);
  }

 private:
  RotaryEmbedding rotary_;
  Decoder model_;
};

}  // namespace

Decoder::Decoder(const DecoderFamily& family, const DecoderConfig& c)
    : embedding_scale_(c.embedding_scale),
      pad_token_id_(c.pad_token_id),
      embed_tokens_(c.vocab_size, c.hidden_size, init::normal(0, c.initializer_range)),
      norm_(c.hidden_size, c.rms_norm_eps, c.norm_offset) {
  register_module("embed_tokens", embed_tokens_);
  register_module("layers", layers_);
  register_module("norm", norm_);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    layers_.add(family.make_block(c, layer));
}

Tensor Decoder::operator()(const Tensor& ids_BT, const DecoderCall& call) {
  return run({ids_BT}, [&](const std::vector<Tensor>& in) {
    Tensor x_BTC = embed_tokens_(in[0]);
    if (pad_token_id_ && is_grad_enabled()) {
      // As torch.nn.Embedding with a padding_idx: what stands for padding is not learned.
      Tensor is_padding_BT1 = (in[0] == static_cast<double>(*pad_token_id_)).unsqueeze(2);
      x_BTC = where(is_padding_BT1, x_BTC.detach(), x_BTC);
    }
    if (embedding_scale_ != 1) x_BTC = x_BTC * embedding_scale_;
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      if (call.hidden_states) call.hidden_states->push_back(x_BTC);
      x_BTC = layers_[layer](x_BTC, call);
    }
    x_BTC = norm_(x_BTC);
    if (call.hidden_states) call.hidden_states->push_back(x_BTC);
    return x_BTC;
  });
}

DecoderLM::DecoderLM(const DecoderFamily& family, DecoderConfig config)
    : family_(family),
      config_(std::move(config)),
      rotary_(config_.rope, config_.head_size(), config_.max_position_embeddings),
      model_(family_, config_) {
  register_module("model", model_);
  if (!config_.tie_word_embeddings) {
    lm_head_ = std::make_unique<nn::Linear>(config_.hidden_size, config_.vocab_size, false,
                                            init::normal(0, config_.initializer_range));
    register_module("lm_head", *lm_head_);
  }
  set_eos_token_ids(config_.eos_token_id);
}

Tensor DecoderLM::head(const Tensor& x_BTC) const {
  Tensor logits = lm_head_ ? (*lm_head_)(x_BTC) : model_.token_embedding().project(x_BTC);
  const std::optional<double> cap = config_.final_logit_softcapping;
  return cap ? tanh(logits / *cap) * *cap : logits;
}

Tensor DecoderLM::forward_logits(const Tensor& ids_BT, const Tensor& attention_mask_BT) {
  DecoderCall call;
  call.placement = Placement::whole(ids_BT.size(1), attention_mask_BT);
  call.rotation = rotary_(call.placement.positions(), ids_BT.size(1));
  return head(model_(ids_BT, call));
}

Tensor DecoderLM::forward_prefill(const Tensor& ids_BT, const Tensor& attention_mask_BT,
                                  KvCache& cache) {
  DecoderCall call;
  call.placement = Placement::whole(ids_BT.size(1), attention_mask_BT);
  call.rotation = rotary_(call.placement.positions(), ids_BT.size(1));
  call.cache = &cache;
  return head(model_(ids_BT, call).select(1, ids_BT.size(1) - 1));
}

Tensor DecoderLM::forward_decode(const Tensor& ids_B1, const Tensor& position, KvCache& cache) {
  return forward_extend(ids_B1, position, cache).select(1, 0);
}

Tensor DecoderLM::forward_extend(const Tensor& ids_BT, const Tensor& position, KvCache& cache) {
  DecoderCall call;
  call.placement = Placement::next(position, cache, ids_BT.size(1));
  call.rotation = rotary_(call.placement.positions(), cache.length);
  call.cache = &cache;
  call.position = position;
  return head(model_(ids_BT, call));
}

CausalLM::CacheShape DecoderLM::cache_shape() const {
  return {config_.num_hidden_layers, config_.kv_heads(), config_.head_size()};
}

int64_t DecoderLM::longest_input() const {
  return layers::longest_input(config_);
}

double DecoderLM::forward_flops(int64_t batch, int64_t tokens) const {
  const double head = 2 * static_cast<double>(batch) * static_cast<double>(tokens) *
                      static_cast<double>(config_.hidden_size) *
                      static_cast<double>(config_.vocab_size);
  return decoder_flops(config_, batch, tokens) + head;
}

/// Checkpoints of the model without its head lack the prefix; old ones hold the frequencies of the
/// rotary embedding as buffers. The head of a classifier is of no use here.
std::string DecoderLM::map_weight_name(std::string_view stored) const {
  if (is_decoder_buffer(stored) || is_other_head(stored)) return "";
  if (stored == "lm_head.weight") return config_.tie_word_embeddings ? "" : std::string(stored);
  for (std::string_view part : kDecoderParts)
    if (stored.starts_with(part)) return "model." + std::string(stored);
  return std::string(stored);
}

void DecoderLM::check_weights(const Safetensors& file, std::string_view folder) const {
  check_decoder_weights(config_, file, folder);
  const StoredTensor* embedding = find_body_weight(file, "embed_tokens.weight");
  const StoredTensor* head = file.find("lm_head.weight");
  if (config_.tie_word_embeddings && head && embedding &&
      (head->dtype != embedding->dtype || head->dims != embedding->dims ||
       !std::ranges::equal(head->bytes, embedding->bytes)))
    usage_error(
        "{}: lm_head.weight differs from {}, but \"tie_word_embeddings\" is true: set it "
        "to false in config.json",
        folder, embedding->name);
}

/// Beyond max_position_embeddings the frequencies of "dynamic" depend on the length, so that no
/// cache can hold turned keys; whole sequences can be as long as the factor allows.
int64_t longest_input(const DecoderConfig& c) {
  if (c.rope.type != "dynamic" || c.rope.factor <= 1) return c.max_position_embeddings;
  return static_cast<int64_t>(static_cast<double>(c.max_position_embeddings) * c.rope.factor);
}

double decoder_flops(const DecoderConfig& c, int64_t batch, int64_t tokens) {
  const auto B = static_cast<double>(batch), T = static_cast<double>(tokens);
  const auto C = static_cast<double>(c.hidden_size), F = static_cast<double>(c.intermediate_size),
             D = static_cast<double>(c.head_size());
  const auto H = static_cast<double>(c.heads()), K = static_cast<double>(c.kv_heads());
  double total = 0;
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    // Pairs of a query and a key that it sees: the first `w` queries see 1, 2, ..., w of them.
    double pairs = T * (T + 1) / 2;
    if (const int64_t window = c.window(layer); window > 0 && window < tokens) {
      const auto w = static_cast<double>(window);
      pairs = w * (w + 1) / 2 + (T - w) * w;
    }
    total += 2 * T * (C * (H + 2 * K) * D + H * D * C + 3 * C * F) + 4 * pairs * H * D;
  }
  return B * total;
}

void check_decoder_weights(const DecoderConfig& c, const Safetensors& file,
                           std::string_view folder) {
  const auto check_rows = [&](const StoredTensor* tensor, int64_t expected, std::string_view key,
                              int64_t per_unit) {
    if (!tensor || tensor->dims.size() != 2 || tensor->dims[0] == expected * per_unit) return;
    if (tensor->dims[0] % per_unit == 0)
      usage_error("{}: {} has {} rows, but \"{}\" is {}: set it to {} in config.json", folder,
                  tensor->name, tensor->dims[0], key, expected, tensor->dims[0] / per_unit);
    usage_error(
        "{}: {} has {} rows, which heads of size {} do not divide: check \"head_dim\" and "
        "\"{}\" in config.json",
        folder, tensor->name, tensor->dims[0], per_unit, key);
  };
  // Advice on the config is right only where every layer contradicts it alike; otherwise the shapes
  // are listed, of which some are wrong.
  const auto find_in_layers = [&](std::initializer_list<std::string_view> names) {
    const StoredTensor* first = nullptr;
    for (int64_t layer = 0;; ++layer)
      for (std::string_view name : names) {
        const StoredTensor* found =
            find_body_weight(file, format("layers.{}.{}.weight", layer, name));
        if (!found) return name == *names.begin() ? first : nullptr;
        if (!first) first = found;
        if (found->dims != first->dims) return static_cast<const StoredTensor*>(nullptr);
      }
  };
  const StoredTensor* embedding = find_body_weight(file, "embed_tokens.weight");
  check_rows(embedding, c.vocab_size, "vocab_size", 1);
  if (embedding && embedding->dims.size() == 2 && embedding->dims[1] != c.hidden_size)
    usage_error("{}: {} has {} columns, but \"hidden_size\" is {}: set it to {} in config.json",
                folder, embedding->name, embedding->dims[1], c.hidden_size, embedding->dims[1]);
  check_rows(find_in_layers({"self_attn.q_proj"}), c.heads(), "num_attention_heads", c.head_size());
  check_rows(find_in_layers({"self_attn.k_proj", "self_attn.v_proj"}), c.kv_heads(),
             "num_key_value_heads", c.head_size());
  check_rows(find_in_layers({"mlp.up_proj", "mlp.gate_proj"}), c.intermediate_size,
             "intermediate_size", 1);
  int64_t layers = 0;
  while (find_body_weight(file, format("layers.{}.input_layernorm.weight", layers))) ++layers;
  if (layers > 0 && layers != c.num_hidden_layers)
    usage_error(
        "{} holds {} layers, but \"num_hidden_layers\" is {}: set it to {} in config.json, "
        "or add the missing shards",
        folder, layers, c.num_hidden_layers, layers);
  const auto check_bias = [&](const std::string& name, bool expected, std::string_view key) {
    if (embedding && (find_body_weight(file, name) != nullptr) != expected)
      usage_error("{} holds {} {}, but \"{}\" is {}: set it to {} in config.json", folder,
                  expected ? "no" : "a", name, key, expected, !expected);
  };
  if (c.json.contains("attention_bias"))
    check_bias("layers.0.self_attn.q_proj.bias", c.query_key_value_bias, "attention_bias");
  if (c.json.contains("mlp_bias")) check_bias("layers.0.mlp.up_proj.bias", c.mlp_bias, "mlp_bias");
}

HeadlessDecoder headless_decoder(const DecoderFamily& family, DecoderConfig config) {
  HeadlessDecoder out{std::make_unique<DecoderKind>(),
                      std::make_unique<FamilyBody>(family, config)};
  DecoderKind& kind = *out.kind;
  kind.config = config.json;
  kind.vocab_size = config.vocab_size;
  kind.hidden_size = config.hidden_size;
  kind.max_positions = longest_input(config);
  kind.pad_token_id = config.pad_token_id;
  kind.labels = read_labels(config.json, "config.json");
  kind.name = family.architecture.substr(0, family.architecture.find("ForCausalLM"));
  kind.prefix = "model";
  kind.parts.assign(kDecoderParts.begin(), kDecoderParts.end());
  kind.initializer_range = config.initializer_range;
  kind.is_buffer = is_decoder_buffer;
  kind.check = [config](const Safetensors& file, std::string_view folder) {
    check_decoder_weights(config, file, folder);
  };
  kind.body_flops = [config](int64_t batch, int64_t tokens) {
    return decoder_flops(config, batch, tokens);
  };
  return out;
}

}  // namespace corten::layers
