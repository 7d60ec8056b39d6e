// Runs that train adapters.
#include "corten/lora.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "corten/models.h"
#include "corten/safetensors.h"
#include "corten/tokenizer.h"
#include "io/tensor_bytes.h"
#include "train/generate.h"
#include "train/run_folder.h"
#include "training.h"

namespace corten {
namespace {

using testing::synthetic_text;
using testing::TinyRun;

/// A trained model in the folder of `run`, for adapters to begin with.
std::string make_base(TinyRun& run) {
  TinyRun base;
  const TrainResult result = base.train({"train.steps=6"});
  const std::string folder = run.folder() / "base";
  create_folders(folder);
  for (const std::string& name : list_folder(result.model_dir))
    write_file_atomic(join_path(folder, name), read_file(join_path(result.model_dir, name)));
  return folder;
}
std::vector<std::string> settings(const std::string& base) {
  return {"model.path=" + base, "tokenizer.path=" + base + "/tokenizer.json",
          "lora.r=2",           "lora.alpha=8",
          "lora.dropout=0.1",   "train.steps=8"};
}
GenerateOptions greedy(const std::string& model, const std::string& adapter = {}) {
  GenerateOptions out;
  out.model.model = model;
  out.model.adapter = adapter;
  out.prompts = {"the river"};
  out.settings.max_new_tokens = 12;
  out.settings.temperature = 0;
  return out;
}

TEST(LoraRun, TrainsAdaptersAlone) {
  TinyRun run;
  const std::string base = make_base(run);
  std::vector<std::string> sets = settings(base);
  sets.insert(sets.end(),
              {"train.steps=80", "lora.target_modules=all-linear", "train.eval_batches=0"});
  TrainOptions options;
  options.eval_first = true;
  const TrainResult result = run.train(sets, options);
  EXPECT_EQ(result.failure, "");
  EXPECT_LT(*result.val_loss, run.evals.front().loss - 0.03);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"})
    EXPECT_TRUE(file_exists(join_path(result.model_dir, name))) << name;
  EXPECT_FALSE(file_exists(join_path(result.model_dir, "model.safetensors")));
  const LoraConfig config = LoraConfig::from_pretrained(result.model_dir);
  EXPECT_EQ(config.target_pattern, "all-linear");
  EXPECT_TRUE(config.fan_in_fan_out);
  EXPECT_EQ(config.base_model_name_or_path, base);

  // State of the optimizer for the adapters only: two moments for A and B of four layers in
  // each of two blocks.
  size_t moments = 0;
  for (const auto& [name, tensor] :
       read_state(join_path(result.checkpoint, "training_state.safetensors")))
    if (name.starts_with("optimizer.exp_avg")) {
      EXPECT_NE(name.find(".lora_"), std::string::npos) << name;
      ++moments;
    }
  EXPECT_EQ(moments, 32u);

  // The run stands for the base with its adapter; the adapter changes what is written.
  EXPECT_EQ(generate_text(greedy(run.out())).sequences[0].ids,
            generate_text(greedy(base, run.out())).sequences[0].ids);
  EXPECT_EQ(generate_text(greedy(base, result.model_dir)).sequences[0].ids,
            generate_text(greedy(base, run.out())).sequences[0].ids);
  auto model = load_model(base);
  LoraModel lora(*model, config);
  lora.load_weights(result.model_dir);
  const Tensor ids = tensor({5, 9, 2, 7}).reshape({1, 4});
  const Tensor with = (*model)(ids).detach();
  lora.unload();
  EXPECT_GT(abs(with - (*model)(ids)).amax().item(), 1e-3);
}

TEST(LoraRun, ResumesToTheBit) {
  TinyRun run, other;
  const std::string base = make_base(run);
  const TrainResult whole = run.train(settings(base));
  const TrainResult part = other.train(settings(base), {}, 4);
  EXPECT_EQ(part.stopped, StopSignal::Terminate);
  const TrainResult rest = other.resume(settings(base));
  EXPECT_EQ(rest.first_step, 5);
  EXPECT_EQ(rest.digest, whole.digest);
  EXPECT_EQ(read_file(join_path(rest.model_dir, "adapter_model.safetensors")),
            read_file(join_path(whole.model_dir, "adapter_model.safetensors")));
}

TEST(LoraRun, IsPlanned) {
  TinyRun run;
  const std::string base = make_base(run);
  TrainOptions options;
  options.plan_only = true;
  const Json full =
      run.train({"model.path=" + base, "tokenizer.path=" + base + "/tokenizer.json"}, options).plan;
  const Json plan = run.train(settings(base), options).plan;
  const auto owner = [](const Json& p, const char* name) {
    return p.at("owners").at(name).as_int();
  };
  // A [2, 32] and B [96, 2] for each of two layers.
  EXPECT_EQ(plan.at("trained_parameters"), Json(2 * (2 * 32 + 2 * 96)));
  EXPECT_EQ(full.at("trained_parameters"), full.at("parameters"));
  EXPECT_GE(owner(plan, "parameters"),
            owner(full, "parameters") + 4 * plan.at("trained_parameters").as_int());
  EXPECT_LT(owner(plan, "optimizer"), owner(full, "optimizer") / 20);
}

// A folder without its head is trained with one that is drawn anew, which is said; an adapter would
// not store it, unless it is for the head itself.
TEST(HeadlessRun, DrawsAHead) {
  TinyRun run;
  const std::string base = run.folder() / "headless";
  {
    TinyRun first;
    const TrainResult result = first.train({"train.steps=2"});
    Json config = Json::parse(read_file(join_path(result.model_dir, "config.json")), "config.json");
    config.set("tie_word_embeddings", false);
    config.set("architectures", Json(std::vector<std::string>{"GPT2Model"}));
    create_folders(base);
    copy_tokenizer_files(result.model_dir, base);
    write_file_atomic(join_path(base, "config.json"), config.dump());
    write_state(join_path(base, "model.safetensors"),
                read_state(join_path(result.model_dir, "model.safetensors")));
  }
  const auto expect_usage = [](const GenerateOptions& options, const std::string& part) {
    try {
      generate_text(options);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect_usage(greedy(base), "holds no lm_head.weight");
  EvalLogitsOptions options;
  options.model.model = base;
  options.input_ids = {1, 2, 3};
  EXPECT_TRUE(eval_logits(options).hidden_state);

  const std::vector<std::string> sets = {"model.path=" + base,
                                         "tokenizer.path=" + base + "/tokenizer.json"};
  TrainOptions plan;
  plan.plan_only = true;
  EXPECT_TRUE(run.train(sets, plan).plan.contains("parameters"));
  const TrainResult result = run.train(sets);
  EXPECT_EQ(result.failure, "");
  EXPECT_NE(std::ranges::find(run.messages, "new weights: lm_head.weight"), run.messages.end());
  EXPECT_EQ(generate_text(greedy(run.out())).sequences[0].ids.size(), 12u);

  std::vector<std::string> adapters = sets;
  adapters.insert(adapters.end(), {"lora.r=2", "train.out=" + (run.folder() / "adapters")});
  EXPECT_NE(run.fault(adapters).find("an adapter does not store a head that is drawn anew"),
            std::string::npos);
  adapters.push_back("lora.target_modules=[\"c_attn\", \"lm_head\"]");
  EXPECT_EQ(run.train(adapters).failure, "");
  EXPECT_EQ(generate_text(greedy(run.folder() / "adapters")).sequences[0].ids.size(), 12u);
}

TEST(LoraRun, KindsOfFoldersThatCannotBeTrained) {
  TinyRun run;
  const std::string folder = run.folder() / "other", text = synthetic_text(2000);
  const std::string_view texts[] = {text};
  create_folders(folder);
  Tokenizer::train(texts, {.vocab_size = 280, .threads = 1}).save(folder + "/tokenizer.json");
  const auto fault = [&](const std::string& config) {
    write_file_atomic(join_path(folder, "config.json"), config);
    return run.fault(
        {"model.path=" + folder, "tokenizer.path=" + folder + "/tokenizer.json", "lora.r=2"});
  };
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(fault(R"({"model_type": "vit"})"), "is an image model, and runs train models of text");
  expect(fault(R"({"model_type": "bert"})"), "set model.task = \"sequence-classification\"");
  expect(fault(R"({"model_type": "gpt2", "quantization_config": {"bits": 8}})"),
         "quantised weights can generate and be evaluated");
}

TEST(LoraRun, NeedsAModelToBeginWith) {
  TinyRun run;
  EXPECT_NE(run.fault({"lora.r=2"}).find("lora.r = 2 needs model.path"), std::string::npos);
  const std::string base = make_base(run);
  std::vector<std::string> sets = settings(base);
  sets.push_back("lora.target_modules=q_proj");
  EXPECT_NE(run.fault(sets).find("matches \"q_proj\""), std::string::npos);
}

}  // namespace
}  // namespace corten
