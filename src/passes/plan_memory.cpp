#include "passes/plan_memory.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

namespace corten::passes {
namespace {

constexpr int64_t kSmall = 8192;  // buffers of less than this part of all memory fill the gaps that others leave
constexpr int64_t kRepairWork = 5'000'000;  // comparisons of intervals

int64_t rounded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// Places buffers one by one in the tightest gap between those already placed that live at the same time.
class Placer {
 public:
  explicit Placer(const std::vector<Interval>& intervals) : intervals_(intervals), beside_(intervals.size()) {}

  /// Stops where the plan needs `limit` bytes: it is of no use then.
  MemoryPlan place(const std::vector<int32_t>& order, int64_t limit = std::numeric_limits<int64_t>::max()) {
    MemoryPlan plan;
    plan.offsets.assign(intervals_.size(), 0);
    lives_.clear();
    extents_.clear();
    for (int32_t i : order) {
      add(plan, i);
      if (plan.bytes >= limit) break;
    }
    return plan;
  }

  /// Places more buffers around those of a plan.
  void fill(MemoryPlan& plan, std::vector<int32_t> placed, const std::vector<int32_t>& more) {
    std::sort(placed.begin(), placed.end(), [&](int32_t a, int32_t b) { return plan.offsets[a] < plan.offsets[b]; });
    lives_.clear();
    extents_.clear();
    for (int32_t i : placed) {
      lives_.push_back({intervals_[i].first, intervals_[i].last});
      extents_.push_back({plan.offsets[i], plan.offsets[i] + rounded(intervals_[i].bytes)});
    }
    for (int32_t i : more) add(plan, i);
  }

 private:
  void add(MemoryPlan& plan, int32_t i) {
    const Interval& want = intervals_[i];
    int64_t size = rounded(want.bytes), end = 0, best = -1, best_gap = 0;
    // First who is in the way, without a branch per buffer, then the gaps between them.
    size_t count = 0;
    for (size_t k = 0; k < lives_.size(); ++k) {
      beside_[count] = static_cast<int32_t>(k);
      count += (lives_[k].last >= want.first) & (want.last >= lives_[k].first);
    }
    for (size_t k = 0; k < count; ++k) {
      const Extent& other = extents_[beside_[k]];
      int64_t gap = other.offset - end;
      if (gap >= size && (best < 0 || gap < best_gap)) best = end, best_gap = gap;
      end = std::max(end, other.end);
    }
    const int64_t offset = best >= 0 ? best : end;
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    const auto at = std::upper_bound(extents_.begin(), extents_.end(), offset, [](int64_t x, const Extent& p) { return x < p.offset; });
    lives_.insert(lives_.begin() + (at - extents_.begin()), {want.first, want.last});
    extents_.insert(at, {offset, offset + size});
  }

  struct Life {
    int32_t first, last;
  };
  struct Extent {
    int64_t offset, end;
  };
  const std::vector<Interval>& intervals_;
  std::vector<Life> lives_;  // of what is placed, by offset
  std::vector<Extent> extents_;
  std::vector<int32_t> beside_;
};

}  // namespace

MemoryPlan plan_memory(const std::vector<Interval>& intervals, bool reuse) {
  std::map<int32_t, int64_t> change;
  for (const Interval& v : intervals) {
    change[v.first] += rounded(v.bytes);
    change[v.last + 1] -= rounded(v.bytes);
  }
  int64_t live = 0, bound = 0;
  for (auto& [step, delta] : change) bound = std::max(bound, live += delta);
  std::vector<int32_t> order, small;
  for (size_t i = 0; i < intervals.size(); ++i)
    if (intervals[i].bytes > 0) (reuse && intervals[i].bytes < bound / kSmall ? small : order).push_back(static_cast<int32_t>(i));
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
    Placer placer(intervals);
    for (auto& less : orders) {
      std::vector<int32_t> sorted = order;
      std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) { return less(intervals[a], intervals[b]); });
      MemoryPlan plan = first ? placer.place(sorted) : placer.place(sorted, best.bytes);
      if (first || plan.bytes < best.bytes) best = std::move(plan), best_order = std::move(sorted);
      first = false;
      if (best.bytes <= bound) break;
    }
    // What reaches the top is placed before everything else; a new top may be lower. Where the top was moved before, the
    // rounds go in circles.
    std::vector<bool> moved(intervals.size());
    const auto count = static_cast<int64_t>(order.size());
    const int64_t rounds = count ? std::clamp<int64_t>(kRepairWork / (count * count), 4, 64) : 0;
    MemoryPlan plan = best;
    for (int64_t round = 0; round < rounds && best.bytes > bound; ++round) {
      auto top = std::find_if(best_order.rbegin(), best_order.rend(), [&](int32_t i) {
        return plan.offsets[i] + rounded(intervals[i].bytes) == plan.bytes;
      });
      if (moved[*top]) break;
      moved[*top] = true;
      std::rotate(best_order.begin(), top.base() - 1, top.base());
      plan = placer.place(best_order);
      if (plan.bytes < best.bytes) best = plan;
    }
    std::stable_sort(small.begin(), small.end(), [&](int32_t a, int32_t b) { return intervals[a].bytes > intervals[b].bytes; });
    placer.fill(best, order, small);
  }
  best.lower_bound = bound;
  return best;
}

}  // namespace corten::passes
