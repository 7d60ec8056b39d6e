#include "cuda/attention/texts.h"

namespace corten::cuda {

// Fragments are those of the PTX ISA's mma.m16n8k16: lane l has, with g = l / 4 and t = l % 4, of a
// 16 x 8 result the columns 2t and 2t + 1 of rows g and g + 8. Results of one product are operands
// of the next without leaving the registers.
//
// Rows of tiles in shared memory are 16 bytes longer than their numbers, so that eight of them
// start in different banks.
std::string_view tile_text() {
  return R"CUDA(
#ifdef CORTEN_HOST
// A warp's lanes meet, and `run` does what the hardware does with all of them.
struct TileHost {
  void (*together)(int line, void* lane, void (*run)(void* const* lanes));
  void (*shared)(int at, int bytes, int write);
  void (*copy)(int at, const void* from, int bytes, int valid);
  void (*commit)();
  void (*wait)(int pending);
  void (*fault)(const char* what);
};
extern "C" {
TileHost* corten_tile_host;
alignas(128) unsigned char corten_shared[232448];
}
#define DEVICE_MEMBER inline
#define DYNAMIC_SHARED corten_shared
#define SHARED_ACCESS(at, bytes, write) corten_tile_host->shared(at, bytes, write)

DEVICE float exp2_fast(float x) { return __builtin_exp2f(x); }
DEVICE float log2_fast(float x) { return __builtin_log2f(x); }
DEVICE float larger(float a, float b) { return __builtin_fmaxf(a, b); }
DEVICE uint32 high_product(uint32 a, uint32 b) { return (uint32)(((uint64)a * b) >> 32); }
template <bool kBf16>
DEVICE uint32 pack_halves(float low, float high) {
  return kBf16 ? to_bf16(low) | (uint32)to_bf16(high) << 16 : to_f16(low) | (uint32)to_f16(high) << 16;
}

struct MatrixLane {
  int at;
  uint32* words;
};
// Matrix i has its rows, of 16 bytes, where lanes 8i to 8i + 7 say; lane l gets two neighbours of its row l / 4, or of its
// column.
template <bool kTransposed>
static void load_matrices_run(void* const* lanes) {
  for (int i = 0; i < 4; ++i) {
    uint32 banks = 0;  // groups of four, which 16 bytes fill
    for (int row = 0; row < 8; ++row) banks |= 1u << ((const MatrixLane*)lanes[8 * i + row])->at / 16 % 8;
    if (banks != 255) corten_tile_host->fault("rows of a matrix share banks of shared memory");
  }
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) {
      uint16 x[2];
      for (int e = 0; e < 2; ++e) {
        const int row = kTransposed ? l % 4 * 2 + e : l / 4, column = kTransposed ? l / 4 : l % 4 * 2 + e;
        __builtin_memcpy(x + e, corten_shared + ((const MatrixLane*)lanes[8 * i + row])->at + 2 * column, 2);
      }
      ((const MatrixLane*)lanes[l])->words[i] = x[0] | (uint32)x[1] << 16;
    }
}
template <bool kTransposed>
DEVICE void load_matrices(uint32 (&words)[4], int at) {
  corten_tile_host->shared(at, 16, 0);
  MatrixLane lane{at, words};
  corten_tile_host->together(__LINE__, &lane, load_matrices_run<kTransposed>);
}

struct ProductLane {
  float* c;
  const uint32* a;
  uint32 b[2];
};
template <bool kBf16>
static void multiply_run(void* const* lanes) {
  const auto number = [](uint32 word, int half) {
    const uint16 x = (uint16)(word >> 16 * half);
    return kBf16 ? from_bf16(x) : from_f16(x);
  };
  float a[16][16], b[16][8];
  for (int l = 0; l < 32; ++l) {
    const ProductLane& lane = *(const ProductLane*)lanes[l];
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < 2; ++e) a[g + i % 2 * 8][2 * t + e + i / 2 * 8] = number(lane.a[i], e);
    for (int i = 0; i < 2; ++i)
      for (int e = 0; e < 2; ++e) b[2 * t + e + 8 * i][g] = number(lane.b[i], e);
  }
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) {
      const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
      float sum = ((const ProductLane*)lanes[l])->c[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      ((const ProductLane*)lanes[l])->c[i] = sum;
    }
}
template <bool kBf16>
DEVICE void multiply_tiles(float (&c)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
  ProductLane lane{c, a, {b0, b1}};
  corten_tile_host->together(__LINE__, &lane, multiply_run<kBf16>);
}

// `bytes` (16, or 4) from global to shared memory, zeros if not `valid`, behind the thread's back; `from` is an operand's address
// in any case.
template <int kBytes>
DEVICE void copy_async(int at, const void* from, bool valid) {
  if (valid) touch(from, kBytes, 0);
  corten_tile_host->copy(at, from, kBytes, valid);
}
// What was copied since the last commit is a group; waits until no more than kPending groups are on their way.
DEVICE void commit_copies() { corten_tile_host->commit(); }
template <int kPending>
DEVICE void wait_for_copies() { corten_tile_host->wait(kPending); }
#else
extern __shared__ __align__(128) unsigned char corten_shared[];
#define DEVICE_MEMBER __device__ __forceinline__
#define DYNAMIC_SHARED corten_shared
#define SHARED_ACCESS(at, bytes, write)

