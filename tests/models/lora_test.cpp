// LoRA adapters against PEFT (make_lora_goldens.py).
#include "corten/lora.h"

#include <set>

#include "base/file.h"
#include "base/json.h"
#include "corten/encoders.h"
#include "corten/seq2seq.h"
#include "golden.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::difference;
using testing::expect_contains;
using testing::Golden;
using testing::largest;
using testing::same_bits;
using testing::TempFolder;
using testing::usage_message;

const std::vector<std::string> kCases = {"gpt2", "llama", "head", "tied", "classes", "t5", "bert"};

std::string adapter(const std::string& name) {
  return testing::folder("lora/" + name);
}
Json parse_file(const std::string& path) {
  return Json::parse(read_file(path), path);
}

/// The base of a case, and what it computes.
struct Base {
  std::unique_ptr<nn::Module> model;
  std::function<Tensor(const Golden&)> logits;
};
Base base_of(const std::string& name, std::optional<DType> dtype = {}) {
  const std::string folder = testing::folder(
      parse_file(adapter(name) + "/adapter_config.json").at("base_model_name_or_path").as_string());
  if (name == "t5") {
    auto model = AutoModelForSeq2SeqLM::from_pretrained(folder, dtype);
    Seq2SeqLM* m = model.get();
    return {std::move(model), [m](const Golden& g) {
              return (*m)({.ids = g["input_ids"], .decoder_ids = g["decoder_input_ids"]});
            }};
  }
  if (name == "bert" || name == "classes") {
    auto model = AutoModelForSequenceClassification::from_pretrained(folder, {.dtype = dtype});
    SequenceClassifier* m = model.get();
    return {std::move(model), [m](const Golden& g) { return (*m)({.ids = g["input_ids"]}); }};
  }
  auto model = load_model(folder, dtype);
  CausalLM* m = model.get();
  return {std::move(model), [m](const Golden& g) { return (*m)(g["input_ids"]); }};
}

TEST(Lora, LogitsAndGradientsAsPeft) {
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    const Golden golden("lora/" + name);
    const Base base = base_of(name);
    const Tensor before = base.logits(golden).detach();
    LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter(name)));
    lora.load_weights(adapter(name));
    const Tensor logits = base.logits(golden), expected = golden["logits"];
    EXPECT_LT(difference(logits, expected), 2e-5 * largest(expected));
    EXPECT_GT(difference(before, expected), 1e-2 * largest(expected));

    const auto count = static_cast<double>(logits.numel());
    const Tensor weights = (arange(logits.numel()).to(DType::f32) * (2 / (count - 1)) - 1.0);
    sum(logits * weights.reshape(logits.shape())).backward();
    std::set<std::string> trained;
    for (const auto& [key, tensor] : lora.trainable_parameters()) {
      trained.insert("grad." + key);
      const Tensor* gradient = find_tensor(golden.all(), "grad." + key);
      ASSERT_TRUE(gradient && tensor.grad().defined()) << key;
      EXPECT_LT(difference(tensor.grad(), *gradient), 1e-4 * largest(*gradient) + 1e-4) << key;
    }
    for (const auto& [key, tensor] : golden.all())
      EXPECT_TRUE(!key.starts_with("grad.") || trained.contains(key)) << key;
    for (const auto& [key, tensor] : base.model->named_parameters())
      EXPECT_EQ(tensor.grad().defined(), trained.contains("grad." + key)) << key;

    if (name == "tied") {
      expect_contains(usage_message([&] { lora.merge_and_unload(); }),
                      "model.embed_tokens cannot be merged: the head of Gemma2ForCausalLM is tied");
      continue;
    }
    lora.merge_and_unload();
    EXPECT_LT(difference(base.logits(golden), expected), 2e-5 * largest(expected));
    EXPECT_FALSE(same_bits(base.logits(golden), before));
  }
}

TEST(Lora, UnloadingGivesTheModelBack) {
  for (const std::string& name : kCases) {
    const Golden golden("lora/" + name);
    const Base base = base_of(name);
    const Tensor before = base.logits(golden).detach();
    {
      LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter(name)));
      // B starts from zeros.
      EXPECT_EQ(difference(base.logits(golden), before), 0) << name;
      lora.load_weights(adapter(name));
      lora.unload();
    }
    EXPECT_TRUE(same_bits(base.logits(golden), before)) << name;
  }
}

TEST(Lora, FilesAsPeftWritesThem) {
  for (const std::string& name : kCases) {
    SCOPED_TRACE(name);
    TempFolder temp;
    const Base base = base_of(name);
    LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter(name)));
    lora.load_weights(adapter(name));
    lora.save_pretrained(temp / "copy");
    EXPECT_EQ(read_file(temp / "copy/adapter_model.safetensors"),
              read_file(adapter(name) + "/adapter_model.safetensors"));
    const Json before = parse_file(adapter(name) + "/adapter_config.json"),
               after = parse_file(temp / "copy/adapter_config.json");
    for (const auto& [key, value] : before.items()) {
      // PEFT writes sets in any order; both are read as the same.
      if (value.is_array()) continue;
      EXPECT_TRUE(after.at(key) == value || after.at(key).as_double() == value.as_double()) << key;
    }
    EXPECT_EQ(after.at("target_modules").size(), before.at("target_modules").size());
  }
}

