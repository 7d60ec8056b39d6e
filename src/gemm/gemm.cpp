#include "gemm/gemm.h"

#include <algorithm>
#include <atomic>

#include "base/format.h"
#include "gemm/block.h"

namespace corten {

const gemm_detail::Family& gemm_detail::family_of(const GemmArgs& g, Isa isa) {
  if (g.c_dtype == DType::f64) return kF64;
  if (isa >= Isa::avx512bf16 && (g.a_dtype == DType::bf16 || g.a_as_bf16) &&
      (g.b_dtype == DType::bf16 || g.b_as_bf16))
    return isa == Isa::amx ? kBf16Amx : kBf16Avx512;
  return isa == Isa::avx2 ? kF32Avx2 : kF32Avx512;
}

namespace {

using gemm_detail::Block;
using gemm_detail::Blocking;

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }

int64_t batch_count(const GemmArgs& g) { return g.batch[0] * g.batch[1] * g.batch[2]; }

// Products below this are faster on one thread than the pool is entered.
constexpr double kSerialFlops = 1e6;
// Results larger than this many times the L2 caches leave them anyway.
constexpr size_t kStreamFactor = 1;

void check(const GemmArgs& g) {
  if (g.m < 0 || g.n < 0 || g.k < 0 || g.batch[0] < 0 || g.batch[1] < 0 || g.batch[2] < 0)
    usage_error("[gemm] negative size: m {}, n {}, k {}, batch {} x {} x {}", g.m, g.n, g.k,
                g.batch[0], g.batch[1], g.batch[2]);
  const int doubles = (g.a_dtype == DType::f64) + (g.b_dtype == DType::f64) + (g.c_dtype == DType::f64);
  const bool floating =
      is_floating(g.a_dtype) && is_floating(g.b_dtype) && is_floating(g.c_dtype);
  if (!floating || (doubles != 0 && doubles != 3))
    usage_error("[gemm] cannot multiply {} by {} into {}: use f32, bf16 and f16, or f64 for all",
                name(g.a_dtype), name(g.b_dtype), name(g.c_dtype));
  if ((g.a_as_bf16 && g.a_dtype != DType::f32) || (g.b_as_bf16 && g.b_dtype != DType::f32))
    usage_error("[gemm] only f32 operands are rounded to bf16 where they are read (A is {}, B is {})",
                name(g.a_dtype), name(g.b_dtype));
  if (g.accumulate && g.c_dtype != DType::f32 && g.c_dtype != DType::f64)
    usage_error("[gemm] cannot accumulate into {}: only into f32 and f64", name(g.c_dtype));
  if (g.resume && (g.accumulate || g.bias || g.epilogue || (g.c_dtype != DType::f32 && g.c_dtype != DType::f64)))
    usage_error("[gemm] chains go on in f32 or f64 only, without bias, epilogue or accumulation (C is {})", name(g.c_dtype));
  if (g.consumer && (g.c_dtype == DType::f64 || g.resume)) usage_error("[gemm] neither an f64 product nor one that goes on takes a consumer");
  if (g.epilogue && g.c_dtype == DType::f64) usage_error("[gemm] an f64 product takes no epilogue");
}

// How many blocks each product is cut into, so that the threads have equal shares.
struct Grid {
  int64_t rows, columns;        // of one block
  int64_t row_parts, col_parts;
};

Grid make_grid(const GemmArgs& g, const Blocking& s, int threads) {
  int64_t row_parts = ceil_div(g.m, s.m_block), col_parts = ceil_div(g.n, s.n_block);
  const int64_t batch = batch_count(g);
  const auto even = [&] {
    const int64_t blocks = batch * row_parts * col_parts;
    return blocks >= 8 * threads || (blocks >= threads && blocks % threads == 0);
  };
  while (threads > 1 && !even()) {
    const int64_t rows = ceil_div(g.m, row_parts), columns = ceil_div(g.n, col_parts);
    const bool rows_left = rows > 2 * s.m_grain, columns_left = columns > 2 * s.n_grain;
    if (columns_left && (columns >= rows || !rows_left))
      ++col_parts;
    else if (rows_left)
      ++row_parts;
    else
      break;
  }
  Grid grid;
  grid.rows = std::min(s.m_block, round_up(ceil_div(g.m, row_parts), s.m_grain));
  grid.columns = std::min(s.n_block, round_up(ceil_div(g.n, col_parts), s.n_grain));
  grid.row_parts = ceil_div(g.m, grid.rows);
  grid.col_parts = ceil_div(g.n, grid.columns);
  return grid;
}

size_t scratch_stride(const Blocking& s) {
  // A page and a line apart, so that equal offsets of two threads share no cache set.
  return (s.scratch_bytes + 4095) / 4096 * 4096 + 64;
}

}  // namespace

