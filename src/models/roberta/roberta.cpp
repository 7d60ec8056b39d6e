#include "models/roberta/roberta.h"

#include "models/bert/bert.h"

namespace corten::roberta {
namespace {

using layers::EncoderConfig;
using layers::EncoderLinear;

/// decoder(layer_norm(gelu(dense(x)))), whatever the config's activation is.
class LMHead : public nn::Module {
 public:
  explicit LMHead(const EncoderConfig& c)
      : dense_(c, c.hidden_size, c.hidden_size), layer_norm_(c.hidden_size, c.layer_norm_eps) {
    register_parameter("bias", bias_, {c.vocab_size}, init::zeros());
    register_module("dense", dense_);
    register_module("layer_norm", layer_norm_);
    if (!c.tie_word_embeddings) {
      decoder_ = std::make_unique<EncoderLinear>(c, c.hidden_size, c.vocab_size);
      register_module("decoder", *decoder_);
    }
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& embedding_VC) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      Tensor h_BTC = layer_norm_(gelu(dense_(in[0])));
      return decoder_ ? (*decoder_)(h_BTC) : linear(h_BTC, embedding_VC, bias_);
    });
  }

 private:
  EncoderLinear dense_;
  nn::LayerNorm layer_norm_;
  Tensor bias_;  ///< files have it also where the decoder is not tied and has one of its own
  std::unique_ptr<nn::Linear> decoder_;  ///< null if tied to the token embedding
};

class ForMaskedLM : public MaskedLM {
 public:
  explicit ForMaskedLM(const EncoderConfig& c)
      : MaskedLM(kFamily, c, "ForMaskedLM"), roberta_(kFamily, c, false), lm_head_(c) {
    register_module("roberta", roberta_);
    register_module("lm_head", lm_head_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    Tensor x_BTC = roberta_(input).last_hidden_state;
    return lm_head_(x_BTC, roberta_.token_embedding());
  }

 private:
  layers::EncoderBody roberta_;
  LMHead lm_head_;
};

/// Of the first token: out_proj(dropout(tanh(dense(dropout(x))))).
class ClassificationHead : public nn::Module {
 public:
  explicit ClassificationHead(const EncoderConfig& c)
      : dense_(c, c.hidden_size, c.hidden_size),
        dropout_(c.classifier_dropout.value_or(c.hidden_dropout)),
        out_proj_(c, c.hidden_size, c.num_labels) {
    register_module("dense", dense_);
    register_module("dropout", dropout_);
    register_module("out_proj", out_proj_);
  }
  Tensor forward(const Tensor& x_BTC) override {
    Tensor x_BC = dropout_(x_BTC.select(1, 0));
    return out_proj_(dropout_(tanh(dense_(x_BC))));
  }

 private:
  EncoderLinear dense_;
  nn::Dropout dropout_;
  EncoderLinear out_proj_;
};

class ForSequenceClassification : public SequenceClassifier {
 public:
  explicit ForSequenceClassification(const EncoderConfig& c)
      : SequenceClassifier(kFamily, c, "ForSequenceClassification"),
        roberta_(kFamily, c, false),
        classifier_(c) {
    register_module("roberta", roberta_);
    register_module("classifier", classifier_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    return classifier_(roberta_(input).last_hidden_state);
  }

 private:
  layers::EncoderBody roberta_;
  ClassificationHead classifier_;
};

EncoderConfig read(const Json& json, std::string_view source) {
  EncoderConfig config;
  config.vocab_size = 50265;
  config.pad_token_id = 1;
  config.positions_from_ids = true;
  layers::read_encoder_fields(config, json, source, kFamily.model_type);
  return config;
}

}  // namespace

const layers::EncoderFamily kFamily = {
    .model_type = "roberta",
    .name = "Roberta",
    .stack = "encoder",
    .has_pooler = true,
    .lm_decoder = "lm_head.decoder",
    .lm_bias = "lm_head.bias",
    .read = read,
    .make_block = bert::make_block,
    .make_masked_lm = [](const EncoderConfig& c) -> std::unique_ptr<MaskedLM> {
      return std::make_unique<ForMaskedLM>(c);
    },
    .make_classifier = [](const EncoderConfig& c) -> std::unique_ptr<SequenceClassifier> {
      return std::make_unique<ForSequenceClassification>(c);
    }};

}  // namespace corten::roberta
