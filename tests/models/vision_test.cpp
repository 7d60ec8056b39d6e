// The families of image models against transformers (make_vision_goldens.py).
#include "corten/vision.h"

#include "base/file.h"
#include "base/json.h"
#include "base/thread_pool.h"
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

const std::vector<std::string> kBase = {"vit_base", "resnet_base"};
const std::vector<std::string> kClasses = {"vit_single", "vit_multi", "resnet_single",
                                           "resnet_regression"};

std::string folder(const std::string& name) {
  return testing::folder("vision/" + name);
}
Golden golden_of(const std::string& name) {
  return Golden("vision/" + name);
}
void expect_values(const Tensor& got, const Tensor& expected) {
  testing::expect_near(got, expected, 2e-5);
}
void expect_all_gradients(const nn::Module& model, const Golden& golden,
                          const std::string& prefix) {
  testing::expect_gradients(model, golden, prefix, 2e-4);
}

Tensor base_loss(const ImageModelOutput& out) {
  std::vector<double> weights(static_cast<size_t>(out.last_hidden_state.numel()));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::cos(static_cast<double>(i));
  const Tensor w = from_vector(weights, out.last_hidden_state.shape()).to(DType::f32);
  return sum(out.last_hidden_state * w) + sum(out.pooler_output);
}

void expect_statistics(const nn::Module& model, const Golden& golden) {
  for (const auto& [name, buffer] : model.named_buffers()) {
    const Tensor& expected = golden["train.buffer." + name];
    EXPECT_LT(difference(buffer, expected), 1e-5 * (1 + largest(expected))) << name;
  }
}

TEST(Vision, HiddenStatesPoolerAndGradientsAsTransformers) {
  for (const std::string& name : kBase) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoImageModel::from_pretrained(folder(name));
    EXPECT_FALSE(model->is_training());
    EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
    for (const std::string prefix : {"", "train."}) {
      if (!prefix.empty() && name.starts_with("vit")) continue;
      model->train(!prefix.empty());
      model->zero_grad();
      const ImageModelOutput out = (*model)(golden["pixel_values"], true);
      expect_values(out.last_hidden_state, golden[prefix + "last_hidden_state"]);
      expect_values(out.pooler_output, golden[prefix + "pooler_output"]);
      ASSERT_GE(out.hidden_states.size(), 3u);
      for (size_t i = 0; i < out.hidden_states.size(); ++i)
        expect_values(out.hidden_states[i], golden[prefix + "hidden_states." + std::to_string(i)]);
      Tensor loss = base_loss(out);
      EXPECT_NEAR(loss.item(), golden[prefix + "loss"].item(), 2e-4);
      loss.backward();
      expect_all_gradients(*model, golden, prefix);
    }
    expect_statistics(*model, golden);
  }
}

TEST(Vision, LogitsLossesAndGradientsAsTransformers) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModelForImageClassification::from_pretrained(folder(name));
    EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
    for (const std::string prefix : {"", "train."}) {
      if (!prefix.empty() && name.starts_with("vit")) continue;
      SCOPED_TRACE(prefix);
      model->eval();
      model->zero_grad();
      if (prefix.empty()) expect_values((*model)(golden["pixel_values"]), golden["logits"]);
      model->train(!prefix.empty());
      Tensor loss = model->loss(golden["pixel_values"], golden["labels"]);
      const double expected = golden[prefix + "loss"].item();
      EXPECT_NEAR(loss.item(), expected, 1e-5 * (1 + std::abs(expected)));
      loss.backward();
      expect_all_gradients(*model, golden, prefix);
    }
    expect_statistics(*model, golden);
  }
}

