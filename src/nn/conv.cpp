#include <cmath>

#include "base/format.h"
#include "corten/nn_conv.h"

namespace corten::nn {
namespace {

std::string text(Size2 size) { return format("({}, {})", size.rows, size.columns); }

/// U(-b, b) with b = 1 / sqrt(fan_in), and the same bound for biases.
init::Initializer uniform_by_fan(int64_t fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return init::uniform(-bound, bound);
}

void check_sizes(std::string_view what, int64_t in, int64_t out, int64_t groups, Size2 kernel) {
  if (in < 1 || out < 1 || groups < 1 || kernel.rows < 1 || kernel.columns < 1)
    usage_error("[nn] {} cannot have {} to {} channels in {} groups with the kernel {}", what, in,
                out, groups, text(kernel));
  if (in % groups != 0 || out % groups != 0)
    usage_error("[nn] {} cannot divide {} and {} channels into {} groups", what, in, out, groups);
}

}  // namespace

Conv2d::Conv2d(int64_t in, int64_t out, Size2 kernel, Conv2dOptions options, bool with_bias)
    : Conv2d(in, out, kernel, options, with_bias,
             init::kaiming_uniform(std::sqrt(5.0)),  // the same bound
             uniform_by_fan(std::max<int64_t>(
                 1, in / std::max<int64_t>(1, options.groups) * kernel.rows * kernel.columns))) {}
Conv2d::Conv2d(int64_t in, int64_t out, Size2 kernel, Conv2dOptions options, bool with_bias,
               init::Initializer weight_init, init::Initializer bias_init)
    : options_(options) {
  check_sizes("Conv2d", in, out, options.groups, kernel);
  register_parameter("weight", weight, {out, in / options.groups, kernel.rows, kernel.columns},
                     std::move(weight_init));
  if (with_bias) register_parameter("bias", bias, {out}, std::move(bias_init));
}
Tensor Conv2d::forward(const Tensor& x) {
  return conv2d(x, weight, bias, options_);
}
std::string Conv2d::extra_repr() const {
  return format("{}, {}, kernel={}, stride={}, padding={}, dilation={}, groups={}, bias={}",
                weight.size(1) * options_.groups, weight.size(0),
                text({weight.size(2), weight.size(3)}), text(options_.stride),
                text(options_.padding), text(options_.dilation), options_.groups, bias.defined());
}

Conv1d::Conv1d(int64_t in, int64_t out, int64_t kernel, Conv1dOptions options, bool with_bias)
    : options_(options) {
  check_sizes("Conv1d", in, out, options.groups, kernel);
  const int64_t fan_in = in / options.groups * kernel;
  register_parameter("weight", weight, {out, in / options.groups, kernel}, uniform_by_fan(fan_in));
  if (with_bias) register_parameter("bias", bias, {out}, uniform_by_fan(fan_in));
}
Tensor Conv1d::forward(const Tensor& x) {
  return conv1d(x, weight, bias, options_);
}
std::string Conv1d::extra_repr() const {
  return format("{}, {}, kernel={}, stride={}, padding={}, dilation={}, groups={}, bias={}",
                weight.size(1) * options_.groups, weight.size(0), weight.size(2), options_.stride,
                options_.padding, options_.dilation, options_.groups, bias.defined());
}

BatchNorm2d::BatchNorm2d(int64_t channels, BatchNorm2dOptions options)
    : channels_(channels), options_(options) {
  if (channels < 1) usage_error("[nn] BatchNorm2d cannot have {} channels", channels);
  if (options.affine) {
    register_parameter("weight", weight, {channels}, init::ones());
    register_parameter("bias", bias, {channels}, init::zeros());
  }
  if (options.track_running_stats) {
    register_buffer("running_mean", running_mean, zeros({channels}));
    register_buffer("running_var", running_var, ones({channels}));
    register_buffer("num_batches_tracked", num_batches_tracked, zeros({}, DType::i64));
  }
}
Tensor BatchNorm2d::forward(const Tensor& x) {
  if (x.dim() != 4 || x.size(1) != channels_)
    usage_error("[nn] BatchNorm2d of {} channels needs [images, {}, rows, columns], got [{}]",
                channels_, channels_, fmt::join(x.shape(), ","));
  const bool tracks = options_.track_running_stats;
  if (!is_training() && tracks)
    return batch_norm(x, running_mean, running_var, weight, bias,
                      {.training = false, .eps = options_.eps});
  if (!is_training() || !tracks)
    return batch_norm(x, {}, {}, weight, bias, {.training = true, .eps = options_.eps});
  {
    NoGradGuard no_grad;
    num_batches_tracked.copy_(num_batches_tracked + 1.0);
  }
  if (options_.momentum)
    return batch_norm(x, running_mean, running_var, weight, bias,
                      {.training = true, .momentum = *options_.momentum, .eps = options_.eps});
  // The mean over all batches: each one's weight is 1 / their number.
  Tensor mean = running_mean.clone(), var = running_var.clone();
  Tensor y = batch_norm(x, mean, var, weight, bias,
                        {.training = true, .momentum = 1, .eps = options_.eps});
  NoGradGuard no_grad;
  Tensor share = 1.0 / num_batches_tracked.to(running_mean.dtype());
  running_mean.copy_(running_mean + (mean - running_mean) * share);
  running_var.copy_(running_var + (var - running_var) * share);
  return y;
}
std::string BatchNorm2d::extra_repr() const {
  return format("{}, eps={}, momentum={}, affine={}, track_running_stats={}", channels_,
                options_.eps, options_.momentum ? format("{}", *options_.momentum) : "none",
                options_.affine, options_.track_running_stats);
}

std::string MaxPool2d::extra_repr() const {
  return format("kernel={}, stride={}, padding={}, dilation={}, ceil_mode={}", text(kernel_),
                text(options_.stride.value_or(kernel_)), text(options_.padding),
                text(options_.dilation), options_.ceil_mode);
}
std::string AvgPool2d::extra_repr() const {
  return format("kernel={}, stride={}, padding={}, ceil_mode={}", text(kernel_),
                text(options_.stride.value_or(kernel_)), text(options_.padding),
                options_.ceil_mode);
}
std::string AdaptiveAvgPool2d::extra_repr() const {
  return text(out_);
}

}  // namespace corten::nn
