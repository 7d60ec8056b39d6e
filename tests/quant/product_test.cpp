// Products with quantised weights against their definition, evaluated by plain loops, bit for bit
// on every kernel family.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "base/half.h"
#include "corten/error.h"
#include "quant/pack_weights.h"
#include "quant/quantized_product.h"

namespace corten {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> out;
  for (Isa isa : kIsas)
    if (isa <= best_isa(cpu_features())) out.push_back(isa);
  return out;
}

uint16_t to_dtype(float x, DType dtype) {
  return dtype == DType::bf16 ? to_bf16(x) : to_f16(x);
}
float from_dtype(uint16_t x, DType dtype) {
  return dtype == DType::bf16 ? from_bf16(x) : from_f16(x);
}

/// Values of a dtype in memory with guard bytes around each row's end.
struct Values {
  DType dtype;
  std::vector<char> bytes;
  Values(DType dtype, size_t count) : dtype(dtype), bytes(count * size_of(dtype), 0x55) {}
  float at(size_t i) const {
    if (dtype == DType::f32) {
      float x;
      std::memcpy(&x, bytes.data() + i * 4, 4);
      return x;
    }
    uint16_t x;
    std::memcpy(&x, bytes.data() + i * 2, 2);
    return from_dtype(x, dtype);
  }
  void set(size_t i, float x) {
    const uint16_t half = dtype == DType::f32 ? 0 : to_dtype(x, dtype);
    if (dtype == DType::f32)
      std::memcpy(bytes.data() + i * 4, &x, 4);
    else
      std::memcpy(bytes.data() + i * 2, &half, 2);
  }
};

struct Case {
  int bits;
  int64_t group, m, n, k;
  DType x = DType::f32, y = DType::f32;
  bool bias = true;
  float threshold = 6, outliers = 0.01f;
  std::string text() const {
    return std::to_string(bits) + " bits, group " + std::to_string(group) + ", " +
           std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
  }
};

struct Problem {
  Case c;
  QuantizedArgs args;
  std::vector<float> w;  // [n, k]
  std::vector<uint8_t> weight, workspace;
  std::vector<char> scale;
  Values x, bias, y;

  Problem(const Case& c, unsigned seed)
      : c(c),
        w(static_cast<size_t>(c.n * c.k)),
        x(c.x, static_cast<size_t>(c.m * (c.k + 3))),
        bias(DType::bf16, static_cast<size_t>(c.n)),
        y(c.y, static_cast<size_t>(c.m * (c.n + 5))) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform;
    for (float& v : w) v = 0.05f * normal(rng);
    for (int64_t i = 0; i < c.m * (c.k + 3); ++i)
      x.set(static_cast<size_t>(i), normal(rng) * (uniform(rng) < c.outliers ? 40.0f : 1.0f));
    for (int64_t i = 0; i < c.n; ++i) bias.set(static_cast<size_t>(i), normal(rng));
    args.shape = {c.bits, c.group, c.n, c.k};
    args.threshold = c.threshold;
    args.m = c.m;
    args.x_dtype = c.x;
    args.x_row_stride = c.k + 3;
    args.y_dtype = c.y;
    args.y_row_stride = c.n + 5;
    args.bias_dtype = DType::bf16;
    weight.resize(static_cast<size_t>(args.shape.weight_bytes()));
    scale.resize(static_cast<size_t>(args.shape.scale_count()) * size_of(args.shape.scale_dtype()));
    ThreadPool pool(2);
    quantize_weights(args.shape, {w.data(), DType::f32, c.k, 1}, weight.data(), scale.data(), pool);
    args.x = x.bytes.data();
    args.weight = weight.data();
    args.scale = scale.data();
    args.bias = c.bias ? bias.bytes.data() : nullptr;
  }

  std::vector<char> run(ThreadPool& pool, Isa isa) {
    std::fill(y.bytes.begin(), y.bytes.end(), 0x55);
    args.y = y.bytes.data();
    const size_t bytes = quantized_workspace_bytes(args, pool.num_threads(), isa);
    std::unique_ptr<char, void (*)(void*)> memory(
        static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64)), std::free);
    std::memset(memory.get(), 0xee, bytes + 1);
    quantized_product(args, memory.get(), pool, isa);
    EXPECT_EQ(memory.get()[bytes], static_cast<char>(0xee)) << c.text();
    return y.bytes;
  }

  int weight_at(int64_t n, int64_t k) const {
    const QuantizedShape& s = args.shape;
    const auto panel = static_cast<size_t>(n / 16 * s.panel_bytes()),
               column = static_cast<size_t>(n % 16 * 4 + k % 4);
    if (c.bits == 8) return weight[panel + static_cast<size_t>(k / 4 * 64) + column] - 128;
    const int byte = weight[panel + static_cast<size_t>(k / 8 * 64) + column];
    return (k % 8 < 4 ? byte & 15 : byte >> 4) - 8;
  }
  float scale_at(int64_t n, int64_t k) const {
    if (c.bits == 8) {
      float s;
      std::memcpy(&s, scale.data() + n * 4, 4);
      return s;
    }
    uint16_t s;
    std::memcpy(&s, scale.data() + ((n / 16 * args.shape.groups() + k / c.group) * 16 + n % 16) * 2,
                2);
    return from_f16(s);
  }

  /// y[i, ...] as quantized_product.h defines it.
  std::vector<float> reference(int64_t i) const {
    const auto at = [&](int64_t k) { return x.at(static_cast<size_t>(i * args.x_row_stride + k)); };
    float lanes[16] = {};
    for (int64_t k = 0; k < c.k; ++k) lanes[k % 16] = std::fma(at(k), at(k), lanes[k % 16]);
    for (int half = 8; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    const float mean = lanes[0] / static_cast<float>(c.k);
    const float limit =
        c.threshold > 0 ? c.threshold * std::sqrt(mean) : std::numeric_limits<float>::infinity();
    float most = 0;
    for (int64_t k = 0; k < c.k; ++k)
      if (std::fabs(at(k)) <= limit) most = std::max(most, std::fabs(at(k)));
    const float scale = most / 127, inverse = most > 0 ? 127 / most : 0;
    std::vector<float> out;
    for (int64_t n = 0; n < c.n; ++n) {
      float sum = 0, rest = 0;
      int64_t exact = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        if (std::fabs(at(k)) > limit) {
          rest = std::fma(at(k),
                          c.bits == 8 ? static_cast<float>(weight_at(n, k))
                                      : static_cast<float>(weight_at(n, k)) * scale_at(n, k),
                          rest);
        } else {
          exact += static_cast<int64_t>(std::nearbyint(at(k) * inverse)) * weight_at(n, k);
        }
        if (c.bits == 4 && (k % c.group == c.group - 1 || k == c.k - 1)) {
          sum = std::fma(static_cast<float>(exact), scale_at(n, k), sum);
          exact = 0;
        }
      }
      if (c.bits == 8) sum = static_cast<float>(exact);
      float y = std::fma(sum, scale, rest);
      if (c.bits == 8) y *= scale_at(n, 0);
      if (c.bias) y += bias.at(static_cast<size_t>(n));
      out.push_back(y);
    }
    return out;
  }
};

