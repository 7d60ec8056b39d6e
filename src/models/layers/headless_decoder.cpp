#include "models/layers/headless_decoder.h"

#include "base/format.h"
#include "nn/state.h"

namespace corten::layers {
namespace {

void check(const EncoderInput& input, const TextModelKind& kind) {
  const Tensor& ids = input.ids;
  if (!ids.defined() || ids.dim() != 2 || is_floating(ids.dtype()) || ids.size(1) < 1)
    usage_error("[{}] token ids must be integers [batch, tokens], got {}", kind.type_name,
                ids.defined() ? nn::type_text(ids) : "nothing");
  if (ids.size(1) > kind.max_positions)
    usage_error("[{}] {} tokens exceed the {} positions of the model", kind.type_name, ids.size(1),
                kind.max_positions);
  if (input.attention_mask.defined() && input.attention_mask.shape() != ids.shape())
    usage_error("[{}] the attention mask {} does not fit the ids {}", kind.type_name,
                nn::type_text(input.attention_mask), nn::type_text(ids));
  if (const Tensor& positions = input.position_ids; positions.defined() &&
                                                    positions.shape() != ids.shape() &&
                                                    positions.shape() != Shape{1, ids.size(1)})
    usage_error("[{}] the position ids {} do not fit the ids {}", kind.type_name,
                nn::type_text(positions), nn::type_text(ids));
  if (input.token_type_ids.defined())
    usage_error("[{}] has no token types, but token type ids are given", kind.type_name);
}

class DecoderModel : public Encoder {
 public:
  explicit DecoderModel(HeadlessDecoder parts)
      : Encoder(std::move(parts.kind)), body_(std::move(parts.body)) {
    for (const auto& [name, child] : body_->module().children()) register_module(name, *child);
  }

  EncoderOutput operator()(const EncoderInput& input) override {
    check(input, kind());
    EncoderOutput out;
    out.last_hidden_state = run({input.ids}, [&](const std::vector<Tensor>& in) {
      EncoderInput replaced = input;
      replaced.ids = in[0];
      return (*body_)(replaced, input.output_hidden_states ? &out.hidden_states : nullptr);
    });
    return out;
  }

 private:
  std::unique_ptr<DecoderBody> body_;
};

class DecoderClassifier : public SequenceClassifier {
 public:
  DecoderClassifier(HeadlessDecoder parts, const std::string& prefix, double initializer_range)
      : SequenceClassifier(std::move(parts.kind)),
        body_(std::move(parts.body)),
        score_(hidden_size(), num_labels(), false, init::normal(0, initializer_range)) {
    register_module(prefix, body_->module());
    register_module("score", score_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    check(input, kind());
    const int64_t B = input.ids.size(0), T = input.ids.size(1), C = hidden_size();
    const std::optional<int64_t> padding = pad_token_id();
    if (!padding && B != 1)
      usage_error(
          "[{}] {} sequences at once need a \"pad_token_id\" in the config, which tells where they "
          "end",
          type_name(), B);
    const Tensor x_BTC = (*body_)(input, nullptr);
    if (!padding) return score_(x_BTC.select(1, T - 1));
    // The rightmost token that is no padding, whichever side that is on.
    const Tensor is_token_BT = (input.ids != static_cast<double>(*padding)).to(DType::i64);
    const Tensor last_B = argmax(arange(T).reshape({1, T}) * is_token_BT, 1);
    const Tensor index_B1C = last_B.reshape({B, 1, 1}).expand({B, 1, C});
    return score_(gather(x_BTC, 1, index_B1C).reshape({B, C}));
  }

 private:
  std::unique_ptr<DecoderBody> body_;
  nn::Linear score_;
};

}  // namespace

/// Files have the body with or without its prefix.
std::string DecoderKind::map_weight_name(std::string_view stored) const {
  if (is_buffer(stored)) return "";
  if (judges) {
    for (const std::string_view part : parts)
      if (stored.starts_with(part)) return format("{}.{}", prefix, stored);
  } else if (const std::string before = prefix + "."; stored.starts_with(before)) {
    stored.remove_prefix(before.size());
  }
  return std::string(stored);
}

bool DecoderKind::is_required(std::string_view parameter) const {
  return !judges || parameter.starts_with(prefix + ".");
}

void DecoderKind::check_weights(const Safetensors& file, std::string_view folder) const {
  if (check) check(file, folder);
}

double DecoderKind::forward_flops(int64_t batch, int64_t tokens) const {
  const double head =
      judges ? 2.0 * static_cast<double>(batch * hidden_size * labels.num_labels) : 0;
  return body_flops(batch, tokens) + head;
}

std::unique_ptr<Encoder> make_decoder_model(HeadlessDecoder parts) {
  parts.kind->type_name = parts.kind->name + "Model";
  return std::make_unique<DecoderModel>(std::move(parts));
}

std::unique_ptr<SequenceClassifier> make_decoder_classifier(HeadlessDecoder parts) {
  DecoderKind& kind = *parts.kind;
  kind.judges = true;
  kind.type_name = kind.name + "ForSequenceClassification";
  const std::string prefix = kind.prefix;
  const double range = kind.initializer_range;
  return std::make_unique<DecoderClassifier>(std::move(parts), prefix, range);
}

}  // namespace corten::layers
