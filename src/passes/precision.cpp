#include "passes/precision.h"

#include <array>
#include <atomic>

#include "base/format.h"
#include "ops/functions.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

constexpr std::array<std::string_view, 3> kPrecisions = {"highest", "high", "medium"};
std::atomic<size_t> g_precision{0};  // index into kPrecisions

}  // namespace

void set_matmul_precision(std::string_view precision) {
  for (size_t i = 0; i < kPrecisions.size(); ++i) {
    if (kPrecisions[i] != precision) continue;
    g_precision = i;
    return;
  }
  usage_error("[set_float32_matmul_precision] \"{}\" is unknown: use {}", precision, fmt::join(kPrecisions, ", "));
}
std::string_view matmul_precision() { return kPrecisions[g_precision]; }

bool lowers_precision() { return matmul_precision() == "medium"; }

ir::Graph lower_precision(const ir::Graph& graph) {
  if (!lowers_precision()) return graph;
  return Rewriter(graph).run([&](Rewriter& rw, const ir::Node& n, int32_t) -> ir::ValueRefs {
    if (n.op->kind != ir::OpKind::matmul || graph.type(n.inputs[0]).dtype != DType::f32) return rw.keep(n);
    ir::Graph& g = rw.graph();
    ir::BuilderScope builder(g);
    ir::GradScope no_grad(false);
    ir::SourceScope source(n.source);
    g.phase = n.phase;
    auto rounded = [&](ir::ValueRef r) { return ops::cast(g.value(rw.at(r)), DType::bf16); };
    return {g.ref(ops::matmul(rounded(n.inputs[0]), rounded(n.inputs[1]), n.types[0].dtype))};
  });
}

}  // namespace corten::passes
