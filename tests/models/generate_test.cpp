#include "golden.h"

namespace corten {
namespace {

using testing::expect_contains;
using testing::folder;
using testing::Golden;
using testing::kFolders;
using testing::usage_message;

using Ids = std::vector<int64_t>;

/// Bits of the logits after each token: prefill of `prompt` tokens, then one by one.
std::vector<float> cached(CausalLM& model, const Ids& ids, int64_t rows, int64_t prompt,
                          int64_t length, bool compiled) {
  const auto tokens = static_cast<int64_t>(ids.size()) / rows;
  DecodeSession session(model, rows, length, compiled);
  Ids first;
  for (int64_t r = 0; r < rows; ++r)
    first.insert(first.end(), ids.begin() + r * tokens, ids.begin() + r * tokens + prompt);
  std::vector<float> out = session.prefill(first);
  for (int64_t t = prompt; t < tokens; ++t) {
    Ids next;
    for (int64_t r = 0; r < rows; ++r) next.push_back(ids[static_cast<size_t>(r * tokens + t)]);
    const std::vector<float> logits = session.decode(next);
    out.insert(out.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(session.position(), tokens);
  return out;
}
std::vector<float> uncached(CausalLM& model, const Tensor& ids, int64_t prompt) {
  std::vector<float> out;
  for (int64_t t = prompt - 1; t < ids.size(1); ++t) {
    const Tensor logits = model(ids.slice(1, 0, t + 1)).select(1, t).to(DType::f32);
    const std::vector<float> values = logits.to_vector<float>();
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

// The numerics contract, point 3: whatever the cache's size, however the prompt is cut, compiled or
// not.
TEST(Decode, CachedLogitsAreTheUncachedBits) {
  for (const std::string& name : kFolders) {
    const Golden golden(name);
    const Ids ids = golden["ids"].to_vector<int64_t>();
    const int64_t rows = golden["ids"].size(0);
    for (DType dtype : {DType::f32, DType::bf16}) {
      auto model = load_model(folder(name), dtype);
      const int64_t most = model->max_positions();
      for (int64_t prompt : {1, 4}) {
        const std::vector<float> expected = uncached(*model, golden["ids"], prompt);
        for (bool compiled : {true, false})
          for (int64_t length : {golden["ids"].size(1), most})
            EXPECT_EQ(cached(*model, ids, rows, prompt, length, compiled), expected)
                << name << " " << corten::name(dtype) << " prompt " << prompt << " cache " << length
                << " compiled " << compiled;
      }
    }
  }
}

// Across the chunks of the reduction trees and of long products.
TEST(Decode, LongContextsToo) {
  auto model = make_gpt2({.vocab_size = 50,
                          .n_positions = 1200,
                          .n_embd = 32,
                          .n_layer = 1,
                          .n_head = 2,
                          .initializer_range = 0.3});
  model->initialize(1);
  model->eval();
  Ids ids(1028);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * i % 47);
  constexpr int64_t kPrompt = 1021;
  const Tensor logits = (*model)(from_vector(ids, {1, 1028}));
  const auto expected = logits.slice(1, kPrompt - 1, 1028).to_vector<float>();
  for (int64_t length : {1028, 1200})
    EXPECT_EQ(cached(*model, ids, 1, kPrompt, length, true), expected) << length;
}

TEST(Decode, CompilesOnceAndStartsAnew) {
  auto model = load_model(folder("gpt2_tied"));
  DecodeSession session(*model, 1, 16);
  const std::vector<float> first = session.prefill({3, 4, 5});
  const std::vector<float> second = session.decode({6});
  session.decode({7});
  EXPECT_EQ(session.prefill({3, 4, 5}), first);  // what is left in the cache does not matter
  EXPECT_EQ(session.decode({6}), second);
  EXPECT_EQ(session.cache_bytes(), 2 * 2 * 16 * 24 * 4);
  for (int64_t t = 4; t < 16; ++t) session.decode({1});
  expect_contains(usage_message([&] { session.decode({1}); }), "position 16");
  expect_contains(usage_message([&] { session.decode({1, 2}); }), "2 tokens");
  usage_message([&] { session.prefill({}); });
}

TEST(Generate, GreedyAsTransformers) {
  const Golden golden("gpt2_tied");
  auto model = load_model(folder("gpt2_tied"));
  const Ids expected = golden["greedy"].to_vector<int64_t>();
  GenerationOptions options{.max_new_tokens = 20, .sampling = {.temperature = 0}};
  options.stop_at_eos = false;
  const Ids prompt(expected.begin(), expected.begin() + 4);
  const Generation out = generate(*model, {prompt}, options);
  EXPECT_EQ(out.ids[0], Ids(expected.begin() + 4, expected.end()));
  EXPECT_EQ(out.reasons[0], StopReason::length);
  EXPECT_EQ(out.prompt_tokens, 4);
  EXPECT_EQ(out.decode_steps, 19);
}

TEST(Generate, TheSeedDecides) {
  auto model = load_model(folder("gpt2_odd"));
  GenerationOptions options{.max_new_tokens = 12, .sampling = {.temperature = 1.5, .seed = 4}};
  options.stop_at_eos = false;
  const Generation first = generate(*model, {{1, 2, 3}}, options);
  EXPECT_EQ(generate(*model, {{1, 2, 3}}, options).ids, first.ids);
  options.compiled = false;
  EXPECT_EQ(generate(*model, {{1, 2, 3}}, options).ids, first.ids);
  options.sampling.seed = 5;
  EXPECT_NE(generate(*model, {{1, 2, 3}}, options).ids, first.ids);
  // The first row of a batch is what it is alone; equal prompts go apart.
  options.sampling.seed = 4;
  const Generation two = generate(*model, {{1, 2, 3}, {1, 2, 3}}, options);
  EXPECT_EQ(two.ids[0], first.ids[0]);
  EXPECT_NE(two.ids[1], first.ids[0]);
}

TEST(Generate, Ends) {
  auto model = load_model(folder("gpt2_odd"));
  GenerationOptions options{.max_new_tokens = 1000, .sampling = {.temperature = 0}};
  options.stop_at_eos = false;
  const Generation whole = generate(*model, {{1, 2, 3}}, options);
  EXPECT_EQ(whole.ids[0].size(), 16u);  // 19 positions
  // At an end token, which is not part of the text.
  options.stop_at_eos = true;
  options.eos_token_ids = {whole.ids[0][5]};
  const Generation ended = generate(*model, {{1, 2, 3}}, options);
  const auto first = std::ranges::find(whole.ids[0], whole.ids[0][5]) - whole.ids[0].begin();
  EXPECT_EQ(ended.ids[0], Ids(whole.ids[0].begin(), whole.ids[0].begin() + first));
  EXPECT_EQ(ended.reasons[0], StopReason::eos);
  // When the callback says so, row by row.
  options.stop_at_eos = false;
  Ids seen[2];
  const Generation stopped =
      generate(*model, {{1, 2, 3}, {4, 5, 6}}, options, [&](int64_t row, int64_t token) {
        seen[row].push_back(token);
        return row == 1 || seen[row].size() < 3;
      });
  EXPECT_EQ(stopped.reasons[0], StopReason::stopped);
  EXPECT_EQ(stopped.ids[0], Ids(whole.ids[0].begin(), whole.ids[0].begin() + 3));
  EXPECT_EQ(stopped.ids[0], seen[0]);
  EXPECT_EQ(stopped.reasons[1], StopReason::length);
  EXPECT_EQ(stopped.ids[1], seen[1]);
  EXPECT_EQ(stopped.ids[1].size(), 16u);
}

TEST(Generate, RefusesWhatItCannotDo) {
  auto model = load_model(folder("gpt2_odd"));
  expect_contains(usage_message([&] { generate(*model, {}); }), "empty");
  expect_contains(usage_message([&] { generate(*model, {{}}); }), "empty");
  expect_contains(usage_message([&] { generate(*model, {{1}, {}}); }), "empty");
  expect_contains(usage_message([&] { generate(*model, {{37}}); }), "token 37");
  expect_contains(usage_message([&] { generate(*model, {{-1}}); }), "token -1");
  expect_contains(usage_message([&] { generate(*model, {Ids(19, 1)}); }), "19 tokens");
  expect_contains(usage_message([&] { generate(*model, {{1}}, {.max_new_tokens = 0}); }), "0");
  expect_contains(
      usage_message([&] { generate(*model, {{1}}, {.sampling = {.temperature = -1}}); }), "-1");
  expect_contains(usage_message([&] { generate(*model, {{1}}, {.sampling = {.top_p = 0}}); }), "0");
  expect_contains(usage_message([&] { generate(*model, {{1}}, {.sampling = {.top_k = -2}}); }),
                  "-2");
}

// ---- Sampling

std::vector<double> frequencies(const std::vector<float>& logits, Sampling sampling) {
  constexpr int kDraws = 20000;
  std::vector<double> out(logits.size());
  for (int step = 0; step < kDraws; ++step)
    out[static_cast<size_t>(sample_token(logits.data(), static_cast<int64_t>(logits.size()),
                                         sampling, step))] += 1.0 / kDraws;
  return out;
}
void expect_frequencies(const std::vector<double>& got, const std::vector<double>& expected) {
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], expected[i] == 0 ? 0 : 0.015) << i;
}

TEST(Sampling, FollowsTheProbabilities) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f),
                                     std::log(0.3f)};
  expect_frequencies(frequencies(logits, {}), {0.1, 0.4, 0.2, 0.3});
  // Temperature 1/2 squares the probabilities.
  expect_frequencies(frequencies(logits, {.temperature = 0.5}),
                     {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  expect_frequencies(frequencies(logits, {.top_k = 2}), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_frequencies(frequencies(logits, {.top_p = 0.65}), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_frequencies(frequencies(logits, {.top_p = 0.75}), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  expect_frequencies(frequencies(logits, {.top_p = 0.3}), {0, 1, 0, 0});
  expect_frequencies(frequencies(logits, {.top_k = 3, .top_p = 0.7}), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_frequencies(frequencies(logits, {.temperature = 0}), {0, 1, 0, 0});
  expect_frequencies(frequencies(logits, {.top_k = 1}), {0, 1, 0, 0});
  expect_frequencies(frequencies(logits, {.top_k = 100}), {0.1, 0.4, 0.2, 0.3});
  expect_frequencies(frequencies({0, 0, -INFINITY}, {}), {0.5, 0.5, 0});
  // Tokens as good as the second stay.
  expect_frequencies(frequencies({1, 1, 1, 0}, {.top_k = 2}), {1 / 3.0, 1 / 3.0, 1 / 3.0, 0});
  expect_frequencies(frequencies(logits, {.min_p = 0.7}), {0, 4.0 / 7, 0, 3.0 / 7});
  expect_frequencies(frequencies(logits, {.epsilon_cutoff = 0.15}), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
}

TEST(Sampling, IsKeyedBySeedStepAndRow) {
  const std::vector<float> logits(1000, 0);
  const auto draw = [&](int64_t seed, int64_t step, int64_t row) {
    return sample_token(logits.data(), 1000, {.seed = seed}, step, row);
  };
  EXPECT_EQ(draw(1, 2, 3), draw(1, 2, 3));
  int equal = 0;
  for (int i = 0; i < 100; ++i)
    equal += draw(1, i, 0) == draw(2, i, 0) || draw(1, i, 0) == draw(1, i, 1) ||
             draw(1, i, 0) == draw(1, i + 1, 0);
  EXPECT_LT(equal, 5);
}

TEST(Sampling, NamesBrokenLogits) {
  const std::vector<float> logits = {0, NAN, 1};
  expect_contains(usage_message([&] { sample_token(logits.data(), 3, {}, 0); }), "token 1 is NaN");
}

// ---- Stop texts

TEST(StopMatcher, HoldsBackWhatMayBeAStop) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_EQ(matcher.push("some EN"), "some ");
  EXPECT_EQ(matcher.push("ough"), "ENough");
  EXPECT_EQ(matcher.push("a\n"), "a");
  EXPECT_EQ(matcher.push("b"), "\nb");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("text E"), "text ");
  EXPECT_EQ(matcher.push("ND more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("x"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, Flushes) {
  StopMatcher matcher({"aab", ""});
  EXPECT_EQ(matcher.push("xaa"), "x");
  EXPECT_EQ(matcher.push("a"), "a");  // "aa" may still begin the stop text
  EXPECT_EQ(matcher.flush(), "aa");
  StopMatcher none({});
  EXPECT_EQ(none.push("abc"), "abc");
}

}  // namespace
}  // namespace corten
