// The run-time arguments of the attention kernels, 64-bit words: the numbering is part of the text.
#pragma once

namespace corten::cuda {

// An operand is an address, strides along three batch axes and one along its rows, in elements; a
// mask has one along the keys behind them.
#define CORTEN_ATTENTION_OPERANDS(X) X(q) X(k) X(v) X(out) X(g) X(dq) X(dk) X(dv) X(mask)
inline constexpr int kOperandWords = 5;

// mask_key: the mask's stride along the keys. batch1, batch2: sizes of the inner batch axes; heads:
// of all three together. scale, unit, sign, kept: f32. unit makes exponents to base 2 of scores
// whose sign was taken by `sign`. limit: draws below it are dropped, of 2^24; kept: what others are
// multiplied with.
#define CORTEN_ATTENTION_WORDS(X)                                                                  \
  X(mask_key)                                                                                      \
  X(lse)                                                                                           \
  X(dots) X(seed) X(step) X(site) X(batch1) X(batch2) X(heads) X(queries) X(keys) X(scale) X(unit) \
      X(sign) X(limit) X(kept)

enum AttentionWord : int {
#define CORTEN_X(name) k_##name, k_##name##_end = k_##name + kOperandWords - 1,
  CORTEN_ATTENTION_OPERANDS(CORTEN_X)
#undef CORTEN_X
#define CORTEN_X(name) k_##name,
      CORTEN_ATTENTION_WORDS(CORTEN_X)
#undef CORTEN_X
          kAttentionWords
};

}  // namespace corten::cuda
