// Convolutions of ResNet-50 and training steps of image models:
//   cmake --build build/release --target vision_bench && build/release/vision_bench [--batch N] [--bf16]
// With --depthwise: depthwise convolutions instead; scripts/peers/time_depthwise.py times PyTorch's.
//
// One line per shape: milliseconds and GFLOP/s of the result, of the data gradient and of the weight gradient, each the median of
// several runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "corten/corten.h"

using namespace corten;

namespace {

double median_ms(const std::function<void()>& f) {
  f();
  std::vector<double> times;
  const auto start = std::chrono::steady_clock::now();
  while (times.size() < 3 || (times.size() < 30 && std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300))) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::ranges::nth_element(times, times.begin() + static_cast<int64_t>(times.size() / 2));
  return times[times.size() / 2];
}

struct Shape4 {
  int64_t in, out, kernel, stride, size, groups = 1;
};

void convolution(const Shape4& s, int64_t batch, DType dtype) {
  Tensor x = randn({batch, s.in, s.size, s.size}).to(dtype), w = randn({s.out, s.in / s.groups, s.kernel, s.kernel}).to(dtype);
  const Conv2dOptions options{.stride = s.stride, .padding = s.kernel / 2, .groups = s.groups};
  x.set_requires_grad();
  Tensor w_free = w.clone();
  w.set_requires_grad();
  const Tensor y = conv2d(x, w_free, {}, options), z = conv2d(x.detach(), w, {}, options);
  const Tensor g = randn(y.shape()).to(dtype);
  const double forward = median_ms([&] { conv2d(x.detach(), w_free, {}, options); });
  const double data = median_ms([&] { grad({y}, {x}, {g}); });
  const double weight = median_ms([&] { grad({z}, {w}, {g}); });
  const double flops = 2e-6 * static_cast<double>(y.numel() * s.in / s.groups * s.kernel * s.kernel);
  std::printf("%4ldx%4ldx%ld/%ld at %3ld: %8.2f %8.2f %8.2f ms  %6.0f %6.0f %6.0f GFLOP/s\n", s.in, s.out, s.kernel, s.stride, s.size, forward,
              data, weight, flops / forward, flops / data, flops / weight);
}

/// A function of images, eagerly: result, then result and gradient.
void layer(const char* name, const Shape& shape, DType dtype, const std::function<Tensor(const Tensor&)>& f) {
  Tensor x = randn(shape).to(dtype);
  const double forward = median_ms([&] { f(x); });
  x.set_requires_grad();
  const Tensor g = ones_like(f(x.detach()));
  const double both = median_ms([&] { grad({f(x)}, {x}, {g}); });
  std::printf("%-11s of %ld x %ld x %ld x %ld: %8.2f ms, with its gradient %8.2f ms\n", name, shape[0], shape[1], shape[2], shape[3], forward, both);
}

void training(const char* name, const std::string& config, int64_t batch, int64_t size, bool bf16) {
  auto model = AutoModelForImageClassification::from_config(config);
  model->initialize(1);
  optim::SGD optimizer(model->parameters(), {.lr = 0.01, .momentum = 0.9});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    const Autocast autocast(DType::bf16, bf16);
    Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  });
  const Tensor pixels = randn({batch, 3, size, size}), labels = zeros({batch}, DType::i64);
  const auto begin = std::chrono::steady_clock::now();
  step({pixels, labels})[0].item();
  const double first = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%s, %ld images of %ld x %ld: %.0f ms per training step, the first %.0f ms\n", name, batch, size, size,
              median_ms([&] { step({pixels, labels})[0].item(); }), first);
}

}  // namespace

int main(int argc, char** argv) {
  int64_t batch = 8;
  bool bf16 = false, depthwise = false;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--bf16") bf16 = true;
    else if (arg == "--depthwise") depthwise = true;
    else if (arg == "--batch" && i + 1 < argc) batch = std::stol(argv[++i]);
  }
  if (depthwise) {
    for (auto [size, channels] : {std::pair<int64_t, int64_t>{56, 96}, {28, 192}, {14, 384}})
      for (int64_t kernel : {3, 5, 7}) convolution({channels, channels, kernel, 1, size, channels}, batch, bf16 ? DType::bf16 : DType::f32);
    return 0;
  }
  for (const Shape4& s : {Shape4{3, 64, 7, 2, 224}, {64, 64, 3, 1, 56}, {64, 256, 1, 1, 56}, {128, 128, 3, 1, 28}, {256, 512, 1, 2, 56},
                          {256, 256, 3, 1, 14}, {512, 512, 3, 1, 7}, {2048, 512, 1, 1, 7}})
    convolution(s, batch, bf16 ? DType::bf16 : DType::f32);
  const DType dtype = bf16 ? DType::bf16 : DType::f32;
  const Tensor channels = ones({64});
  layer("batch norm", {batch, 64, 112, 112}, dtype, [&](const Tensor& x) { return batch_norm(x, {}, {}, channels, channels, {.training = true}); });
  layer("relu", {batch, 64, 112, 112}, dtype, [](const Tensor& x) { return relu(x); });
  layer("max pool", {batch, 64, 112, 112}, dtype, [](const Tensor& x) { return max_pool2d(x, 3, {.stride = Size2(2), .padding = 1}); });
  layer("avg pool", {batch, 64, 112, 112}, dtype, [](const Tensor& x) { return avg_pool2d(x, 2); });
  layer("global pool", {batch, 512, 7, 7}, dtype, [](const Tensor& x) { return adaptive_avg_pool2d(x, 1); });
  training("ResNet-18", R"({"model_type": "resnet", "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]})",
           batch, 224, bf16);
  training("ViT-Tiny", R"({"model_type": "vit", "hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768})", batch, 224, bf16);
}
