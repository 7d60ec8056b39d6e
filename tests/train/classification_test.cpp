// Runs that train classifiers of texts.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "corten/encoders.h"
#include "corten/tokenizer.h"
#include "io/tensor_bytes.h"
#include "train/generate.h"
#include "train/labelled_text.h"
#include "training.h"

namespace corten {
namespace {

using testing::TempFolder;

const char* const kGood[] = {"fine", "lovely", "warm", "bright"};
const char* const kBad[] = {"awful", "cold", "broken", "dull"};
const char* const kOther[] = {"the", "room", "was", "and", "food"};

/// Lines "text TAB label" that one word decides.
std::string lines(int count, uint64_t seed, bool json = false) {
  std::string out;
  uint64_t state = seed;
  const auto draw = [&](int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state >> 33) % static_cast<uint64_t>(n));
  };
  for (int i = 0; i < count; ++i) {
    const bool good = draw(2) == 0;
    std::string text;
    const int words = 3 + draw(5), place = draw(words);
    for (int w = 0; w < words; ++w) {
      if (w > 0) text += ' ';
      text += w != place ? kOther[draw(5)] : good ? kGood[draw(4)] : kBad[draw(4)];
    }
    const std::string label = good ? "good" : "bad";
    out += json ? R"({"text": ")" + text + R"(", "label": ")" + label + "\"}\n"
                : text + "\t" + label + "\n";
  }
  return out;
}

constexpr const char* kBert =
    R"("model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
       "intermediate_size": 24, "max_position_embeddings": 24)";

