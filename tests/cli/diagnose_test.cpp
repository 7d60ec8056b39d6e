// plan, explain and profile as a user types them.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/format.h"
#include "corten/encoders.h"
#include "corten/tokenizer.h"
#include "run_corten.h"
#include "temp_folder.h"

namespace corten::cli {
namespace {

class Diagnose : public ::testing::Test {
 protected:
  Diagnose() {
    std::string text;
    for (int i = 0; i < 400; ++i) text += format("Line {} tells of a small model that learns number {}.\n", i, i * i % 97);
    write_file_atomic(folder_ / "book.txt", text);
    write_file_atomic(config_, format("[model]\nmodel_type = \"gpt2\"\nn_layer = 1\nn_embd = 16\nn_head = 2\nn_positions = 32\n"
                                      "[tokenizer]\nvocab_size = 300\n[data]\ntext = [\"{}\"]\nseq = 16\n"
                                      "[train]\nsteps = 3\nbatch = 4\nout = \"{}\"\n",
                                      folder_ / "book.txt", folder_ / "run"));
  }
  Outcome run(std::vector<std::string> args) const {
    args.insert(args.begin() + 1, config_);
    return run_corten(args, "", {"CORTEN_CACHE_DIR=" + cache_.path()});
  }
  static inline const corten::testing::TempFolder cache_;  // of all tests: kernels and the machine's figures
  const corten::testing::TempFolder folder_;
  const std::string config_ = folder_ / "demo.toml";
};

TEST_F(Diagnose, PlanMeetsTheRun) {
  const std::string pickle = folder_ / "step.pickle";
  const Outcome planned = run({"plan", "--json", "--snapshot", pickle});
  ASSERT_EQ(planned.code, 0) << planned.err;
  const Json plan = planned.json();
  int64_t sum = 0;
  for (const auto& [owner, bytes] : plan.at("owners").items()) sum += bytes.as_int();
  EXPECT_EQ(sum, plan.at("peak_bytes").as_int());
  EXPECT_TRUE(plan.at("fits").as_bool());
  EXPECT_GT(plan.at("predicted_step_ms").as_double(), 0);
  EXPECT_EQ(read_file(pickle).substr(0, 2), "\x80\x02");
  EXPECT_FALSE(path_exists(folder_ / "run")) << "a plan leaves no run";

  const Outcome trained = run({"train", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.json().at("planned_peak_bytes"), plan.at("peak_bytes"));
  // The figures of the machine are kept.
  const Outcome text = run({"plan", "--set", "train.memory_budget=100kB"});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const char* part : {"does not fit", "measured earlier", "smaller batch", "computed again", "GiB"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
}

// A classifier's classes are those of its text.
TEST_F(Diagnose, ClassifiersAndEncoderDecoders) {
  std::string labelled, pairs;
  for (int i = 0; i < 60; ++i) {
    labelled += format("the number {}\t{}\n", i, i % 3 == 0 ? "fizz" : i % 3 == 1 ? "buzz" : "none");
    pairs += format("the number {}\tnumber {}\n", i, i);
  }
  write_file_atomic(folder_ / "labelled.tsv", labelled);
  write_file_atomic(folder_ / "pairs.tsv", pairs);
  const std::string_view texts[] = {labelled};
  const Tokenizer tokenizer = Tokenizer::train(texts, {.vocab_size = 300, .threads = 1});
  auto encoder = AutoModel::from_config(format(
      R"({{"model_type":"bert","vocab_size":{},"hidden_size":16,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":24,"max_position_embeddings":32}})",
      tokenizer.vocab_size()));
  encoder->initialize(1);
  encoder->save_pretrained(folder_ / "bert");
  tokenizer.save(folder_ / "bert/tokenizer.json");
  const std::string rest = format("seq = 12\n[train]\nsteps = 2\nbatch = 4\nout = \"{}\"\n", folder_ / "run");
  const std::vector<std::string> configs = {
      format("[model]\npath = \"{}\"\ntask = \"sequence-classification\"\n[data]\ntext = [\"{}\"]\n{}", folder_ / "bert", folder_ / "labelled.tsv",
             rest),
      format("[model]\nmodel_type = \"t5\"\nd_model = 16\nd_kv = 4\nd_ff = 24\nnum_layers = 1\nnum_heads = 2\n[tokenizer]\nvocab_size = 300\n"
             "[data]\ntext = [\"{}\"]\ntarget_seq = 7\n{}",
             folder_ / "pairs.tsv", rest)};
  for (const std::string& text : configs) {
    SCOPED_TRACE(text);
    write_file_atomic(config_, text);
    const Outcome planned = run({"plan", "--json"}), brief = run({"train", "--plan", "--json"});
    ASSERT_EQ(planned.code, 0) << planned.err;
    ASSERT_EQ(brief.code, 0) << brief.err;
    const Json plan = planned.json();
    EXPECT_EQ(brief.json().at("planned_peak_bytes"), plan.at("peak_bytes"));
    EXPECT_EQ(brief.json().at("plan").at("flops_per_step"), plan.at("flops_per_step"));
    EXPECT_GT(plan.at("flops_per_step").as_double(), 0);
    EXPECT_FALSE(path_exists(folder_ / "run")) << "a plan leaves no run";
    const Outcome profile = run({"profile", "--json", "--steps", "2"}), explained = run({"explain", "--json"});
    ASSERT_EQ(profile.code, 0) << profile.err;
    EXPECT_EQ(profile.json().at("losses").size(), 2u);
    ASSERT_EQ(explained.code, 0) << explained.err;
    EXPECT_EQ(explained.json().at("programs").elements()[0].at("kernels"), plan.at("kernels"));
    const Outcome trained = run({"train", "--json"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    EXPECT_EQ(trained.json().at("planned_peak_bytes"), plan.at("peak_bytes"));
    EXPECT_LE(trained.json().at("peak_bytes").as_int(), plan.at("peak_bytes").as_int());
    std::filesystem::remove_all(folder_ / "run");
  }
}

TEST_F(Diagnose, BenchRaisesAPeakMeasuredBesideOtherWork) {
  ASSERT_EQ(run({"plan", "--json"}).code, 0);
  const std::string path = cache_ / "machine.json";
  const Json measured = Json::parse(read_file(path), path);
  Json busy = Json::object();
  for (const auto& [key, of] : measured.items()) busy.set(key, Json::object({{"peak_flops", 1.0}, {"bandwidth", 1.0}}));
  write_file_atomic(path, busy.dump());
  const Outcome bench = run_corten({"bench", "train", "--model", "llama-mini", "--batch", "1", "--seq", "16", "--steps", "1", "--json"}, "",
                                   {"CORTEN_CACHE_DIR=" + cache_.path()});
  ASSERT_EQ(bench.code, 0) << bench.err;
  double best = 0;
  const Json raised = Json::parse(read_file(path), path);
  for (const auto& [key, of] : raised.items()) best = std::max(best, of.at("peak_flops").as_double());
  EXPECT_EQ(best, bench.json().at("peak_flops").as_double());
}

TEST_F(Diagnose, PlanForOtherMachines) {
  const Outcome large = run({"plan", "--json", "--device", "null", "--machine", "H100", "--set", "model.n_embd=8192", "--set", "model.n_head=64",
                             "--set", "model.n_layer=10", "--set", "model.vocab_size=32000"});
  ASSERT_EQ(large.code, 0) << large.err;
  EXPECT_FALSE(large.json().at("fits").as_bool());
  EXPECT_EQ(large.json().at("limit_bytes").as_double(), 80e9);
  EXPECT_GE(large.json().at("ways_to_fit").size(), 5u);
  const Outcome recipes = run_corten({"plan", "--params", "13e9", "--json"});
  ASSERT_EQ(recipes.code, 0) << recipes.err;
  EXPECT_NE(recipes.out.find("\"gb\":156.0"), std::string::npos) << recipes.out;
}

// The GPU's program, whether a GPU is here or not.
TEST_F(Diagnose, PlanForCuda) {
  const Outcome planned = run({"plan", "--json", "--device", "cuda", "--machine", "A100"});
  ASSERT_EQ(planned.code, 0) << planned.err;
  const Json plan = planned.json();
  int64_t sum = 0;
  for (const auto& [owner, bytes] : plan.at("owners").items()) sum += bytes.as_int();
  EXPECT_EQ(sum, plan.at("peak_bytes").as_int());
  EXPECT_EQ(plan.at("limit_bytes").as_double(), 80e9);
  const Outcome train = run({"train", "--plan", "--json", "--device", "cuda"});
  ASSERT_EQ(train.code, 0) << train.err;
  EXPECT_EQ(train.json().at("planned_peak_bytes"), plan.at("peak_bytes"));
  const Outcome explained = run({"explain", "--json", "--kernels", "--device", "cuda"});
  ASSERT_EQ(explained.code, 0) << explained.err;
  const Json step = explained.json().at("programs").elements().front();
  EXPECT_EQ(step.at("kernels"), plan.at("kernels"));
  EXPECT_NE(step.at("kernel_texts").dump().find("KERNEL(k_"), std::string::npos);
}

TEST_F(Diagnose, PlanRefuses) {
  EXPECT_EQ(run({"plan", "--machine", "H101"}).code, 2);
  EXPECT_NE(run({"plan", "--machine", "H101"}).err.find("did you mean \"H100\""), std::string::npos);
  EXPECT_EQ(run({"plan", "--set", "train.compile=false"}).code, 2);
  EXPECT_EQ(run({"plan", "--params", "1e9"}).code, 2);
  EXPECT_EQ(run({"plan", "--snapshot", folder_ / "missing/step.pickle"}).code, 2);
  EXPECT_EQ(run_corten({"plan"}).code, 2);
  EXPECT_EQ(run_corten({"plan", "--params", "-3"}).code, 2);
  EXPECT_EQ(run({"explain", "--set", "train.compile=false"}).code, 2);
  EXPECT_EQ(run({"profile", "--steps", "0"}).code, 2);
  EXPECT_EQ(run({"profile", "--device", "null"}).code, 2);
}

TEST_F(Diagnose, Explain) {
  const Outcome outcome = run({"explain", "--json", "--kernels"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = outcome.json();
  const std::vector<Json>& programs = json.at("programs").elements();
  ASSERT_EQ(programs.size(), 2u);
  const Json& step = programs[0];
  EXPECT_EQ(step.at("compilations").at(size_t{0}).at("reason"), Json("first call"));
  int64_t kernels = 0, products = 0;
  for (const Json& group : step.at("kernel_groups").elements()) kernels += group.at("count").as_int();
  for (const Json& group : step.at("product_groups").elements()) products += group.at("count").as_int();
  EXPECT_EQ(kernels, step.at("kernels").as_int());
  EXPECT_GT(products, 0);
  EXPECT_EQ(static_cast<int64_t>(step.at("kernel_texts").size()), step.at("distinct_kernels").as_int());
  EXPECT_GE(step.at("passes").size(), 5u);
  EXPECT_TRUE(step.at("refused_donations").is_array());
  const Outcome text = run({"explain"});
  for (const char* part : {"training step", "evaluation", "first call", "expand", "GFLOP"})
    EXPECT_NE(text.out.find(part), std::string::npos) << part << "\n" << text.out;
}

TEST_F(Diagnose, Profile) {
  const std::string out = folder_ / "profile";
  const Outcome outcome = run({"profile", "--steps", "3", "--out", out, "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = outcome.json();
  EXPECT_EQ(json.at("losses").size(), 3u);
  EXPECT_EQ(json.at("memory").size(), 3u);
  for (const Json& g : json.at("growth").elements()) EXPECT_FALSE(g.at("leak").as_bool()) << g.dump();
  const Json trace = Json::parse(read_file(out + "/trace.json"), "trace.json");
  int steps = 0, loads = 0, products = 0;
  for (const Json& e : trace.at("traceEvents").elements()) {
    const std::string& name = e.at("name").as_string();
    steps += name.starts_with("ProfilerStep#");
    loads += name == "data_loading";
    products += name == "gemm";
  }
  EXPECT_EQ(steps, 3);
  EXPECT_EQ(loads, 3);
  EXPECT_GT(products, 0);
  EXPECT_EQ(read_file(out + "/snapshot.pickle").substr(0, 2), "\x80\x02");
  EXPECT_NE(read_file(out + "/key_averages.txt").find("Self CPU time total"), std::string::npos);
  EXPECT_FALSE(path_exists(folder_ / "run")) << "a profile leaves no run";

  // Op by op: the same losses.
  const Outcome eager = run({"profile", "--steps", "3", "--no-compile", "--json"});
  ASSERT_EQ(eager.code, 0) << eager.err;
  EXPECT_EQ(eager.json().at("losses"), json.at("losses"));
  EXPECT_NE(run({"profile", "--steps", "2"}).out.find("data_loading"), std::string::npos);
}

}  // namespace
}  // namespace corten::cli
