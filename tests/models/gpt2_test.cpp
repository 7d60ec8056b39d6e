#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/json.h"
#include "golden.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::difference;
using testing::expect_contains;
using testing::folder;
using testing::Golden;
using testing::kFolders;
using testing::same_bits;
using testing::shifted;
using testing::TempFolder;
using testing::usage_message;

TEST(Gpt2, LogitsLossAndGradientsAsTransformers) {
  for (const std::string& name : kFolders) {
    SCOPED_TRACE(name);
    const Golden golden(name);
    auto model = load_model(folder(name));
    EXPECT_LT(difference((*model)(golden["ids"]), golden["logits"]), 1e-4);
    Tensor loss = model->loss(golden["ids"], shifted(golden["labels"]));
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-5);
    loss.backward();
    size_t compared = 0;
    for (const auto& [parameter, tensor] : model->named_parameters()) {
      ASSERT_TRUE(tensor.grad().defined()) << parameter;
      EXPECT_LT(difference(tensor.grad(), golden["grad." + parameter]), 1e-4) << parameter;
      ++compared;
    }
    const size_t gradients = static_cast<size_t>(std::ranges::count_if(
        golden.all(), [](const auto& entry) { return entry.first.starts_with("grad."); }));
    EXPECT_EQ(compared, gradients);
  }
}

TEST(Gpt2, CompiledEqualsEagerToTheBit) {
  for (const std::string& name : kFolders) {
    SCOPED_TRACE(name);
    const Golden golden(name);
    auto model = load_model(folder(name));
    auto forward = compile([&](const std::vector<Tensor>& in) {
      NoGradGuard no_grad;
      return std::vector<Tensor>{(*model)(in[0]), model->loss(in[0], in[1])};
    });
    const Tensor ids = golden["ids"], targets = shifted(golden["labels"]);
    const auto got = forward({ids, targets});
    EXPECT_TRUE(same_bits(got[0], (*model)(ids)));
    EXPECT_TRUE(same_bits(got[1], model->loss(ids, targets)));
  }
}

TEST(Gpt2, PaddingIsInvisible) {
  for (const std::string& name : kFolders) {
    SCOPED_TRACE(name);
    const Golden golden(name);
    auto model = load_model(folder(name));
    const Tensor logits = (*model)(golden["ids"], golden["mask"]);
    const auto mask = golden["mask"].to_vector<int64_t>();
    const int64_t tokens = golden["mask"].size(1);
    for (int64_t row = 0; row < golden["mask"].size(0); ++row)
      for (int64_t t = 0; t < tokens; ++t) {
        const Tensor mine = logits[row][t];
        if (mask[static_cast<size_t>(row * tokens + t)]) {
          EXPECT_LT(difference(mine, golden["masked_logits"][row][t]), 1e-4) << row << "," << t;
        } else {
          for (double x : mine.to_vector<double>()) EXPECT_TRUE(std::isfinite(x));
        }
      }
  }
}

TEST(Gpt2, ReductionsOfTheLoss) {
  const Golden golden("gpt2_tied");
  auto model = load_model(folder("gpt2_tied"));
  const Tensor targets = shifted(golden["labels"]);
  const double counted = 2 * 10 - 2;  // the last column and two labels are ignored
  const Tensor each = model->loss(golden["ids"], targets, Reduction::none);
  EXPECT_EQ(each.shape(), golden["ids"].shape());
  EXPECT_NEAR(each.sum().item() / counted, golden["loss"].item(), 1e-5);
  EXPECT_NEAR(model->loss(golden["ids"], targets, Reduction::sum).item() / counted,
              golden["loss"].item(), 1e-5);
}

TEST(Gpt2, HasTheNamesAndSizesOfTransformers) {
  for (const std::string& name : kFolders) {
    auto model = load_model(folder(name));
    EXPECT_EQ(GPT2Config::from_json(model->config_json()).num_parameters(),
              model->num_parameters());
  }
  auto model = load_model(folder("gpt2_tied"));
  EXPECT_EQ(model->type_name(), "GPT2LMHeadModel");
  StateDict stored = read_state(folder("gpt2_tied") + "/model.safetensors");
  StateDict mine = model->state_dict();
  EXPECT_EQ(mine.size(), stored.size());
  for (const auto& [name, tensor] : stored) {
    ASSERT_NE(find_tensor(mine, name), nullptr) << name;
    EXPECT_TRUE(same_bits(*find_tensor(mine, name), tensor)) << name;
  }
  EXPECT_EQ(model->eos_token_ids(), (std::vector<int64_t>{2}));
  EXPECT_FALSE(model->is_training());
  EXPECT_EQ(GPT2Config().num_parameters(), 124439808);  // GPT-2 (124M)
}

