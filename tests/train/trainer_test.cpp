// What a run leaves behind, what it refuses, and how it fails.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/strings.h"
#include "corten/models.h"
#include "corten/safetensors.h"
#include "train/checkpoint.h"
#include "train/model_setup.h"
#include "train/result_json.h"
#include "train/run_folder.h"
#include "training.h"

namespace corten::testing {
namespace {

/// `text` contains `part`.
::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "no \"" << part << "\" in \"" << text << '"';
}

std::vector<Json> metrics_lines(const TinyRun& run) {
  std::vector<Json> lines;
  const std::string text = read_file(RunFolder(run.out()).metrics());
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(Json::parse(text.substr(at, end - at), "metrics"));
    at = end + 1;
  }
  return lines;
}

void flip_byte(const std::string& path, uint64_t offset) {
  std::string bytes = read_file(path);
  bytes.at(offset) = static_cast<char>(bytes[offset] ^ 0x10);
  write_file_atomic(path, bytes);
}

TEST(Trainer, LeavesAWholeRun) {
  TinyRun run;
  const TrainResult result = run.train({"train.steps=40"});
  EXPECT_EQ(result.failure, "");
  EXPECT_EQ(result.stopped, StopSignal::None);
  EXPECT_EQ(result.first_step, 1);
  EXPECT_EQ(result.steps, 40);
  EXPECT_EQ(result.tokens, 40 * 4 * 16);
  ASSERT_EQ(result.losses.size(), 40u);
  EXPECT_EQ(result.train_loss, result.losses.back());
  EXPECT_LT(result.losses.back(), result.losses.front() - 0.5f);
  EXPECT_NEAR(result.losses.front(), std::log(300), 0.5);  // uniform at first
  ASSERT_TRUE(result.val_loss);
  EXPECT_EQ(*result.val_loss, run.evals.back().loss);
  EXPECT_EQ(run.evals.size(), 10u);
  EXPECT_EQ(result.contract, "L1");
  EXPECT_GT(result.planned_peak_bytes, 0u);
  EXPECT_GT(result.peak_bytes, 0u);
  EXPECT_LE(result.peak_bytes, result.planned_peak_bytes + 8192);

  const RunFolder folder(run.out());
  EXPECT_EQ(result.checkpoint, folder.checkpoint(40));
  EXPECT_EQ(result.model_dir, folder.model());
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}) {
    EXPECT_TRUE(file_exists(join_path(result.model_dir, name))) << name;
    EXPECT_EQ(read_file(join_path(result.model_dir, name)),
              read_file(join_path(result.checkpoint, name)));
  }
  EXPECT_FALSE(file_exists(join_path(result.model_dir, "training_state.safetensors")));
  EXPECT_EQ(load_model(result.model_dir)->vocab_size(), 300);
  EXPECT_EQ(find_model_folder(run.out()), folder.model());
  EXPECT_EQ(find_model_folder(result.checkpoint), result.checkpoint);

  const Json header = Json::parse(read_file(folder.header()), "run.json");
  EXPECT_EQ(header.at("contract"), Json("L1"));
  EXPECT_EQ(header.at("certificate").at("virtual_shards"), Json(2));
  for (const char* name : {"config", "model", "tokenizer", "data"})
    EXPECT_EQ(header.at("hashes").at(name).as_string().size(), 32u) << name;

  int64_t steps = 0, evals = 0;
  for (const Json& line : metrics_lines(run)) {
    if (line.contains("loss")) {
      ++steps;
      EXPECT_EQ(static_cast<float>(line.at("loss").as_double()), result.losses.at(steps - 1));
      EXPECT_GT(line.at("tokens_per_s").as_double(), 0);
      EXPECT_GT(line.at("grad_norm").as_double(), 0);
    } else {
      EXPECT_EQ(line.at("val_loss").as_double(), run.evals.at(evals).loss);
      ++evals;
    }
  }
  EXPECT_EQ(steps, 40);
  EXPECT_EQ(evals, 10);
}

