// A random product for tests: operands in any dtype and layout, results with guard bytes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "gemm/gemm.h"

namespace corten::test {

inline double to_double(const void* p, int64_t i, DType dtype) {
  switch (dtype) {
    case DType::f32: return static_cast<const float*>(p)[i];
    case DType::bf16: return from_bf16(static_cast<const uint16_t*>(p)[i]);
    case DType::f16: return from_f16(static_cast<const uint16_t*>(p)[i]);
    default: return static_cast<const double*>(p)[i];
  }
}

inline void from_double(void* p, int64_t i, DType dtype, double x) {
  switch (dtype) {
    case DType::f32: static_cast<float*>(p)[i] = static_cast<float>(x); break;
    case DType::bf16: static_cast<uint16_t*>(p)[i] = to_bf16(static_cast<float>(x)); break;
    case DType::f16: static_cast<uint16_t*>(p)[i] = to_f16(static_cast<float>(x)); break;
    default: static_cast<double*>(p)[i] = x;
  }
}

/// The families this machine can run.
inline std::vector<Isa> isas() {
  std::vector<Isa> list;
  const Isa best = best_isa(cpu_features());
  for (Isa isa : kIsas)
    if (isa <= best) list.push_back(isa);
  return list;
}

/// 64-byte aligned bytes between two guards; intact() tells whether the guards still stand.
class Guarded {
 public:
  explicit Guarded(size_t bytes, uint8_t fill = 0xcd) : bytes_(bytes), memory_(bytes + 4 * kGuard, 0xa5) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory_.data());
    start_ = memory_.data() + ((at + kGuard + 63) / 64 * 64 - at);
    std::memset(start_, fill, bytes);
  }
  Guarded(Guarded&&) = default;  // a moved vector keeps its memory
  void* data() { return start_; }
  const void* data() const { return start_; }
  size_t size() const { return bytes_; }
  bool intact() const {
    for (const uint8_t* p = memory_.data(); p < start_; ++p)
      if (*p != 0xa5) return false;
    for (const uint8_t* p = start_ + bytes_; p < memory_.data() + memory_.size(); ++p)
      if (*p != 0xa5) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes_;
  std::vector<uint8_t> memory_;
  uint8_t* start_;
};

/// How an operand lies in memory.
enum class Layout { rows, columns, spread };  // spread: neither stride is 1

struct Matrix {
  int64_t rows, columns, row_stride, col_stride, batch_stride;
  DType dtype;
  Guarded bytes;

  static Matrix make(int64_t batch, int64_t rows, int64_t columns, DType dtype, Layout layout,
                     int64_t padding, std::mt19937& rng, bool random = true) {
    int64_t rs, cs;
    if (layout == Layout::rows) {
      rs = columns + padding, cs = 1;
    } else if (layout == Layout::columns) {
      rs = 1, cs = rows + padding;
    } else {
      cs = 2, rs = 2 * columns + 1 + padding;
    }
    const int64_t extent =
        rows && columns ? (rows - 1) * rs + (columns - 1) * cs + 1 : 0;
    const int64_t total = batch * extent;
    Matrix m{rows, columns, rs, cs, extent, dtype, Guarded(static_cast<size_t>(total) * size_of(dtype))};
    std::uniform_real_distribution<double> uniform(-1, 1);
    if (random)
      for (int64_t i = 0; i < total; ++i) from_double(m.bytes.data(), i, dtype, uniform(rng));
    return m;
  }
  int64_t index(int64_t b, int64_t i, int64_t j) const {
    return b * batch_stride + i * row_stride + j * col_stride;
  }
  double at(int64_t b, int64_t i, int64_t j) const {
    return to_double(bytes.data(), index(b, i, j), dtype);
  }
  void set(int64_t b, int64_t i, int64_t j, double x) {
    from_double(bytes.data(), index(b, i, j), dtype, x);
  }
};

/// A product with its own operands. run() computes it into c.
struct Product {
  Matrix a, b, c;
  GemmArgs args;

  Product(int64_t batch, int64_t m, int64_t n, int64_t k, DType a_dtype, DType b_dtype, DType c_dtype,
          Layout a_layout, Layout b_layout, unsigned seed = 1, int64_t padding = 0)
      : Product(batch, m, n, k, a_dtype, b_dtype, c_dtype, a_layout, b_layout, padding,
                std::mt19937(seed)) {}

  /// Points args at this object's memory (after a move).
  GemmArgs bound() {
    args.a = a.bytes.data();
    args.b = b.bytes.data();
    args.c = c.bytes.data();
    return args;
  }

  /// False if the workspace or C was overrun.
  bool run(ThreadPool& pool, Isa isa) {
    const GemmArgs g = bound();
    Guarded workspace(gemm_workspace_bytes(g, pool.num_threads(), isa), 0xff);  // NaN in any dtype
    gemm(g, workspace.data(), pool, isa);
    return workspace.intact() && c.bytes.intact();
  }

  /// The sum over k and the sum of absolute products, in double.
  void reference(int64_t batch, int64_t i, int64_t j, double* sum, double* magnitude) const {
    *sum = *magnitude = 0;
    for (int64_t k = 0; k < a.columns; ++k) {
      const double x = a.at(batch, i, k) * b.at(batch, k, j);
      *sum += x;
      *magnitude += std::fabs(x);
    }
  }

  std::string text() const {
    return std::string(name(a.dtype)) + "[" + std::to_string(args.m) + "," + std::to_string(args.k) +
           "] x " + std::string(name(b.dtype)) + "[" + std::to_string(args.k) + "," +
           std::to_string(args.n) + "] -> " + std::string(name(c.dtype)) + ", strides " +
           std::to_string(a.row_stride) + "," + std::to_string(a.col_stride) + " and " +
           std::to_string(b.row_stride) + "," + std::to_string(b.col_stride) + ", batch " +
           std::to_string(args.batch[2]);
  }

 private:
  Product(int64_t batch, int64_t m, int64_t n, int64_t k, DType a_dtype, DType b_dtype, DType c_dtype,
          Layout a_layout, Layout b_layout, int64_t padding, std::mt19937 rng)
      : a(Matrix::make(batch, m, k, a_dtype, a_layout, padding, rng)),
        b(Matrix::make(batch, k, n, b_dtype, b_layout, padding, rng)),
        c(Matrix::make(batch, m, n, c_dtype, Layout::rows, padding, rng, false)) {
    args.m = m, args.n = n, args.k = k;
    args.a_dtype = a_dtype, args.b_dtype = b_dtype, args.c_dtype = c_dtype;
    args.a_row_stride = a.row_stride, args.a_col_stride = a.col_stride;
    args.b_row_stride = b.row_stride, args.b_col_stride = b.col_stride;
    args.c_row_stride = c.row_stride;
    args.batch[2] = batch;
    args.a_batch_stride[2] = a.batch_stride;
    args.b_batch_stride[2] = b.batch_stride;
    args.c_batch_stride[2] = c.batch_stride;
  }
};

}  // namespace corten::test
