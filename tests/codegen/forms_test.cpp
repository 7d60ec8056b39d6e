// Kernels of all forms, written by hand, with expected values that share no code with the
// interpreter.
#include <gtest/gtest.h>

#include <cmath>

#include "codegen/harness.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

std::vector<float> counting(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 97) - 31;
  return x;
}

TEST(Columns, SumOfRows) {
  for (const int64_t rows : {0, 1, 3, 64, 65, 130, 1000})
    for (const int64_t n : {1, 17, 64, 1024, 1030}) {
      Problem p;
      p.kernel.form = KernelForm::columns;
      p.kernel.outer_rank = 1;
      p.kernel.operands = {{DType::f32, false}, {DType::f32, true}};
      p.kernel.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
      Body& b = p.kernel.body;
      p.kernel.stores = {
          {1, (b.reduce(ScalarOp::reduce_sum, b.load(DType::f32, 0), kColumnTree) * 2.0).id}};
      p.launch.outer[0] = rows;
      p.launch.inner = n;
      p.launch.accesses.resize(2);
      p.launch.accesses[0].strides[0] = n;
      const auto x = counting(static_cast<size_t>(rows * n));
      p.operands = {bytes_of(x), bytes_of(std::vector<float>(static_cast<size_t>(n), -1))};
      EXPECT_EQ(compare(p, 5), "") << rows << "x" << n;
      for (const Target& t : targets()) {
        const auto y = values_of<float>(run(p, t)[1]);
        for (int64_t c = 0; c < n; ++c) {
          float sum = 0;  // integers: exact in any order
          for (int64_t r = 0; r < rows; ++r) sum += x[static_cast<size_t>(r * n + c)];
          ASSERT_EQ(y[static_cast<size_t>(c)], 2 * sum) << rows << "x" << n << " column " << c;
        }
      }
    }
}

TEST(Columns, VarianceNeedsTwoStages) {
  Problem p;
  p.kernel.form = KernelForm::columns;
  p.kernel.outer_rank = 1;
  p.kernel.operands = {{DType::f32, false}, {DType::f32, true}};
  p.kernel.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  Body& b = p.kernel.body;
  const Expr x = b.load(DType::f32, 0);
  const Expr d = x - b.reduce(ScalarOp::reduce_sum, x, kColumnTree) * (1.0 / 128);
  p.kernel.stores = {{1, (b.reduce(ScalarOp::reduce_sum, d * d, kColumnTree) * (1.0 / 128)).id}};
  p.launch.outer[0] = 128;
  p.launch.inner = 100;
  p.launch.accesses.resize(2);
  p.launch.accesses[0].strides[0] = 100;
  const auto values = counting(12800);
  p.operands = {bytes_of(values), std::string(400, '\0')};
  EXPECT_EQ(compare(p, 2), "");
  for (const Target& t : targets()) {
    const auto y = values_of<float>(run(p, t)[1]);
    for (size_t c = 0; c < 100; ++c) {
      double mean = 0, variance = 0;
      for (size_t r = 0; r < 128; ++r) mean += values[r * 100 + c] / 128.0;
      for (size_t r = 0; r < 128; ++r) variance += std::pow(values[r * 100 + c] - mean, 2) / 128;
      ASSERT_NEAR(y[c], variance, 1e-3 * variance);
    }
  }
}

// A 3-tap convolution along the row with zero padding: guards.
TEST(Rows, GuardsPad) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::f8_e4m3, DType::f8_e5m2}) {
    Problem p;
    Kernel& k = p.kernel;
    k.outer_rank = 1;
    k.operands = {{dtype, false}, {dtype, true}};
    Body& b = k.body;
    const DType type = scalar_type(dtype);
    const Expr zero = b.constant(type, 0);
    Expr sum = zero;
    const int64_t n = 100;
    for (int tap = -1; tap <= 1; ++tap) {
      Access a{0, InnerStride::one};
      a.guards = 2;
      Launch::Access l;
      l.strides[0] = n;
      l.offset = tap;
      l.lo[1] = -tap;
      l.hi[1] = n - tap;
      k.accesses.push_back(a);
      p.launch.accesses.push_back(l);
      sum = sum + b.load(type, tap + 1, zero.id);
    }
    k.accesses.push_back({1, InnerStride::one});
    Launch::Access out;
    out.strides[0] = n;
    p.launch.accesses.push_back(out);
    k.stores = {{3, round_to(dtype, sum).id}};
    p.launch.outer[0] = 3;
    p.launch.inner = n;
    const size_t bytes = size_of(dtype) * 3 * static_cast<size_t>(n);
    std::string in(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i)
      in[i] = static_cast<char>(dtype == DType::u8        ? i * 7
                                : i % size_of(dtype) == 1 ? 0x3f
                                                          : i % 64);
    p.operands = {in, std::string(bytes, '\1')};
    EXPECT_EQ(compare(p, 3), "") << name(dtype);
    if (dtype != DType::u8) continue;
    for (const Target& t : targets()) {
      const auto x = values_of<uint8_t>(in), y = values_of<uint8_t>(run(p, t)[1]);
      for (size_t r = 0; r < 3; ++r)
        for (size_t c = 0; c < 100; ++c) {
          const int left = c > 0 ? x[r * 100 + c - 1] : 0, right = c < 99 ? x[r * 100 + c + 1] : 0;
          ASSERT_EQ(y[r * 100 + c], static_cast<uint8_t>(left + x[r * 100 + c] + right));
        }
    }
  }
}

