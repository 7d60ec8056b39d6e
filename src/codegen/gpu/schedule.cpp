#include "codegen/gpu/schedule.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "base/format.h"
#include "codegen/plan.h"

namespace corten::codegen::gpu {

using ir::Body;
using ir::InnerStride;
using ir::Kernel;
using ir::KernelForm;
using ir::Launch;
using ir::ScalarNode;
using ir::ScalarOp;

namespace {

constexpr int kWarp = 32;
constexpr int64_t kChunk = ir::kRowTree.chunk;
constexpr int kMaxWarps = 16;  // that share a row
constexpr int kMaxColumnGroup = 32;
constexpr int64_t kManyThreads = int64_t{1} << 18;

int64_t outer_points(const Kernel& kernel, const Launch& launch) {
  int64_t n = 1;
  for (int d = 0; d < kernel.outer_rank - (kernel.form == KernelForm::columns ? 1 : 0); ++d)
    n *= launch.outer[d];
  return n;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Whether `count` elements can be moved at once wherever the access is.
bool is_aligned(const Kernel& kernel, const Launch& launch, size_t access, uint64_t address,
                int count) {
  const ir::Access& a = kernel.accesses[access];
  const Launch::Access& at = launch.accesses[access];
  if (a.inner != InnerStride::one || (a.guards >> kernel.outer_rank & 1)) return false;
  const auto size = static_cast<int64_t>(size_of(kernel.operands[a.operand].dtype));
  const int64_t bytes = std::min<int64_t>(size * count, kMaxAlignment);
  if (address % static_cast<uint64_t>(bytes)) return false;
  if (at.offset * size % bytes) return false;
  for (int d = 0; d < kernel.outer_rank; ++d)
    if (launch.outer[d] > 1 && at.strides[d] * size % bytes) return false;
  return a.index < 0 || at.index_stride * size % bytes == 0;
}

class Chooser {
 public:
  Chooser(const Kernel& kernel, const Launch& launch, std::span<const uint64_t> addresses)
      : k_(kernel), launch_(launch), addresses_(addresses), plan_(make_plan(kernel)) {}

  Schedule run() {
    // Points and, where columns are reduced, their rows are counted.
    int64_t counted = outer_points(k_, launch_) * std::max<int64_t>(launch_.inner, 1);
    if (k_.form == KernelForm::columns)
      counted = std::max(counted, launch_.outer[k_.outer_rank - 1] *
                                      std::max<int64_t>(launch_.chunks, 1));
    s_.wide = counted >= (int64_t{1} << 31) - (int64_t{1} << 20);
    switch (k_.form) {
      case KernelForm::rows:
        if (plan_.reductions.empty())
          points();
        else
          rows();
        break;
      case KernelForm::columns:
        columns();
        break;
      case KernelForm::scatter:
        scatter();
        break;
    }
    align();
    return s_;
  }

 private:
  // Elements that all accesses along the row can move at once, at most `limit`.
  int widest(int limit) const {
    int best = 1;
    for (int v = 2; v <= limit && launch_.inner > 0 && launch_.inner % v == 0; v *= 2) {
      bool any = false, all = true;
      for (size_t i = 0; i < k_.accesses.size(); ++i) {
        const ir::Access& a = k_.accesses[i];
        if (a.operand < 0 || a.inner == InnerStride::zero) continue;
        const bool fits = is_aligned(k_, launch_, i, addresses_[a.operand], v);
        any |= fits;
        // Reads that cannot be joined cost no more in a wide thread; writes do.
        all &= fits || !k_.operands[a.operand].written;
      }
      if (any && all) best = v;
    }
    return best;
  }

  int smallest_element() const {
    size_t bytes = 8;
    for (const ir::Access& a : k_.accesses)
      if (a.operand >= 0 && a.inner == InnerStride::one)
        bytes = std::min(bytes, size_of(k_.operands[a.operand].dtype));
    return static_cast<int>(std::max<size_t>(bytes, 2));
  }

  int total_cost() const {
    int cost = 0;
    for (const Stage& stage : plan_.stages) cost += stage.cost;
    return cost;
  }

  void points() {
    s_.shape = Shape::points;
    // Long bodies have enough independent work per element.
    const int limit = std::min(kMaxAlignment / smallest_element(), total_cost() > 64 ? 4 : 8);
    s_.vector = widest(limit);
    const int64_t work =
        outer_points(k_, launch_) * std::max<int64_t>(1, launch_.inner / s_.vector);
    s_.threads = work >= 256 ? 256 : work > 32 ? 128 : 32;
  }

  // Trees whose lanes are not the threads of a warp.
  bool plain_trees() const {
    return std::all_of(plan_.reductions.begin(), plan_.reductions.end(), [&](const Reduction& r) {
      const ScalarNode& n = k_node(r);
      return n.op != ScalarOp::reduce_sum || !is_floating(n.type) || Body::tree(n) == ir::kRowTree;
    });
  }
  const ScalarNode& k_node(const Reduction& r) const { return plan_.kernel.body.node(r.node); }

  void rows() {
    s_.shape = Shape::rows;
    s_.vector = 2;
    const int64_t inner = launch_.inner, chunks = std::max<int64_t>(1, ceil_div(inner, kChunk));
    if (inner <= 2 * kWarp && plain_trees()) {
      s_.group = static_cast<int>(
          std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(ceil_div(inner, 2), 1))));
      s_.steps = 1;
    } else if (chunks == 1) {
      s_.group = kWarp;
      s_.steps = static_cast<int>(std::max<int64_t>(1, ceil_div(inner, 2 * kWarp)));
    } else {
      const int64_t warps = std::min<int64_t>(
          kMaxWarps, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(chunks))));
      s_.group = static_cast<int>(warps) * kWarp;
      if (chunks <= kMaxWarps) s_.steps = static_cast<int>(kChunk / (2 * kWarp));
    }
    // Elements in registers have numbers known at compile time: the code is repeated for each.
    constexpr int kMaxUnrolled = 6000;
    if (!plain_trees() || (s_.steps > 1 && total_cost() * 2 * s_.steps > kMaxUnrolled))
      s_.steps = 0;
    const int64_t covered =
        s_.group > kWarp ? s_.group / kWarp * kChunk : int64_t{2} * s_.group * s_.steps;
    s_.whole = s_.steps > 0 && inner == covered;
    s_.threads = std::max(s_.group, 128);
  }

  void columns() {
    s_.shape = Shape::columns;
    const int64_t rows = launch_.outer[k_.outer_rank - 1];
    int64_t chunks = 1;
    for (const Stage& stage : plan_.stages)
      if (!stage.reductions.empty() && launch_.chunks <= 1)
        chunks = std::max(chunks, ceil_div(rows, stage.tree.chunk));
    s_.chunks = chunks > 1;
    const int64_t points = outer_points(k_, launch_) * std::max<int64_t>(1, launch_.chunks);
    // A thread that walks down alone waits for memory most of the time: a column's chunks are shared
    // until there are threads enough to fill the machine.
    if (s_.chunks)
      s_.group = static_cast<int>(
          std::bit_ceil(static_cast<uint64_t>(std::min<int64_t>(chunks, kMaxColumnGroup))));
    while (s_.group > 1 && points * launch_.inner * s_.group > kManyThreads) s_.group /= 2;
    if (s_.group > 1) {
      // 16 columns or more: half a cache line of f32.
      s_.threads = std::max(128, 16 * s_.group);
      return;
    }
    // As wide as leaves enough threads to fill the machine.
    int limit = std::min(kMaxAlignment / smallest_element(), 4);
    while (limit > 1 && points * launch_.inner / limit < 65536) limit /= 2;
    s_.vector = widest(limit);
    // Few threads without a column, and one size for most, so that launches can be joined.
    s_.threads = launch_.inner / s_.vector > 32 ? 64 : 32;
  }

  // The coordinates that a place determines whatever the indices are: the place's address is a
  // number whose digits they are, the index among them.
  int own_coordinates(const Launch::Access& at, int64_t inner_stride) const {
    constexpr int kIndex = -1;
    struct Digit {
      int64_t stride, extent;
      int bit;
    };
    std::vector<Digit> digits;
    const auto add = [&](int64_t stride, int64_t extent, int bit) {
      if (stride != 0 && extent > 1) digits.push_back({std::abs(stride), extent, bit});
    };
    add(at.index_stride, at.index_bound, kIndex);
    add(inner_stride, launch_.inner, ir::kMaxOuter);
    for (int d = 0; d < k_.outer_rank; ++d) add(at.strides[d], launch_.outer[d], d);
    std::sort(digits.begin(), digits.end(),
              [](const Digit& a, const Digit& b) { return a.stride < b.stride; });
    int own = 0;
    int64_t reach = 0;  // of all smaller digits
    for (const Digit& digit : digits) {
      if (digit.stride <= reach) return 0;
      reach += digit.stride * (digit.extent - 1);
      if (digit.bit != kIndex) own |= 1 << digit.bit;
    }
    return own;
  }

  void scatter() {
    const int store = k_.stores[0].access;
    const ir::Access& target = k_.accesses[store];
    const Plan& p = plan_;
    const bool varies = p.varies[p.kernel.accesses[store].index];
    const Launch::Access& at = launch_.accesses[store];
    const int64_t inner_stride = target.inner == InnerStride::zero  ? 0
                                 : target.inner == InnerStride::one ? 1
                                                                    : at.inner_stride;
    const int own = own_coordinates(at, inner_stride);
    // Points that meet at no index are not looked for among each other.
    const bool apart = (own & ((1 << ir::kMaxOuter) - 1)) != 0;
    if (apart || varies || target.inner == InnerStride::zero) {
      s_.shape = Shape::walk;
      s_.own = own;
      s_.threads = own ? 64 : kWarp;
      return;
    }
    s_.shape = Shape::scatter;
    s_.threads = 256;
    s_.vector = widest(4);
    while (s_.vector > 1 && launch_.inner / s_.vector < s_.threads) s_.vector /= 2;
  }

  void align() {
    s_.aligned.assign(k_.accesses.size(), false);
    for (size_t i = 0; i < k_.accesses.size(); ++i) {
      const ir::Access& a = k_.accesses[i];
      // Rows: a pair must lie in the row as a whole.
      s_.aligned[i] = a.operand >= 0 && s_.vector > 1 && launch_.inner % s_.vector == 0 &&
                      is_aligned(k_, launch_, i, addresses_[a.operand], s_.vector);
    }
  }

  const Kernel& k_;
  const Launch& launch_;
  std::span<const uint64_t> addresses_;
  const Plan plan_;
  Schedule s_;
};

}  // namespace

