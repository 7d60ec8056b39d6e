// 8-bit floats against PyTorch (make_float8_goldens.py), and what they refuse.
#include <gtest/gtest.h>

#include <cmath>

#include "corten/compile.h"
#include "corten/corten.h"
#include "corten/float8.h"
#include "io/safetensors.h"

namespace corten {
namespace {

Tensor golden(const std::string& name) {
  static const Safetensors file = Safetensors::open(CORTEN_TEST_DATA "/float8_goldens.safetensors");
  const StoredTensor& t = file.at(name);
  return from_bytes(t.bytes.data(), t.dims, *dtype_from_safetensors(t.dtype));
}

/// The largest difference, in units of the largest number.
double difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  EXPECT_EQ(a.shape(), b.shape());
  double most = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    most = std::max(most, std::fabs(x[i] - y[i]));
    scale = std::max(scale, std::fabs(y[i]));
  }
  return most / scale;
}

void expect_usage_error(const char* words, const std::function<void()>& f) {
  try {
    f();
    ADD_FAILURE() << "no error about " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Float8, ConversionsAreThoseOfPyTorch) {
  const Tensor x = golden("cast.x");
  for (const DType dtype : {DType::f8_e4m3, DType::f8_e5m2}) {
    const Tensor want = golden("cast." + std::string(name(dtype))), got = x.to(dtype);
    EXPECT_EQ(want.dtype(), dtype);
    EXPECT_EQ(got.dtype(), dtype);
    const auto a = got.to_vector<double>(), b = want.to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i)
      ASSERT_TRUE(a[i] == b[i] && std::signbit(a[i]) == std::signbit(b[i]))
          << name(dtype) << " of " << x.to_vector<float>()[i] << ": " << a[i] << ", " << b[i];
    // There and back, and fused with other work.
    CompiledFunction f = compile([&](const std::vector<Tensor>& in) {
      return std::vector{(in[0] * 2.0).to(dtype).to(DType::bf16), in[0].to(dtype)};
    });
    const std::vector<Tensor> compiled = f({x});
    EXPECT_EQ(compiled[1].to_vector<double>(), a);
    EXPECT_EQ(compiled[0].to_vector<double>(), (x * 2.0).to(dtype).to_vector<double>());
  }
}

TEST(Float8, NumbersHaveTheDtypesRange) {
  EXPECT_EQ(scalar(1e9, DType::f8_e4m3).item<float>(), 448);
  EXPECT_EQ(scalar(-1e9, DType::f8_e5m2).item<float>(), -INFINITY);
  EXPECT_EQ(scalar(0.3, DType::f8_e4m3).item<float>(), 0.3125f);
  EXPECT_EQ(full({2}, 0.3, DType::f8_e5m2).to_vector<float>(), (std::vector<float>{0.3125f, 0.3125f}));
  EXPECT_EQ(promote(DType::f8_e4m3, DType::bf16), DType::bf16);
  EXPECT_EQ(promote(DType::f8_e4m3, DType::i64), DType::f8_e4m3);
  EXPECT_EQ(promote(DType::f8_e4m3, DType::f8_e5m2), DType::f32);
  EXPECT_EQ(dtype_from_name("float8_e4m3fn"), DType::f8_e4m3);
}

TEST(Float8, LinearAndItsGradientsAreThoseOfPyTorch) {
  for (const bool transposed : {true, false})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const bool half = dtype == DType::bf16;
      Tensor x = golden("x").to(dtype).set_requires_grad();
      Tensor w = (transposed ? golden("w") : golden("w").t().clone()).set_requires_grad();
      Tensor bias = golden("bias").set_requires_grad();
      const Tensor y = transposed ? float8_linear(x, w, bias) : conv1d_float8_linear(x, w, bias);
      EXPECT_EQ(y.dtype(), dtype);
      (y * golden("g").to(dtype)).sum().backward();
      const std::string of = half ? "bf16." : "";
      EXPECT_LT(difference(y, golden(of + "y")), half ? 4e-3 : 1e-6);
      EXPECT_LT(difference(x.grad(), golden(of + "dx")), half ? 4e-3 : 1e-6);
      const Tensor dw = transposed ? w.grad() : w.grad().t();
      EXPECT_EQ(dw.dtype(), DType::f32);
      EXPECT_LT(difference(dw, golden(of + "dw")), 1e-6);
      if (!half) { EXPECT_LT(difference(bias.grad(), golden("db")), 1e-6); }
    }
}

TEST(Float8, CompiledHasTheBitsOfEager) {
  manual_seed(2);
  Tensor w = randn({48, 32}).set_requires_grad();
  const auto step = [&](const std::vector<Tensor>& in) {
    const Autocast autocast(DType::bf16);
    const Tensor y = float8_linear(in[0].reshape({2, 5, 32}), w);
    square(y.to(DType::f32)).sum().backward();
    const Tensor grad = w.grad();
    w.zero_grad();
    return std::vector{y, grad};
  };
  const Tensor x = randn({10, 32});
  const auto eager = step({x});
  EXPECT_EQ(eager[0].dtype(), DType::bf16);
  CompiledFunction f = compile(step);
  for (int i = 0; i < 3; ++i) {
    const std::vector<Tensor> compiled = f({x});
    for (size_t k : {0u, 1u}) EXPECT_EQ(compiled[k].to_vector<float>(), eager[k].to_vector<float>());
  }
}

TEST(Float8, ScaledMatmulIsTheProduct) {
  manual_seed(7);
  const Tensor a = randn({7, 33}), b = randn({33, 5});
  const Float8Tensor x = to_float8(a, DType::f8_e5m2), y = to_float8(b);
  EXPECT_EQ(abs(x.values.to(DType::f32)).amax({0, 1}).item<float>(), 57344);
  const Tensor got = scaled_matmul(x.values, y.values, x.scale, y.scale, DType::f32);
  const Tensor want = matmul((x.values.to(DType::f64) * x.scale.to(DType::f64)), y.values.to(DType::f64) * y.scale.to(DType::f64));
  EXPECT_LT(difference(got, want), 1e-6);
  EXPECT_LT(difference(got, matmul(a, b)), 0.1);
  EXPECT_EQ(scaled_matmul(x.values, y.values, x.scale, y.scale).dtype(), DType::bf16);
}

TEST(Float8, SaysWhatItDoesNotTake) {
  const Tensor x = zeros({4, 16}, DType::f8_e4m3), one = scalar(1);
  expect_usage_error("[matmul]", [&] { matmul(x, x.t()); });
  expect_usage_error("f32[4,16]", [&] { scaled_matmul(zeros({4, 16}), x.t(), one, one); });
  expect_usage_error("do not multiply", [&] { scaled_matmul(x, x, one, one); });
  expect_usage_error("f32[1]", [&] { scaled_matmul(x, x.t(), ones({1}), one); });
  expect_usage_error("a result of f64", [&] { scaled_matmul(x, x.t(), one, one, DType::f64); });
  expect_usage_error("f8_e4m3[4,16]", [&] { to_float8(x); });
  expect_usage_error("to bf16", [&] { to_float8(ones({4}), DType::bf16); });
  expect_usage_error("f32[0]", [&] { to_float8(zeros({0})); });
  expect_usage_error("do not fit", [&] { float8_linear(zeros({2, 8}), zeros({4, 9})); });
  expect_usage_error("do not fit", [&] { float8_linear(zeros({2, 8}), zeros({4, 8}), zeros({3})); });
}

}  // namespace
}  // namespace corten
