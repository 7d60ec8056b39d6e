// The verbs from text to generated text, as a user types them, on a model of a few kilobytes.
#include <gtest/gtest.h>
#include <signal.h>

#include "base/file.h"
#include "base/format.h"
#include "corten/vision.h"
#include "io/tensor_bytes.h"
#include "run_corten.h"
#include "temp_folder.h"

namespace corten::cli {
namespace {

class Verbs : public ::testing::Test {
 protected:
  Verbs() {
    std::string text;
    for (int i = 0; i < 400; ++i)
      text += format("Line {} tells of a small model that learns number {}.\n", i, i * i % 97);
    write_file_atomic(book_, text);
    write_file_atomic(config_, format("[model]\nmodel_type = \"gpt2\"\nn_layer = 1\nn_embd = 16\n"
                                      "n_head = 2\nn_positions = 32\n"
                                      "[tokenizer]\nvocab_size = 300\n"
                                      "[data]\ntext = [\"{}\"]\nseq = 16\n"
                                      "[train]\nsteps = 3\nbatch = 2\nout = \"{}\"\n",
                                      book_, run_));
  }
  Outcome train(std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"train", config_, "--json", "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return run_corten(args);
  }

  const corten::testing::TempFolder folder_;
  const std::string book_ = folder_ / "book.txt", config_ = folder_ / "demo.toml";
  const std::string run_ = folder_ / "run";
};

TEST_F(Verbs, TrainGenerateEvaluate) {
  const Outcome trained = train();
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Json result = trained.json();
  for (const char* key : {"run", "first_step", "steps", "tokens", "train_loss", "val_loss", "losses",
                          "digest", "contract", "checkpoint", "model_dir", "peak_bytes",
                          "planned_peak_bytes"})
    EXPECT_TRUE(result.contains(key)) << key;
  EXPECT_EQ(result.at("losses").size(), 3u);
  EXPECT_EQ(result.at("first_step"), Json(1));

  // A run is never overwritten; of a finished one --resume gives the same result.
  const Outcome again = train();
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.json().at("error").at("message").as_string().find("--resume"), std::string::npos);
  EXPECT_EQ(train({"--resume"}).json().at("digest"), result.at("digest"));
  const Outcome changed = train({"--resume", "--set", "optim.lr=0.5", "--seed", "7"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("optim.lr"), std::string::npos) << changed.err;
  EXPECT_NE(changed.err.find("train.seed"), std::string::npos) << changed.err;

  const std::string model = result.at("model_dir").as_string();
  const std::vector<std::string> generate = {"generate", run_,          "--prompt", "Line 3",
                                             "--json",   "--threads",   "1",        "--max-new-tokens",
                                             "5",        "--temperature", "0"};
  const Json generated = run_corten(generate).json();
  EXPECT_EQ(generated.at("ids").size(), 5u);
  EXPECT_EQ(run_corten({"generate", model, "--prompt-file", "-", "--threads", "1", "--stream",
                        "--max-new-tokens", "5", "--temperature", "0"},
                       "Line 3")
                .out,
            generated.at("text").as_string() + "\n");

  // Several prompts, each with its two best beams; the model is its own draft model.
  const Json beams = run_corten({"generate", model, "--prompt", "Line 3", "--prompt", "Line", "--json",
                                 "--max-new-tokens", "4", "--num-beams", "3", "--early-stopping",
                                 "never", "--num-return-sequences", "2"})
                         .json();
  EXPECT_EQ(beams.at("sequences").size(), 4u);
  EXPECT_TRUE(beams.at("sequences").at(3).contains("score"));
  std::vector<std::string> with_draft = generate;
  with_draft.insert(with_draft.end(), {"--draft-model", model});
  const Json drafted = run_corten(with_draft).json();
  EXPECT_EQ(drafted.at("text"), generated.at("text"));
  EXPECT_EQ(drafted.at("accepted_drafts"), Json(1.0));
  const Outcome streamed = run_corten(
      {"generate", model, "--prompt", "x", "--num-beams", "3", "--stream", "--max-new-tokens", "2"});
  EXPECT_EQ(streamed.code, 2);
  EXPECT_NE(streamed.err.find("num_beams 3"), std::string::npos) << streamed.err;

  const Json logits =
      run_corten({"eval-logits", model, "--input-ids", "1,2,3", "--labels", "-100,2,3", "--json"})
          .json();
  EXPECT_EQ(logits.at("shape"), Json(std::vector<int>{1, 3, 300}));
  EXPECT_EQ(logits.at("logits").size(), 900u);
  EXPECT_TRUE(logits.at("loss").is_double());
}

TEST_F(Verbs, EvaluatesImages) {
  const std::string model = folder_ / "resnet", pixels = folder_ / "pixels.safetensors";
  auto net = AutoModelForImageClassification::from_config(
      R"({"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [8], "depths": [1]})");
  net->initialize(1);
  net->save_pretrained(model);
  write_state(pixels, {{"pixel_values", ones({2, 3, 9, 7})}});
  const Json out =
      run_corten({"eval-logits", model, "--pixel-values", pixels, "--labels", "0,1", "--json"})
          .json();
  EXPECT_EQ(out.at("shape"), Json(std::vector<int>{2, 2}));
  EXPECT_EQ(out.at("logits").size(), 4u);
  EXPECT_TRUE(out.at("loss").is_double());
  const Outcome missing = run_corten({"eval-logits", model});
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("--pixel-values"), std::string::npos) << missing.err;
  EXPECT_EQ(run_corten({"eval-logits", model, "--pixel-values", "/nowhere"}).code, 2);
}

