// T5 against transformers (make_t5_goldens.py).
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "corten/safetensors.h"
#include "corten/seq2seq.h"
#include "golden.h"
#include "models/t5/relative_bias.h"
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

const std::vector<std::string> kWriters = {"relu", "gated"};

std::string folder(const std::string& name) {
  return testing::folder("t5/" + name);
}
Golden golden_of(const std::string& name) {
  return Golden("t5/" + name);
}
Json parse_file(const std::string& path) {
  return Json::parse(read_file(path), path);
}
Seq2SeqInput input_of(const Golden& golden) {
  return {.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
}

TEST(T5, LossAndGradientsAsTransformers) {
  for (const std::string& name : kWriters) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModelForSeq2SeqLM::from_pretrained(folder(name));
    EXPECT_FALSE(model->is_training());
    Seq2SeqInput input = input_of(golden);
    Tensor loss = model->loss(input, golden["labels"]);
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-5 * golden["loss"].item());
    loss.backward();
    expect_gradients(*model, golden);
    input.decoder_ids = model->shift_right(golden["labels"]);
    expect_near((*model)(input), golden["logits"]);
    input.decoder_ids = golden["decoder_input_ids"];
    input.decoder_attention_mask = golden["decoder_attention_mask"];
    expect_near((*model)(input), golden["given"]);
    expect_near((*model)({.ids = input.ids, .decoder_ids = input.decoder_ids}), golden["plain"]);
  }
}

TEST(T5, WithoutAHeadAsTransformers) {
  const Golden base = golden_of("base"), encoder = golden_of("encoder");
  auto model = AutoSeq2SeqModel::from_pretrained(folder("base"));
  EXPECT_EQ(model->type_name(), "T5Model");
  Seq2SeqInput input = input_of(base);
  const Tensor labels = base["labels"];
  input.decoder_ids = where(labels == -100.0, zeros_like(labels), labels);
  expect_near(model->hidden_states(input), base["states"]);

  auto alone = AutoSeq2SeqModel::from_pretrained(folder("encoder"));
  EXPECT_EQ(alone->type_name(), "T5EncoderModel");
  EXPECT_FALSE(alone->has_decoder());
  expect_near(alone->encode(encoder["input_ids"], encoder["attention_mask"]), encoder["states"]);
  expect_contains(usage_message([&] { alone->hidden_states(input); }), "has no decoder");
}

/// The definition of the paper's code, in double precision and per distance.
int64_t bucket_of(int64_t relative, bool bidirectional, int64_t buckets, int64_t max_distance) {
  int64_t out = 0;
  if (bidirectional) {
    buckets /= 2;
    if (relative > 0) out += buckets;
    relative = std::abs(relative);
  } else {
    relative = relative < 0 ? -relative : 0;
  }
  const int64_t exact = buckets / 2;
  if (relative < exact) return out + relative;
  const double x = static_cast<double>(relative) / static_cast<double>(exact);
  const double y = static_cast<double>(max_distance) / static_cast<double>(exact);
  // A little more, so that exact powers do not fall to the bucket before.
  const auto step =
      static_cast<int64_t>(std::log(x) / std::log(y) * static_cast<double>(buckets - exact) + 1e-9);
  return out + std::min(exact + step, buckets - 1);
}

TEST(T5, RelativeBuckets) {
  for (bool bidirectional : {true, false})
    for (const auto& [buckets, distance] :
         {std::pair<int64_t, int64_t>{32, 128}, {8, 20}, {7, 12}, {4, 3}, {64, 1000}}) {
      const auto got = t5::relative_buckets(bidirectional, buckets, distance);
      ASSERT_EQ(std::ssize(got), 2 * distance + 1);
      for (int64_t r = -distance; r <= distance; ++r)
        EXPECT_EQ(got[static_cast<size_t>(r + distance)],
                  bucket_of(r, bidirectional, buckets, distance))
            << buckets << " " << distance << " " << r;
    }
}

// In training mode, so that the random numbers of dropout are compared, too.
TEST(T5, CompiledEqualsEagerToTheBit) {
  const Golden golden = golden_of("gated");
  auto model = AutoModelForSeq2SeqLM::from_pretrained(folder("gated"));
  const auto step = [&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss({.ids = in[0], .attention_mask = in[1]}, in[2]);
    loss.backward();
    std::vector<Tensor> out = {loss.detach()};
    for (const Tensor& parameter : model->parameters()) out.push_back(parameter.grad());
    model->zero_grad();
    return out;
  };
  const std::vector<Tensor> in = {golden["input_ids"], golden["attention_mask"], golden["labels"]};
  std::vector<Tensor> quiet;
  for (bool training : {false, true}) {
    model->train(training);
    manual_seed(3);
    const auto eager = step(in);
    manual_seed(3);
    const auto compiled = compile(step)(in);
    for (size_t i = 0; i < eager.size(); ++i) EXPECT_TRUE(same_bits(eager[i], compiled[i])) << i;
    if (training)
      EXPECT_FALSE(same_bits(eager[0], quiet[0]));
    else
      quiet = eager;
  }
}

