// The kernel family against sums in double precision, over shapes that take every path of its blocking.
#include "convolution/convolution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/half.h"
#include "convolution/direct_kernels.h"

namespace corten::testing {
namespace {

ConvolutionArgs problem(int64_t images, int64_t channels, int64_t rows, int64_t columns, int64_t filters, int64_t kernel, int64_t stride,
                        int64_t padding, int64_t dilation = 1, int64_t groups = 1) {
  ConvolutionArgs a;
  a.images = images;
  a.channels = channels;
  a.filters = filters;
  a.groups = groups;
  a.size[0] = rows;
  a.size[1] = columns;
  for (int d : {0, 1}) {
    a.kernel[d] = kernel;
    a.stride[d] = stride;
    a.padding[d] = padding;
    a.dilation[d] = dilation;
    a.out[d] = (a.size[d] + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
  }
  a.x_stride[0] = channels * rows * columns;
  a.x_stride[1] = rows * columns;
  a.x_stride[2] = columns;
  return a;
}

std::vector<ConvolutionArgs> problems() {
  std::vector<ConvolutionArgs> out{
      problem(2, 3, 33, 30, 20, 7, 2, 3),            // a stem
      problem(2, 40, 30, 31, 33, 3, 1, 1),           // several blocks of columns
      problem(5, 72, 7, 7, 70, 3, 1, 1),             // several images in a block
      problem(3, 24, 14, 13, 40, 1, 1, 0),           // images are read as they are
      problem(9, 64, 5, 6, 72, 1, 1, 0),             // small ones are not
      problem(2, 16, 9, 8, 24, 1, 2, 0),             // every second pixel
      problem(3, 3, 32, 48, 50, 16, 16, 0),          // patches
      problem(2, 12, 17, 19, 18, 3, 2, 2, 2, 3),     // groups, dilation
      problem(2, 33, 12, 9, 33, 3, 1, 1, 1, 33),     // one channel per group
      problem(1, 2, 200, 90, 4, 5, 1, 2),            // bands of rows in the data gradient
      problem(1, 1, 1, 1, 1, 1, 1, 0),
      problem(1, 4, 2, 2, 3, 3, 3, 4),               // windows on nothing but padding
  };
  // Few channels in a group: direct kernels.
  out.insert(out.end(), {problem(2, 20, 13, 15, 20, 3, 1, 1, 1, 20),
                         problem(1, 3, 70, 81, 3, 5, 1, 2, 1, 3),        // several bands of rows
                         problem(1, 2, 9, 150, 2, 7, 1, 3, 1, 2),        // several blocks of columns
                         problem(2, 4, 15, 14, 4, 3, 2, 1, 1, 4),        // phases
                         problem(1, 5, 23, 19, 5, 5, 3, 2, 1, 5),
                         problem(2, 3, 17, 21, 6, 3, 1, 2, 2, 3),        // two filters of each channel, dilation
                         problem(2, 3, 16, 33, 6, 4, 2, 0, 3, 3),        // a part of the image is never read
                         problem(2, 8, 11, 12, 4, 3, 1, 1, 1, 4),        // one filter of two channels
                         problem(1, 8, 40, 37, 8, 3, 2, 1, 1, 2),        // four of four
                         problem(2, 6, 5, 5, 6, 1, 1, 0, 1, 6),
                         problem(2, 6, 7, 8, 6, 1, 3, 0, 1, 3),          // gaps between windows
                         problem(1, 4, 2, 3, 4, 3, 3, 4, 1, 4),          // windows on nothing but padding
                         problem(3, 2, 64, 64, 2, 3, 1, 0, 1, 2)});      // no padding
  ConvolutionArgs line = problem(3, 6, 1, 40, 8, 1, 1, 0);  // as conv1d
  line.kernel[1] = 4;
  line.padding[1] = 2;
  line.stride[1] = 3;
  line.out[1] = (40 + 4 - 3 - 1) / 3 + 1;
  out.push_back(line);
  line.groups = line.filters = 6;
  out.push_back(line);
  return out;
}

struct Data {
  std::vector<char> bytes;
  std::vector<double> values;
};
double rounded(DType dtype, double v) {
  const auto f = static_cast<float>(v);
  return dtype == DType::f32 ? f : dtype == DType::bf16 ? from_bf16(to_bf16(f)) : from_f16(to_f16(f));
}
void put(DType dtype, char* to, double v) {
  const auto f = static_cast<float>(v);
  const uint16_t half = dtype == DType::bf16 ? to_bf16(f) : to_f16(f);
  if (dtype == DType::f32) std::memcpy(to, &f, 4);
  else std::memcpy(to, &half, 2);
}
double get(DType dtype, const char* from) {
  if (dtype == DType::f32) {
    float f;
    std::memcpy(&f, from, 4);
    return f;
  }
  uint16_t half;
  std::memcpy(&half, from, 2);
  return dtype == DType::bf16 ? from_bf16(half) : from_f16(half);
}
Data random(DType dtype, int64_t count, std::mt19937& rng) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  Data out;
  for (int64_t i = 0; i < count; ++i) out.values.push_back(rounded(dtype, uniform(rng)));
  out.bytes.resize(static_cast<size_t>(count) * size_of(dtype));
  for (int64_t i = 0; i < count; ++i) put(dtype, &out.bytes[static_cast<size_t>(i) * size_of(dtype)], out.values[static_cast<size_t>(i)]);
  return out;
}

struct Sums {
  std::vector<double> y, dx, dw;
  std::vector<double> y_size, dx_size, dw_size;  // sums of magnitudes
};
Sums reference(const ConvolutionArgs& a, const Data& x, const Data& w, const Data& g) {
  const size_t nx = x.values.size(), nw = w.values.size(), ny = g.values.size();
  Sums s{std::vector<double>(ny), std::vector<double>(nx), std::vector<double>(nw),
         std::vector<double>(ny), std::vector<double>(nx), std::vector<double>(nw)};
  const int64_t Cg = a.group_channels(), Og = a.group_filters();
  for (int64_t n = 0; n < a.images; ++n)
    for (int64_t o = 0; o < a.filters; ++o)
      for (int64_t r = 0; r < a.out[0]; ++r)
        for (int64_t q = 0; q < a.out[1]; ++q)
          for (int64_t c = 0; c < Cg; ++c)
            for (int64_t i = 0; i < a.kernel[0]; ++i)
              for (int64_t j = 0; j < a.kernel[1]; ++j) {
                const int64_t row = r * a.stride[0] - a.padding[0] + i * a.dilation[0];
                const int64_t column = q * a.stride[1] - a.padding[1] + j * a.dilation[1];
                if (row < 0 || row >= a.size[0] || column < 0 || column >= a.size[1]) continue;
                const int64_t at = ((n * a.channels + o / Og * Cg + c) * a.size[0] + row) * a.size[1] + column;
                const int64_t k = ((o * Cg + c) * a.kernel[0] + i) * a.kernel[1] + j;
                const int64_t p = ((n * a.filters + o) * a.out[0] + r) * a.out[1] + q;
                const double xv = x.values[at], wv = w.values[k], gv = g.values[p];
                s.y[p] += xv * wv, s.y_size[p] += std::abs(xv * wv);
                s.dx[at] += gv * wv, s.dx_size[at] += std::abs(gv * wv);
                s.dw[k] += gv * xv, s.dw_size[k] += std::abs(gv * xv);
              }
  return s;
}

std::string text(const ConvolutionArgs& a) {
  return std::to_string(a.images) + "x" + std::to_string(a.channels) + "x" + std::to_string(a.size[0]) + "x" + std::to_string(a.size[1]) +
         " by " + std::to_string(a.filters) + "x" + std::to_string(a.kernel[0]) + "x" + std::to_string(a.kernel[1]) + " in " +
         std::string(name(a.dtype));
}

void expect_near(DType dtype, const std::vector<char>& got, const std::vector<double>& want, const std::vector<double>& size,
                 const std::string& what) {
  const double unit = dtype == DType::f32 ? 0 : dtype == DType::bf16 ? 0x1p-8 : 0x1p-11;
  for (size_t i = 0; i < want.size(); ++i) {
    const double v = get(dtype, &got[i * size_of(dtype)]);
    ASSERT_LE(std::abs(v - want[i]), 4e-6 * size[i] + unit * std::abs(want[i]) + 1e-7) << what << ", element " << i << ": " << v << " against " << want[i];
  }
}

struct Results {
  std::vector<char> y, dx, dw;
};
Results run(const ConvolutionArgs& a, const Data& x, const Data& w, const std::vector<float>& bias, const Data& g, int threads) {
  ThreadPool pool(threads);
  const auto workspace = [](size_t bytes) {
    // NaN, which shows wherever a sum reads what nobody wrote.
    auto* memory = static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
    std::memset(memory, 0xff, bytes + 64);
    return std::unique_ptr<char, decltype(&std::free)>(memory, std::free);
  };
  const size_t bytes = size_of(a.dtype);
  Results r{std::vector<char>(g.values.size() * bytes, -1), std::vector<char>(x.values.size() * bytes, -1),
            std::vector<char>(w.values.size() * 4, -1)};
  auto memory = workspace(convolution_workspace_bytes(a, threads));
  convolution(a, x.bytes.data(), w.bytes.data(), bias.empty() ? nullptr : bias.data(), r.y.data(), memory.get(), pool);
  memory = workspace(convolution_data_gradient_workspace_bytes(a, threads));
  convolution_data_gradient(a, g.bytes.data(), w.bytes.data(), r.dx.data(), memory.get(), pool);
  memory = workspace(convolution_weight_gradient_workspace_bytes(a, threads));
  convolution_weight_gradient(a, x.bytes.data(), g.bytes.data(), reinterpret_cast<float*>(r.dw.data()), memory.get(), pool);
  return r;
}

TEST(Convolution, IsTheSumWithTheSameBitsForAnyThreads) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (ConvolutionArgs a : problems()) {
      a.dtype = dtype;
      std::mt19937 rng(7);
      const Data x = random(dtype, a.images * a.channels * a.size[0] * a.size[1], rng);
      const Data w = random(dtype, a.filters * a.depth(), rng), g = random(dtype, a.images * a.filters * a.pixels(), rng);
      Sums want = reference(a, x, w, g);
      for (bool with_bias : {false, true}) {
        std::vector<float> bias;
        if (with_bias) {
          for (int64_t o = 0; o < a.filters; ++o) bias.push_back(static_cast<float>(o % 7) - 3.25f);
          for (size_t p = 0; p < want.y.size(); ++p) want.y[p] += bias[p / a.pixels() % a.filters], want.y_size[p] += 4;
        }
        const Results one = run(a, x, w, bias, g, 1);
        expect_near(dtype, one.y, want.y, want.y_size, text(a) + ", result");
        if (with_bias) continue;
        expect_near(dtype, one.dx, want.dx, want.dx_size, text(a) + ", data gradient");
        expect_near(DType::f32, one.dw, want.dw, want.dw_size, text(a) + ", weight gradient");
        for (int threads : {2, 3, 7}) {
          const Results many = run(a, x, w, bias, g, threads);
          EXPECT_EQ(many.y, one.y) << text(a);
          EXPECT_EQ(many.dx, one.dx) << text(a);
          EXPECT_EQ(many.dw, one.dw) << text(a);
        }
      }
    }
}

// An image's result does not depend on the images beside it, a filter's not on other filters.
TEST(Convolution, ResultsDependOnTheirOwnOperandsOnly) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    ConvolutionArgs many = problem(7, 40, 6, 7, 90, 3, 1, 1);
    many.dtype = dtype;
    std::mt19937 rng(3);
    const Data x = random(dtype, 7 * 40 * 42, rng), w = random(dtype, 90 * 360, rng), g = random(dtype, 7 * 90 * 42, rng);
    const Results all = run(many, x, w, {}, g, 2);
    ConvolutionArgs one = many;
    one.images = 1;
    one.filters = 50;
    const size_t bytes = size_of(dtype);
    const auto part = [&](const Data& d, size_t first, size_t count) {
      return Data{std::vector<char>(d.bytes.begin() + first * bytes, d.bytes.begin() + (first + count) * bytes),
                  std::vector<double>(d.values.begin() + first, d.values.begin() + first + count)};
    };
    const Results alone = run(one, part(x, 4 * 40 * 42, 40 * 42), part(w, 0, 50 * 360), {}, part(g, 4 * 90 * 42, 50 * 42), 1);
    EXPECT_EQ(alone.y, std::vector<char>(all.y.begin() + 4 * 90 * 42 * bytes, all.y.begin() + (4 * 90 + 50) * 42 * bytes));
  }
}

