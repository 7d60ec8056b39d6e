// The families of decoders against transformers (make_decoder_goldens.py).
#include "base/file.h"
#include "base/json.h"
#include "corten/safetensors.h"
#include "golden.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::difference;
using testing::Golden;
using testing::largest;
using testing::same_bits;
using testing::shifted;
using testing::TempFolder;

using Ids = std::vector<int64_t>;

const std::vector<std::string> kDecoders = {
    "llama",      "llama3",       "llama_linear",   "llama_dynamic", "llama_yarn",
    "mistral",    "mistral_full", "qwen2",          "qwen2_tied",    "qwen3",
    "qwen3_bias", "gemma2",       "gemma2_uncapped"};

std::string folder(const std::string& name) {
  return testing::folder("decoders/" + name);
}
Golden golden_of(const std::string& name) {
  return Golden("decoders/" + name);
}

TEST(Decoders, LogitsLossAndGradientsAsTransformers) {
  for (const std::string& name : kDecoders) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = load_model(folder(name));
    const Tensor logits = (*model)(golden["ids"]);
    const double scale = largest(golden["logits"]);
    EXPECT_GT(scale, 0.3);
    EXPECT_LT(difference(logits, golden["logits"]), 1e-5 * scale);
    Tensor loss = model->loss(golden["ids"], shifted(golden["labels"]));
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-5);
    loss.backward();
    size_t compared = 0;
    for (const auto& [parameter, tensor] : model->named_parameters()) {
      ASSERT_TRUE(tensor.grad().defined()) << parameter;
      const Tensor& expected = golden["grad." + parameter];
      EXPECT_LT(difference(tensor.grad(), expected), 1e-4 * largest(expected) + 1e-7) << parameter;
      ++compared;
    }
    const size_t gradients = static_cast<size_t>(std::ranges::count_if(
        golden.all(), [](const auto& entry) { return entry.first.starts_with("grad."); }));
    EXPECT_EQ(compared, gradients);
  }
}

TEST(Decoders, CompiledEqualsEagerToTheBit) {
  for (const std::string& name : kDecoders) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = load_model(folder(name));
    const auto step = [&](const std::vector<Tensor>& in) {
      Tensor loss = model->loss(in[0], in[1]);
      loss.backward();
      std::vector<Tensor> out = {(*model)(in[0]).detach(), loss.detach()};
      for (const Tensor& parameter : model->parameters()) out.push_back(parameter.grad());
      model->zero_grad();
      return out;
    };
    const std::vector<Tensor> in = {golden["ids"], shifted(golden["labels"])};
    const auto eager = step(in);
    const auto compiled = compile(step)(in);
    ASSERT_EQ(eager.size(), compiled.size());
    for (size_t i = 0; i < eager.size(); ++i) EXPECT_TRUE(same_bits(eager[i], compiled[i])) << i;
  }
}

TEST(Decoders, PaddingIsInvisible) {
  for (const std::string& name : kDecoders) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = load_model(folder(name));
    const Tensor logits = (*model)(golden["ids"], golden["mask"]);
    const auto mask = golden["mask"].to_vector<int64_t>();
    const int64_t tokens = golden["mask"].size(1);
    for (int64_t row = 0; row < golden["mask"].size(0); ++row)
      for (int64_t t = 0; t < tokens; ++t) {
        if (mask[static_cast<size_t>(row * tokens + t)])
          EXPECT_LT(difference(logits[row][t], golden["masked_logits"][row][t]), 2e-5)
              << row << "," << t;
        for (double x : logits[row][t].to_vector<double>()) EXPECT_TRUE(std::isfinite(x));
      }
  }
}

