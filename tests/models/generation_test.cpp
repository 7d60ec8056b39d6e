// Processors, warpers, greedy and beam search against transformers (make_generation_goldens.py).
#include "base/file.h"
#include "base/json.h"
#include "golden.h"
#include "models/generation/token_scores.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::expect_contains;
using testing::folder;
using testing::usage_message;

using Ids = std::vector<int64_t>;

const Json& cases() {
  static const Json all =
      Json::parse(read_file(folder("generation") + "/cases.json"), "cases.json");
  return all;
}

Ids ids_of(const Json& json) {
  Ids out;
  for (const Json& id : json.elements()) out.push_back(id.as_int());
  return out;
}

/// The greatest difference; infinite where one of both is infinite or not a number.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double out = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    out = std::isfinite(d) ? std::max(out, d) : INFINITY;
  }
  return out;
}

TEST(ProcessScores, AsTransformers) {
  const StateDict golden = read_state(folder("generation") + "/scores.safetensors");
  const Tensor& logits = *find_tensor(golden, "logits");
  const int64_t prompt = cases().at("prompt_tokens").as_int();
  const int64_t max_length = cases().at("max_length").as_int();
  for (const auto& [name, settings] : cases().at("scores").items()) {
    GenerationConfig config = GenerationConfig::from_json(settings.dump());
    config.max_length = max_length;
    const GenerationOptions options = config.options(prompt);
    const Tensor& expected = *find_tensor(golden, name);
    for (int64_t row = 0; row < logits.size(0); ++row) {
      const Ids ids = find_tensor(golden, "ids")->select(0, row).to_vector<int64_t>();
      std::vector<float> scores = logits.select(0, row).to_vector<float>();
      process_scores({ids, prompt, options.max_new_tokens}, options.constraints, options.sampling,
                     ids_of(cases().at("eos_token_id")), scores);
      EXPECT_LE(difference(scores, expected.select(0, row).to_vector<float>()), 2e-6)
          << name << " row " << row;
    }
  }
}

TEST(Generate, TheTokensOfTransformers) {
  for (const Json& one : cases().at("texts").elements()) {
    const std::string& name = one.at("name").as_string();
    auto model = load_model(folder(one.at("folder").as_string()));
    GenerationConfig config = GenerationConfig::from_json(one.at("config").dump());
    config.do_sample = false;
    std::vector<Ids> prompts, expected;
    size_t longest = 0;
    for (const Json& ids : one.at("prompts").elements()) {
      prompts.push_back(ids_of(ids));
      longest = std::max(longest, prompts.back().size());
    }
    for (const Json& ids : one.at("ids").elements()) expected.push_back(ids_of(ids));
    GenerationOptions options = config.options(static_cast<int64_t>(longest));
    options.stop_at_eos = config.eos_token_id.has_value();
    for (bool compiled : {true, false}) {
      options.compiled = compiled;
      const Generation out = generate(*model, prompts, options);
      EXPECT_EQ(out.ids, expected) << name;
      if (!one.contains("scores")) continue;
      const std::vector<Json>& scores = one.at("scores").elements();
      ASSERT_EQ(out.scores.size(), scores.size());
      for (size_t i = 0; i < scores.size(); ++i)
        EXPECT_NEAR(out.scores[i], scores[i].as_double(), 1e-4 * std::abs(out.scores[i])) << name;
    }
    // A prompt alone gives what it gives among others.
    const auto copies = static_cast<size_t>(options.num_return_sequences);
    for (size_t i = 0; prompts.size() > 1 && i < prompts.size(); ++i) {
      options.max_new_tokens = config.options(static_cast<int64_t>(longest)).max_new_tokens;
      const Generation alone = generate(*model, {prompts[i]}, options);
      for (size_t k = 0; k < copies; ++k)
        EXPECT_EQ(alone.ids[k], expected[i * copies + k]) << name << " prompt " << i << " alone";
    }
  }
}

