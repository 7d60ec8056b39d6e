// Runs that train encoder-decoders on pairs of texts. tests/train/t5 is made by make_t5_goldens.py.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "corten/safetensors.h"
#include "corten/seq2seq.h"
#include "corten/tokenizer.h"
#include "temp_folder.h"
#include "train/generate.h"
#include "train/text_pairs.h"
#include "train/trainer.h"

namespace corten {
namespace {

using testing::TempFolder;

const std::string kFolder = CORTEN_TEST_DATA "/t5";

class Seq2SeqTraining : public ::testing::Test {
 protected:
  TrainResult train(const std::vector<std::string>& sets = {}, TrainOptions options = {},
                    int64_t stop_after = 0) {
    ConfigInputs inputs;
    inputs.path = "seq2seq.toml";
    inputs.text = R"(
[data]
seq = 12
target_seq = 7
[train]
steps = 6
batch = 16
[optim]
lr = 1e-2
schedule = "constant"
warmup_steps = 0
)";
    inputs.sets = {"data.text=" + kFolder + "/train.tsv", "data.val_text=" + kFolder + "/val.jsonl",
                   "train.out=" + (temp_ / "run")};
    inputs.sets.insert(inputs.sets.end(), sets.begin(), sets.end());
    if (std::ranges::none_of(sets, [](const std::string& set) { return set.starts_with("model."); }))
      inputs.sets.push_back("model.path=" + kFolder);
    int64_t done = 0;
    TrainCallbacks callbacks;
    callbacks.on_step = [&](const StepInfo& info) { done = info.step; };
    callbacks.should_stop = [&] {
      return stop_after > 0 && done >= stop_after ? StopSignal::Terminate : StopSignal::None;
    };
    return corten::train(load_config(inputs), options, callbacks);
  }
  void expect_usage(const std::vector<std::string>& sets, const std::string& part) {
    try {
      train(sets);
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  /// The run's bits with an interruption, in another folder, and without one.
  void expect_resumes(std::vector<std::string> sets) {
    const TrainResult whole = train(sets);
    sets.push_back("train.out=" + (temp_ / "two"));
    EXPECT_EQ(train(sets, {}, 3).stopped, StopSignal::Terminate);
    TrainOptions options;
    options.resume = true;
    const TrainResult rest = train(sets, options);
    EXPECT_EQ(rest.first_step, 4);
    EXPECT_EQ(rest.digest, whole.digest);
    EXPECT_EQ(rest.val_loss, whole.val_loss);
    EXPECT_EQ(read_file(join_path(rest.model_dir, "model.safetensors")),
              read_file(join_path(whole.model_dir, "model.safetensors")));
  }

  TempFolder temp_;
};

// Every batch is the whole text, in another order.
TEST_F(Seq2SeqTraining, LossesAreThoseOfTransformers) {
  const std::string path = kFolder + "/golden.json";
  const Json golden = Json::parse(read_file(path), path);
  for (const char* shards : {"1", "4"}) {
    SCOPED_TRACE(shards);
    const std::string out = temp_ / (std::string("run") + shards);
    const TrainResult result =
        train({std::string("train.virtual_shards=") + shards, "train.out=" + out});
    EXPECT_EQ(result.failure, "");
    const std::vector<Json>& losses = golden.at("losses").elements();
    ASSERT_EQ(result.losses.size(), losses.size());
    for (size_t i = 0; i < losses.size(); ++i)
      EXPECT_NEAR(result.losses[i], losses[i].as_double(), 1e-5 * losses[i].as_double()) << i;
    ASSERT_TRUE(result.val_loss);
    EXPECT_NEAR(*result.val_loss, golden.at("val_loss").as_double(), 1e-5);
    EXPECT_EQ(result.tokens, golden.at("tokens").as_int() * result.steps);
    EXPECT_FALSE(result.val_accuracy);
  }
}

TEST_F(Seq2SeqTraining, PaddingChangesNothing) {
  const auto first = [&](const char* seq) {
    const std::string file = temp_ / "short.tsv";
    write_file_atomic(file, "one two\t2 1\nthree\t3\nfour one two\t2 1 4\n");
    return train({"data.text=" + file, std::string("data.seq=") + seq, "train.batch=3",
                  std::string("train.out=") + (temp_ / seq)});
  };
  const TrainResult a = first("16"), b = first("23");
  for (size_t i = 0; i < a.losses.size(); ++i)
    EXPECT_NEAR(a.losses[i], b.losses[i], 2e-6 * a.losses[i]) << i;
  EXPECT_EQ(a.tokens, b.tokens);
}

TEST_F(Seq2SeqTraining, ResumesToTheBit) {
  expect_resumes({"model.path=" + kFolder, "model.dropout_rate=0.1", "train.batch=4",
                  "train.virtual_shards=2", "data.val_text=[]", "data.val_fraction=0.2"});
}

TEST_F(Seq2SeqTraining, EagerEqualsCompiled) {
  const std::vector<std::string> sets = {"model.path=" + kFolder, "model.dropout_rate=0.1"};
  const TrainResult compiled = train(sets);
  std::vector<std::string> eager = sets;
  eager.insert(eager.end(), {"train.compile=false", "train.out=" + (temp_ / "eager")});
  EXPECT_EQ(train(eager).digest, compiled.digest);
  std::vector<std::string> threads = sets;
  threads.insert(threads.end(), {"train.threads=3", "train.out=" + (temp_ / "threads")});
  EXPECT_EQ(train(threads).digest, compiled.digest);
}

// transformers 5 writes that the head is tied whatever it is; what the file has counts.
TEST_F(Seq2SeqTraining, KeepsAHeadOfItsOwn) {
  const std::string base = temp_ / "base";
  Json config = Json::parse(read_file(kFolder + "/config.json"), "config.json");
  config.set("tie_word_embeddings", false);
  auto model = AutoModelForSeq2SeqLM::from_config(config.dump());
  model->initialize(3);
  model->save_pretrained(base);
  config.set("tie_word_embeddings", true);
  write_file_atomic(join_path(base, "config.json"), config.dump(2));
  write_file_atomic(join_path(base, "tokenizer.json"), read_file(kFolder + "/tokenizer.json"));
  expect_resumes({"model.path=" + base});
  const Safetensors before = Safetensors::open(base), after = Safetensors::open(temp_ / "run/model");
  ASSERT_TRUE(after.find("lm_head.weight"));
  EXPECT_FALSE(std::ranges::equal(before.at("lm_head.weight").bytes, after.at("lm_head.weight").bytes));
  // Scaled before the head, as the config says.
  auto trained = AutoModelForSeq2SeqLM::from_pretrained(temp_ / "run/model");
  const Json saved = Json::parse(trained->config_json(), "config.json");
  EXPECT_EQ(saved.at("scale_decoder_outputs"), Json(true));
}

TEST_F(Seq2SeqTraining, KeepsTheFoldersGenerationConfig) {
  const std::string base = temp_ / "base";
  std::filesystem::copy(kFolder, base, std::filesystem::copy_options::recursive);
  const std::string given =
      R"({"my_field": [1], "eos_token_id": [1, 2], "decoder_start_token_id": 0, "num_beams": 2})";
  write_file_atomic(join_path(base, "generation_config.json"), given);
  const auto saved = [](const TrainResult& result) {
    return Json::parse(read_file(result.model_dir + "/generation_config.json"), "");
  };
  const TrainResult part = train({"model.path=" + base}, {}, 3);
  EXPECT_EQ(part.stopped, StopSignal::Terminate);
  EXPECT_EQ(saved(part), Json::parse(given, ""));
  TrainOptions options;
  options.resume = true;
  EXPECT_EQ(saved(train({"model.path=" + base}, options)), Json::parse(given, ""));
}

TEST_F(Seq2SeqTraining, FromNothingToTexts) {
  std::string lines = "source\ttarget\n";
  for (int i = 0; i < 40; ++i)
    lines += std::string(i % 2 ? "say yes\tyes it is\n" : "say no\tno it is not\n");
  write_file_atomic(temp_ / "pairs.tsv", lines);
  const TrainResult result = train(
      {"model.model_type=t5", "model.d_model=32", "model.d_kv=8", "model.d_ff=32",
       "model.num_layers=1", "model.num_heads=4", "model.dropout_rate=0", "model.initializer_factor=0.5",
       "tokenizer.vocab_size=300", "data.text=" + (temp_ / "pairs.tsv"), "data.val_text=[]",
       "train.steps=60", "train.batch=8", "data.seq=8", "data.target_seq=8"});
  EXPECT_EQ(result.failure, "");
  EXPECT_LT(*result.val_loss, 0.1);
  GenerateOptions options;
  options.model.model = temp_ / "run";
  options.prompts = {"say yes", "say no"};
  options.settings.max_new_tokens = 12;
  options.settings.temperature = 0;
  const GenerateResult out = generate_text(options);
  ASSERT_EQ(out.sequences.size(), 2u);
  EXPECT_EQ(out.sequences[0].text, "yes it is");
  EXPECT_EQ(out.sequences[1].text, "no it is not");
  EXPECT_EQ(out.sequences[1].stop_reason, "eos");
}

TEST_F(Seq2SeqTraining, Adapters) {
  const TrainResult result =
      train({"model.path=" + kFolder, "lora.r=2", "train.steps=20", "train.virtual_shards=2"});
  EXPECT_LT(result.losses.back(), result.losses.front());
  EXPECT_FALSE(file_exists(join_path(result.model_dir, "model.safetensors")));
  const std::string path = join_path(result.model_dir, "adapter_config.json");
  EXPECT_EQ(Json::parse(read_file(path), path).at("task_type"), Json("SEQ_2_SEQ_LM"));
}

TEST_F(Seq2SeqTraining, Mistakes) {
  const auto file = [&](const char* name, const std::string& text) {
    write_file_atomic(temp_ / name, text);
    return "data.text=" + (temp_ / name);
  };
  expect_usage({file("bad.tsv", "one\t1\nno tab\n")}, "bad.tsv:2: expected a source, a tab and a target");
  expect_usage({file("bad.jsonl", "{\"source\": \"x\"}\n")},
               "bad.jsonl:1: expected an object with \"source\" and \"target\"");
  expect_usage({file("pairs.txt", "one\t1\n")}, "pairs of source and target are .jsonl or .tsv files");
  expect_usage({file("empty.tsv", "\n")}, "there is no source");
  expect_usage({"data.text=[]", "data.shards=" + temp_.path()}, "hold no pairs of source and target");
  expect_usage({"model.path=" + kFolder, "model.task=causal-lm"}, "needs a decoder");
  expect_usage({"model.model_type=gpt2", "model.task=seq2seq-lm", "tokenizer.vocab_size=300"},
               "needs an encoder-decoder, which gpt2 is not");
  expect_usage({"model.model_type=gpt2", "tokenizer.vocab_size=300"}, "data.target_seq = 7 is for");
  expect_usage({"model.model_type=t5", "model.n_embd=8", "tokenizer.path=" + kFolder + "/tokenizer.json"},
               "model.n_embd is no field of t5 models");
  expect_usage({"model.path=" + kFolder, "model.init=random", "model.vocab_size=20"},
               "vocab_size = 20 is smaller than the tokenizer's 28");
  expect_usage({"model.model_type=t5"}, "[tokenizer] needs one of path and vocab_size");
}

TEST(TextPairs, KeysAndColumns) {
  TempFolder temp;
  write_file_atomic(temp / "a.tsv", "target\tsource\r\nx y\tz\n\nq\t\n");
  write_file_atomic(temp / "b.jsonl",
                    "{\"text\": \"t\", \"target\": \"u\", \"id\": 7}\n{\"source\": \"s\", \"text\": "
                    "\"t\", \"target\": \"v\"}\n");
  const TextPairs pairs = read_text_pairs({temp / "a.tsv", temp / "b.jsonl"});
  EXPECT_EQ(pairs.sources, (std::vector<std::string>{"z", "", "t", "s"}));
  EXPECT_EQ(pairs.targets, (std::vector<std::string>{"x y", "q", "u", "v"}));
  EXPECT_EQ(pairs.places[1], temp / "a.tsv:4");
}

}  // namespace
}  // namespace corten
