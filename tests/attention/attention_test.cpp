// Every family against the definition in double precision, and the contract on bits.
#include <gtest/gtest.h>

#include <functional>

#include "attention/block.h"
#include "corten/error.h"
#include "problem.h"

namespace corten {
namespace {

using test::Heads;
using test::isas;
using test::Mask;
using test::Problem;
using test::Reference;
using test::Shape;

void expect_near(const Heads& got, int64_t b, int64_t h, const std::vector<double>& want, double tolerance, const std::string& what) {
  double size = 0.5;  // of what is summed, where the sum itself cancels
  for (double x : want) size = std::max(size, std::abs(x));
  for (int64_t i = 0; i < got.rows; ++i)
    for (int64_t d = 0; d < got.columns; ++d) {
      const double x = got.at(b, h, i, d), y = want[i * got.columns + d];
      ASSERT_LE(std::abs(x - y), tolerance * (std::abs(y) + size)) << what << " at " << i << "," << d << ": " << x << " against " << y;
    }
}

void check(Problem& x, ThreadPool& pool) {
  // bf16 and f16: the gradient reads the rounded results; bf16's weights are rounded too.
  const double unit = x.dtype == DType::f32 ? 0x1p-19 : x.dtype == DType::f16 ? 0x1p-9 : 0x1p-6;
  std::vector<Reference> want;
  for (int64_t b = 0; b < x.shape.batch; ++b)
    for (int64_t h = 0; h < x.shape.heads; ++h) want.emplace_back(x, b, h);
  for (Isa isa : isas()) {
    const std::string what = std::string(name(isa)) + " " + x.text();
    ASSERT_TRUE(x.run(pool, isa)) << what;
    for (int64_t b = 0; b < x.shape.batch; ++b)
      for (int64_t h = 0; h < x.shape.heads; ++h) {
        const Reference& r = want[b * x.shape.heads + h];
        expect_near(x.out, b, h, r.out, unit, what + " out");
        expect_near(x.dv, b, h, r.dv, unit, what + " dv");
        expect_near(x.dq, b, h, r.dq, unit, what + " dq");
        expect_near(x.dk, b, h, r.dk, unit, what + " dk");
        const float* lse = reinterpret_cast<const float*>(x.lse.data()) + (b * x.shape.heads + h) * x.shape.queries;
        for (int64_t i = 0; i < x.shape.queries; ++i)
          if (std::isinf(r.lse[i])) ASSERT_EQ(lse[i], r.lse[i]) << what;
          else ASSERT_NEAR(lse[i], r.lse[i], 1e-5 * (1 + std::abs(r.lse[i]))) << what << " lse " << i;
      }
  }
}

TEST(Attention, IsTheDefinition) {
  ThreadPool pool(2);
  const Shape shapes[] = {{1, 1, 1, 1, 1},    {1, 1, 1, 70, 64},  {2, 3, 7, 7, 8},   {1, 2, 65, 65, 17}, {2, 1, 33, 150, 64},
                          {1, 2, 130, 31, 33}, {1, 1, 97, 129, 80}, {1, 1, 12, 64, 256}, {1, 3, 64, 64, 5}, {1, 1, 280, 300, 16}};
  for (const Shape& s : shapes)
    for (DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (bool causal : {false, true}) {
        Problem x(s, dtype, causal);
        check(x, pool);
      }
}

TEST(Attention, MasksHide) {
  ThreadPool pool(2);
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (Mask mask : {Mask::boolean, Mask::keys, Mask::additive, Mask::shared})
      for (bool causal : {false, true}) {
        Problem x({2, 2, 37, 270, 16}, dtype, causal, mask);
        check(x, pool);
      }
}

TEST(Attention, HiddenBlocksOfKeys) {
  // More keys than a block holds are hidden from everyone, and with `causal` some queries see nothing.
  for (int threads : {1, 2})
    for (DType dtype : {DType::f32, DType::bf16})
      for (bool causal : {false, true}) {
        ThreadPool pool(threads);
        Problem x({1, 1, 290, 300, 16}, dtype, causal, Mask::keys);
        for (int64_t j = 0; j < 140; ++j) x.mask_bytes.data()[j] = 0;
        check(x, pool);
      }
}

TEST(Attention, ScalesOfAnySign) {
  ThreadPool pool(2);
  for (DType dtype : {DType::f32, DType::bf16})
    for (Mask mask : {Mask::none, Mask::boolean, Mask::additive})
      for (float scale : {-0.4f, 0.0f, 1.0f}) {
        Problem x({1, 2, 60, 170, 16}, dtype, false, mask);
        x.args.scale = scale;
        check(x, pool);
      }
}

TEST(Attention, AMaskWithoutKeyAxisIsSpread) {
  ThreadPool pool(1);
  for (Isa isa : isas()) {
    // Queries with a false mask see nothing, the others everything.
    Problem x({1, 1, 9, 20, 8}, DType::f32, false), plain({1, 1, 9, 20, 8}, DType::f32, false);
    const uint8_t seen[9] = {1, 0, 1, 1, 0, 0, 1, 0, 1};
    AttentionArgs a = x.bound();
    a.mask = seen, a.mask_query_stride = 1, a.mask_key_stride = 0;
    test::Guarded workspace(attention_workspace_bytes(a, 1, isa));
    attention(a, workspace.data(), pool, isa);
    ASSERT_TRUE(plain.run(pool, isa, false));
    for (int64_t i = 0; i < 9; ++i)
      for (int64_t d = 0; d < 8; ++d) EXPECT_EQ(x.out.at(0, 0, i, d), seen[i] ? plain.out.at(0, 0, i, d) : 0) << i;
  }
}

TEST(Attention, DropsWhatPhiloxSays) {
  ThreadPool pool(2);
  for (DType dtype : {DType::f32, DType::bf16})
    for (float p : {0.1f, 0.5f, 1.0f}) {
      Problem x({2, 2, 40, 75, 24}, dtype, true, Mask::none, p);
      if (p < 1) {
        check(x, pool);
        continue;
      }
      for (Isa isa : isas()) {
        ASSERT_TRUE(x.run(pool, isa));
        for (const Heads* h : {&x.out, &x.dq, &x.dk, &x.dv})
          for (int64_t i = 0; i < h->rows; ++i) EXPECT_EQ(h->at(1, 1, i, 3), 0);
      }
    }
}

// Equal weights of keys whose values are the unit vectors: results are what dropout keeps.
TEST(Attention, DropoutCountsPast32Bits) {
  constexpr int64_t S = 107, kIndex = 40139881;  // of a head whose elements start at 2^32 - 29
  static_assert(kIndex * S == (int64_t{1} << 32) - 29);
  for (Isa isa : isas()) {
    Problem x({1, 1, 1, S, S}, DType::f32, false, Mask::none, 0.5f);
    std::memset(x.q.bytes.data(), 0, S * 4);
    for (int64_t j = 0; j < S; ++j)
      for (int64_t d = 0; d < S; ++d) test::from_double(x.v.bytes.data(), x.v.index(0, 0, j, d), DType::f32, j == d);
    const AttentionArgs a = x.bound();
    const attention_detail::Family& family = isa == Isa::avx2 ? attention_detail::kAvx2 : attention_detail::kAvx512;
    test::Guarded workspace(family.forward_bytes(a, 1));
    family.forward({a, kIndex, nullptr}, 0, 1, workspace.data());
    int kept = 0;
    for (int64_t j = 0; j < S; ++j) {
      const bool dropped = test::uniform(a.seed, a.step, a.site, static_cast<uint64_t>(kIndex * S + j)) < 0.5f;
      EXPECT_EQ(x.out.at(0, 0, 0, j) == 0, dropped) << name(isa) << " key " << j;
      kept += !dropped;
    }
    EXPECT_GT(kept, 30);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  ThreadPool pool(1);
  Problem x({1, 1, 70, 300, 16}, DType::f32, false);
  x.args.scale = 60;
  const Reference want(x, 0, 0);
  for (Isa isa : isas()) {
    ASSERT_TRUE(x.run(pool, isa, false));
    expect_near(x.out, 0, 0, want.out, 1e-3, std::string(name(isa)));
  }
}

TEST(Attention, ThreadsDoNotMatter) {
  // Few heads for many threads divide by queries and keys, many heads by heads.
  for (const Shape& s : {Shape{1, 1, 300, 300, 32}, Shape{1, 4, 200, 260, 32}, Shape{3, 7, 70, 70, 16}})
    for (DType dtype : {DType::f32, DType::bf16})
      for (bool causal : {false, true})
        for (Isa isa : isas()) {
          std::string want;
          for (int threads : {1, 2, 3, 7}) {
            ThreadPool pool(threads);
            Problem x(s, dtype, causal, causal ? Mask::none : Mask::additive, 0.2f);
            ASSERT_TRUE(x.run(pool, isa));
            if (want.empty()) want = x.bits();
            EXPECT_EQ(x.bits() == want, true) << name(isa) << " " << x.text() << ", " << threads << " threads";
          }
        }
}

// A query alone, its last keys in a longer cache behind a mask, against the same query among others.
TEST(Attention, DecodingIsTheUncachedRow) {
  constexpr int64_t T = 150, H = 2, D = 40, kSlots = 220;
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (Isa isa : isas()) {
      ThreadPool pool(2);
      Problem all({1, H, T, T, D}, dtype, true);
      ASSERT_TRUE(all.run(pool, isa, false));
      for (int64_t i : {0, 1, 15, 64, 127, 128, 149}) {
        Problem one({1, H, 1, kSlots, D}, dtype, false, Mask::keys);
        for (int64_t j = 0; j < kSlots; ++j) {
          one.mask_bytes.data()[j] = j <= i;
          for (int64_t h = 0; h < H; ++h)
            for (int64_t d = 0; d < D; ++d) {
              if (j >= T) continue;
              test::from_double(one.k.bytes.data(), one.k.index(0, h, j, d), dtype, all.k.at(0, h, j, d));
              test::from_double(one.v.bytes.data(), one.v.index(0, h, j, d), dtype, all.v.at(0, h, j, d));
            }
        }
        for (int64_t h = 0; h < H; ++h)
          for (int64_t d = 0; d < D; ++d)
            test::from_double(one.q.bytes.data(), one.q.index(0, h, 0, d), dtype, all.q.at(0, h, i, d));
        ASSERT_TRUE(one.run(pool, isa, false));
        for (int64_t h = 0; h < H; ++h) {
          for (int64_t d = 0; d < D; ++d)
            ASSERT_EQ(one.out.at(0, h, 0, d), all.out.at(0, h, i, d)) << name(isa) << " " << one.text() << " query " << i;
          ASSERT_EQ(reinterpret_cast<const float*>(one.lse.data())[h], reinterpret_cast<const float*>(all.lse.data())[h * T + i]);
        }
      }
    }
}

TEST(Attention, ScoresOfHiddenKeysDoNotMatter) {
  // Causal: a NaN in the last key reaches the last query only.
  for (DType dtype : {DType::f32, DType::bf16})
    for (Isa isa : isas()) {
      ThreadPool pool(1);
      Problem x({1, 1, 131, 131, 8}, dtype, true), plain({1, 1, 131, 131, 8}, dtype, true);
      for (int64_t d = 0; d < 8; ++d) test::from_double(x.k.bytes.data(), x.k.index(0, 0, 130, d), dtype, NAN);
      ASSERT_TRUE(x.run(pool, isa, false));
      ASSERT_TRUE(plain.run(pool, isa, false));
      for (int64_t i = 0; i < 130; ++i) ASSERT_EQ(x.out.at(0, 0, i, 0), plain.out.at(0, 0, i, 0)) << i;
      EXPECT_TRUE(std::isnan(x.out.at(0, 0, 130, 0)));
    }
}

TEST(Attention, NothingToDo) {
  ThreadPool pool(2);
  for (const Shape& s : {Shape{0, 2, 3, 4, 8}, Shape{1, 2, 0, 4, 8}}) {
    Problem x(s, DType::f32, false);
    ASSERT_TRUE(x.run(pool, cpu_isa()));
    for (int64_t i = 0; s.batch && i < s.keys; ++i) EXPECT_EQ(x.dk.at(0, 1, i, 0), 0);
  }
}

TEST(Attention, PairsThatAreSeen) {
  EXPECT_EQ(attention_pairs(5, 7, false), 35);
  EXPECT_EQ(attention_pairs(5, 7, true), 15);
  EXPECT_EQ(attention_pairs(5, 3, true), 12);
}

TEST(Attention, ErrorsNameTheValues) {
  const auto message = [](const std::function<void(AttentionArgs&)>& spoil) -> std::string {
    AttentionArgs a = Problem({1, 1, 2, 2, 4}, DType::f32, false).args;
    spoil(a);
    try {
      attention_workspace_bytes(a, 1);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
      return e.what();
    }
    return "";
  };
  EXPECT_NE(message([](AttentionArgs& a) { a.dtype = DType::f64; }).find("f64"), std::string::npos);
  EXPECT_NE(message([](AttentionArgs& a) { a.head_size = 300; }).find("300"), std::string::npos);
  EXPECT_NE(message([](AttentionArgs& a) { a.keys = 0; }).find("0 keys"), std::string::npos);
  EXPECT_NE(message([](AttentionArgs& a) { a.mask = &a, a.mask_dtype = DType::i64; }).find("i64"), std::string::npos);
  EXPECT_NE(message([](AttentionArgs& a) { a.mask = &a, a.mask_key_stride = 5; }).find("5"), std::string::npos);
}

}  // namespace
}  // namespace corten