// Rows of a table by index, and the gradient: rows added to a table.
struct Table {
  int64_t rows = 7, n = 70;
  std::vector<int64_t> indices{3, 0, 6, 3, 3};
};

Problem embedding(const Table& t) {
  Problem p;
  Kernel& k = p.kernel;
  k.outer_rank = 1;
  k.operands = {{DType::f32, false}, {DType::i64, false}, {DType::f32, true}};
  k.accesses = {{1, InnerStride::zero}, {0, InnerStride::one}, {2, InnerStride::one}};
  k.accesses[1].index = k.body.load(DType::i64, 0).id;
  k.stores = {{2, k.body.load(DType::f32, 1).id}};
  p.launch.outer[0] = static_cast<int64_t>(t.indices.size());
  p.launch.inner = t.n;
  p.launch.accesses.resize(3);
  p.launch.accesses[0].strides[0] = 1;
  p.launch.accesses[1].index_stride = t.n;
  p.launch.accesses[1].index_bound = t.rows;
  p.launch.accesses[2].strides[0] = t.n;
  p.operands = {bytes_of(counting(static_cast<size_t>(t.rows * t.n))), bytes_of(t.indices),
                std::string(t.indices.size() * static_cast<size_t>(t.n) * 4, '\0')};
  return p;
}

TEST(Rows, Gather) {
  const Table table;
  const Problem p = embedding(table);
  EXPECT_EQ(compare(p, 1), "");
  const auto x = counting(490);
  for (const Target& t : targets()) {
    const auto y = values_of<float>(run(p, t)[2]);
    for (size_t i = 0; i < 5; ++i)
      for (size_t c = 0; c < 70; ++c)
        ASSERT_EQ(y[i * 70 + c], x[static_cast<size_t>(table.indices[i]) * 70 + c]);
  }
}

TEST(Rows, GatherReportsTheFirstBadIndex) {
  for (const int64_t bad : {-1L, 7L, INT64_MIN, INT64_MAX}) {
    Table table;
    table.indices = {1, bad, 9, 2};
    for (const Target& t : targets()) {
      KernelFault fault;
      run(embedding(table), t, &fault);
      EXPECT_EQ(fault.flagged, 1);
      EXPECT_EQ(fault.access, 1);
      EXPECT_EQ(fault.value, bad);
    }
  }
  Table empty;
  empty.rows = 0;
  for (const Target& t : targets()) {
    KernelFault fault;
    run(embedding(empty), t, &fault);
    EXPECT_EQ(fault.flagged, 1);
  }
}

