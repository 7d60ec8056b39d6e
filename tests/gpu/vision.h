// Convolutions and small image models, for programs that are run in two places.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "corten/amp.h"
#include "corten/conv.h"
#include "corten/optim.h"
#include "corten/vision.h"
#include "gpu/samples.h"

namespace corten::cuda::test {

struct ConvolutionCase {
  Shape x, w;
  Conv2dOptions options;
  bool bias = true;
};
inline const std::vector<ConvolutionCase>& convolution_cases() {
  static const std::vector<ConvolutionCase> cases{
      {{2, 3, 9, 8}, {6, 3, 3, 3}, {.padding = 1}},
      {{3, 4, 10, 7}, {8, 2, 3, 2}, {.stride = {2, 1}, .padding = {1, 0}, .groups = 2}},
      {{2, 6, 11, 9}, {6, 1, 3, 3}, {.padding = 2, .dilation = 2, .groups = 6}, false},
      {{2, 8, 6, 6}, {16, 8, 1, 1}, {.stride = 2}, false},
      {{1, 3, 12, 12}, {4, 3, 4, 4}, {.stride = 4}},
      {{2, 5, 7, 9}, {3, 5, 7, 1}, {.stride = {3, 2}, .padding = {3, 0}, .dilation = {2, 1}}},
  };
  return cases;
}

/// Results and the gradients of x, w and bias, of operands in `dtype` and masters in f32.
inline std::vector<Tensor> convolve(const ConvolutionCase& c, DType dtype,
                                    const std::vector<Tensor>& in) {
  const Tensor x = in[0].detach().to(dtype), w = in[1].detach(), b = in[2].detach();
  std::vector<Tensor> leaves{x, w};
  if (c.bias) leaves.push_back(b);
  for (Tensor& t : leaves) t.set_requires_grad();
  const Autocast autocast(dtype);
  const Tensor y = conv2d(x, w, c.bias ? b : Tensor(), c.options);
  sum(y.to(DType::f32) * y.to(DType::f32)).backward();
  std::vector<Tensor> out{y.detach()};
  for (const Tensor& t : leaves) out.push_back(t.grad());
  return out;
}

/// "resnet" or "vit": a classifier of three classes with its optimizer.
struct ImageNetwork {
  std::unique_ptr<ImageClassifier> model;
  std::unique_ptr<optim::AdamW> optimizer;
  DType dtype;
  ImageNetwork(const std::string& type, DType compute) : dtype(compute) {
    const std::string labels = R"("num_channels": 3, "id2label": {"0": "a", "1": "b", "2": "c"}, )";
    model = AutoModelForImageClassification::from_config(
        "{" + labels +
        (type == "resnet" ? R"("model_type": "resnet", "embedding_size": 4, "hidden_sizes": [8, 12],
                 "depths": [1, 2], "layer_type": "bottleneck", "hidden_act": "relu"})"
                          : R"("model_type": "vit", "hidden_size": 24, "num_hidden_layers": 2,
                 "num_attention_heads": 3, "intermediate_size": 20, "image_size": 16,
                 "patch_size": 4, "hidden_dropout_prob": 0.0,
                 "attention_probs_dropout_prob": 0.0})"));
    model->initialize(1);
    optimizer = std::make_unique<optim::AdamW>(model->parameters(), optim::AdamWOptions{});
  }
  static std::vector<Tensor> arguments(int step) {
    return {numbers({4, 3, 16, 16}, static_cast<uint64_t>(step) + 1),
            tokens({4}, static_cast<uint64_t>(step) + 5, 3)};
  }
  std::vector<Tensor> train(const std::vector<Tensor>& in) {
    Tensor loss;
    {
      const Autocast autocast(dtype);
      loss = model->loss(in[0], in[1]);
    }
    loss.backward();
    optimizer->step();
    optimizer->zero_grad();
    return {loss.detach()};
  }
  std::vector<Tensor> infer(const std::vector<Tensor>& in) {
    const NoGradGuard no_grad;
    const Autocast autocast(dtype);
    return {(*model)(in[0])};
  }
};

}  // namespace corten::cuda::test
