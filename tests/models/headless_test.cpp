// Decoders without the head that continues text against transformers (make_headless_goldens.py).
#include "base/file.h"
#include "base/json.h"
#include "corten/auto.h"
#include "corten/safetensors.h"
#include "golden.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::difference;
using testing::expect_contains;
using testing::expect_gradients;
using testing::expect_near;
using testing::Golden;
using testing::largest;
using testing::same_bits;
using testing::TempFolder;
using testing::usage_message;
using Texts = std::vector<std::string>;

const Texts kBase = {"gpt2", "llama", "mistral_lm", "qwen2", "qwen3", "gemma2"};
const Texts kClasses = {"gpt2_regression", "gpt2_unpadded",    "llama_classes", "mistral_multi",
                        "qwen2_classes",   "qwen3_regression", "gemma2_classes"};

std::string folder(const std::string& name) {
  return testing::folder("headless/" + name);
}
Golden golden_of(const std::string& name) {
  return Golden("headless/" + name);
}
EncoderInput input_of(const Golden& golden) {
  return {.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
}
/// States [B, T, C], zeros where there is padding: its own mean nothing.
Tensor visible(const Tensor& x_BTC, const Golden& golden) {
  return x_BTC * golden["attention_mask"].to(DType::f32).unsqueeze(2);
}
void copy_folder(const std::string& name, const TempFolder& to,
                 const std::function<void(Json&)>& change_config,
                 const std::function<void(StateDict&)>& change_state) {
  Json config = Json::parse(read_file(folder(name) + "/config.json"), "config.json");
  change_config(config);
  StateDict state = read_state(folder(name) + "/model.safetensors");
  change_state(state);
  write_file_atomic(to / "config.json", config.dump());
  write_state(to / "model.safetensors", state);
}
const auto kKeep = [](Json&) {};
const auto kSame = [](StateDict&) {};

TEST(HeadlessDecoders, StatesAndGradientsAsTransformers) {
  for (const std::string& name : kBase) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModel::from_pretrained(folder(name));
    EXPECT_FALSE(model->is_training());
    EXPECT_TRUE(model->load_report().initialized.empty());
    EXPECT_EQ(model->load_report().unused,
              name == "mistral_lm" ? Texts{"lm_head.weight"} : Texts());
    EncoderInput input = input_of(golden);
    input.output_hidden_states = true;
    const EncoderOutput out = (*model)(input);
    ASSERT_EQ(std::ssize(out.hidden_states), golden["hidden_states"].size(0));
    for (size_t i = 0; i < out.hidden_states.size(); ++i)
      expect_near(visible(out.hidden_states[i], golden),
                  visible(golden["hidden_states"][static_cast<int64_t>(i)], golden));
    EXPECT_TRUE(same_bits(out.last_hidden_state, out.hidden_states.back()));
    EXPECT_FALSE(out.pooler_output.defined());
    expect_near((*model)({.ids = golden["input_ids"]}).last_hidden_state, golden["plain"]);
    expect_near((*model)({.ids = golden["input_ids"], .position_ids = golden["position_ids"]})
                    .last_hidden_state,
                golden["placed"]);
    Tensor loss = sum(out.last_hidden_state * golden["weights"]);
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-4);
    loss.backward();
    expect_gradients(*model, golden);
  }
}

TEST(HeadlessDecoders, ClassesAndLossesAsTransformers) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModelForSequenceClassification::from_pretrained(folder(name));
    EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
    expect_near((*model)(input_of(golden)), golden["logits"]);
    expect_near((*model)({.ids = golden["input_ids"]}), golden["plain"]);
    Tensor loss = model->loss(input_of(golden), golden["labels"]);
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-5 * (1 + std::abs(golden["loss"].item())));
    loss.backward();
    expect_gradients(*model, golden);
  }
}

