#include <string>

#include "cuda/attention/texts.h"
#include "cuda/attention/words.h"

namespace corten::cuda {
namespace {

constexpr const char* kText = R"CUDA(
#define INFINITE_FLOAT f32(0x7f800000u)
#define LOG2_E f32(0x3fb8aa3bu)
#define LN_2 f32(0x3f317218u)

typedef Words<kAttentionWords> Arguments;

// Where a head's rows begin.
DEVICE i64 head_offset(const Arguments& a, int operand, int head) {
  const int n1 = (int)a.w[k_batch1], n2 = (int)a.w[k_batch2];
  return head / (n1 * n2) * a.w[operand + 1] + head / n2 % n1 * a.w[operand + 2] + head % n2 * a.w[operand + 3];
}
template <typename T>
DEVICE Matrix<T> rows_of(const Arguments& a, int operand, int head, int rows) {
  return {(const T*)a.w[operand] + head_offset(a, operand, head), a.w[operand + 4], rows};
}

enum MaskKind { kNoMask, kBoolMask, kFloatMask };
// What the kernels are instances of.
template <class Policy, int kTiles, int kWarps, int kBlock, int kChunk, bool kIsCausal, int kMaskKind, bool kDropout, bool kIsAligned>
struct Shape {
  typedef Policy P;
  typedef typename Policy::Element Element;
  static constexpr int M = kTiles, kThreads = 32 * kWarps;  // a warp has 16 M rows
  static constexpr int kRows = 16 * M * kWarps;             // of a block
  static constexpr int kStreamed = kBlock;                  // rows of the tiles that stream by
  static constexpr int kColumns = kChunk;                   // of them that are worked on together
  static constexpr bool kCausal = kIsCausal, kDrops = kDropout, kAligned = kIsAligned;
  static constexpr int kMask = kMaskKind;
  static constexpr int kTileBytes = kBlock * Policy::kRowBytes, kRowsBytes = kRows * Policy::kOperandRowBytes;
};

// Turns scores of rows and columns, which are queries and keys or, kTurned, the other way round, into what `unit` makes exponents
// of; those that a query does not see into -infinity.
template <class S, bool kTurned, int N>
struct Hiding {
  const Arguments& a;
  i64 mask;
  float unit;
  int queries, keys;
  DEVICE_MEMBER Hiding(const Arguments& a, int head) : a(a), unit(f32((uint32)a.w[k_unit])), queries((int)a.w[k_queries]), keys((int)a.w[k_keys]) {
    mask = S::kMask == kNoMask ? 0 : head_offset(a, k_mask, head);
  }
  // The factor of a score in its exponent, once it was hidden.
  DEVICE_MEMBER float factor() const { return S::kMask == kFloatMask ? 1.0f : unit; }
  DEVICE_MEMBER void operator()(float (&s)[S::M][N][4], int row0, int column0) const {
    const float sign = f32((uint32)a.w[k_sign]);
    if (sign != 1.0f) {
#pragma unroll
      for (int m = 0; m < S::M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) s[m][n][e] *= sign;
    }
    const int row_end = row0 + 16 * S::M, column_end = column0 + 8 * N;
    const int last_key = kTurned ? row_end : column_end, first_query = kTurned ? column0 : row0;
    if (S::kMask == kNoMask && last_key <= keys && (!S::kCausal || last_key - 1 <= first_query)) return;
    const int g = THREAD % 32 / 4, t = THREAD % 4;
#pragma unroll
    for (int m = 0; m < S::M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int row = row0 + 16 * m + g + e / 2 * 8, column = column0 + 8 * n + 2 * t + e % 2;
          const int key = kTurned ? row : column, query = kTurned ? column : row;
          bool seen = key < keys && (!S::kCausal || key <= query);
          float& x = s[m][n][e];
          if (S::kMask != kNoMask && seen && query < queries) {
            const i64 at = mask + query * a.w[k_mask + 4] + key * a.w[k_mask_key];
            if (S::kMask == kBoolMask) seen = read((const uint8*)a.w[k_mask] + at) != 0;
            else x = fused(read((const float*)a.w[k_mask] + at), LOG2_E, x * unit);
          }
          if (!seen) x = -INFINITE_FLOAT;
        }
  }
  // Whether a mask hides all of a warp's scores, as outside of a window: then there is nothing to add.
  DEVICE_MEMBER bool hides_all(const float (&s)[S::M][N][4]) const {
    if (S::kMask == kNoMask) return false;
    bool seen = false;
#pragma unroll
    for (int m = 0; m < S::M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) seen |= s[m][n][e] != -INFINITE_FLOAT;
    return BALLOT(seen) == 0;
  }
};

// Philox-4x32-10 (Salmon et al., 2011): word 0 of the draw of an element of the weights.
struct Draws {
  uint32 key0, key1, step, site, limit;
  uint64 base;
  i64 keys;
  DEVICE_MEMBER Draws(const Arguments& a, int head, bool wanted) {
    if (!wanted) return;
    const uint64 seed = (uint64)read((const i64*)a.w[k_seed]);
    key0 = (uint32)seed, key1 = (uint32)(seed >> 32);
    step = (uint32)read((const i64*)a.w[k_step]);
    site = (uint32)a.w[k_site];
    limit = (uint32)a.w[k_limit];
    keys = a.w[k_keys];
    base = (uint64)head * (uint64)a.w[k_queries] * (uint64)keys;
  }
  DEVICE_MEMBER bool keeps(int query, int key) const {
    const uint64 index = base + (uint64)query * (uint64)keys + (uint64)key;
    uint32 c0 = (uint32)index, c1 = (uint32)(index >> 32), c2 = step, c3 = site, r0 = key0, r1 = key1;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
      const uint32 low0 = c0 * 0xD2511F53u, high0 = high_product(c0, 0xD2511F53u), low1 = c2 * 0xCD9E8D57u, high1 = high_product(c2, 0xCD9E8D57u);
      c0 = high1 ^ c1 ^ r0;
      c1 = low1;
      c2 = high0 ^ c3 ^ r1;
      c3 = low0;
      r0 += 0x9E3779B9u, r1 += 0xBB67AE85u;
    }
    return c0 >> 8 >= limit;
  }
};
// Bit 4n + e: whether element e of fragment n is kept.
template <bool kTurned, int N>
DEVICE uint32 kept_bits(const Draws& draws, int row0, int column0) {
  const int g = THREAD % 32 / 4, t = THREAD % 4;
  uint32 bits = 0;
#pragma unroll 1
  for (int i = 0; i < 4 * N; ++i) {
    const int row = row0 + g + i % 4 / 2 * 8, column = column0 + i / 4 * 8 + 2 * t + i % 2;
    bits |= (uint32)(kTurned ? draws.keeps(column, row) : draws.keeps(row, column)) << i;
  }
  return bits;
}

// Over the four lanes that share a row.
DEVICE float quad_sum(float x) {
  x += SHUFFLE(x, 1);
  return x + SHUFFLE(x, 2);
}
DEVICE float quad_max(float x) {
  x = larger(x, SHUFFLE(x, 1));
  return larger(x, SHUFFLE(x, 2));
}

// Rows of a result, each times its factor; what is too small or cancels is +0.
template <class S, int kFragments>
DEVICE void store_rows(const Arguments& a, int operand, int head, int row0, int rows, const float (&x)[S::M][kFragments][4],
                       const float (&factor)[S::M][2]) {
  typedef typename S::Element T;
  const int g = THREAD % 32 / 4, t = THREAD % 4;
  const Matrix<T> to = rows_of<T>(a, operand, head, rows);
#pragma unroll
  for (int m = 0; m < S::M; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + 16 * m + 8 * h + g;
      if (row >= rows) continue;
#pragma unroll
      for (int n = 0; n < kFragments; ++n)
        S::P::template store<S::kAligned>((T*)to.p + row * to.stride, 8 * n + 2 * t, x[m][n][2 * h] * factor[m][h] + 0.0f,
                                          x[m][n][2 * h + 1] * factor[m][h] + 0.0f);
    }
}
)CUDA";

}  // namespace

std::string_view attention_rows_text() {
  static const std::string text = [] {
    std::string out = "\nenum {\n";
#define CORTEN_X(name) out += "  k_" #name " = " + std::to_string(k_##name) + ",\n";
    CORTEN_ATTENTION_OPERANDS(CORTEN_X)
    CORTEN_ATTENTION_WORDS(CORTEN_X)
#undef CORTEN_X
    return out + "  kAttentionWords = " + std::to_string(kAttentionWords) + "\n};\n" + kText;
  }();
  return text;
}

}  // namespace corten::cuda
