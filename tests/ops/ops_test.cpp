// The op table crossed with properties.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "corten/safetensors.h"
#include "ir/op.h"
#include "ops/cases.h"

namespace corten::testing {
namespace {

using Inputs = std::vector<Tensor>;

Inputs inputs(const Case& c, DType dtype) {
  Inputs out;
  for (size_t i = 0; i < c.operands.size(); ++i) out.push_back(operand(c, i, dtype));
  return out;
}
bool floating(const Case& c, size_t i) { return c.operands[i].classes == 0; }

/// Weights of the scalar that gradients are taken of: w[k] = cos(k).
Tensor weights(const Tensor& y) {
  std::vector<double> w(y.numel());
  for (size_t k = 0; k < w.size(); ++k) w[k] = std::cos(static_cast<double>(k));
  return from_vector(w, y.shape()).to(y.dtype());
}

void expect_close(const std::vector<double>& got, const std::vector<double>& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double scale = 1e-3;
  for (double v : want) scale = std::max(scale, std::abs(v));
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::abs(got[i] - want[i]), tolerance * (scale * 0.1 + std::abs(want[i]))) << what << ", element " << i << ": " << got[i] << " against " << want[i];
}

const Safetensors& golden() {
  static const Safetensors file = Safetensors::open(CORTEN_TEST_DATA "/golden.safetensors");
  return file;
}
std::vector<double> golden(const std::string& name) {
  const StoredTensor& t = golden().at(name);
  std::vector<float> values(t.bytes.size() / 4);
  std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  return {values.begin(), values.end()};
}

std::string bits(const Tensor& t) {
  // Every dtype converts to f64 exactly; NaN payloads do not count.
  std::vector<double> v = t.to_vector<double>();
  for (double& x : v)
    if (std::isnan(x)) x = std::nan("");
  return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(double));
}

class Ops : public ::testing::TestWithParam<size_t> {
 protected:
  const Case& c() const { return cases()[GetParam()]; }
};

TEST_P(Ops, ValueAndGradientsAreThoseOfPyTorch) {
  Inputs x = inputs(c(), DType::f32);
  if (c().differentiable)
    for (size_t i = 0; i < x.size(); ++i)
      if (floating(c(), i)) x[i].set_requires_grad();
  Tensor y = c().run(x);
  expect_close(y.to_vector<double>(), golden(c().name), 2e-5, "value");
  if (!c().differentiable) return;
  (y * weights(y)).sum().backward();
  for (size_t i = 0; i < x.size(); ++i) {
    if (!floating(c(), i)) continue;
    ASSERT_TRUE(x[i].grad().defined()) << "operand " << i;
    expect_close(x[i].grad().to_vector<double>(), golden(c().name + ".grad." + std::to_string(i)), 1e-4, "gradient " + std::to_string(i));
  }
}

TEST_P(Ops, LowPrecisionRoundsOnce) {
  // Operands rounded to the type; the result within a unit in the last place of the float64 result, times a few for chains.
  for (DType dtype : {DType::bf16, DType::f16, DType::f64}) {
    Inputs low = inputs(c(), dtype), exact;
    for (size_t i = 0; i < low.size(); ++i) exact.push_back(floating(c(), i) ? low[i].to(DType::f64) : low[i]);
    Tensor y = c().run(low);
    double unit = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 1e-13;
    if (!c().smooth) continue;
    expect_close(y.to_vector<double>(), c().run(exact).to_vector<double>(), 12 * unit, std::string(name(dtype)));
  }
}

TEST_P(Ops, LayoutDoesNotMatter) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    Inputs plain = inputs(c(), dtype), strided;
    for (const Tensor& t : plain) {
      if (t.dim() < 2) {
        // Every second element of a longer one.
        strided.push_back(stack({t, t}, t.dim()).select(t.dim(), 0));
        continue;
      }
      Tensor base = t.transpose(0, -1).clone();
      strided.push_back(base.transpose(0, -1));
    }
    EXPECT_EQ(bits(c().run(plain)), bits(c().run(strided))) << name(dtype);
  }
}

TEST_P(Ops, CompiledIsEager) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    auto step = [&](const Inputs& x) { return Inputs{c().run(x)}; };
    CompiledFunction compiled = compile(step);
    Inputs x = inputs(c(), dtype);
    std::string eager = bits(step(x)[0]);
    EXPECT_EQ(eager, bits(compiled(x)[0])) << name(dtype);
    EXPECT_EQ(eager, bits(compiled(x)[0])) << name(dtype) << ", second call";
  }
}

TEST_P(Ops, GradientIsTheFiniteDifference) {
  if (!c().differentiable || !c().smooth) return;
  Inputs x = inputs(c(), DType::f64), direction;
  for (size_t i = 0; i < x.size(); ++i) {
    direction.push_back(weights(x[i]));
    if (floating(c(), i)) x[i].set_requires_grad();
  }
  Tensor y = c().run(x), w = weights(y);
  (y * w).sum().backward();
  double slope = 0;
  for (size_t i = 0; i < x.size(); ++i)
    if (floating(c(), i)) slope += (x[i].grad() * direction[i]).sum().item<double>();
  NoGradGuard no_grad;
  const double h = 1e-5;
  auto at = [&](double step) {
    Inputs moved;
    for (size_t i = 0; i < x.size(); ++i) moved.push_back(floating(c(), i) ? x[i] + direction[i] * step : x[i]);
    return (c().run(moved) * w).sum().item<double>();
  };
  double difference = (at(h) - at(-h)) / (2 * h);
  EXPECT_NEAR(slope, difference, 1e-5 * std::max(1.0, std::abs(difference)));
}