// A batch with padding on both sides: labels are shifted, -100 does not count.
TEST(HeadlessDecoders, LossOfPaddedTextsAsTransformers) {
  const Golden golden = golden_of("mistral_lm");
  auto model = load_model(folder("mistral_lm"));
  const Tensor& ids = golden["input_ids"];
  const double got = model->loss(ids, golden["labels"], golden["attention_mask"]).item();
  EXPECT_NEAR(got, golden["lm_loss"].item(), 1e-5);
  EXPECT_GT(std::abs(model->loss(ids, golden["labels"], Tensor()).item() - got), 1e-3);
  EXPECT_GT(std::abs(model->loss(ids, golden["labels"]).item() - got), 1e-3);
  expect_contains(usage_message([&] { model->loss(ids, ids.slice(1, 1, 4), Tensor()); }),
                  "do not fit the ids");
}

TEST(HeadlessDecoders, SavedFilesAreTheSame) {
  for (const Texts& names : {kBase, kClasses})
    for (const std::string& name : names) {
      if (name == "mistral_lm") continue;
      SCOPED_TRACE(name);
      TempFolder temp;
      if (&names == &kBase || std::ranges::find(kBase, name) != kBase.end())
        AutoModel::from_pretrained(folder(name))->save_pretrained(temp.path());
      else
        AutoModelForSequenceClassification::from_pretrained(folder(name))
            ->save_pretrained(temp.path());
      EXPECT_EQ(read_file(temp / "model.safetensors"),
                read_file(folder(name) + "/model.safetensors"));
      const Json before = Json::parse(read_file(folder(name) + "/config.json"), "before");
      const Json after = Json::parse(read_file(temp / "config.json"), "after");
      for (const auto& [key, value] : before.items()) {
        ASSERT_TRUE(after.contains(key)) << key;
        EXPECT_EQ(after.at(key).dump(), value.dump()) << key;
      }
    }
}

// What every class reads of what another one wrote.
TEST(HeadlessDecoders, HeadsMayBeMissing) {
  const Golden golden = golden_of("llama");
  auto lm = load_model(folder("llama"));
  EXPECT_EQ(lm->load_report().initialized, Texts{"lm_head.weight"});
  const Tensor logits = (*lm)(golden["input_ids"]);
  EXPECT_TRUE(same_bits(logits, (*load_model(folder("llama")))(golden["input_ids"])));
  // Drawn as transformers draws it: normally, with the config's initializer_range.
  const Tensor head = find_tensor(lm->state_dict(), "lm_head.weight")->clone();
  EXPECT_NEAR(std::sqrt(square(head).mean().item()), 0.02, 0.004);
  lm->load_weights(folder("llama"), 5);
  EXPECT_GT(difference(*find_tensor(lm->state_dict(), "lm_head.weight"), head), 0.01);
  TempFolder temp;
  lm->save_pretrained(temp.path());
  EXPECT_TRUE(load_model(temp.path())->load_report().initialized.empty());

  EXPECT_TRUE(load_model(folder("gpt2"))->load_report().initialized.empty());  // tied
  auto other = load_model(folder("llama_classes"));
  EXPECT_EQ(other->load_report().initialized, Texts{"lm_head.weight"});
  EXPECT_EQ(other->load_report().unused, Texts{"score.weight"});

  auto classifier =
      AutoModelForSequenceClassification::from_pretrained(folder("llama"), {.num_labels = 5});
  EXPECT_EQ(classifier->load_report().initialized, Texts{"score.weight"});
  EXPECT_EQ((*classifier)(input_of(golden)).shape(), (Shape{3, 5}));
  const Json config = Json::parse(classifier->config_json(), "config.json");
  EXPECT_EQ(config.at("id2label").size(), 5u);
  EXPECT_EQ(config.at("architectures").at(0).as_string(), "LlamaForSequenceClassification");
  EXPECT_THROW(AutoModelForSequenceClassification::from_pretrained(folder("llama_classes"),
                                                                   {.num_labels = 5}),
               Error);
}

TEST(HeadlessDecoders, BodiesMayNotBeMissing) {
  for (const char* name : {"llama", "llama_classes"}) {
    TempFolder temp;
    copy_folder(name, temp, kKeep, [](StateDict& state) {
      std::erase_if(state, [](const auto& entry) {
        return entry.first.ends_with("layers.1.mlp.up_proj.weight");
      });
    });
    const std::string text = usage_message([&] { AutoModel::from_pretrained(temp.path()); });
    expect_contains(text, "layers.1.mlp.up_proj.weight");
    expect_contains(text, temp.path());
  }
  TempFolder temp;
  copy_folder(
      "llama", temp, [](Json& config) { config.set("vocab_size", 12); }, kSame);
  expect_contains(usage_message([&] { AutoModel::from_pretrained(temp.path()); }),
                  "has 13 rows, but \"vocab_size\" is 12: set it to 13");
}

