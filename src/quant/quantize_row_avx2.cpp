// Rows of activations as int8: one implementation for all families, so that they have the same
// bits.
#include "gemm/simd_avx2.h"

#include "quant/block.h"

namespace corten::quant_detail {
namespace {

using gemm_detail::Simd;

template <DType D>
__m256 load(const void* x, int64_t at, int64_t k) {
  const int64_t left = k - at;
  if (left >= 8) {
    if constexpr (D == DType::f32)
      return Simd::load(static_cast<const float*>(x) + at);
    else
      return Simd::load16(static_cast<const uint16_t*>(x) + at, D);
  }
  if (left <= 0) return Simd::zero();
  if constexpr (D == DType::f32)
    return Simd::load(static_cast<const float*>(x) + at, static_cast<int>(left));
  else
    return Simd::load16(static_cast<const uint16_t*>(x) + at, D, static_cast<int>(left));
}

inline __m256 magnitude(__m256 x) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

// The 8 lanes combined by halves.
inline float sum8(__m256 x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max8(__m256 x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline int32_t sum8(__m256i x) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
}

template <DType D>
void quantize(const void* x, int64_t k, int64_t padded_k, int64_t group, float threshold, int8_t* a,
              const Rows& rows, int64_t row) {
  const int64_t groups = padded_k / group;
  int32_t* const sums = rows.sums + row * groups;
  // Squares in 16 lanes by index, combined by halves.
  __m256 low = Simd::zero(), high = Simd::zero();
  for (int64_t i = 0; i < k; i += 16) {
    const __m256 x0 = load<D>(x, i, k), x1 = load<D>(x, i + 8, k);
    low = Simd::fma(x0, x0, low);
    high = Simd::fma(x1, x1, high);
  }
  const float mean = sum8(Simd::add(low, high)) / static_cast<float>(k);
  rows.outliers[row] = 0;
  if (!(mean < __builtin_inff())) {
    rows.scale[row] = __builtin_nanf("");
    for (int64_t i = 0; i < padded_k; ++i) a[i] = 0;
    for (int64_t g = 0; g < groups; ++g) sums[g] = 0;
    return;
  }
  constexpr float kSmallestMean =
      0x1p-100f;  // squares of what is much smaller than the rest may be lost, and nothing else
  const float limit =
      threshold > 0 && mean > kSmallestMean ? threshold * __builtin_sqrtf(mean) : __builtin_inff();
  const __m256 limits = _mm256_set1_ps(limit);
  __m256 most = Simd::zero();
  int32_t count = 0;
  for (int64_t i = 0; i < k; i += 8) {
    const __m256 v = load<D>(x, i, k), size = magnitude(v);
    const __m256 beyond = _mm256_cmp_ps(size, limits, _CMP_GT_OQ);
    most = _mm256_max_ps(most, _mm256_andnot_ps(beyond, size));
    int found = _mm256_movemask_ps(beyond);
    if (!found) continue;
    alignas(32) float values[8];
    _mm256_store_ps(values, v);
    // There is room for all of them: more than k / threshold^2 elements cannot be beyond the limit
    // (Chebyshev's inequality).
    for (; found != 0 && count < rows.most_outliers; found &= found - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(found));
      rows.outlier_k[row * rows.most_outliers + count] = static_cast<int32_t>(i + lane);
      rows.outlier_x[row * rows.most_outliers + count] = values[lane];
      ++count;
    }
  }
  rows.outliers[row] = count;
  const float largest = max8(most);
  constexpr float kSmallest = 0x1p-119f;  // 127 / x is finite and x / 127 is normal above it
  rows.scale[row] = largest > kSmallest ? largest / 127 : 0;
  const __m256 inverse = _mm256_set1_ps(largest > kSmallest ? 127 / largest : 0);
  for (int64_t g = 0; g < groups; ++g) {
    __m256i total = _mm256_setzero_si256();
    for (int64_t i = g * group; i < (g + 1) * group; i += 8) {
      const __m256 v = load<D>(x, i, k);
      const __m256 kept = _mm256_andnot_ps(_mm256_cmp_ps(magnitude(v), limits, _CMP_GT_OQ), v);
      const __m256i q = _mm256_cvtps_epi32(Simd::mul(kept, inverse));
      total = _mm256_add_epi32(total, q);
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(a + i), _mm_packs_epi16(words, words));
    }
    sums[g] = sum8(total);
  }
}

}  // namespace

void quantize_row(const void* x, DType dtype, int64_t k, int64_t padded_k, int64_t group,
                  float threshold, int8_t* a, const Rows& rows, int64_t row) {
  if (dtype == DType::f32)
    return quantize<DType::f32>(x, k, padded_k, group, threshold, a, rows, row);
  if (dtype == DType::bf16)
    return quantize<DType::bf16>(x, k, padded_k, group, threshold, a, rows, row);
  quantize<DType::f16>(x, k, padded_k, group, threshold, a, rows, row);
}

void unpack4(const uint8_t* packed, int64_t padded_k, uint8_t* out) {
  const __m256i low = _mm256_set1_epi8(15);
  for (int64_t k = 0; k < padded_k; k += 8, packed += 64, out += 128)
    for (int h = 0; h < 64; h += 32) {
      const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + h));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + h), _mm256_and_si256(both, low));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 + h),
                          _mm256_and_si256(_mm256_srli_epi16(both, 4), low));
    }
}

}  // namespace corten::quant_detail
