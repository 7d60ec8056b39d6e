// Random programs: every optional pass switched off in turn, and the reference interpreter, give the same bits.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/env.h"
#include "base/format.h"
#include "passes/pipeline.h"
#include "passes/random_graph.h"

namespace corten::testing {
namespace {

TEST(Fuzz, PassesDoNotChangeBits) {
  const int64_t count = env_int("CORTEN_FUZZ_GRAPHS", 200), first = env_int("CORTEN_FUZZ_SEED", 1);
  const int ops = static_cast<int>(env_int("CORTEN_FUZZ_OPS", 25));
  for (int64_t seed = first; seed < first + count; ++seed) {
    RandomGraph p = random_graph(static_cast<uint64_t>(seed), ops);
    SCOPED_TRACE(format("seed {}: CORTEN_FUZZ_SEED={} CORTEN_FUZZ_GRAPHS=1\n", seed, seed));
    std::string why;
    try {
      auto fused = run_program(p);
      ASSERT_TRUE(same_bits(p.graph, fused, run_reference(p), why)) << "reference: " << why << "\n" << to_string(p.graph);
      std::vector<std::string> switches(passes::optional_passes().begin(), passes::optional_passes().end());
      switches.push_back("fold,cse,dce,schedule,fuse,plan");
      for (const std::string& off : switches) {
        setenv("CORTEN_DISABLE", off.c_str(), 1);
        auto plain = run_program(p);
        unsetenv("CORTEN_DISABLE");
        ASSERT_TRUE(same_bits(p.graph, fused, plain, why)) << "without " << off << ": " << why << "\n" << to_string(p.graph);
      }
    } catch (const Error& error) {
      unsetenv("CORTEN_DISABLE");
      FAIL() << error.what() << "\n" << to_string(p.graph);
    }
  }
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
