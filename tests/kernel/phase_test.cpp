// What is computed again is computed late: not in the kernel that made its operands.
#include <gtest/gtest.h>

#include "kernel/partition.h"
#include "ops/functions.h"

namespace corten::kernel {
namespace {

TEST(Phases, ClonesDoNotMoveBack) {
  for (const int32_t phase : {0, 1}) {
    ir::Graph graph;
    const ir::Value a = graph.input({DType::f32, {8, 64}});
    ir::Value made, again;
    {
      const ir::BuilderScope builder(graph);
      made = ops::mul(a, a);
      graph.phase = phase;
      again = ops::add(made, a);
    }
    graph.output(made);
    graph.output(again);
    const Partition p = partition(graph, true);
    EXPECT_EQ(p.steps.size(), phase == 0 ? 1u : 2u);
  }
}

}  // namespace
}  // namespace corten::kernel