/// A model without a head, its tokenizer and texts.
class Classification : public ::testing::Test {
 protected:
  Classification() {
    const std::string text = lines(300, 9);
    const std::string_view views[] = {text};
    const Tokenizer tokenizer = Tokenizer::train(views, {.vocab_size = 300, .threads = 1});
    vocab_size_ = std::to_string(tokenizer.vocab_size());
    make_base(kBert);
    tokenizer.save(temp_ / "base/tokenizer.json");
    write_file_atomic(temp_ / "train.tsv", "text\tlabel\n" + lines(240, 1));
    write_file_atomic(temp_ / "val.jsonl", lines(60, 2, true));
  }
  void make_base(const std::string& fields) {
    auto model = AutoModel::from_config("{\"vocab_size\": " + vocab_size_ + ", " + fields + "}");
    model->initialize(1);
    model->save_pretrained(temp_ / "base");
  }
  TrainResult train(const std::vector<std::string>& sets = {}, TrainOptions options = {},
                    int64_t stop_after = 0) {
    ConfigInputs inputs;
    inputs.path = "classify.toml";
    inputs.text = R"(
[model]
task = "sequence-classification"
[data]
seq = 16
[train]
steps = 60
batch = 8
virtual_shards = 2
eval_every = 20
[optim]
lr = 5e-3
warmup_steps = 3
)";
    inputs.sets = {"model.path=" + (temp_ / "base"), "data.text=" + (temp_ / "train.tsv"),
                   "data.val_text=" + (temp_ / "val.jsonl"), "train.out=" + (temp_ / "run")};
    inputs.sets.insert(inputs.sets.end(), sets.begin(), sets.end());
    int64_t done = 0;
    TrainCallbacks callbacks;
    callbacks.on_step = [&](const StepInfo& info) { done = info.step; };
    callbacks.on_eval = [&](const EvalInfo& info) { evals_.push_back(info); };
    callbacks.on_message = [&](const std::string& text) { messages_ += text + "\n"; };
    callbacks.should_stop = [&] {
      return stop_after > 0 && done >= stop_after ? StopSignal::Terminate : StopSignal::None;
    };
    return corten::train(load_config(inputs), options, callbacks);
  }
  std::string fault(const std::vector<std::string>& sets) {
    try {
      train(sets);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  /// What a run reports is what its model does with the texts, one by one.
  void expect_reported(const TrainResult& result) const {
    auto model = AutoModelForSequenceClassification::from_pretrained(result.model_dir);
    const Json config =
        Json::parse(read_file(join_path(result.model_dir, "config.json")), "config.json");
    EXPECT_EQ(config.at("id2label"), Json::object({{"0", "bad"}, {"1", "good"}}));
    const Tokenizer tokenizer = Tokenizer::from_file(join_path(result.model_dir, "tokenizer.json"));
    const LabelledText text = read_labelled_text({temp_ / "val.jsonl"});
    int right = 0;
    double loss = 0;
    for (size_t i = 0; i < text.texts.size(); ++i) {
      std::vector<int64_t> ids;
      for (int32_t id : tokenizer.encode_ids(text.texts[i])) ids.push_back(id);
      if (ids.size() > 16) ids.resize(16);
      const Tensor logits = (*model)({.ids = from_vector(ids, {1, std::ssize(ids)})});
      const int64_t label = text.labels[i] == "good";
      right += argmax(logits, 1).item<int64_t>() == label;
      loss += cross_entropy(logits, tensor({label})).item();
    }
    EXPECT_EQ(*result.val_accuracy, right / 60.0);
    EXPECT_NEAR(*result.val_loss, loss / 60, 1e-5);
  }

  TempFolder temp_;
  std::string vocab_size_;
  std::vector<EvalInfo> evals_;
  std::string messages_;
};

TEST_F(Classification, LearnsAndReportsItsAccuracy) {
  const TrainResult result = train();
  EXPECT_EQ(result.failure, "");
  EXPECT_NEAR(result.losses.front(), std::log(2), 0.3);
  ASSERT_TRUE(result.val_accuracy && result.val_loss);
  EXPECT_GT(*result.val_accuracy, 0.9);
  EXPECT_LT(*result.val_loss, 0.4);
  EXPECT_EQ(evals_.size(), 3u);
  EXPECT_EQ(evals_.back().accuracy, result.val_accuracy);
  // Tokens are those of the texts, not the padding.
  EXPECT_LT(result.tokens, 60 * 8 * 16);
  EXPECT_GT(result.tokens, 60 * 8 * 3);
  EXPECT_NE(messages_.find("new weights: "), std::string::npos);
  EXPECT_NE(messages_.find("classifier.weight"), std::string::npos);

  expect_reported(result);
}

// Of each family of blocks; the last token that is no padding is judged.
TEST_F(Classification, DecodersLearn) {
  for (const char* fields :
       {R"("model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24)",
        R"("model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1,
           "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24)"}) {
    SCOPED_TRACE(fields);
    messages_.clear();
    std::filesystem::remove_all(temp_ / "run");
    make_base(fields);
    const TrainResult result = train({"train.steps=90"});
    EXPECT_EQ(result.failure, "");
    EXPECT_NEAR(result.losses.front(), std::log(2), 0.3);
    EXPECT_GT(*result.val_accuracy, 0.9);
    EXPECT_NE(messages_.find("new weights: score.weight"), std::string::npos) << messages_;
    expect_reported(result);
    // Padding is the token that ends texts, as the model has no other.
    const Json config =
        Json::parse(read_file(join_path(result.model_dir, "config.json")), "config.json");
    EXPECT_EQ(config.at("pad_token_id"), Json(0));
  }
}

TEST_F(Classification, DecodersLearnWithAdapters) {
  make_base(R"("model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1,
               "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24)");
  const TrainResult result =
      train({"train.steps=180", "lora.r=4", "lora.alpha=16", "lora.target_modules=all-linear"});
  EXPECT_EQ(result.failure, "");
  EXPECT_GT(*result.val_accuracy, 0.85);
  const StateDict stored = read_state(join_path(result.model_dir, "adapter_model.safetensors"));
  EXPECT_TRUE(find_tensor(stored, "base_model.model.score.weight"));
  EXPECT_TRUE(find_tensor(stored, "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"));
  // The base's config names no classifier: the adapter does, whose head comes with it.
  EvalLogitsOptions options;
  options.model.model = result.model_dir;
  options.input_ids = {3, 4, 5};
  const EvalLogitsResult judged = eval_logits(options);
  EXPECT_EQ(judged.shape, (std::vector<int64_t>{1, 2}));
  EXPECT_FALSE(judged.hidden_state);
}

