// eval-logits of image models: images come from a file.
#include <gtest/gtest.h>

#include "base/file.h"
#include "corten/error.h"
#include "corten/random.h"
#include "corten/vision.h"
#include "io/tensor_bytes.h"
#include "temp_folder.h"
#include "train/generate.h"

namespace corten {
namespace {

constexpr const char* kConfig =
    R"({"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 6, "image_size": 8, "patch_size": 4,
        "id2label": {"0": "a", "1": "b", "2": "c"}})";

Tensor pixels() {
  return normal_init({2, 3, 8, 8}, 0, 1, 1, "pixels");
}
EvalLogitsOptions options(const testing::TempFolder& temp, std::vector<int64_t> labels = {}) {
  write_state(temp / "pixels.safetensors",
              {{"other", ones({1})}, {"pixel_values", pixels()}});
  EvalLogitsOptions out;
  out.model.model = temp / "model";
  out.pixel_values = temp / "pixels.safetensors";
  out.labels = std::move(labels);
  return out;
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

TEST(EvalImage, LogitsAndLoss) {
  testing::TempFolder temp;
  auto model = AutoModelForImageClassification::from_config(kConfig);
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp / "model");
  const EvalLogitsResult out = eval_logits(options(temp, {2, 0}));
  EXPECT_FALSE(out.hidden_state);
  EXPECT_EQ(out.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(out.values, (*model)(pixels()).to_vector<float>());
  EXPECT_FLOAT_EQ(static_cast<float>(*out.loss), model->loss(pixels(), tensor({2, 0})).item());
  // One image is a batch of one, and the only tensor of a file needs no name.
  EvalLogitsOptions one = options(temp);
  write_state(one.pixel_values, {{"x", pixels()[1]}});
  EXPECT_EQ(eval_logits(one).shape, (std::vector<int64_t>{1, 3}));

  expect_usage(options(temp, {2}), "1 labels do not fit 2 images");
  expect_usage(options(temp, {2, 3}), "label 3 is outside the 3 classes");
  EvalLogitsOptions ids = options(temp);
  ids.input_ids = {1};
  expect_usage(ids, "reads pixel values and no ids");
  ids.pixel_values.clear();
  expect_usage(ids, "is an image model and needs pixel values");
  EvalLogitsOptions unnamed = options(temp);
  write_state(unnamed.pixel_values, {{"a", pixels()}, {"b", pixels()}});
  expect_usage(unnamed, "holds no \"pixel_values\" among its 2 tensors");
  EvalLogitsOptions small = options(temp);
  write_state(small.pixel_values, {{"pixel_values", zeros({1, 3, 8, 4})}});
  expect_usage(small, "images of 8 x 4 pixels");
  small.interpolate_pos_encoding = true;
  model->set_interpolate_pos_encoding(true);
  EXPECT_EQ(eval_logits(small).values, (*model)(zeros({1, 3, 8, 4})).to_vector<float>());
  small.pixel_values.clear();
  small.input_ids = {1};
  expect_usage(small, "interpolated positions are for the pixel values");
}

TEST(EvalImage, HiddenStatesWithoutAHead) {
  testing::TempFolder temp;
  auto model = AutoImageModel::from_config(kConfig);
  model->initialize(1);
  model->eval();
  model->save_pretrained(temp / "model");
  const EvalLogitsResult out = eval_logits(options(temp));
  EXPECT_TRUE(out.hidden_state);
  EXPECT_EQ(out.shape, (std::vector<int64_t>{2, 5, 8}));
  EXPECT_EQ(out.values, (*model)(pixels()).last_hidden_state.to_vector<float>());
  expect_usage(options(temp, {1, 1}), "labels need a model with a head");
}

}  // namespace
}  // namespace corten
