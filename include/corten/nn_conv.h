// Modules for images: convolution, batch normalisation, pooling, as in torch.nn.
#pragma once

#include <optional>
#include <string>

#include "corten/conv.h"
#include "corten/nn.h"

namespace corten::nn {

/// conv2d() with weight [out, in / groups, KH, KW] and bias [out]; both start as U(-b, b) with b =
/// 1 / sqrt(in / groups KH KW), as torch.nn.Conv2d.
class Conv2d : public Module {
 public:
  Conv2d(int64_t in, int64_t out, Size2 kernel, Conv2dOptions options = {}, bool with_bias = true);
  Conv2d(int64_t in, int64_t out, Size2 kernel, Conv2dOptions options, bool with_bias,
         init::Initializer weight_init, init::Initializer bias_init = init::zeros());
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor weight, bias;

 private:
  Conv2dOptions options_;
};

/// conv1d() with weight [out, in / groups, K]. (Conv1D is GPT-2's linear layer.)
class Conv1d : public Module {
 public:
  Conv1d(int64_t in, int64_t out, int64_t kernel, Conv1dOptions options = {},
         bool with_bias = true);
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor weight, bias;

 private:
  Conv1dOptions options_;
};

struct BatchNorm2dOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  ///< unset: running statistics are means of all batches
  bool affine = true;
  bool track_running_stats = true;  ///< otherwise evaluation, too, is by the batch's statistics
};

/// batch_norm() of [N, C, H, W] with the buffers running_mean, running_var and num_batches_tracked,
/// which a forward pass in training updates.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(int64_t channels, BatchNorm2dOptions options = {});
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor weight, bias;
  Tensor running_mean, running_var, num_batches_tracked;

 private:
  int64_t channels_;
  BatchNorm2dOptions options_;
};

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(Size2 kernel, MaxPool2dOptions options = {})
      : kernel_(kernel), options_(options) {}
  Tensor forward(const Tensor& x) override { return max_pool2d(x, kernel_, options_); }
  std::string extra_repr() const override;

 private:
  Size2 kernel_;
  MaxPool2dOptions options_;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(Size2 kernel, AvgPool2dOptions options = {})
      : kernel_(kernel), options_(options) {}
  Tensor forward(const Tensor& x) override { return avg_pool2d(x, kernel_, options_); }
  std::string extra_repr() const override;

 private:
  Size2 kernel_;
  AvgPool2dOptions options_;
};

class AdaptiveAvgPool2d : public Module {
 public:
  explicit AdaptiveAvgPool2d(Size2 out) : out_(out) {}
  Tensor forward(const Tensor& x) override { return adaptive_avg_pool2d(x, out_); }
  std::string extra_repr() const override;

 private:
  Size2 out_;
};

}  // namespace corten::nn
