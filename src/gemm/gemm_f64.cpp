// float64: one fma chain per element, on any machine with AVX2 and FMA.
#include <cmath>
#include <cstring>

#include "gemm/block.h"

namespace corten::gemm_detail {
namespace {

constexpr int kRows = 4, kCols = 8;
constexpr int64_t kStep = 256;  // k per packed panel

Blocking plan(const GemmArgs& g) {
  Blocking s;
  s.a_stationary = false;
  s.strips = 1;
  s.k_step = kStep;
  s.n_step = kCols;
  s.m_step = s.m_grain = kRows;
  s.n_grain = s.n_block = kCols;
  s.m_block = 64;
  s.sums_stride = kCols;
  s.scratch_bytes = sizeof(double) * static_cast<size_t>(kStep * kCols + s.m_block * kCols);
  return s;
}

// acc[rows][kCols] over kc steps of k; the attribute makes std::fma one instruction.
__attribute__((target("avx2,fma"))) void tile(const double* a, int64_t a_rs, int64_t a_cs,
                                              const double* b, double* c, int64_t kc) {
  double acc[kRows][kCols];
  std::memcpy(acc, c, sizeof(acc));
  for (int64_t k = 0; k < kc; ++k)
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kCols; ++j)
        acc[i][j] = __builtin_fma(a[i * a_rs + k * a_cs], b[k * kCols + j], acc[i][j]);
  std::memcpy(c, acc, sizeof(acc));
}

__attribute__((target("avx2,fma"))) void row(const double* a, int64_t a_cs, const double* b,
                                             double* c, int64_t kc) {
  double acc[kCols];
  std::memcpy(acc, c, sizeof(acc));
  for (int64_t k = 0; k < kc; ++k)
    for (int j = 0; j < kCols; ++j) acc[j] = __builtin_fma(a[k * a_cs], b[k * kCols + j], acc[j]);
  std::memcpy(c, acc, sizeof(acc));
}

void run(const Block& block) {
  const GemmArgs& g = *block.args;
  double* const b_pack = static_cast<double*>(block.scratch);
  double* const acc = b_pack + kStep * kCols;
  const double* a = static_cast<const double*>(block.a);
  const double* b = static_cast<const double*>(block.b);
  const double* bias = static_cast<const double*>(g.bias);
  const int64_t rows = block.m1 - block.m0, columns = block.n1 - block.n0;
  std::memset(acc, 0, sizeof(double) * static_cast<size_t>(rows * kCols));
  if (g.resume)
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(acc + i * kCols, static_cast<const double*>(block.c) + (block.m0 + i) * g.c_row_stride + block.n0,
                  sizeof(double) * static_cast<size_t>(columns));
  for (int64_t k = 0; k < g.k; k += kStep) {
    const int64_t kc = g.k - k < kStep ? g.k - k : kStep;
    for (int64_t l = 0; l < kc; ++l)
      for (int64_t j = 0; j < kCols; ++j)
        b_pack[l * kCols + j] =
            j < columns ? b[(k + l) * g.b_row_stride + (block.n0 + j) * g.b_col_stride] : 0.0;
    int64_t i = 0;
    const double* from = a + block.m0 * g.a_row_stride + k * g.a_col_stride;
    for (; i + kRows <= rows; i += kRows)
      tile(from + i * g.a_row_stride, g.a_row_stride, g.a_col_stride, b_pack, acc + i * kCols, kc);
    for (; i < rows; ++i)
      row(from + i * g.a_row_stride, g.a_col_stride, b_pack, acc + i * kCols, kc);
  }
  double* c = static_cast<double*>(block.c);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double x = acc[i * kCols + j];
      if (bias) x += bias[block.n0 + j];
      double& out = c[(block.m0 + i) * g.c_row_stride + block.n0 + j];
      out = g.accumulate ? out + x : x;
    }
}

void begin() {}
void end() {}

double peak(void* memory, int64_t repeats) {
  double* c = static_cast<double*>(memory);
  const double *a = c + kRows * kCols, *b = a + kRows * kStep;
  for (int64_t i = 0; i < repeats; ++i) tile(a, 1, kRows, b, c, kStep);
  return 2.0 * kRows * kCols * kStep * static_cast<double>(repeats);
}

}  // namespace

const Family kF64 = {plan, begin, run, end, peak};

}  // namespace corten::gemm_detail