TEST_P(Ops, SecondOrderIsTheDifferenceOfGradients) {
  if (!c().differentiable || !c().smooth) return;
  size_t which = 0;
  while (!floating(c(), which)) ++which;
  Inputs x = inputs(c(), DType::f64);
  x[which].set_requires_grad();
  auto gradient = [&](const Tensor& at, bool create_graph) {
    Inputs in = x;
    in[which] = at;
    Tensor y = c().run(in);
    return grad({(y * y * 0.5).sum()}, {at}, {}, create_graph)[0];
  };
  Tensor d = weights(x[which]);
  Tensor g = gradient(x[which], true);
  if (!g.requires_grad()) return;
  Tensor second = grad({(g * d).sum()}, {x[which]})[0];
  ASSERT_TRUE(second.defined());
  const double h = 1e-5;
  auto moved = [&](double step) {
    Tensor t = (x[which].detach() + d * step).clone();
    t.set_requires_grad();
    return gradient(t, false).to_vector<double>();
  };
  std::vector<double> plus = moved(h), minus = moved(-h), want(plus.size());
  for (size_t i = 0; i < want.size(); ++i) want[i] = (plus[i] - minus[i]) / (2 * h);
  expect_close(second.to_vector<double>(), want, 1e-3, "second order");
}

INSTANTIATE_TEST_SUITE_P(Table, Ops, ::testing::Range<size_t>(0, cases().size()),
                         [](const auto& info) { return cases()[info.param].name; });

TEST(OpsTable, EverySampleHasItsGolden) {
  std::set<std::string> names;
  for (const Case& c : cases()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name << " appears twice";
    EXPECT_NE(golden().find(c.name), nullptr) << c.name;
  }
}

TEST(OpsTable, EmptyTensors) {
  Tensor none = zeros({0, 4});
  EXPECT_EQ((none + 1.0).shape(), (Shape{0, 4}));
  EXPECT_EQ(none.sum().item<float>(), 0.0f);
  EXPECT_EQ(none.sum({0}).to_vector<float>(), std::vector<float>(4, 0.0f));
  EXPECT_EQ(softmax(none, -1).shape(), (Shape{0, 4}));
  EXPECT_EQ(matmul(zeros({3, 0}), zeros({0, 2})).to_vector<float>(), std::vector<float>(6, 0.0f));
  EXPECT_EQ(concat({none, ones({2, 4})}, 0).shape(), (Shape{2, 4}));
  EXPECT_THROW(amax(none), Error);
  // A batch of no images.
  for (DType dtype : {DType::f32, DType::f64}) {
    Tensor images = zeros({0, 2, 5, 6}, dtype), w = ones({3, 2, 3, 3}, dtype);
    w.set_requires_grad();
    Tensor y = conv2d(images, w, {}, {.padding = 1});
    EXPECT_EQ(y.shape(), (Shape{0, 3, 5, 6}));
    y.sum().backward();
    EXPECT_EQ(w.grad().to_vector<double>(), std::vector<double>(54, 0.0));
    EXPECT_EQ(max_pool2d(images, 2).shape(), (Shape{0, 2, 2, 3}));
    EXPECT_EQ(avg_pool2d(images, 2).shape(), (Shape{0, 2, 2, 3}));
    EXPECT_EQ(adaptive_avg_pool2d(images, {3, 4}).shape(), (Shape{0, 2, 3, 4}));
  }
  EXPECT_THROW(max_pool2d(zeros({1, 2, 0, 6}), 2), Error);
}

TEST(OpsTable, NaNAndInfinity) {
  const float inf = INFINITY, nan = NAN;
  Tensor x = from_vector(std::vector<float>{1, nan, -inf, inf}, {4});
  auto v = [](const Tensor& t) { return t.to_vector<float>(); };
  EXPECT_TRUE(std::isnan(v(maximum(x, zeros({4})))[1]));
  EXPECT_TRUE(std::isnan(amax(x).item<float>()));
  EXPECT_EQ(argmax(x, 0).item<int64_t>(), 1);  // NaN is the largest
  EXPECT_EQ(v(exp(x))[2], 0.0f);
  EXPECT_EQ(v(exp(x))[3], inf);
  EXPECT_EQ(v(logsumexp(from_vector(std::vector<float>{-inf, -inf}, {2}), 0))[0], -inf);
  Tensor masked = from_vector(std::vector<float>{0, -inf, 0}, {3});
  EXPECT_EQ(v(softmax(masked, 0)), (std::vector<float>{0.5f, 0, 0.5f}));
  EXPECT_TRUE(std::isnan(v(softmax(from_vector(std::vector<float>{-inf, -inf}, {2}), 0))[0]));
  EXPECT_TRUE(std::isnan(v(relu(x))[1]));
}

}  // namespace
}  // namespace corten::testing
