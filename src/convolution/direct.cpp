#include "convolution/direct.h"

#include <algorithm>

#include "base/half.h"
#include "convolution/direct_kernels.h"
#include "convolution/patches.h"

namespace corten::convolution_detail {

const DirectKernels& direct_kernels(Isa isa) { return isa == Isa::avx2 ? kDirectKernelsAvx2 : kDirectKernelsAvx512; }

namespace {

constexpr int64_t kFewChannels = 4;         // of a group
constexpr int64_t kBandBytes = 24 << 10;    // of padded planes in workspace: within L1
constexpr int64_t kBandRows = 8;            // at least, because bands overlap
constexpr int64_t kTaskResults = 1 << 14;   // of several small groups

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t floor_div(int64_t x, int64_t y) { return x >= 0 ? x / y : -ceil_div(-x, y); }
int64_t padded(int64_t bytes) { return ceil_div(bytes, 64) * 64; }
int64_t element_bytes(const ConvolutionArgs& a) { return static_cast<int64_t>(size_of(a.dtype)); }

/// One dimension: result u reads the sources u * step + shift(t) of the taps t for which there is one.
struct Axis {
  int64_t kernel = 1, dilation = 1, padding = 0;
  int64_t count = 0;   ///< results
  int64_t step = 1;    ///< sources from result to result
  int64_t stride = 1;  ///< of the convolution, if results are of the data gradient, else 0
  int64_t first = 0;   ///< data gradient: result u is element first + u * stride
  int64_t low = 0, high = -1;  ///< smallest and largest shift

  bool backward() const { return stride > 0; }
  bool has(int64_t t) const { return !backward() || (first + padding - t * dilation) % stride == 0; }
  int64_t shift(int64_t t) const {
    return backward() ? floor_div(first + padding - t * dilation, stride) : t * dilation - padding;
  }
  bool is_empty() const { return high < low; }
  int64_t taps() const {
    int64_t n = 0;
    for (int64_t t = 0; t < kernel; ++t) n += has(t);
    return n;
  }
  /// The i-th tap in ascending order of the result of the convolution that it belongs to.
  int64_t at(int64_t i) const { return backward() ? kernel - 1 - i : i; }
  void set_range() {
    for (int64_t t = 0; t < kernel; ++t) {
      if (!has(t)) continue;
      if (is_empty()) low = high = shift(t);
      low = std::min(low, shift(t)), high = std::max(high, shift(t));
    }
  }
  /// Sources that `results` of them read.
  int64_t sources(int64_t results) const { return is_empty() ? 0 : (results - 1) * step + high - low + 1; }
};

Axis forward_axis(const ConvolutionArgs& a, int d) {
  Axis axis{.kernel = a.kernel[d], .dilation = a.dilation[d], .padding = a.padding[d], .count = a.out[d], .step = a.stride[d], .stride = 0};
  axis.set_range();
  return axis;
}
/// Elements first, first + stride, ... of the data gradient, all of which have the same taps.
Axis backward_axis(const ConvolutionArgs& a, int d, int64_t first) {
  Axis axis{.kernel = a.kernel[d],
            .dilation = a.dilation[d],
            .padding = a.padding[d],
            .count = ceil_div(a.size[d] - first, a.stride[d]),
            .step = 1,
            .stride = a.stride[d],
            .first = first};
  axis.set_range();
  return axis;
}

/// Some rows of results of both axes, from planes in f32.
struct Bands {
  Bands(const Axis& row_axis, const Axis& column_axis, int64_t plane_count) : rows(row_axis), columns(column_axis), planes(plane_count) {
    phases = columns.step;
    pitch = std::max<int64_t>(1, ceil_div(columns.sources(columns.count), phases));
    const int64_t fit = kBandBytes / (planes * phases * pitch * 4) - (rows.high - rows.low);
    results = std::clamp<int64_t>(fit / rows.step, std::min(kBandRows, rows.count), rows.count);
    plane_floats = rows.sources(results) * phases * pitch + kOverread;
  }
  int64_t floats() const { return planes * plane_floats; }
  int64_t step() const { return rows.step * phases * pitch; }

