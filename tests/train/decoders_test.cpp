// Decoders other than GPT-2, trained from a configuration.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/format.h"
#include "corten/models.h"
#include "temp_folder.h"
#include "train/model_setup.h"
#include "train/trainer.h"
#include "training.h"

namespace corten::testing {
namespace {

/// The field that only this family has, with a value that matters.
std::string special(const std::string& type) {
  if (type == "llama") return "attention_bias = true\nrope_theta = 500.0\n";
  if (type == "mistral") return "sliding_window = 5\n";
  if (type == "qwen2")
    return "use_sliding_window = true\nsliding_window = 4\nmax_window_layers = 1\n";
  if (type == "qwen3") return "head_dim = 12\n";
  return "head_dim = 8\nsliding_window = 6\nquery_pre_attn_scalar = 8\nattention_dropout = 0.1\n";
}

class DecoderRun {
 public:
  explicit DecoderRun(const std::string& type) : type_(type) {
    write_file_atomic(folder_ / "text.txt", synthetic_text(12000));
  }
  ResolvedConfig config(const std::string& out, const std::vector<std::string>& sets) const {
    ConfigInputs inputs;
    inputs.path = "tiny.toml";
    inputs.text = format(
        "[model]\nmodel_type = \"{}\"\nhidden_size = 24\nintermediate_size = 32\n"
        "num_hidden_layers = 2\nnum_attention_heads = 3\nnum_key_value_heads = 1\n"
        "max_position_embeddings = 16\n{}"
        "[tokenizer]\nvocab_size = 300\n[data]\ntext = [\"{}\"]\nseq = 16\n"
        "[train]\nsteps = 6\nbatch = 4\nvirtual_shards = 2\neval_every = 6\neval_batches = 1\n"
        "out = \"{}\"\n[optim]\nlr = 3e-3\nwarmup_steps = 1\n",
        type_, special(type_), folder_ / "text.txt", folder_ / out);
    inputs.sets = sets;
    return load_config(inputs);
  }
  TrainResult train(const std::string& out, const std::vector<std::string>& sets = {}) const {
    return corten::train(config(out, sets), {}, {});
  }
  std::string path(const std::string& name) const { return folder_ / name; }

 private:
  std::string type_;
  TempFolder folder_;
};

class Decoders : public ::testing::TestWithParam<const char*> {};

TEST_P(Decoders, TrainWithTheSameBits) {
  DecoderRun run(GetParam());
  const TrainResult compiled = run.train("compiled");
  EXPECT_LT(compiled.losses.back(), compiled.losses.front() - 0.1);
  EXPECT_EQ(run.train("eager", {"train.compile=false"}).digest, compiled.digest);
  EXPECT_EQ(run.train("thread", {"train.threads=1"}).digest, compiled.digest);
  EXPECT_LE(compiled.peak_bytes, compiled.planned_peak_bytes + 8192);

  // What was trained is a folder that training goes on from.
  auto model = load_model(compiled.model_dir);
  EXPECT_EQ(model_info(model->config_json()).model_type, GetParam());
  EXPECT_EQ(model->num_parameters(), count_parameters(model->config_json()));
  ConfigInputs inputs;
  inputs.path = "more.toml";
  inputs.text = format(
      "[model]\npath = \"{}\"\n[data]\ntext = [\"{}\"]\nseq = 16\n"
      "[train]\nsteps = 2\nbatch = 4\nout = \"{}\"\n[optim]\nlr = 1e-4\n",
      compiled.model_dir, run.path("text.txt"), run.path("more"));
  const TrainResult more = corten::train(load_config(inputs), {}, {});
  EXPECT_LT(more.losses.front(), compiled.losses.front() - 0.1);
}

TEST_P(Decoders, TrainInBf16) {
  DecoderRun run(GetParam());
  const TrainResult half = run.train("half", {"train.dtype=bf16"});
  EXPECT_LT(half.losses.back(), half.losses.front() - 0.1);
  EXPECT_EQ(run.train("eager", {"train.dtype=bf16", "train.compile=false"}).digest, half.digest);
  const TrainResult whole = run.train("whole");
  EXPECT_NEAR(half.losses.front(), whole.losses.front(), 0.02);
}

INSTANTIATE_TEST_SUITE_P(Types, Decoders,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DecoderConfigs, FieldsBelongToTheirModelType) {
  DecoderRun run("llama");
  const auto fault = [&](const std::vector<std::string>& sets) -> std::string {
    try {
      model_config_json(run.config("out", sets).config, 300, 0);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(fault({}), "");
  EXPECT_EQ(fault({"model.n_embd=24"}),
            "--set model.n_embd=24: model.n_embd is no field of llama models");
  EXPECT_EQ(fault({"model.hidden_activation=relu"}),
            "--set model.hidden_activation=relu: model.hidden_activation is no field of llama "
            "models");
  EXPECT_EQ(fault({"model.max_position_embeddings=15"}),
            "--set model.max_position_embeddings=15: data.seq = 16 exceeds "
            "model.max_position_embeddings = 15");
  EXPECT_EQ(fault({"model.num_key_value_heads=2"}),
            "model: \"num_attention_heads\" 3 is no multiple of \"num_key_value_heads\" 2");
}

TEST(DecoderConfigs, RopeThetaCountsWhereverItIsKept) {
  TempFolder folder;
  write_file_atomic(folder / "config.json", R"({"model_type": "llama", "hidden_size": 8,
      "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 300,
      "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}})");
  DecoderRun run("llama");
  Config config = run.config("out", {}).config;
  config.model = {};
  config.model.path = folder.path();
  config.model.init = "random";
  config.model.fields.set("rope_theta", 77.0);
  const Json json = Json::parse(model_config_json(config, 300, 0), "json");
  EXPECT_EQ(json.at("rope_parameters").at("rope_theta"), Json(77.0));
}

}  // namespace
}  // namespace corten::testing