/// Logits after each token from `prompt` on: prefill, then one by one.
std::vector<float> cached(CausalLM& model, const Tensor& ids, int64_t prompt, int64_t length,
                          bool compiled, const Ids& mask = {}) {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  DecodeSession session(model, rows, length, compiled, !mask.empty());
  std::vector<float> out = session.prefill(ids.slice(1, 0, prompt).to_vector<int64_t>(), mask);
  for (int64_t t = prompt; t < tokens; ++t) {
    const auto logits = session.decode(ids.slice(1, t, t + 1).to_vector<int64_t>());
    out.insert(out.end(), logits.begin(), logits.end());
  }
  return out;
}

TEST(Decoders, CachedLogitsAreTheUncachedBits) {
  for (const std::string& name : kDecoders) {
    const Golden golden = golden_of(name);
    for (DType dtype : {DType::f32, DType::bf16}) {
      auto model = load_model(folder(name), dtype);
      const int64_t most = model->max_positions();
      const Tensor ids = golden["ids"].slice(1, 0, std::min<int64_t>(11, most));
      const int64_t tokens = ids.size(1);
      for (int64_t prompt : {1, 6}) {
        std::vector<float> expected;
        for (int64_t t = prompt; t <= tokens; ++t) {
          const Tensor all = (*model)(ids.slice(1, 0, t)).select(1, t - 1).to(DType::f32);
          const auto values = all.to_vector<float>();
          expected.insert(expected.end(), values.begin(), values.end());
        }
        for (bool compiled : {true, false})
          EXPECT_EQ(cached(*model, ids, prompt, prompt == 1 ? tokens : most, compiled), expected)
              << name << " " << corten::name(dtype) << " prompt " << prompt << " compiled "
              << compiled;
      }
    }
  }
}

// Across the blocks of attention, the chunks of the reduction trees and the segments of long
// products, with windows that begin in the middle of a block.
TEST(Decoders, LongContextsToo) {
  for (const char* special : {R"("model_type": "mistral", "sliding_window": 300)",
                              R"("model_type": "gemma2", "sliding_window": 200, "layer_types":
           ["full_attention", "sliding_attention"], "query_pre_attn_scalar": 8)"}) {
    SCOPED_TRACE(special);
    auto model = make_model(std::string("{") + special + R"(, "vocab_size": 50, "hidden_size": 16,
        "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1200,
        "initializer_range": 0.3})");
    model->initialize(1);
    model->eval();
    Ids ids(1028);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * i % 47);
    const Tensor tokens = from_vector(ids, {1, 1028});
    const auto expected = (*model)(tokens).slice(1, 1020, 1028).to_vector<float>();
    for (int64_t length : {1028, 1200})
      EXPECT_EQ(cached(*model, tokens, 1021, length, true), expected) << length;
  }
}

TEST(Decoders, PaddedPromptsHaveTheUncachedBitsToo) {
  for (const std::string& name : {"gpt2", "llama3", "mistral", "gemma2"}) {
    SCOPED_TRACE(name);
    const bool rotary = std::string(name) != "gpt2";
    const Golden golden = rotary ? golden_of(name) : Golden("gpt2_tied");
    auto model = load_model(rotary ? folder(name) : testing::folder("gpt2_tied"));
    const Tensor ids = golden["ids"];
    const int64_t tokens = ids.size(1), vocab = model->vocab_size();
    // Row 1 starts with two tokens of padding.
    const Ids prompt_mask = {1, 1, 1, 1, 1, 0, 0, 1, 1, 1};
    const auto got = cached(*model, ids, 5, 16, true, prompt_mask);
    EXPECT_EQ(cached(*model, ids, 5, 16, false, prompt_mask), got);
    // The second row alone, without its padding.
    const Tensor alone = (*model)(ids.slice(0, 1, 2).slice(1, 2, tokens));
    for (int64_t t = 4; t < tokens; ++t) {
      const auto expected = alone[0][t - 2].to_vector<float>();
      const auto at = got.begin() + ((t - 4) * 2 + 1) * vocab;
      for (int64_t v = 0; v < vocab; ++v)
        EXPECT_NEAR(at[v], expected[static_cast<size_t>(v)], 2e-5) << t << "," << v;
    }
    if (!rotary) continue;  // whose uncached positions count from the padding
    Ids mask(static_cast<size_t>(2 * tokens), 1);
    mask[static_cast<size_t>(tokens)] = mask[static_cast<size_t>(tokens) + 1] = 0;
    const Tensor whole = (*model)(ids, from_vector(mask, {2, tokens}));
    const auto expected = whole.slice(1, 4, tokens).transpose(0, 1).to_vector<float>();
    EXPECT_EQ(got, expected);
  }
}

