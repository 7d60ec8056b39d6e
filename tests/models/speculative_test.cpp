// Speculative decoding: the tokens, or the distribution, of the model without a draft model.
#include "models/generation/speculative.h"
#include "golden.h"
#include "models/generation/logits_processors.h"

namespace corten {
namespace {

using testing::expect_contains;
using testing::folder;
using testing::usage_message;

using Ids = std::vector<int64_t>;

std::unique_ptr<CausalLM> small_gpt2(int64_t vocab, int64_t positions, int64_t seed, double range) {
  auto model = make_gpt2({.vocab_size = vocab,
                          .n_positions = positions,
                          .n_embd = 16,
                          .n_layer = 1,
                          .n_head = 2,
                          .initializer_range = range});
  model->initialize(seed);
  model->set_eos_token_ids({2});
  return model;
}

TEST(Speculative, GreedyTokensAreTheModels) {
  auto model = load_model(folder("gpt2_tied"));
  for (int64_t positions : {32, 12})
    for (int64_t draft_tokens : {1, 4, 7}) {
      auto other = small_gpt2(61, positions, 3, 0.3);
      for (CausalLM* draft : {other.get(), model.get()})
        for (bool compiled : {true, false}) {
          GenerationOptions options{.max_new_tokens = 100, .sampling = {.temperature = 0}};
          options.compiled = compiled;
          options.eos_token_ids = {22};
          options.constraints.repetition_penalty = 1.2;
          const Ids prompt = {35, 43, 20, 14};
          const Ids expected = generate(*model, {prompt}, options).ids[0];
          Ids streamed;
          const Generation out = generate_speculative(*model, *draft, prompt, options, draft_tokens,
                                                      [&](int64_t, int64_t token) {
                                                        streamed.push_back(token);
                                                        return true;
                                                      });
          EXPECT_EQ(out.ids[0], expected) << draft_tokens << " draft tokens";
          EXPECT_EQ(streamed, expected);
          EXPECT_GT(out.drafted, 0);
          // A model never disagrees with itself.
          if (draft == model.get() && out.reasons[0] == StopReason::length)
            EXPECT_EQ(out.accepted, out.drafted);
        }
    }
}

TEST(Speculative, ExtendingHasTheBitsOfDecoding) {
  for (const std::string& name :
       {"gpt2_odd", "decoders/llama", "decoders/llama_yarn", "decoders/mistral", "decoders/qwen2",
        "decoders/qwen3", "decoders/gemma2"})
    for (DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(name + " " + std::string(corten::name(dtype)));
      auto model = load_model(folder(name), dtype);
      ASSERT_TRUE(model->can_extend());
      const int64_t vocab = model->vocab_size();
      for (bool compiled : {true, false}) {
        DecodeSession session(*model, 2, 19, compiled);
        session.prefill({1, 2, 3, 4, 12, 5, 8, 6, 7, 2});
        std::vector<float> expected;
        for (const Ids& column : {Ids{5, 9}, {6, 10}, {7, 11}})
          for (float x : session.decode(column)) expected.push_back(x);
        session.truncate(5);
        const std::vector<float> got = session.extend({5, 6, 7, 9, 10, 11});
        for (int64_t t = 0; t < 3; ++t)
          for (int64_t row = 0; row < 2; ++row)
            for (int64_t v = 0; v < vocab; ++v)
              ASSERT_EQ(got[(row * 3 + t) * vocab + v], expected[(t * 2 + row) * vocab + v]);
        EXPECT_EQ(session.position(), 8);
      }
    }
}

TEST(Speculative, DecodersLookAtDraftsTogether) {
  auto model = load_model(folder("decoders/llama")), other = load_model(folder("decoders/mistral"));
  GenerationOptions options{.max_new_tokens = 20, .sampling = {.temperature = 0}};
  options.stop_at_eos = false;
  const Ids prompt = {3, 14, 7, 9};
  const Ids expected = generate(*model, {prompt}, options).ids[0];
  const Generation out = generate_speculative(*model, *other, prompt, options, 4);
  EXPECT_EQ(out.ids[0], expected);
  const Generation own = generate_speculative(*model, *model, prompt, options, 4);
  EXPECT_EQ(own.ids[0], expected);
  EXPECT_EQ(own.accepted, own.drafted);
  // One step for up to five tokens.
  EXPECT_LT(own.decode_steps, 8);
}

TEST(Speculative, TheRuleGivesTheModelsDistribution) {
  const std::vector<double> p = {0.5, 0.1, 0, 0.25, 0.15}, q = {0.2, 0.3, 0.3, 0.2, 0};
  constexpr int kDraws = 200000;
  std::vector<double> counts(p.size());
  for (int i = 0; i < kDraws; ++i) {
    const double u = generation::uniform(1, i, 7);
    double sum = 0;
    int64_t token = 0;
    while ((sum += q[static_cast<size_t>(token)]) <= u) ++token;
    if (!generation::accepts(p, q, token, generation::uniform(1, i, 8, 0)))
      token = generation::replacement(p, q, generation::uniform(1, i, 8, 1));
    counts[static_cast<size_t>(token)] += 1.0 / kDraws;
  }
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(counts[i], p[i], p[i] == 0 ? 0 : 0.005) << i;
}

// Pairs of tokens over many seeds, drawn with and without a draft model.
TEST(Speculative, DrawsAsTheModelDoes) {
  auto model = small_gpt2(5, 8, 1, 0.4), draft = small_gpt2(5, 8, 2, 0.4);
  GenerationOptions options{.max_new_tokens = 2, .sampling = {.temperature = 1.2, .top_k = 4}};
  options.stop_at_eos = false;
  options.compiled = false;
  constexpr int kSeeds = 1500;
  std::vector<double> difference(25);
  int64_t drafted = 0, accepted = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    options.sampling.seed = seed;
    const Generation with = generate_speculative(*model, *draft, {1, 3}, options, 1);
    const Generation without = generate(*model, {{1, 3}}, options);
    difference[static_cast<size_t>(with.ids[0][0] * 5 + with.ids[0][1])] += 1.0 / kSeeds;
    difference[static_cast<size_t>(without.ids[0][0] * 5 + without.ids[0][1])] -= 1.0 / kSeeds;
    drafted += with.drafted, accepted += with.accepted;
  }
  // Four standard deviations of the difference of two proportions of at most 1/4.
  for (double d : difference) EXPECT_NEAR(d, 0, 4 * std::sqrt(2 * 0.25 * 0.75 / kSeeds));
  EXPECT_GT(accepted, drafted / 20);
  EXPECT_LT(accepted, drafted);
  options.sampling.seed = 3;
  EXPECT_EQ(generate_speculative(*model, *draft, {1, 3}, options, 2).ids,
            generate_speculative(*model, *draft, {1, 3}, options, 2).ids);
}

TEST(Speculative, RefusesWhatItCannotDo) {
  auto model = load_model(folder("gpt2_tied"));
  auto draft = small_gpt2(61, 6, 1, 0.2), other = small_gpt2(60, 32, 1, 0.2);
  GenerationOptions beams;
  beams.num_beams = 2;
  const auto message = [&](CausalLM& d, const Ids& prompt, const GenerationOptions& o, int64_t n) {
    return usage_message([&] { generate_speculative(*model, d, prompt, o, n); });
  };
  expect_contains(message(*draft, {1}, beams, 3), "num_beams 2");
  expect_contains(message(*draft, {1}, {}, 0), "0 draft tokens");
  expect_contains(message(*other, {1}, {}, 3), "60 tokens");
  expect_contains(message(*draft, Ids(7, 1), {}, 3), "6 positions");
}

}  // namespace
}  // namespace corten
