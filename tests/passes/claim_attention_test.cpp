// Attention on its way to the kernel family: what is claimed, in which layout, and that it means the same.
#include <gtest/gtest.h>

#include <cmath>

#include "grad/differentiate.h"
#include "kernel/reference.h"
#include "ops/functions.h"
#include "passes/passes.h"
#include "passes/pipeline.h"
#include "random_graph.h"

namespace corten::passes {
namespace {

using ir::Value;
using ir::Values;

struct Sizes {
  int64_t batch = 2, heads = 3, tokens = 21, size = 8;
};

/// Attention of a projection [B, T, 3 H D], dropped and masked, and its gradient.
ir::Graph projected(DType dtype, Sizes s, double p, bool masked) {
  ir::Graph graph;
  const int64_t width = s.heads * s.size;
  Value x = graph.input({dtype, {s.batch, s.tokens, 3 * width}}), seed = graph.input({DType::i64, {}}), step = graph.input({DType::i64, {}});
  ir::BuilderScope builder(graph);
  Values leaf{x.with_edge(ir::make_leaf())}, heads;
  Value y;
  {
    ir::GradScope recording(true);
    for (int64_t i = 0; i < 3; ++i)
      heads.push_back(ops::transpose(
          ops::reshape(ops::slice_axis(leaf[0], 2, i * width, width), {s.batch, s.tokens, s.heads, s.size}), 1, 2));
    Value mask;
    if (masked) mask = ops::ne(ops::iota({s.tokens, s.tokens}, 1), ops::full({s.tokens, s.tokens}, DType::i64, 3));
    Value out = ops::scaled_dot_product_attention(heads[0], heads[1], heads[2], mask, true, 0.5, p, {seed, step}, 77);
    y = ops::reshape(ops::transpose(out, 1, 2), {s.batch, s.tokens, width});
  }
  graph.output(y);
  graph.output(autodiff::gradients({y}, {ops::mul(y, 2)}, {leaf[0]->edge}, false)[0]);
  return graph;
}

int count(const ir::Graph& graph, std::string_view name) {
  int n = 0;
  for (const ir::Node& node : graph.nodes()) n += node.op->name == name;
  return n;
}

TEST(ClaimAttention, TakesItWholeAndReadsTheProjectionInPlace) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const ir::Graph out = run_pipeline(projected(dtype, {.tokens = 40}, 0, false), {}, nullptr);
    EXPECT_EQ(count(out, "attention"), 1);
    EXPECT_EQ(count(out, "attention_grad"), 1);
    EXPECT_EQ(count(out, "gemm"), 0) << to_string(out);
    EXPECT_EQ(count(out, "copy"), 0) << to_string(out);
    for (const ir::Node& n : out.nodes())
      for (const ir::Type& t : n.types) EXPECT_LT(t.elements(), 2 * 3 * 40 * 40) << "a matrix of weights: " << n.op->name;
  }
}

TEST(ClaimAttention, LeavesWhatTheFamilyDoesNotCompute) {
  EXPECT_EQ(count(run_pipeline(projected(DType::f64, {}, 0, false), {}, nullptr), "attention"), 0);
  EXPECT_EQ(count(run_pipeline(projected(DType::f32, {1, 1, 4, 257}, 0, false), {}, nullptr), "attention"), 0);
  EXPECT_EQ(count(run_pipeline(projected(DType::f32, {1, 1, 4, 256}, 0, false), {}, nullptr), "attention"), 1);
}

TEST(ClaimAttention, MeansTheSameWithTheSameDropout) {
  for (bool masked : {false, true}) {
    testing::RandomGraph p;
    p.graph = projected(DType::f32, {}, 0.25, masked);
    std::vector<kernel::HostTensor> in;
    for (ir::ValueRef r : p.graph.inputs()) {
      kernel::HostTensor host{p.graph.type(r), {}};
      for (int64_t i = 0; i < host.type.elements(); ++i) host.values.push_back({static_cast<float>(std::sin(0.37 * static_cast<double>(i))), 5 + i});
      p.inputs.emplace_back(host.type.bytes());
      to_memory(host, p.inputs.back().data());
      in.push_back(std::move(host));
    }
    const auto want = kernel::evaluate(p.graph, in, ir::Precision::real);
    const auto claimed = kernel::evaluate(claim_composites(p.graph), in, ir::Precision::real);
    const auto got = testing::run_program(p);
    for (size_t k = 0; k < want.size(); ++k) {
      const auto run = kernel::from_memory(want[k].type, got[k].data());
      for (size_t i = 0; i < want[k].values.size(); ++i) {
        ASSERT_EQ(want[k].values[i].f, claimed[k].values[i].f);
        ASSERT_NEAR(want[k].values[i].f, run.values[i].f, 1e-5) << "result " << k << ", element " << i;
      }
    }
  }
}

}  // namespace
}  // namespace corten::passes