  /// Offsets of the taps of all planes; returns their number. `index` (unless null) gets each tap's place in a filter of `planes`
  /// channels of kernel elements.
  int64_t offsets(int64_t* to, int64_t* index) const {
    int64_t n = 0;
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t i = 0; i < rows.kernel; ++i)
        for (int64_t j = 0; j < columns.kernel; ++j) {
          const int64_t row = rows.at(i), column = columns.at(j);
          if (!rows.has(row) || !columns.has(column)) continue;
          const int64_t right = columns.shift(column) - columns.low;
          to[n] = plane * plane_floats + (rows.shift(row) - rows.low) * phases * pitch + right % phases * pitch + right / phases;
          if (index) index[n] = (plane * rows.kernel + row) * columns.kernel + column;
          ++n;
        }
    return n;
  }
  /// Tells the kernel where rows of taps are rows of results: in_step apart.
  void set_grid(TapSums& t) const {
    if (rows.taps() == 0 || rows.step != 1 || (rows.high - rows.low) != rows.taps() - 1) return;
    t.grid_rows = rows.taps();
    t.grid_columns = columns.taps();
  }

  /// Lays out what the results from row `first` on read of a plane.
  void pad(const DirectKernels& kernels, PaddedRows p, int64_t first, int64_t count, int64_t plane, float* memory, float* scratch) const {
    p.first_row = first * rows.step + rows.low;
    p.rows = rows.sources(count);
    p.first_column = columns.low;
    p.columns = columns.sources(columns.count);
    p.phases = phases;
    p.pitch = pitch;
    p.out = memory + plane * plane_floats;
    p.scratch = scratch;
    kernels.pad_rows(p);
  }

  Axis rows, columns;
  int64_t planes, phases = 1, pitch = 0;
  int64_t results = 1;  // rows of them in a band
  int64_t plane_floats = 0;
};

/// What one thread has, cut from its part of the workspace.
class Scratch {
 public:
  explicit Scratch(char* at) : at_(at) {}
  template <typename T>
  T* take(int64_t count) {
    T* const out = reinterpret_cast<T*>(at_);
    at_ += padded(count * static_cast<int64_t>(sizeof(T)));
    return out;
  }

 private:
  char* at_;
};

float element(const ConvolutionArgs& a, const void* w, int64_t i) {
  if (a.dtype == DType::f32) return static_cast<const float*>(w)[i];
  const uint16_t bits = static_cast<const uint16_t*>(w)[i];
  return a.dtype == DType::bf16 ? from_bf16(bits) : from_f16(bits);
}

PaddedRows channel_plane(const ConvolutionArgs& a, const void* x, int64_t n, int64_t channel) {
  return {.plane = static_cast<const char*>(x) + (n * a.x_stride[0] + channel * a.x_stride[1]) * element_bytes(a),
          .dtype = a.dtype,
          .row_stride = a.x_stride[2],
          .height = a.size[0],
          .width = a.size[1]};
}
PaddedRows filter_plane(const ConvolutionArgs& a, const void* g, int64_t n, int64_t filter) {
  return {.plane = static_cast<const char*>(g) + (n * a.filters + filter) * a.pixels() * element_bytes(a),
          .dtype = a.dtype,
          .row_stride = a.out[1],
          .height = a.out[0],
          .width = a.out[1]};
}

/// Calls f(image, first group, last group, worker); several groups of small planes are one task.
template <typename F>
void for_groups(const ConvolutionArgs& a, int64_t results, ThreadPool& pool, F f) {
  const int64_t each = std::clamp<int64_t>(kTaskResults / std::max<int64_t>(results, 1), 1, a.groups), tasks = ceil_div(a.groups, each);
  pool.parallel_for(a.images * tasks, [&](int64_t task, int worker) {
    const int64_t first = task % tasks * each;
    f(task / tasks, first, std::min(first + each, a.groups), worker);
  });
}

/// Bytes of the offsets, indices and weights of a thread and of its planes.
int64_t bytes_of(const ConvolutionArgs& a, const Bands& bands) {
  const int64_t taps = bands.planes * a.taps();
  return 2 * padded(taps * 8) + padded(taps * 4) + padded(bands.floats() * 4) + padded(std::max(a.size[1], a.out[1]) * 4);
}

}  // namespace

bool is_direct(const ConvolutionArgs& a) {
  return a.groups > 1 && a.group_channels() <= kFewChannels && a.group_filters() <= kFewChannels;
}

