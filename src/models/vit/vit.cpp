// Suffixes: N images, T tokens, C width, P patches.
#include "models/vit/vit.h"

#include "base/format.h"
#include "corten/nn_conv.h"
#include "models/layers/activation.h"
#include "models/layers/encoder.h"
#include "models/vit/config.h"
#include "models/vit/interpolate.h"

namespace corten::vit {
namespace {

using ConfigPtr = std::shared_ptr<const Config>;

ConfigPtr own(const layers::ImageConfigPtr& config) {
  return std::static_pointer_cast<const Config>(config);
}

/// A linear layer as it is initialised here.
class Dense : public nn::Linear {
 public:
  Dense(const Config& c, int64_t in, int64_t out, bool with_bias = true)
      : nn::Linear(in, out, with_bias, init::normal(0, c.initializer_range)) {}
  std::string type_name() const override { return "Linear"; }
};

/// A module that holds one called `name`.
class Holder : public nn::Module {
 public:
  Holder(std::string name, nn::Module& module) { register_module(std::move(name), module); }
  std::string type_name() const override { return "Module"; }
};

/// Patches as tokens, behind the class token, with their positions.
class Embeddings : public nn::Module {
 public:
  explicit Embeddings(const Config& c)
      : patches_{c.image_size[0] / c.patch_size[0], c.image_size[1] / c.patch_size[1]},
        projection_(c.num_channels, c.hidden_size, {c.patch_size[0], c.patch_size[1]},
                    {.stride = {c.patch_size[0], c.patch_size[1]}}, true,
                    init::normal(0, c.initializer_range)),
        patch_embeddings_("projection", projection_),
        dropout_(c.hidden_dropout) {
    register_parameter("cls_token", cls_token_, {1, 1, c.hidden_size},
                       init::normal(0, c.initializer_range));
    register_parameter("position_embeddings", position_embeddings_,
                       {1, c.patches() + 1, c.hidden_size}, init::normal(0, c.initializer_range));
    register_module("patch_embeddings", patch_embeddings_);
    register_module("dropout", dropout_);
  }
  Tensor forward(const Tensor& pixels) override {
    Tensor grid = projection_(pixels);
    const int64_t N = grid.size(0), C = grid.size(1), P = grid.size(2) * grid.size(3);
    Tensor x_NPC = grid.reshape({N, C, P}).transpose(1, 2);
    Tensor class_N1C = cls_token_.expand({N, 1, C});
    Tensor positions_1TC =
        interpolate_positions(position_embeddings_, patches_, {grid.size(2), grid.size(3)});
    return dropout_(concat({class_N1C, x_NPC}, 1) + positions_1TC);
  }

 private:
  std::array<int64_t, 2> patches_;  // that there are positions for: rows, columns
  Tensor cls_token_, position_embeddings_;
  nn::Conv2d projection_;
  Holder patch_embeddings_;
  nn::Dropout dropout_;
};

class Attention : public nn::Module {
 public:
  explicit Attention(const Config& c)
      : heads_(c.num_attention_heads),
        dropout_(c.attention_dropout),
        query_(c, c.hidden_size, c.attention_size(), c.qkv_bias),
        key_(c, c.hidden_size, c.attention_size(), c.qkv_bias),
        value_(c, c.hidden_size, c.attention_size(), c.qkv_bias),
        dense_(c, c.attention_size(), c.hidden_size),
        attention_("query", query_),
        output_("dense", dense_) {
    attention_.add("key", key_);
    attention_.add("value", value_);
    register_module("attention", attention_);
    register_module("output", output_);
  }
  Tensor forward(const Tensor& x_NTC) override {
    return dense_(layers::attend(query_(x_NTC), key_(x_NTC), value_(x_NTC), heads_, Tensor(),
                                 is_training() ? dropout_ : 0));
  }

 private:
  struct Projections : Holder {
    using Holder::Holder;
    void add(std::string name, nn::Module& module) { register_module(std::move(name), module); }
  };
  int64_t heads_;
  double dropout_;
  Dense query_, key_, value_, dense_;
  Projections attention_;
  Holder output_;
};

class Layer : public nn::Module {
 public:
  explicit Layer(const Config& c)
      : attention_(c),
        up_(c, c.hidden_size, c.intermediate_size),
        down_(c, c.intermediate_size, c.hidden_size),
        intermediate_("dense", up_),
        output_("dense", down_),
        activation_(layers::make_activation(c.hidden_act)),
        layernorm_before_(c.hidden_size, c.layer_norm_eps),
        layernorm_after_(c.hidden_size, c.layer_norm_eps),
        dropout_(c.hidden_dropout) {
    register_module("attention", attention_);
    register_module("intermediate", intermediate_);
    register_module("output", output_);
    register_module("layernorm_before", layernorm_before_);
    register_module("layernorm_after", layernorm_after_);
    register_module("dropout", dropout_);
  }
  Tensor forward(const Tensor& x_NTC) override {
    Tensor a_NTC = dropout_(attention_(layernorm_before_(x_NTC))) + x_NTC;
    Tensor h_NTC = down_((*activation_)(up_(layernorm_after_(a_NTC))));
    return dropout_(h_NTC) + a_NTC;
  }