TEST(Decoders, GreedyAsTransformers) {
  for (const std::string& name : kDecoders) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = load_model(folder(name));
    const Tensor ids = golden["greedy"];
    const Ids first = ids[0].to_vector<int64_t>(), second = ids[1].to_vector<int64_t>();
    GenerationOptions options{.max_new_tokens = ids.size(1) - 5, .sampling = {.temperature = 0}};
    options.stop_at_eos = false;
    // The second prompt is two tokens shorter.
    const std::vector<Ids> prompts = {Ids(first.begin(), first.begin() + 5),
                                      Ids(second.begin() + 2, second.begin() + 5)};
    const Generation out = generate(*model, prompts, options);
    EXPECT_EQ(out.ids[0], Ids(first.begin() + 5, first.end()));
    EXPECT_EQ(out.ids[1], Ids(second.begin() + 5, second.end()));
    EXPECT_EQ(out.prompt_tokens, 8);
  }
}

TEST(Decoders, RoundTrip) {
  for (const std::string& name : kDecoders) {
    SCOPED_TRACE(name);
    TempFolder temp;
    const Golden golden = golden_of(name);
    auto model = load_model(folder(name));
    EXPECT_EQ(model_info(model->config_json()).num_parameters, model->num_parameters());
    EXPECT_EQ(model_info(model->config_json()).architecture, model->type_name());
    model->save_pretrained(temp / "copy");
    auto again = load_model(temp / "copy");
    EXPECT_TRUE(same_bits((*again)(golden["ids"]), (*model)(golden["ids"])));
    const auto parse = [](const std::string& path) { return Json::parse(read_file(path), path); };
    Json before = parse(folder(name) + "/config.json"), after = parse(temp / "copy/config.json");
    EXPECT_EQ(after.at("dtype"), Json("float32"));
    for (Json* config : {&before, &after}) config->erase("dtype"), config->erase("torch_dtype");
    EXPECT_EQ(after, before);
    // The same weights to the byte, under the same names.
    const auto stored = Safetensors::open(folder(name)), mine = Safetensors::open(temp / "copy");
    EXPECT_EQ(stored.tensors().size(), mine.tensors().size());
    for (const StoredTensor& tensor : stored.tensors()) {
      const StoredTensor& copy = mine.at(tensor.name);
      EXPECT_EQ(copy.dtype, tensor.dtype);
      EXPECT_TRUE(std::ranges::equal(copy.bytes, tensor.bytes)) << tensor.name;
    }
    if (stored.files().size() == 1)
      EXPECT_EQ(read_file(temp / "copy/model.safetensors"),
                read_file(folder(name) + "/model.safetensors"));
  }
}

TEST(Decoders, SixteenBitWeights) {
  for (const std::string& name : {"llama3", "qwen3_bias", "gemma2"}) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    for (DType dtype : {DType::bf16, DType::f16}) {
      TempFolder temp;
      auto model = load_model(folder(name), dtype);
      model->save_pretrained(temp.path());
      auto half = load_model(temp.path());
      EXPECT_EQ(half->dtype(), dtype);
      EXPECT_TRUE(same_bits((*half)(golden["ids"]), (*model)(golden["ids"])));
      EXPECT_LT(difference((*half)(golden["ids"]), golden["logits"]),
                0.05 * largest(golden["logits"]));
    }
  }
}

}  // namespace
}  // namespace corten