int64_t direct_bytes_per_thread(const ConvolutionArgs& a) {
  return bytes_of(a, Bands(forward_axis(a, 0), forward_axis(a, 1), a.group_channels()));
}
int64_t direct_data_gradient_bytes_per_thread(const ConvolutionArgs& a) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < std::min(a.stride[0], a.size[0]); ++i)
    for (int64_t j = 0; j < std::min(a.stride[1], a.size[1]); ++j)
      bytes = std::max(bytes, bytes_of(a, Bands(backward_axis(a, 0, i), backward_axis(a, 1, j), a.group_filters())));
  // A row of results that is spread out.
  return bytes + padded(a.size[1] * 4);
}
int64_t direct_weight_gradient_bytes_per_thread(const ConvolutionArgs& a) {
  const Bands bands(forward_axis(a, 0), forward_axis(a, 1), a.group_channels());
  const int64_t lanes = a.group_filters() * bands.planes * a.taps() * kLanes;
  return bytes_of(a, bands) + padded(lanes * 4) + padded(bands.results * a.out[1] * 4);
}

void direct(const ConvolutionArgs& a, const void* x, const void* w, const float* bias, void* y, char* workspace, ThreadPool& pool) {
  const DirectKernels& kernels = direct_kernels(cpu_isa());
  const Bands bands(forward_axis(a, 0), forward_axis(a, 1), a.group_channels());
  const int64_t bytes = direct_bytes_per_thread(a), depth = a.depth();
  for_groups(a, a.pixels() * a.group_filters(), pool, [&](int64_t n, int64_t first_group, int64_t last_group, int worker) {
    Scratch scratch(workspace + worker * bytes);
    auto* offsets = scratch.take<int64_t>(depth);
    auto* weights = scratch.take<float>(depth);
    auto* memory = scratch.take<float>(bands.floats());
    auto* row = scratch.take<float>(std::max(a.size[1], a.out[1]));
    TapSums t{.in = memory, .in_step = bands.step(), .offsets = offsets, .weights = weights, .taps = bands.offsets(offsets, nullptr)};
    bands.set_grid(t);
    t.columns = a.out[1];
    t.has_bias = bias != nullptr;
    t.dtype = a.dtype;
    t.out_step = a.out[1];
    for (int64_t group = first_group; group < last_group; ++group)
      for (int64_t r = 0; r < a.out[0]; r += bands.results) {
        t.rows = std::min(bands.results, a.out[0] - r);
        for (int64_t c = 0; c < bands.planes; ++c)
          bands.pad(kernels, channel_plane(a, x, n, group * bands.planes + c), r, t.rows, c, memory, row);
        for (int64_t o = group * a.group_filters(); o < (group + 1) * a.group_filters(); ++o) {
          for (int64_t k = 0; k < depth; ++k) weights[k] = element(a, w, o * depth + k);
          if (bias) t.bias = bias[o];
          t.out = static_cast<char*>(y) + ((n * a.filters + o) * a.pixels() + r * a.out[1]) * element_bytes(a);
          kernels.sum_taps(t);
        }
      }
  });
}