void expect_exact(const Case& c, unsigned seed) {
  Problem p(c, seed);
  ThreadPool two(2), three(3);
  std::vector<std::vector<char>> results;
  for (Isa isa : isas()) results.push_back(p.run(isa == Isa::avx2 ? two : three, isa));
  for (size_t i = 1; i < results.size(); ++i)
    ASSERT_EQ(results[i], results[0]) << c.text() << " on " << name(isas()[i]);
  Values expected(c.y, p.y.bytes.size() / size_of(c.y));
  for (int64_t i = 0; i < c.m; ++i) {
    const std::vector<float> row = p.reference(i);
    for (int64_t n = 0; n < c.n; ++n)
      expected.set(static_cast<size_t>(i * p.args.y_row_stride + n), row[static_cast<size_t>(n)]);
  }
  for (size_t i = 0; i < expected.bytes.size() / size_of(c.y); ++i)
    ASSERT_EQ(
        std::memcmp(&expected.bytes[i * size_of(c.y)], &results[0][i * size_of(c.y)], size_of(c.y)),
        0)
        << c.text() << " at " << i << ": " << p.y.at(i) << " instead of " << expected.at(i);
}

TEST(QuantizedProduct, IsItsDefinitionOnEveryFamily) {
  unsigned seed = 1;
  for (auto [bits, group] : {std::pair<int, int64_t>{8, 0}, {4, 32}, {4, 64}, {4, 128}})
    for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 33})
      for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 1},
                          {16, 64},
                          {17, 65},
                          {40, 130},
                          {33, 300},
                          {70, 33}}) {
        expect_exact({.bits = bits, .group = group, .m = m, .n = n, .k = k, .bias = seed % 2 == 0},
                     seed);
        ++seed;
        if (HasFatalFailure()) return;
      }
}

TEST(QuantizedProduct, EveryDtypeOfActivationsAndResults) {
  unsigned seed = 100;
  for (int bits : {8, 4})
    for (DType x : {DType::f32, DType::bf16, DType::f16})
      for (DType y : {DType::f32, DType::bf16, DType::f16})
        for (int64_t m : {1, 20}) {
          expect_exact({.bits = bits,
                        .group = bits == 4 ? 32 : 0,
                        .m = m,
                        .n = 50,
                        .k = 200,
                        .x = x,
                        .y = y},
                       ++seed);
          if (HasFatalFailure()) return;
        }
}