// transformers' interpolate_pos_encoding=True.
TEST(Vision, PositionsForOtherSizesAsTransformers) {
  const Golden golden = golden_of("vit_sizes");
  for (const std::string size : {"8x8", "12x10", "4x7", "16x8", "5x25"}) {
    SCOPED_TRACE(size);
    auto model = AutoModelForImageClassification::from_pretrained(folder("vit_sizes"));
    const Tensor& pixels = golden[size + ".pixel_values"];
    if (size != "8x8")
      expect_contains(usage_message([&] { (*model)(pixels); }), "which may be interpolated");
    model->set_interpolate_pos_encoding(true);
    const Tensor logits = (*model)(pixels);
    expect_values(logits, golden[size + ".logits"]);
    Tensor loss = model->loss(pixels, golden["labels"]);
    EXPECT_NEAR(loss.item(), golden[size + ".loss"].item(), 1e-5);
    loss.backward();
    expect_all_gradients(*model, golden, size + ".");
    CompiledFunction compiled = compile([&](const std::vector<Tensor>& in) {
      const NoGradGuard no_grad;
      return std::vector{(*model)(in[0])};
    });
    EXPECT_TRUE(same_bits(compiled({pixels})[0], logits));
  }
  auto vit = AutoModelForImageClassification::from_pretrained(folder("vit_sizes"));
  vit->set_interpolate_pos_encoding(true);
  expect_contains(usage_message([&] { (*vit)(ones({1, 3, 1, 8})); }),
                  "images of 1 x 8 pixels hold no patch of 2 x 2");
  auto resnet = AutoModelForImageClassification::from_pretrained(folder("resnet_single"));
  expect_contains(usage_message([&] { resnet->set_interpolate_pos_encoding(true); }),
                  "has no positions");
}

TEST(Vision, CompiledEqualsEagerToTheBit) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    for (DType dtype : {DType::f32, DType::bf16}) {
      const auto run = [&](bool compiled) {
        auto model = AutoModelForImageClassification::from_pretrained(folder(name));
        model->train();
        const auto step = [&](const std::vector<Tensor>& in) {
          Autocast autocast(dtype);
          Tensor loss = model->loss(in[0], in[1]);
          loss.backward();
          std::vector<Tensor> out = {loss.detach()};
          for (const Tensor& parameter : model->parameters()) out.push_back(parameter.grad());
          model->zero_grad();
          return out;
        };
        const std::vector<Tensor> in = {golden["pixel_values"], golden["labels"]};
        std::vector<Tensor> out;
        CompiledFunction function = compile(step);
        // Twice: the second step meets the statistics that the first one left.
        for (int i = 0; i < 2; ++i) out = compiled ? function(in) : step(in);
        for (const auto& [buffer, tensor] : model->named_buffers()) out.push_back(tensor.clone());
        return out;
      };
      const auto eager = run(false), compiled = run(true);
      ASSERT_EQ(eager.size(), compiled.size());
      for (size_t i = 0; i < eager.size(); ++i) EXPECT_TRUE(same_bits(eager[i], compiled[i])) << i;
    }
  }
}

// A training step with any number of threads.
TEST(Vision, ThreadsDoNotMatter) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    for (DType dtype : {DType::f32, DType::bf16}) {
      const auto run = [&](int threads) {
        default_thread_pool().set_num_threads(threads);
        auto model = AutoModelForImageClassification::from_pretrained(folder(name));
        model->train();
        CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
          Autocast autocast(dtype);
          Tensor loss = model->loss(in[0], in[1]);
          loss.backward();
          std::vector<Tensor> out = {loss.detach()};
          for (const Tensor& parameter : model->parameters()) out.push_back(parameter.grad());
          model->zero_grad();
          return out;
        });
        std::vector<Tensor> out = step({golden["pixel_values"], golden["labels"]});
        for (const auto& [buffer, tensor] : model->named_buffers()) out.push_back(tensor);
        return out;
      };
      const std::vector<Tensor> one = run(1);
      for (int threads : {2, 3, 7}) {
        const std::vector<Tensor> many = run(threads);
        for (size_t i = 0; i < one.size(); ++i)
          EXPECT_TRUE(same_bits(one[i], many[i])) << i << " with " << threads;
      }
      default_thread_pool().set_num_threads(0);
    }
  }
}

template <typename Auto>
void expect_round_trip(const std::string& name) {
  SCOPED_TRACE(name);
  TempFolder temp;
  auto model = Auto::from_pretrained(folder(name));
  model->save_pretrained(temp / "copy");
  EXPECT_EQ(read_file(temp / "copy/model.safetensors"),
            read_file(folder(name) + "/model.safetensors"));
  const auto parse = [](const std::string& path) { return Json::parse(read_file(path), path); };
  const Json before = parse(folder(name) + "/config.json"),
             after = parse(temp / "copy/config.json");
  for (const auto& [key, value] : before.items()) EXPECT_EQ(after.at(key), value) << key;
  EXPECT_EQ(after.at("architectures"), Json(std::vector<std::string>{model->type_name()}));
  // And from the config alone.
  auto fresh = Auto::from_config(model->config_json());
  EXPECT_TRUE(fresh->is_training());
  EXPECT_EQ(fresh->num_parameters(), model->num_parameters());
  fresh->initialize(1);
  for (DType dtype : {DType::bf16, DType::f16}) {
    auto half = Auto::from_pretrained(folder(name), {.dtype = dtype});
    half->save_pretrained(temp / "half");
    EXPECT_EQ(Auto::from_pretrained(temp / "half")->dtype(), dtype);
  }
}