TEST(Trainer, KeepsTheLastAndTheBest) {
  TinyRun run;
  // The learning rate explodes after step 4, so that the best evaluation is that of step 4.
  const std::vector<std::string> sets = {
      "train.steps=12",        "train.eval_every=2", "train.save_every=2", "train.keep_last=2",
      "optim.warmup_steps=50", "optim.lr=0.8",       "optim.min_lr=0.8"};
  const TrainResult result = run.train(sets);
  int64_t best = -1;
  double lowest = 1e9;
  for (const EvalInfo& info : run.evals) {
    if (info.loss < lowest) {
      lowest = info.loss;
      best = info.step;
    }
  }
  std::vector<int64_t> expected = {10, 12};
  if (best < 10) expected.insert(expected.begin(), best);
  EXPECT_EQ(RunFolder(run.out()).checkpoint_steps(), expected);
  EXPECT_LT(best, 10) << "the test does not test the best checkpoint";
  EXPECT_EQ(result.failure, "");
}

TEST(Trainer, EpochsBecomeSteps) {
  TinyRun run;
  const TrainResult result = run.train({"train.epochs=0.1"});
  const std::string& data = *std::find_if(run.messages.begin(), run.messages.end(),
                                          [](auto& text) { return text.starts_with("data: "); });
  int64_t windows = 0;
  ASSERT_EQ(std::sscanf(data.c_str() + data.find(';'), "; %ld training", &windows), 1);
  EXPECT_EQ(result.steps, (windows + 39) / 40);
}

TEST(Trainer, RefusesAnExistingRun) {
  TinyRun run;
  run.train({"train.steps=2"});
  const std::string before = read_file(RunFolder(run.out()).metrics());
  const std::string fault = run.fault();
  EXPECT_TRUE(contains(fault, "usage: "));
  EXPECT_TRUE(contains(fault, run.out()));
  EXPECT_TRUE(contains(fault, "--resume"));
  EXPECT_EQ(read_file(RunFolder(run.out()).metrics()), before);
}

TEST(Trainer, LeavesOtherFilesAlone) {
  TinyRun run;
  create_folders(run.out());
  write_file_atomic(run.out() + "/log.txt", "mine");
  EXPECT_EQ(run.train({"train.steps=2"}).steps, 2);
  EXPECT_EQ(read_file(run.out() + "/log.txt"), "mine");
  TinyRun other;
  create_folders(other.out());
  write_file_atomic(other.out() + "/config.toml", "mine");
  EXPECT_TRUE(contains(other.fault(), "config.toml is in the way"));
  EXPECT_EQ(read_file(other.out() + "/config.toml"), "mine");
}

TEST(Trainer, FinishedRunReturnsItsResult) {
  TinyRun run;
  const TrainResult first = run.train();
  TrainResult again = run.resume();
  EXPECT_EQ(to_json(again), to_json(first));
}

TEST(Trainer, ResumeWithoutARunStarts) {
  TinyRun run;
  const TrainResult result = run.resume();
  EXPECT_EQ(result.first_step, 1);
  EXPECT_TRUE(contains(run.messages.front(), "starting at step 0"));
  // The same for a run that was killed before its first checkpoint.
  TinyRun other;
  other.train({}, {}, 2);
  remove_folder(RunFolder(other.out()).checkpoints());
  EXPECT_EQ(other.resume().digest, result.digest);
}

TEST(Trainer, ChangedConfigurationIsListed) {
  TinyRun run;
  run.train({}, {}, 2);
  const std::string fault =
      run.fault({"optim.lr=0.5", "model.n_layer=3", "train.threads=1"}, {.resume = true});
  EXPECT_TRUE(contains(fault, "usage: "));
  EXPECT_TRUE(contains(fault, "optim.lr was 0.003, is 0.5"));
  EXPECT_TRUE(contains(fault, "model.n_layer was 2, is 3"));
  EXPECT_FALSE(contains(fault, "threads"));
  EXPECT_EQ(run.resume().failure, "");
}

TEST(Trainer, DamagedCheckpointsAreSkipped) {
  TinyRun whole, run;
  const std::string digest = whole.train().digest;
  run.train({}, {}, 7);  // checkpoints of steps 4 (best), 6 and 7, or 6 and 7
  const RunFolder folder(run.out());
  ASSERT_GE(folder.checkpoint_steps().size(), 2u);
  const std::string newest = folder.checkpoint(7);
  flip_byte(newest + "/model.safetensors", file_size(newest + "/model.safetensors") - 5);
  const TrainResult result = run.resume();
  EXPECT_EQ(result.first_step, 7);
  EXPECT_EQ(result.digest, digest);
  EXPECT_TRUE(std::any_of(run.messages.begin(), run.messages.end(), [&](const std::string& text) {
    return text.find("damaged") != std::string::npos && text.find(newest) != std::string::npos;
  }));
}