void direct_data_gradient(const ConvolutionArgs& a, const void* g, const void* w, void* dx, char* workspace, ThreadPool& pool) {
  const DirectKernels& kernels = direct_kernels(cpu_isa());
  const int64_t bytes = direct_data_gradient_bytes_per_thread(a), plane = a.size[0] * a.size[1], C = a.group_channels();
  const bool spread = a.stride[0] > 1 || a.stride[1] > 1;
  /// Elements (i, j), (i + stride, j), ... of the planes of some groups.
  const auto run = [&](int64_t n, int64_t first_group, int64_t last_group, int64_t i, int64_t j, Scratch scratch) {
    const Bands bands(backward_axis(a, 0, i), backward_axis(a, 1, j), a.group_filters());
    const int64_t depth = bands.planes * a.taps();
    auto* offsets = scratch.take<int64_t>(depth);
    auto* index = scratch.take<int64_t>(depth);
    auto* weights = scratch.take<float>(depth);
    auto* memory = scratch.take<float>(bands.floats());
    auto* row = scratch.take<float>(std::max(a.size[1], a.out[1]));
    auto* sums = scratch.take<float>(a.size[1]);
    TapSums t{.in = memory, .in_step = bands.step(), .offsets = offsets, .weights = weights, .taps = bands.offsets(offsets, index)};
    if (t.taps > 0) bands.set_grid(t);
    // Places in the filters of a group's first channel.
    for (int64_t k = 0; k < t.taps; ++k) index[k] = index[k] / a.taps() * C * a.taps() + index[k] % a.taps();
    t.columns = bands.columns.count;
    t.dtype = spread ? DType::f32 : a.dtype;
    t.out_step = a.size[1];
    const auto spread_row = [&](int64_t u, char* to) {
      TapSums one = t;
      one.rows = 1;
      one.in += u * t.in_step;
      one.out = sums;
      kernels.sum_taps(one);
      if (a.dtype == DType::f32)
        for (int64_t q = 0; q < t.columns; ++q) reinterpret_cast<float*>(to)[q * a.stride[1]] = sums[q];
      else
        for (int64_t q = 0; q < t.columns; ++q)
          reinterpret_cast<uint16_t*>(to)[q * a.stride[1]] = a.dtype == DType::bf16 ? to_bf16(sums[q]) : to_f16(sums[q]);
    };
    for (int64_t group = first_group; group < last_group; ++group)
      for (int64_t r = 0; r < bands.rows.count; r += bands.results) {
        t.rows = std::min(bands.results, bands.rows.count - r);
        for (int64_t o = 0; o < bands.planes && t.taps > 0; ++o)
          bands.pad(kernels, filter_plane(a, g, n, group * bands.planes + o), r, t.rows, o, memory, row);
        for (int64_t c = 0; c < C; ++c) {
          for (int64_t k = 0; k < t.taps; ++k) weights[k] = element(a, w, (group * bands.planes * C + c) * a.taps() + index[k]);
          char* to = static_cast<char*>(dx) + ((n * a.channels + group * C + c) * plane + (i + r * a.stride[0]) * a.size[1] + j) * element_bytes(a);
          t.out = to;
          if (!spread) kernels.sum_taps(t);
          for (int64_t u = 0; spread && u < t.rows; ++u) spread_row(u, to + u * a.stride[0] * a.size[1] * element_bytes(a));
        }
      }
  };
  for_groups(a, plane * C, pool, [&](int64_t n, int64_t first_group, int64_t last_group, int worker) {
    for (int64_t i = 0; i < std::min(a.stride[0], a.size[0]); ++i)
      for (int64_t j = 0; j < std::min(a.stride[1], a.size[1]); ++j)
        run(n, first_group, last_group, i, j, Scratch(workspace + worker * bytes));
  });
}

void direct_weight_gradient(const ConvolutionArgs& a, const void* x, const void* g, float* dw, char* workspace, ThreadPool& pool) {
  const DirectKernels& kernels = direct_kernels(cpu_isa());
  const Bands bands(forward_axis(a, 0), forward_axis(a, 1), a.group_channels());
  const int64_t bytes = direct_weight_gradient_bytes_per_thread(a), depth = a.depth();
  pool.parallel_for(a.groups, [&](int64_t group, int worker) {
    Scratch scratch(workspace + worker * bytes);
    auto* offsets = scratch.take<int64_t>(depth);
    auto* memory = scratch.take<float>(bands.floats());
    auto* row = scratch.take<float>(std::max(a.size[1], a.out[1]));
    auto* lanes = scratch.take<float>(a.group_filters() * depth * kLanes);
    auto* wide = scratch.take<float>(bands.results * a.out[1]);
    WeightSums t{.in = memory, .in_step = bands.step(), .offsets = offsets, .taps = bands.offsets(offsets, nullptr)};
    t.columns = t.g_step = a.out[1];
    std::fill(lanes, lanes + a.group_filters() * depth * kLanes, 0.0f);
    for (int64_t n = 0; n < a.images; ++n)
      for (int64_t r = 0; r < a.out[0]; r += bands.results) {
        t.rows = std::min(bands.results, a.out[0] - r);
        for (int64_t c = 0; c < bands.planes; ++c)
          bands.pad(kernels, channel_plane(a, x, n, group * bands.planes + c), r, t.rows, c, memory, row);
        for (int64_t o = 0; o < a.group_filters(); ++o) {
          const void* from = static_cast<const char*>(filter_plane(a, g, n, group * a.group_filters() + o).plane) + r * a.out[1] * element_bytes(a);
          t.g = static_cast<const float*>(from);
          if (a.dtype != DType::f32) {
            kernels.widen(static_cast<const uint16_t*>(from), a.dtype, t.rows * a.out[1], wide);
            t.g = wide;
          }
          t.lanes = lanes + o * depth * kLanes;
          kernels.sum_weights(t);
        }
      }
    for (int64_t k = 0; k < a.group_filters() * depth; ++k) {
      float* sum = lanes + k * kLanes;
      for (int64_t half = kLanes / 2; half > 0; half /= 2)
        for (int64_t i = 0; i < half; ++i) sum[i] += sum[i + half];
      dw[group * a.group_filters() * depth + k] = sum[0];
    }
  });
}

}  // namespace corten::convolution_detail
