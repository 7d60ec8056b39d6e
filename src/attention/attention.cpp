#include "attention/attention.h"

#include <algorithm>
#include <atomic>

#include "attention/block.h"
#include "base/format.h"

namespace corten {
namespace {

using attention_detail::Family;
using attention_detail::Head;
using attention_detail::Part;

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t round_up(int64_t x, int64_t unit) { return ceil_div(x, unit) * unit; }

// Most queries of one forward task: their accumulators stay in the L2 cache.
constexpr int64_t kMostQueries = 384;
// Attention below this is faster on one thread than the pool is entered.
constexpr double kSerialFlops = 1e5;

const Family& family_of(const AttentionArgs& a, Isa isa) {
  if (isa >= Isa::avx512bf16 && a.dtype == DType::bf16) return attention_detail::kAvx512Bf16;
  return isa == Isa::avx2 ? attention_detail::kAvx2 : attention_detail::kAvx512;
}

int64_t heads(const AttentionArgs& a) { return a.batch[0] * a.batch[1] * a.batch[2]; }

void check(const AttentionArgs& a) {
  if (a.dtype != DType::f32 && a.dtype != DType::bf16 && a.dtype != DType::f16)
    usage_error("[attention] {} is not supported: use f32, bf16 or f16", name(a.dtype));
  if (a.batch[0] < 0 || a.batch[1] < 0 || a.batch[2] < 0 || a.queries < 0 || a.keys < 1 || a.head_size < 1 ||
      a.head_size > kMaxHeadSize)
    usage_error("[attention] sizes out of range: batch {} x {} x {}, {} queries, {} keys, head size {} (1 to {})", a.batch[0],
                a.batch[1], a.batch[2], a.queries, a.keys, a.head_size, kMaxHeadSize);
  if (a.mask && a.mask_dtype != DType::boolean && a.mask_dtype != DType::f32)
    usage_error("[attention] a mask of {} is not supported: use bool or f32", name(a.mask_dtype));
  if (a.mask && a.mask_key_stride != 0 && a.mask_key_stride != 1)
    usage_error("[attention] the mask's stride along the keys is {}, not 0 or 1", a.mask_key_stride);
}

/// The queries of one forward task: enough tasks for the threads, of as many queries as possible.
int64_t task_queries(const AttentionArgs& a, int threads, int64_t rows) {
  const int64_t count = heads(a), most = round_up(std::min(kMostQueries, std::max<int64_t>(a.queries, 1)), rows);
  int64_t parts = ceil_div(std::max<int64_t>(a.queries, 1), most);
  while (threads > 1 && count * parts < 8 * threads && ceil_div(a.queries, parts + 1) >= 4 * rows) ++parts;
  return std::min(most, round_up(ceil_div(std::max<int64_t>(a.queries, 1), parts), rows));
}

/// Whether whole heads are divided among the threads: five products per block instead of seven, but no more tasks
/// than heads.
bool whole_heads(const AttentionArgs& a, int threads) {
  const int64_t count = heads(a);
  const double idle = static_cast<double>(ceil_div(count, threads) * threads) / static_cast<double>(std::max<int64_t>(count, 1));
  return idle < 7.0 / 5.0;
}

size_t stride_of(size_t bytes) {
  // A page and a line apart, so that equal offsets of two threads share no cache set.
  return (bytes + 4095) / 4096 * 4096 + 64;
}

size_t dots_bytes(const AttentionArgs& a) {
  return static_cast<size_t>(round_up(heads(a) * a.queries, 16)) * sizeof(float);
}

size_t gradient_stride(const AttentionArgs& a, int threads, const Family& family) {
  if (whole_heads(a, threads)) return stride_of(family.gradient_bytes(a, Part::all));
  return stride_of(std::max(family.gradient_bytes(a, Part::keys), family.gradient_bytes(a, Part::queries)));
}

Head make_head(const AttentionArgs& args, int64_t index, float* dots) {
  Head head{args, index, dots ? dots + index * args.queries : nullptr};
  AttentionArgs& a = head.args;
  int64_t at[3], rest = index;
  for (int d = 2; d >= 0; rest /= args.batch[d], --d) at[d] = rest % args.batch[d];
  const auto bytes = static_cast<int64_t>(size_of(a.dtype));
  for (AttentionTensor* t : {&a.q, &a.k, &a.v, &a.out, &a.g, &a.dq, &a.dk, &a.dv}) {
    if (!t->data) continue;
    int64_t offset = 0;
    for (int d = 0; d < 3; ++d) offset += at[d] * t->batch_stride[d];
    t->data = static_cast<char*>(t->data) + offset * bytes;
  }
  if (a.mask) {
    int64_t offset = 0;
    for (int d = 0; d < 3; ++d) offset += at[d] * a.mask_batch_stride[d];
    a.mask = static_cast<const char*>(a.mask) + offset * static_cast<int64_t>(size_of(a.mask_dtype));
  }
  a.lse += index * a.queries;
  return head;
}

/// Tasks are taken in turn, so that a thread whose core is busy elsewhere holds nobody up.
template <typename F>
void share(ThreadPool& pool, int threads, int64_t tasks, char* workspace, size_t stride, F&& run) {
  if (tasks == 0) return;
  std::atomic<int64_t> next{0};
  pool.parallel_for(std::min<int64_t>(threads, tasks), [&](int64_t worker, int) {
    char* scratch = workspace + static_cast<size_t>(worker) * stride;
    for (int64_t task = next++; task < tasks; task = next++) run(task, scratch);
  });
}

double flops(const AttentionArgs& a) {
  return 4 * static_cast<double>(heads(a)) * static_cast<double>(a.head_size) * attention_pairs(a.queries, a.keys, a.causal);
}

}  // namespace

double attention_flops(const AttentionArgs& a, bool gradient) {
  return (gradient ? 2 : 1) * flops(a);
}

double attention_pairs(int64_t queries, int64_t keys, bool causal) {
  const auto t = static_cast<double>(queries), s = static_cast<double>(keys);
  if (!causal) return t * s;
  const double rising = std::min(t, s);  // queries that see 1, 2, ... keys
  return rising * (rising + 1) / 2 + (t - rising) * s;
}

size_t attention_workspace_bytes(const AttentionArgs& args, int threads, std::optional<Isa> isa) {
  check(args);
  const Family& family = family_of(args, isa ? *isa : cpu_isa());
  // Fewer threads may take more queries at a time.
  size_t most = 0;
  for (int n = 1; n <= threads; ++n)
    most = std::max(most, static_cast<size_t>(n) * stride_of(family.forward_bytes(args, task_queries(args, n, family.blocks.rows))));
  return most;
}

size_t attention_gradient_workspace_bytes(const AttentionArgs& args, int threads, std::optional<Isa> isa) {
  check(args);
  const Family& family = family_of(args, isa ? *isa : cpu_isa());
  size_t most = 0;
  for (int n = 1; n <= threads; ++n) most = std::max(most, static_cast<size_t>(n) * gradient_stride(args, n, family));
  return dots_bytes(args) + most;
}

void attention(const AttentionArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa) {
  check(args);
  if (heads(args) == 0 || args.queries == 0) return;
  const Family& family = family_of(args, isa ? *isa : cpu_isa());
  const int threads = flops(args) < kSerialFlops ? 1 : pool.num_threads();
  const int64_t queries = task_queries(args, threads, family.blocks.rows), parts = ceil_div(args.queries, queries);
  share(pool, threads, heads(args) * parts, static_cast<char*>(workspace), stride_of(family.forward_bytes(args, queries)),
        [&](int64_t task, void* scratch) {
          // The last queries of a head see the most keys: they go first.
          const int64_t first = (parts - 1 - task / heads(args)) * queries;
          family.forward(make_head(args, task % heads(args), nullptr), first, std::min(first + queries, args.queries), scratch);
        });
}

void attention_gradient(const AttentionArgs& args, void* workspace, ThreadPool& pool, std::optional<Isa> isa) {
  check(args);
  const int64_t count = heads(args);
  if (count == 0) return;
  const Family& family = family_of(args, isa ? *isa : cpu_isa());
  const int threads = flops(args) < kSerialFlops ? 1 : pool.num_threads();
  float* dots = static_cast<float*>(workspace);
  char* scratch = static_cast<char*>(workspace) + dots_bytes(args);
  const size_t stride = gradient_stride(args, threads, family);
  if (whole_heads(args, threads)) {
    share(pool, threads, count, scratch, stride, [&](int64_t task, void* memory) {
      family.gradient(make_head(args, task, dots), Part::all, 0, 0, memory);
    });
    return;
  }
  const int64_t queries = family.blocks.gradient_queries, keys = family.blocks.gradient_keys;
  const int64_t query_parts = ceil_div(args.queries, queries), key_parts = ceil_div(args.keys, keys);
  share(pool, threads, count * query_parts, scratch, stride, [&](int64_t task, void*) {
    const int64_t first = task % query_parts * queries;
    family.dots(make_head(args, task / query_parts, dots), first, std::min(first + queries, args.queries));
  });
  share(pool, threads, count * (query_parts + key_parts), scratch, stride, [&](int64_t task, void* memory) {
    const bool by_keys = task < count * key_parts;
    if (!by_keys) task -= count * key_parts;
    const Head head = make_head(args, task % count, dots);
    // The first keys are seen by the most queries, the last queries see the most keys.
    const int64_t part = by_keys ? task / count : query_parts - 1 - task / count;
    const int64_t first = part * (by_keys ? keys : queries);
    family.gradient(head, by_keys ? Part::keys : Part::queries, first,
                    std::min(first + (by_keys ? keys : queries), by_keys ? args.keys : args.queries), memory);
  });
}

}  // namespace corten
