// The families of encoders against transformers (make_encoder_goldens.py).
#include "base/file.h"
#include "base/json.h"
#include "corten/encoders.h"
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

const std::vector<std::string> kBase = {"bert_base", "roberta_base", "distilbert_base"};
const std::vector<std::string> kMasked = {"bert_mlm",       "bert_mlm_untied",
                                          "roberta_mlm",    "roberta_mlm_untied",
                                          "distilbert_mlm", "distilbert_mlm_untied"};
const std::vector<std::string> kClasses = {"bert_regression", "bert_single", "roberta_multi",
                                           "distilbert_regression"};

std::string folder(const std::string& name) {
  return testing::folder("encoders/" + name);
}
Golden golden_of(const std::string& name) {
  return Golden("encoders/" + name);
}

EncoderInput input_of(const Golden& golden) {
  EncoderInput input{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
  if (const Tensor* types = find_tensor(golden.all(), "token_type_ids"))
    input.token_type_ids = *types;
  return input;
}
EncoderInput placed(const Golden& golden) {
  EncoderInput input = input_of(golden);
  input.position_ids = golden["position_ids"];
  return input;
}

void expect_hidden_states(const std::vector<Tensor>& got, const Tensor& expected) {
  ASSERT_EQ(static_cast<int64_t>(got.size()), expected.size(0));
  for (size_t i = 0; i < got.size(); ++i) expect_near(got[i], expected[static_cast<int64_t>(i)]);
}

Tensor base_loss(const EncoderOutput& out, const Tensor& weights) {
  Tensor loss = sum(out.last_hidden_state * weights);
  if (out.pooler_output.defined()) loss = loss + sum(out.pooler_output * weights.select(1, 1));
  return loss;
}

TEST(Encoders, HiddenStatesPoolerAndGradientsAsTransformers) {
  for (const std::string& name : kBase) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModel::from_pretrained(folder(name));
    EXPECT_FALSE(model->is_training());
    EXPECT_TRUE(model->load_report().initialized.empty() && model->load_report().unused.empty());
    EncoderInput input = input_of(golden);
    input.output_hidden_states = true;
    const EncoderOutput out = (*model)(input);
    expect_hidden_states(out.hidden_states, golden["hidden_states"]);
    EXPECT_TRUE(same_bits(out.last_hidden_state, out.hidden_states.back()));
    const Tensor* pooled = find_tensor(golden.all(), "pooler_output");
    ASSERT_EQ(out.pooler_output.defined(), pooled != nullptr);
    if (pooled) expect_near(out.pooler_output, *pooled);
    expect_near((*model)({.ids = golden["input_ids"]}).last_hidden_state, golden["plain"]);
    expect_near((*model)(placed(golden)).last_hidden_state, golden["placed"]);
    Tensor loss = base_loss(out, golden["weights"]);
    EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-4);
    loss.backward();
    expect_gradients(*model, golden, "", 1e-4, 1e-7);
  }
}

template <typename Model>
void expect_head(Model& model, const Golden& golden) {
  expect_near(model(input_of(golden)), golden["logits"]);
  expect_near(model({.ids = golden["input_ids"]}), golden["plain"]);
  expect_near(model(placed(golden)), golden["placed"]);
  Tensor loss = model.loss(input_of(golden), golden["labels"]);
  EXPECT_NEAR(loss.item(), golden["loss"].item(), 1e-5 * (1 + std::abs(golden["loss"].item())));
  loss.backward();
  expect_gradients(model, golden);
}

TEST(Encoders, MaskedTokensAsTransformers) {
  for (const std::string& name : kMasked) {
    SCOPED_TRACE(name);
    auto model = AutoModelForMaskedLM::from_pretrained(folder(name));
    expect_head(*model, golden_of(name));
  }
}

TEST(Encoders, SequenceLossesAsTransformers) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    auto model = AutoModelForSequenceClassification::from_pretrained(folder(name));
    expect_head(*model, golden_of(name));
  }
}