TEST(HeadlessDecoders, WrongCallsSayWhy) {
  auto model = AutoModel::from_pretrained(folder("llama"));
  const Tensor ids = golden_of("llama")["input_ids"];
  const auto message = [&](const EncoderInput& input) {
    return usage_message([&] { (*model)(input); });
  };
  expect_contains(message({.ids = zeros({2}, DType::i64)}),
                  "[LlamaModel] token ids must be integers");
  expect_contains(message({.ids = zeros({1, 17}, DType::i64)}),
                  "17 tokens exceed the 16 positions");
  expect_contains(message({.ids = ids, .attention_mask = ones({3, 2}, DType::i64)}),
                  "does not fit the ids");
  expect_contains(message({.ids = ids, .token_type_ids = ids}), "has no token types");
  expect_contains(message({.ids = ids, .position_ids = ones({1, 2}, DType::i64)}),
                  "the position ids");

  auto classifier = AutoModelForSequenceClassification::from_pretrained(folder("gpt2_unpadded"));
  expect_contains(usage_message([&] {
                    (*classifier)({.ids = ones({2, 3}, DType::i64)});
                  }),
                  "2 sequences at once need a \"pad_token_id\"");

  TempFolder temp;
  copy_folder(
      "llama", temp,
      [](Json& c) {
        c.set("quantization_config", Json::object({{"bits", 8}}));
      },
      kSame);
  expect_contains(usage_message([&] { AutoModel::from_pretrained(temp.path()); }),
                  "quantised weights");
}

// The classes to use instead are named.
TEST(HeadlessDecoders, OtherKindsOfModels) {
  const auto message = [](const char* type) {
    return usage_message(
        [&] { AutoModel::from_config(std::string(R"({"model_type": ")") + type + "\"}"); });
  };
  expect_contains(message("t5"), "AutoSeq2SeqModel), not an encoder or a decoder");
  expect_contains(message("vit"), "use AutoImageModel");
  expect_contains(message("lama"), "did you mean \"llama\"");
  expect_contains(
      usage_message([] { AutoModelForMaskedLM::from_config(R"({"model_type": "llama"})"); }),
      "is a decoder (of AutoModelForCausalLM), not an encoder");
}

TEST(HeadlessDecoders, ConfigsAsObjects) {
  const AutoConfig config = AutoConfig::from_pretrained(folder("qwen2_classes"));
  EXPECT_EQ(AutoModel::from_config(config)->type_name(), "Qwen2Model");
  EXPECT_EQ(AutoModelForCausalLM::from_config(config)->type_name(), "Qwen2ForCausalLM");
  EXPECT_EQ(AutoModelForSequenceClassification::from_config(config)->type_name(),
            "Qwen2ForSequenceClassification");
  TempFolder temp;
  config.save_pretrained(temp.path());
  EXPECT_EQ(read_file(temp / "config.json"), read_file(folder("qwen2_classes") + "/config.json"));
}

// A classifier learns from scratch which of its texts hold a token.
TEST(HeadlessDecoders, ClassifiersLearn) {
  auto model = AutoModelForSequenceClassification::from_config(
      R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 16, "intermediate_size": 24,
          "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8,
          "pad_token_id": 0, "num_labels": 2})");
  model->initialize(3);
  optim::AdamW optimizer(model->parameters(), {.lr = 1e-2});
  const Tensor ids =
      from_vector(std::vector<int64_t>{1, 2, 3, 0, 4, 7, 2, 0, 7, 1, 0, 0, 5, 6, 1, 3}, {4, 4});
  const Tensor labels = from_vector(std::vector<int64_t>{0, 1, 1, 0}, {4});
  const EncoderInput input{.ids = ids, .attention_mask = (ids != 0.0).to(DType::i64)};
  for (int step = 0; step < 60; ++step) {
    model->loss(input, labels).backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  EXPECT_LT(model->loss(input, labels).item(), 0.05);
}

}  // namespace
}  // namespace corten
