// The encoder that the families share: embeddings, blocks and pooler, with the parameter names of
// transformers' BertModel.
//
// Suffixes: B sequences, T tokens, C width (hidden_size), F width inside the MLP, H heads, D = C /
// H, V vocabulary, L labels.
#pragma once

#include <memory>
#include <string_view>

#include "corten/encoders.h"
#include "corten/nn.h"
#include "models/layers/encoder_config.h"

namespace corten::layers {

/// One transformer block: [B, T, C] to [B, T, C].
class EncoderBlock : public nn::Module {
 public:
  /// mask: bool [B, 1, 1, T], true where a key is seen; undefined: all are.
  virtual Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) = 0;
};

/// What makes a family of encoders.
struct EncoderFamily {
  std::string_view model_type;  ///< of config.json; also the encoder's name in a model with a head
  std::string_view name;        ///< begins the classes of transformers
  std::string_view stack;       ///< name of the blocks' module
  bool has_pooler;
  /// Names of the masked LM's output layer, which is tied to the token embedding, and of its bias.
  std::string_view lm_decoder, lm_bias;
  EncoderConfig (*read)(const Json& json, std::string_view source);
  std::unique_ptr<EncoderBlock> (*make_block)(const EncoderConfig& config);
  std::unique_ptr<MaskedLM> (*make_masked_lm)(const EncoderConfig& config);
  std::unique_ptr<SequenceClassifier> (*make_classifier)(const EncoderConfig& config);
};

/// A linear layer as encoders initialise it.
class EncoderLinear : public nn::Linear {
 public:
  EncoderLinear(const EncoderConfig& c, int64_t in, int64_t out)
      : nn::Linear(in, out, true, init::normal(0, c.initializer_range)) {}
  std::string type_name() const override { return "Linear"; }
};

/// softmax(q k^T / sqrt(D)) v of H heads each; q, k and v are [B, T, C].
Tensor attend(const Tensor& q_BTC, const Tensor& k_BTC, const Tensor& v_BTC, int64_t heads,
              const Tensor& mask_B11T, double dropout_p);

class EncoderEmbeddings : public nn::Module {
 public:
  explicit EncoderEmbeddings(const EncoderConfig& config);
  Tensor operator()(const EncoderInput& input);
  const Tensor& token_embedding() const { return word_embeddings_.weight; }
  bool has_token_types() const { return token_type_embeddings_ != nullptr; }

 private:
  /// Integers [1 or B, T].
  Tensor positions(const Tensor& ids_BT) const;

  bool positions_from_ids_;
  std::optional<int64_t> pad_token_id_;
  nn::Embedding word_embeddings_, position_embeddings_;
  std::unique_ptr<nn::Embedding> token_type_embeddings_;  ///< null if the family has none
  nn::LayerNorm LayerNorm_;
  nn::Dropout dropout_;
};

/// tanh of a linear layer of the first token: [B, T, C] to [B, C].
class Pooler : public nn::Module {
 public:
  explicit Pooler(const EncoderConfig& config);
  Tensor forward(const Tensor& x_BTC) override;

 private:
  EncoderLinear dense_;
};

class EncoderBody : public Encoder {
 public:
  EncoderBody(const EncoderFamily& family, const EncoderConfig& config, bool with_pooler);
  EncoderOutput operator()(const EncoderInput& input) override;
  const Tensor& token_embedding() const { return embeddings_.token_embedding(); }

 private:
  struct Stack : nn::Module {
    Stack() { register_module("layer", layer); }
    std::string type_name() const override { return "Encoder"; }
    nn::ModuleList<EncoderBlock> layer;
  };
  void check(const EncoderInput& input) const;

  EncoderEmbeddings embeddings_;
  Stack stack_;
  std::unique_ptr<Pooler> pooler_;  ///< null if there is none
};

}  // namespace corten::layers
