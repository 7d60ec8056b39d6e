// eval-logits of encoders: the head is the one that config.json names.
#include <gtest/gtest.h>

#include "base/file.h"
#include "corten/encoders.h"
#include "corten/error.h"
#include "temp_folder.h"
#include "train/generate.h"

namespace corten {
namespace {

constexpr const char* kConfig =
    R"({"model_type": "bert", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 9,
        "id2label": {"0": "a", "1": "b", "2": "c"}})";

EvalLogitsOptions options(const testing::TempFolder& temp, std::vector<int64_t> labels = {}) {
  EvalLogitsOptions out;
  out.model.model = temp.path();
  out.input_ids = {5, 9, 2, 7};
  out.attention_mask = {1, 1, 1, 0};
  out.labels = std::move(labels);
  return out;
}
EncoderInput input() {
  return {.ids = tensor({5, 9, 2, 7}).reshape({1, 4}),
          .attention_mask = tensor({1, 1, 1, 0}).reshape({1, 4})};
}
void expect_usage(const EvalLogitsOptions& bad, const std::string& part) {
  try {
    eval_logits(bad);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(EvalEncoder, HiddenStatesWithoutAHead) {
  testing::TempFolder temp;
  auto model = AutoModel::from_config(kConfig);
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp.path());
  const EvalLogitsResult out = eval_logits(options(temp));
  EXPECT_TRUE(out.hidden_state);
  EXPECT_EQ(out.shape, (std::vector<int64_t>{1, 4, 8}));
  EXPECT_EQ(out.values, (*model)(input()).last_hidden_state.to_vector<float>());
  EXPECT_FALSE(out.loss.has_value());
  expect_usage(options(temp, {1}), "labels need a model with a head");
}

TEST(EvalEncoder, MaskedTokens) {
  testing::TempFolder temp;
  auto model = AutoModelForMaskedLM::from_config(kConfig);
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp.path());
  const EvalLogitsResult out = eval_logits(options(temp, {-100, 4, -100, -100}));
  EXPECT_EQ(out.shape, (std::vector<int64_t>{1, 4, 11}));
  const Tensor logits = (*model)(input());
  EXPECT_EQ(out.values, logits.to_vector<float>());
  ASSERT_TRUE(out.loss.has_value());
  EXPECT_NEAR(*out.loss, -log_softmax(logits, -1)[0][1][4].item(), 1e-5);
  expect_usage(options(temp, {1, 11, 2, 3}), "label 11 is outside the vocabulary of 11");
  expect_usage(options(temp, {1}), "1 numbers of labels do not fit 4");
}

TEST(EvalEncoder, Sequences) {
  testing::TempFolder temp;
  auto model = AutoModelForSequenceClassification::from_config(kConfig);
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp.path());
  const EvalLogitsResult out = eval_logits(options(temp, {2}));
  EXPECT_EQ(out.shape, (std::vector<int64_t>{1, 3}));
  const Tensor logits = (*model)(input());
  EXPECT_EQ(out.values, logits.to_vector<float>());
  ASSERT_TRUE(out.loss.has_value());
  EXPECT_NEAR(*out.loss, -log_softmax(logits, -1)[0][2].item(), 1e-5);
  expect_usage(options(temp, {3}), "label 3 is outside the 3 classes");
  // The config of a classifier over the weights of an encoder alone.
  testing::TempFolder headless;
  model->save_pretrained(headless.path());
  const std::string config = read_file(headless / "config.json");
  AutoModel::from_pretrained(temp.path())->save_pretrained(headless.path());
  write_file_atomic(headless / "config.json", config);
  expect_usage(options(headless), "holds no classifier.weight, classifier.bias");
}

}  // namespace
}  // namespace corten