TEST(Convolution, ReadsStridedImages) {
  // Channels 1 .. 4 of 6, rows with 3 elements between them.
  ConvolutionArgs a = problem(2, 3, 5, 4, 6, 3, 1, 1);
  std::mt19937 rng(5);
  const Data big = random(DType::f32, 2 * 6 * 5 * 7, rng), w = random(DType::f32, 6 * 27, rng), g = random(DType::f32, 2 * 6 * 20, rng);
  Data x;
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 1; c < 4; ++c)
      for (int64_t r = 0; r < 5; ++r)
        for (int64_t q = 0; q < 4; ++q) x.values.push_back(big.values[((n * 6 + c) * 5 + r) * 7 + q]);
  x.bytes.resize(x.values.size() * 4);
  for (size_t i = 0; i < x.values.size(); ++i) put(DType::f32, &x.bytes[i * 4], x.values[i]);
  const Results want = run(a, x, w, {}, g, 2);
  a.x_stride[0] = 6 * 35;
  a.x_stride[1] = 35;
  a.x_stride[2] = 7;
  Data view = big;
  view.bytes.erase(view.bytes.begin(), view.bytes.begin() + 35 * 4);
  view.values.resize(x.values.size());
  const Results got = run(a, view, w, {}, g, 2);
  EXPECT_EQ(got.y, want.y);
  EXPECT_EQ(got.dw, want.dw);
}

