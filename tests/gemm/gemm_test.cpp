// Values of matrix products against a double-precision reference.
#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "corten/error.h"
#include "gemm/peak.h"
#include "product.h"

namespace corten {
namespace {

using test::Guarded;
using test::isas;
using test::Layout;
using test::Matrix;
using test::Product;

constexpr Layout kLayouts[] = {Layout::rows, Layout::columns, Layout::spread};

// Relative error of one rounding to the dtype.
double unit(DType dtype) {
  switch (dtype) {
    case DType::bf16: return 0x1p-8;
    case DType::f16: return 0x1p-11;
    case DType::f32: return 0x1p-24;
    default: return 0x1p-53;
  }
}

// A chain of k roundings is off by at most k units of the sum of absolute products (Higham,
// Accuracy and Stability of Numerical Algorithms, 3.1); then one rounding to C's dtype, of which f16's
// subnormals are 2^-24 apart.
void expect_close(Product& p, const std::string& what) {
  const DType chain = p.c.dtype == DType::f64 ? DType::f64 : DType::f32;
  for (int64_t b = 0; b < p.args.batch[2]; ++b)
    for (int64_t i = 0; i < p.args.m; ++i)
      for (int64_t j = 0; j < p.args.n; ++j) {
        double sum, magnitude;
        p.reference(b, i, j, &sum, &magnitude);
        const double bound = static_cast<double>(p.args.k + 1) * unit(chain) * magnitude +
                             unit(p.c.dtype) * (std::fabs(sum) + 1e-6) +
                             (p.c.dtype == DType::f16 ? 0x1p-25 : 1e-37);
        const double got = p.c.at(b, i, j);
        ASSERT_LE(std::fabs(got - sum), bound)
            << what << ": " << p.text() << " at " << b << "," << i << "," << j << ": " << got
            << " instead of " << sum;
      }
}

TEST(Gemm, SmallShapesInEveryLayoutAndDtype) {
  ThreadPool pool(2);
  std::mt19937 rng(7);
  struct Types { DType a, b, c; };
  const Types types[] = {{DType::f32, DType::f32, DType::f32},   {DType::bf16, DType::bf16, DType::f32},
                         {DType::bf16, DType::bf16, DType::bf16}, {DType::bf16, DType::f32, DType::f32},
                         {DType::f16, DType::f16, DType::f16},   {DType::f32, DType::bf16, DType::bf16},
                         {DType::bf16, DType::bf16, DType::f16}, {DType::f64, DType::f64, DType::f64}};
  const auto size = [&](int most) { return static_cast<int64_t>(rng() % static_cast<unsigned>(most)) + 1; };
  for (Isa isa : isas())
    for (const Types& t : types)
      for (Layout la : kLayouts)
        for (Layout lb : kLayouts)
          for (int round = 0; round < 6; ++round) {
            const int64_t most = round < 3 ? 20 : 100;
            Product p(round % 3 + 1, size(most), size(most), size(most), t.a, t.b, t.c, la, lb, rng(),
                      round % 2 * 3);
            ASSERT_TRUE(p.run(pool, isa)) << name(isa) << " wrote outside: " << p.text();
            expect_close(p, std::string(name(isa)));
            if (HasFatalFailure()) return;
          }
}

// Sizes around the edges of tiles, strips, panels and k steps of every family.
TEST(Gemm, SizesAroundBlockEdges) {
  ThreadPool pool(3);
  const int64_t shapes[][3] = {{1, 1, 1},     {6, 16, 256},   {7, 17, 257},   {14, 32, 33},
                               {15, 33, 31},  {16, 32, 32},   {17, 31, 1025}, {48, 64, 64},
                               {49, 65, 65},  {1, 513, 1030}, {47, 1, 2050},  {97, 545, 40},
                               {500, 33, 1},  {3, 1100, 70},  {390, 390, 33}, {70, 130, 1100}};
  for (Isa isa : isas())
    for (const auto& shape : shapes)
      for (DType dtype : {DType::f32, DType::bf16})
        for (Layout la : {Layout::rows, Layout::columns})
          for (Layout lb : {Layout::rows, Layout::columns}) {
            Product p(1, shape[0], shape[1], shape[2], dtype, dtype, DType::f32, la, lb, 3);
            ASSERT_TRUE(p.run(pool, isa)) << name(isa) << " wrote outside: " << p.text();
            expect_close(p, std::string(name(isa)));
            if (HasFatalFailure()) return;
          }
}

TEST(Gemm, EmptySizes) {
  ThreadPool pool(2);
  for (Isa isa : isas())
    for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const DType out = dtype == DType::f64 ? DType::f64 : DType::f32;
      for (int64_t m : {1, 5, 100}) {
        Product p(2, m, 70, 0, dtype, dtype, out, Layout::rows, Layout::rows);
        ASSERT_TRUE(p.run(pool, isa));
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < 70; ++j) {
            ASSERT_EQ(p.c.at(1, i, j), 0) << name(isa) << " " << p.text();
            ASSERT_FALSE(std::signbit(p.c.at(1, i, j)));
          }
      }
      for (auto [m, n, batch] : {std::array<int64_t, 3>{0, 3, 1}, {3, 0, 1}, {0, 0, 2}, {4, 4, 0}}) {
        Product p(batch, m, n, 5, dtype, dtype, out, Layout::rows, Layout::rows);
        ASSERT_TRUE(p.run(pool, isa));
      }
    }
}

