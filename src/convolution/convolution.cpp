#include "convolution/convolution.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "convolution/direct.h"
#include "convolution/patches.h"
#include "gemm/gemm.h"

namespace corten {

double ConvolutionArgs::flops() const {
  return 2 * static_cast<double>(images) * static_cast<double>(filters) * static_cast<double>(depth()) *
         static_cast<double>(pixels());
}

namespace {

using convolution_detail::add_patches;
using convolution_detail::gather_patches;
using convolution_detail::is_direct;
using convolution_detail::round_to;

constexpr int64_t kPatchBytes = 512 << 10;  // of patches in workspace: within L2, beside what the product packs
constexpr int64_t kUnit = 32;               // the largest k-unit of the GEMM families
constexpr int64_t kFewPixels = 64;          // results smaller than this are handled several images at a time
constexpr int64_t kFewFilters = 32;         // products of fewer rows are not divided among threads
constexpr int64_t kTasksPerThread = 3;

/// Blocks are cut for the machine, not for the pool, so that workspace for many threads is enough for fewer.
int64_t wanted_tasks() { return kTasksPerThread * cpu_info().cores; }

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }
int64_t element_bytes(const ConvolutionArgs& a) { return static_cast<int64_t>(size_of(a.dtype)); }
/// A page and a line apart, so that equal offsets of two threads share no cache set.
int64_t padded(int64_t bytes) { return round_up(bytes, 4096) + 64; }

/// Whether patches are the images themselves.
bool pointwise(const ConvolutionArgs& a) {
  return a.taps() == 1 && a.stride[0] == 1 && a.stride[1] == 1 && a.padding[0] == 0 && a.padding[1] == 0;
}
bool reads_images(const ConvolutionArgs& a) { return pointwise(a) && (a.x_stride[2] == a.size[1] || a.size[0] == 1); }

const char* image(const ConvolutionArgs& a, const void* x, int64_t n, int64_t group) {
  return static_cast<const char*>(x) + (n * a.x_stride[0] + group * a.group_channels() * a.x_stride[1]) * element_bytes(a);
}

/// How many parts `rows` of each of `tasks` are divided into, so that all threads have work.
int64_t row_parts(int64_t rows, int64_t tasks) {
  return std::clamp<int64_t>(ceil_div(wanted_tasks(), tasks), 1, std::max<int64_t>(1, rows / kFewFilters));
}

// ---- Forward: [filters, depth] x [depth, pixels of one or several images]

class Forward {
 public:
  Forward(const ConvolutionArgs& args, bool has_bias) : a_(args), has_bias_(has_bias), direct_(reads_images(args) && (args.pixels() >= kFewPixels || args.images == 1)) {
    const int64_t column_bytes = a_.depth() * element_bytes(a_);
    const int64_t fit = std::max(kFewPixels, kPatchBytes / column_bytes / kUnit * kUnit);
    columns_ = std::min(fit, a_.pixels());
    if (a_.pixels() < kFewPixels && !direct_) images_ = std::clamp<int64_t>(fit / a_.pixels(), 1, a_.images);
    blocks_ = ceil_div(a_.images, images_) * ceil_div(a_.pixels(), columns_) * a_.groups;
    parts_ = row_parts(a_.group_filters(), blocks_);
    rows_ = round_up(ceil_div(a_.group_filters(), parts_), 8);
    parts_ = ceil_div(a_.group_filters(), rows_);
    patch_bytes_ = direct_ ? 0 : padded(a_.depth() * columns_ * images_ * element_bytes(a_));
    for (int64_t m : {rows_, a_.group_filters() - (parts_ - 1) * rows_})
      for (int64_t images : {images_, last(a_.images, images_)})
        for (int64_t columns : {columns_, last(a_.pixels(), columns_)})
          gemm_bytes_ = std::max(gemm_bytes_, padded(static_cast<int64_t>(gemm_workspace_bytes(product(m, images, columns), 1))));
  }
  int64_t bytes_per_thread() const { return patch_bytes_ + gemm_bytes_; }

