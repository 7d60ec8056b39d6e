#include "models/bert/bert.h"

#include "models/layers/activation.h"

namespace corten::bert {
namespace {

using layers::EncoderConfig;
using layers::EncoderLinear;

/// Queries, keys and values.
class SelfAttention : public nn::Module {
 public:
  explicit SelfAttention(const EncoderConfig& c)
      : heads_(c.num_attention_heads),
        dropout_(c.attention_dropout),
        query_(c, c.hidden_size, c.hidden_size),
        key_(c, c.hidden_size, c.hidden_size),
        value_(c, c.hidden_size, c.hidden_size) {
    register_module("query", query_);
    register_module("key", key_);
    register_module("value", value_);
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      return layers::attend(query_(in[0]), key_(in[0]), value_(in[0]), heads_, mask_B11T,
                            is_training() ? dropout_ : 0);
    });
  }

 private:
  int64_t heads_;
  double dropout_;
  EncoderLinear query_, key_, value_;
};

/// LayerNorm(dropout(dense(y)) + x).
class Output : public nn::Module {
 public:
  Output(const EncoderConfig& c, int64_t in)
      : dense_(c, in, c.hidden_size),
        LayerNorm_(c.hidden_size, c.layer_norm_eps),
        dropout_(c.hidden_dropout) {
    register_module("dense", dense_);
    register_module("LayerNorm", LayerNorm_);
    register_module("dropout", dropout_);
  }
  Tensor operator()(const Tensor& y, const Tensor& x_BTC) {
    return run({y, x_BTC}, [&](const std::vector<Tensor>& in) {
      return LayerNorm_(dropout_(dense_(in[0])) + in[1]);
    });
  }

 private:
  EncoderLinear dense_;
  nn::LayerNorm LayerNorm_;
  nn::Dropout dropout_;
};

class Attention : public nn::Module {
 public:
  explicit Attention(const EncoderConfig& c) : self_(c), output_(c, c.hidden_size) {
    register_module("self", self_);
    register_module("output", output_);
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      return output_(self_(in[0], mask_B11T), in[0]);
    });
  }

 private:
  SelfAttention self_;
  Output output_;
};

class Intermediate : public nn::Module {
 public:
  explicit Intermediate(const EncoderConfig& c)
      : dense_(c, c.hidden_size, c.intermediate_size),
        intermediate_act_fn_(layers::make_activation(c.hidden_act)) {
    register_module("dense", dense_);
    register_module("intermediate_act_fn", *intermediate_act_fn_);
  }
  Tensor forward(const Tensor& x_BTC) override { return (*intermediate_act_fn_)(dense_(x_BTC)); }

 private:
  EncoderLinear dense_;
  std::unique_ptr<nn::Module> intermediate_act_fn_;
};

class Layer : public layers::EncoderBlock {
 public:
  explicit Layer(const EncoderConfig& c)
      : attention_(c), intermediate_(c), output_(c, c.intermediate_size) {
    register_module("attention", attention_);
    register_module("intermediate", intermediate_);
    register_module("output", output_);
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) override {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      Tensor a_BTC = attention_(in[0], mask_B11T);
      Tensor h_BTF = intermediate_(a_BTC);
      return output_(h_BTF, a_BTC);
    });
  }
  std::string type_name() const override { return "Layer"; }

 private:
  Attention attention_;
  Intermediate intermediate_;
  Output output_;
};

/// LayerNorm(act(dense(x))).
class PredictionTransform : public nn::Module {
 public:
  explicit PredictionTransform(const EncoderConfig& c)
      : dense_(c, c.hidden_size, c.hidden_size),
        transform_act_fn_(layers::make_activation(c.hidden_act)),
        LayerNorm_(c.hidden_size, c.layer_norm_eps) {
    register_module("dense", dense_);
    register_module("transform_act_fn", *transform_act_fn_);
    register_module("LayerNorm", LayerNorm_);
  }
  Tensor forward(const Tensor& x_BTC) override {
    return LayerNorm_((*transform_act_fn_)(dense_(x_BTC)));
  }

 private:
  EncoderLinear dense_;
  std::unique_ptr<nn::Module> transform_act_fn_;
  nn::LayerNorm LayerNorm_;
};

class Predictions : public nn::Module {
 public:
  explicit Predictions(const EncoderConfig& c) : transform_(c) {
    register_parameter("bias", bias_, {c.vocab_size}, init::zeros());
    register_module("transform", transform_);
    if (!c.tie_word_embeddings) {
      decoder_ = std::make_unique<EncoderLinear>(c, c.hidden_size, c.vocab_size);
      register_module("decoder", *decoder_);
    }
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& embedding_VC) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      Tensor h_BTC = transform_(in[0]);
      return decoder_ ? (*decoder_)(h_BTC) : linear(h_BTC, embedding_VC, bias_);
    });
  }

 private:
  PredictionTransform transform_;
  Tensor bias_;  ///< files have it also where the decoder is not tied and has one of its own
  std::unique_ptr<nn::Linear> decoder_;  ///< null if tied to the token embedding
};

class ForMaskedLM : public MaskedLM {
 public:
  explicit ForMaskedLM(const EncoderConfig& c)
      : MaskedLM(kFamily, c, "ForMaskedLM"), bert_(kFamily, c, false), predictions_(c) {
    register_module("bert", bert_);
    register_module("cls", cls_);
    cls_.add(predictions_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    Tensor x_BTC = bert_(input).last_hidden_state;
    return predictions_(x_BTC, bert_.token_embedding());
  }

 private:
  struct Heads : nn::Module {
    void add(nn::Module& predictions) { register_module("predictions", predictions); }
    std::string type_name() const override { return "OnlyMLMHead"; }
  };
  layers::EncoderBody bert_;
  Heads cls_;
  Predictions predictions_;
};

class ForSequenceClassification : public SequenceClassifier {
 public:
  explicit ForSequenceClassification(const EncoderConfig& c)
      : SequenceClassifier(kFamily, c, "ForSequenceClassification"),
        bert_(kFamily, c, true),
        dropout_(c.classifier_dropout.value_or(c.hidden_dropout)),
        classifier_(c, c.hidden_size, c.num_labels) {
    register_module("bert", bert_);
    register_module("dropout", dropout_);
    register_module("classifier", classifier_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    Tensor x_BC = bert_(input).pooler_output;
    return classifier_(dropout_(x_BC));
  }

 private:
  layers::EncoderBody bert_;
  nn::Dropout dropout_;
  EncoderLinear classifier_;
};

EncoderConfig read(const Json& json, std::string_view source) {
  EncoderConfig config;
  layers::read_encoder_fields(config, json, source, kFamily.model_type);
  return config;
}

}  // namespace

std::unique_ptr<layers::EncoderBlock> make_block(const EncoderConfig& config) {
  return std::make_unique<Layer>(config);
}

const layers::EncoderFamily kFamily = {
    .model_type = "bert",
    .name = "Bert",
    .stack = "encoder",
    .has_pooler = true,
    .lm_decoder = "cls.predictions.decoder",
    .lm_bias = "cls.predictions.bias",
    .read = read,
    .make_block = make_block,
    .make_masked_lm = [](const EncoderConfig& c) -> std::unique_ptr<MaskedLM> {
      return std::make_unique<ForMaskedLM>(c);
    },
    .make_classifier = [](const EncoderConfig& c) -> std::unique_ptr<SequenceClassifier> {
      return std::make_unique<ForSequenceClassification>(c);
    }};

}  // namespace corten::bert