TEST_F(Verbs, PlanRunsNothing) {
  const Outcome planned = train({"--plan"});
  ASSERT_EQ(planned.code, 0) << planned.err;
  EXPECT_GT(planned.json().at("planned_peak_bytes").as_int(), 0);
  EXPECT_FALSE(planned.json().contains("train_loss"));
  EXPECT_FALSE(path_exists(run_));
}

TEST_F(Verbs, SignalsEndARunWithACheckpoint) {
  const std::vector<std::pair<int, int>> codes = {{SIGTERM, 75}, {SIGUSR1, 75}, {SIGINT, 130}};
  for (const auto& [signal, code] : codes) {
    const std::string out = run_ + std::to_string(signal);
    const Outcome stopped =
        interrupt_corten({"train", config_, "--json", "--threads", "1", "--set",
                          "train.steps=1000000", "--set", "train.save_every=0", "--set",
                          "train.eval_every=0", "--set", "train.out=" + out},
                         "step 1/", signal);
    EXPECT_EQ(stopped.code, code) << stopped.err;
    const Json result = stopped.json();
    EXPECT_GE(result.at("steps").as_int(), 1);
    EXPECT_TRUE(folder_exists(result.at("checkpoint").as_string())) << stopped.out;
  }
}

TEST_F(Verbs, TokenizerAndData) {
  const std::string tokenizer = folder_ / "t.json", shards = folder_ / "shards";
  const Json trained =
      run_corten({"tokenizer", "train", book_, "-o", tokenizer, "--vocab-size", "290", "--json"})
          .json();
  EXPECT_EQ(trained.at("vocab_size"), Json(290));
  const Json encoded =
      run_corten({"tokenizer", "encode", tokenizer, "--text", "Line é 4", "--no-special", "--json"})
          .json();
  EXPECT_EQ(encoded.at("ids").size(), encoded.at("tokens").size());
  EXPECT_EQ(encoded.at("offsets").elements().back().at(1), Json(8)) << "not in characters";
  EXPECT_EQ(run_corten({"tokenizer", "encode", tokenizer, "--file", "-", "--json"}, "Line é 4")
                .json()
                .at("ids"),
            encoded.at("ids"));
  std::string ids;
  for (const Json& id : encoded.at("ids").elements()) ids += (ids.empty() ? "" : ",") + id.dump();
  EXPECT_EQ(run_corten({"tokenizer", "decode", tokenizer, "--ids", ids}).out, "Line é 4\n");
  EXPECT_EQ(run_corten({"tokenizer", "info", tokenizer, "--json"}).json().at("vocab_size"),
            Json(290));
  // The file says how long encodings are, unless the user does.
  Json file = Json::parse(read_file(tokenizer), tokenizer);
  file.set("truncation", Json::parse(R"({"max_length": 3, "strategy": "LongestFirst", "stride": 0,
                                         "direction": "Right"})", ""));
  file.set("padding", Json::parse(R"({"strategy": {"Fixed": 4}, "direction": "Right", "pad_id": 7,
      "pad_to_multiple_of": null, "pad_type_id": 0, "pad_token": "<pad>"})", ""));
  const std::string fixed = folder_ / "fixed.json";
  write_file_atomic(fixed, file.dump());
  const auto ids_of = [&](std::vector<std::string> flags, const std::string& text) {
    std::vector<std::string> arguments = {"tokenizer", "encode", fixed, "--text", text};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const std::string plain = run_corten(arguments).out;
    arguments.push_back("--json");
    const Json json = run_corten(arguments).json();
    EXPECT_EQ(json.at("ids").size(), json.at("offsets").size());
    std::string joined;
    for (const Json& id : json.at("ids").elements())
      joined += (joined.empty() ? "" : " ") + id.dump();
    EXPECT_EQ(plain, joined + "\n");
    return json.at("ids");
  };
  Json cut = Json::array();
  for (size_t i = 0; i < 3; ++i) cut.push_back(encoded.at("ids").at(i));
  EXPECT_EQ(ids_of({"--no-padding"}, "Line é 4"), cut);
  EXPECT_EQ(ids_of({}, "Line é 4"), Json(cut).push_back(7));
  EXPECT_EQ(ids_of({"--no-truncation"}, "Line é 4"), encoded.at("ids"));
  EXPECT_EQ(ids_of({"--no-padding"}, "<|endoftext|>"), Json(std::vector<int>{0}));
  EXPECT_GT(ids_of({"--no-padding", "--no-truncation", "--split-special-tokens"}, "<|endoftext|>")
                .size(),
            4u);

  const std::vector<std::string> prepare = {"data", "prepare", book_, "-o", shards,
                                            "--tokenizer", tokenizer, "--json"};
  const Outcome prepared = run_corten(prepare);
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  EXPECT_GT(prepared.json().at("tokens").as_int(), 1000);
  EXPECT_EQ(run_corten(prepare).code, 2) << "replaced a data set";
  // Training from the shards needs no other word about the tokenizer.
  const Outcome trained_on_shards = train({"--set", "data.shards=" + shards, "--set",
                                           "tokenizer.path=" + tokenizer});
  EXPECT_EQ(trained_on_shards.code, 0) << trained_on_shards.err;
}