TEST(Generate, SequencesOfOnePromptAreDrawnApart) {
  auto model = load_model(folder("gpt2_odd"));
  GenerationOptions options{.max_new_tokens = 12, .sampling = {.temperature = 1.5, .seed = 4}};
  options.stop_at_eos = false;
  options.num_return_sequences = 3;
  const Ids a = {1, 2, 3}, b = {7, 8, 9};
  const Generation alone = generate(*model, {a}, options);
  EXPECT_NE(alone.ids[0], alone.ids[1]);
  EXPECT_NE(alone.ids[1], alone.ids[2]);
  // Whatever else is generated beside it.
  const Generation both = generate(*model, {b, a}, options);
  for (size_t k = 0; k < 3; ++k) EXPECT_EQ(both.ids[3 + k], alone.ids[k]);
  // And more of them are the same ones and others.
  options.num_return_sequences = 1;
  EXPECT_EQ(generate(*model, {a}, options).ids[0], alone.ids[0]);
  EXPECT_EQ(generate(*model, {a, b, a}, options).ids[2], alone.ids[1]);
}

TEST(Generate, BeamsAreDrawnWithASeed) {
  auto model = load_model(folder("gpt2_odd"));
  GenerationOptions options{.max_new_tokens = 8, .sampling = {.temperature = 1.3, .seed = 4}};
  options.stop_at_eos = false;
  options.num_beams = 3;
  options.num_return_sequences = 2;
  const Generation first = generate(*model, {{1, 2, 3}}, options);
  EXPECT_EQ(generate(*model, {{5, 6, 7}, {1, 2, 3}}, options).ids[2], first.ids[0]);
  options.sampling.seed = 5;
  EXPECT_NE(generate(*model, {{1, 2, 3}}, options).ids, first.ids);
  EXPECT_GE(first.scores[0], first.scores[1]);
}

TEST(Generate, BeamsEndWhereTheyAreStopped) {
  auto model = load_model(folder("gpt2_tied"));
  GenerationOptions options{.max_new_tokens = 12, .sampling = {.temperature = 0}};
  options.stop_at_eos = false;
  options.num_beams = 3;
  options.stop = [](std::span<const int64_t> ids) { return ids.back() == 42; };
  options.num_return_sequences = 3;
  options.length_penalty = -1;  // prefers short ones
  const Generation out = generate(*model, {{52, 6, 15, 39}}, options);
  int stopped = 0;
  for (size_t i = 0; i < 3; ++i) {
    const auto at = std::ranges::find(out.ids[i], 42);
    if (out.reasons[i] == StopReason::stopped) {
      ++stopped;
      EXPECT_EQ(at + 1, out.ids[i].end());
    } else {
      EXPECT_EQ(at, out.ids[i].end());
    }
  }
  EXPECT_GT(stopped, 0);
}

TEST(Generate, OwnProcessorsHaveTheLastWord) {
  auto model = load_model(folder("gpt2_tied"));
  GenerationOptions options{.max_new_tokens = 5, .sampling = {.temperature = 0}};
  options.constraints.processors.push_back(
      [](const TokenContext& context, std::span<float> scores) {
        scores[context.ids.size()] = 1e6f;
      });
  EXPECT_EQ(generate(*model, {{1, 2, 3}}, options).ids[0], (Ids{3, 4, 5, 6, 7}));
}

TEST(Generate, PenaltiesOfNewTokens) {
  const Ids ids = {0, 1, 2, 1, 1};
  std::vector<float> scores = {1, 1, 1, 1};
  process_scores({ids, 2, 10}, {.presence_penalty = 0.5, .frequency_penalty = 0.25},
                 {.temperature = 0}, {}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1, 0, 0.25, 1}));
}