// Two units in the last place at most, and one instruction.
DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE uint32 high_product(uint32 a, uint32 b) { return __umulhi(a, b); }
template <bool kBf16>
DEVICE uint32 pack_halves(float low, float high) {
  uint32 y;
  if (kBf16) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
DEVICE uint32 shared_address(int at) { return (uint32)__cvta_generic_to_shared(corten_shared) + (uint32)at; }
template <bool kTransposed>
DEVICE void load_matrices(uint32 (&w)[4], int at) {
  if (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3]) : "r"(shared_address(at)));
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3]) : "r"(shared_address(at)));
}
template <bool kBf16>
DEVICE void multiply_tiles(float (&c)[4], const uint32 (&a)[4], uint32 b0, uint32 b1) {
  if (kBf16)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <int kBytes>
DEVICE void copy_async(int at, const void* from, bool valid) {
  if (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 : : "r"(shared_address(at)), "l"(from), "r"(valid ? 16 : 0) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 : : "r"(shared_address(at)), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int kPending>
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory"); }
#endif

template <int N>
DEVICE void read_shared(float (&x)[N], int at) {
  SHARED_ACCESS(at, 4 * N, 0);
  const Pack<N, float> pack = *(const Pack<N, float>*)(DYNAMIC_SHARED + at);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = pack.v[i];
}
template <int N, typename T>
DEVICE void write_shared(int at, const T (&x)[N]) {
  SHARED_ACCESS(at, (int)sizeof(x), 1);
  Pack<N, T> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = x[i];
  *(Pack<N, T>*)(DYNAMIC_SHARED + at) = pack;
}

// Rows of a matrix: kColumns numbers, neighbours in memory.
template <typename T>
struct Matrix {
  const T* p;
  i64 stride;
  int rows;
};

// Rows first .. first + kRows of a matrix to shared memory, zeros where it has none, up to kDepth columns.
template <typename T, int kThreads, int kRows, int kColumns, int kDepth, int kRowBytes, bool kAligned>
DEVICE void load_tile(int at, const Matrix<T>& m, int first) {
  constexpr int kPack = 16 / (int)sizeof(T), kPacks = kDepth / kPack, kAll = kRows * kPacks;
  // Threads that walk down a column of packs need their place in the first rows only once.
  constexpr bool kStraight = kThreads % kPacks == 0;
  const int row0 = THREAD / kPacks, column0 = THREAD % kPacks * kPack;
  const i64 offset0 = row0 * m.stride + column0;
#pragma unroll
  for (int from = 0; from < kAll; from += kThreads) {
    const int i = from + THREAD, row = kStraight ? from / kPacks + row0 : i / kPacks, column = kStraight ? column0 : i % kPacks * kPack;
    const int to = at + row * kRowBytes + column * (int)sizeof(T);
    if (kAll % kThreads != 0 && i >= kAll) break;
    const bool valid = first + row < m.rows && column < kColumns;
    const i64 offset = kStraight ? (first + from / kPacks) * m.stride + offset0 : (first + row) * m.stride + column;
    const T* const p = m.p + (valid ? offset : 0);
    if (kAligned) {
      copy_async<16>(to, p, valid);
    } else {
      T x[kPack];
#pragma unroll
      for (int e = 0; e < kPack; ++e) x[e] = valid && column + e < kColumns ? read(p + e) : (T)0;
      write_shared(to, x);
    }
  }
}

// bf16 and f16: products by the tensor cores, whose sums are f32. Rows of the left operand stay in registers.
template <bool kBf16, int kColumns>
struct Halves {
  typedef uint16 Element;
  static constexpr int kColumns_ = kColumns, kDepth = (kColumns + 15) / 16 * 16, kRowBytes = kDepth * 2 + 16;
  static constexpr int kOperandRowBytes = 0;  // of left operands in shared memory

  template <int M>
  struct Rows {
    uint32 words[M][kDepth / 16][4];
    // Of a warp: 16 M rows from `first` on.
    template <int kThreads, bool kAligned>
    DEVICE_MEMBER void load(int, const Matrix<uint16>& m, int first) {
      const int lane = THREAD % 32;
#pragma unroll
      for (int i = 0; i < M; ++i)
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int row = first + THREAD / 32 * 16 * M + 16 * i + lane / 4 + e % 2 * 8, column = 16 * k + lane % 4 * 2 + e / 2 * 8;
            const uint16* const p = m.p + (i64)row * m.stride + column;
            uint32 x = 0;
            if (row < m.rows && column < kColumns) {
              if (kAligned) x = read((const uint32*)p);
              else x = read(p) | (column + 1 < kColumns ? (uint32)read(p + 1) << 16 : 0);
            }
            words[i][k][e] = x;
          }
    }
  };

  // s = rows times the tile's rows from `first` on, 8 N of them.
  template <int M, int N>
  DEVICE void multiply_rows(float (&s)[M][N][4], const Rows<M>& rows, int tile, int first) {
    const int lane = THREAD % 32, at = tile + (first + lane / 16 * 8 + lane % 8) * kRowBytes + lane / 8 % 2 * 16;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][n][e] = 0;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k)
#pragma unroll
      for (int n = 0; n < N; n += 2) {
        uint32 b[4];
        load_matrices<false>(b, at + 8 * n * kRowBytes + 32 * k);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          multiply_tiles<kBf16>(s[m][n], rows.words[m][k], b[0], b[1]);
          multiply_tiles<kBf16>(s[m][n + 1], rows.words[m][k], b[2], b[3]);
        }
      }
  }
  // sum += p times the tile's rows from `first` on, p rounded.
  template <int M, int N>
  DEVICE void add_product(float (&sum)[M][kDepth / 8][4], const float (&p)[M][N][4], int tile, int first) {
    const int lane = THREAD % 32, at = tile + (first + lane % 16) * kRowBytes + lane / 16 * 16;
#pragma unroll
    for (int k = 0; k < N / 2; ++k) {
      uint32 a[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          a[m][e] = pack_halves<kBf16>(p[m][2 * k + e / 2][e % 2 * 2], p[m][2 * k + e / 2][e % 2 * 2 + 1]);
#pragma unroll
      for (int n = 0; n < kDepth / 8; n += 2) {
        uint32 b[4];
        load_matrices<true>(b, at + 16 * k * kRowBytes + 16 * n);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          multiply_tiles<kBf16>(sum[m][n], a[m], b[0], b[1]);
          multiply_tiles<kBf16>(sum[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  // Columns `column` and the next one of a row of a result.
  template <bool kAligned>
  DEVICE void store(uint16* row, int column, float x, float y) {
    if (column >= kColumns) return;
    const uint16 low = kBf16 ? to_bf16(x) : to_f16(x), high = kBf16 ? to_bf16(y) : to_f16(y);
    if (kAligned) return write((uint32*)(row + column), low | (uint32)high << 16);
    write(row + column, low);
    if (column + 1 < kColumns) write(row + column + 1, high);
  }
  DEVICE float number(uint16 x) { return kBf16 ? from_bf16(x) : from_f16(x); }
};

// f32: the same fragments by fused multiply-adds. Rows of the left operand are a tile of their own.
template <int kColumns>
struct Floats {
  typedef float Element;
  static constexpr int kColumns_ = kColumns, kDepth = (kColumns + 7) / 8 * 8, kRowBytes = kDepth * 4 + 16;
  static constexpr int kOperandRowBytes = kRowBytes;

  template <int M>
  struct Rows {
    int tile;
    template <int kThreads, bool kAligned>
    DEVICE_MEMBER void load(int at, const Matrix<float>& m, int first) {
      tile = at + (THREAD / 32 * 16 * M) * kRowBytes;
      load_tile<float, kThreads, kThreads / 2 * M, kColumns, kDepth, kRowBytes, kAligned>(at, m, first);
    }
  };

  template <int M, int N>
  DEVICE void multiply_rows(float (&s)[M][N][4], const Rows<M>& rows, int tile, int first) {
    const int g = THREAD % 32 / 4, t = THREAD % 4;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][n][e] = 0;
#pragma unroll 2
    for (int k = 0; k < kDepth; k += 4) {
      float a[M][2][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int e = 0; e < 2; ++e) read_shared(a[m][e], rows.tile + (16 * m + g + 8 * e) * kRowBytes + 4 * k);
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float b[4];
          read_shared(b, tile + (first + 8 * n + 2 * t + c) * kRowBytes + 4 * k);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int m = 0; m < M; ++m)
#pragma unroll
              for (int e = 0; e < 2; ++e) s[m][n][2 * e + c] = fused(a[m][e][i], b[i], s[m][n][2 * e + c]);
        }
    }
  }
  // A quad's lanes have two keys of eight each: they hand them round.
  template <int M, int N>
  DEVICE void add_product(float (&sum)[M][kDepth / 8][4], const float (&p)[M][N][4], int tile, int first) {
    const int t = THREAD % 4;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll 1
      for (int turn = 0; turn < 4; ++turn) {
        float x[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int e = 0; e < 4; ++e) x[m][e] = SHUFFLE(p[m][n][e], turn);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int at = tile + (first + 8 * n + 2 * (t ^ turn) + c) * kRowBytes + 8 * t;
#pragma unroll
          for (int j = 0; j < kDepth / 8; ++j) {
            float b[2];
            read_shared(b, at + 32 * j);
#pragma unroll
            for (int m = 0; m < M; ++m)
#pragma unroll
              for (int e = 0; e < 4; ++e) sum[m][j][e] = fused(x[m][e / 2 * 2 + c], b[e % 2], sum[m][j][e]);
          }
        }
      }
  }
  template <bool kAligned>
  DEVICE void store(float* row, int column, float x, float y) {
    if (column >= kColumns) return;
    write(row + column, x);
    if (column + 1 < kColumns) write(row + column + 1, y);
  }
  DEVICE float number(float x) { return x; }
};
)CUDA";
}

}  // namespace corten::cuda