Schedule choose_schedule(const Kernel& kernel, const Launch& launch,
                         std::span<const uint64_t> addresses) {
  CORTEN_CHECK(addresses.size() == kernel.operands.size());
  return Chooser(kernel, launch, addresses).run();
}

bool join(Schedule& into, const Schedule& other) {
  Schedule joined = into;
  joined.wide |= other.wide;
  joined.whole &= other.whole;
  for (size_t i = 0; i < joined.aligned.size(); ++i)
    joined.aligned[i] = joined.aligned[i] && other.aligned[i];
  if (into.shape == Shape::points) {
    joined.vector = std::min(into.vector, other.vector);
    joined.threads = std::max(into.threads, other.threads);
  }
  Schedule like = other;
  like.wide = joined.wide;
  like.whole = joined.whole;
  like.aligned = joined.aligned;
  if (into.shape == Shape::points) {
    like.vector = joined.vector;
    like.threads = joined.threads;
  }
  like.grouped = joined.grouped;
  if (joined != like) return false;
  into = joined;
  return true;
}

int64_t block_count(const Kernel& kernel, const Launch& launch, const Schedule& s) {
  const int64_t points = outer_points(kernel, launch), inner = launch.inner;
  switch (s.shape) {
    case Shape::points:
      return ceil_div(points * std::max<int64_t>(1, ceil_div(inner, s.vector)), s.threads);
    case Shape::rows:
      return ceil_div(points, s.threads / s.group);
    case Shape::columns:
      return points * std::max<int64_t>(1, launch.chunks) *
             ceil_div(inner, int64_t{s.vector} * s.threads / s.group);
    case Shape::scatter:
      return points * ceil_div(inner, int64_t{s.vector} * s.threads);
    case Shape::walk: {
      if (points == 0 || inner == 0) return 0;
      int64_t walks = s.own >> ir::kMaxOuter & 1 ? inner : 1;
      for (int d = 0; d < kernel.outer_rank; ++d)
        if (s.own >> d & 1) walks *= launch.outer[d];
      return ceil_div(walks, s.threads);
    }
  }
  return 0;
}

std::string to_string(const Schedule& s) {
  constexpr const char* kNames[] = {"points", "rows", "columns", "scatter", "walk"};
  std::string text = format("{}, {} threads", kNames[static_cast<int>(s.shape)], s.threads);
  if (s.shape == Shape::rows) {
    text += format(", {} a row", s.group);
    text += s.steps ? format(", {} steps{}", s.steps, s.whole ? "" : ", guarded") : ", any length";
  } else if (s.vector > 1) {
    text += format(", vectors of {}", s.vector);
  }
  if (s.shape == Shape::walk) text += format(", own {:#x}", s.own);
  if (s.chunks) text += ", all chunks";
  if (s.shape == Shape::columns && s.group > 1) text += format(", {} a column", s.group);
  if (s.wide) text += ", 64-bit";
  if (s.grouped) text += ", grouped";
  return text;
}

}  // namespace corten::codegen::gpu
