// Configs and weights of decoders that do not fit, each with what the error says; shards.
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "corten/safetensors.h"
#include "golden.h"
#include "models/auto_model.h"
#include "models/presets.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::difference;
using testing::expect_contains;
using testing::Golden;
using testing::TempFolder;
using testing::usage_message;

std::string folder(const std::string& name) {
  return testing::folder("decoders/" + name);
}
Json config_of(const std::string& name) {
  const std::string path = folder(name) + "/config.json";
  return Json::parse(read_file(path), path);
}
/// A copy of a folder with one file, whose config and tensors were changed.
void copy_changed(
    const std::string& name, const TempFolder& to, const std::function<void(Json&)>& change_config,
    const std::function<void(StateDict&)>& change = [](StateDict&) {}) {
  Json config = config_of(name);
  change_config(config);
  write_file_atomic(to / "config.json", config.dump());
  StateDict state = read_state(folder(name) + "/model.safetensors");
  change(state);
  write_state(to / "model.safetensors", state, {{"format", "pt"}});
}
void keep(Json&) {}

TEST(DecoderConfig, PublishedModelsHaveTheirSizes) {
  const std::pair<const char*, int64_t> published[] = {
      {"gpt2", 124439808},          {"tinyllama-1.1b", 1100048384}, {"llama-2-7b", 6738415616},
      {"llama-3.1-8b", 8030261248}, {"llama-3.2-1b", 1235814400},   {"mistral-7b", 7241732096},
      {"qwen2.5-0.5b", 494032768},  {"qwen3-0.6b", 596049920},      {"gemma-2-2b", 2614341888}};
  for (const auto& [name, count] : published)
    EXPECT_EQ(model_info(preset_config(name), name).num_parameters, count) << name;
}

TEST(DecoderConfig, NewSpellingsMeanTheSameAsOldOnes) {
  Json v5 = config_of("llama3"), v4 = v5;
  Json rope = v5.at("rope_scaling");
  rope.set("rope_theta", v5.at("rope_theta"));
  v5.erase("rope_scaling");
  v5.erase("rope_theta");
  v5.set("rope_parameters", rope);
  Json older = v4;  // "type" for "rope_type"
  older["rope_scaling"].set("type", "llama3").erase("rope_type");
  const Tensor ids = arange(11).reshape({1, 11});
  const auto logits = [&](const Json& config) {
    auto model = make_model(config, "config.json");
    model->initialize(3);
    model->eval();
    return (*model)(ids);
  };
  const Tensor expected = logits(v4);
  EXPECT_EQ(difference(logits(v5), expected), 0);
  EXPECT_EQ(difference(logits(older), expected), 0);
  v4.erase("rope_scaling");
  EXPECT_GT(difference(logits(v4), expected), 0);  // the rope matters
}

TEST(DecoderConfig, FreshModelsAreWrittenInBothSpellings) {
  auto model = make_model(R"({"model_type": "llama", "vocab_size": 11, "hidden_size": 8,
      "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2})");
  const Json config = Json::parse(model->config_json(), "json");
  EXPECT_EQ(config.at("rope_theta"), Json(10000.0));
  EXPECT_EQ(config.at("rope_parameters").at("rope_type"), Json("default"));
  EXPECT_EQ(config.at("rope_parameters").at("rope_theta"), Json(10000.0));
  EXPECT_EQ(config.at("num_key_value_heads"), Json(2));
  EXPECT_EQ(config.at("architectures").at(size_t{0}), Json("LlamaForCausalLM"));
}

