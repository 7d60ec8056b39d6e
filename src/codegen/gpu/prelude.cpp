#include "codegen/gpu/prelude.h"

namespace corten::codegen::gpu {

// Every operation rounds once: the text is compiled without contraction, flushing of subnormals or
// approximate division.
std::string_view prelude() {
  return R"CUDA(
typedef long long i64;
typedef unsigned long long uint64;
typedef unsigned int uint32;
typedef unsigned short uint16;
typedef unsigned char uint8;

template <int N>
struct Words {
  i64 w[N];
};

#ifdef CORTEN_HOST
// One fiber per thread of a block; what they share goes through hooks.
struct Host {
  int thread, block;
  void (*barrier)(int line);
  int (*barrier_or)(int line, int value);
  uint32 (*ballot)(int line, int value);
  uint64 (*shuffle)(int line, uint64 value, int mask);
  void (*memory)(const void* place, uint64 bytes, int write);
  void (*shared)(const void* place, uint64 bytes, int write);
};
extern "C" Host* corten_host;
Host* corten_host;
#define DEVICE static inline
#define KERNEL(name, threads, words) \
  static void name##_body(const Words<words>& a, int BLOCK); \
  extern "C" void name(const i64* w) { name##_body(*(const Words<words>*)w, corten_host->block); } \
  static void name##_body(const Words<words>& a, int BLOCK)
#define GROUP_KERNEL(name, threads, words) \
  static void name##_body(const Words<words>& a, int BLOCK); \
  extern "C" void name(const i64* table, int launches) { \
    const int k = find_launch(table, launches, corten_host->block); \
    name##_body(*(const Words<words>*)(table + launches + 1 + (i64)k * words), (int)(corten_host->block - table[k])); \
  } \
  static void name##_body(const Words<words>& a, int BLOCK)
#define THREAD (corten_host->thread)
#define BARRIER() corten_host->barrier(__LINE__)
#define BARRIER_OR(x) corten_host->barrier_or(__LINE__, x)
#define BALLOT(x) corten_host->ballot(__LINE__, x)
#define SHUFFLE(x, mask) shuffle_xor(__LINE__, x, mask)
#define SHARED(T, name, n) static Shared<T, n> name
template <typename T>
static inline uint64 to_bits(T x) {
  uint64 b = 0;
  __builtin_memcpy(&b, &x, sizeof x);
  return b;
}
template <typename To, typename From>
static inline To bit_copy(From x) {
  To y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
template <typename T>
static inline T shuffle_xor(int line, T x, int mask) {
  const uint64 b = corten_host->shuffle(line, to_bits(x), mask);
  T y;
  __builtin_memcpy(&y, &b, sizeof y);
  return y;
}
template <typename T, int N>
struct Shared {
  struct Place {
    T* p;
    operator T() const { corten_host->shared(p, sizeof(T), 0); return *p; }
    void operator=(T x) const { *p = x; corten_host->shared(p, sizeof(T), 1); }
  };
  T v[N];
  Place operator[](int i) {
    if (i < 0 || i >= N) corten_host->shared(v, 0, 2);
    return {v + i};
  }
};
static inline void touch(const void* p, uint64 bytes, int write) { corten_host->memory(p, bytes, write); }
static inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline float divide(float a, float b) { return a / b; }
static inline double divide(double a, double b) { return a / b; }
static inline float root(float x) { return __builtin_sqrtf(x); }
static inline double root(double x) { return __builtin_sqrt(x); }
static inline float round_down(float x) { return __builtin_floorf(x); }
static inline double round_down(double x) { return __builtin_floor(x); }
static inline float round_even(float x) { return __builtin_rintf(x); }
static inline double round_even(double x) { return __builtin_rint(x); }
extern "C" double exp(double), log(double), tanh(double), erf(double), sin(double), cos(double);
static inline int first_bit(uint32 x) { return __builtin_ctz(x); }
static inline i64 claim(i64* p) { const i64 old = *p; *p = 1; return old; }
#else
#define DEVICE static __device__ __forceinline__
#define KERNEL(name, threads, words) \
  static __device__ __forceinline__ void name##_body(const Words<words>& a, int BLOCK); \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Words<words> a) { \
    name##_body(a, (int)blockIdx.x); \
  } \
  static __device__ __forceinline__ void name##_body(const Words<words>& a, int BLOCK)
#define GROUP_KERNEL(name, threads, words) \
  static __device__ __forceinline__ void name##_body(const Words<words>& a, int BLOCK); \
  extern "C" __global__ void __launch_bounds__(threads) name(const i64* table, int launches) { \
    const int k = find_launch(table, launches, (int)blockIdx.x); \
    name##_body(*(const Words<words>*)(table + launches + 1 + (i64)k * words), (int)((i64)blockIdx.x - table[k])); \
  } \
  static __device__ __forceinline__ void name##_body(const Words<words>& a, int BLOCK)
#define THREAD ((int)threadIdx.x)
#define BARRIER() __syncthreads()
#define BARRIER_OR(x) __syncthreads_or(x)
#define BALLOT(x) __ballot_sync(0xffffffffu, x)
#define SHUFFLE(x, mask) __shfl_xor_sync(0xffffffffu, x, mask)
#define SHARED(T, name, n) __shared__ T name[n]
DEVICE void touch(const void*, uint64, int) {}
template <typename To, typename From>
DEVICE To bit_copy(From x) {
  union { From from; To to; } u;
  u.from = x;
  return u.to;
}
DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
DEVICE double divide(double a, double b) { return __ddiv_rn(a, b); }
DEVICE float root(float x) { return __fsqrt_rn(x); }
DEVICE double root(double x) { return __dsqrt_rn(x); }
DEVICE float round_down(float x) { return floorf(x); }
DEVICE double round_down(double x) { return floor(x); }
DEVICE float round_even(float x) { return rintf(x); }
DEVICE double round_even(double x) { return rint(x); }
DEVICE int first_bit(uint32 x) { return __ffs((int)x) - 1; }
DEVICE i64 claim(i64* p) { return (i64)atomicCAS((uint64*)p, 0ull, 1ull); }
#endif

// The launch that a block of a grouped kernel belongs to: the last one that starts at or before it.
DEVICE int find_launch(const i64* table, int launches, int block) {
  int low = 0, high = launches - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table[middle] <= block) low = middle;
    else high = middle - 1;
  }
  return low;
}

// n / d of numbers below 2^31 by the multiplier and shift of d.
DEVICE int quotient(int n, i64 by) { return (int)((uint64)(uint32)n * (uint32)by >> (int)(by >> 32)); }

DEVICE float f32(uint32 bits) { return bit_copy<float>(bits); }
DEVICE double f64(uint64 bits) { return bit_copy<double>(bits); }

// Two's complement arithmetic.
DEVICE int add(int a, int b) { return (int)((uint32)a + (uint32)b); }
DEVICE i64 add(i64 a, i64 b) { return (i64)((uint64)a + (uint64)b); }
DEVICE float add(float a, float b) { return a + b; }
DEVICE double add(double a, double b) { return a + b; }
DEVICE int subtract(int a, int b) { return (int)((uint32)a - (uint32)b); }
DEVICE i64 subtract(i64 a, i64 b) { return (i64)((uint64)a - (uint64)b); }
DEVICE int multiply(int a, int b) { return (int)((uint32)a * (uint32)b); }
DEVICE i64 multiply(i64 a, i64 b) { return (i64)((uint64)a * (uint64)b); }
DEVICE int negate(int a) { return (int)(0u - (uint32)a); }
DEVICE i64 negate(i64 a) { return (i64)(0ull - (uint64)a); }
template <typename T>
DEVICE T int_divide(T a, T b) {
  return b == 0 ? (T)0 : b == -1 ? negate(a) : a / b;
}
template <typename T>
DEVICE T int_remainder(T a, T b) {
  return b == 0 || b == -1 ? (T)0 : a % b;
}
template <typename T>
DEVICE T int_absolute(T a) {
  return a < 0 ? negate(a) : a;
}
DEVICE int shift_left(int a, int n) { return (int)((uint32)a << (n & 31)); }
DEVICE i64 shift_left(i64 a, i64 n) { return (i64)((uint64)a << (n & 63)); }
DEVICE int shift_right(int a, int n) { return (int)((uint32)a >> (n & 31)); }
DEVICE i64 shift_right(i64 a, i64 n) { return (i64)((uint64)a >> (n & 63)); }
DEVICE int shift_right_signed(int a, int n) { return a >> (n & 31); }
DEVICE i64 shift_right_signed(i64 a, i64 n) { return a >> (n & 63); }
DEVICE int multiply_high(int a, int b) { return (int)(((uint64)(uint32)a * (uint32)b) >> 32); }

DEVICE int lower(int a, int b) { return a < b ? a : b; }
DEVICE i64 lower(i64 a, i64 b) { return a < b ? a : b; }
DEVICE int higher(int a, int b) { return a < b ? b : a; }
DEVICE i64 higher(i64 a, i64 b) { return a < b ? b : a; }
// IEEE 754-2019 minimum and maximum: NaN if either is NaN, -0 below +0.
DEVICE float lower(float a, float b) {
  const float zero = f32(bit_copy<uint32>(a) | bit_copy<uint32>(b));
  return a < b ? a : b < a ? b : a == b ? zero : f32(0x7fc00000u);
}
DEVICE float higher(float a, float b) {
  const float zero = f32(bit_copy<uint32>(a) & bit_copy<uint32>(b));
  return a < b ? b : b < a ? a : a == b ? zero : f32(0x7fc00000u);
}
DEVICE double lower(double a, double b) {
  const double zero = f64(bit_copy<uint64>(a) | bit_copy<uint64>(b));
  return a < b ? a : b < a ? b : a == b ? zero : f64(0x7ff8000000000000ull);
}
DEVICE double higher(double a, double b) {
  const double zero = f64(bit_copy<uint64>(a) & bit_copy<uint64>(b));
  return a < b ? b : b < a ? a : a == b ? zero : f64(0x7ff8000000000000ull);
}
// x 2^n in two halves, so that the only rounding is the last one: 1.5 2^23 + 254 has 1 as its last place and holds the biases of
// both halves.
DEVICE float scaled(float x, float n) {
  const uint32 i = bit_copy<uint32>(n + 12583166.0f), half = i >> 1;
  return x * f32(half << 23) * f32((i - half) << 23);
}
DEVICE float absolute(float x) { return f32(bit_copy<uint32>(x) & 0x7fffffffu); }
DEVICE double absolute(double x) { return f64(bit_copy<uint64>(x) & 0x7fffffffffffffffull); }

// Truncates and saturates; NaN gives 0.
template <typename F>
DEVICE int to_i32(F x) {
  return x != x ? 0 : x < (F)-2147483648.0 ? (int)0x80000000u : x >= (F)2147483648.0 ? 0x7fffffff : (int)x;
}
template <typename F>
DEVICE i64 to_i64(F x) {
  return x != x                           ? 0
         : x < (F)-9223372036854775808.0  ? (i64)0x8000000000000000ull
         : x >= (F)9223372036854775808.0 ? 0x7fffffffffffffffll
                                          : (i64)x;
}

DEVICE float from_bf16(uint16 x) { return f32((uint32)x << 16); }
#if defined(__CUDA_ARCH__)
DEVICE uint16 to_bf16(float x) {
  uint16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  // Numbers below 2^-126 become zeros.
  const uint32 bits = bit_copy<uint32>(x);
  return (bits & 0x7f800000u) == 0 ? (uint16)(bits >> 16 & 0x8000u) : y;
}
DEVICE uint16 to_f16(float x) {
  uint16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
DEVICE float from_f16(uint16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}
#else
DEVICE uint16 to_bf16(float x) {
  uint32 bits = bit_copy<uint32>(x);
  const uint32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16)(bits >> 16 | 0x40u);
  if (magnitude < 0x00800000u) return (uint16)(bits >> 16 & 0x8000u);
  bits += 0x7fffu + (bits >> 16 & 1u);
  return (uint16)(bits >> 16);
}
DEVICE uint16 to_f16(float x) {
  const uint32 bits = bit_copy<uint32>(x), sign = bits >> 16 & 0x8000u;
  uint32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16)(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return (uint16)(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return (uint16)(sign | (bit_copy<uint32>(f32(magnitude) + 0.5f) - 0x3f000000u));
  magnitude += 0xfffu + (magnitude >> 13 & 1u);
  return (uint16)(sign | (magnitude - 0x38000000u) >> 13);
}
DEVICE float from_f16(uint16 x) {
  const uint32 sign = (uint32)(x & 0x8000u) << 16, exponent = x >> 10 & 31u, fraction = x & 0x3ffu;
  if (exponent == 0) return f32(sign | bit_copy<uint32>((float)fraction * f32(0x33800000u)));
  return f32(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
}
#endif

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
DEVICE uint8 to_e4m3(float x) {
  uint16 y;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(y) : "f"(0.0f), "f"(x));
  return (uint8)y;
}
DEVICE uint8 to_e5m2(float x) {
  uint16 y;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(y) : "f"(0.0f), "f"(x));
  // The instruction keeps what is too large finite.
  const uint32 bits = bit_copy<uint32>(x), magnitude = bits & 0x7fffffffu;
  const uint32 infinity = (bits >> 24 & 0x80u) | 0x7cu;
  return (uint8)(magnitude >= 0x47700000u && magnitude <= 0x7f800000u ? infinity : y);
}
#else
DEVICE uint8 to_e4m3(float x) {
  const uint32 bits = bit_copy<uint32>(x), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint8)(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return (uint8)(sign | 0x7eu);
  if (magnitude < 0x3c800000u) return (uint8)(sign | (bit_copy<uint32>(f32(magnitude) + 16384.0f) - 0x46800000u));
  return (uint8)(sign | (magnitude + 0x7ffffu + (magnitude >> 20 & 1u) - 0x3c000000u) >> 20);
}
DEVICE uint8 to_e5m2(float x) {
  const uint32 bits = bit_copy<uint32>(x), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint8)(sign | 0x7fu);
  if (magnitude >= 0x47700000u) return (uint8)(sign | 0x7cu);
  if (magnitude < 0x38800000u) return (uint8)(sign | (bit_copy<uint32>(f32(magnitude) + 128.0f) - 0x43000000u));
  return (uint8)(sign | (magnitude + 0xfffffu + (magnitude >> 21 & 1u) - 0x38000000u) >> 21);
}
#endif
DEVICE float from_e4m3(uint8 x) {
  const uint32 sign = (uint32)(x & 0x80u) << 24, magnitude = x & 0x7fu;
  if (magnitude == 0x7fu) return f32(sign | 0x7fc00000u);
  // The bits are those of a number that is 2^120 times too small.
  return f32(sign | bit_copy<uint32>(f32(magnitude << 20) * f32(0x7b800000u)));
}
DEVICE float from_e5m2(uint8 x) { return from_f16((uint16)(x << 8)); }

template <int N, typename T>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T v[N];
};
template <typename T>
DEVICE T read(const T* p) {
  touch(p, sizeof(T), 0);
  return *p;
}
template <int N, typename T>
DEVICE void read_pack(T (&x)[N], const T* p) {
  touch(p, sizeof(x), 0);
  const Pack<N, T> pack = *(const Pack<N, T>*)p;
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = pack.v[i];
}
template <typename T>
DEVICE void write(T* p, T x) {
  touch(p, sizeof(T), 1);
  *p = x;
}
template <int N, typename T>
DEVICE void write_pack(T* p, const T (&x)[N]) {
  touch(p, sizeof(x), 1);
  Pack<N, T> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = x[i];
  *(Pack<N, T>*)p = pack;
}

// Whether a gathered index exists; the first one that does not is reported.
DEVICE bool in_range(i64 index, i64 bound, i64 fault, int access) {
  if (index >= 0 && index < bound) return true;
  i64* p = (i64*)fault;
  if (claim(p) == 0) {
    p[1] = access;
    p[2] = index;
  }
  return false;
}
)CUDA";
}

}  // namespace corten::codegen::gpu