// Direct kernels have no family: their bits are the same for vectors of 8 and of 16.
TEST(Convolution, DirectKernelsAgreeToTheBit) {
  using namespace convolution_detail;
  if (!cpu_features().avx512f) GTEST_SKIP() << "one instruction set only";
  const DirectKernels &narrow = direct_kernels(Isa::avx2), &wide = direct_kernels(Isa::avx512);
  std::mt19937 rng(11);
  std::normal_distribution<float> normal;
  for (int64_t columns : {1, 7, 14, 16, 31, 40, 65})
    for (int64_t taps : {1, 3, 9, 15, 49})  // the last three may be grids of 3 and 7 rows
      for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const int64_t rows = 11, step = columns + 9;
        std::vector<float> in(static_cast<size_t>((rows + 8) * step + kOverread)), weights(static_cast<size_t>(taps)), g(static_cast<size_t>(rows * columns));
        for (auto* values : {&in, &weights, &g})
          for (float& v : *values) v = normal(rng);
        const int64_t grid_columns = taps == 9 ? 3 : taps == 15 ? 5 : 7;
        std::vector<int64_t> offsets;
        for (int64_t k = 0; k < taps; ++k) offsets.push_back(k / grid_columns * step + k % grid_columns);
        const auto results = [&](const DirectKernels& kernels, bool is_grid) {
          std::vector<char> out(static_cast<size_t>(rows * columns) * size_of(dtype) + 8, 7);
          TapSums t{.in = in.data(), .in_step = step, .offsets = offsets.data(), .weights = weights.data(), .taps = taps};
          if (is_grid) t.grid_rows = taps / grid_columns, t.grid_columns = grid_columns;
          t.rows = rows;
          t.columns = t.out_step = columns;
          t.bias = 0.5f;
          t.has_bias = true;
          t.dtype = dtype;
          t.out = out.data();
          kernels.sum_taps(t);
          return out;
        };
        const auto sums = [&](const DirectKernels& kernels) {
          std::vector<float> lanes(static_cast<size_t>(taps * kLanes), 0.25f);
          kernels.sum_weights({in.data(), step, offsets.data(), taps, g.data(), columns, rows, columns, lanes.data()});
          return lanes;
        };
        EXPECT_EQ(results(narrow, false), results(wide, false)) << columns << " columns, " << taps << " taps";
        EXPECT_EQ(sums(narrow), sums(wide)) << columns << " columns, " << taps << " taps";
        if (taps < 9) continue;
        EXPECT_EQ(results(narrow, true), results(wide, false)) << columns << " columns, " << taps << " taps";
        EXPECT_EQ(results(wide, true), results(wide, false)) << columns << " columns, " << taps << " taps";
      }
}

}  // namespace
}  // namespace corten::testing
