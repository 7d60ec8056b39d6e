// Suffixes: N images, C channels, H rows, W columns.
#include "models/resnet/resnet.h"

#include "corten/nn_conv.h"
#include "models/layers/activation.h"
#include "models/resnet/config.h"

namespace corten::resnet {
namespace {

using ConfigPtr = std::shared_ptr<const Config>;

ConfigPtr own(const layers::ImageConfigPtr& config) {
  return std::static_pointer_cast<const Config>(config);
}

/// A convolution and its batch norm.
class Normalized : public nn::Module {
 public:
  Normalized(int64_t in, int64_t out, int64_t kernel, int64_t stride)
      : convolution_(in, out, kernel, {.stride = stride, .padding = kernel / 2}, false,
                     init::kaiming_normal(0, init::FanMode::out)),
        normalization_(out) {
    register_module("convolution", convolution_);
    register_module("normalization", normalization_);
  }
  Tensor forward(const Tensor& x) override { return normalization_(convolution_(x)); }
  std::string type_name() const override { return "ConvLayer"; }

 private:
  nn::Conv2d convolution_;
  nn::BatchNorm2d normalization_;
};

/// Two convolutions, or three that work on fewer channels in the middle, and what leads around them.
class Layer : public nn::Module {
 public:
  Layer(const Config& c, int64_t in, int64_t out, int64_t stride)
      : activation_(layers::make_activation(c.hidden_act)) {
    if (in != out || stride != 1) {
      shortcut_ = std::make_unique<Normalized>(in, out, 1, stride);
      register_module("shortcut", *shortcut_);
    }
    register_module("layer", layer_);
    if (c.bottleneck()) {
      const int64_t inner = out / kReduction;
      layer_.emplace(in, inner, 1, c.downsample_in_bottleneck ? stride : 1);
      layer_.emplace(inner, inner, 3, c.downsample_in_bottleneck ? 1 : stride);
      layer_.emplace(inner, out, 1, 1);
    } else {
      layer_.emplace(in, out, 3, stride);
      layer_.emplace(out, out, 3, 1);
    }
  }
  /// Between the convolutions is a ReLU, whatever the activation at the end.
  Tensor forward(const Tensor& x_NCHW) override {
    Tensor y_NCHW = x_NCHW;
    for (size_t i = 0; i < layer_.size(); ++i) {
      y_NCHW = layer_[i](y_NCHW);
      if (i + 1 < layer_.size()) y_NCHW = relu(y_NCHW);
    }
    return (*activation_)(y_NCHW + (shortcut_ ? (*shortcut_)(x_NCHW) : x_NCHW));
  }

 private:
  std::unique_ptr<Normalized> shortcut_;  ///< null: x itself
  nn::ModuleList<Normalized> layer_;
  std::unique_ptr<nn::Module> activation_;
};

class Stage : public nn::Module {
 public:
  Stage(const Config& c, int64_t in, int64_t out, int64_t depth, int64_t stride) {
    register_module("layers", layers_);
    for (int64_t i = 0; i < depth; ++i)
      layers_.emplace(c, i == 0 ? in : out, out, i == 0 ? stride : 1);
  }
  Tensor forward(const Tensor& x_NCHW) override {
    Tensor y_NCHW = x_NCHW;
    for (size_t i = 0; i < layers_.size(); ++i) y_NCHW = layers_[i](y_NCHW);
    return y_NCHW;
  }

 private:
  nn::ModuleList<Layer> layers_;
};

/// A wide convolution and a pooling, each of stride 2.
class Stem : public nn::Module {
 public:
  explicit Stem(const Config& c)
      : embedder_(c.num_channels, c.embedding_size, 7, 2),
        activation_(layers::make_activation(c.hidden_act)),
        pooler_(3, {.stride = Size2(2), .padding = 1}) {
    register_module("embedder", embedder_);
    register_module("pooler", pooler_);
  }
  Tensor forward(const Tensor& pixels) override {
    return pooler_((*activation_)(embedder_(pixels)));
  }

 private:
  Normalized embedder_;
  std::unique_ptr<nn::Module> activation_;
  nn::MaxPool2d pooler_;
};

class Model : public ImageEncoder {
 public:
  explicit Model(const ConfigPtr& config)
      : ImageEncoder(kFamily, config, "Model"), embedder_(*config), pooler_(1) {
    const Config& c = *config;
    register_module("embedder", embedder_);
    register_module("encoder", encoder_);
    register_module("pooler", pooler_);
    int64_t in = c.embedding_size;
    for (size_t s = 0; s < c.depths.size(); in = c.hidden_sizes[s], ++s)
      encoder_.stages.emplace(c, in, c.hidden_sizes[s], c.depths[s],
                              s > 0 || c.downsample_in_first_stage ? 2 : 1);
  }
  ImageModelOutput operator()(const Tensor& pixels, bool output_hidden_states) override {
    ImageModelOutput out;
    out.last_hidden_state = run({pixels}, [&](const std::vector<Tensor>& in) {
      Tensor x_NCHW = embedder_(checked(in[0]));
      for (size_t s = 0; s < encoder_.stages.size(); ++s) {
        if (output_hidden_states) out.hidden_states.push_back(x_NCHW);
        x_NCHW = encoder_.stages[s](x_NCHW);
      }
      if (output_hidden_states) out.hidden_states.push_back(x_NCHW);
      return x_NCHW;
    });
    out.pooler_output = pooler_(out.last_hidden_state);
    return out;
  }

 private:
  struct Encoder : nn::Module {
    Encoder() { register_module("stages", stages); }
    std::string type_name() const override { return "Encoder"; }
    nn::ModuleList<Stage> stages;
  };
  Stem embedder_;
  Encoder encoder_;
  nn::AdaptiveAvgPool2d pooler_;
};

class ForImageClassification : public ImageClassifier {
 public:
  explicit ForImageClassification(const ConfigPtr& config)
      : ImageClassifier(kFamily, config, "ForImageClassification"),
        resnet_(config),
        linear_(config->hidden_sizes.back(), config->labels.num_labels),
        classifier_(linear_) {
    register_module("resnet", resnet_);
    register_module("classifier", classifier_);
  }

 protected:
  Tensor forward_logits(const Tensor& pixels) override {
    Tensor x_NC11 = resnet_(pixels, false).pooler_output;
    return linear_(x_NC11.reshape({x_NC11.size(0), x_NC11.size(1)}));
  }

 private:
  /// In files, number 0 is what makes vectors of the pooled images, which has no parameters.
  struct Classifier : nn::Module {
    explicit Classifier(nn::Module& linear) { register_module("1", linear); }
    std::string type_name() const override { return "Sequential"; }
  };
  Model resnet_;
  nn::Linear linear_;
  Classifier classifier_;
};

}  // namespace

const layers::ImageFamily kFamily = {
    .model_type = "resnet",
    .name = "ResNet",
    .head = "classifier.",
    .read = read,
    .from_timm = from_timm,
    .parts = parts,
    .make_encoder = [](const layers::ImageConfigPtr& c) -> std::unique_ptr<ImageEncoder> {
      return std::make_unique<Model>(own(c));
    },
    .make_classifier = [](const layers::ImageConfigPtr& c) -> std::unique_ptr<ImageClassifier> {
      return std::make_unique<ForImageClassification>(own(c));
    }};

}  // namespace corten::resnet
