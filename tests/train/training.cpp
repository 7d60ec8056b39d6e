#include "training.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"

namespace corten::testing {
namespace {

// Everything that can break determinism is on: dropout, clipping, a schedule, evaluation.
constexpr const char* kConfig = R"(
[model]
model_type = "gpt2"
n_layer = 2
n_embd = 32
n_head = 2
n_positions = 32
resid_pdrop = 0.1
embd_pdrop = 0.1
attn_pdrop = 0.1
[tokenizer]
vocab_size = 300
[data]
seq = 16
[train]
steps = 8
batch = 4
virtual_shards = 2
eval_every = 4
eval_batches = 2
save_every = 3
[optim]
lr = 3e-3
warmup_steps = 3
)";

}  // namespace

std::string synthetic_text(size_t bytes, uint64_t seed) {
  static const char* const kWords[] = {"the",  "river", "runs",  "under", "old",   "stone",
                                       "and",  "over",  "green", "hill",  "where", "children",
                                       "sing", "of",    "light", "winter"};
  std::string text;
  uint64_t state = seed;
  while (text.size() < bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    text += kWords[state >> 60];
    text += (state >> 40) % 7 == 0 ? ".\n" : " ";
  }
  return text;
}

TinyRun::TinyRun() {
  write_file_atomic(text(), synthetic_text(12000));
}

ResolvedConfig TinyRun::config(const std::vector<std::string>& sets) const {
  ConfigInputs inputs;
  inputs.path = "tiny.toml";
  inputs.text = kConfig;
  inputs.sets = {"data.text=" + text(), "train.out=" + out()};
  inputs.sets.insert(inputs.sets.end(), sets_.begin(), sets_.end());
  inputs.sets.insert(inputs.sets.end(), sets.begin(), sets.end());
  return load_config(inputs);
}

TrainResult TinyRun::train(const std::vector<std::string>& sets, TrainOptions options,
                           int64_t stop_after) {
  int64_t done = 0;
  TrainCallbacks callbacks;
  callbacks.on_message = [&](const std::string& text) { messages.push_back(text); };
  callbacks.on_eval = [&](const EvalInfo& info) { evals.push_back(info); };
  callbacks.on_step = [&](const StepInfo& info) { done = info.step; };
  callbacks.should_stop = [&] {
    return stop_after > 0 && done >= stop_after ? StopSignal::Terminate : StopSignal::None;
  };
  return corten::train(config(sets), options, callbacks);
}

TrainResult TinyRun::resume(const std::vector<std::string>& sets) {
  TrainOptions options;
  options.resume = true;
  return train(sets, options);
}

std::string TinyRun::fault(const std::vector<std::string>& sets, TrainOptions options) {
  try {
    train(sets, options);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return format("{}: {}", to_string(error.kind()), error.what());
  }
  return "";
}

// A forked process has none of the pool's threads, so the child starts this program again, which
// then runs the disabled test below.
pid_t TinyRun::spawn(int64_t file_limit) const {
  const pid_t child = ::fork();
  if (child != 0) return child;
  std::string sets;
  for (const std::string& set : sets_) sets += set + ";";
  ::setenv("TINY_RUN_FOLDER", folder_.path().c_str(), 1);
  ::setenv("TINY_RUN_SETS", sets.c_str(), 1);
  if (file_limit > 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{static_cast<rlim_t>(file_limit), static_cast<rlim_t>(file_limit)};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ::unsetenv("GTEST_OUTPUT");
  ::execl("/proc/self/exe", "test_train", "--gtest_filter=TinyRunChild.DISABLED_Resume",
          "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
  ::_exit(98);
}

int TinyRun::wait(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Not a test: the body of the processes of spawn(). Exit codes are those of the command line.
TEST(TinyRunChild, DISABLED_Resume) {
  const char* folder = ::getenv("TINY_RUN_FOLDER");
  if (!folder) GTEST_SKIP() << "runs in processes that tests start";
  ConfigInputs inputs;
  inputs.path = "tiny.toml";
  inputs.text = kConfig;
  inputs.sets = {format("data.text={}/text.txt", folder), format("train.out={}/run", folder)};
  for (const std::string& set : split(::getenv("TINY_RUN_SETS"), ';'))
    if (!set.empty()) inputs.sets.push_back(set);
  try {
    TrainOptions options;
    options.resume = true;
    corten::train(load_config(inputs), options, {});
  } catch (const Error& error) {
    ::fprintf(stderr, "%s\n", error.what());
    ::_exit(error.kind() == ErrorKind::Usage ? 2 : 3);
  }
  ::_exit(0);
}

}  // namespace corten::testing