TEST(Lora, BiasesThatPeftStoresSeveralTimes) {
  TempFolder temp;
  write_file_atomic(temp / "adapter_config.json",
                    read_file(adapter("bert") + "/adapter_config.json"));
  StateDict state = read_state(adapter("bert") + "/adapter_model.safetensors");
  const Tensor bias = *find_tensor(state, "base_model.model.classifier.bias");
  state.emplace_back("base_model.model.classifier.original_module.bias", zeros_like(bias));
  state.emplace_back("base_model.model.classifier.modules_to_save.bias", bias);
  const Golden golden("lora/bert");
  for (const char* drop : {"", "base_model.model.classifier.bias"}) {
    std::erase_if(state, [&](const auto& entry) { return entry.first == drop; });
    write_state(temp / "adapter_model.safetensors", state);
    const Base base = base_of("bert");
    LoraModel lora(*base.model, LoraConfig::from_pretrained(temp.path()));
    lora.load_weights(temp.path());
    EXPECT_LT(difference(base.logits(golden), golden["logits"]), 1e-4);
  }
}

TEST(Lora, HalfPrecisionBase) {
  const Golden golden("lora/llama");
  const Base base = base_of("llama", DType::bf16);
  LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter("llama")));
  lora.load_weights(adapter("llama"));
  for (const auto& [key, tensor] : lora.trainable_parameters())
    EXPECT_EQ(tensor.dtype(), DType::f32) << key;
  const Tensor logits = base.logits(golden);
  EXPECT_EQ(logits.dtype(), DType::bf16);
  EXPECT_LT(difference(logits.to(DType::f32), golden["logits"]), 0.05 * largest(golden["logits"]));
}

TEST(Lora, CompiledEqualsEagerToTheBit) {
  const Golden golden("lora/llama");
  const Base base = base_of("llama");
  LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter("llama")));
  lora.load_weights(adapter("llama"));
  base.model->train();  // with dropout in front of the adapters
  const auto step = [&](const std::vector<Tensor>&) {
    Tensor loss = sum(square(base.logits(golden)));
    loss.backward();
    std::vector<Tensor> out = {loss.detach()};
    for (const auto& [key, tensor] : lora.trainable_parameters()) {
      out.push_back(tensor.grad());
      Tensor(tensor).zero_grad();
    }
    return out;
  };
  manual_seed(3);
  const auto eager = step({});
  manual_seed(3);
  const auto compiled = compile(step)({});
  ASSERT_EQ(eager.size(), compiled.size());
  for (size_t i = 0; i < eager.size(); ++i) EXPECT_TRUE(same_bits(eager[i], compiled[i])) << i;
}

TEST(Lora, TargetsByNamePatternAndLayer) {
  const auto adapted = [](const std::string& name, const LoraConfig& config) {
    const Base base = base_of(name);
    return LoraModel(*base.model, config).adapted_modules();
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(adapted("bert", {.target_modules = {"classifier"}}), Names{"classifier"});
  EXPECT_EQ(adapted("llama", {.target_modules = {"q_proj"}, .layers_to_transform = {1}}),
            Names{"model.layers.1.self_attn.q_proj"});
  EXPECT_EQ(adapted("llama", {.target_pattern = ".*0\\.self_attn\\.(q|o)_proj"}),
            (Names{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj"}));
  EXPECT_EQ(adapted("gpt2", {.target_modules = {"c_proj"}, .exclude_modules = {"mlp.c_proj"}})[0],
            "transformer.h.0.attn.c_proj");
  const Names all = adapted("bert", {.target_pattern = "all-linear", .task_type = "SEQ_CLS"});
  EXPECT_EQ(std::ranges::find(all, "classifier"), all.end());
  EXPECT_GT(all.size(), 5u);
  LoraConfig config;
  config.set_default_targets("t5");
  EXPECT_EQ(config.target_modules, (Names{"q", "v"}));
  expect_contains(usage_message([&] { config.set_default_targets("gpt9"); }), "gpt9");
  EXPECT_EQ(LoraConfig{.r = 5}.r, 5);
}

TEST(Lora, Mistakes) {
  const auto attach = [](const std::string& name, const LoraConfig& config) {
    return usage_message([&] {
      const Base base = base_of(name);
      LoraModel lora(*base.model, config);
    });
  };
  expect_contains(attach("llama", {.target_modules = {"c_attn"}}), "matches \"c_attn\"");
  expect_contains(attach("llama", {}), "target_modules are missing");
  expect_contains(attach("llama", {.target_modules = {"norm"}}), "not a linear layer");
  const auto read = [](const std::string& json) {
    return usage_message([&] { LoraConfig::from_json(json, "a.json"); });
  };
  expect_contains(read(R"({"peft_type": "IA3"})"), "a.json: \"peft_type\" \"IA3\"");
  expect_contains(read(R"({"use_dora": true})"), "\"use_dora\" is set");
  expect_contains(read(R"({"r": 0})"), "\"r\" is 0");
  expect_contains(read(R"({"bias": "some"})"), "\"bias\" \"some\"");
  expect_contains(read(R"({"target_modules": 3})"), "target_modules");
  expect_contains(read("[]"), "expected an object");

  TempFolder temp;
  const Base base = base_of("llama");
  LoraModel lora(*base.model, LoraConfig::from_pretrained(adapter("llama")));
  expect_contains(usage_message([&] { lora.load_weights(temp.path()); }), "holds no adapter");
  expect_contains(usage_message([&] { LoraConfig::from_pretrained(temp.path()); }),
                  "holds no adapter");
  write_file_atomic(temp / "adapter_model.bin", "x");
  expect_contains(usage_message([&] { lora.load_weights(temp.path()); }), "pickle");
  const std::string other = usage_message([&] { lora.load_weights(adapter("gpt2")); });
  expect_contains(other, "missing");
  expect_contains(other, "base_model.model.transformer.h.0.attn.c_attn");
}

}  // namespace
}  // namespace corten
