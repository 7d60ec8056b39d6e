// The numerics contract of matrix products: every element equals a scalar chain over k, to the bit,
// whatever the other sizes, layouts, blockings, batches and thread counts.
#include <gtest/gtest.h>
#include <immintrin.h>

#include <cmath>
#include <limits>

#include "product.h"

namespace corten {
namespace {

using test::Guarded;
using test::isas;
using test::Layout;
using test::Product;

// k per step of a chain.
int64_t unit(Isa isa, const Product& p) {
  if (p.a.dtype != DType::bf16 || p.b.dtype != DType::bf16 || isa < Isa::avx512bf16) return 1;
  return isa == Isa::amx ? 32 : 2;
}

float add(float a, float b) {  // not folded or reordered by the compiler
  volatile float sum = a + b;
  return sum;
}

// The chain of one element before bias and rounding.
float chain(const Product& p, Isa isa, int64_t batch, int64_t i, int64_t j) {
  const int64_t k = p.args.k;
  float acc = 0;
  if (unit(isa, p) == 1) {
    for (int64_t l = 0; l < k; ++l)
      acc = std::fma(static_cast<float>(p.a.at(batch, i, l)), static_cast<float>(p.b.at(batch, l, j)), acc);
    return acc;
  }
  const auto value = [&](const test::Matrix& m, int64_t r, int64_t c, int64_t at) {
    return at < k ? static_cast<float>(m.at(batch, r, c)) : 0.0f;
  };
  const auto step = [&](int64_t l, float sum) {
    return std::fma(value(p.a, i, l, l), value(p.b, l, j, l), sum);
  };
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040u);  // FTZ and DAZ, as both instructions
  if (unit(isa, p) == 2) {
    // VDPBF16PS (Intel SDM 2): the odd k of a pair, then the even one.
    for (int64_t l = 0; l < k; l += 2) acc = step(l, step(l + 1, acc));
  } else {
    // TDPBF16PS (Intel SDM 2): chains over the even and the odd k of a unit, their sum added to acc.
    for (int64_t first = 0; first < k; first += 32) {
      float even = 0, odd = 0;
      for (int64_t l = first; l < first + 32; l += 2) {
        even = step(l, even);
        odd = step(l + 1, odd);
      }
      acc = add(acc, add(even, odd));
    }
  }
  _mm_setcsr(saved);
  return acc;
}

uint64_t bits(const void* p, int64_t i, DType dtype) {
  uint64_t x = 0;
  std::memcpy(&x, static_cast<const char*>(p) + i * static_cast<int64_t>(size_of(dtype)), size_of(dtype));
  return x;
}

bool is_nan(const void* p, int64_t i, DType dtype) { return std::isnan(test::to_double(p, i, dtype)); }

// Compares elements of C with `expected(chain)`; `step` samples rows and columns.
template <typename Expected>
void expect_bits(const Product& p, Isa isa, Expected expected, int64_t step = 1) {
  Guarded want(8);
  for (int64_t b = 0; b < p.args.batch[2]; ++b)
    for (int64_t i = 0; i < p.args.m; i += step)
      for (int64_t j = b % step; j < p.args.n; j += step) {
        const float x = expected(chain(p, isa, b, i, j), i, j);
        test::from_double(want.data(), 0, p.c.dtype, x);
        const int64_t at = p.c.index(b, i, j);
        if (is_nan(want.data(), 0, p.c.dtype)) {
          ASSERT_TRUE(is_nan(p.c.bytes.data(), at, p.c.dtype)) << name(isa) << " " << p.text();
          continue;
        }
        ASSERT_EQ(bits(p.c.bytes.data(), at, p.c.dtype), bits(want.data(), 0, p.c.dtype))
            << name(isa) << " " << p.text() << " at " << b << "," << i << "," << j << ": "
            << p.c.at(b, i, j) << " instead of " << x;
      }
}

float same(float x, int64_t, int64_t) { return x; }

struct Types {
  DType a, b, c;
};
constexpr Types kTypes[] = {{DType::f32, DType::f32, DType::f32},   {DType::bf16, DType::bf16, DType::f32},
                            {DType::bf16, DType::bf16, DType::bf16}, {DType::f16, DType::bf16, DType::f16},
                            {DType::bf16, DType::f32, DType::bf16}};

TEST(GemmBits, ElementsAreScalarChains) {
  ThreadPool pool(2);
  std::mt19937 rng(3);
  for (Isa isa : isas())
    for (const Types& t : kTypes)
      for (Layout la : {Layout::rows, Layout::columns, Layout::spread})
        for (Layout lb : {Layout::rows, Layout::columns, Layout::spread}) {
          const int64_t m = rng() % 70 + 1, n = rng() % 70 + 1, k = rng() % 130 + 1;
          Product p(2, m, n, k, t.a, t.b, t.c, la, lb, rng(), rng() % 3);
          ASSERT_TRUE(p.run(pool, isa)) << p.text();
          expect_bits(p, isa, same);
          if (HasFatalFailure()) return;
        }
}

// f32 operands that count as bf16 give the bits of a product of their rounded copies.
TEST(GemmBits, WideOperandsAreRoundedAsTheyAreRead) {
  ThreadPool pool(2);
  std::mt19937 rng(11);
  const uint32_t odd_values[] = {0x00000001, 0x807fffff, 0x00800000, 0x80000000, 0x3f808000, 0x3f818000,
                                 0x3f808001, 0x7f7fffff, 0x477fffff, 0xc77f8000};
  const int64_t shapes[][3] = {{1, 300, 700}, {33, 90, 257}, {70, 65, 31}, {130, 900, 1100}, {600, 530, 96}, {5, 1, 64}};
  for (Isa isa : isas())
    for (const auto& s : shapes)
      for (Layout la : {Layout::rows, Layout::columns, Layout::spread})
        for (Layout lb : {Layout::rows, Layout::columns, Layout::spread})
          for (int sides : {1, 2, 3}) {  // A, B, both
            if (s[0] * s[1] > 100000 && (la == Layout::spread || lb == Layout::spread || sides == 3)) continue;
            const unsigned seed = rng();
            const int64_t padding = static_cast<int64_t>(rng() % 3);
            const DType a = sides & 1 ? DType::f32 : DType::bf16, b = sides & 2 ? DType::f32 : DType::bf16;
            Product wide(2, s[0], s[1], s[2], a, b, DType::f32, la, lb, seed, padding);
            Product narrow(2, s[0], s[1], s[2], DType::bf16, DType::bf16, DType::f32, la, lb, seed, padding);
            wide.args.a_as_bf16 = sides & 1;
            wide.args.b_as_bf16 = sides & 2;
            for (auto [from, to] : {std::pair(&wide.a, &narrow.a), std::pair(&wide.b, &narrow.b)}) {
              const auto count = static_cast<int64_t>(to->bytes.size() / 2);
              for (int64_t i = 0; i < count; ++i) {
                if (from->dtype == DType::f32 && i % 7 == 0)
                  std::memcpy(static_cast<float*>(from->bytes.data()) + i, &odd_values[rng() % std::size(odd_values)], 4);
                test::from_double(to->bytes.data(), i, DType::bf16, test::to_double(from->bytes.data(), i, from->dtype));
              }
            }
            ASSERT_TRUE(wide.run(pool, isa)) << wide.text();
            ASSERT_TRUE(narrow.run(pool, isa));
            ASSERT_EQ(std::memcmp(wide.c.bytes.data(), narrow.c.bytes.data(), narrow.c.bytes.size()), 0)
                << name(isa) << " " << wide.text() << ", sides " << sides;
          }
}

// Sizes that make every family split k, rows and columns, in both stationary modes.
TEST(GemmBits, LargeProductsAreTheSameChains) {
  ThreadPool pool(2);
  const int64_t shapes[][3] = {{130, 900, 1100}, {560, 600, 96}, {1, 3000, 2300}, {33, 90, 2500},
                               {600, 530, 1300}, {97, 800, 777}, {410, 390, 771}};
  for (Isa isa : isas())
    for (const auto& s : shapes)
      for (DType dtype : {DType::f32, DType::bf16})
        for (Layout la : {Layout::rows, Layout::columns})
          for (Layout lb : {Layout::rows, Layout::columns}) {
            Product p(1, s[0], s[1], s[2], dtype, dtype, DType::f32, la, lb, 5);
            ASSERT_TRUE(p.run(pool, isa)) << p.text();
            expect_bits(p, isa, same, s[0] * s[1] / 2000 > 0 ? 37 : 5);
            if (HasFatalFailure()) return;
          }
}

// Up to four rows of bf16 have a path of their own, which packs nothing; with batches, odd sizes and zeros of either sign.
TEST(GemmBits, FewRowsAreTheSameChains) {
  ThreadPool pool(3);
  std::mt19937 rng(17);
  for (Isa isa : isas())
    for (int64_t m = 1; m <= 5; ++m)
      for (int64_t n : {1, 15, 16, 17, 33, 130, 255, 300, 700})
        for (int64_t k : {1, 2, 31, 32, 33, 130, 257})
          for (Layout lb : {Layout::rows, Layout::columns, Layout::spread}) {
            Product p(1 + static_cast<int64_t>(rng() % 2), m, n, k, DType::bf16, DType::bf16, rng() % 2 ? DType::f32 : DType::bf16, Layout::rows, lb,
                      rng(), rng() % 3);
            for (int64_t i = 0; i < k; i += 3) p.a.set(0, 0, i, i % 2 ? 0.0 : -0.0);
            ASSERT_TRUE(p.run(pool, isa)) << p.text();
            expect_bits(p, isa, same, n * m > 100 ? 7 : 1);
            if (HasFatalFailure()) return;
          }
}

// The same matrix product cut into parts and run on other thread counts: rows one by one (decoding),
// columns in two, batches, every layout.
TEST(GemmBits, DoNotDependOnSizesLayoutsBatchesOrThreads) {
  constexpr int64_t kM = 67, kN = 203, kK = 1090;
  for (Isa isa : isas())
    for (const Types& t : kTypes) {
      Product whole(1, kM, kN, kK, t.a, t.b, t.c, Layout::rows, Layout::rows, 11);
      ThreadPool one(1);
      ASSERT_TRUE(whole.run(one, isa));
      const size_t size = size_of(t.c);
      const auto expect_equal = [&](const Product& part, int64_t batch, int64_t row, int64_t column) {
        for (int64_t i = 0; i < part.args.m; ++i) {
          const char* got = static_cast<const char*>(part.c.bytes.data()) +
                            part.c.index(batch, i, 0) * static_cast<int64_t>(size);
          const char* want = static_cast<const char*>(whole.c.bytes.data()) +
                             whole.c.index(0, row + i, column) * static_cast<int64_t>(size);
          ASSERT_EQ(std::memcmp(got, want, static_cast<size_t>(part.args.n) * size), 0)
              << name(isa) << " row " << row + i << " of " << part.text();
        }
      };
      // Part [row, row + m) x [column, column + n), in other layouts.
      const auto part = [&](int64_t row, int64_t m, int64_t column, int64_t n, Layout la, Layout lb) {
        Product p(1, m, n, kK, t.a, t.b, t.c, la, lb, 12, 1);
        for (int64_t k = 0; k < kK; ++k) {
          for (int64_t i = 0; i < m; ++i) p.a.set(0, i, k, whole.a.at(0, row + i, k));
          for (int64_t j = 0; j < n; ++j) p.b.set(0, k, j, whole.b.at(0, k, column + j));
        }
        return p;
      };
      for (int threads : {2, 3, 7}) {
        ThreadPool pool(threads);
        Product again = part(0, kM, 0, kN, Layout::rows, Layout::rows);
        ASSERT_TRUE(again.run(pool, isa));
        expect_equal(again, 0, 0, 0);
      }
      for (Layout la : {Layout::rows, Layout::columns})
        for (Layout lb : {Layout::rows, Layout::columns}) {
          Product other = part(0, kM, 0, kN, la, lb);
          ASSERT_TRUE(other.run(one, isa));
          expect_equal(other, 0, 0, 0);
          Product row = part(41, 1, 0, kN, la, lb);
          ASSERT_TRUE(row.run(one, isa));
          expect_equal(row, 0, 41, 0);
          Product half = part(5, 20, 101, kN - 101, la, lb);
          ASSERT_TRUE(half.run(one, isa));
          expect_equal(half, 0, 5, 101);
        }
      // The rows as a batch of products of one row, sharing B.
      Product batch = part(0, kM, 0, kN, Layout::rows, Layout::rows);
      batch.args.m = 1;
      batch.args.batch[2] = kM;
      batch.args.a_batch_stride[2] = batch.a.row_stride;
      batch.args.b_batch_stride[2] = 0;
      batch.args.c_batch_stride[2] = batch.c.row_stride;
      ASSERT_TRUE(batch.run(one, isa));
      batch.args.m = kM;
      expect_equal(batch, 0, 0, 0);
      if (HasFatalFailure()) return;
    }
}

TEST(GemmBits, Avx2AndAvx512Agree) {
  if (isas().size() < 2) GTEST_SKIP() << "no AVX-512 here";
  ThreadPool pool(2);
  for (const Types& t : kTypes) {
    Product p(2, 75, 150, 700, t.a, t.b, t.c, Layout::rows, Layout::columns, 4);
    ASSERT_TRUE(p.run(pool, Isa::avx2));
    const std::vector<char> first(static_cast<const char*>(p.c.bytes.data()),
                                  static_cast<const char*>(p.c.bytes.data()) + p.c.bytes.size());
    std::memset(p.c.bytes.data(), 0x77, p.c.bytes.size());
    ASSERT_TRUE(p.run(pool, Isa::avx512));
    EXPECT_EQ(std::memcmp(first.data(), p.c.bytes.data(), first.size()), 0) << p.text();
  }
}

// Chains that go on over pieces of k have the bits of one product.
TEST(GemmBits, ResumedChainsAreOneChain) {
  ThreadPool pool(3);
  for (Isa isa : isas())
    for (const auto& [dtype, sums] : {std::pair(DType::f32, DType::f32), {DType::bf16, DType::f32}, {DType::f64, DType::f64}})
      for (int64_t m : {1, 11, 77}) {
        constexpr int64_t kN = 83, kK = 700;
        Product p(1, m, kN, kK, dtype, dtype, sums, Layout::columns, Layout::rows, 8);
        ASSERT_TRUE(p.run(pool, isa));
        const std::vector<char> whole(static_cast<const char*>(p.c.bytes.data()),
                                      static_cast<const char*>(p.c.bytes.data()) + p.c.bytes.size());
        std::memset(p.c.bytes.data(), 0x77, p.c.bytes.size());
        for (int64_t k = 0; k < kK; k += 320) {
          GemmArgs g = p.bound();
          const auto size = static_cast<int64_t>(size_of(dtype));
          g.a = static_cast<const char*>(g.a) + k * g.a_col_stride * size;
          g.b = static_cast<const char*>(g.b) + k * g.b_row_stride * size;
          g.k = std::min<int64_t>(320, kK - k);
          g.resume = k > 0;
          Guarded workspace(gemm_workspace_bytes(g, pool.num_threads(), isa), 0xff);
          gemm(g, workspace.data(), pool, isa);
          ASSERT_TRUE(workspace.intact());
        }
        for (int64_t i = 0; i < m; ++i) {
          const auto at = static_cast<size_t>(i * p.args.c_row_stride) * size_of(sums);
          ASSERT_EQ(std::memcmp(whole.data() + at, static_cast<const char*>(p.c.bytes.data()) + at, kN * size_of(sums)), 0)
              << name(isa) << " " << p.text();
        }
      }
}

TEST(GemmBits, BiasAddsOnceBeforeRounding) {
  ThreadPool pool(2);
  for (Isa isa : isas())
    for (const Types& t : kTypes)
      for (int64_t n : {5, 32, 70, 200}) {
        Product p(1, 50, n, 90, t.a, t.b, t.c, Layout::rows, Layout::rows, 8);
        std::vector<float> bias(static_cast<size_t>(n));
        for (int64_t j = 0; j < n; ++j) bias[static_cast<size_t>(j)] = 0.1f * static_cast<float>(j - 3);
        p.args.bias = bias.data();
        ASSERT_TRUE(p.run(pool, isa));
        expect_bits(p, isa, [&](float x, int64_t, int64_t j) { return add(x, bias[static_cast<size_t>(j)]); });
        if (HasFatalFailure()) return;
      }
}

TEST(GemmBits, AccumulationAddsTheFinishedChain) {
  ThreadPool pool(2);
  for (Isa isa : isas())
    for (DType dtype : {DType::f32, DType::bf16})
      for (int64_t k : {0, 40, 1200}) {
        Product p(1, 60, 75, k, dtype, dtype, DType::f32, Layout::columns, Layout::rows, 8);
        for (int64_t i = 0; i < 60; ++i)
          for (int64_t j = 0; j < 75; ++j) p.c.set(0, i, j, 3.0 + static_cast<double>(i - j));
        p.args.accumulate = true;
        ASSERT_TRUE(p.run(pool, isa));
        expect_bits(p, isa, [](float x, int64_t i, int64_t j) {
          return add(3.0f + static_cast<float>(i - j), x);
        });
        if (HasFatalFailure()) return;
      }
}

TEST(GemmBits, InfinitiesNansAndSubnormals) {
  ThreadPool pool(2);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const double specials[] = {kInf, -kInf, std::nan(""), 0.0, -0.0, 0x1p-127, -0x1p-130, 0x1p-70, 0x1p-60,
                             3e38, -3e38, 1.0, 0x1.8p-126};
  std::mt19937 rng(21);
  for (Isa isa : isas())
    for (const Types& t : {Types{DType::f32, DType::f32, DType::f32}, Types{DType::f32, DType::f32, DType::bf16},
                           Types{DType::bf16, DType::bf16, DType::bf16},
                           Types{DType::bf16, DType::bf16, DType::f32},
                           Types{DType::f32, DType::f32, DType::f16}})
      for (int64_t k : {1, 3, 31, 33, 70}) {
        Product p(1, 40, 60, k, t.a, t.b, t.c, Layout::rows, Layout::columns, rng());
        // Whole rows and columns of one special value, so that products and sums of each pair occur.
        for (int64_t i = 0; i < 40; ++i)
          if (i % 3 == 0)
            for (int64_t l = 0; l < k; ++l) p.a.set(0, i, l, specials[rng() % 13] * (l % 2 ? 1 : 0.5));
        for (int64_t j = 0; j < 60; ++j)
          if (j % 3 == 0)
            for (int64_t l = 0; l < k; ++l) p.b.set(0, l, j, specials[rng() % 13]);
        ASSERT_TRUE(p.run(pool, isa));
        expect_bits(p, isa, same);
        if (HasFatalFailure()) return;
      }
}

// Results around the smallest normal number: bf16 has no subnormals, f32 and f16 do.
TEST(GemmBits, Bf16ResultsFlushSubnormals) {
  ThreadPool pool(1);
  for (Isa isa : isas()) {
    Product p(1, 8, 40, 1, DType::f32, DType::f32, DType::bf16, Layout::rows, Layout::rows);
    for (int64_t i = 0; i < 8; ++i) p.a.set(0, i, 0, i % 2 ? 1 : -1);
    for (int64_t j = 0; j < 40; ++j) p.b.set(0, 0, j, std::ldexp(1.0 + 0.01 * static_cast<double>(j), -122 - static_cast<int>(j) % 9));
    ASSERT_TRUE(p.run(pool, isa));
    for (int64_t i = 0; i < 8; ++i)
      for (int64_t j = 0; j < 40; ++j) {
        const double exact = p.a.at(0, i, 0) * p.b.at(0, 0, j), got = p.c.at(0, i, j);
        EXPECT_EQ(std::signbit(got), std::signbit(exact));
        if (std::fabs(exact) < 0x1p-126) {
          EXPECT_EQ(got, 0) << name(isa) << " " << exact;
        } else {
          EXPECT_NEAR(got, exact, 0x1p-8 * std::fabs(exact));
        }
      }
  }
}

}  // namespace
}  // namespace corten
