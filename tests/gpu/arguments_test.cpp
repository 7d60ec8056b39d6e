// Division by multiplication, against the processor's own.
#include "codegen/gpu/arguments.h"

#include <gtest/gtest.h>

#include <random>

namespace corten::codegen::gpu {
namespace {

TEST(Quotient, IsExactBelowTwoToThe31) {
  std::mt19937_64 random(1);
  constexpr int64_t kEnd = int64_t{1} << 31;
  const auto check = [](int64_t n, int64_t d) {
    const int64_t word = quotient(d);
    const auto got = static_cast<int64_t>(static_cast<uint64_t>(n) * static_cast<uint32_t>(word) >>
                                          (word >> 32));
    ASSERT_EQ(got, n / std::max<int64_t>(d, 1)) << n << " / " << d;
  };
  std::vector<int64_t> divisors{0, 1, 2, 3, 5, 7, 641, 65535, 65536, 65537, kEnd - 2, kEnd - 1};
  for (int i = 0; i < 2000; ++i)
    divisors.push_back((1 + static_cast<int64_t>(random() % (kEnd - 1))) >> (random() % 31));
  for (const int64_t d : divisors) {
    for (int64_t n : {int64_t{0}, int64_t{1}, d - 1, d, d + 1, kEnd - 1, kEnd - 2})
      if (n >= 0 && n < kEnd) check(n, d);
    for (int i = 0; i < 100; ++i) {
      const auto n = static_cast<int64_t>(random() % kEnd);
      check(n, d);
      // Multiples and their neighbours are where a rounded multiplier would fail first.
      if (d > 0) check(n / d * d, d);
      if (d > 0 && n >= d) check(n / d * d - 1, d);
    }
  }
  EXPECT_EQ(quotient(kEnd), 0);
}

}  // namespace
}  // namespace corten::codegen::gpu