TEST(Generate, RefusesWhatExcludesEachOther) {
  auto model = load_model(folder("gpt2_odd"));
  const auto message = [&](auto&& change) {
    GenerationOptions options{.sampling = {.temperature = 0}};
    change(options);
    return usage_message([&] { generate(*model, {{1}}, options); });
  };
  expect_contains(message([](auto& o) { o.num_return_sequences = 2; }), "temperature 0");
  expect_contains(message([](auto& o) { o.num_beams = 2, o.num_return_sequences = 3; }),
                  "num_beams 2");
  expect_contains(message([](auto& o) { o.num_beams = 0; }), "num_beams 0");
  expect_contains(message([](auto& o) { o.constraints.repetition_penalty = 0; }), "0");
  expect_contains(message([](auto& o) { o.constraints.bad_words_ids = {{}}; }), "bad_words_ids");
  expect_contains(message([](auto& o) { o.constraints.bad_words_ids = {{99}}; }), "token 99");
  expect_contains(message([](auto& o) { o.constraints.suppress_tokens = {-1}; }), "token -1");
  expect_contains(message([](auto& o) { o.constraints.min_new_tokens = 30; }), "30");
  expect_contains(message([](auto& o) { o.eos_token_ids = {37}; }), "37");
  expect_contains(message([](auto& o) {
                    o.constraints.forced_eos_token_ids = {5};
                    o.constraints.suppress_tokens = {5};
                  }),
                  "token 5 is both");
  expect_contains(message([](auto& o) {
                    for (int64_t id = 0; id < 37; ++id) o.constraints.suppress_tokens.push_back(id);
                  }),
                  "none of the 37 tokens");
  for (double temperature : {0.0, 1.0})
    expect_contains(message([&](auto& o) {
                      o.num_beams = 2;
                      o.stop_at_eos = false;
                      o.sampling.temperature = temperature;
                      o.constraints.no_repeat_ngram_size = 1;
                      for (int64_t id = 5; id < 37; ++id)
                        o.constraints.suppress_tokens.push_back(id);
                    }),
                    "none of the 37 tokens");
  GenerationOptions beams{.sampling = {.temperature = 0}};
  beams.num_beams = 2;
  expect_contains(
      usage_message([&] { generate(*model, {{1}}, beams, [](int64_t, int64_t) { return true; }); }),
      "2 beams cannot be streamed");
}

// ---- Warpers against definitions in double precision, on vocabularies of real size

struct Reference {
  std::vector<double> p;
  explicit Reference(const std::vector<float>& logits) {
    const double top = *std::ranges::max_element(logits);
    double sum = 0;
    for (float x : logits) sum += p.emplace_back(std::exp(static_cast<double>(x) - top));
    for (double& x : p) x /= sum;
  }
};

std::vector<float> many_logits(size_t count, double spread) {
  std::vector<float> out;
  uint64_t state = 88172645463325252u;
  for (size_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int k = 0; k < 4; ++k) {  // nearly normal
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      sum += static_cast<double>(state >> 11) * 0x1p-53 - 0.5;
    }
    out.push_back(static_cast<float>(sum * spread));
  }
  return out;
}

TEST(TokenScores, ProbabilitiesOfManyTokens) {
  for (double spread : {0.1, 3.0, 40.0}) {
    std::vector<float> logits = many_logits(50257, spread);
    logits[7] = -INFINITY;
    logits[9] = -1000;
    const Reference reference(logits);
    const std::vector<double> p = generation::TokenScores(logits).probabilities();
    for (size_t i = 0; i < p.size(); ++i)
      ASSERT_NEAR(p[i], reference.p[i], (1e-6 + 1e-7 * spread) * reference.p[i] + 2e-38)
          << i << " spread " << spread;
  }
}

TEST(TokenScores, TopPKeepsTheFewestOfManyTokens) {
  for (double spread : {0.0, 0.1, 3.0, 40.0})
    for (double top_p : {0.1, 0.5, 0.9, 0.999}) {
      std::vector<float> logits = many_logits(50257, spread);
      const Reference reference(logits);
      process_scores({Ids{}, 0, 1}, {}, {.top_p = top_p}, {}, logits);
      double kept = 0, least = 1, greatest_removed = 0;
      for (size_t i = 0; i < logits.size(); ++i)
        if (std::isfinite(logits[i])) {
          kept += reference.p[i];
          least = std::min(least, reference.p[i]);
        } else {
          greatest_removed = std::max(greatest_removed, reference.p[i]);
        }
      EXPECT_GE(kept, top_p - 1e-6) << spread;
      EXPECT_LT(kept - least, top_p + 1e-6) << spread;
      EXPECT_LE(greatest_removed, least) << spread;
    }
}

TEST(TokenScores, DrawsByTheSumOfProbabilities) {
  std::vector<float> logits = many_logits(3001, 3);
  for (bool filtered : {false, true}) {
    generation::TokenScores scores(logits);
    if (filtered) scores.top_k(700);
    const std::vector<double> p = scores.probabilities();
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] > 1e-12) EXPECT_EQ(scores.draw(sum + p[i] / 2), static_cast<int64_t>(i));
      sum += p[i];
    }
    EXPECT_NEAR(sum, 1, 1e-9);
    EXPECT_GT(p[static_cast<size_t>(scores.draw(1 - 0x1p-53))], 0);
  }
}

// ---- generation_config.json