TEST(Trainer, EveryDamageIsFound) {
  TinyRun run;
  run.train({"train.keep_last=1", "train.save_best=false"}, {}, 3);
  const std::string folder = RunFolder(run.out()).checkpoint(3);
  for (const std::string& name : list_folder(folder)) {
    const std::string path = join_path(folder, name), content = read_file(path);
    std::vector<std::string> broken = {"", content.substr(0, content.size() / 2), content + "x"};
    for (uint64_t at = 0; at < content.size(); at += 1 + content.size() / 5) {
      broken.push_back(content);
      broken.back()[at] = static_cast<char>(broken.back()[at] ^ 1);
    }
    for (const std::string& bytes : broken) {
      // White space and such may change in a text without harm.
      write_file_atomic(path, bytes);
      const std::string fault =
          run.fault({"train.keep_last=1", "train.save_best=false"}, {.resume = true});
      EXPECT_TRUE(contains(fault, "usage: no checkpoint of the run")) << name;
      EXPECT_TRUE(contains(fault, name));
    }
    remove_file(path);
    EXPECT_TRUE(contains(
        run.fault({"train.keep_last=1", "train.save_best=false"}, {.resume = true}), name));
    write_file_atomic(path, content);
  }
  EXPECT_EQ(run.resume({"train.keep_last=1", "train.save_best=false"}).first_step, 4);
}

