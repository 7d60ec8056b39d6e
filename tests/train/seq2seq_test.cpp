// eval-logits and generate of encoder-decoders.
#include "corten/seq2seq.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "corten/tokenizer.h"
#include "temp_folder.h"
#include "train/generate.h"

namespace corten {
namespace {

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

std::string config_of(int64_t vocab_size) {
  return R"({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 6, "num_layers": 1, "num_heads": 2,
             "decoder_start_token_id": 0, "vocab_size": )" +
         std::to_string(vocab_size) + "}";
}

TEST(EvalSeq2Seq, LabelsAreShiftedUnlessTheDecoderIsTold) {
  testing::TempFolder temp;
  auto model = AutoModelForSeq2SeqLM::from_config(config_of(11));
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp.path());
  EvalLogitsOptions options;
  options.model.model = temp.path();
  options.input_ids = {5, 9, 2, 7};
  options.attention_mask = {1, 1, 1, 0};
  options.labels = {4, -100, 6};
  const EvalLogitsResult shifted = eval_logits(options);
  EXPECT_EQ(shifted.shape, (std::vector<int64_t>{1, 3, 11}));
  options.decoder_input_ids = {0, 4, 0};
  const EvalLogitsResult told = eval_logits(options);
  EXPECT_EQ(told.values, shifted.values);
  EXPECT_EQ(told.loss, shifted.loss);
  const Tensor ids = tensor({5, 9, 2, 7}).reshape({1, 4}),
               mask = tensor({1, 1, 1, 0}).reshape({1, 4});
  const Tensor labels = tensor({4, -100, 6}).reshape({1, 3});
  EXPECT_EQ(told.loss, model->loss({.ids = ids, .attention_mask = mask}, labels).item<double>());
  options.decoder_input_ids = {1, 4, 0};
  EXPECT_NE(eval_logits(options).loss, shifted.loss);

  options.labels = {4};
  expect_usage([&] { eval_logits(options); }, "1 labels do not fit 3 decoder input ids");
  options.labels = {4, 11, 2};
  expect_usage([&] { eval_logits(options); }, "label 11 is outside the vocabulary of 11");
  options.labels = {};
  EXPECT_FALSE(eval_logits(options).loss.has_value());
  options.decoder_input_ids = {};
  expect_usage([&] { eval_logits(options); }, "needs decoder input ids or labels");
}

TEST(EvalSeq2Seq, StatesWithoutAHead) {
  testing::TempFolder temp;
  auto model = AutoSeq2SeqModel::from_config(config_of(11));
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp.path());
  EvalLogitsOptions options;
  options.model.model = temp.path();
  options.input_ids = {5, 9, 2};
  expect_usage([&] { eval_logits(options); }, "needs decoder input ids");
  options.decoder_input_ids = {3, 1};
  const EvalLogitsResult out = eval_logits(options);
  EXPECT_TRUE(out.hidden_state);
  const Tensor expected = model->hidden_states(
      {.ids = tensor({5, 9, 2}).reshape({1, 3}), .decoder_ids = tensor({3, 1}).reshape({1, 2})});
  EXPECT_EQ(out.shape, expected.shape());
  EXPECT_EQ(out.values, expected.to_vector<float>());
}

TEST(GenerateSeq2Seq, TextsOfInputs) {
  testing::TempFolder temp;
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the cat number " + std::to_string(i % 17) + " sat; ";
  const std::string_view views[] = {text};
  const Tokenizer tokenizer = Tokenizer::train(views, {.vocab_size = 300, .threads = 1});
  tokenizer.save(temp / "tokenizer.json");
  auto model = AutoModelForSeq2SeqLM::from_config(config_of(tokenizer.vocab_size()));
  model->initialize(1);
  model->save_pretrained(temp.path());
  GenerateOptions options;
  options.model.model = temp.path();
  options.prompts = {"the cat number 3", "sat"};
  options.settings.max_new_tokens = 9;
  options.settings.temperature = 0;
  const GenerateResult out = generate_text(options);
  ASSERT_EQ(out.sequences.size(), 2u);
  std::vector<std::vector<int64_t>> inputs;
  for (const std::string& prompt : options.prompts) {
    const std::vector<int32_t> ids = tokenizer.encode_ids(prompt);
    inputs.emplace_back(ids.begin(), ids.end());
  }
  const Generation expected =
      generate(*model, inputs, {.max_new_tokens = 9, .sampling = {.temperature = 0}});
  for (size_t row = 0; row < 2; ++row) EXPECT_EQ(out.sequences[row].ids, expected.ids[row]);
  EXPECT_EQ(out.prompt_tokens, expected.prompt_tokens);

  options.settings.num_beams = 3;
  EXPECT_TRUE(generate_text(options).sequences[0].score.has_value());
  options.settings.num_beams.reset();
  options.draft_model = temp.path();
  options.prompts.pop_back();
  expect_usage([&] { generate_text(options); }, "a draft model works with a decoder");
}

}  // namespace
}  // namespace corten
