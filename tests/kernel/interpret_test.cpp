// The reference interpreter of kernels, on kernels built by hand and results worked out
// independently.
#include "kernel/interpret.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/half.h"
#include "corten/error.h"

namespace corten {
namespace {

using ir::Expr;
using ir::InnerStride;
using ir::Kernel;
using ir::KernelFault;
using ir::KernelForm;
using ir::Launch;
using ir::Precision;
using ir::ScalarOp;
using ir::StoreMode;

/// A kernel together with its launch.
struct Problem {
  Kernel kernel;
  Launch launch;
  std::vector<void*> pointers;

  Problem(KernelForm form, std::vector<int64_t> outer, int64_t inner) {
    kernel.form = form;
    kernel.outer_rank = static_cast<int32_t>(outer.size());
    for (size_t d = 0; d < outer.size(); ++d) launch.outer[d] = outer[d];
    launch.inner = inner;
  }
  template <typename T>
  int operand(DType dtype, std::vector<T>& data, bool written = false) {
    EXPECT_EQ(size_of(dtype), sizeof(T));
    kernel.operands.push_back({dtype, written});
    pointers.push_back(data.data());
    return static_cast<int>(pointers.size()) - 1;
  }
  int access(int operand, std::vector<int64_t> strides, int64_t inner_stride = 0,
             int64_t offset = 0) {
    const InnerStride inner = inner_stride == 0   ? InnerStride::zero
                              : inner_stride == 1 ? InnerStride::one
                                                  : InnerStride::any;
    kernel.accesses.push_back({operand, inner});
    Launch::Access& a = launch.accesses.emplace_back();
    a.offset = offset;
    a.inner_stride = inner_stride;
    for (size_t d = 0; d < strides.size(); ++d) a.strides[d] = strides[d];
    return static_cast<int>(kernel.accesses.size()) - 1;
  }
  void gather(int access, Expr index, int64_t stride, int64_t bound) {
    kernel.accesses[access].index = index.id;
    launch.accesses[access].index_stride = stride;
    launch.accesses[access].index_bound = bound;
  }
  void guard(int access, int dimension, int64_t low, int64_t high) {
    kernel.accesses[access].guards |= static_cast<uint8_t>(1 << dimension);
    launch.accesses[access].lo[dimension] = low;
    launch.accesses[access].hi[dimension] = high;
  }
  Expr load(int access) {
    const DType dtype = kernel.operands[kernel.accesses[access].operand].dtype;
    return kernel.body.load(ir::scalar_type(dtype), access);
  }
  Expr param(DType type, int64_t bits) {
    kernel.params.push_back(type);
    launch.params.push_back(bits);
    return kernel.body.param(type, static_cast<int>(kernel.params.size()) - 1);
  }
  void store(int access, Expr value, StoreMode mode = StoreMode::set) {
    kernel.stores.push_back({access, value.id, mode});
  }
  void run(Precision precision = Precision::exact, KernelFault* fault = nullptr) {
    interpret(kernel, launch, pointers.data(), precision, fault);
  }
};

/// Numbers whose sums round: different orders of addition give different bits.
std::vector<float> rough_numbers(size_t count) {
  std::vector<float> values(count);
  uint32_t state = 1;
  for (float& v : values) {
    state = state * 1664525 + 1013904223;
    v = std::ldexp(static_cast<float>(state >> 8) * 0x1p-24f - 0.4f,
                   static_cast<int>(state >> 4 & 7));
  }
  return values;
}

/// The documented tree, written for sums of floats only.
float tree_sum(const std::vector<float>& x, size_t lanes, size_t chunk) {
  std::vector<float> partial;
  for (size_t start = 0; start < x.size(); start += chunk) {
    std::vector<float> lane(lanes, 0.0f);
    for (size_t i = 0; i < chunk && start + i < x.size(); ++i) lane[i % lanes] += x[start + i];
    for (size_t n = lanes; n > 1; n /= 2)
      for (size_t j = 0; j < n / 2; ++j) lane[j] = lane[j] + lane[j + n / 2];
    partial.push_back(lane[0]);
  }
  while (partial.size() > 1) {
    std::vector<float> next;
    for (size_t i = 0; i + 1 < partial.size(); i += 2) next.push_back(partial[i] + partial[i + 1]);
    if (partial.size() % 2) next.push_back(partial.back());
    partial = next;
  }
  return partial.empty() ? 0.0f : partial[0];
}

TEST(Interpret, SoftmaxOfRows) {
  constexpr int kRows = 3, kColumns = 70;
  std::vector<float> x = rough_numbers(kRows * kColumns), y(x.size());
  for (float& v : x) v *= 0.125f;
  Problem p(KernelForm::rows, {kRows}, kColumns);
  const int in = p.access(p.operand(DType::f32, x), {kColumns}, 1);
  const int out = p.access(p.operand(DType::f32, y, true), {kColumns}, 1);
  const Expr v = p.load(in);
  const Expr e = exp(v - p.kernel.body.reduce(ScalarOp::reduce_max, v, ir::kRowTree));
  p.store(out, e / p.kernel.body.reduce(ScalarOp::reduce_sum, e, ir::kRowTree));
  for (const Precision precision : {Precision::exact, Precision::real}) {
    p.run(precision);
    for (int r = 0; r < kRows; ++r) {
      double sum = 0;
      for (int c = 0; c < kColumns; ++c) sum += std::exp(static_cast<double>(x[r * kColumns + c]));
      for (int c = 0; c < kColumns; ++c) {
        const double expected = std::exp(static_cast<double>(x[r * kColumns + c])) / sum;
        EXPECT_NEAR(y[r * kColumns + c] / expected, 1, precision == Precision::exact ? 4e-6 : 6e-8);
      }
    }
  }
}

TEST(Interpret, RowSumsFollowTheTree) {
  for (const int64_t n : {0, 1, 63, 64, 65, 1024, 1025, 2500, 5000}) {
    std::vector<float> x = rough_numbers(n), y(1, -1);
    Problem p(KernelForm::rows, {}, n);
    const int in = p.access(p.operand(DType::f32, x), {}, 1);
    const int out = p.access(p.operand(DType::f32, y, true), {});
    p.store(out, p.kernel.body.reduce(ScalarOp::reduce_sum, p.load(in), ir::kRowTree));
    p.run();
    EXPECT_EQ(y[0], tree_sum(x, 64, 1024)) << n;
  }
  // The order matters for these numbers, else the test above says nothing.
  const std::vector<float> x = rough_numbers(2500);
  EXPECT_NE(tree_sum(x, 64, 1024), tree_sum(x, 1, 1024));
  EXPECT_NE(tree_sum(x, 64, 1024), tree_sum(x, 64, 4096));
}

TEST(Interpret, EmptyRowsGiveIdentities) {
  std::vector<float> x;
  std::vector<float> high(2), low(2), sum(2, 5);
  Problem p(KernelForm::rows, {2}, 0);
  const Expr v = p.load(p.access(p.operand(DType::f32, x), {0}, 1));
  const auto reduce = [&](ScalarOp op, std::vector<float>& to) {
    p.store(p.access(p.operand(DType::f32, to, true), {1}),
            p.kernel.body.reduce(op, v, ir::kRowTree));
  };
  reduce(ScalarOp::reduce_max, high);
  reduce(ScalarOp::reduce_min, low);
  reduce(ScalarOp::reduce_sum, sum);
  p.run();
  for (int r = 0; r < 2; ++r) {
    EXPECT_EQ(high[r], -std::numeric_limits<float>::infinity());
    EXPECT_EQ(low[r], std::numeric_limits<float>::infinity());
    EXPECT_EQ(std::bit_cast<uint32_t>(sum[r]), 0u);
  }
}

TEST(Interpret, IntegerReductions) {
  std::vector<int32_t> x = {3, -7, 5};
  std::vector<int32_t> out(3);
  std::vector<int64_t> empty(1), nothing;
  Problem p(KernelForm::rows, {}, 3);
  const Expr v = p.load(p.access(p.operand(DType::i32, x), {}, 1));
  const int y = p.operand(DType::i32, out, true);
  int place = 0;
  for (const ScalarOp op : {ScalarOp::reduce_sum, ScalarOp::reduce_max, ScalarOp::reduce_min})
    p.store(p.access(y, {}, 0, place++), p.kernel.body.reduce(op, v, ir::kRowTree));
  p.run();
  EXPECT_EQ(out, (std::vector<int32_t>{1, 5, -7}));

  Problem q(KernelForm::rows, {}, 0);
  const Expr w = q.load(q.access(q.operand(DType::i64, nothing), {}, 1));
  q.store(q.access(q.operand(DType::i64, empty, true), {}),
          q.kernel.body.reduce(ScalarOp::reduce_max, w, ir::kRowTree));
  q.run();
  EXPECT_EQ(empty[0], std::numeric_limits<int64_t>::min());
}

// mean and variance: the second reduction's argument depends on the first.
TEST(Interpret, NestedRowReductions) {
  constexpr int kColumns = 100;
  std::vector<float> x = rough_numbers(2 * kColumns), y(2);
  Problem p(KernelForm::rows, {2}, kColumns);
  const Expr v = p.load(p.access(p.operand(DType::f32, x), {kColumns}, 1));
  const auto sum = [&](Expr e) {
    return p.kernel.body.reduce(ScalarOp::reduce_sum, e, ir::kRowTree);
  };
  const Expr d = v - sum(v) / kColumns;
  p.store(p.access(p.operand(DType::f32, y, true), {1}), sum(d * d) / kColumns);
  p.run();
  for (int r = 0; r < 2; ++r) {
    double mean = 0, variance = 0;
    for (int c = 0; c < kColumns; ++c) mean += x[r * kColumns + c] / double{kColumns};
    for (int c = 0; c < kColumns; ++c)
      variance += std::pow(x[r * kColumns + c] - mean, 2) / kColumns;
    EXPECT_NEAR(y[r] / variance, 1, 1e-6);
  }
}

// A reduced value that does not vary over the row still counts once per column.
TEST(Interpret, SumOfAConstant) {
  std::vector<float> y(1);
  Problem p(KernelForm::rows, {}, 7);
  p.store(p.access(p.operand(DType::f32, y, true), {}),
          p.kernel.body.reduce(ScalarOp::reduce_sum, p.kernel.body.constant(DType::f32, 0.5),
                               ir::kRowTree));
  p.run();
  EXPECT_EQ(y[0], 3.5f);
}

// x[2, n, 3] summed over n, in one go and by chunks with a finishing kernel.
TEST(Interpret, ColumnSums) {
  for (const int64_t n : {0, 1, 63, 64, 65, 200, 449}) {
    constexpr int64_t kBatch = 2, kColumns = 3;
    std::vector<float> x = rough_numbers(kBatch * n * kColumns), y(kBatch * kColumns, -1);
    const auto column = [&](int64_t b, int64_t c) {
      std::vector<float> values;
      for (int64_t i = 0; i < n; ++i) values.push_back(x[(b * n + i) * kColumns + c]);
      return values;
    };
    Problem p(KernelForm::columns, {kBatch, n}, kColumns);
    const Expr v = p.load(p.access(p.operand(DType::f32, x), {n * kColumns, kColumns}, 1));
    const int out = p.access(p.operand(DType::f32, y, true), {kColumns, 12345}, 1);
    p.store(out, p.kernel.body.reduce(ScalarOp::reduce_sum, v, ir::kColumnTree) * 2.0);
    p.run();
    for (int64_t b = 0; b < kBatch; ++b)
      for (int64_t c = 0; c < kColumns; ++c)
        EXPECT_EQ(y[b * kColumns + c], 2 * tree_sum(column(b, c), 1, 64)) << n;

    const int64_t chunks = (n + 63) / 64;
    if (chunks < 2) continue;
    std::vector<float> partial(kBatch * chunks * kColumns, NAN), z(kBatch * kColumns);
    Problem first(KernelForm::columns, {kBatch, n}, kColumns);
    first.launch.chunks = chunks;
    const Expr w =
        first.load(first.access(first.operand(DType::f32, x), {n * kColumns, kColumns}, 1));
    first.store(
        first.access(first.operand(DType::f32, partial, true), {chunks * kColumns, kColumns}, 1),
        first.kernel.body.reduce(ScalarOp::reduce_sum, w, ir::kColumnTree));
    first.run();
    Problem second(KernelForm::columns, {kBatch, chunks}, kColumns);
    const Expr u = second.load(
        second.access(second.operand(DType::f32, partial), {chunks * kColumns, kColumns}, 1));
    second.store(second.access(second.operand(DType::f32, z, true), {kColumns, 0}, 1),
                 second.kernel.body.reduce(ScalarOp::reduce_sum, u, ir::kPairwiseTree) * 2.0);
    second.run();
    EXPECT_EQ(z, y) << n;
  }
}

TEST(Interpret, ColumnsMayBeScaledByWhatDoesNotVary) {
  std::vector<float> x = {1, 2, 3, 4, 5, 6}, scale = {10, 100}, y(2);
  Problem p(KernelForm::columns, {3}, 2);
  const Expr v = p.load(p.access(p.operand(DType::f32, x), {2}, 1));
  const Expr s = p.load(p.access(p.operand(DType::f32, scale), {0}, 1));
  p.store(p.access(p.operand(DType::f32, y, true), {0}, 1),
          s * p.kernel.body.reduce(ScalarOp::reduce_max, v, ir::kColumnTree));
  p.run();
  EXPECT_EQ(y, (std::vector<float>{50, 600}));
}

TEST(Interpret, EmbeddingGather) {
  std::vector<uint16_t> table;
  for (int i = 0; i < 12; ++i) table.push_back(to_bf16(static_cast<float>(i)));
  std::vector<int64_t> tokens = {2, 0, 3, 3};
  std::vector<float> y(16, -1);
  Problem p(KernelForm::rows, {4}, 3);
  const int rows = p.access(p.operand(DType::bf16, table), {0}, 1);
  const int ids = p.access(p.operand(DType::i64, tokens), {1});
  const int out = p.access(p.operand(DType::f32, y, true), {4}, 1);
  p.gather(rows, p.load(ids), 3, 4);
  p.store(out, p.load(rows));
  p.run();
  EXPECT_EQ(y, (std::vector<float>{6, 7, 8, -1, 0, 1, 2, -1, 9, 10, 11, -1, 9, 10, 11, -1}));

  KernelFault fault;
  p.run(Precision::exact, &fault);
  EXPECT_EQ(fault.flagged, 0);
  tokens[1] = 4;
  tokens[2] = -1;
  p.run(Precision::exact, &fault);
  EXPECT_EQ(fault.flagged, 1);
  EXPECT_EQ(fault.access, rows);
  EXPECT_EQ(fault.value, 4);
  EXPECT_EQ(y[5], 0);  // the load gives zero
  EXPECT_THROW(p.run(), Error);
}

TEST(Interpret, ScatterAddInOrder) {
  std::vector<int32_t> to = {1, 0, 1, 2, 1, 1};
  std::vector<float> x = {0x1p24f, 5, 1, 7, 1, -0x1p24f};
  std::vector<float> y(6);
  Problem p(KernelForm::scatter, {6}, 2);
  const Expr index = convert(p.load(p.access(p.operand(DType::i32, to), {1})), DType::i64);
  const Expr v = p.load(p.access(p.operand(DType::f32, x), {1}));
  const int out = p.access(p.operand(DType::f32, y, true), {0}, 1);
  p.gather(out, index, 2, 3);
  p.store(out, v, StoreMode::add);
  p.run();
  // ((2^24 + 1) + 1) - 2^24 loses both ones; any other order would keep something.
  EXPECT_EQ(y, (std::vector<float>{5, 5, 0, 0, 7, 7}));

  p.kernel.stores[0].mode = StoreMode::set;
  p.run();
  EXPECT_EQ(y, (std::vector<float>{5, 5, -0x1p24f, -0x1p24f, 7, 7}));

  KernelFault fault;
  to[1] = 3;
  y.assign(6, 0);
  p.kernel.stores[0].mode = StoreMode::add;
  p.run(Precision::exact, &fault);
  EXPECT_EQ(fault.flagged, 1);
  EXPECT_EQ(fault.access, out);
  EXPECT_EQ(fault.value, 3);
  EXPECT_EQ(y, (std::vector<float>{0, 0, 0, 0, 7, 7}));  // that store is left out
}

TEST(Interpret, ScatterAddRoundsEachSum) {
  std::vector<int64_t> to(4, 0);
  std::vector<uint16_t> y = {to_bf16(256)};  // 257 is no bf16: each sum is rounded back to 256
  Problem p(KernelForm::scatter, {4}, 1);
  const int out = p.access(p.operand(DType::bf16, y, true), {0});
  p.gather(out, p.load(p.access(p.operand(DType::i64, to), {1})), 1, 1);
  p.store(out, p.kernel.body.constant(DType::f32, 1), StoreMode::add);
  p.run();
  EXPECT_EQ(from_bf16(y[0]), 256);
}

TEST(Interpret, ScatterWithAnIndexPerColumn) {
  std::vector<int64_t> to = {2, 0, 2, 1};
  std::vector<float> x = {1, 2, 4, 8}, y(3);
  Problem p(KernelForm::scatter, {2}, 2);
  const int out = p.access(p.operand(DType::f32, y, true), {0});
  p.gather(out, p.load(p.access(p.operand(DType::i64, to), {2}, 1)), 1, 3);
  p.store(out, p.load(p.access(p.operand(DType::f32, x), {2}, 1)), StoreMode::add);
  p.run();
  EXPECT_EQ(y, (std::vector<float>{2, 8, 5}));
}

// x[2, 3] padded by one row above, two columns on the left and one on the right; stores are guarded
// too.
TEST(Interpret, PaddingGuards) {
  std::vector<float> x = {1, 2, 3, 4, 5, 6}, y(4 * 6, -1);
  Problem p(KernelForm::rows, {4}, 6);
  const int in = p.access(p.operand(DType::f32, x), {3}, 1, -3 - 2);
  p.guard(in, 0, 1, 3);
  p.guard(in, 1, 2, 5);
  const int out = p.access(p.operand(DType::f32, y, true), {6}, 1);
  p.guard(out, 0, 0, 3);
  const Expr padding = p.param(DType::f32, std::bit_cast<uint32_t>(9.0f));
  p.store(out, p.kernel.body.load(DType::f32, in, padding.id));
  p.run();
  EXPECT_EQ(y, (std::vector<float>{9,  9,  9,  9,  9,  9,  //
                                   9,  9,  1,  2,  3,  9,  //
                                   9,  9,  4,  5,  6,  9,  //
                                   -1, -1, -1, -1, -1, -1}));
}

TEST(Interpret, GuardedGatherChecksNoIndexOutside) {
  std::vector<int64_t> ids = {1, 77};
  std::vector<float> table = {3, 4}, y(2);
  Problem p(KernelForm::rows, {2}, 1);
  const int in = p.access(p.operand(DType::f32, table), {0});
  p.gather(in, p.load(p.access(p.operand(DType::i64, ids), {1})), 1, 2);
  p.guard(in, 0, 0, 1);
  p.store(p.access(p.operand(DType::f32, y, true), {1}, 1),
          p.kernel.body.load(DType::f32, in, p.kernel.body.constant(DType::f32, -1).id));
  p.run();
  EXPECT_EQ(y, (std::vector<float>{4, -1}));
}

TEST(Interpret, AffineAccesses) {
  std::vector<int32_t> x = {0, 1, 2, 3, 4, 5}, y(6);
  Problem p(KernelForm::rows, {3}, 2);
  const int in = p.access(p.operand(DType::i32, x), {-2}, -1, 5);  // backwards
  const int at = p.access(-1, {100}, 10, 1000);
  const int out = p.access(p.operand(DType::i32, y, true), {1}, 3);  // transposed
  p.store(out, p.load(in) + convert(p.kernel.body.index(at), DType::i32));
  p.run();
  EXPECT_EQ(y, (std::vector<int32_t>{1005, 1103, 1201, 1014, 1112, 1210}));
}

template <typename T>
void expect_copied(DType dtype, std::vector<T> x, std::vector<T> expected) {
  std::vector<T> y(x.size(), T(99));
  Problem p(KernelForm::rows, {}, static_cast<int64_t>(x.size()));
  const int in = p.access(p.operand(dtype, x), {}, 1);
  const int out = p.access(p.operand(dtype, y, true), {}, 1);
  p.store(out, p.load(in));
  p.run();
  EXPECT_EQ(y, expected) << name(dtype);
}
template <typename T>
void expect_copied(DType dtype, std::vector<T> x) {
  expect_copied(dtype, x, x);
}

TEST(Interpret, EveryElementType) {
  expect_copied<float>(DType::f32, {0.1f, -0x1p-149f, INFINITY});
  expect_copied<double>(DType::f64, {0.1, -0x1p-1074});
  expect_copied<int64_t>(DType::i64, {std::numeric_limits<int64_t>::min(), 1});
  expect_copied<int32_t>(DType::i32, {-5, 1 << 30});
  expect_copied<uint8_t>(DType::u8, {0, 255, 128});
  expect_copied<uint8_t>(DType::boolean, {0, 1, 2}, {0, 1, 1});
  expect_copied<uint8_t>(DType::f8_e4m3, {0x01, 0x80, 0x7e, 0xfe});
  expect_copied<uint8_t>(DType::f8_e5m2, {0x01, 0x80, 0x7b, 0xfc});
  expect_copied<uint16_t>(DType::f16, {0x0001, 0x8000, 0x7bff, 0x7c00});
  // bf16 subnormals are read as they are, and flushed where they are written.
  expect_copied<uint16_t>(DType::bf16, {0x0080, 0x007f, 0x8001, 0x7f80},
                          {0x0080, 0, 0x8000, 0x7f80});
}

TEST(Interpret, StoresRoundToTheOperandsType) {
  std::vector<uint16_t> bf16(1), f16(1);
  std::vector<uint8_t> u8(1);
  Problem p(KernelForm::rows, {}, 1);
  const Expr x = p.param(DType::f32, std::bit_cast<uint32_t>(0.1f)), i = p.param(DType::i32, -1);
  p.store(p.access(p.operand(DType::bf16, bf16, true), {}), x);
  p.store(p.access(p.operand(DType::f16, f16, true), {}), x);
  p.store(p.access(p.operand(DType::u8, u8, true), {}), i);
  p.run();
  EXPECT_EQ(bf16[0], 0x3dcd);
  EXPECT_EQ(f16[0], 0x2e66);
  EXPECT_EQ(u8[0], 255);
}

TEST(Interpret, ParametersOfEveryType) {
  std::vector<double> y(5);
  Problem p(KernelForm::rows, {}, 1);
  const int out = p.operand(DType::f64, y, true);
  const std::vector<std::pair<DType, int64_t>> params = {
      {DType::f32, std::bit_cast<uint32_t>(-1.5f)},
      {DType::f64, std::bit_cast<int64_t>(2.5)},
      {DType::i64, -3},
      {DType::i32, 0xffffffff},
      {DType::boolean, 1}};
  for (size_t k = 0; k < params.size(); ++k)
    p.store(p.access(out, {}, 0, static_cast<int64_t>(k)),
            convert(p.param(params[k].first, params[k].second), DType::f64));
  p.run();
  EXPECT_EQ(y, (std::vector<double>{-1.5, 2.5, -3, -1, 1}));
}

TEST(Kernel, Text) {
  std::vector<int64_t> ids(1);
  std::vector<float> x(1), y(1);
  Problem p(KernelForm::scatter, {2}, 3);
  const int at = p.access(p.operand(DType::i64, ids), {1});
  const int in = p.access(p.operand(DType::f32, x), {3}, 2);
  p.guard(in, 0, 0, 1);
  p.guard(in, 1, 0, 2);
  const int out = p.access(p.operand(DType::f32, y, true), {0}, 1);
  p.access(-1, {1}, 1);
  p.gather(out, p.load(at), 1, 1);
  const Expr padding = p.param(DType::f32, 0);
  p.store(out, p.kernel.body.load(DType::f32, in, padding.id), StoreMode::add);
  EXPECT_EQ(to_string(p.kernel),
            "kernel scatter, outer rank 1\n"
            "operand 0: i64\n"
            "operand 1: f32\n"
            "operand 2: f32 written\n"
            "param @0: f32\n"
            "access @0: operand 0, inner stride 0\n"
            "access @1: operand 1, inner stride any, guard o0, guard c\n"
            "access @2: operand 2, inner stride 1, gathered by %0\n"
            "access @3: index, inner stride 1\n"
            "%0 = i64 load @0\n"
            "%1 = f32 param @0\n"
            "%2 = f32 load %1 @1\n"
            "store %2 @2 add\n");
}

TEST(Interpret, DeadNodesAreNotEvaluated) {
  std::vector<float> x(1, 1), y(4);
  Problem p(KernelForm::rows, {}, 4);
  const int in = p.access(p.operand(DType::f32, x), {}, 1 << 30);
  p.load(in);  // would read far outside
  p.store(p.access(p.operand(DType::f32, y, true), {}, 1), p.kernel.body.constant(DType::f32, 2));
  p.run();
  EXPECT_EQ(y, std::vector<float>(4, 2));
}

TEST(Interpret, RefusesIllFormedKernels) {
  std::vector<float> x(4), y(4);
  {  // a value of every c to one place
    Problem p(KernelForm::rows, {}, 4);
    const int in = p.access(p.operand(DType::f32, x), {}, 1);
    p.store(p.access(p.operand(DType::f32, y, true), {}), p.load(in));
    EXPECT_THROW(p.run(), Error);
  }
  {  // a store of what is not reduced
    Problem p(KernelForm::columns, {2}, 2);
    const int in = p.access(p.operand(DType::f32, x), {2}, 1);
    p.store(p.access(p.operand(DType::f32, y, true), {0}, 1), p.load(in));
    EXPECT_THROW(p.run(), Error);
  }
  {  // an operand that is not written
    Problem p(KernelForm::rows, {}, 4);
    p.store(p.access(p.operand(DType::f32, y), {}, 1), p.kernel.body.constant(DType::f32, 1));
    EXPECT_THROW(p.run(), Error);
  }
  {  // a guarded load without a value for the outside
    Problem p(KernelForm::rows, {}, 4);
    const int in = p.access(p.operand(DType::f32, x), {}, 1);
    p.guard(in, 0, 0, 2);
    p.store(p.access(p.operand(DType::f32, y, true), {}, 1), p.load(in));
    EXPECT_THROW(p.run(), Error);
  }
  {  // an add outside the scatter form
    Problem p(KernelForm::rows, {}, 4);
    const int in = p.access(p.operand(DType::f32, x), {}, 1);
    p.store(p.access(p.operand(DType::f32, y, true), {}, 1), p.load(in), StoreMode::add);
    EXPECT_THROW(p.run(), Error);
  }
}

}  // namespace
}  // namespace corten