TEST(VisionFiles, RoundTrip) {
  for (const std::string& name : kBase) expect_round_trip<AutoImageModel>(name);
  for (const std::string& name : kClasses) expect_round_trip<AutoModelForImageClassification>(name);
}

/// The folder with its config and its weights changed.
void copy_changed(const std::string& name, const TempFolder& temp,
                  const std::function<void(Json&)>& change_config,
                  const std::function<void(StateDict&)>& change_state) {
  const std::string path = folder(name) + "/config.json";
  Json config = Json::parse(read_file(path), path);
  change_config(config);
  write_file_atomic(temp / "config.json", config.dump());
  StateDict state = read_state(folder(name) + "/model.safetensors");
  change_state(state);
  write_state(temp / "model.safetensors", state, {});
}
void keep(Json&) {}
void take_out(StateDict& state, const std::string& name) {
  ASSERT_EQ(std::erase_if(state, [&](const auto& entry) { return entry.first == name; }), 1u);
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// A state of a vision transformer under the names of timm, with queries, keys and values as one.
void to_timm_vit(StateDict& state) {
  StateDict out;
  for (const auto& [stored, tensor] : state) {
    std::string name = replaced(stored, "vit.", "");
    for (const auto& [from, to] : {std::pair<std::string, std::string>{"encoder.layer.", "blocks."},
                                   {"layernorm_before", "norm1"},
                                   {"layernorm_after", "norm2"},
                                   {"attention.output.dense", "attn.proj"},
                                   {"intermediate.dense", "mlp.fc1"},
                                   {"output.dense", "mlp.fc2"},
                                   {"embeddings.cls_token", "cls_token"},
                                   {"embeddings.position_embeddings", "pos_embed"},
                                   {"embeddings.patch_embeddings.projection", "patch_embed.proj"},
                                   {"layernorm.", "norm."},
                                   {"classifier.", "head."}})
      name = replaced(name, from, to);
    if (name.find("attention.attention.key") != std::string::npos ||
        name.find("attention.attention.value") != std::string::npos)
      continue;
    if (name.find("attention.attention.query") == std::string::npos) {
      out.emplace_back(name, tensor);
      continue;
    }
    std::vector<Tensor> parts = {tensor};
    for (const char* part : {"key", "value"})
      parts.push_back(*find_tensor(state, replaced(stored, "query", part)));
    out.emplace_back(replaced(name, "attention.attention.query", "attn.qkv"), concat(parts, 0));
  }
  state = out;
}
void to_timm_resnet(StateDict& state) {
  for (auto& [name, tensor] : state) {
    name = replaced(name, "resnet.", "");
    name = replaced(name, "classifier.1.", "fc.");
    name = replaced(name, "embedder.embedder.convolution", "conv1");
    name = replaced(name, "embedder.embedder.normalization", "bn1");
    for (int stage = 0; stage < 2; ++stage)
      name = replaced(name, "encoder.stages." + std::to_string(stage) + ".layers.",
                      "layer" + std::to_string(stage + 1) + ".");
    name = replaced(name, "shortcut.convolution", "downsample.0");
    name = replaced(name, "shortcut.normalization", "downsample.1");
    for (int i = 0; i < 3; ++i) {
      const std::string from = ".layer." + std::to_string(i), to = std::to_string(i + 1);
      name = replaced(name, from + ".convolution", ".conv" + to);
      name = replaced(name, from + ".normalization", ".bn" + to);
    }
  }
}

/// As transformers 5 calls them in memory.
void to_memory_names(StateDict& state) {
  for (auto& [name, tensor] : state)
    for (const auto& [from, to] : {std::pair<std::string, std::string>{"encoder.layer.", "layers."},
                                   {"attention.attention.query", "attention.q_proj"},
                                   {"attention.attention.key", "attention.k_proj"},
                                   {"attention.attention.value", "attention.v_proj"},
                                   {"attention.output.dense", "attention.o_proj"},
                                   {"intermediate.dense", "mlp.fc1"},
                                   {"output.dense", "mlp.fc2"}})
      name = replaced(name, from, to);
}

TEST(VisionFiles, OtherNames) {
  TempFolder temp;
  copy_changed("vit_single", temp, keep, to_memory_names);
  auto model = AutoModelForImageClassification::from_pretrained(temp.path());
  EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
  expect_values((*model)(golden_of("vit_single")["pixel_values"]), golden_of("vit_single")["logits"]);
}

TEST(VisionFiles, NamesOfTimm) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    TempFolder temp;
    copy_changed(name, temp, keep, name.starts_with("vit") ? to_timm_vit : to_timm_resnet);
    auto model = AutoModelForImageClassification::from_pretrained(temp.path());
    EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
    expect_values((*model)(golden_of(name)["pixel_values"]), golden_of(name)["logits"]);
  }
}