// Products of the parameters with each token, and the causal half of attention.
TEST(Gpt2, CountsItsFlops) {
  GPT2Config config{.vocab_size = 10, .n_positions = 8, .n_embd = 4, .n_layer = 3, .n_head = 2};
  const double layer = 2 * (12 * 4 * 4) * 5 + 2 * 2 * 4 * (5 * 6 / 2);
  EXPECT_EQ(make_gpt2(config)->forward_flops(7, 5), 7 * (3 * layer + 2 * 4 * 10 * 5));
}

TEST(Gpt2, StartsAsItsPaperSays) {
  GPT2Config config{.vocab_size = 300, .n_positions = 64, .n_embd = 96, .n_layer = 8, .n_head = 4};
  auto model = make_gpt2(config);
  model->initialize(1);
  const auto deviation = [](const Tensor& t) { return std::sqrt(square(t).mean().item()); };
  for (const auto& [name, p] : model->named_parameters()) {
    if (name.ends_with("c_proj.weight"))
      EXPECT_NEAR(deviation(p), 0.02 / 4, 0.0003) << name;
    else if (p.dim() == 2)
      EXPECT_NEAR(deviation(p), 0.02, 0.001) << name;
    else if (name.ends_with("bias"))
      EXPECT_EQ(deviation(p), 0) << name;
    else
      EXPECT_EQ(difference(p, ones_like(p)), 0) << name;
  }
  // The loss of a fresh model is that of guessing.
  model->eval();
  const Tensor ids = arange(64).reshape({1, 64});
  EXPECT_NEAR(model->loss(ids, ids + tensor({100})).item(), std::log(300.0), 0.2);
}

TEST(Gpt2, DropsOutInTrainingOnly) {
  const Golden golden("gpt2_tied");
  auto model = load_model(folder("gpt2_tied"));
  const Tensor ids = golden["ids"];
  const Tensor plain = (*model)(ids);
  EXPECT_TRUE(same_bits((*model)(ids), plain));
  model->train();
  manual_seed(3);
  const Tensor first = (*model)(ids);
  EXPECT_GT(difference(first, plain), 0.01);
  EXPECT_FALSE(same_bits((*model)(ids), first));  // the next calls of the same sites
  manual_seed(3);
  EXPECT_TRUE(same_bits((*model)(ids), first));
}

// ---- Files

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

TEST(Gpt2Files, RoundTrip) {
  for (const std::string& name : kFolders) {
    SCOPED_TRACE(name);
    TempFolder temp;
    const Golden golden(name);
    auto model = load_model(folder(name));
    model->save_pretrained(temp / "copy");
    auto again = load_model(temp / "copy");
    EXPECT_TRUE(same_bits((*again)(golden["ids"]), (*model)(golden["ids"])));
    // What transformers wrote comes back, fields without meaning for Corten included.
    const auto parse = [](const std::string& path) { return Json::parse(read_file(path), path); };
    const Json before = parse(folder(name) + "/config.json");
    EXPECT_EQ(parse(temp / "copy" + "/config.json"), before);
    EXPECT_EQ(parse(temp / "copy" + "/generation_config.json").at("eos_token_id"), Json(2));
    // One weight file, as transformers writes it: nothing tied twice, the same bytes.
    EXPECT_EQ(read_file(temp / "copy" + "/model.safetensors"),
              read_file(folder(name) + "/model.safetensors"));
  }
}

TEST(Gpt2Files, SixteenBitWeights) {
  const Golden golden("gpt2_untied");
  for (DType dtype : {DType::bf16, DType::f16}) {
    TempFolder temp;
    auto model = load_model(folder("gpt2_untied"), dtype);
    EXPECT_EQ(model->dtype(), dtype);
    model->save_pretrained(temp.path());
    auto half = load_model(temp.path());
    EXPECT_EQ(half->dtype(), dtype);
    EXPECT_TRUE(same_bits((*half)(golden["ids"]), (*model)(golden["ids"])));
    EXPECT_LT(difference((*half)(golden["ids"]), golden["logits"]), 0.1);
    auto masters = load_model(temp.path(), DType::f32);
    EXPECT_EQ(masters->dtype(), DType::f32);
    EXPECT_LT(difference((*masters)(golden["ids"]), golden["logits"]), 0.1);
    const StateDict stored = read_state(temp / "model.safetensors");
    for (const auto& [name, tensor] : masters->state_dict())
      EXPECT_EQ(difference(tensor, *find_tensor(stored, name)), 0) << name;
  }
}