struct Seen {
  int64_t rows, columns;
  std::vector<int> count;  // of calls per element; tiles are disjoint, so no lock is needed
};

// Checks that an epilogue sees every element once, after the bias, at its place in the whole batch.
void mark(void* context, float* tile, int64_t ld, int64_t m0, int64_t n0, int64_t mn, int64_t nn) {
  Seen& seen = *static_cast<Seen*>(context);
  for (int64_t i = 0; i < mn; ++i)
    for (int64_t j = 0; j < nn; ++j) {
      ++seen.count[static_cast<size_t>((m0 + i) * seen.columns + n0 + j)];
      tile[i * ld + j] = tile[i * ld + j] * 2 + static_cast<float>(m0 + i) + 0.5f * static_cast<float>(n0 + j);
    }
}

TEST(Gemm, EpilogueSeesEveryElementOnce) {
  ThreadPool pool(3);
  const int64_t shapes[][3] = {{1, 3, 10}, {60, 70, 33}, {130, 800, 40}, {100, 600, 1100}, {1, 2500, 64}};
  for (Isa isa : isas())
    for (const auto& s : shapes)
      for (DType dtype : {DType::f32, DType::bf16})
        for (Layout la : {Layout::rows, Layout::columns}) {
          Product plain(2, s[0], s[1], s[2], dtype, dtype, DType::f32, la, Layout::rows);
          Product p(2, s[0], s[1], s[2], dtype, dtype, DType::f32, la, Layout::rows);
          std::vector<float> bias(static_cast<size_t>(s[1]));
          for (size_t j = 0; j < bias.size(); ++j) bias[j] = static_cast<float>(j % 7);
          plain.args.bias = p.args.bias = bias.data();
          Seen seen{2 * s[0], s[1], std::vector<int>(static_cast<size_t>(2 * s[0] * s[1]))};
          p.args.epilogue = mark;
          p.args.epilogue_context = &seen;
          ASSERT_TRUE(plain.run(pool, isa));
          ASSERT_TRUE(p.run(pool, isa));
          for (int64_t b = 0; b < 2; ++b)
            for (int64_t i = 0; i < s[0]; ++i)
              for (int64_t j = 0; j < s[1]; ++j) {
                const int64_t row = b * s[0] + i;
                ASSERT_EQ(seen.count[static_cast<size_t>(row * s[1] + j)], 1) << p.text();
                const float x = static_cast<float>(plain.c.at(b, i, j));
                const float want = x * 2 + static_cast<float>(row) + 0.5f * static_cast<float>(j);
                ASSERT_EQ(static_cast<float>(p.c.at(b, i, j)), want) << name(isa) << " " << p.text();
              }
        }
}

// Tiles hold what C would, bias and rounding included, each element once, whether C is stored or not.
struct Taken {
  std::vector<char> bytes;
  std::vector<std::atomic<int>> times;
  int64_t n, size, ld;  // ld: elements
  Taken(int64_t elements, int64_t columns, DType dtype, int64_t stride)
      : bytes(static_cast<size_t>(elements) * size_of(dtype)), times(static_cast<size_t>(elements)), n(columns),
        size(static_cast<int64_t>(size_of(dtype))), ld(stride) {}
  static void take(void* context, const void* c, int64_t m0, int64_t n0, int64_t mn, int64_t nn) {
    Taken& t = *static_cast<Taken*>(context);
    for (int64_t i = 0; i < mn; ++i) {
      const int64_t at = (m0 + i) * t.n + n0;
      std::memcpy(t.bytes.data() + at * t.size, static_cast<const char*>(c) + i * t.ld * t.size, static_cast<size_t>(nn * t.size));
      for (int64_t j = 0; j < nn; ++j) ++t.times[static_cast<size_t>(at + j)];
    }
  }
};