TEST(VisionConfig, ArchitecturesOfTimm) {
  const auto config = [](const std::string& text) {
    return Json::parse(AutoModelForImageClassification::from_config(text)->config_json(), "c");
  };
  const Json vit = config(
      R"({"architecture": "vit_tiny_patch16_224.augreg_in21k", "num_classes": 10, "model_args": {}})");
  EXPECT_EQ(vit.at("hidden_size"), Json(192));
  EXPECT_EQ(vit.at("layer_norm_eps"), Json(1e-6));
  EXPECT_EQ(vit.at("id2label").size(), 10u);
  EXPECT_EQ(vit.at("model_type"), Json("vit"));
  const Json resnet = config(R"({"architecture": "resnet18.a1_in1k", "num_classes": 7})");
  EXPECT_EQ(resnet.at("layer_type"), Json("basic"));
  EXPECT_EQ(resnet.at("id2label").size(), 7u);
  for (const char* other : {"vit_base_patch16_clip_224", "resnet50d", "vit_base_r50_s16_224"})
    expect_contains(usage_message([&] {
                      config(R"({"architecture": ")" + std::string(other) + "\"}");
                    }),
                    other);
  expect_contains(
      usage_message([&] {
        config(R"({"architecture": "resnet18", "model_args": {"output_stride": 16}})");
      }),
      "\"model_args\" is set");
}