TEST(GenerationConfig, WritesWhatItRead) {
  const std::string text = R"({
    "do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "num_beams": 2,
    "early_stopping": "never", "bad_words_ids": [[1, 2], [3]], "forced_eos_token_id": 4,
    "sequence_bias": [[[1, 2], -0.5]], "exponential_decay_length_penalty": [5, 1.5],
    "stop_strings": ["a", "b"], "min_p": null, "transformers_version": "5.0", "own": {"a": 1}})";
  const GenerationConfig config = GenerationConfig::from_json(text);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.eos_token_id, (Ids{1, 2}));
  EXPECT_EQ(config.early_stopping, EarlyStopping::never);
  EXPECT_FALSE(config.min_p);
  const Json again = Json::parse(config.to_json(), "again");
  EXPECT_EQ(again.at("own"), Json::object({{"a", 1}}));
  EXPECT_EQ(again.at("early_stopping"), Json("never"));
  EXPECT_EQ(again.at("transformers_version"), Json("5.0"));
  EXPECT_EQ(again.at("exponential_decay_length_penalty"), Json(std::vector<Json>{5, 1.5}));
  EXPECT_FALSE(again.contains("min_p"));
  EXPECT_EQ(GenerationConfig::from_json(config.to_json()).to_json(), config.to_json());
}

TEST(GenerationConfig, BecomesOptions) {
  const auto options = [](const std::string& text) {
    return GenerationConfig::from_json(text).options(10);
  };
  EXPECT_EQ(options("{}").sampling.temperature, 1);
  EXPECT_EQ(options("{}").sampling.top_k, 0);
  EXPECT_EQ(options("{\"do_sample\": false, \"temperature\": 0.7}").sampling.temperature, 0);
  EXPECT_EQ(options("{\"do_sample\": true}").sampling.top_k, 50);
  EXPECT_EQ(options("{\"num_beams\": 4}").sampling.temperature, 0);
  EXPECT_EQ(options("{\"num_beams\": 4, \"do_sample\": true}").sampling.temperature, 1);
  EXPECT_EQ(options("{\"max_length\": 15}").max_new_tokens, 5);
  EXPECT_EQ(options("{\"max_length\": 15, \"max_new_tokens\": 7}").max_new_tokens, 7);
  expect_contains(usage_message([&] { options("{\"max_length\": 10}"); }), "max_length 10");
  GenerationConfig config = GenerationConfig::from_json("{\"max_length\": 15, \"top_k\": 3}");
  GenerationConfig over;
  over.max_new_tokens = 9;
  over.top_p = 0.5;
  config.override_with(over);
  EXPECT_EQ(config.options(10).max_new_tokens, 9);
  EXPECT_EQ(config.options(10).sampling.top_k, 3);
  EXPECT_EQ(config.options(10).sampling.top_p, 0.5);
}

TEST(GenerationConfig, NamesWhatIsWrong) {
  const auto message = [](const std::string& text) {
    return usage_message([&] { GenerationConfig::from_json(text, "file"); });
  };
  expect_contains(message("{"), "file:1");
  expect_contains(message("[]"), "expected an object");
  expect_contains(message("{\"top_k\": \"many\"}"), "file: \"top_k\"");
  expect_contains(message("{\"early_stopping\": \"soon\"}"), "\"never\"");
  expect_contains(message("{\"bad_words_ids\": [[1.5]]}"), "bad_words_ids");
  expect_contains(message("{\"exponential_decay_length_penalty\": [1]}"), "two elements");
  expect_contains(message("{\"penalty_alpha\": 0.6}"), "\"penalty_alpha\" is not supported");
  EXPECT_NO_THROW(GenerationConfig::from_json("{\"penalty_alpha\": 0, \"num_beam_groups\": 1}"));
}

TEST(GenerationConfig, StaysWithTheModel) {
  auto model = load_model(folder("gpt2_tied"));
  GenerationConfig config = GenerationConfig::from_json(model->generation_config_json());
  EXPECT_EQ(config.eos_token_id, model->eos_token_ids());
  config.temperature = 0.25;
  config.eos_token_id = Ids{3, 4};
  model->set_generation_config_json(config.to_json());
  const testing::TempFolder temp;
  model->save_pretrained(temp.path());
  auto again = load_model(temp.path());
  EXPECT_EQ(again->eos_token_ids(), (Ids{3, 4}));
  EXPECT_EQ(GenerationConfig::from_json(again->generation_config_json()).temperature, 0.25);
}

}  // namespace
}  // namespace corten