TEST(Gemm, ConsumersTakeTheTilesOfC) {
  ThreadPool pool(2);
  const int64_t shapes[][3] = {{1, 700, 40}, {50, 77, 300}, {300, 1000, 64}, {130, 900, 1300}, {600, 530, 96}};
  for (Isa isa : isas())
    for (DType in : {DType::f32, DType::bf16})
      for (DType out : {DType::f32, DType::bf16, DType::f16})
        for (Layout layout : {Layout::rows, Layout::columns})
          for (const auto& s : shapes) {
            Product p(2, s[0], s[1], s[2], in, in, out, layout, Layout::rows, 7);
            std::vector<float> bias(static_cast<size_t>(s[1]));
            for (size_t j = 0; j < bias.size(); ++j) bias[j] = 0.25f * static_cast<float>(j % 9);
            if (s[0] % 100) p.args.bias = bias.data();
            ASSERT_TRUE(p.run(pool, isa));
            const std::vector<char> want(static_cast<const char*>(p.c.bytes.data()),
                                         static_cast<const char*>(p.c.bytes.data()) + p.c.bytes.size());
            for (bool stored : {true, false}) {
              std::memset(p.c.bytes.data(), 0xee, p.c.bytes.size());
              GemmArgs g = p.bound();
              g.consumer = Taken::take;
              Taken taken(2 * s[0] * s[1], s[1], out, stored ? g.c_row_stride : gemm_tile_stride(g, isa));
              g.consumer_context = &taken;
              if (!stored) g.c = nullptr;
              Guarded workspace(gemm_workspace_bytes(g, pool.num_threads(), isa), 0xff);
              gemm(g, workspace.data(), pool, isa);
              ASSERT_TRUE(workspace.intact() && p.c.bytes.intact()) << p.text();
              ASSERT_EQ(std::memcmp(taken.bytes.data(), want.data(), want.size()), 0) << name(isa) << " " << p.text() << " " << stored;
              if (stored) {
                ASSERT_EQ(std::memcmp(p.c.bytes.data(), want.data(), want.size()), 0) << p.text();
              }
              for (auto& times : taken.times) ASSERT_EQ(times, 1) << p.text();
            }
          }
}

// Attention's shape: batch and heads as two dimensions of a strided view, with heads interleaved in
// the rows, and keys shared by groups of heads.
TEST(Gemm, ThreeBatchDimensionsWithBroadcast) {
  constexpr int64_t kBatch = 2, kGroups = 3, kHeads = 2, kRows = 21, kDepth = 18, kKeys = 35;
  ThreadPool pool(2);
  std::mt19937 rng(5);
  for (Isa isa : isas())
    for (DType dtype : {DType::f32, DType::bf16}) {
      const int64_t width = kGroups * kHeads * kDepth, key_width = kGroups * kDepth;
      Matrix q = Matrix::make(kBatch, kRows, width, dtype, Layout::rows, 0, rng);
      Matrix key = Matrix::make(kBatch, kKeys, key_width, dtype, Layout::rows, 0, rng);
      Matrix c = Matrix::make(kBatch * kGroups * kHeads, kRows, kKeys, DType::f32, Layout::rows, 0, rng, false);
      GemmArgs g;
      g.m = kRows, g.n = kKeys, g.k = kDepth;
      g.a = q.bytes.data(), g.b = key.bytes.data(), g.c = c.bytes.data();
      g.a_dtype = g.b_dtype = dtype;
      g.a_row_stride = width, g.a_col_stride = 1;
      g.b_row_stride = 1, g.b_col_stride = key_width;  // transposed
      g.c_row_stride = kKeys;
      const int64_t batch[3] = {kBatch, kGroups, kHeads};
      const int64_t as[3] = {q.batch_stride, kHeads * kDepth, kDepth};
      const int64_t bs[3] = {key.batch_stride, kDepth, 0};
      const int64_t cs[3] = {kGroups * kHeads * c.batch_stride, kHeads * c.batch_stride, c.batch_stride};
      for (int d = 0; d < 3; ++d) {
        g.batch[d] = batch[d];
        g.a_batch_stride[d] = as[d], g.b_batch_stride[d] = bs[d], g.c_batch_stride[d] = cs[d];
      }
      Guarded workspace(gemm_workspace_bytes(g, pool.num_threads(), isa), 0xff);
      gemm(g, workspace.data(), pool, isa);
      ASSERT_TRUE(workspace.intact() && c.bytes.intact());
      for (int64_t b = 0; b < kBatch; ++b)
        for (int64_t h = 0; h < kGroups * kHeads; ++h)
          for (int64_t i = 0; i < kRows; ++i)
            for (int64_t j = 0; j < kKeys; ++j) {
              double sum = 0;
              for (int64_t d = 0; d < kDepth; ++d)
                sum += q.at(b, i, h * kDepth + d) * key.at(b, j, h / kHeads * kDepth + d);
              ASSERT_NEAR(c.at(b * kGroups * kHeads + h, i, j), sum, 1e-5) << name(isa);
            }
    }
}

