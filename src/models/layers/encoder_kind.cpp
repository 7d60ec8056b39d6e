#include <algorithm>

#include "base/format.h"
#include "models/layers/encoder.h"
#include "models/layers/text_model_kind.h"

namespace corten::layers {
namespace {

constexpr std::string_view kMaskedLM = "ForMaskedLM", kPlain = "Model";

/// Names of the layer norms' parameters in the first checkpoints.
std::string with_present_names(std::string_view stored) {
  std::string name(stored);
  for (const auto& [old, present] :
       {std::pair<std::string_view, std::string_view>{"LayerNorm.gamma", "LayerNorm.weight"},
        {"LayerNorm.beta", "LayerNorm.bias"}})
    if (name.ends_with(old)) name.replace(name.size() - old.size(), old.size(), present);
  return name;
}

class EncoderKind final : public TextModelKind {
 public:
  EncoderKind(const EncoderFamily& family, const EncoderConfig& c, std::string_view task)
      : family_(family), sizes_(c), task_(task) {
    type_name = std::string(family.name) + task_;
    config = c.json;
    vocab_size = c.vocab_size;
    hidden_size = c.hidden_size;
    max_positions = c.max_positions();
    pad_token_id = c.pad_token_id;
    labels = {c.num_labels, c.problem_type};
  }

  std::string map_weight_name(std::string_view stored) const override {
    std::string name = with_present_names(stored);
    if (name.ends_with("embeddings.position_ids")) return "";
    const std::string prefix = std::string(family_.model_type) + ".";
    if (task_ == kPlain) {
      if (name.starts_with(prefix)) name.erase(0, prefix.size());
      return name;
    }
    for (const std::string& part :
         {std::string("embeddings."), std::string(family_.stack) + ".", std::string("pooler.")})
      if (name.starts_with(part)) return prefix + name;
    return name;
  }

  /// All of the encoder but its pooler.
  bool is_required(std::string_view name) const override {
    const std::string prefix = task_ == kPlain ? "" : std::string(family_.model_type) + ".";
    return name.starts_with(prefix) && !name.starts_with(prefix + "pooler.");
  }

  bool is_copy(std::string_view name) const override {
    return has_tied_decoder() && name.starts_with(family_.lm_decoder);
  }

  /// The output layer's bias stands in files under one of two names, or both.
  std::vector<std::pair<std::string, std::string>> other_names() const override {
    const std::string bias(family_.lm_bias), decoder = std::string(family_.lm_decoder) + ".bias";
    if (task_ != kMaskedLM || bias.empty()) return {};
    return {{bias, decoder}, {decoder, bias}};
  }

  void check_weights(const Safetensors& file, std::string_view folder) const override {
    if (!has_tied_decoder()) return;
    const std::string embedding_name =
        std::string(family_.model_type) + ".embeddings.word_embeddings.weight";
    const StoredTensor* decoder = file.find(std::string(family_.lm_decoder) + ".weight");
    const StoredTensor* embedding = nullptr;
    for (const StoredTensor& tensor : file.tensors())
      if (map_weight_name(tensor.name) == embedding_name) embedding = &tensor;
    if (decoder && embedding &&
        (decoder->dtype != embedding->dtype || decoder->dims != embedding->dims ||
         !std::ranges::equal(decoder->bytes, embedding->bytes)))
      usage_error(
          "{}: {} differs from {}, but \"tie_word_embeddings\" is true: set it to false in "
          "config.json",
          folder, decoder->name, embedding->name);
  }

  double forward_flops(int64_t batch, int64_t tokens) const override {
    const auto B = static_cast<double>(batch), T = static_cast<double>(tokens);
    const auto C = static_cast<double>(sizes_.hidden_size),
               F = static_cast<double>(sizes_.intermediate_size);
    const double layer = 2 * T * (4 * C * C + 2 * C * F) + 4 * T * T * C;
    // Heads read one state, through a layer of its width.
    const double head = 2 * C * (C + static_cast<double>(sizes_.num_labels));
    return B * (static_cast<double>(sizes_.num_hidden_layers) * layer + head);
  }

 private:
  bool has_tied_decoder() const { return task_ == kMaskedLM && sizes_.tie_word_embeddings; }

  const EncoderFamily& family_;
  EncoderConfig sizes_;
  std::string task_;
};

}  // namespace

std::unique_ptr<const TextModelKind> encoder_kind(const EncoderFamily& family,
                                                  const EncoderConfig& config,
                                                  std::string_view task) {
  return std::make_unique<EncoderKind>(family, config, task);
}

}  // namespace corten::layers
