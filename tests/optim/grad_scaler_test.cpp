// GradScaler: its rule, what a skipped step leaves alone, and a run that needs it.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "corten/corten.h"

namespace corten {
namespace {

using Tensors = std::vector<Tensor>;

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "no error";
}

// The rule, written down a second time: PyTorch's _amp_update_scale_ in float.
struct Rule {
  float scale;
  int64_t tracker = 0, skipped = 0, row = 0;
  void step(bool overflow, float growth, float backoff, int64_t interval) {
    if (overflow) {
      scale *= backoff;
      tracker = 0;
      ++skipped;
      ++row;
      return;
    }
    row = 0;
    if (++tracker == interval) {
      if (std::isfinite(scale * growth)) scale *= growth;
      tracker = 0;
    }
  }
};

// Gradients are the second argument, so that any step can overflow.
TEST(GradScaler, FollowsTheRule) {
  for (bool compiled : {false, true}) {
    Tensor w = ones({3}).set_requires_grad();
    optim::AdamW optimizer({w}, {.lr = 0.1});
    GradScaler scaler({.init_scale = 3e37, .growth_factor = 3, .backoff_factor = 0.25, .growth_interval = 2});
    auto step = [&](const Tensors& in) {
      scaler.scale((w * in[0]).sum() * 1e-30).backward();
      scaler.step(optimizer);
      scaler.update();
      optimizer.zero_grad();
      return Tensors{};
    };
    CompiledFunction program = compile(step);
    Rule rule{3e37f};
    std::vector<double> before = w.to_vector<double>();
    int64_t taken = 0;
    const double inf = std::numeric_limits<double>::infinity();
    const double factors[] = {1, 1, 1, 1, inf, 2, -inf, std::nan(""), inf, 1, 2, 1, 1, 0.5};
    for (double factor : factors) {
      const Tensors in{tensor({1.0, factor, 2.0})};
      compiled ? program(in) : step(in);
      const bool overflow = !std::isfinite(factor);
      rule.step(overflow, 3, 0.25, 2);
      EXPECT_EQ(scaler.get_scale(), static_cast<double>(rule.scale));
      EXPECT_EQ(scaler.get_skipped_steps(), rule.skipped);
      EXPECT_EQ(scaler.get_skipped_in_a_row(), rule.row);
      EXPECT_EQ(find_tensor(scaler.state_dict(), "_growth_tracker")->item<int64_t>(), rule.tracker);
      EXPECT_EQ(optimizer.steps_taken(), taken += !overflow);
      const std::vector<double> after = w.to_vector<double>();
      EXPECT_EQ(after == before, overflow) << factor;
      for (const auto& [name, moment] : optimizer.state_dict())
        for (double m : moment.to_vector<double>()) EXPECT_TRUE(std::isfinite(m)) << name << " after " << factor;
      before = after;
    }
    EXPECT_EQ(rule.skipped, 4);
    EXPECT_LT(rule.scale, 3e37f) << "the scale must have met its upper end and its backoff";
  }
}

TEST(GradScaler, UnscaledGradientsAreTheGradients) {
  Tensor w = tensor({0.5, -2.0, 3.0}).set_requires_grad(), v = tensor({0.25}).set_requires_grad();
  optim::SGD optimizer({w, v}, {.lr = 1});
  GradScaler scaler({.init_scale = 1024});
  Tensor loss = (w * w).sum() * 0.125;
  EXPECT_EQ(scaler.scale(loss).item<float>(), loss.item<float>() * 1024);
  scaler.scale(loss).backward();
  EXPECT_EQ(w.grad().to_vector<double>(), (std::vector<double>{128, -512, 768}));
  scaler.unscale_(optimizer);
  EXPECT_EQ(w.grad().to_vector<double>(), (std::vector<double>{0.125, -0.5, 0.75}));
  EXPECT_FALSE(v.grad().defined());
  EXPECT_FALSE(scaler.found_inf(optimizer).item<bool>());
  optim::clip_grad_norm_({w}, 0.1);
  scaler.step(optimizer);
  scaler.update();
  const double norm = std::sqrt(0.125 * 0.125 + 0.25 + 0.5625);
  EXPECT_NEAR(w.to_vector<double>()[0], 0.5 - 0.125 * 0.1 / norm, 1e-6);
  EXPECT_EQ(v.item<float>(), 0.25f);
}

// One optimizer that overflows skips itself only, but the scale is everybody's.
TEST(GradScaler, SeveralOptimizers) {
  Tensor a = tensor({1.0}).set_requires_grad(), b = tensor({1.0}).set_requires_grad();
  optim::SGD first({a}, {.lr = 1}), second({b}, {.lr = 1});
  GradScaler scaler({.init_scale = 4});
  a.set_grad(tensor({std::numeric_limits<double>::infinity()}));
  b.set_grad(tensor({2.0}));
  scaler.step(first);
  scaler.step(second);
  EXPECT_TRUE(scaler.found_inf(first).item<bool>());
  EXPECT_FALSE(scaler.found_inf(second).item<bool>());
  scaler.update();
  EXPECT_EQ(a.item<float>(), 1);
  EXPECT_EQ(b.item<float>(), 0.5f);
  EXPECT_EQ(scaler.get_scale(), 2);
}

TEST(GradScaler, WrongUse) {
  Tensor w = tensor({1.0}).set_requires_grad();
  optim::SGD optimizer({w}, {.lr = 1});
  GradScaler scaler;
  EXPECT_NE(message([&] { scaler.update(); }).find("update() without a step()"), std::string::npos);
  EXPECT_NE(message([&] { scaler.step(optimizer); }).find("no parameter of the optimizer has a gradient"), std::string::npos);
  EXPECT_NE(message([&] { scaler.found_inf(optimizer); }).find("not unscaled"), std::string::npos);
  scaler.scale(w.sum()).backward();
  scaler.unscale_(optimizer);
  EXPECT_NE(message([&] { scaler.unscale_(optimizer); }).find("unscale_() after unscale_()"), std::string::npos);
  scaler.step(optimizer);
  EXPECT_NE(message([&] { scaler.step(optimizer); }).find("step() twice"), std::string::npos);
  EXPECT_NE(message([&] { scaler.unscale_(optimizer); }).find("unscale_() after step()"), std::string::npos);
  scaler.update();
  Tensor half = tensor({1.0}).to(DType::f16).set_requires_grad();
  optim::SGD other({half}, {.lr = 1});
  half.sum().backward();
  EXPECT_NE(message([&] { scaler.unscale_(other); }).find("is f16"), std::string::npos);
  for (const GradScalerOptions& bad : {GradScalerOptions{.init_scale = 0}, GradScalerOptions{.growth_factor = 1}, GradScalerOptions{.backoff_factor = 1},
                                       GradScalerOptions{.growth_interval = 0}})
    EXPECT_NE(message([&] { GradScaler s(bad); }).find("[GradScaler]"), std::string::npos);
  GradScaler off({.enabled = false});
  w.zero_grad();
  off.scale(w.sum()).backward();
  off.step(optimizer);
  off.update();
  EXPECT_EQ(off.get_scale(), 1);
  EXPECT_TRUE(off.state_dict().empty());
}

TEST(GradScaler, StateGoesOnElsewhere) {
  Tensor w = tensor({1.0}).set_requires_grad();
  optim::SGD optimizer({w}, {.lr = 0});
  GradScaler a({.growth_interval = 3}), b;
  auto step = [&](GradScaler& scaler) {
    w.set_grad(tensor({1.0}));
    scaler.step(optimizer);
    scaler.update();
  };
  for (int i = 0; i < 2; ++i) step(a);
  b.load_state_dict(a.state_dict());
  EXPECT_EQ(b.get_growth_interval(), 3);
  step(b);
  EXPECT_EQ(b.get_scale(), 131072);
  EXPECT_EQ(a.get_scale(), 65536) << "loading copies";
  EXPECT_NE(message([&] { b.load_state_dict({{"scale", scalar(1)}}); }).find("growth_factor"), std::string::npos);
  b.set_growth_interval(1);
  b.update(8);
  step(b);
  EXPECT_EQ(b.get_scale(), 16);
}

// A regression whose gradients are small: its loss is a mean over 16,384 elements with a weight of 3e-4.
struct Small {
  Tensor x = normal_init({256, 32}, 0, 1, 1, "x"), y;
  Tensor w1 = normal_init({64, 32}, 0, 0.2, 1, "w1"), w2 = normal_init({64, 64}, 0, 0.05, 1, "w2");
  Small() {
    y = tanh(matmul(x, normal_init({32, 64}, 0, 0.2, 2, "teacher"))) * 0.5;
    for (Tensor* p : {&w1, &w2}) p->set_requires_grad();
  }
  Tensor loss(DType dtype) {
    Autocast autocast(dtype);
    return square(linear(tanh(linear(x, w1)), w2) - y).mean() * 3e-4;
  }
};
struct Outcome {
  double first = 0, last = 0, zeros = 0;  // losses; share of gradient elements that are zero, in the first step
};
Outcome train_small(DType dtype, bool scaled, bool compiled) {
  Small net;
  optim::AdamW optimizer({net.w1, net.w2}, {.lr = 2e-3, .eps = 1e-16, .weight_decay = 0});
  GradScaler scaler({.init_scale = 16384, .growth_interval = 20, .enabled = scaled});
  auto step = [&](const Tensors&) {
    Tensor loss = net.loss(dtype);
    scaler.scale(loss).backward();
    scaler.unscale_(optimizer);
    Tensors out{loss, net.w1.grad(), net.w2.grad()};
    scaler.step(optimizer);
    scaler.update();
    optimizer.zero_grad();
    return out;
  };
  CompiledFunction program = compile(step);
  Outcome out;
  for (int i = 0; i < 150; ++i) {
    const Tensors results = compiled ? program({}) : step({});
    out.last = results[0].item<double>();
    if (i > 0) continue;
    out.first = out.last;
    int64_t zero = 0, all = 0;
    for (const Tensor& g : {results[1], results[2]})
      for (double v : g.to_vector<double>()) {
        zero += v == 0;
        ++all;
      }
    out.zeros = static_cast<double>(zero) / static_cast<double>(all);
  }
  return out;
}

TEST(GradScaler, SavesARunThatFlushesToZero) {
  const Outcome f32 = train_small(DType::f32, false, true), bare = train_small(DType::f16, false, true), scaled = train_small(DType::f16, true, true);
  EXPECT_LT(f32.zeros, 0.01);
  EXPECT_LT(f32.last, 0.2 * f32.first);
  EXPECT_GE(bare.zeros, 0.2);
  EXPECT_GT(bare.last, 2 * f32.last) << "without a scale the run must stall";
  EXPECT_LT(scaled.zeros, 0.01);
  EXPECT_NEAR(scaled.last, f32.last, 0.01 * f32.last);
  const Outcome eager = train_small(DType::f16, true, false);
  EXPECT_EQ(eager.last, scaled.last);
  RecordProperty("zeros", std::to_string(bare.zeros));
  RecordProperty("losses", std::to_string(f32.last / f32.first) + " " + std::to_string(bare.last / bare.first) + " " + std::to_string(scaled.last / f32.last));
}

}  // namespace
}  // namespace corten