  void run(const void* x, const void* w, const float* bias, void* y, char* workspace, ThreadPool& pool) const {
    pool.parallel_for(blocks_ * parts_, [&](int64_t task, int worker) {
      char* patches = workspace + worker * bytes_per_thread();
      const int64_t part = task % parts_, block = task / parts_, per_image = ceil_div(a_.pixels(), columns_);
      const int64_t group = block / per_image % a_.groups, n0 = block / per_image / a_.groups * images_;
      const int64_t p0 = block % per_image * columns_, p1 = std::min(p0 + columns_, a_.pixels());
      const int64_t images = std::min(images_, a_.images - n0), m0 = part * rows_;
      const int64_t m = std::min(rows_, a_.group_filters() - m0), filter = group * a_.group_filters() + m0;
      GemmArgs g = product(m, images, p1 - p0);
      g.a = static_cast<const char*>(w) + filter * a_.depth() * element_bytes(a_);
      if (direct_) {
        g.b = image(a_, x, n0, group) + p0 * element_bytes(a_);
      } else {
        g.b = patches;
        for (int64_t i = 0; i < images; ++i)
          gather_patches(a_, image(a_, x, n0 + i, group), element_bytes(a_), 0, a_.group_channels(), p0, p1,
                         patches + i * a_.pixels() * element_bytes(a_), g.n);
      }
      Target target{&a_, bias ? bias + filter : nullptr, static_cast<char*>(y), n0, filter, g.consumer ? gemm_tile_stride(g) : 0};
      g.c = images == 1 ? target.at(n0, 0) + p0 * element_bytes(a_) : nullptr;
      g.epilogue_context = g.consumer_context = &target;
      gemm_serial(g, patches + patch_bytes_);
    });
  }

 private:
  static int64_t last(int64_t count, int64_t block) { return count - (ceil_div(count, block) - 1) * block; }

  /// Where rows of a product go: filters of an image.
  struct Target {
    const ConvolutionArgs* a;
    const float* bias;
    char* y;
    int64_t n0, filter, ld;
    char* at(int64_t n, int64_t row) const {
      return y + (n * a->filters + filter + row) * a->pixels() * element_bytes(*a);
    }
  };
  static void add_bias(void* context, float* tile, int64_t ld, int64_t m0, int64_t, int64_t mn, int64_t nn) {
    const float* bias = static_cast<const Target*>(context)->bias;
    for (int64_t i = 0; i < mn; ++i)
      for (int64_t j = 0; j < nn; ++j) tile[i * ld + j] += bias[m0 + i];
  }
  /// Columns of several images part here.
  static void take_tile(void* context, const void* tile, int64_t m0, int64_t n0, int64_t mn, int64_t nn) {
    const Target& t = *static_cast<const Target*>(context);
    const int64_t pixels = t.a->pixels(), bytes = element_bytes(*t.a);
    for (int64_t i = 0; i < mn; ++i)
      for (int64_t j = 0; j < nn;) {
        const int64_t column = n0 + j, p = column % pixels, count = std::min(pixels - p, nn - j);
        std::memcpy(t.at(t.n0 + column / pixels, m0 + i) + p * bytes, static_cast<const char*>(tile) + (i * t.ld + j) * bytes,
                    static_cast<size_t>(count * bytes));
        j += count;
      }
  }

  GemmArgs product(int64_t m, int64_t images, int64_t columns) const {
    GemmArgs g;
    g.m = m;
    g.n = images * columns;
    g.k = a_.depth();
    g.a_dtype = g.b_dtype = g.c_dtype = a_.dtype;
    g.a_row_stride = a_.depth();
    g.b_row_stride = direct_ ? a_.x_stride[1] : g.n;
    g.c_row_stride = a_.pixels();
    if (has_bias_) g.epilogue = add_bias;
    if (images > 1) g.consumer = take_tile;
    return g;
  }

