// bf16 in pairs, by VDPBF16PS (Intel SDM 2): two products per lane are added to a float.
#include "attention/simd_avx512.h"

#include "attention/tile.h"

namespace corten::attention_detail {
namespace {

/// Numbers first, first + apart, first + 1, first + apart + 1, ... of a permutation.
struct Order {
  alignas(64) uint16_t at[32];
  constexpr Order(int first, int apart) : at{} {
    for (int i = 0; i < 32; ++i) at[i] = static_cast<uint16_t>(first + i / 2 + i % 2 * apart);
  }
  __m512i load() const { return _mm512_load_si512(at); }
};
constexpr Order kLanes{0, 16}, kLowPairs{0, 32}, kHighPairs{16, 32};

/// Units of two bf16.
struct Pairs {
  static constexpr int kPair = 2;
  static Simd::F mac(Simd::F a, Simd::F b, Simd::F acc) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  /// A vector of consecutive pairs, zeros from number `count` on.
  static Simd::F load(const uint16_t* p, int64_t count) {
    const uint32_t mask = count >= 32 ? 0xffffffffu : count <= 0 ? 0 : (1u << count) - 1;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, p));
  }
  /// p[j] and q[j] as the pair of lane j; q may be null: zeros.
  static Simd::F interleave_part(const uint16_t* p, const uint16_t* q, int64_t count) {
    const Simd::M m = Simd::first(count);
    return zip(_mm256_maskz_loadu_epi16(m, p), q ? _mm256_maskz_loadu_epi16(m, q) : _mm256_setzero_si256());
  }
  /// The same of 32 numbers, as two vectors.
  static void interleave(const uint16_t* p, const uint16_t* q, float* out) {
    const __m512i x = _mm512_loadu_si512(p), y = _mm512_loadu_si512(q);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(x, kLowPairs.load(), y));
    _mm512_storeu_si512(out + Simd::kWidth, _mm512_permutex2var_epi16(x, kHighPairs.load(), y));
  }
  /// low and high rounded, as the pairs of their lanes.
  static Simd::F round(Simd::F low, Simd::F high) {
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(kLanes.load(), both(low, high)));
  }
  /// Numbers side by side.
  static void store(uint16_t* p, Simd::F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Simd::bf16(x)); }
  static void store(uint16_t* p, Simd::F x, Simd::F next) { _mm512_storeu_si512(p, both(x, next)); }

 private:
  static __m512i both(Simd::F low, Simd::F high) { return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }
  static Simd::F zip(__m256i low, __m256i high) {
    return _mm512_castsi512_ps(
        _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
  }
};

}  // namespace
}  // namespace corten::attention_detail

#include "attention/family.h"

namespace corten::attention_detail {

const Family kAvx512Bf16 = make_family<Pairs>();

}  // namespace corten::attention_detail
