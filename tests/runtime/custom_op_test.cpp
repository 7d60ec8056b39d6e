// Custom ops: every form, dtype and way to run against its reference; what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "corten/corten.h"

namespace corten {
namespace {

using Tensors = std::vector<Tensor>;
using Scalars = std::span<const Scalar>;

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    return error.what();
  }
  return "no error";
}
#define EXPECT_ERROR(statement, text) EXPECT_NE(message([&] { statement; }).find(text), std::string::npos) << message([&] { statement; })

Tensor random(Shape shape, const char* name) { return normal_init(std::move(shape), 0, 1, 1, name); }

const CustomOp& swiglu() {
  static const CustomOp op({
      .name = "swiglu",
      .inputs = 2,
      .body = [](Scalars x) { return x[0] / (1 + exp(-x[0])) * x[1]; },
      .expand = [](const Tensors& x) { return silu(x[0]) * x[1]; },
  });
  return op;
}
const CustomOp& scaled_norm() {
  static const CustomOp op({
      .name = "scaled_norm",
      .inputs = 2,
      .form = CustomForm::rows,
      .body = [](Scalars x) { return x[0] * rsqrt(row_mean(x[0] * x[0]) + 1e-6) * x[1]; },
      .expand = [](const Tensors& x) { return x[0] * rsqrt((x[0] * x[0]).mean({-1}, true) + 1e-6) * x[1]; },
  });
  return op;
}
const CustomOp& row_spread() {
  static const CustomOp op({
      .name = "row_spread",
      .form = CustomForm::row_values,
      .body = [](Scalars x) { return sqrt(row_sum((x[0] - row_mean(x[0])) * (x[0] - row_mean(x[0]))) + 1); },
      .expand = [](const Tensors& x) { return sqrt(square(x[0] - x[0].mean({-1}, true)).sum({-1}, true) + 1.0); },
  });
  return op;
}
const CustomOp& softcap() {
  static const CustomOp op({
      .name = "softcap",
      .body = [](Scalars x) { return 30 * tanh(x[0] / 30); },
      .expand = [](const Tensors& x) { return tanh(x[0] / 30.0) * 30.0; },
      .gradient = [](const Tensors&, const Tensor& y, const Tensor& g) { return Tensors{g * (1.0 - square(y / 30.0))}; },
  });
  return op;
}

TEST(CustomOp, AgreesWithItsReference) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    for (int64_t n : {1, 7, 64, 1500}) {
      SCOPED_TRACE(std::string(name(dtype)) + " " + std::to_string(n));
      const Tensor x = random({3, 5, n}, "x").to(dtype), w = random({n}, "w").to(dtype), column = random({5, 1}, "c").to(dtype);
      const CustomOpCheck check{.absolute = size_of(dtype) == 2 ? 0.2 : 2e-5};
      EXPECT_NO_THROW(check_custom_op(swiglu(), {x, x * 0.5}, check));
      EXPECT_NO_THROW(check_custom_op(swiglu(), {x, column}, check));
      EXPECT_NO_THROW(check_custom_op(scaled_norm(), {x, w}, check));
      EXPECT_NO_THROW(check_custom_op(row_spread(), {x}, check));
      EXPECT_NO_THROW(check_custom_op(softcap(), {x * 20.0}, check));
    }
  EXPECT_NO_THROW(check_custom_op(scaled_norm(), {random({4, 6}, "x").t(), random({4}, "w")}));
  EXPECT_NO_THROW(check_custom_op(swiglu(), {random({4, 6}, "x"), arange(6)}));
  EXPECT_NO_THROW(check_custom_op(softcap(), {scalar(2)}));
}

// Against arithmetic in double that knows nothing of expressions.
TEST(CustomOp, Values) {
  const Tensor x = random({3, 40}, "x"), w = random({40}, "w");
  const std::vector<double> a = x.to_vector<double>(), b = w.to_vector<double>(), y = scaled_norm()({x, w}).to_vector<double>(),
                            s = row_spread()({x}).to_vector<double>();
  ASSERT_EQ(s.size(), 3u);
  for (int r = 0; r < 3; ++r) {
    double squares = 0, sum = 0;
    for (int c = 0; c < 40; ++c) sum += a[r * 40 + c], squares += a[r * 40 + c] * a[r * 40 + c];
    for (int c = 0; c < 40; ++c) EXPECT_NEAR(y[r * 40 + c], a[r * 40 + c] / std::sqrt(squares / 40 + 1e-6) * b[c], 1e-6);
    EXPECT_NEAR(s[r], std::sqrt(squares - sum * sum / 40 + 1), 1e-5);
  }
}

TEST(CustomOp, FusesWithItsNeighbours) {
  CompiledFunction f = compile([&](const Tensors& in) { return Tensors{swiglu()({scaled_norm()({in[0] * 2.0, in[1]}), in[0]}) + in[0]}; });
  f({random({8, 64}, "x"), random({64}, "w")});
  EXPECT_EQ(f.info().kernels, 1);
}