  ConvolutionArgs a_;
  bool has_bias_, direct_;  // direct: products read the images
  int64_t images_ = 1, columns_ = 0;  // of a block
  int64_t rows_ = 0, parts_ = 1, blocks_ = 0;
  int64_t patch_bytes_ = 0, gemm_bytes_ = 0;
};

// ---- Data gradient: [depth, filters] x [filters, pixels], then summed into the images

class DataGradient {
 public:
  explicit DataGradient(const ConvolutionArgs& args) : a_(args) {
    const int64_t C = a_.group_channels(), row_bytes = a_.taps() * a_.out[1] * 4;
    channels_ = std::min(C, ceil_div(64, a_.taps()));
    rows_ = std::clamp<int64_t>(kPatchBytes / (channels_ * row_bytes), 1, a_.out[0]);
    if (rows_ == a_.out[0]) channels_ = std::clamp<int64_t>(kPatchBytes / (rows_ * row_bytes), channels_, C);
    const int64_t wanted = ceil_div(wanted_tasks(), a_.images * a_.groups);
    channels_ = std::min(channels_, std::max(ceil_div(C, wanted), std::min(C, ceil_div(16, a_.taps()))));
    column_bytes_ = pointwise(a_) ? 0 : padded(channels_ * a_.taps() * rows_ * a_.out[1] * 4);
    plane_bytes_ = pointwise(a_) || a_.dtype == DType::f32 ? 0 : padded(channels_ * a_.size[0] * a_.size[1] * 4);
    for (int64_t channels : {channels_, C - (ceil_div(C, channels_) - 1) * channels_})
      for (int64_t rows : {rows_, a_.out[0] - (ceil_div(a_.out[0], rows_) - 1) * rows_})
        gemm_bytes_ = std::max(gemm_bytes_, padded(static_cast<int64_t>(gemm_workspace_bytes(product(channels, rows), 1))));
  }
  int64_t bytes_per_thread() const { return column_bytes_ + plane_bytes_ + gemm_bytes_; }

  void run(const void* g, const void* w, void* dx, char* workspace, ThreadPool& pool) const {
    const int64_t per_group = ceil_div(a_.group_channels(), channels_), plane = a_.size[0] * a_.size[1];
    const int64_t bytes = element_bytes(a_);
    pool.parallel_for(a_.images * a_.groups * per_group, [&](int64_t task, int worker) {
      char* columns = workspace + worker * bytes_per_thread();
      char* planes = columns + column_bytes_;
      char* scratch = planes + plane_bytes_;
      const int64_t n = task / per_group / a_.groups, group = task / per_group % a_.groups, c0 = task % per_group * channels_;
      const int64_t count = std::min(channels_, a_.group_channels() - c0), filter = group * a_.group_filters();
      char* out = static_cast<char*>(dx) + (n * a_.channels + group * a_.group_channels() + c0) * plane * bytes;
      auto* sums = reinterpret_cast<float*>(a_.dtype == DType::f32 ? out : planes);
      if (!pointwise(a_)) std::fill(sums, sums + count * plane, 0.0f);
      for (int64_t r0 = 0; r0 < a_.out[0]; r0 += rows_) {
        const int64_t r1 = std::min(r0 + rows_, a_.out[0]);
        GemmArgs p = product(count, r1 - r0);
        p.a = static_cast<const char*>(w) + (filter * a_.depth() + c0 * a_.taps()) * bytes;
        p.b = static_cast<const char*>(g) + ((n * a_.filters + filter) * a_.pixels() + r0 * a_.out[1]) * bytes;
        p.c = pointwise(a_) ? out + r0 * a_.out[1] * bytes : columns;
        gemm_serial(p, scratch);
        if (!pointwise(a_)) add_patches(a_, reinterpret_cast<const float*>(columns), p.c_row_stride, count, r0, r1, sums);
      }
      if (plane_bytes_ == 0) return;
      round_to(a_.dtype, sums, count * plane, reinterpret_cast<uint16_t*>(out));
    });
  }

