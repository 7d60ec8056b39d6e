// Random programs: every optional pass switched off in turn, and the reference interpreter, give the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/env.h"
#include "base/format.h"
#include "passes/pipeline.h"
#include "passes/random_graph.h"
#include "passes/shrink.h"
#include "runtime/program.h"

namespace corten::testing {
namespace {

/// Wide enough for passes/chunk_rows.cpp in small programs.
const bool kSmallPieces = setenv("CORTEN_CHUNK_BYTES", "8192", 1) == 0;
/// What is read after its last reader is NaN.
const bool kPoison = setenv("CORTEN_POISON", "1", 1) == 0;

/// Every product whose result a kernel follows hands it tiles.
const bool kSmallTiles = setenv("CORTEN_TILE_BYTES", "1", 1) == 0;

/// Kernels that touch more than this write past the caches: some of them in these programs.
const bool kSmallCache = setenv("CORTEN_STREAM_BYTES", "16384", 1) == 0;

int ops_per_graph() { return static_cast<int>(env_int("CORTEN_FUZZ_OPS", 20)); }

/// How a program goes wrong, or "".
std::string fault(const RandomGraph& p, ProgramInfo* info = nullptr) {
  std::string why;
  try {
    auto fused = run_program(p, info);
    if (p.exact_reference && !same_bits(p.graph, fused, run_reference(p), why)) return "reference: " + why;
    std::vector<std::string> switches(passes::optional_passes().begin(), passes::optional_passes().end());
    switches.push_back(format("{}", fmt::join(passes::optional_passes(), ",")));
    for (const std::string& off : switches) {
      setenv("CORTEN_DISABLE", off.c_str(), 1);
      auto plain = run_program(p);
      unsetenv("CORTEN_DISABLE");
      if (!same_bits(p.graph, fused, plain, why)) return "without " + off + ": " + why;
    }
  } catch (const Error& error) {
    unsetenv("CORTEN_DISABLE");
    return error.what();
  }
  return "";
}

TEST(Fuzz, PassesDoNotChangeBits) {
  const int64_t count = env_int("CORTEN_FUZZ_GRAPHS", 100), first = env_int("CORTEN_FUZZ_SEED", 1);
  int64_t recomputed = 0;
  for (int64_t seed = first; seed < first + count; ++seed) {
    const RandomGraph p = random_graph(static_cast<uint64_t>(seed), ops_per_graph());
    ProgramInfo info;
    const std::string wrong = fault(p, &info);
    recomputed += info.recomputed > 0;
    if (wrong.empty()) continue;
    const RandomGraph small = shrink(p, [](const RandomGraph& q) { return !fault(q).empty(); });
    ADD_FAILURE() << format("CORTEN_FUZZ_SEED={} CORTEN_FUZZ_GRAPHS=1: {}\nas small as it gets: {}\n{}", seed, wrong, fault(small), to_string(small.graph));
  }
  if (count >= 50 && ops_per_graph() >= 20) EXPECT_GE(recomputed, count / 10);
  RecordProperty("recomputed", static_cast<int>(recomputed));
}

// A value per row of a tensor without elements was read far behind its start.
TEST(Fuzz, SeedsThatFailed) {
  EXPECT_EQ(fault(random_graph(7001098, 18)), "");
  // What such a row wrote was read by the next kernel as its index.
  EXPECT_EQ(fault(random_graph(9000656, 20)), "");
  // A kernel on a product's tiles read a value that got storage only for a later step.
  EXPECT_EQ(fault(random_graph(101149, 20)), "");
  // A state was written in place by a scatter while its old value was a result too.
  EXPECT_EQ(fault(random_graph(104531, 20)), "");
}

// What the programs above are like, over more of them than are run: a generator that makes small graphs, graphs without
// fusion, or never a certain op would let everything pass.
TEST(Fuzz, ProgramsAreWorthRunning) {
  constexpr int kGraphs = 500;
  std::vector<size_t> nodes;
  int fused = 0, bf16 = 0, beyond = 0, referenced = 0, states = 0;
  std::set<std::string_view> ops;
  for (uint64_t seed = 1; seed <= kGraphs; ++seed) {
    const RandomGraph p = random_graph(seed, ops_per_graph());
    const GraphStatistics s = statistics(p.graph);
    nodes.push_back(s.nodes);
    fused += s.fused;
    bf16 += p.bf16;
    beyond += s.longest > 1024;
    referenced += p.exact_reference;
    states += std::any_of(p.graph.outputs().begin(), p.graph.outputs().end(), [](const ir::Output& o) { return o.alias >= 0; });
    ops.insert(s.ops.begin(), s.ops.end());
  }
  std::nth_element(nodes.begin(), nodes.begin() + kGraphs / 2, nodes.end());
  EXPECT_GE(nodes[kGraphs / 2], 30u);
  EXPECT_GE(fused, kGraphs * 8 / 10);
  EXPECT_NEAR(bf16, kGraphs / 2, 1);
  EXPECT_GE(beyond, kGraphs / 5);
  EXPECT_GE(referenced, kGraphs * 6 / 10);
  EXPECT_GE(states, kGraphs / 5);
  for (const ir::Op* op : ir::all_ops())
    EXPECT_TRUE(ops.count(op->name)) << op->name << " is in no program: tests/passes/random_graph.cpp lacks a line for it";
  RecordProperty("median_nodes", static_cast<int>(nodes[kGraphs / 2]));
  RecordProperty("fused", fused);
  RecordProperty("beyond_1024", beyond);
  RecordProperty("referenced", referenced);
  RecordProperty("states", states);
}

// Infinities and NaN swallow differences: most results must be numbers.
TEST(Fuzz, ResultsAreNumbers) {
  int64_t finite = 0, all = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const RandomGraph p = random_graph(seed, ops_per_graph());
    const auto outputs = run_program(p);
    for (size_t k = 0; k < outputs.size(); ++k) {
      const FiniteCount count = count_finite(p.graph.type(p.graph.outputs()[k].value), outputs[k]);
      finite += count.finite;
      all += count.all;
    }
  }
  EXPECT_GT(static_cast<double>(finite), 0.9 * static_cast<double>(all));
}

// Products hand tiles to kernels and read float32 operands as bf16 in some of the programs above.
TEST(Fuzz, ProductsAreJoined) {
  int tiles = 0, unstored = 0, wide = 0;
  for (uint64_t seed = 1; seed <= 160; ++seed) {
    const RandomGraph p = random_graph(seed, ops_per_graph());
    const runtime::Program program(p.graph, {});
    for (const runtime::StepReport& step : program.report().steps) {
      tiles += step.name.starts_with("gemm +");
      wide += step.name.starts_with("gemm") && step.operands.find("f32") != std::string::npos && step.operands.find("bf16") != std::string::npos;
    }
    const std::string text = program.explain();
    for (size_t at = 0; (at = text.find("its tiles, not stored", at)) != std::string::npos; ++at) ++unstored;
  }
  EXPECT_GE(tiles, 15);
  EXPECT_GE(unstored, 8);
  EXPECT_GE(tiles - unstored, 3);
  EXPECT_GE(wide, 5);
}

TEST(Fuzz, TextFormParsesBack) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    RandomGraph p = random_graph(seed, 30);
    std::string text = to_string(p.graph);
    EXPECT_EQ(to_string(ir::parse_graph(text)), text) << "seed " << seed;
  }
}

}  // namespace
}  // namespace corten::testing