// C larger than the caches is written past them, with rows that start anywhere in a cache line.
TEST(Gemm, LargeResultsAreWrittenWhole) {
  ThreadPool pool(2);
  for (Isa isa : isas())
    for (DType out : {DType::f32, DType::bf16})
      for (int64_t n : {4096, 4099}) {
        const int64_t m = static_cast<int64_t>(cpu_info().l2_bytes) * 5 / n / static_cast<int64_t>(size_of(out));
        Product p(1, m, n, 2, DType::bf16, DType::bf16, out, Layout::rows, Layout::rows);
        for (int64_t i = 0; i < m; ++i) p.a.set(0, i, 0, static_cast<double>(i % 16)), p.a.set(0, i, 1, 1);
        for (int64_t j = 0; j < n; ++j) p.b.set(0, 0, j, static_cast<double>(j % 8)), p.b.set(0, 1, j, 1);
        ASSERT_TRUE(p.run(pool, isa));
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j)
            ASSERT_EQ(p.c.at(0, i, j), static_cast<double>((i % 16) * (j % 8) + 1)) << name(isa) << " " << i << "," << j;
      }
}

// Workspace is part of a program's arena: bounded for any product, and small for small ones.
TEST(Gemm, WorkspaceIsSmall) {
  const int64_t shapes[][3] = {{4096, 2304, 768}, {1024, 768, 50257}, {768, 50257, 4096}, {1, 50257, 768},
                               {100000, 100000, 100000}};
  for (Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512bf16, Isa::amx})
    for (DType dtype : {DType::f32, DType::bf16})
      for (bool turned : {false, true}) {
        GemmArgs g;
        g.a_dtype = g.b_dtype = dtype;
        const auto bytes = [&](int64_t m, int64_t n, int64_t k) {
          g.m = m, g.n = n, g.k = k;
          g.a_row_stride = turned ? 1 : k, g.a_col_stride = turned ? m : 1;
          g.b_row_stride = g.c_row_stride = n;
          return gemm_workspace_bytes(g, 1, isa);
        };
        const size_t most = isa == Isa::amx && dtype == DType::bf16 ? 5 << 20 : 7 << 19;
        for (const auto& s : shapes)
          EXPECT_LE(bytes(s[0], s[1], s[2]), most) << name(isa) << " " << name(dtype) << " " << s[0];
        EXPECT_LE(bytes(64, 64, 64), 64u << 10) << name(isa) << " " << name(dtype);
        EXPECT_EQ(gemm_workspace_bytes(g, 3, isa), 3 * gemm_workspace_bytes(g, 1, isa));
      }
}

TEST(Gemm, UnsupportedArgumentsAreUsageErrors) {
  ThreadPool pool(1);
  const auto expect_usage = [&](GemmArgs g, const char* part) {
    try {
      gemm_workspace_bytes(g, 1);
      FAIL() << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
    EXPECT_THROW(gemm(g, nullptr, pool), Error);
  };
  GemmArgs g;
  g.m = 2, g.n = 3, g.k = -4;
  expect_usage(g, "-4");
  g.k = 4;
  g.a_dtype = DType::f64;
  expect_usage(g, "f64");
  g.a_dtype = DType::i32;
  expect_usage(g, "i32");
  g.a_dtype = DType::f32;
  g.c_dtype = DType::bf16;
  g.accumulate = true;
  expect_usage(g, "accumulate into bf16");
  g.accumulate = false;
  g.b_dtype = DType::f16;
  g.b_as_bf16 = true;
  expect_usage(g, "only f32 operands are rounded to bf16");
  g.b_as_bf16 = false;
  g.epilogue = mark;
  g.a_dtype = g.b_dtype = g.c_dtype = DType::f64;
  expect_usage(g, "epilogue");
}

TEST(Gemm, PeakIsPlausible) {
  for (Isa isa : isas())
    for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const double rate = measure_peak_flops(dtype, 1, 0.02, isa);
      EXPECT_GT(rate, 1e8) << name(isa) << " " << name(dtype);
      EXPECT_LT(rate, 1e14) << name(isa) << " " << name(dtype);
    }
  EXPECT_THROW(measure_peak_flops(DType::i32, 1, 0.01), Error);
  EXPECT_THROW(measure_peak_flops(DType::f32, 0, 0.01), Error);
}

}  // namespace
}  // namespace corten