 private:
  /// Of channels of the group and rows of the result.
  GemmArgs product(int64_t channels, int64_t rows) const {
    GemmArgs g;
    g.m = channels * a_.taps();
    g.n = rows * a_.out[1];
    g.k = a_.group_filters();
    g.a_dtype = g.b_dtype = a_.dtype;
    g.a_row_stride = 1;
    g.a_col_stride = a_.depth();
    g.b_row_stride = a_.pixels();
    g.c_dtype = pointwise(a_) ? a_.dtype : DType::f32;
    g.c_row_stride = pointwise(a_) ? a_.pixels() : g.n;
    return g;
  }

  ConvolutionArgs a_;
  int64_t channels_ = 1, rows_ = 1;  // of a block
  int64_t column_bytes_ = 0, plane_bytes_ = 0, gemm_bytes_ = 0;
};

// ---- Weight gradient: [filters, pixels] x [pixels, depth], image after image

class WeightGradient {
 public:
  explicit WeightGradient(const ConvolutionArgs& args) : a_(args) {
    const int64_t C = a_.group_channels();
    columns_ = std::clamp<int64_t>(round_up(a_.pixels(), kUnit), kUnit, 512);
    channels_ = std::clamp<int64_t>(kPatchBytes / (a_.taps() * columns_ * element_bytes(a_)), 1, C);
    const int64_t wanted = ceil_div(wanted_tasks(), a_.groups);
    channels_ = std::min(channels_, std::max(ceil_div(C, wanted), std::min(C, ceil_div(64, a_.taps()))));
    blocks_ = ceil_div(C, channels_) * a_.groups;
    parts_ = row_parts(a_.group_filters(), blocks_);
    rows_ = round_up(ceil_div(a_.group_filters(), parts_), 8);
    parts_ = ceil_div(a_.group_filters(), rows_);
    patch_bytes_ = reads_images(a_) ? 0 : padded(channels_ * a_.taps() * columns_ * element_bytes(a_));
    for (int64_t m : {rows_, a_.group_filters() - (parts_ - 1) * rows_})
      for (int64_t channels : {channels_, C - (ceil_div(C, channels_) - 1) * channels_})
        for (int64_t columns : {std::min(columns_, a_.pixels()), a_.pixels() - (ceil_div(a_.pixels(), columns_) - 1) * columns_})
          for (bool resume : {false, true})
            gemm_bytes_ = std::max(
                gemm_bytes_, padded(static_cast<int64_t>(gemm_workspace_bytes(product(m, channels, columns, resume), 1))));
  }
  int64_t bytes_per_thread() const { return patch_bytes_ + gemm_bytes_; }

  void run(const void* x, const void* g, float* dw, char* workspace, ThreadPool& pool) const {
    const int64_t per_group = ceil_div(a_.group_channels(), channels_), bytes = element_bytes(a_);
    pool.parallel_for(blocks_ * parts_, [&](int64_t task, int worker) {
      char* patches = workspace + worker * bytes_per_thread();
      const int64_t part = task % parts_, block = task / parts_, group = block / per_group, c0 = block % per_group * channels_;
      const int64_t count = std::min(channels_, a_.group_channels() - c0), m0 = part * rows_;
      const int64_t m = std::min(rows_, a_.group_filters() - m0), filter = group * a_.group_filters() + m0;
      bool resume = false;
      for (int64_t n = 0; n < a_.images; ++n)
        for (int64_t p0 = 0; p0 < a_.pixels(); p0 += columns_, resume = true) {
          const int64_t p1 = std::min(p0 + columns_, a_.pixels());
          GemmArgs p = product(m, count, p1 - p0, resume);
          p.a = static_cast<const char*>(g) + ((n * a_.filters + filter) * a_.pixels() + p0) * bytes;
          const char* from = image(a_, x, n, group);
          if (reads_images(a_)) p.b = from + (c0 * a_.x_stride[1] + p0) * bytes;
          else gather_patches(a_, from, bytes, c0, c0 + count, p0, p1, patches, columns_), p.b = patches;
          p.c = dw + filter * a_.depth() + c0 * a_.taps();
          gemm_serial(p, patches + patch_bytes_);
        }
    });
  }

