// Products of 8-bit floats on a device: which the tensor cores get, and what comes of them.
#include <gtest/gtest.h>

#include "corten/float8.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "runtime/inspect.h"

namespace corten::cuda::test {
namespace {

using Arguments = std::vector<Tensor>;

/// Products of a program by their left operand's type.
struct Products {
  size_t wide = 0, e4m3 = 0, e5m2 = 0, mixed = 0;  // mixed: of the last two, those of different types
  bool operator==(const Products&) const = default;
};
Products products_of(const Function& function, const Arguments& arguments, bool has_float8) {
  CompiledFunction compiled = compile(function);
  compiled.plan(arguments);
  const auto plan = plan_for_device(*runtime::inspect(compiled).recorded, has_float8);
  Products out;
  for (const auto& [step, calls] : plan->products()) {
    const Product& p = calls.product;
    ++(p.type == ProductType::e4m3 ? out.e4m3 : p.type == ProductType::e5m2 ? out.e5m2 : out.wide);
    out.mixed += has_8_bits(p.type) && p.type != p.type_b;
  }
  return out;
}

// The device's sums have another order than the definition's, which the CPU computes.
void expect_near(const Function& function, const Arguments& arguments, double tolerance) {
  CpuDevice device;
  try {
    const Comparison c = compare_with_cpu(
        function, [&](int) { return arguments; }, 2, device, device.modules());
    EXPECT_LT(c.difference, tolerance);
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
}

Arguments gradients(const Tensor& x, const Tensor& w, const Tensor& bias) {
  Tensor a = x.detach(), b = w.detach();
  a.set_requires_grad();
  b.set_requires_grad();
  const Tensor y = float8_linear(a, b, bias);
  sum(square(y.to(DType::f32))).backward();
  return {y, a.grad(), b.grad()};
}

TEST(Float8, LayersMultiplyByTensorCoresForwardAndBackward) {
  const Arguments in{numbers({32, 48}, 1), numbers({64, 48}, 2), numbers({64}, 3)};
  const auto f = [](const Arguments& a) { return gradients(a[0], a[1], a[2]); };
  // y = x w^T in e4m3; dx = g w and dw = g^T x with gradients in e5m2.
  EXPECT_EQ(products_of(f, in, true), (Products{0, 1, 2, 2}));
  EXPECT_EQ(products_of(f, in, false), (Products{3, 0, 0, 0}));
  expect_near(f, in, 1e-5);
  const Arguments half{in[0].to(DType::bf16), in[1], in[2]};
  EXPECT_EQ(products_of(f, half, true), (Products{0, 1, 2, 2}));
  expect_near(f, half, 1e-2);
}

// [in, out], and operands whose rows of k are no rows in memory: they are copied, byte by byte.
TEST(Float8, OperandsOfAnyLayout) {
  const Arguments in{numbers({48, 32}, 1), numbers({48, 64}, 2)};
  const auto f = [](const Arguments& a) { return Arguments{conv1d_float8_linear(a[0].t(), a[1])}; };
  EXPECT_EQ(products_of(f, in, true), (Products{0, 1, 0, 0}));
  expect_near(f, in, 1e-5);
  const auto g = [](const Arguments& a) {
    const Float8Tensor x = to_float8(a[0], DType::f8_e5m2), y = to_float8(a[1]);
    return Arguments{scaled_matmul(x.values.t(), y.values, x.scale, y.scale, DType::f16)};
  };
  EXPECT_EQ(products_of(g, in, true), (Products{0, 0, 1, 1}));
  expect_near(g, in, 2e-3);
}

// Sizes and pairs of types that tensor cores do not take are multiplied in bf16.
TEST(Float8, OthersAreExpanded) {
  const auto f = [](DType a, DType b) {
    return [=](const Arguments& in) {
      const Float8Tensor x = to_float8(in[0], a), y = to_float8(in[1], b);
      return Arguments{scaled_matmul(x.values, y.values, x.scale, y.scale, DType::f32)};
    };
  };
  const DType e4m3 = DType::f8_e4m3, e5m2 = DType::f8_e5m2;
  const Products expanded{1, 0, 0, 0};
  EXPECT_EQ(products_of(f(e5m2, e5m2), {numbers({16, 32}, 1), numbers({32, 16}, 2)}, true), expanded);
  EXPECT_EQ(products_of(f(e4m3, e4m3), {numbers({16, 33}, 1), numbers({33, 16}, 2)}, true), expanded);
  EXPECT_EQ(products_of(f(e4m3, e4m3), {numbers({16, 32}, 1), numbers({32, 17}, 2)}, true), expanded);
  EXPECT_EQ(products_of(f(e4m3, e4m3), {numbers({17, 32}, 1), numbers({32, 16}, 2)}, true), (Products{0, 1, 0, 0}));
  expect_near(f(e5m2, e5m2), {numbers({16, 33}, 1), numbers({33, 7}, 2)}, 1e-5);
}

// A device without such tensor cores gets programs without such products.
TEST(Float8, ProgramsAreForTheDevice) {
  const Arguments in{numbers({32, 48}, 1), numbers({64, 48}, 2), numbers({64}, 3)};
  const auto f = [](const Arguments& a) { return gradients(a[0], a[1], a[2]); };
  CpuDevice device;
  device.set_capability(8, 0);
  try {
    const Comparison c = compare_with_cpu(f, [&](int) { return in; }, 1, device, device.modules());
    EXPECT_LT(c.difference, 1e-5);
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
}

}  // namespace
}  // namespace corten::cuda::test
