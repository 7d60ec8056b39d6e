// bf16 operands on AMX tiles. One k unit is 32: TDPBF16PS adds to every f32 of a 16 x 16 tile the
// products of its row of A and column of B over 32 k (Intel SDM volume 2, TDPBF16PS: FTZ and DAZ,
// round to nearest, whatever MXCSR says).
//
// Both operands are packed into tiles of 1 KiB: `rows` tiles, 16 lanes of 32 consecutive k, for A;
// `pairs` tiles, 16 pairs of k of 16 lanes, for B. As matrices of 32-bit words the two are each
// other's transpose. One operand is stationary: packed once per block, at most 1 MiB of it in use at
// a time; the other streams past it in strips.
#include "gemm/simd_avx512.h"

#include "gemm/finish.h"

namespace corten::gemm_detail {
namespace {

constexpr int64_t kUnit = 32;          // k per tile
constexpr int64_t kLanes = 16;         // rows or columns per tile
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kRowTiles = 3;       // a register block: 3 tiles of A by 2 of B, 6 accumulators
constexpr int64_t kColTiles = 2;
constexpr int64_t kRows = kRowTiles * kLanes, kCols = kColTiles * kLanes;

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
// Static, because compilers take _tile_loadconfig to read 8 bytes only and drop the other stores.
const TileConfig kTileConfig = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// A finished register block on its way to C. It is written a few rows at a time between the tile
// operations of the next one, which keep other units of the core busy. A plain struct, so that the
// loops below can hold a copy in registers.
struct Drain {
  const float* src;  // rows kCols apart
  char* dst;
  const float* bias;  // of these columns, or null
  int64_t stride;     // of C's rows in bytes
  int64_t left, each;  // rows still to write, and to write at a time
  DType dtype;
  bool accumulate, stream;