TEST(T5, DecodingHasTheBitsOfTheWholeSequence) {
  for (const std::string& name : kWriters)
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      SCOPED_TRACE(name + " " + std::string(corten::name(dtype)));
      const Golden golden = golden_of(name);
      auto model = AutoModelForSeq2SeqLM::from_pretrained(folder(name), dtype);
      Seq2SeqInput input = input_of(golden);
      input.decoder_ids = golden["decoder_input_ids"];
      const NoGradGuard no_grad;
      const Tensor whole = (*model)(input);
      const int64_t B = input.ids.size(0), T = input.decoder_ids.size(1);
      // Two neighbouring sequences of each input.
      Seq2SeqCache cache = model->make_cache(2 * B, T + 3, B, input.ids.size(1));
      model->prefill(input.ids, input.attention_mask, cache);
      for (int64_t t = 0; t < T; ++t) {
        const Tensor ids = input.decoder_ids.slice(1, t, t + 1);
        const Tensor twice = stack({ids, ids}, 1).reshape({2 * B, 1});
        const Tensor logits =
            model->decode(twice, scalar(static_cast<double>(t), DType::i64), cache);
        for (int64_t row = 0; row < 2 * B; ++row)
          EXPECT_TRUE(same_bits(logits[row], whole[row / 2][t])) << row << " " << t;
      }
    }
}

TEST(T5, TokensAsTransformers) {
  for (const std::string& name : kWriters) {
    const Golden golden = golden_of(name);
    const Json cases = parse_file(folder(name) + "/texts.json");
    auto model = AutoModelForSeq2SeqLM::from_pretrained(folder(name));
    std::vector<std::vector<int64_t>> inputs;
    const Tensor ids = golden["input_ids"], mask = golden["attention_mask"];
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const auto count = static_cast<int64_t>(mask[row].sum().item());
      inputs.push_back(ids[row].slice(0, 0, count).to_vector<int64_t>());
    }
    for (const auto& [setting, value] : cases.at("settings").items())
      for (bool compiled : {true, false}) {
        SCOPED_TRACE(name + " " + setting);
        GenerationOptions options = GenerationConfig::from_json(value.dump()).options(1);
        options.sampling.temperature = 0;
        options.compiled = compiled;
        const Generation out = generate(*model, inputs, options);
        EXPECT_EQ(Json(out.ids), cases.at("ids").at(setting));
        EXPECT_EQ(out.prompt_tokens, static_cast<int64_t>(mask.sum().item()));
      }
  }
}

TEST(T5, DrawsDependOnTheInputAlone) {
  auto model = AutoModelForSeq2SeqLM::from_pretrained(folder("relu"));
  const GenerationOptions options{
      .max_new_tokens = 9, .sampling = {.seed = 5}, .stop_at_eos = false};
  const std::vector<std::vector<int64_t>> inputs = {{5, 4, 3, 1}, {9, 2, 8, 1}};
  const Generation both = generate(*model, inputs, options);
  EXPECT_NE(both.ids[0], both.ids[1]);
  EXPECT_EQ(generate(*model, {inputs[1]}, options).ids[0], both.ids[1]);
  GenerationOptions several = options;
  several.num_return_sequences = 3;
  const Generation three = generate(*model, {inputs[1]}, several);
  ASSERT_EQ(three.ids.size(), 3u);
  EXPECT_EQ(three.ids[0], both.ids[1]);
  EXPECT_NE(three.ids[1], three.ids[0]);
}

template <typename Auto>
void expect_round_trip(const std::string& name) {
  SCOPED_TRACE(name);
  TempFolder temp;
  auto model = Auto::from_pretrained(folder(name));
  model->save_pretrained(temp / "copy");
  EXPECT_EQ(read_file(temp / "copy/model.safetensors"),
            read_file(folder(name) + "/model.safetensors"));
  const Json before = parse_file(folder(name) + "/config.json"),
             after = parse_file(temp / "copy/config.json");
  for (const auto& [key, value] : before.items()) EXPECT_EQ(after.at(key), value) << key;
  auto fresh = Auto::from_config(model->config_json());
  EXPECT_TRUE(fresh->is_training());
  fresh->initialize(1);
  fresh->save_pretrained(temp / "fresh");
  EXPECT_EQ(Auto::from_pretrained(temp / "fresh")->num_parameters(), fresh->num_parameters());
}

TEST(T5Files, RoundTrip) {
  for (const std::string& name : kWriters) expect_round_trip<AutoModelForSeq2SeqLM>(name);
  for (const std::string& name : {"base", "encoder"}) expect_round_trip<AutoSeq2SeqModel>(name);
  // The config says what the file need not: both versions have the same size, but not the same
  // head.
  EXPECT_EQ(
      AutoModelForSeq2SeqLM::from_pretrained(folder("gated"))->named_parameters().back().first,
      "lm_head.weight");
  Json config = parse_file(folder("relu") + "/config.json");
  config.set("tie_word_embeddings", false);
  EXPECT_EQ(AutoModelForSeq2SeqLM::from_config(config.dump())->named_parameters().back().first,
            "lm_head.weight");
}

