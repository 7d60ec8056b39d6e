// Text in, text out.
#include <gtest/gtest.h>

#include <random>

#include "base/format.h"
#include "corten/error.h"
#include "passes/passes.h"
#include "passes/plan_memory.h"

namespace corten::passes {
namespace {

std::string run(ir::Graph (*pass)(const ir::Graph&), std::string_view text) {
  ir::Graph out = pass(ir::parse_graph(text));
  ir::verify(out, "pass");
  return to_string(dce(out));
}

TEST(Fold, ConstantsAreEvaluatedInTheRunsArithmetic) {
  EXPECT_EQ(run(fold, R"(graph {
    %0: bf16[2] = full{dims=[2], dtype=bf16, value=1}()
    %1: bf16[2] = full{dims=[2], dtype=bf16, value=0.00390625}()
    %2: bf16[2] = add(%0, %1)
    return %2
  })"),
            "graph {\n  %0: bf16[2] = full{dims=[2], dtype=bf16, value=1}()\n  return %0\n}\n");  // 1 + 2^-8 rounds to 1
}

TEST(Fold, OneIsANeutralFactorAndZeroNoNeutralSummand) {
  std::string text = run(fold, R"(graph {
    %0: f32[2] = input{index=0, name=""}()
    %1: f32[2] = full{dims=[2], dtype=f32, value=1}()
    %2: f32[2] = full{dims=[2], dtype=f32, value=0}()
    %3: f32[2] = mul(%0, %1)
    %4: f32[2] = add(%3, %2)
    return %4
  })");
  EXPECT_EQ(text.find("mul"), std::string::npos) << text;
  EXPECT_NE(text.find("add"), std::string::npos) << text;  // -0 + 0 is +0
}

TEST(Fold, ViewsOfViewsBecomeOne) {
  std::string text = run(fold, R"(graph {
    %0: f32[2,3,4] = input{index=0, name=""}()
    %1: f32[4,2,3] = permute{axes=[2,0,1]}(%0)
    %2: f32[2,3,4] = permute{axes=[1,2,0]}(%1)
    %3: f32[6,4] = reshape{dims=[6,4]}(%2)
    %4: f32[24] = reshape{dims=[24]}(%3)
    return %4
  })");
  EXPECT_EQ(text, "graph {\n  %0: f32[2,3,4] = input{index=0, name=\"\"}()\n  %1: f32[24] = reshape{dims=[24]}(%0)\n  return %1\n}\n");
}

TEST(Cse, EqualNodesMergeAndPhasesDoNot) {
  std::string text = run(cse, R"(graph {
    %0: f32[2] = input{index=0, name=""}()
    %1: f32[2] = exp(%0)
    %2: f32[2] = exp(%0)
    %3: f32[2] = exp(%0) phase 1
    %4: f32[2] = add(%1, %2)
    %5: f32[2] = add(%4, %3)
    return %5
  })");
  EXPECT_NE(text.find("add(%1, %1)"), std::string::npos) << text;
  EXPECT_NE(text.find("phase 1"), std::string::npos) << text;
}

TEST(Claim, ProductTakesItsBiasAndRounding) {
  std::string text = run(claim, R"(graph {
    %0: bf16[4,8] = input{index=0, name=""}()
    %1: bf16[8,3] = input{index=1, name=""}()
    %2: f32[3] = input{index=2, name=""}()
    %3: f32[4,3] = matmul{out=f32}(%0, %1)
    %4: f32[1,3] = reshape{dims=[1,3]}(%2)
    %5: f32[4,3] = expand{dims=[4,3]}(%4)
    %6: f32[4,3] = add(%3, %5)
    %7: bf16[4,3] = cast{to=bf16}(%6)
    return %7
  })");
  EXPECT_NE(text.find("gemm{out=bf16}(%0, %1, "), std::string::npos) << text;
  EXPECT_EQ(text.find("cast"), std::string::npos) << text;
}

TEST(Absorb, ProductsReadTheFloat32Parameter) {
  const std::string text = run(absorb, R"(graph {
    %0: f32[8,3] = input{index=0, name=""}()
    %1: bf16[4,8] = input{index=1, name=""}()
    %2: bf16[4,3] = input{index=2, name=""}()
    %3: bf16[8,3] = cast{to=bf16}(%0)
    %4: bf16[4,3] = gemm{out=bf16}(%1, %3)
    %5: bf16[3,8] = permute{axes=[1,0]}(%3)
    %6: bf16[4,8] = gemm{out=bf16}(%2, %5)
    return %4, %6
  })");
  EXPECT_EQ(text.find("cast"), std::string::npos) << text;
  EXPECT_NE(text.find("%3: bf16[4,3] = gemm{out=bf16}(%1, %0)"), std::string::npos) << text;
  EXPECT_NE(text.find("%4: f32[3,8] = permute{axes=[1,0]}(%0)"), std::string::npos) << text;
  EXPECT_NE(text.find("gemm{out=bf16}(%2, %4)"), std::string::npos) << text;
}

