// Convolution, batch norm and pooling as modules.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "corten/corten.h"

namespace corten {
namespace {

std::vector<double> values(const Tensor& t) {
  return t.to_vector<double>();
}
std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "no error";
}
void expect_message(const std::function<void()>& f, const std::string& part) {
  const std::string text = message(f);
  EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
}
Tensor random(Shape shape, const char* name) {
  return normal_init(std::move(shape), 0.5, 2, 1, name);
}

TEST(Conv2d, StartsAsPyTorch) {
  nn::Conv2d conv(4, 6, {3, 2}, {.stride = 2, .padding = {1, 0}, .groups = 2});
  conv.initialize(3);
  EXPECT_EQ(conv.weight.shape(), (Shape{6, 2, 3, 2}));
  EXPECT_EQ(conv.bias.shape(), (Shape{6}));
  const double bound = 1 / std::sqrt(12.0);
  for (const Tensor& t : {conv.weight, conv.bias}) {
    const auto x = values(t);
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    EXPECT_GE(*low, -bound);
    EXPECT_LE(*high, bound);
    EXPECT_LT(*low, -bound / 3);
    EXPECT_GT(*high, bound / 3);
  }
  EXPECT_EQ(conv(random({2, 4, 7, 8}, "x")).shape(), (Shape{2, 6, 4, 4}));
  EXPECT_EQ(conv(random({4, 7, 8}, "x")).shape(), (Shape{6, 4, 4}));
  EXPECT_EQ(conv.to_string(),
            "Conv2d(4, 6, kernel=(3, 2), stride=(2, 2), padding=(1, 0), dilation=(1, 1), groups=2, "
            "bias=true)");
  nn::Conv1d line(4, 6, 3, {.stride = 2}, false);
  line.initialize(3);
  EXPECT_EQ(line(random({2, 4, 9}, "x")).shape(), (Shape{2, 6, 4}));
  EXPECT_FALSE(line.bias.defined());
}

/// Mean and variance (of the population) of channel c of [N, C, H, W].
std::pair<double, double> statistics(const Tensor& x, int64_t c) {
  const auto v = values(x.select(1, c));
  double mean = 0, squares = 0;
  for (double e : v) mean += e / static_cast<double>(v.size());
  for (double e : v) squares += (e - mean) * (e - mean) / static_cast<double>(v.size());
  return {mean, squares};
}

TEST(BatchNorm2d, KeepsRunningStatistics) {
  nn::BatchNorm2d norm(3, {.eps = 1e-3, .momentum = 0.25});
  norm.initialize(1);
  double mean[3] = {0, 0, 0}, var[3] = {1, 1, 1};
  for (int step = 0; step < 3; ++step) {
    const Tensor x = random({4, 3, 5, 2}, step == 0 ? "a" : step == 1 ? "b" : "c");
    const Tensor y = norm(x);
    for (int64_t c = 0; c < 3; ++c) {
      const auto [m, v] = statistics(x, c);
      mean[c] = 0.75 * mean[c] + 0.25 * m;
      var[c] = 0.75 * var[c] + 0.25 * v * 40 / 39;
      EXPECT_NEAR(values(norm.running_mean)[c], mean[c], 1e-5);
      EXPECT_NEAR(values(norm.running_var)[c], var[c], 1e-5);
      const auto [ym, yv] = statistics(y, c);
      EXPECT_NEAR(ym, 0, 1e-5);
      EXPECT_NEAR(yv, v / (v + 1e-3), 1e-4);
    }
    EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), step + 1);
  }
  norm.eval();
  const Tensor x = random({1, 3, 1, 1}, "d");
  const auto y = values(norm(x)), in = values(x);
  for (size_t c = 0; c < 3; ++c)
    EXPECT_NEAR(y[c], (in[c] - mean[c]) / std::sqrt(var[c] + 1e-3), 1e-5);
  EXPECT_EQ(norm.num_batches_tracked.item<int64_t>(), 3);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : norm.state_dict()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"weight", "bias", "running_mean", "running_var",
                                             "num_batches_tracked"}));
  // Parameters and statistics become 16 bits wide, the counter does not.
  norm.to(DType::bf16);
  EXPECT_EQ(norm.running_var.dtype(), DType::bf16);
  EXPECT_EQ(norm.num_batches_tracked.dtype(), DType::i64);
}

TEST(BatchNorm2d, WithoutMomentumIsTheMeanOfBatches) {
  nn::BatchNorm2d norm(2, {.momentum = std::nullopt});
  norm.initialize(1);
  double mean = 0, var = 0;
  for (const char* name : {"a", "b", "c"}) {
    const Tensor x = random({3, 2, 4, 4}, name);
    norm(x);
    const auto [m, v] = statistics(x, 1);
    mean += m / 3;
    var += v * 48 / 47 / 3;
  }
  EXPECT_NEAR(values(norm.running_mean)[1], mean, 1e-5);
  EXPECT_NEAR(values(norm.running_var)[1], var, 1e-5);
}

TEST(BatchNorm2d, WithoutStatisticsOrParameters) {
  nn::BatchNorm2d norm(2, {.affine = false, .track_running_stats = false});
  EXPECT_TRUE(norm.state_dict().empty());
  const Tensor x = random({3, 2, 4, 4}, "x");
  const Tensor y = norm(x);
  norm.eval();
  EXPECT_EQ(values(norm(x)), values(y));
  EXPECT_NEAR(statistics(y, 0).first, 0, 1e-5);
}

