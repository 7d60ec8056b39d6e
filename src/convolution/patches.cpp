#include "convolution/patches.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"

namespace corten::convolution_detail {
namespace {

int64_t floor_div(int64_t x, int64_t y) { return x >= 0 ? x / y : -((-x + y - 1) / y); }

/// The positions [first, last) of 0 .. count at which the kernel's element `tap` stands on one of `size` input elements.
struct Range {
  int64_t first, last;
};
Range inside(int64_t count, int64_t size, int64_t stride, int64_t start) {
  // 0 <= i * stride + start < size
  Range r;
  r.first = std::clamp(-floor_div(start, stride), int64_t{0}, count);
  r.last = std::clamp(floor_div(size - 1 - start, stride) + 1, r.first, count);
  return r;
}

template <typename T>
void gather(const ConvolutionArgs& a, const T* x, int64_t c0, int64_t c1, int64_t p0, int64_t p1, T* out, int64_t ld) {
  const int64_t columns = a.out[1], step = a.stride[1];
  for (int64_t c = c0; c < c1; ++c)
    for (int64_t i = 0; i < a.kernel[0]; ++i)
      for (int64_t j = 0; j < a.kernel[1]; ++j, out += ld) {
        const int64_t start = j * a.dilation[1] - a.padding[1];
        const Range valid = inside(columns, a.size[1], step, start);
        T* to = out;
        for (int64_t p = p0; p < p1;) {
          // The columns first .. last of row r of the result.
          const int64_t r = p / columns, first = p % columns, last = std::min(columns, first + p1 - p);
          const int64_t row = r * a.stride[0] + i * a.dilation[0] - a.padding[0];
          int64_t begin = std::clamp(valid.first, first, last), end = std::clamp(valid.last, begin, last);
          if (row < 0 || row >= a.size[0]) begin = end = last;
          std::fill(to, to + (begin - first), T{});
          if (begin < end) {
            const T* __restrict from = x + c * a.x_stride[1] + row * a.x_stride[2] + start + begin * step;
            T* __restrict at = to + (begin - first);
            if (step == 1)
              std::memcpy(at, from, static_cast<size_t>(end - begin) * sizeof(T));
            else if (step == 2)  // the compiler knows shuffles for it
              for (int64_t q = 0; q < end - begin; ++q) at[q] = from[q * 2];
            else
              for (int64_t q = 0; q < end - begin; ++q) at[q] = from[q * step];
          }
          std::fill(to + (end - first), to + (last - first), T{});
          to += last - first;
          p += last - first;
        }
      }
}

}  // namespace

void gather_patches(const ConvolutionArgs& a, const char* x, int64_t element_bytes, int64_t c0, int64_t c1, int64_t p0,
                    int64_t p1, char* out, int64_t ld) {
  if (element_bytes == 4)
    gather(a, reinterpret_cast<const uint32_t*>(x), c0, c1, p0, p1, reinterpret_cast<uint32_t*>(out), ld);
  else
    gather(a, reinterpret_cast<const uint16_t*>(x), c0, c1, p0, p1, reinterpret_cast<uint16_t*>(out), ld);
}

void add_patches(const ConvolutionArgs& a, const float* columns, int64_t ld, int64_t count, int64_t r0, int64_t r1, float* dx) {
  const int64_t plane = a.size[0] * a.size[1], step = a.stride[1];
  for (int64_t c = 0; c < count; ++c, dx += plane)
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t i = 0; i < a.kernel[0]; ++i) {
        const int64_t row = r * a.stride[0] + i * a.dilation[0] - a.padding[0];
        if (row < 0 || row >= a.size[0]) continue;
        // Element q of the row gets its terms from right to left of the kernel: in ascending order of the result's columns.
        for (int64_t j = a.kernel[1]; j-- > 0;) {
          const int64_t start = j * a.dilation[1] - a.padding[1];
          const Range valid = inside(a.out[1], a.size[1], step, start);
          const float* __restrict from = columns + ((c * a.kernel[0] + i) * a.kernel[1] + j) * ld + (r - r0) * a.out[1] + valid.first;
          float* __restrict to = dx + row * a.size[1] + start + valid.first * step;
          const int64_t n = valid.last - valid.first;
          if (step == 1)
            for (int64_t q = 0; q < n; ++q) to[q] += from[q];
          else
            for (int64_t q = 0; q < n; ++q) to[q * step] += from[q];
        }
      }
}

void round_to(DType dtype, const float* from, int64_t count, uint16_t* to) {
  if (dtype == DType::bf16)
    for (int64_t i = 0; i < count; ++i) to[i] = to_bf16(from[i]);
  else
    for (int64_t i = 0; i < count; ++i) to[i] = to_f16(from[i]);
}

}  // namespace corten::convolution_detail
