#include "data/permutation.h"

namespace corten {
namespace {

// Finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
// 2014): a bijection of 64 bits in which every input bit changes every output bit.
constexpr uint64_t mix(uint64_t x) noexcept {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 31;
  return x;
}
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio

}  // namespace

Permutation::Permutation(uint64_t n, uint64_t seed, uint64_t stream) noexcept
    : n_(n), half_bits_(1) {
  while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
  uint64_t state = mix(mix(seed + kGolden) + stream + kGolden);
  for (uint64_t& key : keys_) key = mix(state += kGolden);
}

uint64_t Permutation::operator()(uint64_t i) const noexcept {
  if (n_ <= 1) return 0;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = i;
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (const uint64_t key : keys_) {
      const uint64_t next = left ^ (mix(right + key) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= n_);
  return value;
}

}  // namespace corten