  void some() {
    for (int64_t i = each < left ? each : left; i > 0; --i) row();
  }
  void all() {
    while (left > 0) row();
  }
  void row() {
    Simd::F x0 = Simd::load(src), x1 = Simd::load(src + kLanes);
    if (bias) {
      x0 = Simd::add(x0, Simd::load(bias));
      x1 = Simd::add(x1, Simd::load(bias + kLanes));
    }
    if (dtype == DType::f32) {
      float* c = reinterpret_cast<float*>(dst);
      if (accumulate) {
        x0 = Simd::add(Simd::load(c), x0);
        x1 = Simd::add(Simd::load(c + kLanes), x1);
      }
      if (stream) {
        Simd::stream(c, x0);
        Simd::stream(c + kLanes, x1);
      } else {
        Simd::store(c, x0);
        Simd::store(c + kLanes, x1);
      }
    } else {
      const __m512i packed = _mm512_inserti64x4(_mm512_castsi256_si512(Simd::to_bits16(x0, dtype)),
                                                Simd::to_bits16(x1, dtype), 1);
      if (stream)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(dst), packed);
      else
        _mm512_storeu_si512(dst, packed);
    }
    src += kCols;
    dst += stride;
    --left;
  }
};

// An operand: A with rows as lanes or B with columns as lanes.
struct Operand {
  const void* data;
  bool as_bf16;  // f32 that is rounded as it is packed
  int64_t lane_stride, k_stride;
  int64_t k;   // of the whole product
  bool pairs;  // the tiles it is packed into
};

// One register block: out = (in or zero) + A B over `units` units. A is [unit][tiles][1 KiB], B is
// [unit][2][1 KiB]; in and out are f32 with rows ld apart.
struct RegisterBlock {
  const char *a, *b;
  int64_t units;
  const float* in;  // null: zero
  float* out;
  int64_t in_ld, out_ld;
  Drain drain;  // work to do meanwhile
};

// Accumulators are tiles 0 to 5, A is in 6, B in 7. A passes through L1 without staying, so that B,
// of which every tile is used two or three times, does stay.
#define CORTEN_TILES_BEGIN(row, t0, t1)                          \
  if (r.in) {                                                    \
    _tile_loadd(t0, r.in + (row)*16 * r.in_ld, r.in_ld * 4);     \
    _tile_loadd(t1, r.in + (row)*16 * r.in_ld + 16, r.in_ld * 4); \
  } else {                                                       \
    _tile_zero(t0);                                              \
    _tile_zero(t1);                                              \
  }
#define CORTEN_TILES_END(row, t0, t1)                              \
  _tile_stored(t0, r.out + (row)*16 * r.out_ld, r.out_ld * 4);     \
  _tile_stored(t1, r.out + (row)*16 * r.out_ld + 16, r.out_ld * 4);

// Tile loads are opaque to the compiler: what was stored before must be in memory.
void stores_done() { asm volatile("" ::: "memory"); }

void tiles3(const RegisterBlock& r) {
  stores_done();
  CORTEN_TILES_BEGIN(0, 0, 1)
  CORTEN_TILES_BEGIN(1, 2, 3)
  CORTEN_TILES_BEGIN(2, 4, 5)
  const char *a = r.a, *b = r.b;
  Drain drain = r.drain;
  for (int64_t u = r.units; u > 0; --u, a += 3 * kTileBytes, b += 2 * kTileBytes) {
    _tile_stream_loadd(6, a, 64);
    _tile_loadd(7, b, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 7);
    _tile_stream_loadd(6, a + kTileBytes, 64);
    _tile_dpbf16ps(3, 6, 7);
    _tile_loadd(7, b, 64);
    _tile_dpbf16ps(2, 6, 7);
    _tile_stream_loadd(6, a + 2 * kTileBytes, 64);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(7, b + kTileBytes, 64);
    _tile_dpbf16ps(5, 6, 7);
    drain.some();
  }
  drain.all();
  CORTEN_TILES_END(0, 0, 1)
  CORTEN_TILES_END(1, 2, 3)
  CORTEN_TILES_END(2, 4, 5)
}

void tiles2(const RegisterBlock& r) {
  stores_done();
  CORTEN_TILES_BEGIN(0, 0, 1)
  CORTEN_TILES_BEGIN(1, 2, 3)
  const char *a = r.a, *b = r.b;
  Drain drain = r.drain;
  for (int64_t u = r.units; u > 0; --u, a += 2 * kTileBytes, b += 2 * kTileBytes) {
    _tile_stream_loadd(6, a, 64);
    _tile_loadd(7, b, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(5, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 5);
    _tile_stream_loadd(4, a + kTileBytes, 64);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 4, 5);
    drain.some();
  }
  drain.all();
  CORTEN_TILES_END(0, 0, 1)
  CORTEN_TILES_END(1, 2, 3)
}

void tiles1(const RegisterBlock& r) {
  stores_done();
  CORTEN_TILES_BEGIN(0, 0, 1)
  const char *a = r.a, *b = r.b;
  Drain drain = r.drain;
  for (int64_t u = r.units; u > 0; --u, a += kTileBytes, b += 2 * kTileBytes) {
    _tile_loadd(6, a, 64);
    _tile_loadd(7, b, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(5, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 6, 5);
    drain.some();
  }
  drain.all();
  CORTEN_TILES_END(0, 0, 1)
}

#undef CORTEN_TILES_BEGIN
#undef CORTEN_TILES_END

constexpr void (*kTiles[])(const RegisterBlock&) = {nullptr, tiles1, tiles2, tiles3};

// A `rows` tile of `lanes` lanes and `depth` k, the rest zero.
template <typename T>
void copy_rows(const T* src, int64_t lane_stride, int64_t k_stride, int64_t lanes, int64_t depth,
               uint16_t* out) {
  const __mmask32 mask = depth >= kUnit ? ~__mmask32{0} : (__mmask32{1} << depth) - 1;
  for (int64_t i = 0; i < kLanes; ++i, out += kUnit) {
    __m512i row = _mm512_setzero_si512();
    if (i < lanes)
      row = k_stride == 1 ? Simd::load_bf16(src + i * lane_stride, mask)
                          : Simd::gather_bf16(src + i * lane_stride, k_stride, depth);
    _mm512_store_si512(out, row);
  }
}

// Two `pairs` tiles of `lanes` <= 32 contiguous lanes and `depth` k, the rest zero.
void copy_pairs(const uint16_t* src, int64_t k_stride, int64_t lanes, int64_t depth, uint16_t* out) {
  const __mmask32 mask = lanes >= 2 * kLanes ? ~__mmask32{0} : (__mmask32{1} << lanes) - 1;
  const __m512i spread = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const auto load = [&](int64_t l) {
    if (l >= depth) return _mm512_setzero_si512();
    return _mm512_permutexvar_epi64(spread, _mm512_maskz_loadu_epi16(mask, src + l * k_stride));
  };
  for (int64_t l = 0; l < kUnit; l += 2, out += kUnit) {
    const __m512i even = load(l), odd = load(l + 1);
    _mm512_store_si512(out, _mm512_unpacklo_epi16(even, odd));
    _mm512_store_si512(out + kTileBytes / 2, _mm512_unpackhi_epi16(even, odd));
  }
}

// The same of f32: a row of pairs is both k's lanes, rounded by one instruction and interleaved by another.
void copy_pairs(const float* src, int64_t k_stride, int64_t lanes, int64_t depth, uint16_t* out) {
  alignas(64) static constexpr uint16_t kZip[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,
                                                    21, 6, 22, 7, 23, 8,  24, 9,  25, 10, 26,
                                                    11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i zip = _mm512_load_si512(kZip);
  const int64_t right = lanes - kLanes;
  const __mmask16 low = Simd::first(static_cast<int>(lanes));
  const __mmask16 high = right > 0 ? Simd::first(static_cast<int>(right)) : 0;
  const auto load = [&](int64_t l, int64_t from, __mmask16 mask) {
    return l < depth ? _mm512_maskz_loadu_ps(mask, src + l * k_stride + from) : Simd::zero();
  };
  for (int64_t l = 0; l < kUnit; l += 2, out += kUnit) {
    const __m512i left = Simd::join_bf16(load(l, 0, low), load(l + 1, 0, low));
    const __m512i rest = Simd::join_bf16(load(l, kLanes, high), load(l + 1, kLanes, high));
    _mm512_store_si512(out, _mm512_permutexvar_epi16(zip, left));
    _mm512_store_si512(out + kTileBytes / 2, _mm512_permutexvar_epi16(zip, rest));
  }
}

// The cache lines of 32 elements.
template <typename T>
void prefetch32(const T* p) {
  _mm_prefetch(p, _MM_HINT_T1);
  if (sizeof(T) == 4) _mm_prefetch(p + 16, _MM_HINT_T1);
}

void transpose_tile(const void* src, int64_t stride_bytes, uint16_t* out) {
  Simd::transpose(src, stride_bytes, reinterpret_cast<float*>(out), kLanes);
}

// Packs lanes [lane, lane + lanes) of one k unit into [tiles][1 KiB]. `ahead`, if not 0: so many k away
// lies what is packed next, for products that wait for nothing but memory.
template <typename T>
void pack_unit(const Operand& o, int64_t lane, int64_t lanes, int64_t tiles, int64_t unit,
               int64_t ahead, uint16_t* out) {
  constexpr int64_t kTile = kTileBytes / 2;  // in elements
  alignas(64) uint16_t both[2 * kTile];
  const int64_t depth = smaller(kUnit, o.k - unit * kUnit);
  const T* src = static_cast<const T*>(o.data) + lane * o.lane_stride + unit * kUnit * o.k_stride;
  if (o.lane_stride == 1 && o.k_stride != 1) {
    for (int64_t t = 0; t < tiles; t += 2, lanes -= 2 * kLanes, src += 2 * kLanes, out += 2 * kTile) {
      const int64_t count = smaller(lanes, (tiles - t) * kLanes);
      for (int64_t l = 0; ahead && l < kUnit; ++l)
        prefetch32(src + (l + ahead) * o.k_stride);
      if (o.pairs) {
        copy_pairs(src, o.k_stride, count, depth, out);
      } else {
        copy_pairs(src, o.k_stride, count, depth, both);
        transpose_tile(both, 64, out);
        if (t + 1 < tiles) transpose_tile(both + kTile, 64, out + kTile);
      }
    }
    return;
  }
  for (int64_t t = 0; t < tiles; ++t, lanes -= kLanes, src += kLanes * o.lane_stride, out += kTile) {
    for (int64_t i = 0; ahead && i < smaller(lanes, kLanes); ++i)
      prefetch32(src + i * o.lane_stride + ahead * o.k_stride);
    if (!o.pairs) {
      copy_rows(src, o.lane_stride, o.k_stride, lanes, depth, out);
    } else if (sizeof(T) == 2 && o.k_stride == 1 && lanes >= kLanes && depth == kUnit) {
      transpose_tile(src, o.lane_stride * 2, out);
    } else {
      copy_rows(src, o.lane_stride, o.k_stride, lanes, depth, both);
      transpose_tile(both, 64, out);
    }
  }
}

// `count` lanes from `first`, cut into near-equal groups of at most `tiles_each` tiles.
struct Lanes {
  int64_t first, count, tiles, groups;
  Lanes(int64_t begin, int64_t finish, int64_t tiles_each)
      : first(begin), count(finish - begin), tiles(ceil_div(count, kLanes)) {
    if (tiles_each == kColTiles) tiles = round_up(tiles, kColTiles);
    groups = ceil_div(tiles, tiles_each);
  }
  int64_t tile(int64_t group) const { return tiles * group / groups; }
  int64_t tiles_of(int64_t group) const { return tile(group + 1) - tile(group); }
  int64_t offset(int64_t group) const { return tile(group) * kLanes; }
  int64_t lanes_of(int64_t group) const {
    return smaller(count - offset(group), tiles_of(group) * kLanes);
  }
};

// Packs k units [unit, unit + units) of groups [begin, end): each as [unit][tiles][1 KiB], room for
// `held` units, one after the other. Memory is read in long runs, whichever way it lies.
void pack_groups(const Operand& o, const Lanes& lanes, int64_t begin, int64_t end, int64_t unit,
                 int64_t units, int64_t held, int64_t ahead, char* out) {
  const auto one = [&](int64_t i, int64_t u) {
    const int64_t tiles = lanes.tiles_of(i);
    char* to = out + ((lanes.tile(i) - lanes.tile(begin)) * held + tiles * u) * kTileBytes;
    const auto pack = o.as_bf16 ? pack_unit<float> : pack_unit<uint16_t>;
    pack(o, lanes.first + lanes.offset(i), lanes.lanes_of(i), tiles, unit + u,
         (unit + u + 1) * kUnit + ahead <= o.k ? ahead : 0, reinterpret_cast<uint16_t*>(to));
  };
  if (o.k_stride == 1) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t u = 0; u < units; ++u) one(i, u);
  } else {
    for (int64_t u = 0; u < units; ++u)
      for (int64_t i = begin; i < end; ++i) one(i, u);
  }
}

int64_t padded(int64_t columns) { return columns + kLanes; }  // rows of a power of two collide in L1

// At most `most` units, so that all steps are about equal.
int64_t even_step(int64_t units, int64_t most) { return ceil_div(units, ceil_div(units, most)); }

// The stationary operand's part, 1.2 MB, stays in L2 with a strip of the other. Sums are carried from
// one k step to the next in memory: that costs less than reading an operand again.
Blocking plan(const GemmArgs& g) {
  constexpr int64_t kStationary = 768 * 768;  // elements
  constexpr int64_t kCarried = 1024;          // lanes of the streaming operand
  constexpr int64_t kLongest = 32, kStep = 24;  // k units in one step, and in each of several
  Blocking s;
  const int64_t units = ceil_div(g.k, kUnit);
  const bool split = units > kLongest;
  int64_t step = units == 0 ? 1 : split ? even_step(units, kStep) : units;
  int64_t lanes = smaller(kStationary / (step * kUnit) / kRows * kRows, 1024);
  s.m_grain = kLanes;
  s.n_grain = kCols;
  // Transposing an operand costs more than interleaving it: A is transposed once if it must be.
  s.a_stationary = g.a_col_stride != 1 && g.m > kRows && g.n > 768;
  if (g.m <= kRows) {
    // B passes through once, in pieces that stay in L1 and L2.
    const bool runs_of_k = g.b_col_stride != 1;
    step = smaller(step, runs_of_k ? 8 : 4);
    lanes = runs_of_k ? 128 : 256;
  }
  // Lanes that lie side by side are packed several strips at a time, to read long runs of memory.
  if (s.a_stationary) {
    s.strips = g.b_col_stride == 1 ? 4 : 1;
    s.m_block = s.m_step = lanes;
    s.n_step = split ? kCarried : s.strips * kCols;
    s.n_block = g.n;
  } else {
    s.strips = g.a_col_stride == 1 ? 1 : 4;
    s.n_block = s.n_step = lanes;
    s.m_step = split ? kCarried : s.strips * kRows;
    s.m_block = g.m;
  }
  s.m_step = smaller(s.m_step, round_up(g.m, kLanes));
  s.m_block = smaller(s.m_block, round_up(g.m, kLanes));
  s.n_step = smaller(s.n_step, round_up(g.n, kCols));
  s.n_block = smaller(s.n_block, round_up(g.n, kCols));
  s.sums_stride = padded(s.n_step);
  s.k_step = step * kUnit;
  const int64_t still = (s.a_stationary ? s.m_block : s.n_block) / kLanes;
  const int64_t moving = s.strips * (s.a_stationary ? kColTiles : kRowTiles);
  s.scratch_bytes = static_cast<size_t>((still + moving) * step * kTileBytes +
                                        s.m_step * padded(s.n_step) * 4);
  return s;
}

void begin() { _tile_loadconfig(&kTileConfig); }

void end() {
  _tile_release();
  _mm_sfence();
}

// The sums of a block on their way: through `acc` (rows ld apart) while k is split or when finish()
// is needed, through a drain otherwise.
class Results {
 public:
  Results(const Block& block, float* acc, int64_t ld)
      : block_(block), size_(block.args->c_dtype == DType::f32 ? 4 : 2), acc_(acc), ld_(ld) {
    const GemmArgs& g = *block.args;
    const bool lines =
        reinterpret_cast<uintptr_t>(block.c) % 64 == 0 && g.c_row_stride * size_ % 64 == 0;
    drained_ = !g.epilogue && !g.consumer && (lines || !block.stream);
    drain_ = {};
    drain_.stride = g.c_row_stride * size_;
    drain_.dtype = g.c_dtype;
    drain_.accumulate = g.accumulate;
    drain_.stream = block.stream;
  }
  ~Results() { drain_.all(); }

