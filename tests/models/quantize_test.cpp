// Quantised models: what is replaced, how far logits move, folders, wrong input.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "corten/error.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "corten/quantize.h"
#include "corten/random.h"
#include "temp_folder.h"

namespace corten {
using testing::TempFolder;
namespace {

constexpr const char* kGpt2 =
    R"({"model_type": "gpt2", "vocab_size": 203, "n_positions": 64, "n_embd": 96, "n_layer": 3,
  "n_head": 4, "initializer_range": 0.08})";
constexpr const char* kLlama =
    R"({"model_type": "llama", "vocab_size": 150, "hidden_size": 80, "intermediate_size": 208,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
  "initializer_range": 0.08, "tie_word_embeddings": false})";

std::unique_ptr<CausalLM> random_model(const std::string& config, DType dtype = DType::f32) {
  auto model = make_model(config);
  model->initialize(3);
  if (dtype != DType::f32) model->to(dtype);
  model->eval();
  return model;
}

Tensor some_ids(int64_t vocab) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 48; ++i) ids.push_back(i * 37 % vocab);
  return from_vector(ids, {2, 24});
}

std::vector<float> logits(CausalLM& model) {
  const NoGradGuard no_grad;
  return model(some_ids(model.vocab_size())).to(DType::f32).to_vector<float>();
}

/// Mean over positions of the KL divergence of softmax(b) from softmax(a), nats.
double divergence(const std::vector<float>& a, const std::vector<float>& b, size_t vocab) {
  double total = 0;
  for (size_t row = 0; row < a.size(); row += vocab) {
    double za = 0, zb = 0;
    for (size_t i = row; i < row + vocab; ++i)
      za += std::exp(double{a[i]}), zb += std::exp(double{b[i]});
    for (size_t i = row; i < row + vocab; ++i)
      total += std::exp(double{a[i]}) / za * ((a[i] - std::log(za)) - (b[i] - std::log(zb)));
  }
  return total / static_cast<double>(a.size() / vocab);
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Usage) << e.what();
    return e.what();
  }
  return "no error";
}

class Models : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, Models, ::testing::Values(kGpt2, kLlama),
                         [](const auto& info) { return info.index == 0 ? "gpt2" : "llama"; });

// The bounds are twice what was seen; a model without its weights' values, or with wrong scales, is
// at 1 nat and more.
TEST_P(Models, LogitsMoveLittle) {
  auto original = random_model(GetParam());
  const std::vector<float> exact = logits(*original);
  const auto vocab = static_cast<size_t>(original->vocab_size());
  for (auto [how, bound] :
       {std::pair{load_in_8bit(), 1.2e-3}, {load_in_4bit(32), 6e-2}, {load_in_4bit(128), 9e-2}}) {
    auto model = random_model(GetParam());
    quantize_model(*model, how);
    const double kl = divergence(exact, logits(*model), vocab);
    EXPECT_LT(kl, bound) << how.bits;
    EXPECT_GT(kl, 1e-7) << how.bits;
  }
}

TEST_P(Models, CompiledAndCachedHaveTheBitsOfEager) {
  for (const Quantization& how : {load_in_8bit(), load_in_4bit()}) {
    auto model = random_model(GetParam(), DType::bf16);
    quantize_model(*model, how);
    const std::vector<int64_t> ids = some_ids(model->vocab_size()).to_vector<int64_t>();
    const std::vector<int64_t> prompt(ids.begin(), ids.begin() + 10);
    std::vector<std::vector<float>> results[2];
    for (bool compiled : {false, true}) {
      DecodeSession session(*model, 1, 24, compiled);
      results[compiled].push_back(session.prefill(prompt));
      for (size_t t = 10; t < 20; ++t) results[compiled].push_back(session.decode({ids[t]}));
    }
    EXPECT_EQ(results[0], results[1]) << how.bits;
    const NoGradGuard no_grad;
    const Tensor whole =
        (*model)(from_vector(std::vector<int64_t>(ids.begin(), ids.begin() + 20), {1, 20}))
            .to(DType::f32);
    for (int64_t t = 9; t < 20; ++t)
      EXPECT_EQ(whole.select(1, t).to_vector<float>(), results[1][static_cast<size_t>(t - 9)])
          << how.bits << " bits, position " << t;
  }
}

TEST_P(Models, FoldersRoundTrip) {
  for (const Quantization& how : {load_in_8bit(4), load_in_4bit(64)}) {
    TempFolder temp;
    const std::string folder = temp / "quantised", original = temp / "original";
    auto model = random_model(GetParam(), DType::bf16);
    model->save_pretrained(original);
    quantize_model(*model, how);
    const std::vector<float> expected = logits(*model);
    model->save_pretrained(folder);
    auto loaded = load_model(folder);
    EXPECT_EQ(loaded->dtype(), DType::bf16);
    ASSERT_TRUE(loaded->quantization().has_value());
    EXPECT_EQ(*loaded->quantization(), *model->quantization());
    EXPECT_EQ(logits(*loaded), expected);
    // Quantised as it is read: the same.
    auto read = load_model(original, LoadOptions{.load_in_8bit = how.bits == 8,
                                                 .load_in_4bit = how.bits == 4,
                                                 .group_size = how.group_size,
                                                 .llm_int8_threshold = how.outlier_threshold});
    EXPECT_EQ(logits(*read), expected);
    EXPECT_NE(
        message([&] { load_model(folder, LoadOptions{.load_in_8bit = true}); }).find("already"),
        std::string::npos);
    EXPECT_NE(message([&] { quantize_model(*loaded, how); }).find("already"), std::string::npos);
    loaded->save_pretrained(temp / "again");
    EXPECT_EQ(read_file(temp / "again/model.safetensors"),
              read_file(folder + "/model.safetensors"));
    EXPECT_EQ(read_file(temp / "again/config.json"), read_file(folder + "/config.json"));
  }
}

