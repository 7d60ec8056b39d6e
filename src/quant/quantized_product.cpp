#include "quant/quantized_product.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/format.h"
#include "quant/block.h"

namespace corten {

using quant_detail::Family;
using quant_detail::Rows;

namespace {

int64_t ceil_div(int64_t x, int64_t y) {
  return (x + y - 1) / y;
}
size_t round_up(size_t x, size_t unit) {
  return (x + unit - 1) / unit * unit;
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

void check(const QuantizedArgs& g) {
  check(g.shape);
  if (g.m < 0) usage_error("[quantized_product] {} rows", g.m);
  if (!is_float(g.x_dtype) || !is_float(g.y_dtype) || !is_float(g.bias_dtype))
    usage_error(
        "[quantized_product] cannot compute {} from {} with a bias of {}: use f32, bf16 and f16",
        name(g.y_dtype), name(g.x_dtype), name(g.bias_dtype));
  if (!(g.threshold == 0 || (g.threshold >= 1 && g.threshold < 1e6f)))
    usage_error(
        "[quantized_product] the outlier threshold {} is neither 0 (no outliers) nor at least 1",
        g.threshold);
}

/// All families give the same bits, so that each product takes the one that suits it.
const Family& family_of(const QuantizedArgs& g, Isa isa) {
  constexpr int64_t kTileRows = 16;
  if (isa < Isa::avx512 || !cpu_features().avx512_vnni) return quant_detail::kAvx2;
  const bool tiles =
      isa == Isa::amx && cpu_features().amx_int8 && g.shape.bits == 8 && g.m >= kTileRows;
  return tiles ? quant_detail::kAmx : quant_detail::kAvx512Vnni;
}

/// How a product is cut up; depends on sizes only.
struct Plan {
  const Family* family;
  int64_t strips;         // of rows
  bool unpack;            // 4 bits are unpacked once for several strips
  int64_t most_outliers;  // of a row
  // Offsets into the workspace.
  size_t a, scale, sums, outliers, outlier_k, outlier_x, scratch, scratch_bytes;

  Plan(const QuantizedArgs& g, Isa isa) : family(&family_of(g, isa)) {
    const QuantizedShape& s = g.shape;
    const int64_t most_rows = s.bits == 8 ? family->most_rows8 : family->most_rows4;
    strips = ceil_div(g.m, most_rows);
    unpack = s.bits == 4 && strips > 1;
    const double share = static_cast<double>(s.k) / (double{g.threshold} * double{g.threshold});
    most_outliers = g.threshold == 0 ? 0 : std::min(s.k, static_cast<int64_t>(share * 1.001) + 2);
    size_t next = 0;
    const auto take = [&](int64_t count, size_t size) {
      const size_t at = next;
      next = round_up(next + static_cast<size_t>(count) * size, 64);
      return at;
    };
    a = take((g.m + 16) * s.padded_k(), 1);  // tiles read 16 rows at a time
    scale = take(g.m, 4);
    sums = take(g.m * s.groups(), 4);
    outliers = take(g.m, 4);
    outlier_k = take(g.m * most_outliers, 4);
    outlier_x = take(g.m * most_outliers, 4);
    scratch = next;
    // Sums and results of a strip; then a row that is spread, or an unpacked pair of panels.
    const int64_t unpacked = unpack ? 2 * kPanelColumns : 1;
    scratch_bytes =
        round_up(2 * quant_detail::kTileScratch + static_cast<size_t>(unpacked * s.padded_k()),
                 4096) +
        64;
  }
  Rows rows(void* workspace) const {
    char* const w = static_cast<char*>(workspace);
    return {reinterpret_cast<int8_t*>(w + a),
            reinterpret_cast<float*>(w + scale),
            reinterpret_cast<int32_t*>(w + sums),
            reinterpret_cast<int32_t*>(w + outliers),
            reinterpret_cast<int32_t*>(w + outlier_k),
            reinterpret_cast<float*>(w + outlier_x),
            most_outliers};
  }
};

/// Rows m first .. end of strip `i`: near-equal ones.
int64_t strip_first(const Plan& plan, int64_t m, int64_t i) {
  return m * i / plan.strips;
}

void quantize_strip(const QuantizedArgs& g, const Plan& plan, const Rows& rows, int64_t strip,
                    int8_t* spread) {
  const QuantizedShape& s = g.shape;
  const int64_t padded = s.padded_k(), group = s.bits == 4 ? s.group : padded;
  const int64_t first = strip_first(plan, g.m, strip),
                count = strip_first(plan, g.m, strip + 1) - first;
  int8_t* const a = rows.a + first * padded;
  for (int64_t i = 0; i < count; ++i) {
    const auto* const x = static_cast<const char*>(g.x) +
                          (first + i) * g.x_row_stride * static_cast<int64_t>(size_of(g.x_dtype));
    const bool in_place = plan.family->by_rows || count == 1;
    int8_t* const row = in_place ? a + i * padded : spread;
    quant_detail::quantize_row(x, g.x_dtype, s.k, padded, group, g.threshold, row, rows, first + i);
    if (in_place) continue;
    for (int64_t k = 0; k < padded; k += 4) std::memcpy(a + k * count + i * 4, row + k, 4);
  }
}

/// Strips [first, end) times one or two panels.
void run_panels(const QuantizedArgs& g, const Plan& plan, const Rows& rows, int64_t panel,
                int64_t panels, int64_t first, int64_t end, char* scratch) {
  const QuantizedShape& s = g.shape;
  const Family& family = *plan.family;
  float* const tile = reinterpret_cast<float*>(scratch);
  uint8_t* const unpacked = reinterpret_cast<uint8_t*>(scratch + 2 * quant_detail::kTileScratch);
  quant_detail::Strip strip;
  strip.panels = static_cast<int>(panels);
  strip.padded_k = s.padded_k();
  strip.group = s.group;
  strip.groups = s.groups();
  strip.scratch = scratch + quant_detail::kTileScratch;
  strip.out = tile;
  strip.b = g.weight + panel * s.panel_bytes();
  strip.b_stride = s.panel_bytes();
  if (s.bits == 4)
    strip.scale = static_cast<const uint16_t*>(g.scale) + panel * s.groups() * kPanelColumns;
  if (plan.unpack) {
    const int64_t bytes = kPanelColumns * s.padded_k();
    for (int64_t p = 0; p < panels; ++p)
      quant_detail::unpack4(strip.b + p * strip.b_stride, s.padded_k(), unpacked + p * bytes);
    strip.b = unpacked;
    strip.b_stride = bytes;
  }
  const auto product = s.bits == 8   ? family.product8
                       : plan.unpack ? family.product4_unpacked
                                     : family.product4;
  for (int64_t i = first; i < end; ++i) {
    const int64_t row = strip_first(plan, g.m, i);
    strip.rows = static_cast<int>(strip_first(plan, g.m, i + 1) - row);
    strip.a = rows.a + row * s.padded_k();
    strip.sums = rows.sums + row * s.groups();
    product(strip);
    family.finish({&g, &rows, tile, row, strip.rows, panel, panels});
  }
}

}  // namespace

size_t quantized_workspace_bytes(const QuantizedArgs& args, int threads, std::optional<Isa> isa) {
  check(args);
  const Plan plan(args, isa ? *isa : cpu_isa());
  return plan.scratch + static_cast<size_t>(threads) * plan.scratch_bytes;
}

void quantized_product(const QuantizedArgs& args, void* workspace, ThreadPool& pool,
                       std::optional<Isa> isa) {
  check(args);
  const QuantizedShape& s = args.shape;
  if (args.m == 0 || s.n == 0) return;
  const Plan plan(args, isa ? *isa : cpu_isa());
  const Rows rows = plan.rows(workspace);
  const auto scratch_of = [&](int64_t task) {
    return static_cast<char*>(workspace) + plan.scratch +
           static_cast<size_t>(task) * plan.scratch_bytes;
  };
  constexpr double kSerialWork =
      2e5;  // multiplications below which the pool is not entered: some microseconds
  const double work =
      static_cast<double>(args.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  const int64_t threads = work < kSerialWork ? 1 : pool.num_threads();

  const auto quantize = [&](int64_t strip, int64_t task) {
    quantize_strip(args, plan, rows, strip,
                   reinterpret_cast<int8_t*>(scratch_of(task) + 2 * quant_detail::kTileScratch));
  };
  if (plan.strips < 4 || threads == 1) {
    for (int64_t strip = 0; strip < plan.strips; ++strip) quantize(strip, 0);
  } else {
    pool.parallel_for(threads, [&](int64_t task, int) {
      for (int64_t i = plan.strips * task / threads; i < plan.strips * (task + 1) / threads; ++i)
        quantize(i, task);
    });
  }

  // One row reads each panel once, so that whole runs of them are one stream from memory; more rows
  // use a pair of panels at a time.
  const bool streams = args.m < 4;
  const int64_t unit = streams ? 1 : 2, units = ceil_div(s.panels(), unit);
  constexpr int64_t kMostBytes = 512 << 10;  // of weights taken at a time
  const int64_t row_parts = plan.strips > 1 && units < 8 * threads
                                ? std::min(plan.strips, ceil_div(8 * threads, units))
                                : 1;
  const int64_t tasks = units * row_parts,
                most = plan.strips > 1
                           ? 1
                           : std::max<int64_t>(1, kMostBytes / (unit * s.panel_bytes()));
  std::atomic<int64_t> next{0};
  // Taken in turn, so that a thread whose core is busy elsewhere holds nobody up: long runs first,
  // short ones at the end.
  const auto take = [&](int64_t& first, int64_t& end) {
    first = next.load(std::memory_order_relaxed);
    do {
      if (first >= tasks) return false;
      end = first + std::clamp<int64_t>((tasks - first) / (3 * threads), 1, most);
    } while (!next.compare_exchange_weak(first, end, std::memory_order_relaxed));
    return true;
  };
  const auto work_on = [&](int64_t task, int) {
    char* const scratch = scratch_of(task);
    plan.family->begin();
    for (int64_t begin, end; take(begin, end);)
      for (int64_t i = begin; i < end; ++i) {
        const int64_t panel = i / row_parts * unit, part = i % row_parts;
        run_panels(args, plan, rows, panel, std::min(unit, s.panels() - panel),
                   plan.strips * part / row_parts, plan.strips * (part + 1) / row_parts, scratch);
      }
    plan.family->end();
  };
  if (threads == 1)
    work_on(0, 0);
  else
    pool.parallel_for(std::min(threads, tasks), work_on);
}

}  // namespace corten
