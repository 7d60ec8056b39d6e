// Choosing what to compute again by real plans (docs/design/memory.md).
#pragma once

#include <functional>
#include <memory>

#include "passes/plan_memory.h"
#include "passes/remat.h"

namespace corten::passes {

/// A graph after the passes with a plan of its memory.
class Planned {
 public:
  virtual ~Planned() = default;
  /// What lives when: for decisions about rematerialisation. Valid as long as this.
  virtual Timeline timeline() const = 0;

  ir::Graph graph;
  std::vector<Interval> intervals;
  MemoryPlan plan;  ///< of the intervals

 protected:
  explicit Planned(ir::Graph g) : graph(std::move(g)) {}
};

/// The plan that keeps to the budget with the least recomputation, or the least one; without a
/// budget, what costs next to nothing. `replan` plans a graph.
std::unique_ptr<Planned> rematerialise(
    std::unique_ptr<Planned> plain, int64_t budget,
    const std::function<std::unique_ptr<Planned>(ir::Graph)>& replan);

/// The same for plans of one kind.
template <typename Plan>
std::unique_ptr<Plan> rematerialise(std::unique_ptr<Plan> plain, int64_t budget,
                                    const std::function<std::unique_ptr<Plan>(ir::Graph)>& replan) {
  return std::unique_ptr<Plan>(static_cast<Plan*>(
      rematerialise(std::unique_ptr<Planned>(std::move(plain)), budget,
                    std::function<std::unique_ptr<Planned>(ir::Graph)>(replan))
          .release()));
}

}  // namespace corten::passes
