#include "train/generate.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "corten/corten.h"
#include "corten/models.h"
#include "corten/tokenizer.h"
#include "temp_folder.h"

namespace corten {
namespace {

/// A folder with an untrained GPT-2 and a tokenizer, made once.
class GenerateText : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    temp_ = new testing::TempFolder;
    std::string text;
    for (int i = 0; i < 300; ++i) text += "the cat number " + std::to_string(i % 17) + " sat; ";
    const std::string_view views[] = {text};
    const Tokenizer tokenizer = Tokenizer::train(views, {.vocab_size = 300, .threads = 1});
    GPT2Config config{.vocab_size = static_cast<int64_t>(tokenizer.vocab_size()),
                      .n_positions = 48,
                      .n_embd = 32,
                      .n_layer = 2,
                      .n_head = 4,
                      .initializer_range = 0.3};
    config.eos_token_id = {*tokenizer.eos_id()};
    auto model = make_gpt2(config);
    model->initialize(3);
    model->save_pretrained(temp_->path());
    tokenizer.save(*temp_ / "tokenizer.json");
  }
  static void TearDownTestSuite() { delete temp_; }

  static GenerateOptions options(const std::string& prompt) {
    GenerateOptions out;
    out.model.model = temp_->path();
    out.model.threads = 2;
    out.prompts = {prompt};
    out.settings.max_new_tokens = 20;
    return out;
  }
  static testing::TempFolder* temp_;
};
testing::TempFolder* GenerateText::temp_ = nullptr;