// A classifier in training mode, so that the random numbers of dropout are compared, too.
TEST(Encoders, CompiledEqualsEagerToTheBit) {
  for (const std::string& name : kClasses) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModelForSequenceClassification::from_pretrained(folder(name));
    const bool types = find_tensor(golden.all(), "token_type_ids") != nullptr;
    const auto step = [&](const std::vector<Tensor>& in) {
      EncoderInput input{.ids = in[0], .attention_mask = in[1]};
      if (types) input.token_type_ids = in[3];
      Tensor loss = model->loss(input, in[2]);
      loss.backward();
      std::vector<Tensor> out = {loss.detach()};
      for (const Tensor& parameter : model->parameters()) out.push_back(parameter.grad());
      model->zero_grad();
      return out;
    };
    std::vector<Tensor> in = {golden["input_ids"], golden["attention_mask"], golden["labels"]};
    if (types) in.push_back(golden["token_type_ids"]);
    std::vector<Tensor> quiet;
    for (bool training : {false, true}) {
      model->train(training);
      manual_seed(3);
      const auto eager = step(in);
      manual_seed(3);
      const auto compiled = compile(step)(in);
      ASSERT_EQ(eager.size(), compiled.size());
      for (size_t i = 0; i < eager.size(); ++i) EXPECT_TRUE(same_bits(eager[i], compiled[i])) << i;
      if (training)
        EXPECT_FALSE(same_bits(eager[0], quiet[0]));
      else
        quiet = eager;
    }
  }
}

