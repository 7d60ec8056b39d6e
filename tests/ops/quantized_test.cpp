// quantized_linear against its expansion: with f64 activations the definition in float ops is what
// runs, with others the family.
#include <gtest/gtest.h>

#include <cmath>

#include "corten/compile.h"
#include "corten/corten.h"
#include "corten/quantize.h"

namespace corten {
namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to(DType::f64).to_vector<double>(),
                            y = b.to(DType::f64).to_vector<double>();
  double most = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    most = std::max(most, std::fabs(x[i] - y[i]));
    scale = std::max(scale, std::fabs(y[i]));
  }
  return most / scale;
}

TEST(QuantizedLinear, IsItsExpansion) {
  manual_seed(4);
  for (const Quantization& how :
       {load_in_8bit(), load_in_8bit(0), load_in_4bit(32), load_in_4bit(128)})
    for (auto [in, out] : {std::pair<int64_t, int64_t>{100, 37}, {64, 16}, {257, 5}})
      for (bool transposed : {false, true}) {
        const Tensor w = transposed ? randn({in, out}) : randn({out, in});
        const QuantizedTensor q = quantize(w, how, transposed);
        Tensor x = randn({2, 3, in});
        x = x * (1 + 30 * (randn({2, 3, in}) > 2.2).to(DType::f32));  // outliers
        const Tensor bias = randn({out});
        const Tensor definition = quantized_linear(x.to(DType::f64), q, bias);
        EXPECT_EQ(definition.dtype(), DType::f64);
        const Tensor y = quantized_linear(x, q, bias);
        EXPECT_EQ(y.shape(), (Shape{2, 3, out}));
        // A tie may round to the other side in f32: one step of one element of k.
        EXPECT_LT(largest_difference(y, definition), 2e-3) << how.bits << " " << in;
        EXPECT_LT(largest_difference(quantized_linear(x, q), definition - bias.to(DType::f64)),
                  2e-3);
        // And of the weights as they were.
        const Tensor exact = linear(x, transposed ? w.t().clone() : w, bias);
        EXPECT_LT(largest_difference(y, exact), how.bits == 8 ? 0.06 : 0.2)
            << how.bits << " " << in;
        EXPECT_LT(largest_difference(dequantize(q), transposed ? w.t() : w),
                  how.bits == 8 ? 0.005 : 0.3);
      }
}

TEST(QuantizedLinear, CompiledHasTheBitsOfEager) {
  manual_seed(5);
  const QuantizedTensor a = quantize(randn({48, 70}), load_in_4bit()),
                        b = quantize(randn({70, 48}), load_in_8bit());
  const Tensor bias = randn({70}).to(DType::bf16);
  const auto f = [&](const Tensor& x) {
    return quantized_linear(gelu(quantized_linear(x.transpose(0, 1), a)).slice(0, 1, 9), b, bias);
  };
  CompiledFunction compiled =
      compile([&](const std::vector<Tensor>& in) { return std::vector<Tensor>{f(in[0])}; });
  for (int turn = 0; turn < 3; ++turn) {
    const Tensor x = randn({70, 9}).to(DType::bf16);
    EXPECT_EQ(compiled({x})[0].to(DType::f32).to_vector<float>(),
              f(x).to(DType::f32).to_vector<float>());
  }
}

TEST(QuantizedLinear, WrongOperands) {
  const QuantizedTensor q = quantize(randn({8, 16}), load_in_8bit());
  EXPECT_THROW(quantized_linear(randn({3, 17}), q), Error);
  EXPECT_THROW(quantized_linear(randn({3, 16}), q, randn({9})), Error);
  EXPECT_THROW(quantized_linear(zeros({3, 16}, DType::i64), q), Error);
  QuantizedTensor other = q;
  other.in = 200;
  EXPECT_THROW(quantized_linear(randn({3, 200}), other), Error);
  EXPECT_THROW(quantize(randn({8}), load_in_8bit()), Error);
  EXPECT_THROW(quantized_embedding(tensor({1.5f}), q, DType::f32), Error);
  EXPECT_THROW(quantized_embedding(tensor({int64_t{1}}), quantize(randn({8, 16}), load_in_4bit()),
                                   DType::f32),
               Error);
}

}  // namespace
}  // namespace corten
