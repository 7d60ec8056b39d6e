#include "quant/pack_panel.h"

#include <immintrin.h>

namespace corten::quant_detail {
namespace {

constexpr int64_t kColumns = 16;

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

/// The largest magnitude; infinity if a value is no finite number.
float largest(const float* w, int64_t count) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 most = _mm256_setzero_ps(), zero = _mm256_setzero_ps();
  for (int64_t i = 0; i < count; i += 8) {
    const __m256 v = _mm256_loadu_ps(w + i);
    most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v));
    zero = _mm256_add_ps(zero, _mm256_sub_ps(v, v));  // NaN of infinities and of NaN
  }
  return sum8(zero) == 0 ? max8(most) : __builtin_inff();
}

inline __m256 round4(__m256 w, __m256 inverse) {
  const __m256 q =
      _mm256_round_ps(_mm256_mul_ps(w, inverse), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm256_min_ps(_mm256_max_ps(q, _mm256_set1_ps(-8)), _mm256_set1_ps(7));
}

struct Fit {
  float error;  // sum of (w - scale q)^2
  float scale;  // as f16 holds it
};

float to_half_and_back(float x) {
  return _cvtsh_ss(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
}

/// The error of a scale, and the scale that is best for the same integers: sum of w q / sum of q^2.
Fit try_scale(const float* w, int64_t count, float wanted, float* better) {
  const float scale = to_half_and_back(wanted);
  *better = 0;
  if (scale == 0) return {__builtin_inff(), 0};
  const __m256 inverse = _mm256_set1_ps(1 / scale), scales = _mm256_set1_ps(scale);
  __m256 error = _mm256_setzero_ps(), wq = _mm256_setzero_ps(), qq = _mm256_setzero_ps();
  for (int64_t i = 0; i < count; i += 8) {
    const __m256 v = _mm256_loadu_ps(w + i), q = round4(v, inverse);
    const __m256 rest = _mm256_fnmadd_ps(scales, q, v);
    error = _mm256_fmadd_ps(rest, rest, error);
    wq = _mm256_fmadd_ps(v, q, wq);
    qq = _mm256_fmadd_ps(q, q, qq);
  }
  const float squares = sum8(qq);
  if (squares > 0) *better = sum8(wq) / squares;
  return {sum8(error), scale};
}

/// Magnitudes of the largest weight, as multiples of the scale. The 4 bits reach from -8 to 7, so
/// that it takes the negative side.
constexpr float kReach[] = {8, 7.5f, 7, 8.5f, 6.5f, 9};

float best_scale(const float* w, int64_t count) {
  float most = 0;
  for (int64_t i = 0; i < count; ++i)
    if (__builtin_fabsf(w[i]) > __builtin_fabsf(most)) most = w[i];
  Fit best{__builtin_inff(), 0};
  for (float reach : kReach) {
    float scale = -most / reach;
    for (int turn = 0; turn < 2; ++turn) {
      float better;
      const Fit fit = try_scale(w, count, scale, &better);
      if (fit.error < best.error) best = fit;
      scale = better;
    }
  }
  return best.scale;
}

}  // namespace

bool pack_panel8(const float* w, int64_t padded_k, uint8_t* out, float* scale) {
  for (int64_t j = 0; j < kColumns; ++j, w += padded_k) {
    const float most = largest(w, padded_k);
    if (!(most < __builtin_inff())) return false;
    scale[j] = most / 127;
    // Weights so small that the inverse overflows count as zeros.
    const float inverse = most > 0x1p-119f ? 127 / most : 0;
    for (int64_t k = 0; k < padded_k; ++k)
      out[k / 4 * 64 + j * 4 + k % 4] =
          static_cast<uint8_t>(_mm_cvtss_si32(_mm_set_ss(w[k] * inverse)) + 128);
  }
  return true;
}

bool pack_panel4(const float* w, int64_t padded_k, int64_t group, uint8_t* out, uint16_t* scale) {
  for (int64_t i = 0; i < padded_k / 8 * 64; ++i) out[i] = 0;
  constexpr float kMost = 65504;  // of f16
  for (int64_t j = 0; j < kColumns; ++j, w += padded_k)
    for (int64_t g = 0; g < padded_k / group; ++g) {
      if (!(largest(w + g * group, group) / 8 < kMost)) return false;
      const float s = best_scale(w + g * group, group);
      scale[g * kColumns + j] = _cvtss_sh(s, _MM_FROUND_TO_NEAREST_INT);
      const __m256 inverse = _mm256_set1_ps(s != 0 ? 1 / s : 0);
      for (int64_t i = g * group; i < (g + 1) * group; i += 8) {
        alignas(32) int32_t q[8];
        _mm256_store_si256(reinterpret_cast<__m256i*>(q),
                           _mm256_cvtps_epi32(round4(_mm256_loadu_ps(w + i), inverse)));
        for (int64_t b = 0; b < 4; ++b)
          out[i / 8 * 64 + j * 4 + b] = static_cast<uint8_t>((q[b] + 8) | (q[b + 4] + 8) << 4);
      }
    }
  return true;
}

}  // namespace corten::quant_detail