// In a training step: compiled, eager, and with passes off, one set of bits; second derivatives too.
TEST(CustomOp, InTrainingSteps) {
  const Tensor x = random({16, 24}, "x").to(DType::bf16);
  auto losses = [&](bool compiled, const char* off) {
    if (off) setenv("CORTEN_DISABLE", off, 1);
    Tensor w = random({24, 24}, "w").set_requires_grad(), g = ones({24}).set_requires_grad();
    optim::AdamW optimizer({w, g}, {.lr = 0.05});
    auto step = [&](const Tensors& in) {
      Autocast autocast(DType::bf16);
      Tensor h = softcap()({linear(in[0], w)});
      Tensor loss = square(scaled_norm()({swiglu()({h, in[0]}), g}) - 0.5).mean();
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      return Tensors{loss};
    };
    CompiledFunction program = compile(step);
    std::vector<double> out;
    for (int i = 0; i < 5; ++i) out.push_back((compiled ? program({x}) : step({x}))[0].item<double>());
    unsetenv("CORTEN_DISABLE");
    return out;
  };
  const std::vector<double> eager = losses(false, nullptr);
  EXPECT_LT(eager.back(), eager.front());
  for (const char* off : {"", "fold", "cse", "dce", "schedule", "fuse", "plan"}) EXPECT_EQ(losses(true, off), eager) << off;

  Tensor t = tensor({0.3, -1.2}).set_requires_grad();
  const Tensor first = grad({swiglu()({t, t}).sum()}, {t}, {}, true)[0], second = grad({first.sum()}, {t})[0];
  Tensor u = tensor({0.3, -1.2}).set_requires_grad();
  const Tensor other = grad({(silu(u) * u).sum()}, {u}, {}, true)[0], want = grad({other.sum()}, {u})[0];
  for (int i : {0, 1}) EXPECT_NEAR(second.to_vector<double>()[i], want.to_vector<double>()[i], 1e-6);
}

TEST(CustomOp, CheckFindsWrongDefinitions) {
  const Tensor x = random({4, 8}, "x");
  const CustomOp wrong({.name = "wrong body", .body = [](Scalars v) { return v[0] * 1.001; }, .expand = [](const Tensors& v) { return v[0] * 1.0; }});
  EXPECT_ERROR(check_custom_op(wrong, {x}), "[wrong body] the result's element 0 is");
  const CustomOp slope({.name = "wrong slope",
                        .body = [](Scalars v) { return v[0] * v[0]; },
                        .expand = [](const Tensors& v) { return v[0] * v[0]; },
                        .gradient = [](const Tensors& v, const Tensor&, const Tensor& g) { return Tensors{g * v[0]}; }});
  EXPECT_ERROR(check_custom_op(slope, {x}), "[wrong slope] the gradient of input 0: element 0 is");
  EXPECT_NO_THROW(check_custom_op(slope, {x}, {.gradient = false}));
  const CustomOp shape({.name = "wrong shape", .body = [](Scalars v) { return v[0] + 1; }, .expand = [](const Tensors& v) { return v[0].sum({-1}, true); }});
  EXPECT_ERROR(check_custom_op(shape, {x}), "[wrong shape] the result's f32");
}

TEST(CustomOp, Refusals) {
  int number = 0;
  const auto fails = [&](std::function<Scalar(Scalars)> body, CustomForm form = CustomForm::elementwise) {
    const CustomOp op({.name = "bad " + std::to_string(number++), .form = form, .body = std::move(body), .expand = [](const Tensors& v) { return v[0]; }});
    return message([&] { op({ones({3})}); });
  };
  EXPECT_NE(fails([](Scalars) { return Scalar(1); }).find("the body is a number"), std::string::npos);
  EXPECT_NE(fails([](Scalars x) { return x[0] > 0; }).find("the body gives a bool"), std::string::npos);
  EXPECT_NE(fails([](Scalars x) { return (x[0] > 0) + 1; }).find("+ needs numbers"), std::string::npos);
  EXPECT_NE(fails([](Scalars x) { return select(x[0], x[0], x[0]); }).find("select needs truth values"), std::string::npos);
  EXPECT_NE(fails([](Scalars x) { return row_sum(x[0]); }).find("set form = CustomForm::rows"), std::string::npos);
  EXPECT_NE(fails([](Scalars x) { return row_sum(x[0]) + x[0]; }, CustomForm::row_values).find("depends on single elements"), std::string::npos);
  EXPECT_ERROR(swiglu()({ones({3})}), "[swiglu] takes 2 inputs, got 1");
  EXPECT_ERROR(swiglu()({ones({3}), ones({4})}), "[3]");
  EXPECT_ERROR(scaled_norm()({scalar(1), scalar(1)}), "no input has an axis");
  EXPECT_ERROR(CustomOp(swiglu().definition()), "there is a custom op of this name already");
  EXPECT_ERROR(CustomOp({.name = "bodiless", .expand = [](const Tensors& v) { return v[0]; }}), "lacks its body");
  EXPECT_ERROR(CustomOp({.name = "groundless", .body = [](Scalars x) { return x[0]; }}), "lacks its expand");
}

}  // namespace
}  // namespace corten
