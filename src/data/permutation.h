// Keyed permutations of 0..n-1 that are computed element by element.
#pragma once

#include <cstdint>

namespace corten {

/// A pseudo-random permutation of 0..n-1 keyed by (seed, stream). Every element is computed on its
/// own, in O(1) expected time and without memory: a balanced Feistel network over the smallest
/// domain of 2^(2h) values that holds n, applied again while the value lies outside (cycle walking;
/// Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). n < 2^62.
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t seed, uint64_t stream) noexcept;
  /// The image of i < n.
  uint64_t operator()(uint64_t i) const noexcept;
  uint64_t size() const noexcept { return n_; }

 private:
  static constexpr int kRounds = 8;

  uint64_t n_;
  int half_bits_;
  uint64_t keys_[kRounds];
};

}  // namespace corten
