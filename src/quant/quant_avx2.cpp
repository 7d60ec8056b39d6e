// AVX2 has no product of bytes with 32-bit sums. VPMADDUBSW multiplies unsigned by signed bytes and
// adds pairs in 16 bits, with saturation, which must not happen:
//   8 bits: |w| times a with w's sign: at most 2 * 128 * 127, which fits;
//   4 bits: weights + 8 are 0 .. 15: the pairs of 8 runs of k fit, 8 * 2 * 15 * 127.
#include "gemm/simd_avx2.h"

namespace corten::quant_detail {
namespace {

inline __m256 weights_at(const uint8_t* p, int shift, int mask, int offset) {
  const __m256i bits = _mm256_srl_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                                        _mm_cvtsi32_si128(shift));
  const __m256i w = _mm256_and_si256(bits, _mm256_set1_epi32(mask));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(w, _mm256_set1_epi32(offset)));
}

}  // namespace
}  // namespace corten::quant_detail

#include "quant/finish.h"

namespace corten::quant_detail {
namespace {

constexpr int64_t kLine = 64, kHalf = 32;  // bytes: 4 k of a panel, and of half of it
constexpr int64_t kAhead = 64 * kLine;

inline __m256i broadcast4(const int8_t* a) {
  return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(a));
}
inline __m256i load32(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void prefetch(const uint8_t* b) {
  _mm_prefetch(reinterpret_cast<const char*>(b), _MM_HINT_T0);
}

template <int R>
void tile8(const Strip& s, int panel) {
  const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(-128);
  __m256i sum[R][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  const int8_t* a = s.a;
  const uint8_t* b = s.b + panel * s.b_stride;
  for (int64_t left = s.padded_k / 4; left > 0; --left, a += R * 4, b += kLine) {
    prefetch(b + kAhead);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i w = _mm256_xor_si256(load32(b + h * kHalf), flip),
                    magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const __m256i pairs =
            _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(broadcast4(a + r * 4), w));
        sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h)
      Simd::store(s.out + r * kTileColumns + panel * kPanelColumns + h * 8,
                  _mm256_cvtepi32_ps(sum[r][h]));
}

template <int R, bool kPacked>
void tile4(const Strip& s, int panel) {
  const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
  __m256 total[R][2];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) total[r][0] = total[r][1] = _mm256_setzero_ps();
  const int8_t* a = s.a;
  const uint8_t* b = s.b + panel * s.b_stride;
  for (int64_t g = 0; g < s.groups; ++g) {
    __m256i sum[R][2];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r)
      sum[r][0] = sum[r][1] = _mm256_set1_epi32(-8 * s.sums[r * s.groups + g]);
    for (int64_t k = 0; k < s.group; k += 32) {
      __m256i pairs[R][2];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) pairs[r][0] = pairs[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int run = 0; run < 4; ++run, a += 2 * R * 4, b += kPacked ? kLine : 2 * kLine) {
        if (kPacked) prefetch(b + kAhead);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          __m256i first, second;
          if (kPacked) {
            const __m256i both = load32(b + h * kHalf);
            first = _mm256_and_si256(both, low);
            second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
          } else {
            first = load32(b + h * kHalf);
            second = load32(b + kLine + h * kHalf);
          }
#pragma GCC unroll 2
          for (int r = 0; r < R; ++r) {
            pairs[r][h] =
                _mm256_add_epi16(pairs[r][h], _mm256_maddubs_epi16(first, broadcast4(a + r * 4)));
            pairs[r][h] = _mm256_add_epi16(
                pairs[r][h], _mm256_maddubs_epi16(second, broadcast4(a + (R + r) * 4)));
          }
        }
      }
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h)
          sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(pairs[r][h], ones));
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 scale =
          Simd::load16(s.scale + (panel * s.groups + g) * kPanelColumns + h * 8, DType::f16);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
        total[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][h]), scale, total[r][h]);
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h)
      Simd::store(s.out + r * kTileColumns + panel * kPanelColumns + h * 8, total[r][h]);
}

using Tile = void (*)(const Strip&, int);
constexpr int kMostRows8 = 4, kMostRows4 = 2;
constexpr Tile kTiles8[] = {nullptr, tile8<1>, tile8<2>, tile8<3>, tile8<4>};
constexpr Tile kPacked4[] = {nullptr, tile4<1, true>, tile4<2, true>};
constexpr Tile kUnpacked4[] = {nullptr, tile4<1, false>, tile4<2, false>};

void run(Tile tile, const Strip& s) {
  for (int panel = 0; panel < s.panels; ++panel) tile(s, panel);
}
void begin() {}
void end() {}
void product8(const Strip& s) {
  run(kTiles8[s.rows], s);
}
void product4(const Strip& s) {
  run(kPacked4[s.rows], s);
}
void product4_unpacked(const Strip& s) {
  run(kUnpacked4[s.rows], s);
}

}  // namespace

const Family kAvx2 = {false,    kMostRows8, kMostRows4,        begin, end,
                      product8, product4,   product4_unpacked, finish};

}  // namespace corten::quant_detail