/// A copy of a folder whose tensors were changed.
template <typename Change>
void copy_changed(const std::string& from, const TempFolder& to, Change change) {
  std::filesystem::copy_file(from + "/config.json", to / "config.json",
                             std::filesystem::copy_options::overwrite_existing);
  StateDict state = read_state(from + "/model.safetensors");
  change(state);
  write_state(to / "model.safetensors", state, {{"format", "pt"}});
}

TEST(Gpt2Files, OlderLayouts) {
  const Golden golden("gpt2_tied");
  TempFolder temp;
  copy_changed(folder("gpt2_tied"), temp, [](StateDict& state) {
    for (auto& [name, tensor] : state) name = name.substr(std::string("transformer.").size());
    for (std::string layer : {"0", "1"}) {
      state.emplace_back("h." + layer + ".attn.bias", ones({1, 1, 32, 32}, DType::u8));
      state.emplace_back("h." + layer + ".attn.masked_bias", scalar(-1e4));
    }
    state.emplace_back("lm_head.weight", *find_tensor(state, "wte.weight"));
  });
  EXPECT_LT(difference((*load_model(temp.path()))(golden["ids"]), golden["logits"]), 1e-4);
}

TEST(Gpt2Files, WhatDoesNotFitIsListed) {
  TempFolder temp;
  copy_changed(folder("gpt2_tied"), temp, [](StateDict& state) {
    std::erase_if(state, [](const auto& e) { return e.first == "transformer.ln_f.bias"; });
    for (auto& [name, tensor] : state)
      if (name == "transformer.wpe.weight") tensor = zeros({31, 24});
    state.emplace_back("transformer.h.2.ln_1.bias", zeros({24}));
  });
  const std::string text = usage_message([&] { load_model(temp.path()); });
  expect_contains(text, "missing: transformer.ln_f.bias");
  expect_contains(text, "unexpected: transformer.h.2.ln_1.bias");
  expect_contains(text, "transformer.wpe.weight is [32,24] in the model and [31,24] in the file");
  expect_contains(text, temp.path());

  auto model = load_model(folder("gpt2_tied"));
  const Golden golden("gpt2_tied");
  usage_message([&] { model->load_weights(temp.path()); });
  EXPECT_LT(difference((*model)(golden["ids"]), golden["logits"]), 1e-4);  // nothing changed

  copy_changed(folder("gpt2_tied"), temp, [](StateDict& state) {
    for (auto& [name, tensor] : state)
      if (name == "transformer.ln_f.bias") tensor = zeros({24}, DType::i64);
  });
  expect_contains(usage_message([&] { load_model(temp.path()); }), "I64");
}

TEST(Gpt2Files, NoModel) {
  TempFolder temp;
  expect_contains(usage_message([&] { load_model(temp / "none"); }), "none");
  expect_contains(usage_message([&] { load_model(temp.path()); }), "no model");
  std::filesystem::copy_file(folder("gpt2_tied") + "/config.json", temp / "config.json");
  expect_contains(usage_message([&] { load_model(temp.path()); }), "safetensors");
  write(temp / "config.json", R"({"model_type": "gtp2"})");
  const std::string text = usage_message([&] { load_model(temp.path()); });
  expect_contains(text, "config.json: unknown model_type \"gtp2\"");
  expect_contains(text, "did you mean \"gpt2\"");
  write(temp / "config.json", R"({"model_type": "gt\np2"})");
  expect_contains(usage_message([&] { load_model(temp.path()); }), "unknown model_type \"gt?p2\"");
  write(temp / "config.json", "{");
  usage_message([&] { load_model(temp.path()); });
}

TEST(Gpt2Files, TheConfigIsCheckedBeforeMemoryIsTaken) {
  TempFolder temp;
  std::filesystem::copy_file(folder("gpt2_tied") + "/model.safetensors",
                             temp / "model.safetensors");
  write(temp / "config.json", R"({"model_type": "gpt2", "n_layer": 4096, "n_embd": 786432})");
  expect_contains(usage_message([&] { load_model(temp.path()); }), "parameters, but the weights");
}

TEST(Gpt2Files, TokenizerFilesAreCopied) {
  TempFolder temp;
  write(temp / "tokenizer.json", "{}");
  write(temp / "merges.txt", "a b");
  write(temp / "other.txt", "x");
  copy_tokenizer_files(temp.path(), temp / "to");
  EXPECT_EQ(list_folder(temp / "to"), (std::vector<std::string>{"merges.txt", "tokenizer.json"}));
}

