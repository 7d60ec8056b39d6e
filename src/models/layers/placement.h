// Where the tokens of one call stand in their sequences, and which keys each of them sees.
//
// B sequences, T tokens of each (the queries), S slots with keys: the tokens themselves, or all of
// a cache.
#pragma once

#include <cstdint>
#include <map>

#include "corten/models.h"

namespace corten::layers {

class Placement {
 public:
  /// Tokens 0 .. T-1. attention_mask [B, T], 0 where a token is padding; undefined: none.
  static Placement whole(int64_t tokens, const Tensor& attention_mask = {});
  /// The tokens from slot `position` (i64 0-d) of the cache on, after all earlier ones; several
  /// only in caches without padding.
  static Placement next(const Tensor& position, const KvCache& cache, int64_t tokens = 1);

  int64_t tokens() const { return tokens_; }
  /// i64 [T]: where their keys are in a cache.
  Tensor slots() const;
  /// i64 [1 or B, T]: how many visible tokens came before each. As transformers' generate() derives
  /// position ids from the mask, 0 for padding.
  Tensor positions() const;
  /// Bool [1 or B, 1, T, S], true where a query sees a key: itself and what is not padding among
  /// the earlier ones, or among the last `window` slots if that is not 0.
  Tensor mask(int64_t window = 0) const;
  /// Whether mask(window) is the lower triangle.
  bool is_causal(int64_t window = 0) const;

 private:
  int64_t tokens_ = 0, slots_ = 0;
  Tensor position_;    ///< i64 0-d of the first token; undefined: they begin the sequence
  Tensor visible_BS_;  ///< bool; undefined: no padding
  Tensor positions_;
  mutable std::map<int64_t, Tensor> masks_;  ///< by window, made once per call
};

/// Notes in a cache with room for it which of the first tokens are padding.
void remember_padding(const Tensor& attention_mask, KvCache& cache);

}  // namespace corten::layers