size_t gemm_workspace_bytes(const GemmArgs& args, int threads, std::optional<Isa> isa) {
  check(args);
  const gemm_detail::Family& family = gemm_detail::family_of(args, isa ? *isa : cpu_isa());
  return static_cast<size_t>(threads) * scratch_stride(family.plan(args));
}

int64_t gemm_tile_stride(const GemmArgs& args, std::optional<Isa> isa) {
  check(args);
  const gemm_detail::Family& family = gemm_detail::family_of(args, isa ? *isa : cpu_isa());
  return family.plan(args).sums_stride * 4 / static_cast<int64_t>(size_of(args.c_dtype));
}

namespace {

/// On the threads of `pool`, or on this one if it is null.
void run(const GemmArgs& args, void* workspace, ThreadPool* pool, std::optional<Isa> isa) {
  check(args);
  const int64_t batch = batch_count(args);
  if (args.m == 0 || args.n == 0 || batch == 0) return;
  const gemm_detail::Family& family = gemm_detail::family_of(args, isa ? *isa : cpu_isa());
  const Blocking blocking = family.plan(args);
  const double flops = 2.0 * static_cast<double>(batch) * static_cast<double>(args.m) *
                       static_cast<double>(args.n) * static_cast<double>(args.k);
  const int threads = !pool || flops < kSerialFlops ? 1 : pool->num_threads();
  const Grid grid = make_grid(args, blocking, threads);
  const int64_t per_product = grid.row_parts * grid.col_parts, blocks = batch * per_product;
  const size_t c_bytes = static_cast<size_t>(batch * args.m * args.n) * size_of(args.c_dtype);
  const bool stream = !args.accumulate && !args.resume && !args.consumer &&
                      c_bytes > kStreamFactor * cpu_info().l2_bytes * static_cast<size_t>(threads);

  const auto run_block = [&](int64_t index, void* scratch) {
    Block block;
    block.args = &args;
    block.blocking = &blocking;
    block.stream = stream;
    block.scratch = scratch;
    int64_t product = index / per_product, part = index % per_product;
    block.first_row = product * args.m;
    int64_t a = 0, b = 0, c = 0;
    for (int d = 2; d >= 0; product /= args.batch[d], --d) {
      const int64_t i = product % args.batch[d];
      a += i * args.a_batch_stride[d];
      b += i * args.b_batch_stride[d];
      c += i * args.c_batch_stride[d];
    }
    block.a = static_cast<const char*>(args.a) + a * static_cast<int64_t>(size_of(args.a_dtype));
    block.b = static_cast<const char*>(args.b) + b * static_cast<int64_t>(size_of(args.b_dtype));
    block.c = !args.c ? nullptr : static_cast<char*>(args.c) + c * static_cast<int64_t>(size_of(args.c_dtype));
    block.m0 = part % grid.row_parts * grid.rows;
    block.n0 = part / grid.row_parts * grid.columns;
    block.m1 = std::min(block.m0 + grid.rows, args.m);
    block.n1 = std::min(block.n0 + grid.columns, args.n);
    const int64_t next = part + threads;  // the threads keep about abreast
    block.next_n0 = next < per_product ? next / grid.row_parts * grid.columns : 0;
    block.next_n1 = next < per_product ? std::min(block.next_n0 + grid.columns, args.n) : 0;
    family.run(block);
  };

  // Blocks are taken in turn, so that a thread whose core is busy elsewhere holds nobody up.
  std::atomic<int64_t> next{0};
  const auto run_blocks = [&](int64_t task, int) {
    void* scratch = static_cast<char*>(workspace) + static_cast<size_t>(task) * scratch_stride(blocking);
    family.begin();
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < blocks;)
      run_block(i, scratch);
    family.end();
  };
  if (pool) pool->parallel_for(std::min<int64_t>(threads, blocks), run_blocks);
  else run_blocks(0, 0);
}

}  // namespace

void gemm(const GemmArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa) {
  run(args, workspace, &pool, isa);
}
void gemm_serial(const GemmArgs& args, void* workspace, std::optional<Isa> isa) {
  run(args, workspace, nullptr, isa);
}

}  // namespace corten
