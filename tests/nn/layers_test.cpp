#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "corten/corten.h"
#include "corten/nn.h"

namespace corten {
namespace {

std::vector<double> values(const Tensor& t) {
  return t.to_vector<double>();
}
struct Moments {
  double mean, deviation, low, high;
};
Moments moments(const Tensor& t) {
  const std::vector<double> x = values(t);
  const auto n = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double squares = 0;
  for (double v : x) squares += (v - mean) * (v - mean);
  return {mean, std::sqrt(squares / n), *std::min_element(x.begin(), x.end()),
          *std::max_element(x.begin(), x.end())};
}

// Initial values depend on (seed, name, element) and on nothing else.
TEST(Init, IsNamedByTheParameter) {
  struct Small : nn::Module {
    nn::Linear a{3, 4};
    Small() { register_module("a", a); }
  } small;
  struct Large : nn::Module {
    nn::Linear b{5, 5}, a{3, 4};
    Large() { register_module("b", b), register_module("a", a); }
  } large;
  small.initialize(9), large.initialize(9);
  EXPECT_EQ(values(small.a.weight), values(large.a.weight));
  EXPECT_EQ(values(small.a.bias), values(large.a.bias));
  large.initialize(10);
  EXPECT_NE(values(small.a.weight), values(large.a.weight));
  nn::Linear renamed(3, 4);
  renamed.initialize(9);
  EXPECT_NE(values(small.a.weight), values(renamed.weight));
}

TEST(Init, HasTheStatedDistribution) {
  const Shape shape{200, 300};  // fan_out 200, fan_in 300
  const auto draw = [&](const init::Initializer& f) { return moments(f(shape, 1, "w")); };
  const double n = 200 * 300;
  const auto expect = [&](Moments m, double mean, double deviation) {
    EXPECT_NEAR(m.mean, mean, 5 * deviation / std::sqrt(n));
    EXPECT_NEAR(m.deviation, deviation, 0.02 * deviation);
  };
  expect(draw(init::normal(2, 0.5)), 2, 0.5);
  expect(draw(init::xavier_normal(2)), 0, 2 * std::sqrt(2.0 / 500));
  expect(draw(init::kaiming_normal()), 0, std::sqrt(2.0 / 300));
  expect(draw(init::kaiming_normal(0, init::FanMode::out)), 0, std::sqrt(2.0 / 200));
  expect(draw(init::scaled_residual(0.02, 12)), 0, 0.02 / std::sqrt(24.0));
  const auto expect_uniform = [&](Moments m, double low, double high) {
    expect(m, (low + high) / 2, (high - low) / std::sqrt(12.0));
    EXPECT_GE(m.low, low);
    EXPECT_LE(m.high, high);
    EXPECT_NEAR(m.low, low, 0.001 * (high - low));
    EXPECT_NEAR(m.high, high, 0.001 * (high - low));
  };
  expect_uniform(draw(init::uniform(-1, 3)), -1, 3);
  const double xavier = std::sqrt(6.0 / 500), kaiming = std::sqrt(6.0 / ((1 + 5) * 300));
  expect_uniform(draw(init::xavier_uniform()), -xavier, xavier);
  expect_uniform(draw(init::kaiming_uniform(std::sqrt(5.0))), -kaiming, kaiming);
  EXPECT_EQ(values(init::constant(3)({2}, 1, "w")), (std::vector<double>{3, 3}));
  EXPECT_EQ(init::fans({4, 3, 5, 2}).in, 30);
  EXPECT_EQ(init::fans({4, 3, 5, 2}).out, 40);
  EXPECT_THROW(init::xavier_normal()({3}, 1, "w"), Error);
}

TEST(Layers, StartAsTorchsDo) {
  nn::Linear linear(100, 400);
  linear.initialize(1);
  const Moments w = moments(linear.weight), b = moments(linear.bias);
  for (const Moments& m : {w, b}) {
    EXPECT_GE(m.low, -0.1);
    EXPECT_LE(m.high, 0.1);
    EXPECT_NEAR(m.deviation, 0.2 / std::sqrt(12.0), 0.005);
  }
  nn::Embedding embedding(100, 100);
  embedding.initialize(1);
  EXPECT_NEAR(moments(embedding.weight).deviation, 1, 0.03);
  nn::LayerNorm norm(8);
  norm.initialize(1);
  EXPECT_EQ(moments(norm.weight).low, 1);
  EXPECT_EQ(moments(norm.bias).high, 0);
}

TEST(Layers, ComputeWhatTheirNamesSay) {
  NoGradGuard no_grad;
  const Tensor x = tensor({{1.0, 2.0}, {3.0, -4.0}});
  nn::Linear linear(2, 3);
  linear.weight.copy_(tensor({{1.0, 0.0}, {0.0, 1.0}, {1.0, 1.0}}));
  linear.bias.copy_(tensor({10.0, 20.0, 30.0}));
  linear.mark_initialized();
  EXPECT_EQ(values(linear(x)), (std::vector<double>{11, 22, 33, 13, 16, 29}));
  nn::Conv1D conv(2, 3);
  conv.load_state_dict({{"weight", linear.weight.t()}, {"bias", linear.bias}});
  EXPECT_EQ(values(conv(x)), values(linear(x)));
  nn::Embedding embedding(3, 2);
  embedding.load_state_dict({{"weight", linear.weight}});
  EXPECT_EQ(values(embedding(tensor({2, 0}))), (std::vector<double>{1, 1, 1, 0}));
  nn::LayerNorm norm(2, 0.0);
  norm.initialize(1);
  EXPECT_EQ(values(norm(x)), (std::vector<double>{-1, 1, 1, -1}));
  nn::RMSNorm rms(2, 0.0);
  rms.initialize(1);
  EXPECT_NEAR(values(rms(x))[3], -4 / std::sqrt(12.5), 1e-6);
  EXPECT_EQ(values(nn::ReLU()(x)), (std::vector<double>{1, 2, 3, 0}));
  EXPECT_EQ(values(nn::GELU(true)(x)), values(gelu(x, true)));
  EXPECT_EQ(values(nn::GELU()(x)), values(gelu(x)));
  EXPECT_EQ(values(nn::SiLU()(x)), values(silu(x)));
  EXPECT_EQ(values(nn::Tanh()(x)), values(tanh(x)));
  EXPECT_EQ(values(nn::Sigmoid()(x)), values(sigmoid(x)));
  EXPECT_EQ(values(nn::Identity()(x)), values(x));
}

TEST(Layers, ConvertedOnesMultiplyInFloat8) {
  using nn::Conv1D, nn::Linear, nn::Module;
  class Model : public Module {
   public:
    Model() : in(32, 64), odd(64, 24), lm_head(64, 32), out(64, 16) {
      register_module("in", in);
      register_module("odd", odd);
      register_module("lm_head", lm_head);
      register_module("out", out);
    }
    Linear in, odd, lm_head;
    Conv1D out;
  };
  Model model;
  model.initialize(3);
  EXPECT_EQ(nn::convert_to_float8_training(model), 2);
  EXPECT_TRUE(model.in.float8 && model.out.float8);
  EXPECT_FALSE(model.odd.float8 || model.lm_head.float8);
  const Tensor x = randn({5, 32});
  const Tensor y = model.in(x), want = float8_linear(x, model.in.weight, model.in.bias);
  EXPECT_EQ(y.to_vector<float>(), want.to_vector<float>());
  EXPECT_NE(y.to_vector<float>(), linear(x, model.in.weight, model.in.bias).to_vector<float>());
  EXPECT_EQ(model.out(y).to_vector<float>(),
            conv1d_float8_linear(y, model.out.weight, model.out.bias).to_vector<float>());
  Model other;
  EXPECT_EQ(nn::convert_to_float8_training(other, [](const std::string& name, const Module&) { return name == "lm_head"; }), 1);
  EXPECT_TRUE(other.lm_head.float8 && !other.in.float8);
}

TEST(Layers, RefuseImpossibleSizes) {
  EXPECT_THROW(nn::Linear(0, 3), Error);
  EXPECT_THROW(nn::Embedding(3, -1), Error);
  EXPECT_THROW(nn::LayerNorm(0), Error);
  EXPECT_THROW(nn::Dropout(1.5), Error);
}

TEST(Sequential, RunsInOrderAndOwnsItsParts) {
  nn::Sequential net;
  net.emplace<nn::Linear>(2, 5);
  net.emplace<nn::GELU>(true);
  net.emplace<nn::Linear>(5, 1);
  net.initialize(1);
  EXPECT_EQ(net.size(), 3u);
  const Tensor x = tensor({{1.0, 2.0}});
  EXPECT_EQ(values(net(x)), values(net[2](net[1](net[0](x)))));
  EXPECT_EQ(net.named_parameters()[2].first, "2.weight");
  EXPECT_EQ(net.to_string(),
            "Sequential(\n  (0): Linear(in=2, out=5, bias=true)\n  (1): GELU(tanh)\n"
            "  (2): Linear(in=5, out=1, bias=true)\n)");
  EXPECT_THROW(net.add(nullptr), Error);
}

// A module can be trained by hand: the gradient of every parameter lowers the loss.
TEST(Sequential, Learns) {
  nn::Sequential net;
  net.emplace<nn::Linear>(2, 8);
  net.emplace<nn::Tanh>();
  net.emplace<nn::Linear>(8, 1);
  net.initialize(1);
  const Tensor x = tensor({{0.0, 0.0}, {0.0, 1.0}, {1.0, 0.0}, {1.0, 1.0}});
  const Tensor y = tensor({0.0, 1.0, 1.0, 0.0}).reshape({4, 1});
  double first = 0, last = 0;
  for (int step = 0; step < 300; ++step) {
    Tensor loss = square(net(x) - y).mean();
    net.zero_grad();
    loss.backward();
    NoGradGuard no_grad;
    for (Tensor p : net.parameters()) p.sub_(p.grad() * 0.3);
    last = loss.item();
    if (step == 0) first = last;
  }
  EXPECT_LT(last, 0.05 * first);
}

}  // namespace
}  // namespace corten