TEST(VisionFiles, WhatIsMissing) {
  const Golden golden = golden_of("resnet_single");
  {  // statistics are no parameters, but needed
    TempFolder temp;
    const std::string buffer = "resnet.embedder.embedder.normalization.running_var";
    copy_changed("resnet_single", temp, keep, [&](StateDict& state) { take_out(state, buffer); });
    expect_contains(
        usage_message([&] { AutoModelForImageClassification::from_pretrained(temp.path()); }),
        "missing: " + buffer);
  }
  {  // files from before batches were counted
    TempFolder temp;
    copy_changed("resnet_single", temp, keep, [&](StateDict& state) {
      std::erase_if(state, [](const auto& e) { return e.first.ends_with("num_batches_tracked"); });
    });
    auto model = AutoModelForImageClassification::from_pretrained(temp.path());
    EXPECT_FALSE(model->load_report().initialized.empty());
    expect_values((*model)(golden["pixel_values"]), golden["logits"]);
    model->train();
    (*model)(golden["pixel_values"]);
    for (const auto& [name, buffer] : model->named_buffers())
      if (name.ends_with("num_batches_tracked")) EXPECT_EQ(buffer.item<int64_t>(), 1) << name;
  }
  {  // another number of classes
    const EncoderLoadOptions five{.num_labels = 5};
    expect_contains(usage_message([&] {
                      AutoModelForImageClassification::from_pretrained(folder("vit_single"), five);
                    }),
                    "classifier.weight is [5,12] in the model and [3,12] in the file");
    auto model = AutoModelForImageClassification::from_pretrained(
        folder("vit_single"), {.num_labels = 5, .ignore_mismatched_sizes = true});
    EXPECT_EQ(model->load_report().mismatched,
              (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
    EXPECT_EQ((*model)(golden_of("vit_single")["pixel_values"]).shape(), (Shape{3, 5}));
  }
  {  // a classifier as a model without a head: the pooler is new
    auto model = AutoImageModel::from_pretrained(folder("vit_single"));
    EXPECT_EQ(model->load_report().initialized,
              (std::vector<std::string>{"pooler.dense.weight", "pooler.dense.bias"}));
    EXPECT_EQ(model->load_report().unused.size(), 2u);
  }
  {
    TempFolder temp;
    copy_changed("vit_single", temp, keep, [](StateDict& state) {
      state.emplace_back("blocks.0.attn.qkv.bias", ones({36}));
    });
    expect_contains(
        usage_message([&] { AutoModelForImageClassification::from_pretrained(temp.path()); }),
        "are the same parameter");
  }
}

TEST(VisionErrors, NameTheNumbers) {
  auto vit = AutoModelForImageClassification::from_pretrained(folder("vit_single"));
  const auto message = [](auto& model, const Tensor& pixels) {
    const std::string text = usage_message([&] { (*model)(pixels); });
    EXPECT_EQ(text.find('\n'), std::string::npos);
    return text;
  };
  expect_contains(message(vit, zeros({2, 1, 8, 12})),
                  "images of 8 x 12 pixels do not fit the model's positions for 8 x 8");
  expect_contains(message(vit, zeros({2, 3, 8, 8})),
                  "must be floating [images, 1, rows, columns], got f32[2,3,8,8]");
  expect_contains(message(vit, zeros({1, 8, 8})), "got f32[1,8,8]");
  expect_contains(message(vit, zeros({2, 1, 8, 8}, DType::i64)), "got i64[2,1,8,8]");
  auto resnet = AutoModelForImageClassification::from_pretrained(folder("resnet_single"));
  expect_contains(message(resnet, zeros({2, 1, 40, 40})), "[images, 3, rows, columns]");
  expect_contains(usage_message([&] {
                    resnet->loss(zeros({2, 3, 40, 40}), zeros({3}, DType::i64));
                  }),
                  "labels i64[3] do not fit the logits f32[2,3]");
  resnet->train();
  expect_contains(message(resnet, zeros({1, 3, 8, 8})), "more than one value per channel");
  expect_contains(usage_message([&] { AutoImageModel::from_pretrained("/nowhere"); }), "/nowhere");
  expect_contains(usage_message([&] { AutoModel::from_pretrained(folder("vit_base")); }),
                  "is an image model: use AutoImageModel");
  expect_contains(usage_message([&] { load_model(folder("vit_base")); }), "is an image model");
}

TEST(VisionConfig, MistakesAreNamed) {
  const std::tuple<const char*, const char*, const char*, const char*> cases[] = {
      {"vit_base", "num_attention_heads", "5", "no multiple of \"num_attention_heads\" 5"},
      {"vit_base", "hidden_act", "\"mish\"", "\"hidden_act\" \"mish\" is not supported"},
      {"vit_base", "patch_size", "16", "is smaller than \"patch_size\""},
      {"vit_base", "image_size", "[1, 2, 3]", "\"image_size\" has 3 numbers instead of 2"},
      {"vit_base", "num_channels", "0", "\"num_channels\" is 0"},
      {"vit_base", "model_type", "\"vid\"", "did you mean \"vit\""},
      {"resnet_base", "model_type", "\"bert\"", "known: vit, resnet"},
      {"resnet_base", "layer_type", "\"deep\"", "\"layer_type\" \"deep\" is not supported"},
      {"resnet_base", "depths", "[1]", "must name the same stages"},
      {"resnet_base", "depths", "[1, 0]", "\"depths\" is 0"},
      {"resnet_base", "hidden_sizes", "[4, -1]", "\"hidden_sizes\" is -1"},
  };
  for (const auto& [name, key, value, part] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value);
    const std::string path = folder(name) + "/config.json";
    Json config = Json::parse(read_file(path), path);
    config.set(key, Json::parse(value, "value"));
    const std::string text =
        usage_message([&] { AutoImageModel::from_config(config.dump(), "some.json"); });
    expect_contains(text, part);
    expect_contains(text, "some.json");
  }
}

/// Any value in any field is either read or refused in one line.
TEST(VisionConfig, StrangeValuesAreRefused) {
  const char* values[] = {"null",  "true",  "-1", "0",     "1",  "3.5",
                          "1e308", "\"x\"", "[]", "[[0]]", "{}", "18446744073709551615"};
  int refused = 0;
  for (const char* name : {"vit_single", "resnet_single"}) {
    const std::string path = folder(name) + "/config.json";
    const Json config = Json::parse(read_file(path), path);
    for (const auto& [key, old] : config.items())
      for (const char* value : values) {
        Json changed = config;
        changed.set(key, Json::parse(value, "value"));
        try {
          AutoModelForImageClassification::from_config(changed.dump(), "some.json");
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Usage) << key << " = " << value << error.what();
          expect_contains(error.what(), "some.json");
          ++refused;
        }
      }
  }
  EXPECT_GT(refused, 150);
}

}  // namespace
}  // namespace corten
