// Products of a graph as calls of the library: what lies where, in how many calls.
#include <gtest/gtest.h>

#include <chrono>

#include "base/format.h"
#include "codegen/object_cache.h"
#include "corten/ops.h"
#include "cuda/product_plans.h"
#include "cuda/products.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "ir/op.h"

namespace corten::cuda::test {
namespace {

ProductCalls calls(DType dtype, ir::Dims a, ir::Layout a_at, ir::Dims b, ir::Layout b_at,
                   DType result) {
  ir::Node node;
  node.op = ir::find_op("gemm");
  ir::Dims c = a;
  c.back() = b.back();
  node.types = std::vector<ir::Type>{{result, c}};
  return product_calls(node, {dtype, a}, a_at, {dtype, b}, b_at);
}

TEST(ProductCalls, PlainAndTransposed) {
  const ProductCalls plain =
      calls(DType::bf16, {8, 16}, {4, {16, 1}}, {16, 32}, {0, {32, 1}}, DType::f32);
  EXPECT_FALSE(plain.product.transpose_a || plain.product.transpose_b);
  EXPECT_TRUE(plain.product.wide_result);
  EXPECT_EQ(plain.product.lda, 16);
  EXPECT_EQ(plain.product.ldb, 32);
  ASSERT_EQ(plain.calls.size(), 1u);
  EXPECT_EQ(plain.calls[0].a, 8);  // bytes
  EXPECT_EQ(plain.product.alignment, 8);
  const ProductCalls turned =
      calls(DType::f32, {8, 16}, {0, {1, 8}}, {16, 32}, {0, {1, 16}}, DType::f32);
  EXPECT_TRUE(turned.product.transpose_a && turned.product.transpose_b);
  EXPECT_EQ(turned.product.lda, 8);
  EXPECT_EQ(turned.product.ldb, 16);
  EXPECT_EQ(turned.product.alignment, 16);
}

// Heads of q and k within one tensor [batch, seq, 3, heads, size]: a call for each sequence, the
// heads as its batch.
TEST(ProductCalls, BatchesThatOneStrideCannotExpress) {
  const int64_t B = 2, T = 5, H = 3, D = 4, row = 3 * H * D;
  const ProductCalls p = calls(DType::bf16, {B, H, T, D}, {0, {T * row, D, row, 1}}, {B, H, D, T},
                               {H * D, {T * row, D, 1, row}}, DType::bf16);
  EXPECT_EQ(p.product.batch, H);
  EXPECT_EQ(p.product.stride_a, D);
  EXPECT_EQ(p.product.stride_c, T * T);
  EXPECT_TRUE(p.product.transpose_b);
  EXPECT_EQ(p.product.ldb, row);
  ASSERT_EQ(p.calls.size(), 2u);
  EXPECT_EQ(p.calls[1].a, 2 * T * row);
  EXPECT_EQ(p.calls[1].b, 2 * (T * row + H * D));
  EXPECT_EQ(p.calls[1].c, 2 * H * T * T);
  // Contiguous ones are one call.
  const ProductCalls one = calls(DType::bf16, {B, H, T, D}, {0, {H * T * D, T * D, D, 1}},
                                 {B, H, D, T}, {0, {H * D * T, D * T, T, 1}}, DType::bf16);
  EXPECT_EQ(one.product.batch, B * H);
  EXPECT_EQ(one.calls.size(), 1u);
  // A matrix for all of the batch.
  EXPECT_EQ(calls(DType::f32, {7, 8, 16}, {0, {128, 16, 1}}, {7, 16, 2}, {0, {0, 2, 1}}, DType::f32)
                .product.stride_b,
            0);
}

TEST(ProductCalls, SoManyMatricesAreSeveralCalls) {
  const ProductCalls many =
      calls(DType::f32, {70000, 2, 4}, {0, {8, 4, 1}}, {70000, 4, 2}, {0, {8, 2, 1}}, DType::f32);
  ASSERT_EQ(many.calls.size(), 3u);
  EXPECT_EQ(many.product.batch, 23334);
  int64_t sum = 0;
  for (const ProductCalls::Call& call : many.calls) {
    EXPECT_LE(call.batch, kMaxBatch);
    EXPECT_EQ(call.a, sum * 8 * 4);
    EXPECT_EQ(call.b, sum * 8 * 4);
    EXPECT_EQ(call.c, sum * 4 * 4);
    sum += call.batch;
  }
  EXPECT_EQ(sum, 70000);
  // Parts may begin at less aligned places than the operands.
  EXPECT_EQ(calls(DType::bf16, {70001, 1, 3}, {0, {3, 3, 1}}, {70001, 3, 1}, {0, {3, 1, 1}},
                  DType::bf16)
                .product.alignment,
            4);
}

TEST(ProductCalls, ManyMatricesHaveTheirProducts) {
  CpuDevice device;
  Comparison c;
  try {
    c = compare_with_cpu(
        [](const std::vector<Tensor>& in) { return std::vector<Tensor>{matmul(in[0], in[1])}; },
        [](int step) {
          const auto seed = static_cast<uint64_t>(step);
          return std::vector<Tensor>{numbers({70000, 2, 3}, seed), numbers({70000, 3, 2}, seed + 9)};
        },
        2, device, device.modules());
  } catch (const Error& e) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
  EXPECT_EQ(c.info.products, 1u);
  EXPECT_EQ(c.info.flops, 2.0 * 70000 * 2 * 3 * 2);
}

TEST(ProductCalls, Tf32OnlyWhereAskedFor) {
  const auto type = [] {
    return calls(DType::f32, {8, 16}, {0, {16, 1}}, {16, 32}, {0, {32, 1}}, DType::f32)
        .product.type;
  };
  EXPECT_EQ(type(), ProductType::f32);
  set_float32_matmul_precision("high");
  EXPECT_EQ(type(), ProductType::tf32);
  set_float32_matmul_precision("highest");
  EXPECT_EQ(type(), ProductType::f32);
}

TEST(ProductCalls, WhatTheLibraryCannotReadIsRefused) {
  EXPECT_THROW(calls(DType::f32, {8, 16}, {0, {32, 2}}, {16, 32}, {0, {32, 1}}, DType::f32), Error);
  EXPECT_THROW(calls(DType::f32, {8, 16}, {0, {0, 1}}, {16, 32}, {0, {32, 1}}, DType::f32),
               Error);  // one row for all
  EXPECT_THROW(calls(DType::i64, {8, 16}, {0, {16, 1}}, {16, 32}, {0, {32, 1}}, DType::i64), Error);
}

// What a device's library proposed once is what later processes use; another library is asked again.
TEST(ProductPlans, AreKept) {
  CpuDevice device;
  device.products = format("made at {}", std::chrono::system_clock::now().time_since_epoch().count());
  Product p{.type = ProductType::bf16, .m = 3, .n = 5, .k = 7, .lda = 7, .ldb = 5, .ldc = 5};
  const ProductPlan first = product_plan(device, p);
  EXPECT_EQ(device.planned_products, 1u);
  const ProductPlan again = product_plan(device, p);
  EXPECT_EQ(again.algorithm, first.algorithm);
  EXPECT_EQ(again.workspace_bytes, first.workspace_bytes);
  const bool kept = !codegen::object_cache().folder().empty();
  EXPECT_EQ(device.planned_products, kept ? 1u : 2u);
  const size_t before = device.planned_products;
  p.alignment = 8;
  product_plan(device, p);
  device.products += "b";
  product_plan(device, p);
  EXPECT_EQ(device.planned_products, before + 2);
}

}  // namespace
}  // namespace corten::cuda::test