TEST(Encoders, PaddingIsInvisible) {
  for (const std::string& name : kBase) {
    SCOPED_TRACE(name);
    const Golden golden = golden_of(name);
    auto model = AutoModel::from_pretrained(folder(name));
    EncoderInput input = input_of(golden);
    const Tensor padded = (*model)(input).last_hidden_state[1].slice(0, 0, 6);
    EncoderInput alone{.ids = input.ids.slice(0, 1, 2).slice(1, 0, 6)};
    if (input.token_type_ids.defined())
      alone.token_type_ids = input.token_type_ids.slice(0, 1, 2).slice(1, 0, 6);
    EXPECT_LT(difference((*model)(alone).last_hidden_state[0], padded), 1e-5);
    // Nothing but padding: no numbers to rely on, but numbers.
    input.attention_mask = zeros_like(input.attention_mask);
    for (double x : (*model)(input).last_hidden_state.to_vector<double>())
      EXPECT_TRUE(std::isfinite(x));
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

TEST(EncoderFiles, RoundTrip) {
  for (const std::string& name : kBase) expect_round_trip<AutoModel>(name);
  for (const std::string& name : kMasked) expect_round_trip<AutoModelForMaskedLM>(name);
  for (const std::string& name : kClasses)
    expect_round_trip<AutoModelForSequenceClassification>(name);
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

TEST(EncoderFiles, OlderLayouts) {
  {  // the first checkpoints: gamma and beta, buffers of positions, the decoder's bias by its name
    const Golden golden = golden_of("bert_mlm");
    TempFolder temp;
    copy_changed("bert_mlm", temp, keep, [](StateDict& state) {
      for (auto& [name, tensor] : state) {
        for (const auto& [now, old] :
             {std::pair<std::string, std::string>{"LayerNorm.weight", "LayerNorm.gamma"},
              {"LayerNorm.bias", "LayerNorm.beta"},
              {"cls.predictions.bias", "cls.predictions.decoder.bias"}})
          if (name.ends_with(now)) name.replace(name.size() - now.size(), now.size(), old);
      }
      const Tensor embedding = *find_tensor(state, "bert.embeddings.word_embeddings.weight");
      state.emplace_back("cls.predictions.decoder.weight", embedding.clone());
      state.emplace_back("bert.embeddings.position_ids", arange(14).reshape({1, 14}));
      state.emplace_back("bert.pooler.dense.bias", ones({12}));
      state.emplace_back("cls.seq_relationship.bias", ones({2}));
    });
    auto model = AutoModelForMaskedLM::from_pretrained(temp.path());
    expect_near((*model)(input_of(golden)), golden["logits"]);
    EXPECT_TRUE(model->load_report().initialized.empty());
    EXPECT_EQ(model->load_report().unused,
              (std::vector<std::string>{"bert.pooler.dense.bias", "cls.seq_relationship.bias"}));
  }
  {  // an encoder saved alone, under a head
    TempFolder temp;
    const Golden golden = golden_of("roberta_mlm");
    copy_changed("roberta_mlm", temp, keep, [](StateDict& state) {
      for (auto& [name, tensor] : state)
        if (name.starts_with("roberta.")) name = name.substr(std::string("roberta.").size());
    });
    auto model = AutoModelForMaskedLM::from_pretrained(temp.path());
    expect_near((*model)(input_of(golden)), golden["logits"]);
  }
  {  // one bias for both names in an untied head
    TempFolder temp;
    copy_changed("roberta_mlm_untied", temp, keep,
                 [](StateDict& state) { take_out(state, "lm_head.bias"); });
    const Golden golden = golden_of("roberta_mlm_untied");
    expect_near((*AutoModelForMaskedLM::from_pretrained(temp.path()))(input_of(golden)),
                golden["logits"]);
  }
}

TEST(EncoderFiles, HeadsThatAreMissingStartAnewAndAreReported) {
  const Golden golden = golden_of("bert_mlm");
  // A masked LM as an encoder: its head is of no use and the pooler is new.
  auto encoder = AutoModel::from_pretrained(folder("bert_mlm"));
  EXPECT_EQ(encoder->load_report().initialized,
            (std::vector<std::string>{"pooler.dense.weight", "pooler.dense.bias"}));
  EXPECT_EQ(encoder->load_report().unused.size(), 5u);
  expect_near((*encoder)(input_of(golden)).last_hidden_state, golden["hidden_states"][1]);
  // As a classifier of five classes, the same one for the same seed.
  const auto classify = [&](int64_t seed) {
    auto model = AutoModelForSequenceClassification::from_pretrained(
        folder("bert_mlm"), {.num_labels = 5, .seed = seed});
    EXPECT_EQ(model->load_report().initialized,
              (std::vector<std::string>{"bert.pooler.dense.weight", "bert.pooler.dense.bias",
                                        "classifier.weight", "classifier.bias"}));
    EXPECT_EQ(Json::parse(model->config_json(), "config").at("id2label").size(), 5u);
    const Tensor logits = (*model)(input_of(golden));
    EXPECT_EQ(logits.shape(), (Shape{2, 5}));
    EXPECT_GT(largest(logits), 1e-4);
    return logits;
  };
  EXPECT_TRUE(same_bits(classify(1), classify(1)));
  EXPECT_FALSE(same_bits(classify(1), classify(2)));
  // Another number of classes than the file's.
  const EncoderLoadOptions two{.num_labels = 2};
  expect_contains(usage_message([&] {
                    AutoModelForSequenceClassification::from_pretrained(folder("bert_single"), two);
                  }),
                  "classifier.weight is [2,12] in the model and [3,12] in the file");
  auto model = AutoModelForSequenceClassification::from_pretrained(
      folder("bert_single"), {.num_labels = 2, .ignore_mismatched_sizes = true});
  EXPECT_EQ(model->load_report().mismatched,
            (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
}

TEST(EncoderFiles, MismatchesAreRefused) {
  const auto message = [](const std::string& name, const std::function<void(StateDict&)>& change) {
    TempFolder temp;
    copy_changed(name, temp, keep, change);
    const std::string text =
        usage_message([&] { AutoModelForMaskedLM::from_pretrained(temp.path()); });
    EXPECT_EQ(text.find('\n'), std::string::npos);
    return text;
  };
  expect_contains(
      message("roberta_mlm",
              [](StateDict& state) { take_out(state, "roberta.embeddings.LayerNorm.weight"); }),
      "missing: roberta.embeddings.LayerNorm.weight");
  expect_contains(message("distilbert_mlm",
                          [](StateDict& state) {
                            state.emplace_back("vocab_projector.weight", ones({13, 12}));
                          }),
                  "vocab_projector.weight differs from distilbert.embeddings");
  expect_contains(message("bert_mlm",
                          [](StateDict& state) {
                            state.emplace_back("embeddings.LayerNorm.bias", ones({12}));
                          }),
                  "are the same parameter");
}

TEST(EncoderConfig, MistakesAreNamed) {
  const std::tuple<const char*, const char*, const char*, const char*> cases[] = {
      {"bert_base", "num_attention_heads", "5", "no multiple of \"num_attention_heads\" 5"},
      {"bert_base", "hidden_act", "\"mish\"", "\"hidden_act\" \"mish\" is not supported"},
      {"bert_base", "is_decoder", "true", "\"is_decoder\" is set"},
      {"bert_base", "position_embedding_type", "\"relative_key\"", "relative_key"},
      {"bert_base", "pad_token_id", "13", "\"pad_token_id\" is 13"},
      {"bert_base", "problem_type", "\"ranking\"", "\"ranking\" is not supported"},
      {"bert_base", "id2label", "{}", "\"num_labels\" is 0"},
      {"bert_base", "hidden_dropout_prob", "1.5", "\"hidden_dropout_prob\" is 1.5"},
      {"bert_base", "layer_norm_eps", "\"x\"", "\"layer_norm_eps\""},
      {"roberta_base", "pad_token_id", "null", "\"pad_token_id\" is null"},
      {"roberta_base", "max_position_embeddings", "2", "leaves no position"},
      {"distilbert_base", "dim", "13", "\"dim\" 13 is no multiple of \"n_heads\" 3"},
      {"bert_base", "model_type", "\"berd\"", "did you mean \"bert\""},
      {"bert_base", "model_type", "\"mamba\"", "AutoModelForSequenceClassification: bert, roberta, distilbert"},
      {"bert_base", "model_type", "\"resnet\"", "use AutoImageModel"},
  };
  for (const auto& [name, key, value, part] : cases) {
    SCOPED_TRACE(std::string(key) + " = " + value);
    const std::string path = folder(name) + "/config.json";
    Json config = Json::parse(read_file(path), path);
    config.set(key, Json::parse(value, "value"));
    const std::string text =
        usage_message([&] { AutoModel::from_config(config.dump(), "some.json"); });
    expect_contains(text, part);
    expect_contains(text, "some.json");
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
  auto aliased = AutoModel::from_config(
      R"({"model_type": "distilbert", "vocab_size": 5, "hidden_size": 8, "num_hidden_layers": 1,
          "num_attention_heads": 2, "hidden_dim": 4})");
  EXPECT_EQ(aliased->hidden_size(), 8);
}

/// Any value in any field is either read or refused in one line.
TEST(EncoderConfig, StrangeValuesAreRefused) {
  const char* values[] = {"null",  "true",  "-1", "0",     "1",  "3.5",
                          "1e308", "\"x\"", "[]", "[[0]]", "{}", "18446744073709551615"};
  int refused = 0;
  for (const char* name : {"bert_single", "roberta_multi", "distilbert_regression"}) {
    const std::string path = folder(name) + "/config.json";
    const Json config = Json::parse(read_file(path), path);
    for (const auto& [key, old] : config.items())
      for (const char* value : values) {
        Json changed = config;
        changed.set(key, Json::parse(value, "value"));
        try {
          AutoModelForSequenceClassification::from_config(changed.dump(), "some.json");
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Usage) << key << " = " << value << error.what();
          expect_contains(error.what(), "some.json");
          ++refused;
        }
      }
  }
  EXPECT_GT(refused, 300);
}

TEST(EncoderErrors, NameTheNumbers) {
  auto model = AutoModelForMaskedLM::from_pretrained(folder("roberta_mlm"));
  EXPECT_EQ(model->max_positions(), 12);
  const auto ids = [](Shape shape) { return zeros(std::move(shape), DType::i64); };
  expect_contains(usage_message([&] {
                    (*model)({.ids = ids({1, 13})});
                  }),
                  "13 tokens exceed the 12");
  expect_contains(usage_message([&] { (*model)({.ids = full({1, 2}, 13, DType::i64)}); }), "13");
  expect_contains(usage_message([&] {
                    (*model)({.ids = ids({1, 3}), .attention_mask = ones({1, 2})});
                  }),
                  "attention masks f32[1,2] do not fit the ids i64[1,3]");
  expect_contains(usage_message([&] {
                    model->loss({.ids = ids({1, 3})}, ids({1, 2}));
                  }),
                  "i64[1,2]");
  auto distil = AutoModel::from_pretrained(folder("distilbert_base"));
  expect_contains(usage_message([&] {
                    (*distil)({.ids = ids({1, 3}), .token_type_ids = ids({1, 3})});
                  }),
                  "has no token types");
  auto classes = AutoModelForSequenceClassification::from_pretrained(folder("bert_single"));
  expect_contains(usage_message([&] {
                    classes->loss({.ids = ids({2, 3})}, ids({3}));
                  }),
                  "labels i64[3] do not fit the logits f32[2,3]: expected integers [2]");
  expect_contains(usage_message([&] { AutoModel::from_pretrained("/nowhere"); }), "/nowhere");
  expect_contains(usage_message([&] { load_model(folder("bert_base")); }),
                  "\"bert\" is an encoder");
}

// One label: numbers of either shape; without a problem type, floating labels are 0 or 1 per class.
TEST(SequenceClassifier, LossFollowsTheLabels) {
  const Golden golden = golden_of("bert_regression");
  auto one = AutoModelForSequenceClassification::from_pretrained(folder("bert_regression"));
  EXPECT_TRUE(same_bits(one->loss(input_of(golden), golden["labels"].reshape({2})),
                        one->loss(input_of(golden), golden["labels"])));
  const Golden several = golden_of("bert_single");
  auto model = AutoModelForSequenceClassification::from_pretrained(folder("bert_single"));
  EXPECT_EQ(model->problem_type(several["labels"]), ProblemType::single_label_classification);
  const Tensor labels = tensor({{1.0, 0.0, 1.0}, {0.0, 0.25, 1.0}});
  EXPECT_EQ(model->problem_type(labels), ProblemType::multi_label_classification);
  const auto x = (*model)(input_of(several)).to_vector<double>(), y = labels.to_vector<double>();
  double expected = 0;
  for (size_t i = 0; i < x.size(); ++i)
    expected += (y[i] * std::log1p(std::exp(-x[i])) + (1 - y[i]) * std::log1p(std::exp(x[i]))) / 6;
  EXPECT_NEAR(model->loss(input_of(several), labels).item(), expected, 1e-5);
}

TEST(Encoders, SinusoidsAndPaddingRows) {
  auto model = AutoModel::from_config(
      R"({"model_type": "distilbert", "vocab_size": 7, "dim": 6, "n_heads": 2, "n_layers": 1,
          "hidden_dim": 4, "max_position_embeddings": 5, "sinusoidal_pos_embds": true,
          "pad_token_id": 2})");
  model->initialize(1);
  const StateDict state = model->state_dict();
  const Tensor& positions = *find_tensor(state, "embeddings.position_embeddings.weight");
  EXPECT_NEAR(positions[3][4].item(), std::sin(3 / std::pow(10000, 4.0 / 6)), 1e-6);
  EXPECT_NEAR(positions[3][5].item(), std::cos(3 / std::pow(10000, 4.0 / 6)), 1e-6);
  const Tensor& words = *find_tensor(state, "embeddings.word_embeddings.weight");
  EXPECT_EQ(largest(words[2]), 0);
  EXPECT_GT(largest(words[1]), 0);
}

}  // namespace
}  // namespace corten
