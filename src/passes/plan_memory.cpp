#include "passes/plan_memory.h"

#include <algorithm>
#include <functional>
#include <map>

namespace corten::passes {
namespace {

constexpr int64_t kRepairWork = 20'000'000;  // comparisons of intervals

int64_t rounded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// Places buffers one by one in the tightest gap between those already placed that live at the same time.
MemoryPlan place(const std::vector<Interval>& intervals, const std::vector<int32_t>& order) {
  MemoryPlan plan;
  plan.offsets.assign(intervals.size(), 0);
  struct Placed {
    int32_t first, last;
    int64_t offset, end;
  };
  std::vector<Placed> placed;  // by offset
  placed.reserve(order.size());
  for (int32_t i : order) {
    const Interval& want = intervals[i];
    int64_t size = rounded(want.bytes), end = 0, best = -1, best_gap = 0;
    for (const Placed& other : placed) {
      if (other.last < want.first || want.last < other.first) continue;
      int64_t gap = other.offset - end;
      if (gap >= size && (best < 0 || gap < best_gap)) best = end, best_gap = gap;
      end = std::max(end, other.end);
    }
    const int64_t offset = best >= 0 ? best : end;
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    auto at = std::upper_bound(placed.begin(), placed.end(), offset, [](int64_t x, const Placed& p) { return x < p.offset; });
    placed.insert(at, {want.first, want.last, offset, offset + size});
  }
  return plan;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<Interval>& intervals, bool reuse) {
  std::map<int32_t, int64_t> change;
  for (const Interval& v : intervals) {
    change[v.first] += rounded(v.bytes);
    change[v.last + 1] -= rounded(v.bytes);
  }
  int64_t live = 0, bound = 0;
  for (auto& [step, delta] : change) bound = std::max(bound, live += delta);
  std::vector<int32_t> order;
  for (size_t i = 0; i < intervals.size(); ++i)
    if (intervals[i].bytes > 0) order.push_back(static_cast<int32_t>(i));
  MemoryPlan best;
  if (!reuse) {
    best.offsets.assign(intervals.size(), 0);
    for (int32_t i : order) {
      best.offsets[i] = best.bytes;
      best.bytes += rounded(intervals[i].bytes);
    }
  } else {
    auto life = [](const Interval& v) { return static_cast<int64_t>(v.last - v.first + 1); };
    const std::function<bool(const Interval&, const Interval&)> orders[] = {
        [](const Interval& a, const Interval& b) { return a.bytes > b.bytes; },
        [&](const Interval& a, const Interval& b) { return a.bytes * life(a) > b.bytes * life(b); },
        [&](const Interval& a, const Interval& b) { return life(a) > life(b); },
        [](const Interval& a, const Interval& b) { return a.first < b.first; }};
    bool first = true;
    std::vector<int32_t> best_order;
    for (auto& less : orders) {
      std::vector<int32_t> sorted = order;
      std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) { return less(intervals[a], intervals[b]); });
      MemoryPlan plan = place(intervals, sorted);
      if (first || plan.bytes < best.bytes) best = std::move(plan), best_order = std::move(sorted);
      first = false;
      if (best.bytes == bound) break;
    }
    // What reaches the top is placed before everything else; a new top may be lower.
    const auto count = static_cast<int64_t>(order.size());
    const int64_t rounds = count ? std::clamp<int64_t>(kRepairWork / (count * count), 4, 64) : 0;
    MemoryPlan plan = best;
    for (int64_t round = 0; round < rounds && best.bytes > bound; ++round) {
      auto top = std::find_if(best_order.rbegin(), best_order.rend(), [&](int32_t i) {
        return plan.offsets[i] + rounded(intervals[i].bytes) == plan.bytes;
      });
      std::rotate(best_order.begin(), top.base() - 1, top.base());
      plan = place(intervals, best_order);
      if (plan.bytes < best.bytes) best = plan;
    }
  }
  best.lower_bound = bound;
  return best;
}

}  // namespace corten::passes
