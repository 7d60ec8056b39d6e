#include "passes/rematerialise.h"

#include <algorithm>

#include "base/env.h"

namespace corten::passes {
namespace {

/// Time that may be spent without being asked to need less memory, as a share of the step's; in programs from this size on.
constexpr double kFreeShare = 0.02;
constexpr int64_t kWorthwhile = int64_t{64} << 20;
/// Plans that are tried between the first peak and the least.
constexpr int kLadder = 24;

}  // namespace

std::unique_ptr<Planned> rematerialise(std::unique_ptr<Planned> plain, int64_t budget,
                                     const std::function<std::unique_ptr<Planned>(ir::Graph)>& replan) {
  const int64_t start = plain->plan.bytes;
  if (start <= budget && start < static_cast<int64_t>(env_bytes("CORTEN_REMAT_BYTES", kWorthwhile))) return plain;
  const Timeline timeline = plain->timeline();
  const std::vector<Recomputation> order = order_recomputations(plain->graph, timeline, start > budget ? 1e9 : kFreeShare);
  auto attempt = [&](size_t count) {
    return replan(recompute(plain->graph, timeline, {order.begin(), order.begin() + static_cast<ptrdiff_t>(count)}));
  };
  std::unique_ptr<Planned> best;
  int64_t least = start;
  auto keep = [&](std::unique_ptr<Planned> other, int64_t below) {
    if (other->plan.bytes >= below) return;
    least = other->plan.bytes;
    best = std::move(other);
  };
  size_t done = 0;
  while (done < order.size() && order[done].cost <= kFreeShare) ++done;
  if (done > 0) keep(attempt(done), start - start / 100);
  if (least > budget && done < order.size()) {
    const int64_t rung = std::max<int64_t>(1, (start - order.back().peak) / kLadder);
    int64_t level = std::min(least, done ? order[done - 1].peak : start) - rung;
    while (least > budget && done < order.size()) {
      if (order[done++].peak > level && done < order.size()) continue;
      level = order[done - 1].peak - rung;
      keep(attempt(done), least);
    }
  }
  return best ? std::move(best) : std::move(plain);
}

}  // namespace corten::passes