  // Rows [m, m + rows) and columns [n, n + columns) of C, whose sums are at (i, j) of acc.
  struct Part {
    int64_t m, n, i, j, rows, columns;
  };

  // Adds `units` units of packed A and B to a register block.
  void add(const Part& p, const char* a, const char* b, int64_t tiles, int64_t units, bool first,
           bool last) {
    float* sums = acc_ + p.i * ld_ + p.j;
    if (first && block_.args->resume) {
      load_sums(block_, sums, ld_, p.m, p.n, p.rows, p.columns);
      first = false;
    }
    const bool drained = last && drained_ && p.columns == kCols;
    float* out = drained ? buffers_[current_] : sums;
    drain_.each = units > 0 ? ceil_div(drain_.left, units) : drain_.left;
    kTiles[tiles]({a, b, units, first ? nullptr : sums, out, ld_, drained ? kCols : ld_, drain_});
    drain_.left = 0;
    if (!drained) return;
    drain_.src = out;
    drain_.dst = static_cast<char*>(block_.c) + p.m * drain_.stride + p.n * size_;
    drain_.bias = block_.args->bias ? static_cast<const float*>(block_.args->bias) + p.n : nullptr;
    drain_.left = p.rows;
    current_ ^= 1;
  }
  // Finishes what add() has not, given register blocks side by side.
  void finish_rest(const Part& p) {
    const int64_t done = drained_ ? p.columns / kCols * kCols : 0;
    if (done < p.columns)
      finish(block_, acc_ + p.i * ld_ + p.j + done, ld_, p.m, p.n + done, p.rows, p.columns - done);
  }