TEST_P(Models, LinearLayersEmbeddingsAndHeadAreReplaced) {
  auto model = random_model(GetParam(), DType::bf16);
  const StateDict before = model->state_dict();
  quantize_model(*model, load_in_4bit());
  int64_t float_matrices = 0;
  for (const auto& [name, tensor] : model->state_dict()) {
    if (tensor.dim() == 2 && is_floating(tensor.dtype()) && !name.ends_with("weight_scale")) {
      ++float_matrices;
      EXPECT_EQ(name, "transformer.wpe.weight");
    }
    const bool fine = name.find("wte") != std::string::npos ||
                      name.find("embed_tokens") != std::string::npos ||
                      name.find("lm_head") != std::string::npos;
    if (name.ends_with("weight_scale"))
      EXPECT_EQ(tensor.dtype(), fine ? DType::f32 : DType::f16) << name;
  }
  EXPECT_EQ(float_matrices, GetParam() == kGpt2 ? 1 : 0);
  EXPECT_EQ(model->dtype(), DType::bf16);
}

TEST(QuantizeModel, WrongInput) {
  auto model = random_model(kGpt2);
  EXPECT_NE(message([&] { quantize_model(*model, {.bits = 3}); }).find("3 bits"),
            std::string::npos);
  EXPECT_NE(message([&] { quantize_model(*model, {.bits = 4, .group_size = 33}); }).find("33"),
            std::string::npos);
  EXPECT_NE(
      message([&] { quantize_model(*model, {.bits = 8, .outlier_threshold = 0.5}); }).find("0.5"),
      std::string::npos);
  EXPECT_FALSE(model->quantization().has_value());
  EXPECT_NE(message([&] {
              LoadOptions{.load_in_8bit = true, .load_in_4bit = true}.quantization();
            }).find("exclude"),
            std::string::npos);

  TempFolder temp;
  const std::string folder = temp / "q";
  quantize_model(*model, load_in_8bit());
  model->save_pretrained(folder);
  const std::string config = read_file(folder + "/config.json");
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json json = Json::parse(config, "config.json");
    change(json);
    write_file_atomic(folder + "/config.json", json.dump());
    return message([&] { load_model(folder); });
  };
  const auto field = [&](const char* key, Json value) {
    return with([&](Json& json) {
      Json q = *json.find("quantization_config");
      q.set(key, std::move(value));
      json.set("quantization_config", q);
    });
  };
  EXPECT_NE(field("quant_method", "gptq").find("\"gptq\""), std::string::npos);
  EXPECT_NE(field("bits", 3).find("3 bits"), std::string::npos);
  EXPECT_NE(field("layout", "rows").find("layout"), std::string::npos);
  EXPECT_NE(field("outlier_threshold", -1).find("-1"), std::string::npos);
  // Files and config that do not belong together.
  const auto holds = [](const std::string& text, const char* part) {
    return ::testing::AssertionResult(text.find(part) != text.npos) << text;
  };
  EXPECT_TRUE(holds(with([](Json& json) { json.erase("quantization_config"); }), "weight_scale"));
  EXPECT_TRUE(holds(with([](Json& json) {
                      json.set("quantization_config", Json::object({{"quant_method", "corten"},
                                                                    {"bits", 4},
                                                                    {"group_size", 32},
                                                                    {"head_bits", 8},
                                                                    {"outlier_threshold", 6.0},
                                                                    {"layout", "panels-of-16"}}));
                    }),
                    "different shapes"));
}

TEST(QuantizedEmbedding, LooksUpRowsAndChecksIds) {
  nn::Embedding table(21, 70), copy(21, 70);
  table.initialize(1);
  copy.initialize(1);
  copy.quantize(load_in_8bit());
  const Tensor ids = from_vector(std::vector<int64_t>{0, 20, 7, 16, 15, 7}, {2, 3});
  const std::vector<float> exact = table(ids).to_vector<float>(),
                           got = copy(ids).to_vector<float>();
  const std::vector<float> all = dequantize(copy.quantized()).to_vector<float>();
  ASSERT_EQ(exact.size(), got.size());
  const int64_t rows[] = {0, 20, 7, 16, 15, 7};
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i], all[static_cast<size_t>(rows[i / 70]) * 70 + i % 70]);
    EXPECT_NEAR(got[i], exact[i], 4.5 / 254);
  }
  // 21 .. 31 pad the last panel.
  for (int64_t bad : {21, 31, 32, -1})
    EXPECT_NE(message([&] {
                copy(from_vector(std::vector<int64_t>{bad}, {1})).to_vector<float>();
              }).find(std::to_string(bad)),
              std::string::npos);
}

}  // namespace
}  // namespace corten
