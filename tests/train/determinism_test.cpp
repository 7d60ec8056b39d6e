// The numerics contract of training: one digest, however the run was executed.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "passes/pipeline.h"
#include "train/result_json.h"
#include "train/run_folder.h"
#include "training.h"

namespace corten::testing {
namespace {

/// An environment variable for a scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() { ::unsetenv(name_); }
  ScopedVariable(const ScopedVariable&) = delete;

 private:
  const char* name_;
};

class Determinism : public ::testing::TestWithParam<std::string> {
 protected:
  /// Digest of a whole run in a fresh folder.
  static std::string digest(std::vector<std::string> sets) {
    TinyRun run;
    sets.push_back("train.dtype=" + GetParam());
    const TrainResult result = run.train(sets);
    EXPECT_EQ(result.failure, "");
    EXPECT_EQ(result.steps, 8);
    EXPECT_EQ(result.digest, losses_digest(result.losses));
    return result.digest;
  }
};

TEST_P(Determinism, TwiceTheSame) {
  EXPECT_EQ(digest({}), digest({}));
}

TEST_P(Determinism, EagerEqualsCompiled) {
  EXPECT_EQ(digest({}), digest({"train.compile=false"}));
}

TEST_P(Determinism, ThreadsDoNotMatter) {
  const std::string one = digest({"train.threads=1"});
  EXPECT_EQ(one, digest({"train.threads=2"}));
  EXPECT_EQ(one, digest({"train.threads=3"}));
  EXPECT_EQ(one, digest({"train.threads=3", "train.compile=false"}));
}

TEST_P(Determinism, ExactPassesDoNotMatter) {
  const std::string all = digest({});
  for (std::string_view pass : passes::optional_passes()) {
    const ScopedVariable disable("CORTEN_DISABLE", std::string(pass));
    EXPECT_EQ(all, digest({})) << "without " << pass;
  }
}

// Dropout included: a mask that is drawn again is the same.
TEST_P(Determinism, MemoryBudgetsDoNotMatter) {
  const std::string batch = "train.batch=16";  // most of the memory is activations
  const std::string all = digest({batch});
  auto planned = [&](uint64_t budget) {
    TinyRun run;
    return run.train({batch, "train.dtype=" + GetParam(), format("train.memory_budget={}", budget)}, {.plan_only = true}).planned_peak_bytes;
  };
  const uint64_t most = planned(uint64_t{1} << 40), least = planned(1);
  ASSERT_LT(least, most);
  EXPECT_EQ(all, digest({batch, format("train.memory_budget={}", least)}));
  uint64_t before = most;
  for (int part = 3; part >= 1; --part) {
    const uint64_t budget = least + (most - least) * static_cast<uint64_t>(part) / 4, peak = planned(budget);
    EXPECT_LE(peak, budget);
    EXPECT_LE(peak, before) << "less memory allowed, more used";
    before = peak;
    EXPECT_EQ(all, digest({batch, format("train.memory_budget={}", budget)})) << budget;
  }
  const ScopedVariable unfused("CORTEN_DISABLE", "fuse");
  EXPECT_EQ(all, digest({batch, format("train.memory_budget={}", 2 * most)}));
}

TEST_P(Determinism, SavingAndEvaluatingDoNotMatter) {
  EXPECT_EQ(digest({}), digest({"train.save_every=0", "train.eval_every=0", "train.log_every=5",
                                "train.save_best=false"}));
}

// What must change the losses does: the tests above could not fail otherwise.
TEST_P(Determinism, SeedsAndDropoutMatter) {
  const std::string base = digest({});
  EXPECT_NE(base, digest({"train.seed=2"}));
  EXPECT_NE(base, digest({"model.attn_pdrop=0.2"}));
  EXPECT_NE(base, digest({"train.virtual_shards=4"}));
}

TEST_P(Determinism, VirtualShards) {
  for (int64_t shards : {1, 3, 4, 6}) {
    const std::vector<std::string> sets = {"train.batch=12", "train.steps=8",
                                           format("train.virtual_shards={}", shards)};
    std::vector<std::string> eager = sets;
    eager.push_back("train.compile=false");
    EXPECT_EQ(digest(sets), digest(eager)) << shards << " shards";
  }
}

TEST_P(Determinism, ResumeAfterEveryStep) {
  const std::string whole = digest({});
  TinyRun run;
  const std::vector<std::string> sets = {"train.dtype=" + GetParam()};
  for (int64_t stop = 1; stop < 8; stop += 2) {
    TrainOptions options;
    options.resume = true;
    const TrainResult part = run.train(sets, options, stop);
    ASSERT_EQ(part.stopped, StopSignal::Terminate);
    EXPECT_EQ(part.steps, stop);
    EXPECT_EQ(part.first_step, stop == 1 ? 1 : stop - 1);
    EXPECT_TRUE(folder_exists(part.checkpoint)) << part.checkpoint;
  }
  const TrainResult last = run.resume(sets);
  EXPECT_EQ(last.first_step, 8);
  EXPECT_EQ(last.digest, whole);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Determinism, ::testing::Values("f32", "bf16", "f16"));

TEST(Resume, CompiledAndEagerInterchange) {
  TinyRun run, other;
  run.train({}, {}, 3);
  run.train({"train.compile=false", "train.threads=1"}, {.resume = true}, 6);
  EXPECT_EQ(run.resume({"train.threads=2"}).digest, other.train().digest);
}

TEST(Resume, EvaluationsAreNotLost) {
  TinyRun whole;
  whole.train();
  // A stop that arrives during the evaluation of step 4 abandons it.
  TinyRun run;
  int64_t done = 0, asked = 0;
  TrainCallbacks callbacks;
  callbacks.on_step = [&](const StepInfo& info) { done = info.step; };
  callbacks.should_stop = [&] {
    return done == 4 && ++asked >= 2 ? StopSignal::User1 : StopSignal::None;
  };
  const TrainResult part = corten::train(run.config(), {}, callbacks);
  EXPECT_EQ(part.stopped, StopSignal::User1);
  EXPECT_EQ(part.steps, 4);
  EXPECT_FALSE(part.val_loss);
  run.resume();
  ASSERT_EQ(run.evals.size(), whole.evals.size());
  for (size_t i = 0; i < run.evals.size(); ++i) {
    EXPECT_EQ(run.evals[i].step, whole.evals[i].step);
    EXPECT_EQ(run.evals[i].loss, whole.evals[i].loss);
  }
}

// Killed at any moment, a run goes on from a whole checkpoint to the same losses.
TEST(Resume, KilledAtRandomMoments) {
  TinyRun whole, run;
  for (TinyRun* r : {&whole, &run}) r->set("train.steps=30").set("train.save_every=1");
  const std::string digest = whole.train().digest;
  const auto newest = [&] {
    const std::vector<int64_t> steps = RunFolder(run.out()).checkpoint_steps();
    return steps.empty() ? 0 : steps.back();
  };
  int kills = 0;
  uint64_t random = 7;
  for (int round = 0; round < 8; ++round) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    // Up to two checkpoints and a random part of the next step into the run: it cannot be done.
    const int64_t until = newest() + static_cast<int64_t>((random >> 33) % 3);
    const pid_t child = run.spawn();
    while (newest() < until && ::kill(child, 0) == 0) ::usleep(500);
    ::usleep(static_cast<useconds_t>((random >> 40) % 20'000));
    ::kill(child, SIGKILL);
    kills += TinyRun::wait(child) == -SIGKILL;
    for (int64_t step : RunFolder(run.out()).checkpoint_steps())
      EXPECT_TRUE(file_exists(RunFolder(run.out()).checkpoint(step) + "/training_state.json"));
  }
  EXPECT_GT(kills, 0);
  const TrainResult result = run.resume();
  EXPECT_EQ(result.digest, digest);
  // Every step and evaluation stands in the log once.
  const auto lines = [](const TinyRun& r) {
    std::vector<std::string> steps;
    const std::string text = read_file(RunFolder(r.out()).metrics());
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      const Json line = Json::parse(text.substr(at, end - at), "metrics");
      steps.push_back(line.at("step").dump() + (line.contains("loss")
                                                    ? line.at("loss").dump()
                                                    : line.at("val_loss").dump()));
      at = end + 1;
    }
    return steps;
  };
  EXPECT_EQ(lines(run), lines(whole));
}

}  // namespace
}  // namespace corten::testing
