#include "models/distilbert/distilbert.h"

#include "models/layers/activation.h"

namespace corten::distilbert {
namespace {

using layers::EncoderConfig;
using layers::EncoderLinear;

class SelfAttention : public nn::Module {
 public:
  explicit SelfAttention(const EncoderConfig& c)
      : heads_(c.num_attention_heads),
        dropout_(c.attention_dropout),
        q_lin_(c, c.hidden_size, c.hidden_size),
        k_lin_(c, c.hidden_size, c.hidden_size),
        v_lin_(c, c.hidden_size, c.hidden_size),
        out_lin_(c, c.hidden_size, c.hidden_size) {
    register_module("q_lin", q_lin_);
    register_module("k_lin", k_lin_);
    register_module("v_lin", v_lin_);
    register_module("out_lin", out_lin_);
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      return out_lin_(layers::attend(q_lin_(in[0]), k_lin_(in[0]), v_lin_(in[0]), heads_, mask_B11T,
                                     is_training() ? dropout_ : 0));
    });
  }

 private:
  int64_t heads_;
  double dropout_;
  EncoderLinear q_lin_, k_lin_, v_lin_, out_lin_;
};

class Ffn : public nn::Module {
 public:
  explicit Ffn(const EncoderConfig& c)
      : dropout_(c.hidden_dropout),
        lin1_(c, c.hidden_size, c.intermediate_size),
        lin2_(c, c.intermediate_size, c.hidden_size),
        activation_(layers::make_activation(c.hidden_act)) {
    register_module("dropout", dropout_);
    register_module("lin1", lin1_);
    register_module("lin2", lin2_);
    register_module("activation", *activation_);
  }
  Tensor forward(const Tensor& x_BTC) override {
    Tensor h_BTF = (*activation_)(lin1_(x_BTC));
    return dropout_(lin2_(h_BTF));
  }

 private:
  nn::Dropout dropout_;
  EncoderLinear lin1_, lin2_;
  std::unique_ptr<nn::Module> activation_;
};

class Block : public layers::EncoderBlock {
 public:
  explicit Block(const EncoderConfig& c)
      : attention_(c),
        sa_layer_norm_(c.hidden_size, c.layer_norm_eps),
        ffn_(c),
        output_layer_norm_(c.hidden_size, c.layer_norm_eps) {
    register_module("attention", attention_);
    register_module("sa_layer_norm", sa_layer_norm_);
    register_module("ffn", ffn_);
    register_module("output_layer_norm", output_layer_norm_);
  }
  Tensor operator()(const Tensor& x_BTC, const Tensor& mask_B11T) override {
    return run({x_BTC}, [&](const std::vector<Tensor>& in) {
      Tensor a_BTC = sa_layer_norm_(attention_(in[0], mask_B11T) + in[0]);
      return output_layer_norm_(ffn_(a_BTC) + a_BTC);
    });
  }
  std::string type_name() const override { return "TransformerBlock"; }

 private:
  SelfAttention attention_;
  nn::LayerNorm sa_layer_norm_;
  Ffn ffn_;
  nn::LayerNorm output_layer_norm_;
};

std::unique_ptr<layers::EncoderBlock> make_block(const EncoderConfig& c) {
  return std::make_unique<Block>(c);
}

/// A linear layer whose weight is the token embedding: of its own it has the bias.
class TiedProjector : public nn::Module {
 public:
  explicit TiedProjector(int64_t size) { register_parameter("bias", bias_, {size}, init::zeros()); }
  Tensor operator()(const Tensor& x_BTC, const Tensor& embedding_VC) {
    return run({x_BTC},
               [&](const std::vector<Tensor>& in) { return linear(in[0], embedding_VC, bias_); });
  }

 private:
  Tensor bias_;
};