TEST(QuantizedProduct, LargerShapesAndThreads) {
  for (int bits : {8, 4})
    for (int64_t m : {1, 3, 70})
      expect_exact({.bits = bits, .group = bits == 4 ? 64 : 0, .m = m, .n = 530, .k = 1100}, 7);
  Problem p({.bits = 8, .group = 0, .m = 130, .n = 200, .k = 500}, 3);
  ThreadPool one(1), seven(7);
  for (Isa isa : isas()) ASSERT_EQ(p.run(one, isa), p.run(seven, isa)) << name(isa);
}

/// A row's results are those of the row alone.
TEST(QuantizedProduct, RowsDoNotDependOnEachOther) {
  for (int bits : {8, 4}) {
    Problem p({.bits = bits, .group = bits == 4 ? 32 : 0, .m = 37, .n = 96, .k = 256}, 5);
    ThreadPool pool(2);
    for (Isa isa : isas()) {
      const std::vector<char> all = p.run(pool, isa);
      for (int64_t row : {0, 17, 36}) {
        Problem one = p;
        one.args.m = 1;
        one.args.x = p.x.bytes.data() + row * p.args.x_row_stride * 4;
        one.args.weight = p.weight.data();
        one.args.scale = p.scale.data();
        one.args.bias = p.bias.bytes.data();
        const std::vector<char> alone = one.run(pool, isa);
        ASSERT_EQ(std::memcmp(alone.data(), all.data() + row * p.args.y_row_stride * 4, 96 * 4), 0)
            << name(isa) << " row " << row;
      }
    }
  }
}

TEST(QuantizedProduct, Thresholds) {
  for (float threshold : {0.0f, 1.0f, 2.5f, 6.0f})
    for (int bits : {8, 4}) {
      expect_exact({.bits = bits,
                    .group = bits == 4 ? 32 : 0,
                    .m = 9,
                    .n = 40,
                    .k = 190,
                    .threshold = threshold,
                    .outliers = 0.05f},
                   11);
      if (HasFatalFailure()) return;
    }
}

double relative_error(const Case& c, unsigned seed) {
  Problem p(c, seed);
  ThreadPool pool(2);
  p.run(pool, best_isa(cpu_features()));
  double error = 0, total = 0;
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t n = 0; n < c.n; ++n) {
      double y = 0;
      for (int64_t k = 0; k < c.k; ++k)
        y += double{p.x.at(static_cast<size_t>(i * p.args.x_row_stride + k))} *
             double{p.w[static_cast<size_t>(n * c.k + k)]};
      const double d = p.y.at(static_cast<size_t>(i * p.args.y_row_stride + n)) - y;
      error += d * d;
      total += y * y;
    }
  return std::sqrt(error / total);
}

// Uniform rounding to steps of h has the error h / sqrt(12). Of a row without outliers, max|x| is
// at most 6 of its root mean squares, so that 6 / 127 / sqrt(12) = 1.4 % is the most that
// activations contribute, and normal weights with a maximum of 4 deviations contribute 0.9 %; 4
// bits: groups of 32 have maxima of about 2.1 deviations, 2.1 / 8 / sqrt(12) = 8 %.
TEST(QuantizedProduct, ErrorsAreThoseOfTheRounding) {
  for (float outliers : {0.0f, 0.01f}) {
    EXPECT_LT(relative_error({.bits = 8,
                              .group = 0,
                              .m = 12,
                              .n = 128,
                              .k = 1024,
                              .bias = false,
                              .outliers = outliers},
                             1),
              0.017);
    EXPECT_LT(relative_error({.bits = 4,
                              .group = 32,
                              .m = 12,
                              .n = 128,
                              .k = 1024,
                              .bias = false,
                              .outliers = outliers},
                             1),
              0.085);
    EXPECT_LT(relative_error({.bits = 4,
                              .group = 128,
                              .m = 12,
                              .n = 128,
                              .k = 1024,
                              .bias = false,
                              .outliers = outliers},
                             1),
              0.115);
  }
  // Where a few activations dwarf the others, these keep their precision only if the large ones are
  // taken out.
  const Case spiky{
      .bits = 8, .group = 0, .m = 12, .n = 128, .k = 1024, .bias = false, .outliers = 0.005f};
  Case blunt = spiky;
  blunt.threshold = 0;
  EXPECT_LT(relative_error(spiky, 2), 0.5 * relative_error(blunt, 2));
}

