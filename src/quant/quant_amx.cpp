// TDPBSUD: every 32-bit sum of a 16 x 16 tile adds the products of 64 signed bytes (a row of a) and
// 64 unsigned ones (weights + 128 of one output). A panel's bytes are such a tile already, every 64
// k. What the offset adds, 128 times the sum of a, is subtracted at the end. Results of 4 bits have
// a float sum per group, which tiles do not keep: AVX-512 computes those.
#include "quant/simd_avx512.h"

#include "quant/finish.h"

namespace corten::quant_detail {
namespace {

constexpr int64_t kLanes = 16, kTileK = 64, kTileBytes = 1024;
constexpr int kMostRows = 32;

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
// Static, because compilers take _tile_loadconfig to read 8 bytes only and drop the other stores.
const TileConfig kTileConfig = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void begin() {
  _tile_loadconfig(&kTileConfig);
}
void end() {
  _tile_release();
}

// 16 or 32 rows, of which those beyond s.rows are computed for nothing, times one or two panels.
void product8(const Strip& s) {
  int32_t* const sums = static_cast<int32_t*>(s.scratch);
  const bool two_rows = s.rows > kLanes, two_panels = s.panels > 1;
  const int8_t* a = s.a;
  const uint8_t* b = s.b;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t left = s.padded_k / kTileK; left > 0; --left, a += kTileK, b += kTileBytes) {
    _tile_loadd(4, a, s.padded_k);
    _tile_loadd(6, b, 64);
    _tile_dpbsud(0, 4, 6);
    if (two_panels) {
      _tile_loadd(7, b + s.b_stride, 64);
      _tile_dpbsud(1, 4, 7);
    }
    if (!two_rows) continue;
    _tile_loadd(5, a + kLanes * s.padded_k, s.padded_k);
    _tile_dpbsud(2, 5, 6);
    if (two_panels) _tile_dpbsud(3, 5, 7);
  }
  _tile_stored(0, sums, kTileColumns * 4);
  _tile_stored(1, sums + kLanes, kTileColumns * 4);
  _tile_stored(2, sums + kLanes * kTileColumns, kTileColumns * 4);
  _tile_stored(3, sums + kLanes * kTileColumns + kLanes, kTileColumns * 4);
  for (int r = 0; r < s.rows; ++r) {
    const __m512i offset = _mm512_set1_epi32(128 * s.sums[r]);
    for (int c = 0; c < 2; ++c) {
      const int64_t at = r * kTileColumns + c * kPanelColumns;
      const __m512i sum = _mm512_sub_epi32(_mm512_loadu_si512(sums + at), offset);
      Simd::store(s.out + at, _mm512_cvtepi32_ps(sum));
    }
  }
}

}  // namespace

const Family kAmx = {true, kMostRows, 0, begin, end, product8, nullptr, nullptr, finish};

}  // namespace corten::quant_detail
