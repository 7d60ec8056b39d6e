// Decoders without the head that continues text: alone, or judging whole sequences.
//
// Suffixes: B sequences, T tokens, C width, L labels.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corten/encoders.h"
#include "models/layers/text_model_kind.h"

namespace corten::layers {

/// What computes the states of a family's tokens.
class DecoderBody {
 public:
  virtual ~DecoderBody() = default;
  /// The module whose parts have the names of the files.
  virtual nn::Module& module() = 0;
  /// States [B, T, C] after the final norm. `hidden_states`, if not null, gets the embeddings, what
  /// follows each layer but the last, and the result.
  virtual Tensor operator()(const EncoderInput& input, std::vector<Tensor>* hidden_states) = 0;
};

class DecoderKind final : public TextModelKind {
 public:
  std::string name;                     ///< begins the classes of transformers: "Llama"
  std::string prefix;                   ///< of the body in a model with a head: "model"
  std::vector<std::string_view> parts;  ///< of the body: "embed_tokens.", ...
  double initializer_range = 0.02;
  bool judges = false;                       ///< whether there is a head
  bool (*is_buffer)(std::string_view name);  ///< tensors of older files that are no parameters
  std::function<void(const Safetensors& file, std::string_view folder)> check;
  std::function<double(int64_t batch, int64_t tokens)> body_flops;

  std::string map_weight_name(std::string_view stored) const override;
  bool is_required(std::string_view name) const override;
  void check_weights(const Safetensors& file, std::string_view folder) const override;
  double forward_flops(int64_t batch, int64_t tokens) const override;
};

struct HeadlessDecoder {
  std::unique_ptr<DecoderKind> kind;
  std::unique_ptr<DecoderBody> body;
};

std::unique_ptr<Encoder> make_decoder_model(HeadlessDecoder parts);
/// Of a kind with labels, whose head is a linear layer without bias.
std::unique_ptr<SequenceClassifier> make_decoder_classifier(HeadlessDecoder parts);

}  // namespace corten::layers