 private:
  Attention attention_;
  Dense up_, down_;
  Holder intermediate_, output_;
  std::unique_ptr<nn::Module> activation_;
  nn::LayerNorm layernorm_before_, layernorm_after_;
  nn::Dropout dropout_;
};

class Pooler : public nn::Module {
 public:
  explicit Pooler(const Config& c)
      : dense_(c, c.hidden_size, c.pooler_output_size.value_or(c.hidden_size)),
        activation_(layers::make_activation(c.pooler_act)) {
    register_module("dense", dense_);
  }
  Tensor forward(const Tensor& x_NTC) override {
    return (*activation_)(dense_(x_NTC.select(1, 0)));
  }

 private:
  Dense dense_;
  std::unique_ptr<nn::Module> activation_;
};

class Model : public ImageEncoder {
 public:
  Model(const ConfigPtr& config, bool with_pooler)
      : ImageEncoder(kFamily, config, "Model"),
        size_(config->image_size),
        patch_(config->patch_size),
        embeddings_(*config),
        encoder_("layer", layers_),
        layernorm_(config->hidden_size, config->layer_norm_eps) {
    register_module("embeddings", embeddings_);
    register_module("encoder", encoder_);
    register_module("layernorm", layernorm_);
    for (int64_t i = 0; i < config->num_hidden_layers; ++i) layers_.emplace(*config);
    if (!with_pooler) return;
    pooler_ = std::make_unique<Pooler>(*config);
    register_module("pooler", *pooler_);
  }
  ImageModelOutput operator()(const Tensor& pixels, bool output_hidden_states) override {
    ImageModelOutput out;
    out.last_hidden_state = run({pixels}, [&](const std::vector<Tensor>& in) {
      Tensor images = checked(in[0]);
      check_size(images.size(2), images.size(3));
      Tensor x_NTC = embeddings_(images);
      for (size_t i = 0; i < layers_.size(); ++i) {
        if (output_hidden_states) out.hidden_states.push_back(x_NTC);
        x_NTC = layers_[i](x_NTC);
      }
      if (output_hidden_states) out.hidden_states.push_back(x_NTC);
      return layernorm_(x_NTC);
    });
    if (pooler_) out.pooler_output = (*pooler_)(out.last_hidden_state);
    return out;
  }

  void set_interpolate_pos_encoding(bool interpolate) override { interpolate_ = interpolate; }

 private:
  void check_size(int64_t rows, int64_t columns) const {
    if (rows == size_[0] && columns == size_[1]) return;
    if (!interpolate_)
      usage_error("[{}] images of {} x {} pixels do not fit the model's positions for {} x {}, which "
                  "may be interpolated (interpolate_pos_encoding)",
                  type_name(), rows, columns, size_[0], size_[1]);
    if (rows < patch_[0] || columns < patch_[1])
      usage_error("[{}] images of {} x {} pixels hold no patch of {} x {}", type_name(), rows,
                  columns, patch_[0], patch_[1]);
  }

  std::array<int64_t, 2> size_, patch_;
  bool interpolate_ = false;
  Embeddings embeddings_;
  nn::ModuleList<Layer> layers_;
  Holder encoder_;
  nn::LayerNorm layernorm_;
  std::unique_ptr<Pooler> pooler_;  ///< null if there is none
};

class ForImageClassification : public ImageClassifier {
 public:
  explicit ForImageClassification(const ConfigPtr& config)
      : ImageClassifier(kFamily, config, "ForImageClassification"),
        vit_(config, false),
        classifier_(*config, config->hidden_size, config->labels.num_labels) {
    register_module("vit", vit_);
    register_module("classifier", classifier_);
  }
  void set_interpolate_pos_encoding(bool interpolate) override {
    vit_.set_interpolate_pos_encoding(interpolate);
  }

 protected:
  Tensor forward_logits(const Tensor& pixels) override {
    return classifier_(vit_(pixels, false).last_hidden_state.select(1, 0));
  }

 private:
  Model vit_;
  Dense classifier_;
};

}  // namespace

const layers::ImageFamily kFamily = {
    .model_type = "vit",
    .name = "ViT",
    .head = "classifier.",
    .read = read,
    .from_timm = from_timm,
    .parts = parts,
    .make_encoder = [](const layers::ImageConfigPtr& c) -> std::unique_ptr<ImageEncoder> {
      return std::make_unique<Model>(own(c), true);
    },
    .make_classifier = [](const layers::ImageConfigPtr& c) -> std::unique_ptr<ImageClassifier> {
      return std::make_unique<ForImageClassification>(own(c));
    }};

}  // namespace corten::vit
