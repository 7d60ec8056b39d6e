// bf16 in pairs, by VDPBF16PS (Intel SDM 2): two products per lane are added to a float.
#include "attention/simd_avx512.h"

#include "attention/tile.h"

namespace corten::attention_detail {
namespace {

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
  static Simd::F interleave(const uint16_t* p, const uint16_t* q, int64_t count) {
    const Simd::M m = Simd::first(count);
    return zip(_mm256_maskz_loadu_epi16(m, p), q ? _mm256_maskz_loadu_epi16(m, q) : _mm256_setzero_si256());
  }
  static Simd::F round(Simd::F low, Simd::F high) { return zip(Simd::bf16(low), Simd::bf16(high)); }
  static void store(uint16_t* p, Simd::F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Simd::bf16(x)); }

 private:
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