// The copy stays where others read it, where both operands would be wide, where the float32 value would be kept for the
// products alone, where it is written over before they ran, and where its elements do not lie side by side.
TEST(Absorb, LeavesOtherCopiesAlone) {
  const char* const graphs[] = {
      R"(graph {
    %0: f32[8,3] = input{index=0, name=""}()
    %1: bf16[4,8] = input{index=1, name=""}()
    %2: bf16[8,3] = cast{to=bf16}(%0)
    %3: bf16[4,3] = gemm{out=bf16}(%1, %2)
    %4: bf16[8,3] = tanh(%2)
    return %3, %4
  })",
      R"(graph {
    %0: f32[8,8] = input{index=0, name=""}()
    %1: bf16[8,8] = cast{to=bf16}(%0)
    %2: bf16[8,8] = permute{axes=[1,0]}(%1)
    %3: bf16[8,8] = gemm{out=bf16}(%1, %2)
    return %3
  })",
      R"(graph {
    %0: f32[8,3] = input{index=0, name=""}()
    %1: bf16[4,8] = input{index=1, name=""}()
    %2: f32[8,3] = tanh(%0)
    %3: bf16[8,3] = cast{to=bf16}(%2)
    %4: bf16[4,3] = gemm{out=bf16}(%1, %3)
    return %4
  })",
      R"(graph {
    %0: f32[8,3] = input{index=0, name=""}()
    %1: bf16[4,8] = input{index=1, name=""}()
    %2: bf16[8,3] = cast{to=bf16}(%0)
    %3: f32[8,3] = tanh(%0)
    %4: bf16[4,3] = gemm{out=bf16}(%1, %2)
    return %3 -> 0, %4
  })",
      R"(graph {
    %0: f32[8,6] = input{index=0, name=""}()
    %1: bf16[4,8] = input{index=1, name=""}()
    %2: f32[8,3] = slice{starts=[0,0], sizes=[8,3]}(%0)
    %3: bf16[8,3] = cast{to=bf16}(%2)
    %4: bf16[4,3] = gemm{out=bf16}(%1, %3)
    return %4
  })"};
  for (const char* graph : graphs) {
    const std::string text = run(absorb, graph);
    EXPECT_NE(text.find("cast"), std::string::npos) << text;
  }
}

TEST(Expand, LeavesPrimitivesOnly) {
  ir::Graph out = expand(ir::parse_graph(R"(graph {
    %0: f32[2,3] = input{index=0, name=""}()
    %1: f32[2,3] = softmax(%0)
    %2: f32[2,3] = gelu_tanh(%1)
    return %2
  })"));
  for (const ir::Node& n : out.nodes()) EXPECT_NE(n.op->kind, ir::OpKind::composite) << n.op->name;
}

TEST(Materialize, CopiesOnlyWhereStridesCannotSay) {
  std::string text = run(materialize, R"(graph {
    %0: f32[2,3] = input{index=0, name=""}()
    %1: f32[3,2] = permute{axes=[1,0]}(%0)
    %2: f32[6] = reshape{dims=[6]}(%1)
    %3: f32[6] = exp(%2)
    return %3
  })");
  EXPECT_NE(text.find("copy(%1)"), std::string::npos) << text;
  text = run(materialize, R"(graph {
    %0: f32[2,3,4] = input{index=0, name=""}()
    %1: f32[2,12] = reshape{dims=[2,12]}(%0)
    %2: f32[12,2] = permute{axes=[1,0]}(%1)
    %3: f32[12,2] = exp(%2)
    return %3
  })");
  EXPECT_EQ(text.find("copy"), std::string::npos) << text;
}

TEST(Text, BadTextIsAUsageErrorWithItsLine) {
  for (const char* text : {"graph {\n %0: f32[2] = nonsense()\n return %0 }", "graph {\n return %7 }", "graph {\n %0: f32[2 = input", "grph",
                           "graph {\n %0: f32[2] = input{index=0, name=\"\"}()\n %1: f32[3] = exp(%0)\n return %1 }"})
    EXPECT_THROW(ir::parse_graph(text), Error) << text;
}

TEST(PlanMemory, LivesThatOverlapDoNotShareSpace) {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Interval> intervals(1 + rng() % 60);
    for (Interval& v : intervals) {
      v.bytes = rng() % 5000;
      if (round % 2 && rng() % 3 == 0) v.bytes *= 10'000;  // beside these, the others are small
      v.first = static_cast<int32_t>(rng() % 40);
      v.last = v.first + static_cast<int32_t>(rng() % 12);
    }
    for (bool reuse : {true, false}) {
      MemoryPlan plan = plan_memory(intervals, reuse);
      EXPECT_GE(plan.bytes, plan.lower_bound);
      for (size_t i = 0; i < intervals.size(); ++i) {
        EXPECT_EQ(plan.offsets[i] % kAlignment, 0);
        EXPECT_LE(plan.offsets[i] + intervals[i].bytes, plan.bytes);
        for (size_t j = 0; j < i; ++j) {
          const Interval &a = intervals[i], &b = intervals[j];
          if (a.last < b.first || b.last < a.first || !a.bytes || !b.bytes) continue;
          EXPECT_TRUE(plan.offsets[i] + a.bytes <= plan.offsets[j] || plan.offsets[j] + b.bytes <= plan.offsets[i]) << round << ": " << i << " and " << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace corten::passes