 private:
  alignas(64) float buffers_[2][kRows * kCols];
  const Block& block_;
  const int64_t size_;  // of an element of C
  float* const acc_;
  const int64_t ld_;
  bool drained_;
  int current_ = 0;
  Drain drain_;
};

void run(const Block& block) {
  const GemmArgs& g = *block.args;
  const Blocking& s = *block.blocking;
  const Operand a = {block.a, g.a_as_bf16, g.a_row_stride, g.a_col_stride, g.k, false};
  const Operand b = {block.b, g.b_as_bf16, g.b_col_stride, g.b_row_stride, g.k, true};
  const bool turned = s.a_stationary;
  const Lanes still = turned ? Lanes(block.m0, block.m1, kRowTiles) : Lanes(block.n0, block.n1, kColTiles);
  const int64_t t0 = turned ? block.n0 : block.m0, t1 = turned ? block.n1 : block.m1;
  const int64_t t_step = turned ? s.n_step : s.m_step, t_tiles = turned ? kColTiles : kRowTiles;
  const int64_t units = ceil_div(g.k, kUnit), step = s.k_step / kUnit;

  const int64_t ld = s.sums_stride;
  float* const acc = static_cast<float*>(block.scratch);
  char* const moving_pack = reinterpret_cast<char*>(acc + s.m_step * ld);
  char* const still_pack = moving_pack + s.strips * t_tiles * step * kTileBytes;
  Results results(block, acc, ld);
  for (int64_t t = t0; t < t1; t += t_step) {
    const Lanes strips(t, smaller(t + t_step, t1), t_tiles);
    int64_t unit = 0;
    do {
      const int64_t count = smaller(step, units - unit);
      const bool first = unit == 0, last = unit + count >= units;
      if (t == t0 || units > step) 
        pack_groups(turned ? a : b, still, 0, still.groups, unit, count, step,
                    g.m <= kRows ? s.k_step : 0, still_pack);
      for (int64_t i = 0; i < strips.groups; ++i) {
        const int64_t batch = i / s.strips * s.strips, batch_end = smaller(batch + s.strips, strips.groups);
        const int64_t from = strips.offset(batch), to = smaller(strips.offset(batch_end), strips.count);
        if (i == batch)
          pack_groups(turned ? b : a, strips, batch, batch_end, unit, count, step, 0, moving_pack);
        const char* strip = moving_pack + (strips.tile(i) - strips.tile(batch)) * step * kTileBytes;
        const int64_t offset = strips.offset(i), lanes = strips.lanes_of(i);
        for (int64_t j = 0; j < still.groups; ++j) {
          const char* panel = still_pack + still.tile(j) * step * kTileBytes;
          const int64_t at = still.offset(j), width = still.lanes_of(j);
          if (turned) {
            results.add({block.m0 + at, t + offset, at, offset, width, lanes}, panel, strip,
                        still.tiles_of(j), count, first, last);
            if (last && i + 1 == batch_end)
              results.finish_rest({block.m0 + at, t + from, at, from, width, to - from});
          } else {
            results.add({t + offset, block.n0 + at, offset, at, lanes, width}, strip, panel,
                        strips.tiles_of(i), count, first, last);
            const int64_t start = j / 4 * 4;  // 128 columns at a time, still in L1
            if (last && (j % 4 == 3 || j + 1 == still.groups))
              results.finish_rest({t + offset, block.n0 + still.offset(start), offset, still.offset(start),
                                   lanes, at + width - still.offset(start)});
          }
        }
      }
      unit += step;
    } while (unit < units);
  }
}

// Two by two tiles: the most operations per tile loaded.
double peak(void* memory, int64_t repeats) {
  constexpr int64_t kUnits = 8;
  begin();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < repeats; ++i) {
    const char* a = static_cast<const char*>(memory);
    const char* b = a + kUnits * 2 * kTileBytes;
    for (int64_t u = 0; u < kUnits; ++u, a += 2 * kTileBytes, b += 2 * kTileBytes) {
      _tile_loadd(6, b, 64);
      _tile_loadd(4, a, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b + kTileBytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, a + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  end();
  return 2.0 * 4 * kLanes * kLanes * kUnit * kUnits * static_cast<double>(repeats);
}

}  // namespace

const Family kBf16Amx = {plan, begin, run, end, peak};

}  // namespace corten::gemm_detail