TEST(Trainer, FullDiskKeepsTheOldCheckpoint) {
  TinyRun whole, run;
  for (TinyRun* r : {&whole, &run}) r->set("model.n_embd=64").set("train.save_every=2");
  const std::string digest = whole.train().digest;
  run.train({}, {}, 2);
  const RunFolder folder(run.out());
  // Room for the log, but for no model.
  EXPECT_EQ(TinyRun::wait(run.spawn(100'000)), 3);
  EXPECT_EQ(folder.checkpoint_steps(), std::vector<int64_t>{2});
  verify_checkpoint(folder.checkpoint(2));
  EXPECT_EQ(run.resume().digest, digest);
  EXPECT_EQ(list_folder(folder.checkpoints()).size(), folder.checkpoint_steps().size());
}

TEST(Trainer, OnlyOneProcessAtATime) {
  TinyRun run;
  run.train({}, {}, 2);
  const RunLock lock{RunFolder(run.out())};
  EXPECT_TRUE(contains(run.fault({}, {.resume = true}), "another process is training"));
}

TEST(Trainer, NonFiniteLossFails) {
  for (bool compile : {true, false}) {
    TinyRun run;
    const std::vector<std::string> sets = {"optim.lr=1e5",
                                           "optim.min_lr=0",
                                           "optim.warmup_steps=0",
                                           "optim.clip_grad_norm=0",
                                           "model.initializer_range=30",
                                           format("train.compile={}", compile),
                                           "train.steps=300"};
    const TrainResult result = run.train(sets);
    ASSERT_NE(result.failure, "");
    EXPECT_TRUE(contains(result.failure, format("step {}", result.steps + 1)));
    EXPECT_TRUE(contains(result.failure, "--detect-anomaly"));
    EXPECT_LT(result.steps, 300);
    for (float loss : result.losses) EXPECT_TRUE(std::isfinite(loss));
    TinyRun second;
    const TrainResult named = second.train(sets, {.detect_anomaly = true});
    EXPECT_LE(named.steps, result.steps);
    EXPECT_TRUE(contains(named.failure, "NaN")) << named.failure;
    EXPECT_TRUE(contains(named.failure, "[")) << named.failure;  // the op
  }
}

TEST(Trainer, PlanWritesNothing) {
  TinyRun run;
  const TrainResult result = run.train({}, {.plan_only = true});
  EXPECT_FALSE(path_exists(run.out()));
  EXPECT_EQ(result.steps, 0);
  EXPECT_EQ(result.plan.at("peak_bytes").as_uint(), result.planned_peak_bytes);
  int64_t sum = 0;
  for (const auto& [owner, bytes] : result.plan.at("owners").items()) sum += bytes.as_int();
  EXPECT_EQ(static_cast<uint64_t>(sum), result.planned_peak_bytes);
  EXPECT_EQ(run.train().planned_peak_bytes, result.planned_peak_bytes);
  // A machine without the device plans just the same.
  TinyRun null;
  EXPECT_EQ(null.train({"train.device=null"}).planned_peak_bytes, result.planned_peak_bytes);
}

// The model is the same in its files; products are of fewer bits.
TEST(Trainer, Float8) {
  TinyRun run;
  const TrainResult wide = run.train({"train.steps=6"});
  TinyRun narrow;
  narrow.set("train.float8=true").set("train.steps=6").set("train.save_every=3");
  const TrainResult result = narrow.train();
  ASSERT_EQ(result.losses.size(), wide.losses.size());
  EXPECT_NE(result.losses, wide.losses);
  for (size_t i = 0; i < result.losses.size(); ++i)
    EXPECT_NEAR(result.losses[i], wide.losses[i], 0.02 * wide.losses[i]) << i;
  EXPECT_LT(result.losses.back(), result.losses.front());
  // Stopped halfway and resumed: the same bits.
  TinyRun stopped;
  stopped.set("train.float8=true").set("train.steps=6").set("train.save_every=3");
  stopped.train({}, {}, 3);
  EXPECT_EQ(stopped.resume().losses, result.losses);
  EXPECT_NE(TinyRun().fault({"train.float8=true", "model.n_embd=24", "model.n_head=2"}).find("train.float8: the model has no linear layers"),
            std::string::npos);
}

TEST(Trainer, MemoryBudget) {
  TinyRun run;
  const uint64_t planned = run.train({}, {.plan_only = true}).planned_peak_bytes;
  const uint64_t least = run.train({"train.memory_budget=1"}, {.plan_only = true}).planned_peak_bytes;
  EXPECT_LT(least, planned);
  const std::string fault = run.fault({format("train.memory_budget={}", least - 1)});
  EXPECT_TRUE(contains(fault, "resource: "));
  EXPECT_TRUE(contains(fault, format("at least {} ({} bytes", format_bytes(least), least)));
  EXPECT_TRUE(contains(fault, format("{} bytes", least - 1)));
  EXPECT_FALSE(path_exists(run.out()));
  const TrainResult result = run.train({format("train.memory_budget={}", least)});
  EXPECT_EQ(result.steps, 8);
  EXPECT_LE(result.peak_bytes, least);
}

TEST(Trainer, TooLargeForTheMachine) {
  TinyRun run;
  const std::string fault =
      run.fault({"model.n_layer=4000", "model.n_embd=16384", "model.n_head=16"});
  EXPECT_TRUE(contains(fault, "resource: the training state of"));
  EXPECT_TRUE(contains(fault, "available"));
  EXPECT_FALSE(path_exists(run.out()));
}

TEST(Trainer, BadText) {
  TinyRun run;
  const std::string good = read_file(run.text());
  const auto fault_of = [&](const std::string& text) {
    write_file_atomic(run.text(), text);
    const std::string fault = run.fault();
    EXPECT_TRUE(contains(fault, "usage: "));
    EXPECT_TRUE(contains(fault, run.text()));
    EXPECT_FALSE(path_exists(run.out())) << "a failed setup left something behind";
    return fault;
  };
  EXPECT_TRUE(contains(fault_of(""), "empty"));
  EXPECT_TRUE(contains(fault_of(good + '\0'), "NUL"));
  EXPECT_TRUE(contains(fault_of(good + "\xff\xfe"), "UTF-8"));
  write_file_atomic(run.text(), good);
  EXPECT_EQ(run.train().steps, 8);
}

TEST(Trainer, TextShorterThanOneSequence) {
  TinyRun run;
  write_file_atomic(run.text(), "the river");
  EXPECT_TRUE(contains(run.fault(), "usage: "));
  EXPECT_FALSE(path_exists(run.out()));
}

TEST(Trainer, VocabularyAndPositions) {
  TinyRun run;
  run.train({"train.steps=1"});
  const std::string tokenizer =
      "tokenizer.path=" + RunFolder(run.out()).tokenizer() + "/tokenizer.json";
  const std::string out = "train.out=" + run.out() + "2";
  EXPECT_TRUE(contains(run.fault({tokenizer, out, "model.vocab_size=299"}),
                       "vocab_size = 299 is smaller than the tokenizer's 300"));
  EXPECT_TRUE(contains(run.fault({out, "data.seq=33"}), "33"));
  EXPECT_FALSE(path_exists(run.out() + "2"));
  // A larger vocabulary is fine, for example one padded to a round number.
  EXPECT_EQ(run.train({tokenizer, out, "model.vocab_size=320"}).steps, 8);
}

TEST(Trainer, GoesOnFromAModelFolder) {
  TinyRun base;
  const TrainResult first = base.train({"train.steps=40"});
  TinyRun tuned;
  // The model's own tokenizer is taken where none is given.
  const ResolvedConfig config = [&] {
    ConfigInputs inputs;
    inputs.path = "tuned.toml";
    inputs.text = format(
        "[model]\npath = \"{}\"\n[data]\ntext = [\"{}\"]\nseq = 16\n[train]\n"
        "steps = 2\nbatch = 4\nout = \"{}\"\n[optim]\nlr = 1e-4\n",
        first.model_dir, tuned.text(), tuned.out());
    return load_config(inputs);
  }();
  const TrainResult second = corten::train(config, {}, {});
  EXPECT_NEAR(second.losses[0], first.train_loss, 0.5);
  EXPECT_EQ(read_file(second.model_dir + "/tokenizer.json"),
            read_file(first.model_dir + "/tokenizer.json"));
}

TEST(Trainer, KeepsTheFoldersGenerationConfig) {
  TinyRun base;
  const TrainResult first = base.train({"train.steps=1"});
  const std::string given =
      R"({"my_field": {"a": 1}, "eos_token_id": [0, 5], "temperature": 0.7, "num_beams": 3})";
  write_file_atomic(first.model_dir + "/generation_config.json", given);
  write_file_atomic(first.model_dir + "/chat_template.jinja", "{{ messages }}");
  const auto saved = [](const std::string& folder) {
    return Json::parse(read_file(folder + "/generation_config.json"), "");
  };
  TinyRun tuned;
  const auto config = [&](const std::string& more) {
    ConfigInputs inputs;
    inputs.path = "tuned.toml";
    inputs.text = format(
        "[model]\npath = \"{}\"\n{}\n[data]\ntext = [\"{}\"]\nseq = 16\n[train]\n"
        "steps = 4\nbatch = 4\nout = \"{}\"\n",
        first.model_dir, more, tuned.text(), tuned.out());
    return load_config(inputs);
  };
  int64_t done = 0;
  TrainCallbacks callbacks;
  callbacks.on_step = [&](const StepInfo& info) { done = info.step; };
  callbacks.should_stop = [&] { return done >= 2 ? StopSignal::Terminate : StopSignal::None; };
  const TrainResult part = corten::train(config(""), {}, callbacks);
  EXPECT_EQ(part.stopped, StopSignal::Terminate);
  EXPECT_EQ(saved(part.model_dir), Json::parse(given, ""));
  TrainOptions resume;
  resume.resume = true;
  const TrainResult rest = corten::train(config(""), resume, {});
  EXPECT_EQ(rest.first_step, 3);
  EXPECT_EQ(saved(rest.model_dir), Json::parse(given, ""));
  EXPECT_EQ(read_file(rest.model_dir + "/chat_template.jinja"), "{{ messages }}");

  // What the run's own configuration says counts more.
  remove_folder(tuned.out());
  const Json own = saved(corten::train(config("eos_token_id = 7"), {}, {}).model_dir);
  EXPECT_EQ(own.at("eos_token_id"), Json(7));
  EXPECT_EQ(own.at("temperature"), Json(0.7));
  // Random weights have nothing of the folder but its config.
  remove_folder(tuned.out());
  EXPECT_FALSE(saved(corten::train(config("init = \"random\""), {}, {}).model_dir)
                   .contains("my_field"));
}

TEST(Trainer, ShardsGiveTheRunOfTheirText) {
  TinyRun run;
  const TrainResult from_text = run.train();
  const RunFolder folder(run.out());
  const std::string shards = folder.data() + "/train";
  TinyRun other;
  other.set("data.text=").set("data.shards=" + shards);
  other.set("tokenizer.path=" + folder.tokenizer() + "/tokenizer.json");
  other.train({}, {}, 3);
  // Other data under the same name is noticed.
  const std::string file = shards + "/shard-00000.tokens", good = read_file(file);
  TinyRun third;
  write_file_atomic(third.text(), synthetic_text(12000, 5));
  third.set("tokenizer.path=" + folder.tokenizer() + "/tokenizer.json");
  third.train({"train.steps=1"});
  write_file_atomic(file, read_file(RunFolder(third.out()).data() + "/train/shard-00000.tokens"));
  EXPECT_TRUE(contains(other.fault({}, {.resume = true}), "usage: "));
  write_file_atomic(file, good);
  EXPECT_EQ(other.resume().digest, from_text.digest);
  // So is another tokenizer.
  TinyRun fourth;
  fourth.train({"train.steps=1", "tokenizer.vocab_size=280"});
  EXPECT_TRUE(contains(
      other.fault({"train.out=" + other.out() + "2",
                   "tokenizer.path=" + RunFolder(fourth.out()).tokenizer() + "/tokenizer.json"}),
      "was made by the tokenizer"));
}

TEST(Trainer, ValidationText) {
  TinyRun run;
  const std::string text = run.folder() / "validation.txt";
  write_file_atomic(text, synthetic_text(4000, 9));
  const TrainResult own = run.train({"data.val_text=" + text});
  TinyRun none;
  const TrainResult without = none.train({"data.val_fraction=0"});
  EXPECT_TRUE(own.val_loss);
  EXPECT_FALSE(without.val_loss);
  EXPECT_EQ(own.digest, without.digest);
}

// A loss scale that overflows costs a step, which changes nothing but the scale.
TEST(Trainer, HalfPrecisionSkipsOverflows) {
  const std::vector<std::string> sets = {"train.dtype=f16",        "train.steps=2",
                                         "train.virtual_shards=1", "model.initializer_range=1.5",
                                         "optim.warmup_steps=0",   "optim.lr=1e-2"};
  TinyRun run;
  const TrainResult result = run.train(sets);
  const std::vector<Json> lines = metrics_lines(run);
  EXPECT_EQ(lines[0].at("loss_scale"), Json(65536.0f));
  EXPECT_EQ(lines[0].at("skipped"), Json(true)) << "the test does not overflow";
  EXPECT_EQ(lines[1].at("loss_scale"), Json(32768.0f));
  TinyRun still;
  std::vector<std::string> one = sets;
  one.insert(one.end(), {"train.steps=1", "optim.lr=0", "optim.min_lr=0"});
  const TrainResult fresh = still.train(one);
  TinyRun moved;
  one.insert(one.end(), {"optim.lr=1e-2"});
  EXPECT_EQ(read_file(moved.train(one).model_dir + "/model.safetensors"),
            read_file(fresh.model_dir + "/model.safetensors"));
  EXPECT_EQ(result.failure, "");
}

// The loss of the first step is the mean over all tokens of the step, whatever V is.
TEST(Trainer, ShardsSumToTheMean) {
  std::vector<float> first;
  for (int64_t shards : {1, 2, 3, 4, 6, 12}) {
    TinyRun run;
    first.push_back(
        run.train({"train.batch=12", "train.steps=1", "model.resid_pdrop=0", "model.embd_pdrop=0",
                   "model.attn_pdrop=0", format("train.virtual_shards={}", shards)})
            .losses[0]);
    EXPECT_NEAR(first.back(), first.front(), 2e-6 * first.front()) << shards;
  }
}

TEST(ModelSetup, CountsParameters) {
  for (const char* text :
       {R"({"model_type": "gpt2", "n_layer": 2, "n_embd": 24, "n_head": 3, "n_positions": 9,
            "vocab_size": 31, "bos_token_id": null, "eos_token_id": null})",
        R"({"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1, "n_positions": 5,
            "vocab_size": 7, "n_inner": 17, "tie_word_embeddings": false, "bos_token_id": null,
            "eos_token_id": null})"})
    EXPECT_EQ(count_parameters(text), make_model(text)->num_parameters());
}

}  // namespace
}  // namespace corten::testing