TEST(QuantizedProduct, StrangeRows) {
  for (int bits : {8, 4}) {
    Problem p({.bits = bits,
               .group = bits == 4 ? 32 : 0,
               .m = 6,
               .n = 20,
               .k = 64,
               .bias = false,
               .outliers = 0},
              1);
    const auto fill = [&](size_t row, float value, float first) {
      for (size_t k = 0; k < 64; ++k) p.x.set(row * 67 + k, k == 0 ? first : value);
    };
    fill(0, 0, 0);
    fill(1, 1, std::numeric_limits<float>::quiet_NaN());
    fill(2, 1, std::numeric_limits<float>::infinity());
    fill(3, 1e30f, 1e30f);
    fill(4, 1e-44f, 1e-44f);
    fill(5, 0, 3);
    ThreadPool pool(2);
    for (Isa isa : isas()) {
      p.run(pool, isa);
      const auto y = [&](size_t row, size_t n) { return p.y.at(row * 25 + n); };
      for (size_t n = 0; n < 20; ++n) {
        EXPECT_EQ(y(0, n), 0);
        EXPECT_TRUE(std::isnan(y(1, n)) && std::isnan(y(2, n)) && std::isnan(y(3, n)));
        EXPECT_EQ(y(4, n), 0);
        // One element alone is an outlier, and exact.
        EXPECT_NEAR(y(5, n),
                    3 * static_cast<float>(p.weight_at(static_cast<int64_t>(n), 0)) *
                        p.scale_at(static_cast<int64_t>(n), 0),
                    1e-6);
      }
    }
  }
}

TEST(QuantizeWeights, LayoutsDtypesAndRoundTrip) {
  ThreadPool pool(2);
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  const int64_t n = 37, k = 75;
  // 4 bits: what is cut off of the other sign than the largest is at most 2 of 9 steps, and the
  // correction moves steps a little.
  std::vector<uint16_t> rows(static_cast<size_t>(n * k)), columns(rows.size());
  std::vector<float> wide(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = to_bf16(normal(rng));
    wide[i] = from_bf16(rows[i]);
    columns[i % static_cast<size_t>(k) * static_cast<size_t>(n) + i / static_cast<size_t>(k)] =
        rows[i];
  }
  for (auto [bits, group, bound] :
       {std::tuple<int, int64_t, double>{8, 0, 0.51 / 127}, {4, 32, 0.27}, {4, 128, 0.27}}) {
    const QuantizedShape shape{bits, group, n, k};
    const auto pack = [&](const FloatWeights& from) {
      std::vector<uint8_t> weight(static_cast<size_t>(shape.weight_bytes()));
      std::vector<char> scale(static_cast<size_t>(shape.scale_count()) *
                              size_of(shape.scale_dtype()));
      quantize_weights(shape, from, weight.data(), scale.data(), pool);
      std::vector<float> out(rows.size());
      dequantize_weights(shape, weight.data(), scale.data(), out.data(), pool);
      return out;
    };
    const std::vector<float> back = pack({rows.data(), DType::bf16, k, 1});
    EXPECT_EQ(back, pack({columns.data(), DType::bf16, 1, n}));
    EXPECT_EQ(back, pack({wide.data(), DType::f32, k, 1}));
    for (int64_t row = 0; row < n; ++row) {
      float most = 0;
      for (int64_t i = 0; i < k; ++i)
        most = std::max(most, std::fabs(wide[static_cast<size_t>(row * k + i)]));
      for (int64_t i = 0; i < k; ++i)
        EXPECT_LE(std::fabs(back[static_cast<size_t>(row * k + i)] -
                            wide[static_cast<size_t>(row * k + i)]),
                  bound * most);
    }
  }
}

TEST(QuantizeWeights, WrongInput) {
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message([] { check(QuantizedShape{3, 0, 4, 4}); }).find("3 bits"), std::string::npos);
  EXPECT_NE(message([] {
              check(QuantizedShape{4, 48, 4, 4});
            }).find("groups of 48"),
            std::string::npos);
  EXPECT_NE(message([] {
              check(QuantizedShape{8, 32, 4, 4});
            }).find("groups of 32"),
            std::string::npos);
  EXPECT_NE(message([] {
              check(QuantizedShape{8, 0, 4, 1 << 18});
            }).find("262144"),
            std::string::npos);
  ThreadPool pool(1);
  const float bad[] = {1, std::numeric_limits<float>::infinity()};
  std::vector<uint8_t> weight(1024);
  std::vector<float> scale(16);
  EXPECT_NE(
      message([&] {
        quantize_weights({8, 0, 1, 2}, {bad, DType::f32, 2, 1}, weight.data(), scale.data(), pool);
      }).find("finite"),
      std::string::npos);
  QuantizedArgs args;
  args.shape = {8, 0, 4, 4};
  args.threshold = 0.5f;
  EXPECT_NE(message([&] { quantized_workspace_bytes(args, 1); }).find("0.5"), std::string::npos);
}

}  // namespace
}  // namespace corten