TEST(Gpt2Files, SeveralEndTokens) {
  TempFolder temp;
  auto model = load_model(folder("gpt2_tied"));
  model->set_eos_token_ids({4, 5});
  model->save_pretrained(temp.path());
  EXPECT_EQ(load_model(temp.path())->eos_token_ids(), (std::vector<int64_t>{4, 5}));
}

// ---- Config

TEST(Gpt2Config, DefaultsAndGeneralNames) {
  const GPT2Config defaults = GPT2Config::from_json("{}");
  EXPECT_EQ(defaults.n_layer, 12);
  EXPECT_EQ(defaults.inner(), 3072);
  EXPECT_EQ(defaults.eos_token_id, (std::vector<int64_t>{50256}));
  const GPT2Config named = GPT2Config::from_json(
      R"({"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
          "max_position_embeddings": 7, "n_inner": 5, "eos_token_id": null, "note": [1]})");
  EXPECT_EQ(named.n_embd, 96);
  EXPECT_EQ(named.n_layer, 2);
  EXPECT_EQ(named.n_head, 3);
  EXPECT_EQ(named.n_positions, 7);
  EXPECT_EQ(named.inner(), 5);
  EXPECT_TRUE(named.eos_token_id.empty());
  const Json json = Json::parse(named.to_json(), "json");
  EXPECT_EQ(json.at("note"), Json::parse("[1]", "note"));
  EXPECT_EQ(json.at("n_embd"), Json(96));
  EXPECT_FALSE(json.contains("hidden_size"));
}

TEST(Gpt2Config, RefusesWhatItCannotDo) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([1])", "expected an object"},
      {R"({"n_layer": 0})", "\"n_layer\" is 0"},
      {R"({"n_layer": "2"})", "\"n_layer\""},
      {R"({"n_layer": 1000000000000})", "\"n_layer\""},
      {R"({"vocab_size": -4})", "\"vocab_size\" is -4"},
      {R"({"n_embd": 10, "n_head": 3})", "\"n_embd\" 10 is no multiple of \"n_head\" 3"},
      {R"({"resid_pdrop": 1.5})", "\"resid_pdrop\" is 1.5"},
      {R"({"activation_function": "mish"})", "\"mish\" is not supported"},
      {R"({"add_cross_attention": true})", "\"add_cross_attention\""},
      {R"({"quantization_config": {"bits": 4}})", "\"quantization_config\""},
      {R"({"pruned_heads": {"0": [1]}})", "\"pruned_heads\""},
      {R"({"model_type": "llama"})", "\"model_type\" is \"llama\""},
      {R"({"layer_norm_epsilon": -1})", "\"layer_norm_epsilon\""},
      {R"({"tie_word_embeddings": 1})", "\"tie_word_embeddings\""},
      {R"({"eos_token_id": "x"})", "\"eos_token_id\""},
  };
  for (const auto& [text, part] : cases) {
    const std::string message = usage_message([&] { GPT2Config::from_json(text, "some.json"); });
    expect_contains(message, part);
    expect_contains(message, "some.json");
  }
  usage_message([] { make_gpt2({.n_embd = 10, .n_head = 3}); });
}

TEST(Gpt2Errors, NameTheNumbers) {
  auto model = load_model(folder("gpt2_odd"));
  const auto ids = [](Shape shape) { return zeros(std::move(shape), DType::i64); };
  expect_contains(usage_message([&] { (*model)(ids({1, 20})); }), "20 tokens exceed the 19");
  (*model)(ids({1, 19}));
  expect_contains(usage_message([&] { (*model)(ids({4})); }), "i64[4]");
  expect_contains(usage_message([&] { (*model)(zeros({1, 4})); }), "f32[1,4]");
  expect_contains(usage_message([&] { (*model)(full({1, 2}, 37, DType::i64)); }), "37");
  expect_contains(usage_message([&] { (*model)(ids({1, 4}), ids({1, 3})); }), "i64[1,3]");
  expect_contains(usage_message([&] { model->make_cache(1, 20); }), "20");
  KvCache cache = model->make_cache(2, 8);
  expect_contains(usage_message([&] { model->prefill(ids({2, 9}), cache); }), "i64[2,9]");
  expect_contains(usage_message([&] { model->prefill(ids({1, 4}), cache); }), "2 sequences");
  expect_contains(usage_message([&] {
                    model->decode(ids({2, 2}), scalar(1, DType::i64), cache);
                  }),
                  "i64[2,2]");
}

}  // namespace
}  // namespace corten