class ForMaskedLM : public MaskedLM {
 public:
  explicit ForMaskedLM(const EncoderConfig& c)
      : MaskedLM(kFamily, c, "ForMaskedLM"),
        activation_(layers::make_activation(c.hidden_act)),
        distilbert_(kFamily, c, false),
        vocab_transform_(c, c.hidden_size, c.hidden_size),
        vocab_layer_norm_(c.hidden_size, c.layer_norm_eps) {
    register_module("activation", *activation_);
    register_module("distilbert", distilbert_);
    register_module("vocab_transform", vocab_transform_);
    register_module("vocab_layer_norm", vocab_layer_norm_);
    if (c.tie_word_embeddings) {
      tied_projector_ = std::make_unique<TiedProjector>(c.vocab_size);
      register_module("vocab_projector", *tied_projector_);
    } else {
      vocab_projector_ = std::make_unique<EncoderLinear>(c, c.hidden_size, c.vocab_size);
      register_module("vocab_projector", *vocab_projector_);
    }
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    Tensor x_BTC = distilbert_(input).last_hidden_state;
    Tensor h_BTC = vocab_layer_norm_((*activation_)(vocab_transform_(x_BTC)));
    return tied_projector_ ? (*tied_projector_)(h_BTC, distilbert_.token_embedding())
                           : (*vocab_projector_)(h_BTC);
  }

 private:
  std::unique_ptr<nn::Module> activation_;
  layers::EncoderBody distilbert_;
  EncoderLinear vocab_transform_;
  nn::LayerNorm vocab_layer_norm_;
  std::unique_ptr<TiedProjector> tied_projector_;  ///< one of the two is null
  std::unique_ptr<nn::Linear> vocab_projector_;
};

/// Of the first token: classifier(dropout(relu(pre_classifier(x)))).
class ForSequenceClassification : public SequenceClassifier {
 public:
  explicit ForSequenceClassification(const EncoderConfig& c)
      : SequenceClassifier(kFamily, c, "ForSequenceClassification"),
        distilbert_(kFamily, c, false),
        pre_classifier_(c, c.hidden_size, c.hidden_size),
        classifier_(c, c.hidden_size, c.num_labels),
        dropout_(c.classifier_dropout.value_or(0)) {
    register_module("distilbert", distilbert_);
    register_module("pre_classifier", pre_classifier_);
    register_module("classifier", classifier_);
    register_module("dropout", dropout_);
  }

 protected:
  Tensor forward_logits(const EncoderInput& input) override {
    Tensor x_BC = distilbert_(input).last_hidden_state.select(1, 0);
    return classifier_(dropout_(relu(pre_classifier_(x_BC))));
  }

 private:
  layers::EncoderBody distilbert_;
  EncoderLinear pre_classifier_, classifier_;
  nn::Dropout dropout_;
};

EncoderConfig read(const Json& json, std::string_view source) {
  EncoderConfig config;
  config.num_hidden_layers = 6;
  config.type_vocab_size = 0;
  config.classifier_dropout = 0.2;
  layers::read_encoder_fields(config, json, source, kFamily.model_type,
                              {.hidden_size = "dim",
                               .num_hidden_layers = "n_layers",
                               .num_attention_heads = "n_heads",
                               .intermediate_size = "hidden_dim",
                               .hidden_act = "activation",
                               .hidden_dropout = "dropout",
                               .attention_dropout = "attention_dropout",
                               .classifier_dropout = "seq_classif_dropout",
                               .type_vocab_size = "",
                               .layer_norm_eps = "",
                               .sinusoidal_positions = "sinusoidal_pos_embds"});
  return config;
}

}  // namespace

const layers::EncoderFamily kFamily = {
    .model_type = "distilbert",
    .name = "DistilBert",
    .stack = "transformer",
    .has_pooler = false,
    .lm_decoder = "vocab_projector",
    .lm_bias = "",
    .read = read,
    .make_block = make_block,
    .make_masked_lm = [](const EncoderConfig& c) -> std::unique_ptr<MaskedLM> {
      return std::make_unique<ForMaskedLM>(c);
    },
    .make_classifier = [](const EncoderConfig& c) -> std::unique_ptr<SequenceClassifier> {
      return std::make_unique<ForSequenceClassification>(c);
    }};

}  // namespace corten::distilbert