 private:
  GemmArgs product(int64_t m, int64_t channels, int64_t columns, bool resume) const {
    GemmArgs g;
    g.m = m;
    g.n = channels * a_.taps();
    g.k = columns;
    g.a_dtype = g.b_dtype = a_.dtype;
    g.a_row_stride = a_.pixels();
    g.b_row_stride = 1;
    g.b_col_stride = reads_images(a_) ? a_.x_stride[1] : columns_;
    g.c_row_stride = a_.depth();
    g.resume = resume;
    return g;
  }

  ConvolutionArgs a_;
  int64_t columns_ = kUnit, channels_ = 1;  // of a block
  int64_t rows_ = 0, parts_ = 1, blocks_ = 0;
  int64_t patch_bytes_ = 0, gemm_bytes_ = 0;
};

bool empty(const ConvolutionArgs& a) {
  return a.images == 0 || a.filters == 0 || a.channels == 0 || a.pixels() == 0 || a.taps() == 0;
}

}  // namespace

size_t convolution_workspace_bytes(const ConvolutionArgs& a, int threads) {
  if (empty(a)) return 0;
  if (is_direct(a)) return static_cast<size_t>(threads * convolution_detail::direct_bytes_per_thread(a));
  int64_t bytes = 0;
  for (bool bias : {false, true}) bytes = std::max(bytes, Forward(a, bias).bytes_per_thread());
  return static_cast<size_t>(threads * bytes);
}
size_t convolution_data_gradient_workspace_bytes(const ConvolutionArgs& a, int threads) {
  if (empty(a)) return 0;
  if (is_direct(a)) return static_cast<size_t>(threads * convolution_detail::direct_data_gradient_bytes_per_thread(a));
  return static_cast<size_t>(threads * DataGradient(a).bytes_per_thread());
}
size_t convolution_weight_gradient_workspace_bytes(const ConvolutionArgs& a, int threads) {
  if (empty(a)) return 0;
  if (is_direct(a)) return static_cast<size_t>(threads * convolution_detail::direct_weight_gradient_bytes_per_thread(a));
  return static_cast<size_t>(threads * WeightGradient(a).bytes_per_thread());
}

void convolution(const ConvolutionArgs& a, const void* x, const void* w, const float* bias, void* y, void* workspace,
                 ThreadPool& pool) {
  if (empty(a)) return;
  auto* memory = static_cast<char*>(workspace);
  if (is_direct(a)) return convolution_detail::direct(a, x, w, bias, y, memory, pool);
  Forward(a, bias != nullptr).run(x, w, bias, y, memory, pool);
}
void convolution_data_gradient(const ConvolutionArgs& a, const void* g, const void* w, void* dx, void* workspace, ThreadPool& pool) {
  if (!empty(a) && is_direct(a)) return convolution_detail::direct_data_gradient(a, g, w, dx, static_cast<char*>(workspace), pool);
  if (!empty(a)) return DataGradient(a).run(g, w, dx, static_cast<char*>(workspace), pool);
  std::memset(dx, 0, static_cast<size_t>(a.images * a.channels * a.size[0] * a.size[1] * element_bytes(a)));
}
void convolution_weight_gradient(const ConvolutionArgs& a, const void* x, const void* g, float* dw, void* workspace, ThreadPool& pool) {
  if (!empty(a) && is_direct(a)) return convolution_detail::direct_weight_gradient(a, x, g, dw, static_cast<char*>(workspace), pool);
  if (!empty(a)) return WeightGradient(a).run(x, g, dw, static_cast<char*>(workspace), pool);
  std::memset(dw, 0, static_cast<size_t>(a.filters * a.depth()) * sizeof(float));
}

}  // namespace corten