/// The folder "relu" with its config and its weights changed.
void copy_changed(const TempFolder& temp, const std::function<void(Json&)>& change_config,
                  const std::function<void(StateDict&)>& change_state) {
  Json config = parse_file(folder("relu") + "/config.json");
  change_config(config);
  write_file_atomic(temp / "config.json", config.dump());
  StateDict state = read_state(folder("relu") + "/model.safetensors");
  change_state(state);
  write_state(temp / "model.safetensors", state, {});
}
std::string load_message(const TempFolder& temp) {
  return usage_message([&] { AutoModelForSeq2SeqLM::from_pretrained(temp.path()); });
}

TEST(T5Files, OlderLayouts) {
  TempFolder temp;
  const auto keep = [](Json&) {};
  const Golden golden = golden_of("relu");
  // Token embeddings under the stacks' names only, a tied head, a bias that nothing used.
  copy_changed(temp, keep, [](StateDict& state) {
    const Tensor shared = *find_tensor(state, "shared.weight");
    std::erase_if(state, [](const auto& entry) { return entry.first == "shared.weight"; });
    for (const char* name : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"})
      state.emplace_back(name, shared);
    state.emplace_back("lm_head.weight", shared);
    state.emplace_back("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
                       zeros({8, 3}));
  });
  auto model = AutoModelForSeq2SeqLM::from_pretrained(temp.path());
  EXPECT_NEAR(model->loss(input_of(golden), golden["labels"]).item(), golden["loss"].item(), 1e-4);

  copy_changed(temp, keep, [](StateDict& state) {
    state.emplace_back("encoder.embed_tokens.weight", ones({17, 12}));
  });
  expect_contains(load_message(temp), "encoder.embed_tokens.weight differs from shared.weight");
  copy_changed(temp, keep, [](StateDict& state) { state.pop_back(); });
  expect_contains(load_message(temp), "missing");
}

TEST(T5Files, WhatConfigsCannotSay) {
  const auto message = [](const std::function<void(Json&)>& change) {
    Json config = parse_file(folder("relu") + "/config.json");
    change(config);
    return usage_message([&] { AutoModelForSeq2SeqLM::from_config(config.dump(), "c.json"); });
  };
  expect_contains(message([](Json& c) { c.set("relative_attention_num_buckets", 3); }),
                  "c.json: \"relative_attention_num_buckets\" is 3, not between 4");
  expect_contains(message([](Json& c) { c.set("relative_attention_max_distance", 4); }),
                  "\"relative_attention_max_distance\" is 4, not between 5");
  expect_contains(message([](Json& c) { c.set("num_heads", 0); }), "\"num_heads\" is 0");
  expect_contains(message([](Json& c) { c.set("dense_act_fn", "gelo"); }), "\"gelo\"");
  expect_contains(message([](Json& c) { c.set("model_type", "t6"); }), "t6");
  expect_contains(message([](Json& c) { c.set("dropout_rate", 2); }), "\"dropout_rate\" is 2");
  expect_contains(usage_message([] { load_model(folder("relu")); }), "is an encoder-decoder");
  // A model that has nothing to begin with.
  Json config = parse_file(folder("relu") + "/config.json");
  config.erase("decoder_start_token_id");
  auto model = AutoModelForSeq2SeqLM::from_config(config.dump());
  model->initialize(1);
  expect_contains(usage_message([&] { generate(*model, {{3, 4}}); }), "decoder_start_token_id");
  expect_contains(usage_message([&] {
                    model->shift_right(zeros({1, 2}, DType::i64));
                  }),
                  "decoder_start_token_id");
  auto loaded = AutoModelForSeq2SeqLM::from_pretrained(folder("relu"));
  expect_contains(usage_message([&] { generate(*loaded, {{3, 17}}); }), "token 17 is outside");
  expect_contains(usage_message([&] { generate(*loaded, {{}}); }), "empty");
}

// Numbers beyond the range of f16 inside: the layers' sums are kept in f32.
TEST(T5, HalfPrecisionKeepsLargeStates) {
  TempFolder temp;
  copy_changed(
      temp, [](Json&) {},
      [](StateDict& state) {
        for (auto& [name, tensor] : state)
          if (name.ends_with("wo.weight"))
            tensor = minimum(maximum(tensor * 60000.0, scalar(-60000)), scalar(60000));
      });
  const Golden golden = golden_of("relu");
  Seq2SeqInput input = input_of(golden);
  input.decoder_ids = golden["decoder_input_ids"];
  const NoGradGuard no_grad;
  const Tensor full = (*AutoModelForSeq2SeqLM::from_pretrained(temp.path(), DType::f32))(input);
  const Tensor half = (*AutoModelForSeq2SeqLM::from_pretrained(temp.path(), DType::f16))(input);
  EXPECT_LT(difference(half.to(DType::f32), full), 0.02 * largest(full));
}

}  // namespace
}  // namespace corten