TEST_F(Verbs, Bench) {
  const Json trained =
      run_corten({"bench", "train", "--model", "gpt2-mini", "--layers", "1", "--batch", "1", "--seq",
                  "16", "--steps", "2", "--threads", "1", "--json"})
          .json();
  for (const char* key :
       {"model", "params", "device", "threads", "dtype", "compiled", "batch", "seq", "steps",
        "step_ms", "tokens_per_s", "flops_per_step", "peak_flops", "mfu", "mfu_measured",
        "peak_bytes", "planned_peak_bytes", "rss_peak_bytes", "rss_start_bytes", "compile_ms",
        "first_step_ms", "loss_first", "loss_last", "digest"})
    EXPECT_TRUE(trained.contains(key)) << key;
  const Json op = run_corten({"bench", "op", "--op", "softmax", "--shape", "8x64", "--json"}).json();
  EXPECT_GT(op.at("ms").at("median").as_double(), 0);
  EXPECT_EQ(run_corten({"bench", "op", "--op", "sotfmax", "--shape", "8x64"}).code, 2);
}

// Without a folder for compiled kernels everything is compiled, and nothing is said.
TEST_F(Verbs, NeedNoCacheFolder) {
  for (const std::string& variable : {"CORTEN_CACHE_DIR=" + book_, std::string("HOME=/proc")}) {
    std::vector<std::string> environment = {variable};
    if (variable == "HOME=/proc") environment = {variable, "CORTEN_CACHE_DIR=", "XDG_CACHE_HOME="};
    const Outcome op = run_corten({"bench", "op", "--op", "softmax", "--shape", "8x64", "--json"}, "", environment);
    EXPECT_EQ(op.code, 0) << variable << ": " << op.err;
    EXPECT_EQ(op.err, "") << variable;
    EXPECT_GT(op.json().at("ms").at("median").as_double(), 0);
  }
}

TEST_F(Verbs, BadModelsAndValues) {
  EXPECT_EQ(run_corten({"generate", folder_ / "nothing", "--prompt", "x"}).code, 2);
  EXPECT_EQ(run_corten({"generate", folder_.path(), "--prompt", "x"}).code, 2);
  EXPECT_EQ(run_corten({"generate", folder_.path()}).code, 2);
  EXPECT_EQ(run_corten({"train", folder_ / "none.toml"}).code, 2);
  EXPECT_EQ(train({"--set", "train.device=cuda"}).code, 3);
  EXPECT_EQ(train({"--set", "data.text=" + folder_ / "none.txt"}).code, 2);
}

}  // namespace
}  // namespace corten::cli