TEST_F(Classification, ResumesToTheBit) {
  const TrainResult whole = train({"train.steps=20", "data.val_text=[]", "data.val_fraction=0.2"});
  const std::vector<std::string> sets = {"train.steps=20", "data.val_text=[]",
                                         "data.val_fraction=0.2", "train.out=" + (temp_ / "two")};
  EXPECT_EQ(train(sets, {}, 7).stopped, StopSignal::Terminate);
  TrainOptions options;
  options.resume = true;
  const TrainResult rest = train(sets, options);
  EXPECT_EQ(rest.first_step, 8);
  EXPECT_EQ(rest.digest, whole.digest);
  EXPECT_EQ(rest.val_accuracy, whole.val_accuracy);
  EXPECT_EQ(read_file(join_path(rest.model_dir, "model.safetensors")),
            read_file(join_path(whole.model_dir, "model.safetensors")));
  // A finished run knows its accuracy.
  EXPECT_EQ(train(sets, options).val_accuracy, whole.val_accuracy);
}

TEST_F(Classification, EagerEqualsCompiled) {
  const TrainResult compiled = train({"train.steps=6"});
  const TrainResult eager =
      train({"train.steps=6", "train.compile=false", "train.out=" + (temp_ / "eager")});
  EXPECT_EQ(eager.digest, compiled.digest);
}

TEST_F(Classification, Mistakes) {
  const auto expect = [&](const std::vector<std::string>& sets, const std::string& part) {
    const std::string message = fault(sets);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  write_file_atomic(temp_ / "bad.tsv", "fine\tgood\nno tab here\n");
  expect({"data.text=" + (temp_ / "bad.tsv")}, "bad.tsv:2: expected a text, a tab and a label");
  write_file_atomic(temp_ / "bad.jsonl", "{\"text\": \"x\"}\n");
  expect({"data.text=" + (temp_ / "bad.jsonl")}, "bad.jsonl:1: expected an object");
  write_file_atomic(temp_ / "one.tsv", "fine\tgood\nwarm\tgood\n");
  expect({"data.text=" + (temp_ / "one.tsv")}, "all texts have the label \"good\"");
  write_file_atomic(temp_ / "val.tsv", "fine\tgod\n");
  expect({"data.val_text=" + (temp_ / "val.tsv")}, "val.tsv:1: the label \"god\" is none of the 2");
  write_file_atomic(temp_ / "text.txt", "fine\tgood\n");
  expect({"data.text=" + (temp_ / "text.txt")}, ".jsonl or .tsv");
  expect({"data.seq=64"}, "data.seq = 64 exceeds the model's 24 positions");
}

TEST(LabelledText, ColumnsAndClasses) {
  TempFolder temp;
  write_file_atomic(temp / "a.tsv", "label\ttext\r\n2\tx y\r\n0\tz\n\n");
  write_file_atomic(temp / "b.jsonl", "{\"label\": 1, \"text\": \"q\", \"id\": 7}\n");
  const LabelledText text = read_labelled_text({temp / "a.tsv", temp / "b.jsonl"});
  EXPECT_EQ(text.texts, (std::vector<std::string>{"x y", "z", "q"}));
  EXPECT_EQ(text.labels, (std::vector<std::string>{"2", "0", "1"}));
  EXPECT_EQ(text.places[1], temp / "a.tsv:3");
  using Names = std::vector<std::string>;
  const Json none = Json::object();
  EXPECT_EQ(class_names(text.labels, none), (Names{"LABEL_0", "LABEL_1", "LABEL_2"}));
  EXPECT_EQ(classes_of(text, class_names(text.labels, none)), (std::vector<int64_t>{2, 0, 1}));
  EXPECT_EQ(class_names({"b", "a", "b"}, none), (Names{"a", "b"}));
  // A model's own names and their order, where they cover the labels.
  const Json known = Json::parse(R"({"id2label": {"0": "b", "1": "a", "2": "c"}})", "config");
  EXPECT_EQ(class_names({"a", "b"}, known), (Names{"b", "a", "c"}));
  EXPECT_EQ(class_names({"a", "d"}, known), (Names{"a", "d"}));
  EXPECT_EQ(class_names({"0", "2"}, known), (Names{"b", "a", "c"}));
}

}  // namespace
}  // namespace corten