TEST(DecoderConfig, RefusesWhatItCannotDo) {
  struct Case {
    const char *name, *key, *value, *part;
  };
  const Case cases[] = {
      {"llama", "hidden_size", "0", "\"hidden_size\" is 0"},
      {"llama", "hidden_size", "\"12\"", "\"hidden_size\""},
      {"llama", "hidden_size", "1e99", "\"hidden_size\""},
      {"llama", "num_hidden_layers", "-1", "\"num_hidden_layers\" is -1"},
      {"llama", "num_attention_heads", "5", "no multiple of \"num_key_value_heads\" 3"},
      {"llama", "num_key_value_heads", "9", "\"num_key_value_heads\" is 9"},
      {"llama", "head_dim", "5", "make it even"},
      {"llama", "head_dim", "null", ""},
      {"llama", "hidden_act", "\"mish\"", "\"mish\" is not supported"},
      {"llama", "rms_norm_eps", "-1", "\"rms_norm_eps\""},
      {"llama", "attention_dropout", "2", "\"attention_dropout\" is 2"},
      {"llama", "attention_bias", "3", "\"attention_bias\""},
      {"llama", "vocab_size", "99999999999", "\"vocab_size\""},
      {"llama", "tie_word_embeddings", "\"yes\"", "\"tie_word_embeddings\""},
      {"llama", "eos_token_id", "[[1]]", "\"eos_token_id\""},
      {"llama", "quantization_config", R"({"bits": 4})", "\"quantization_config\""},
      {"llama", "partial_rotary_factor", "0.5", "\"partial_rotary_factor\" is 0.5"},
      {"llama", "rope_parameters", "7", "\"rope_parameters\" is integer"},
      {"llama", "rope_parameters", R"({"rope_type": "yarm"})", "did you mean \"yarn\""},
      {"llama", "rope_parameters", R"({"rope_type": "longrope"})", "\"longrope\" is not supported"},
      {"llama", "rope_parameters", R"({"rope_type": "linear"})", "lacks \"factor\""},
      {"llama", "rope_parameters", R"({"rope_type": "llama3", "factor": 8})",
       "\"low_freq_factor\""},
      {"llama", "rope_parameters", R"({"rope_type": "linear", "factor": 0})", "\"factor\" is 0"},
      {"llama", "rope_parameters", R"({"rope_theta": -3})", "\"rope_theta\" is -3"},
      {"llama", "rope_parameters", R"({"full_attention": {}})", "kind of layer"},
      {"llama", "rope_scaling", R"({"type": ["x"]})", "\"type\""},
      {"mistral", "sliding_window", "0", "\"sliding_window\" is 0"},
      {"qwen2", "layer_types", R"(["full_attention"])", "has 1 entries"},
      {"qwen2", "layer_types", R"(["full", "full", "full"])", "\"full\" is not supported"},
      {"qwen2", "layer_types", "7", "\"layer_types\""},
      {"gemma2", "attn_logit_softcapping", "-1", "\"attn_logit_softcapping\" is -1"},
      {"gemma2", "query_pre_attn_scalar", "0", "\"query_pre_attn_scalar\" is 0"},
      {"gemma2", "use_bidirectional_attention", "true", "\"use_bidirectional_attention\""},
      {"llama", "model_type", "\"lama\"", "did you mean \"llama\""},
      {"llama", "model_type", "\"qwen2_moe\"", "the nearest is \"qwen2\""},
      {"llama", "model_type", "\"mamba\"", "known: decoders of AutoModelForCausalLM: gpt2, llama, mistral, qwen2, qwen3, gemma2;"},
      {"llama", "model_type", "\"mamba\"", "image models of AutoModelForImageClassification"},
      {"llama", "model_type", "\"phi3\"", "the nearest is \"llama\""},
      {"llama", "model_type", "\"xlm-roberta\"", "the nearest is \"roberta\""},
      {"llama", "model_type", "\"umt5\"", "the nearest is \"t5\""},
      {"llama", "model_type", "\"deit\"", "the nearest is \"vit\""},
      {"llama", "model_type", "\"distilber\"", "did you mean \"distilbert\""},
      {"llama", "model_type", "null", ""},
      {"llama", "model_type", "3", "\"model_type\""},
  };
  for (const auto& [name, key, value, part] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value);
    Json config = config_of(name);
    config.set(key, Json::parse(value, "value"));
    if (std::string(part).empty()) {
      make_model(config, "some.json");
      continue;
    }
    const std::string text = usage_message([&] { make_model(config, "some.json"); });
    expect_contains(text, part);
    expect_contains(text, "some.json");
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

/// Any value in any field is either read or refused in one line.
TEST(DecoderConfig, StrangeValuesAreRefused) {
  const char* values[] = {"null",
                          "true",
                          "-1",
                          "0",
                          "1",
                          "3.5",
                          "1e308",
                          "\"x\"",
                          "[]",
                          "[[0]]",
                          R"([1])",
                          "{}",
                          "18446744073709551615",
                          R"({"rope_type": "yarn"})",
                          R"({"type": null, "rope_theta": "x"})"};
  int refused = 0;
  for (const char* name : {"llama_yarn", "mistral", "qwen2", "qwen3", "gemma2"}) {
    const Json config = config_of(name);
    for (const auto& [key, old] : config.items())
      for (const char* value : values) {
        Json changed = config;
        changed.set(key, Json::parse(value, "value"));
        try {
          model_info(changed, "some.json");
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Usage) << key << " = " << value << error.what();
          expect_contains(error.what(), "some.json");
          ++refused;
        }
      }
  }
  EXPECT_GT(refused, 300);
}