TEST(Scatter, AddsRowsInOrder) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i64}) {
    const Table table;
    Problem p;
    Kernel& k = p.kernel;
    k.form = KernelForm::scatter;
    k.outer_rank = 1;
    k.operands = {{dtype, false}, {DType::i64, false}, {dtype, true}};
    k.accesses = {{1, InnerStride::zero}, {0, InnerStride::one}, {2, InnerStride::one}};
    k.accesses[2].index = k.body.load(DType::i64, 0).id;
    k.stores = {{2, k.body.load(scalar_type(dtype), 1).id, StoreMode::add}};
    p.launch.outer[0] = 5;
    p.launch.inner = table.n;
    p.launch.accesses.resize(3);
    p.launch.accesses[0].strides[0] = 1;
    p.launch.accesses[1].strides[0] = table.n;
    p.launch.accesses[2].index_stride = table.n;
    p.launch.accesses[2].index_bound = table.rows;
    std::string in(size_of(dtype) * 350, '\0'), out(size_of(dtype) * 490, '\0');
    for (size_t i = 0; i < in.size(); ++i)
      in[i] = static_cast<char>(i % size_of(dtype) == size_of(dtype) - 1 ? 0x3e : i * 11);
    p.operands = {in, bytes_of(table.indices), out};
    EXPECT_EQ(compare(p, 4), "") << name(dtype);
    if (dtype != DType::i64) continue;
    for (const Target& t : targets()) {
      const auto x = values_of<int64_t>(in), y = values_of<int64_t>(run(p, t)[2]);
      for (size_t r = 0; r < 7; ++r)
        for (size_t c = 0; c < 70; ++c) {
          int64_t sum = 0;
          for (size_t i = 0; i < 5; ++i)
            if (table.indices[i] == static_cast<int64_t>(r)) sum += x[i * 70 + c];
          ASSERT_EQ(y[r * 70 + c], sum);
        }
    }
  }
}

// All elements of the index vector differ per column: one element after the other.
TEST(Scatter, IndexOfEveryElement) {
  Problem p;
  Kernel& k = p.kernel;
  k.form = KernelForm::scatter;
  k.operands = {{DType::i64, false}, {DType::f32, true}};
  k.accesses = {{0, InnerStride::one}, {1, InnerStride::zero}};
  k.accesses[1].index = k.body.load(DType::i64, 0).id;
  k.stores = {{1, k.body.constant(DType::f32, 1).id, StoreMode::add}};
  p.launch.inner = 1000;
  p.launch.accesses.resize(2);
  p.launch.accesses[1].index_stride = 1;
  p.launch.accesses[1].index_bound = 7;
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < 1000; ++i) indices.push_back(i * i % 7);
  p.operands = {bytes_of(indices), std::string(28, '\0')};
  EXPECT_EQ(compare(p, 4), "");
  for (const Target& t : targets()) {
    const auto y = values_of<float>(run(p, t)[1]);
    for (size_t r = 0; r < 7; ++r)
      EXPECT_EQ(y[r], static_cast<float>(
                          std::count(indices.begin(), indices.end(), static_cast<int64_t>(r))));
  }
}

TEST(Rows, InPlace) {
  Problem p;
  Kernel& k = p.kernel;
  k.outer_rank = 1;
  k.operands = {{DType::f32, false}, {DType::f32, true}};
  k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  const Expr x = k.body.load(DType::f32, 0);
  k.stores = {{1, (x - k.body.reduce(ScalarOp::reduce_sum, x, kRowTree)).id}};
  p.launch.outer[0] = 4;
  p.launch.inner = 100;
  p.launch.accesses.resize(2);
  for (auto& a : p.launch.accesses) a.strides[0] = 100;
  p.operands = {bytes_of(counting(400)), std::string(1600, '\0')};
  for (const Target& t : targets()) {
    const std::string expected = run(p, t)[1];
    std::string both = p.operands[0];
    void* pointers[] = {both.data(), both.data()};
    compile_cpu(k, t, nullptr)->run(p.launch, pointers, 0, 4, 0, 100, nullptr, nullptr);
    EXPECT_EQ(both, expected);
  }
}

TEST(Rows, StreamingStoresGiveTheSame) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::f8_e4m3})
    for (const int64_t n : {64, 100, 1000, 4096}) {
      Problem p;
      Kernel& k = p.kernel;
      k.outer_rank = 1;
      k.operands = {{dtype, false}, {dtype, true}};
      k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
      k.stores = {{1, k.body.load(scalar_type(dtype), 0).id, StoreMode::set, true}};
      p.launch.outer[0] = 3;
      p.launch.inner = n;
      p.launch.accesses.resize(2);
      for (auto& a : p.launch.accesses) a.strides[0] = n;
      std::string in(size_of(dtype) * 3 * static_cast<size_t>(n), '\0');
      for (size_t i = 0; i < in.size(); ++i)
        in[i] = static_cast<char>(i % size_of(dtype) == size_of(dtype) - 1 ? 0x3f : i * 5);
      p.operands = {in, std::string(in.size(), '\0')};
      for (uint64_t seed : {0u, 3u}) EXPECT_EQ(compare(p, seed), "") << name(dtype) << " " << n;
      EXPECT_EQ(run(p, targets().back())[1], in);
    }
}

}  // namespace
}  // namespace corten::codegen::test