// Statistics are state of a compiled step; eager calls leave the same bits.
TEST(BatchNorm2d, CompiledStepsUpdateStatistics) {
  const auto run = [](bool compiled, DType dtype) {
    nn::Conv2d conv(3, 4, 3, {.padding = 1});
    nn::BatchNorm2d norm(4);
    conv.initialize(1), norm.initialize(1);
    const auto step = [&](const std::vector<Tensor>& in) {
      const Autocast autocast(dtype);
      Tensor loss = square(norm(conv(in[0])).to(DType::f32)).slice(1, 0, 2).sum();
      loss.backward();
      std::vector<Tensor> out = {loss.detach(), conv.weight.grad(), norm.weight.grad()};
      conv.zero_grad(), norm.zero_grad();
      return out;
    };
    CompiledFunction function = compile(step);
    std::vector<double> all;
    for (const char* name : {"a", "b", "c"}) {
      const std::vector<Tensor> in = {random({2, 3, 6, 5}, name)};
      for (const Tensor& t : compiled ? function(in) : step(in)) {
        EXPECT_EQ(t.dtype(), DType::f32);  // also weights' gradients under Autocast
        for (double v : values(t)) all.push_back(v);
      }
    }
    for (const auto& [name, buffer] : norm.named_buffers())
      for (double v : values(buffer)) all.push_back(v);
    EXPECT_EQ(all.back(), 3);
    return all;
  };
  for (DType dtype : {DType::f32, DType::bf16}) EXPECT_EQ(run(false, dtype), run(true, dtype));
}

TEST(Pooling, Modules) {
  const Tensor x = random({2, 3, 9, 8}, "x");
  EXPECT_EQ(nn::MaxPool2d(3, {.stride = Size2(2), .padding = 1})(x).shape(), (Shape{2, 3, 5, 4}));
  EXPECT_EQ(nn::AvgPool2d({3, 2})(x).shape(), (Shape{2, 3, 3, 4}));
  EXPECT_EQ(nn::AdaptiveAvgPool2d({2, 5})(x).shape(), (Shape{2, 3, 2, 5}));
  // Where all of a window is -infinity, so is the result; NaN stays NaN.
  const float inf = INFINITY;
  const Tensor odd = from_vector(std::vector<float>{-inf, -inf, NAN, 1}, {1, 1, 2, 2});
  const auto y = values(max_pool2d(odd, {1, 2}));
  EXPECT_EQ(y[0], -inf);
  EXPECT_TRUE(std::isnan(y[1]));
  // The gradient goes to the first largest element of each window, never to padding.
  for (double value : {-static_cast<double>(inf), 0.0}) {
    Tensor flat = full({1, 1, 3, 3}, value).set_requires_grad();
    max_pool2d(flat, 3, {.stride = Size2(2), .padding = 1}).sum().backward();
    EXPECT_EQ(values(flat.grad()), (std::vector<double>{1, 1, 0, 1, 1, 0, 0, 0, 0}));
  }
}

TEST(Convolution, MistakesAreNamed) {
  const Tensor x = zeros({2, 4, 7, 8}), w = zeros({6, 4, 3, 3});
  expect_message([&] { conv2d(x, zeros({6, 3, 3, 3})); },
                 "[conv2d] input f32[2,4,7,8] (images, channels, rows, columns), weight "
                 "f32[6,3,3,3], bias none and 1 groups do not fit");
  expect_message([&] { conv2d(x, w, zeros({5})); }, "bias f32[5]");
  expect_message([&] { conv2d(x, zeros({5, 2, 3, 3}), {}, {.groups = 2}); }, "2 groups do not fit");
  expect_message([&] { conv2d(x, w, {}, {.stride = 0}); }, "stride [0,0]");
  expect_message([&] { conv2d(x, w, {}, {.padding = -1}); }, "padding [-1,-1]");
  expect_message([&] { conv2d(x, w, {}, {.dilation = 4}); },
                 "the kernel of f32[6,4,3,3] with dilation [4,4] is larger than the input "
                 "f32[2,4,7,8] with padding [0,0]");
  expect_message([&] { conv2d(zeros({7, 8}), w); }, "[conv2d] needs 3 or 4 axes, got f32[7,8]");
  expect_message([&] { conv2d(x.to(DType::i64), w); }, "i64[2,4,7,8]");
  expect_message([&] { conv1d(zeros({2, 4, 7}), w); },
                 "[conv1d] the weight must be [out, in / groups, kernel], got f32[6,4,3,3]");
  expect_message([&] { max_pool2d(x, 3, {.padding = 2}); },
                 "[max_pool2d] padding [2,2] must be between 0 and half of the kernel [3,3]");
  expect_message([&] { max_pool2d(x, 9); }, "the kernel [9,9] with dilation [1,1] is larger");
  expect_message([&] { avg_pool2d(x, 2, {.divisor_override = 0}); }, "divisor cannot be 0");
  expect_message([&] { adaptive_avg_pool2d(x, {0, 1}); }, "cannot be pooled to [0,1]");
  expect_message([&] { batch_norm(zeros({1, 4}), {}, {}, {}, {}, {.training = true}); },
                 "training needs more than one value per channel, got f32[1,4]");
  expect_message([&] { batch_norm(x, {}, {}); }, "evaluation needs running statistics");
  expect_message([&] { batch_norm(x, zeros({3}), zeros({4})); },
                 "running mean f32[3] does not fit the channels of f32[2,4,7,8]");
  expect_message([&] { nn::Conv2d(4, 6, 3, {.groups = 4}); }, "4 and 6 channels into 4 groups");
  expect_message([&] { nn::Conv2d(4, 6, 0); }, "kernel (0, 0)");
  nn::BatchNorm2d norm(3);
  norm.initialize(1);
  expect_message([&] { norm(x); },
                 "BatchNorm2d of 3 channels needs [images, 3, rows, columns], got [2,4,7,8]");
}

}  // namespace
}  // namespace corten
