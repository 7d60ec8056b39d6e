// VPDPBUSD: every 32-bit lane adds the products of 4 unsigned bytes (weights + 128 or + 8 of one
// output) and 4 signed ones (of a, broadcast). What the offset of the weights adds, offset times
// the sum of a, is subtracted from the start.
#include "quant/simd_avx512.h"

#include "quant/finish.h"

namespace corten::quant_detail {
namespace {

constexpr int64_t kLine = 64;  // bytes: 4 k of a panel
constexpr int64_t kAhead = 96 * kLine;

inline __m512i broadcast4(const int8_t* a) {
  return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(a));
}

inline void prefetch(const uint8_t* b) {
  _mm_prefetch(reinterpret_cast<const char*>(b), _MM_HINT_T0);
}

// VPDPBUSD by hand: with the intrinsic, GCC 12 copies accumulators from register to register and to
// the stack.
inline void multiply_add(__m512i& sum, __m512i w, __m512i x) {
  asm("vpdpbusd %[x], %[w], %[sum]" : [sum] "+v"(sum) : [w] "v"(w), [x] "v"(x));
}

// R rows times C panels. The sums are exact, so that k may be split over U accumulators, which
// hides the latency of few rows.
template <int R, int C, int U>
void tile8(const Strip& s) {
  __m512i sum[U * R * C];
#pragma GCC unroll 32
  for (int i = 0; i < U * R * C; ++i)
    sum[i] = i < R * C ? _mm512_set1_epi32(-128 * s.sums[i / C]) : _mm512_setzero_si512();
  const int8_t* a = s.a;
  const uint8_t* b = s.b;
  for (int64_t left = s.padded_k / 4; left > 0; left -= U, a += U * R * 4, b += U * kLine) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      __m512i w[C];
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) w[c] = _mm512_loadu_si512(b + c * s.b_stride + u * kLine);
      if (C == 1) prefetch(b + u * kLine + kAhead);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const __m512i x = broadcast4(a + (u * R + r) * 4);
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) multiply_add(sum[(u * R + r) * C + c], w[c], x);
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < R * C; ++i) {
    __m512i all = sum[i];
#pragma GCC unroll 4
    for (int u = 1; u < U; ++u) all = _mm512_add_epi32(all, sum[u * R * C + i]);
    Simd::store(s.out + i / C * kTileColumns + i % C * kPanelColumns, _mm512_cvtepi32_ps(all));
  }
}

// The same with one float sum over groups. kPacked: b holds two weights per byte.
template <int R, int C, bool kPacked>
void tile4(const Strip& s) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512 total[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) total[r][c] = _mm512_setzero_ps();
  const int8_t* a = s.a;
  const uint8_t* b = s.b;
  for (int64_t g = 0; g < s.groups; ++g) {
    __m512i sum[R][C];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) sum[r][c] = _mm512_set1_epi32(-8 * s.sums[r * s.groups + g]);
    for (int64_t k = 0; k < s.group; k += 8, a += 2 * R * 4, b += kPacked ? kLine : 2 * kLine) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        __m512i w[C];
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
          const uint8_t* const at = b + c * s.b_stride;
          if (kPacked) {
            const __m512i both = _mm512_loadu_si512(at);
            if (half == 0) prefetch(at + kAhead);
            w[c] = _mm512_and_si512(half == 0 ? both : _mm512_srli_epi16(both, 4), low);
          } else {
            w[c] = _mm512_loadu_si512(at + half * kLine);
          }
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const __m512i x = broadcast4(a + (half * R + r) * 4);
#pragma GCC unroll 2
          for (int c = 0; c < C; ++c) multiply_add(sum[r][c], w[c], x);
        }
      }
    }
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      const __m512 scale = Simd::load16(s.scale + (c * s.groups + g) * kPanelColumns, DType::f16);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
        total[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][c]), scale, total[r][c]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c)
      Simd::store(s.out + r * kTileColumns + c * kPanelColumns, total[r][c]);
}

using Tile = void (*)(const Strip&);
constexpr int kMostRows8 = 14, kMostRows4 = 6;

constexpr Tile kOne8[] = {nullptr,         tile8<1, 1, 4>,  tile8<2, 1, 4>,  tile8<3, 1, 2>,
                          tile8<4, 1, 2>,  tile8<5, 1, 1>,  tile8<6, 1, 1>,  tile8<7, 1, 1>,
                          tile8<8, 1, 1>,  tile8<9, 1, 1>,  tile8<10, 1, 1>, tile8<11, 1, 1>,
                          tile8<12, 1, 1>, tile8<13, 1, 1>, tile8<14, 1, 1>};
constexpr Tile kTwo8[] = {nullptr,         tile8<1, 2, 2>,  tile8<2, 2, 2>,  tile8<3, 2, 2>,
                          tile8<4, 2, 1>,  tile8<5, 2, 1>,  tile8<6, 2, 1>,  tile8<7, 2, 1>,
                          tile8<8, 2, 1>,  tile8<9, 2, 1>,  tile8<10, 2, 1>, tile8<11, 2, 1>,
                          tile8<12, 2, 1>, tile8<13, 2, 1>, tile8<14, 2, 1>};
template <int C, bool kPacked>
constexpr Tile kTiles4[] = {nullptr,
                            tile4<1, C, kPacked>,
                            tile4<2, C, kPacked>,
                            tile4<3, C, kPacked>,
                            tile4<4, C, kPacked>,
                            tile4<5, C, kPacked>,
                            tile4<6, C, kPacked>};

void begin() {}
void end() {}
void product8(const Strip& s) {
  (s.panels == 1 ? kOne8 : kTwo8)[s.rows](s);
}
void product4(const Strip& s) {
  (s.panels == 1 ? kTiles4<1, true> : kTiles4<2, true>)[s.rows](s);
}
void product4_unpacked(const Strip& s) {
  (s.panels == 1 ? kTiles4<1, false> : kTiles4<2, false>)[s.rows](s);
}

}  // namespace

const Family kAvx512Vnni = {false,    kMostRows8, kMostRows4,        begin, end,
                            product8, product4,   product4_unpacked, finish};

}  // namespace corten::quant_detail