template <typename F>
void expect_usage(F&& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST_F(GenerateText, StreamsTheTextThatItReturns) {
  std::string streamed;
  const GenerateResult out = generate_text(options("the cat"), [&](const std::string& text) {
    streamed += text;
    return true;
  });
  EXPECT_EQ(streamed, out.sequences[0].text);
  EXPECT_EQ(out.sequences[0].stop_reason, "length");
  EXPECT_EQ(out.sequences[0].ids.size(), 20u);
  EXPECT_GT(out.prompt_tokens, 0);
  EXPECT_GT(out.decode_tokens_per_s, 0);
  const Tokenizer tokenizer = Tokenizer::from_file(*temp_ / "tokenizer.json");
  const std::vector<int64_t>& ids = out.sequences[0].ids;
  EXPECT_EQ(out.sequences[0].text, tokenizer.decode(std::vector<int32_t>(ids.begin(), ids.end())));
  EXPECT_EQ(generate_text(options("the cat")).sequences[0].text, out.sequences[0].text);
  GenerateOptions other = options("the cat");
  other.seed = 2;
  EXPECT_NE(generate_text(other).sequences[0].text, out.sequences[0].text);
}

TEST_F(GenerateText, EndsAtStopTexts) {
  const std::string whole = generate_text(options("the cat")).sequences[0].text;
  ASSERT_GT(whole.size(), 8u);
  GenerateOptions with_stop = options("the cat");
  with_stop.stop = {"never found", whole.substr(4, 3)};
  std::string streamed;
  const GenerateResult out = generate_text(with_stop, [&](const std::string& text) {
    streamed += text;
    return true;
  });
  EXPECT_EQ(out.sequences[0].text, whole.substr(0, whole.find(whole.substr(4, 3))));
  EXPECT_EQ(streamed, out.sequences[0].text);
  EXPECT_EQ(out.sequences[0].stop_reason, "stop");
}

TEST_F(GenerateText, TheCallbackCanEndIt) {
  int calls = 0;
  const GenerateResult out =
      generate_text(options("the cat"), [&](const std::string&) { return ++calls < 2; });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(out.sequences[0].stop_reason, "interrupted");
}

TEST_F(GenerateText, AnEmptyPromptBeginsAText) {
  EXPECT_EQ(generate_text(options("")).prompt_tokens, 1);
}

TEST_F(GenerateText, SeveralPromptsAndSequences) {
  GenerateOptions both = options("the cat");
  both.prompts = {"the cat", "number 3 sat; the"};
  both.settings.num_return_sequences = 2;
  const GenerateResult out = generate_text(both);
  ASSERT_EQ(out.sequences.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(out.sequences[i].prompt, static_cast<int64_t>(i / 2));
  EXPECT_EQ(out.sequences[0].text, generate_text(options("the cat")).sequences[0].text);
  EXPECT_NE(out.sequences[0].text, out.sequences[1].text);
  expect_usage([&] { generate_text(both, [](const std::string&) { return true; }); },
               "num_return_sequences 2");
}

TEST_F(GenerateText, BeamsEndAtStopTextsToo) {
  GenerateOptions beams = options("the cat");
  beams.settings.num_beams = 3;
  const GenerateResult whole = generate_text(beams);
  ASSERT_TRUE(whole.sequences[0].score);
  EXPECT_EQ(generate_text(beams).sequences[0].text, whole.sequences[0].text);
  const std::string stop = whole.sequences[0].text.substr(0, 2);
  beams.stop = {stop};
  beams.settings.length_penalty = -1;
  const GenerateResult out = generate_text(beams);
  EXPECT_EQ(out.sequences[0].text.find(stop), std::string::npos) << out.sequences[0].text;
}

TEST_F(GenerateText, TheModelsSettingsAreTheDefault) {
  testing::TempFolder copy;
  std::filesystem::copy(temp_->path(), copy.path(), std::filesystem::copy_options::recursive);
  write_file_atomic(copy / "generation_config.json",
                    R"({"do_sample": false, "max_new_tokens": 7, "stop_strings": "never found"})");
  GenerateOptions stored = options("the cat");
  stored.model.model = copy.path();
  stored.settings = {};
  const GenerateResult greedy = generate_text(stored);
  EXPECT_EQ(greedy.sequences[0].ids.size(), 7u);
  stored.seed = 2;
  EXPECT_EQ(generate_text(stored).sequences[0].ids, greedy.sequences[0].ids);
  stored.settings.temperature = 2;
  EXPECT_NE(generate_text(stored).sequences[0].ids, greedy.sequences[0].ids);
  stored.settings = {};
  stored.settings.max_new_tokens = 3;
  EXPECT_EQ(generate_text(stored).sequences[0].ids.size(), 3u);
}

TEST_F(GenerateText, ADraftModelChangesNothing) {
  GenerateOptions greedy = options("the cat");
  greedy.settings.temperature = 0;
  const GenerateResult expected = generate_text(greedy);
  greedy.draft_model = temp_->path();
  const GenerateResult out = generate_text(greedy);
  EXPECT_EQ(out.sequences[0].text, expected.sequences[0].text);
  EXPECT_GT(out.accepted_drafts.value_or(0), 0.5);
}

TEST_F(GenerateText, TheTokenizersEndIsTheLastResort) {
  GenerateOptions greedy = options("the cat");
  greedy.settings.temperature = 0;
  const std::vector<int64_t> plain = generate_text(greedy).sequences[0].ids;
  const Tokenizer tokenizer = Tokenizer::from_file(*temp_ / "tokenizer.json");
  testing::TempFolder other;
  std::filesystem::copy(temp_->path(), other.path(),
                        std::filesystem::copy_options::recursive |
                            std::filesystem::copy_options::overwrite_existing);
  greedy.model.model = other.path();
  // A token that is written is made the one that ends texts, by the tokenizer alone.
  const std::string token = tokenizer.id_to_token(static_cast<int32_t>(plain[5])).value();
  write_file_atomic(other / "tokenizer_config.json",
                    Json::object({{"eos_token", token}}).dump());
  EXPECT_EQ(generate_text(greedy).sequences[0].ids, plain) << "the config decides";
  for (const char* file : {"config.json", "generation_config.json"}) {
    Json json = Json::parse(read_file(other / file), file);
    json.set("eos_token_id", Json());
    write_file_atomic(other / file, json.dump());
  }
  const GeneratedText ended = generate_text(greedy).sequences[0];
  EXPECT_EQ(ended.stop_reason, "eos");
  EXPECT_LE(ended.ids.size(), 6u);
}

TEST_F(GenerateText, BadWordsAreNotWritten) {
  GenerateOptions greedy = options("the cat");
  greedy.settings.temperature = 0;
  const Tokenizer tokenizer = Tokenizer::from_file(*temp_ / "tokenizer.json");
  const auto first = static_cast<int32_t>(generate_text(greedy).sequences[0].ids[0]);
  greedy.bad_words = {tokenizer.decode(std::vector<int32_t>{first})};
  EXPECT_NE(generate_text(greedy).sequences[0].ids[0], first);
}

TEST_F(GenerateText, ReadsSixteenBitWeights) {
  GenerateOptions half = options("the cat");
  half.model.dtype = DType::bf16;
  EXPECT_EQ(generate_text(half).sequences[0].ids.size(), 20u);
}

TEST_F(GenerateText, SaysWhatIsWrong) {
  GenerateOptions bad = options("the cat");
  bad.model.model = *temp_ / "nowhere";
  expect_usage([&] { generate_text(bad); }, "nowhere");
  bad = options("the cat");
  bad.model.device = "null";
  expect_usage([&] { generate_text(bad); }, "null");
  bad = options(std::string(400, 'x'));
  expect_usage([&] { generate_text(bad); }, "48 positions");
  bad = options("the cat");
  bad.settings.temperature = -2;
  expect_usage([&] { generate_text(bad); }, "-2");
  testing::TempFolder no_tokenizer;
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(*temp_ / file, no_tokenizer / file);
  bad = options("the cat");
  bad.model.model = no_tokenizer.path();
  expect_usage([&] { generate_text(bad); }, "tokenizer.json");
}

TEST_F(GenerateText, LogitsAreTheModels) {
  EvalLogitsOptions eval;
  eval.model.model = temp_->path();
  eval.input_ids = {5, 9, 2, 7};
  eval.labels = {5, 9, -100, 7};
  const EvalLogitsResult out = eval_logits(eval);
  auto model = load_model(temp_->path());
  const Tensor ids = from_vector(eval.input_ids, {1, 4});
  EXPECT_EQ(out.values, (*model)(ids).to_vector<float>());
  EXPECT_EQ(out.shape, (Shape{1, 4, model->vocab_size()}));
  EXPECT_FALSE(out.hidden_state);
  // Position 0 predicts 9 and position 2 predicts 7; what is labelled -100 does not count.
  const Tensor each = model->loss(ids, tensor({9, 2, 7, 0}).reshape({1, 4}), Reduction::none);
  const auto losses = each.to_vector<double>();
  ASSERT_TRUE(out.loss.has_value());
  EXPECT_NEAR(*out.loss, (losses[0] + losses[2]) / 2, 1e-5);
  eval.labels.clear();
  EXPECT_FALSE(eval_logits(eval).loss.has_value());
  eval.attention_mask = {0, 1, 1, 1};
  EXPECT_NE(eval_logits(eval).values, out.values);

  eval.attention_mask = {1, 1};
  expect_usage([&] { eval_logits(eval); }, "2 numbers of the attention mask");
  eval.attention_mask.clear();
  eval.labels = {1, 2, 3, 100000};
  expect_usage([&] { eval_logits(eval); }, "label 100000");
  eval.labels.clear();
  eval.input_ids = {-1};
  expect_usage([&] { eval_logits(eval); }, "token id -1 is outside the vocabulary of 288");
  eval.input_ids = {1, 288};
  expect_usage([&] { eval_logits(eval); }, "token id 288 is outside the vocabulary of 288");
  eval.input_ids.clear();
  expect_usage([&] { eval_logits(eval); }, "no input ids");
  eval.input_ids = {1};
  eval.decoder_input_ids = {1};
  expect_usage([&] { eval_logits(eval); }, "encoder-decoder");
}

}  // namespace
}  // namespace corten
