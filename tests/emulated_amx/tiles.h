// The AMX intrinsics that Corten uses, in terms of AVX-512: tile files compiled with this header in
// front run on processors without AMX. Numerics are those of the Intel SDM, volume 2.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace corten::emulated_amx {

struct Tiles {
  bool configured = false;
  uint8_t rows[8] = {};
  uint16_t row_bytes[8] = {};
  alignas(64) uint8_t data[8][16][64] = {};
};
inline thread_local Tiles tiles;

[[noreturn]] inline void fault(const char* what) {
  std::fprintf(stderr, "emulated AMX: %s\n", what);
  std::abort();
}

inline void require(bool condition, const char* what) {
  if (!condition) fault(what);
}

inline void load_config(const void* config) {
  const uint8_t* const bytes = static_cast<const uint8_t*>(config);
  require(bytes[0] == 1 && bytes[1] == 0, "LDTILECFG of another palette or a start row");
  for (int i = 2; i < 16; ++i) require(bytes[i] == 0, "LDTILECFG with reserved bytes that are not zero");
  tiles = {};
  tiles.configured = true;
  for (int t = 0; t < 8; ++t) {
    std::memcpy(&tiles.row_bytes[t], bytes + 16 + 2 * t, 2);
    tiles.rows[t] = bytes[48 + t];
    require(tiles.rows[t] <= 16 && tiles.row_bytes[t] <= 64, "LDTILECFG of a tile beyond 16 rows of 64 bytes");
  }
}

inline void release() { tiles = {}; }

inline void check(int t) {
  require(tiles.configured, "a tile is used without LDTILECFG");
  require(tiles.rows[t] > 0 && tiles.row_bytes[t] > 0, "a tile is used that LDTILECFG left out");
}

inline void zero(int t) {
  check(t);
  std::memset(tiles.data[t], 0, sizeof(tiles.data[t]));
}

inline void load(int t, const void* base, int64_t stride) {
  zero(t);
  for (int r = 0; r < tiles.rows[t]; ++r)
    std::memcpy(tiles.data[t][r], static_cast<const char*>(base) + r * stride, tiles.row_bytes[t]);
}

inline void store(int t, void* base, int64_t stride) {
  check(t);
  for (int r = 0; r < tiles.rows[t]; ++r)
    std::memcpy(static_cast<char*>(base) + r * stride, tiles.data[t][r], tiles.row_bytes[t]);
}

// Shapes of a product: `sum` has the rows of `a` and the columns of `b`.
inline void check_product(int sum, int a, int b) {
  check(sum);
  check(a);
  check(b);
  require(sum != a && sum != b && a != b, "a product of tiles that are not distinct");
  require(tiles.rows[sum] == tiles.rows[a] && tiles.row_bytes[sum] == tiles.row_bytes[b] &&
              tiles.row_bytes[a] == 4 * tiles.rows[b],
          "a product of tiles of shapes that do not match");
}

// TDPBF16PS: chains of fused multiply-adds over the even and the odd k, from zero; their sum is added.
// Subnormals count as zero, whatever MXCSR says; round to nearest.
inline void multiply_bf16(int sum, int a, int b) {
  check_product(sum, a, b);
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(0x9fc0u);
  for (int r = 0; r < tiles.rows[sum]; ++r) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int p = 0; p < tiles.rows[b]; ++p) {
      uint32_t pair;
      std::memcpy(&pair, tiles.data[a][r] + 4 * p, 4);
      const __m512i row = _mm512_load_si512(tiles.data[b][p]);
      const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
      even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(pair << 16))),
                             _mm512_castsi512_ps(_mm512_slli_epi32(row, 16)), even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(pair & 0xffff0000u))),
                            _mm512_castsi512_ps(_mm512_and_si512(row, high)), odd);
    }
    void* const at = tiles.data[sum][r];
    _mm512_store_ps(at, _mm512_add_ps(_mm512_load_ps(at), _mm512_add_ps(even, odd)));
  }
  _mm_setcsr(saved);
}

// TDPBSUD: signed bytes of `a` times unsigned ones of `b`, four at a time; sums wrap.
inline void multiply_s8_u8(int sum, int a, int b) {
  check_product(sum, a, b);
  for (int r = 0; r < tiles.rows[sum]; ++r)
    for (int c = 0; c < tiles.row_bytes[sum] / 4; ++c) {
      uint32_t total;
      std::memcpy(&total, tiles.data[sum][r] + 4 * c, 4);
      for (int p = 0; p < tiles.rows[b]; ++p)
        for (int i = 0; i < 4; ++i)
          total += static_cast<uint32_t>(static_cast<int8_t>(tiles.data[a][r][4 * p + i]) *
                                         tiles.data[b][p][4 * c + i]);
      std::memcpy(tiles.data[sum][r] + 4 * c, &total, 4);
    }
}

}  // namespace corten::emulated_amx

#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbsud
#define _tile_loadconfig ::corten::emulated_amx::load_config
#define _tile_release ::corten::emulated_amx::release
#define _tile_loadd ::corten::emulated_amx::load
#define _tile_stream_loadd ::corten::emulated_amx::load
#define _tile_stored ::corten::emulated_amx::store
#define _tile_zero ::corten::emulated_amx::zero
#define _tile_dpbf16ps ::corten::emulated_amx::multiply_bf16
#define _tile_dpbsud ::corten::emulated_amx::multiply_s8_u8