TEST(DecoderFiles, OlderLayouts) {
  const Golden golden("decoders/llama3");
  TempFolder temp;
  copy_changed("llama3", temp, keep, [](StateDict& state) {
    for (auto& [name, tensor] : state) name = name.substr(std::string("model.").size());
    state.emplace_back("layers.0.self_attn.rotary_emb.inv_freq", ones({2}));
    state.emplace_back("lm_head.weight", *find_tensor(state, "embed_tokens.weight"));
  });
  EXPECT_LT(difference((*load_model(temp.path()))(golden["ids"]), golden["logits"]), 1e-4);
}

TEST(DecoderFiles, MismatchesSayWhatToChange) {
  using Change = std::function<void(Json&)>;
  const auto set = [](const char* key, const Json& value) {
    return [=](Json& config) { config.set(key, value); };
  };
  const auto erase = [](const char* name) {
    return [=](StateDict& state) {
      std::erase_if(state, [&](const auto& e) { return e.first == name; });
    };
  };
  const auto nothing = [](StateDict&) {};
  const std::tuple<Change, std::function<void(StateDict&)>, const char*> cases[] = {
      {set("vocab_size", 18), nothing, "has 19 rows, but \"vocab_size\" is 18: set it to 19"},
      {set("hidden_size", 15), nothing, "has 12 columns, but \"hidden_size\" is 15: set it to 12"},
      {set("num_key_value_heads", 1), nothing,
       "has 12 rows, but \"num_key_value_heads\" is 1: set it to 3"},
      {set("intermediate_size", 13), nothing, "\"intermediate_size\" is 13: set it to 14"},
      {set("num_hidden_layers", 3), nothing, "holds 2 layers, but \"num_hidden_layers\" is 3"},
      {set("attention_bias", true), nothing, "holds no layers.0.self_attn.q_proj.bias"},
      {set("tie_word_embeddings", true), nothing, "lm_head.weight differs from"},
      {keep, erase("model.layers.1.mlp.up_proj.weight"),
       "missing: model.layers.1.mlp.up_proj.weight"},
      {keep, [](StateDict& s) { s.emplace_back("model.layers.0.x", ones({1})); },
       "unexpected: model.layers.0.x"},
  };
  for (const auto& [change, change_state, part] : cases) {
    TempFolder temp;
    copy_changed("llama", temp, change, change_state);
    const std::string text = usage_message([&] { load_model(temp.path()); });
    expect_contains(text, part);
    expect_contains(text, temp.path());
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(DecoderFiles, PickledWeightsAreNamed) {
  TempFolder temp;
  write_file_atomic(temp / "config.json", config_of("llama").dump());
  write_file_atomic(temp / "pytorch_model.bin", "PK");
  expect_contains(usage_message([&] { load_model(temp.path()); }),
                  "pytorch_model.bin holds pickled weights, which can run any code");
}

// The same however the pickle is called.
TEST(DecoderFiles, PicklesAreRecognised) {
  using namespace std::string_literals;
  const std::string zip = "PK\x03\x04\x00\x00\x08\x08\x00\x00"s, raw = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9"s;
  for (const char* name : {"model.pt", "weights.pth", "pytorch_model-00001-of-00002.bin"}) {
    TempFolder temp;
    write_file_atomic(temp / "config.json", config_of("llama").dump());
    write_file_atomic(temp / "training_args.bin", zip);
    write_file_atomic(temp / name, zip);
    const std::string text = usage_message([&] { load_model(temp.path()); });
    expect_contains(text, std::string(name) + " holds pickled weights, which can run any code");
    expect_contains(usage_message([&] { Safetensors::open(temp / name); }), "can run any code");
  }
  for (const std::string& bytes : {zip, raw}) {
    TempFolder temp;
    write_file_atomic(temp / "config.json", config_of("llama").dump());
    write_file_atomic(temp / "model.safetensors", bytes);
    expect_contains(usage_message([&] { load_model(temp.path()); }),
                    "model.safetensors: these are not safetensors but pickled weights");
  }
  // A header of 640 bytes begins with the same two bytes.
  TempFolder temp;
  std::string header = "{}";
  header.resize(640, ' ');
  write_file_atomic(temp / "model.safetensors", "\x80\x02\0\0\0\0\0\0"s + header);
  EXPECT_TRUE(Safetensors::open(temp.path()).tensors().empty());
}

TEST(DecoderFiles, ArchitecturesNameTheType) {
  TempFolder temp;
  copy_changed("mistral", temp, [](Json& config) { config.erase("model_type"); },
               [](StateDict&) {});
  EXPECT_EQ(Json::parse(load_model(temp.path())->config_json(), "").at("model_type"),
            Json("mistral"));
  EXPECT_EQ(AutoConfig::from_pretrained(temp.path()).model_type(), "mistral");
  Json config = config_of("mistral");
  config.erase("model_type");
  config.set("architectures", Json(std::vector<std::string>{"MistralMoeForCausalLM"}));
  expect_contains(usage_message([&] { make_model(config, "some.json"); }), "\"model_type\"");
}

TEST(DecoderFiles, ConfigsSayThingsOnce) {
  for (const char* file : {"config.json", "generation_config.json"}) {
    TempFolder temp;
    copy_changed("llama", temp, keep, [](StateDict&) {});
    write_file_atomic(temp / "generation_config.json", "{\"eos_token_id\": 1}");
    std::string text = read_file(temp / file);
    text.insert(text.find('{') + 1, "\"eos_token_id\": 2,");
    write_file_atomic(temp / file, text);
    EXPECT_EQ(usage_message([&] { load_model(temp.path()); }),
              temp / file + ": duplicate key \"eos_token_id\"");
  }
}

TEST(DecoderFiles, BrokenLinks) {
  TempFolder temp;
  copy_changed("llama", temp, keep, [](StateDict&) {});
  std::filesystem::create_symlink("generation_config.json", temp / "generation_config.json");
  expect_contains(usage_message([&] { load_model(temp.path()); }),
                  "generation_config.json, which leads back to itself");
  std::filesystem::create_symlink("loop", temp / "loop");
  expect_contains(usage_message([&] { load_model(temp / "loop"); }), "leads back to itself");
}

// Advice on the config is given only where all layers agree.
TEST(DecoderFiles, OneTensorOfAnotherShape) {
  TempFolder temp;
  copy_changed("llama", temp, keep, [](StateDict& state) {
    for (auto& [name, tensor] : state)
      if (name == "model.layers.0.self_attn.k_proj.weight") tensor = zeros({8, 12});
  });
  const std::string text = usage_message([&] { load_model(temp.path()); });
  expect_contains(text, "model.layers.0.self_attn.k_proj.weight is [12,12] in the model and [8,12] "
                        "in the file");
  EXPECT_EQ(text.find("set it to"), std::string::npos);
}

TEST(DecoderFiles, Shards) {
  const std::string from = folder("qwen3");
  const auto copy_to = [&](const TempFolder& temp) {
    std::filesystem::copy(from, temp.path(),
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing);
  };
  const std::string index_file = "model.safetensors.index.json";
  EXPECT_EQ(Safetensors::open(from).files().size(), 2u);
  {  // a missing shard
    TempFolder temp;
    copy_to(temp);
    std::filesystem::remove(temp / "model-00002-of-00002.safetensors");
    std::string text;
    try {
      load_model(temp.path());
    } catch (const Error& error) {
      text = error.what();
    }
    expect_contains(text, "model-00002-of-00002.safetensors");
  }
  const auto with_index = [&](const std::function<void(Json&)>& change) {
    TempFolder temp;
    copy_to(temp);
    Json index = Json::parse(read_file(temp / index_file), index_file);
    change(index.at("weight_map"));
    write_file_atomic(temp / index_file, index.dump());
    return usage_message([&] { load_model(temp.path()); });
  };
  expect_contains(
      with_index([](Json& map) { map.set("absent", "model-00001-of-00002.safetensors"); }),
      "tensor \"absent\" is not in model-00001-of-00002.safetensors");
  expect_contains(with_index([](Json& map) { map.set("absent", "../x.safetensors"); }),
                  "no plain file name");
  {  // a tensor in both shards
    TempFolder temp;
    copy_to(temp);
    StateDict both = read_state(temp / "model-00001-of-00002.safetensors");
    for (const auto& entry : read_state(temp / "model-00002-of-00002.safetensors"))
      both.push_back(entry);
    write_state(temp / "model-00002-of-00002.safetensors", both, {});
    expect_contains(usage_message([&] { load_model(temp.path()); }), "is in two of the shards");
  }
  {  // a name twice in an index
    TempFolder temp;
    copy_to(temp);
    std::string text = read_file(temp / index_file);
    const std::string name = "\"model.norm.weight\":";
    const size_t place = text.find(name);
    ASSERT_NE(place, std::string::npos);
    text.insert(place, name + " \"model-00001-of-00002.safetensors\", ");
    write_file_atomic(temp / index_file, text);
    expect_contains(usage_message([&] { load_model(temp.path()); }), "model.norm.weight");
  }
}

TEST(DecoderErrors, NameTheNumbers) {
  auto model = load_model(folder("mistral"));
  const auto ids = [](Shape shape) { return zeros(std::move(shape), DType::i64); };
  expect_contains(usage_message([&] { (*model)(ids({1, 33})); }), "33 tokens exceed the 32");
  expect_contains(usage_message([&] { (*model)(full({1, 2}, 19, DType::i64)); }), "19");
  KvCache plain = model->make_cache(1, 8), padded = model->make_cache(1, 8, true);
  expect_contains(usage_message([&] {
                    model->prefill(ids({1, 4}), plain, ones({1, 4}));
                  }),
                  "an attention mask for a cache made with padded = false");
  expect_contains(usage_message([&] {
                    model->prefill(ids({1, 4}), padded);
                  }),
                  "no attention mask for a cache made with padded = true");
  expect_contains(usage_message([&] {
                    model->prefill(ids({1, 4}), padded, ones({1, 3}));
                  }),
                  "f32[1,3]");
  // Dynamic frequencies: whole sequences may be longer than what a cache can hold.
  auto dynamic = load_model(folder("llama_dynamic"));
  EXPECT_EQ(dynamic->max_positions(), 8);
  (*dynamic)(ids({1, 16}));
  expect_contains(usage_message([&] { (*dynamic)(ids({1, 17})); }), "17 tokens exceed the 16");
  expect_contains(usage_message([&] { dynamic->make_cache(1, 9); }), "9 positions");
}

// Pairs of a query and a key within the window only.
TEST(DecoderErrors, CountsFlops) {
  auto model = load_model(folder("mistral"));  // C 12, F 14, H 4, K 2, D 6, V 19, window 4
  const double layer =
      2 * 11 * (12 * (4 + 4) * 6 + 4 * 6 * 12 + 3 * 12 * 14) + 4 * (1 + 2 + 3 + 8 * 4) * 4 * 6;
  EXPECT_EQ(model->forward_flops(3, 11), 3 * (2 * layer + 2 * 11 * 12 * 19));
}

}  // namespace
}  // namespace corten
