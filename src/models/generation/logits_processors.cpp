#include "models/generation/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/format.h"

namespace corten::generation {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

void forbid(std::span<const int64_t> ids, std::span<float> scores) {
  for (int64_t id : ids)
    if (id >= 0 && id < std::ssize(scores)) scores[static_cast<size_t>(id)] = kForbidden;
}

/// All but `ids`, which are equally good.
void force(std::span<const int64_t> ids, std::span<float> scores) {
  std::ranges::fill(scores, kForbidden);
  for (int64_t id : ids) scores[static_cast<size_t>(id)] = 0;
}

bool ends_with(std::span<const int64_t> ids, std::span<const int64_t> end) {
  return ids.size() >= end.size() && std::ranges::equal(ids.last(end.size()), end);
}

void add_sequence_bias(const TokenContext& context, const Constraints& c, std::span<float> scores) {
  for (const auto& [sequence, bias] : c.sequence_bias) {
    const std::span<const int64_t> tokens(sequence);
    if (ends_with(context.ids, tokens.first(tokens.size() - 1)))
      scores[static_cast<size_t>(tokens.back())] += static_cast<float>(bias);
  }
}

void penalise_repetition(std::span<const int64_t> ids, double penalty, std::span<float> scores) {
  const auto factor = static_cast<float>(penalty);
  // From the scores as they were, so that tokens which occur often are penalised once.
  std::vector<float> changed;
  changed.reserve(ids.size());
  for (int64_t id : ids) {
    const float x = scores[static_cast<size_t>(id)];
    changed.push_back(x < 0 ? x * factor : x / factor);
  }
  for (size_t i = 0; i < ids.size(); ++i) scores[static_cast<size_t>(ids[i])] = changed[i];
}

void penalise_presence(std::span<const int64_t> new_ids, const Constraints& c,
                       std::span<float> scores) {
  for (int64_t id : new_ids)
    scores[static_cast<size_t>(id)] -= static_cast<float>(c.frequency_penalty);
  if (c.presence_penalty == 0) return;
  std::vector<int64_t> distinct(new_ids.begin(), new_ids.end());
  std::ranges::sort(distinct);
  const auto rest = std::ranges::unique(distinct);
  distinct.erase(rest.begin(), rest.end());
  for (int64_t id : distinct)
    scores[static_cast<size_t>(id)] -= static_cast<float>(c.presence_penalty);
}

/// Forbids what would complete an n-gram that is there already.
void forbid_repeated_ngrams(std::span<const int64_t> ids, int64_t n, std::span<float> scores) {
  const auto size = static_cast<size_t>(n);
  if (ids.size() < size) return;
  const std::span<const int64_t> begun = ids.last(size - 1);
  for (size_t i = 0; i + size <= ids.size(); ++i)
    if (std::ranges::equal(ids.subspan(i, size - 1), begun))
      scores[static_cast<size_t>(ids[i + size - 1])] = kForbidden;
}

void forbid_bad_words(const TokenContext& context, const Constraints& c,
                      std::span<const int64_t> eos, std::span<float> scores) {
  for (const auto& word : c.bad_words_ids) {
    if (word.size() == 1 && std::ranges::find(eos, word[0]) != eos.end()) continue;
    const std::span<const int64_t> tokens(word);
    if (ends_with(context.ids, tokens.first(tokens.size() - 1)))
      scores[static_cast<size_t>(tokens.back())] = kForbidden;
  }
}

void replace_invalid(std::span<float> scores) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (float& x : scores) x = std::isnan(x) ? 0 : std::clamp(x, -kLargest, kLargest);
}

void favour_the_end(const TokenContext& context, const Constraints& c, std::span<const int64_t> eos,
                    std::span<float> scores) {
  const auto [start, factor] = *c.exponential_decay_length_penalty;
  const int64_t beyond = std::ssize(context.ids) - context.prompt_tokens - start;
  if (beyond <= 0) return;
  const auto growth = static_cast<float>(std::pow(factor, static_cast<double>(beyond)) - 1);
  for (int64_t id : eos) {
    float& x = scores[static_cast<size_t>(id)];
    if (std::isfinite(x)) x += std::abs(x) * growth;
  }
}

}  // namespace

bool has_constraints(const Constraints& c) {
  return !c.sequence_bias.empty() || c.repetition_penalty != 1 || c.presence_penalty != 0 ||
         c.frequency_penalty != 0 || c.no_repeat_ngram_size > 0 || !c.bad_words_ids.empty() ||
         c.min_length > 0 || c.min_new_tokens > 0 || c.forced_bos_token_id ||
         !c.forced_eos_token_ids.empty() || c.remove_invalid_values ||
         c.exponential_decay_length_penalty || !c.suppress_tokens.empty() ||
         !c.begin_suppress_tokens.empty() || !c.processors.empty();
}

void apply_constraints(const TokenContext& context, const Constraints& c,
                       std::span<const int64_t> eos, std::span<float> scores) {
  const int64_t length = std::ssize(context.ids), written = length - context.prompt_tokens;
  add_sequence_bias(context, c, scores);
  if (c.repetition_penalty != 1) penalise_repetition(context.ids, c.repetition_penalty, scores);
  if (c.presence_penalty != 0 || c.frequency_penalty != 0)
    penalise_presence(context.ids.subspan(static_cast<size_t>(context.prompt_tokens)), c, scores);
  if (c.no_repeat_ngram_size > 0)
    forbid_repeated_ngrams(context.ids, c.no_repeat_ngram_size, scores);
  forbid_bad_words(context, c, eos, scores);
  if (length < c.min_length || written < c.min_new_tokens) forbid(eos, scores);
  if (c.forced_bos_token_id && length == 1) force({&*c.forced_bos_token_id, 1}, scores);
  if (!c.forced_eos_token_ids.empty() && written == context.max_new_tokens - 1)
    force(c.forced_eos_token_ids, scores);
  if (c.remove_invalid_values) replace_invalid(scores);
  if (c.exponential_decay_length_penalty) favour_the_end(context, c, eos, scores);
  forbid(c.suppress_tokens, scores);
  // A forced first token comes before the first one that is free.
  const bool forced_first = c.forced_bos_token_id && context.prompt_tokens == 1;
  if (written == (forced_first ? 1 : 0)) forbid(c.begin_suppress_tokens, scores);
  for (const LogitsProcessor& process : c.processors) process(context, scores);
}

void apply_warpers(const Sampling& s, int64_t keep, TokenScores& scores) {
  scores.temperature(s.temperature);
  if (s.top_k > 0) scores.top_k(s.top_k, keep);
  if (s.top_p < 1) scores.top_p(s.top_p, keep);
  if (s.min_p > 0) scores.min_p(s.min_p, keep);
  if (s.typical_p < 1) scores.typical(s.typical_p, keep);
  if (s.epsilon_cutoff > 0) scores.epsilon(s.epsilon_cutoff, keep);
  if (s.eta_cutoff > 0) scores.eta(s.eta_cutoff, keep);
}

}  // namespace corten::generation

namespace corten {

void check_constraints(const Constraints& c, int64_t vocab_size) {
  auto check_ids = [&](const char* what, std::span<const int64_t> ids) {
    for (int64_t id : ids)
      if (id < 0 || id >= vocab_size)
        usage_error("[generate] {}: token {} is outside the vocabulary of {}", what, id,
                    vocab_size);
  };
  if (!(c.repetition_penalty > 0) || !std::isfinite(c.repetition_penalty))
    usage_error("[generate] repetition_penalty {} is not positive", c.repetition_penalty);
  if (!std::isfinite(c.presence_penalty) || !std::isfinite(c.frequency_penalty))
    usage_error("[generate] presence_penalty {} or frequency_penalty {} is not a number",
                c.presence_penalty, c.frequency_penalty);
  if (c.no_repeat_ngram_size < 0 || c.min_length < 0 || c.min_new_tokens < 0)
    usage_error(
        "[generate] no_repeat_ngram_size {}, min_length {} or min_new_tokens {} is negative",
        c.no_repeat_ngram_size, c.min_length, c.min_new_tokens);
  for (const auto& word : c.bad_words_ids) {
    if (word.empty()) usage_error("[generate] bad_words_ids has a sequence without tokens");
    check_ids("bad_words_ids", word);
  }
  for (const auto& [sequence, bias] : c.sequence_bias) {
    if (sequence.empty()) usage_error("[generate] sequence_bias has a sequence without tokens");
    if (std::isnan(bias)) usage_error("[generate] sequence_bias: {} is not a number", bias);
    check_ids("sequence_bias", sequence);
  }
  if (c.forced_bos_token_id) check_ids("forced_bos_token_id", {&*c.forced_bos_token_id, 1});
  check_ids("forced_eos_token_id", c.forced_eos_token_ids);
  check_ids("suppress_tokens", c.suppress_tokens);
  check_ids("begin_suppress_tokens", c.begin_suppress_tokens);
  if (c.exponential_decay_length_penalty && !(c.exponential_decay_length_penalty->second > 0))
    usage_error("[generate] exponential_decay_length_penalty: the factor {} is not positive",
                c.exponential_decay_length_penalty->second);
  const auto suppressed = [&](int64_t id) {
    return std::ranges::find(c.suppress_tokens, id) != c.suppress_tokens.end();
  };
  if (c.forced_bos_token_id && suppressed(*c.forced_bos_token_id))
    usage_error("[generate] token {} is both forced_bos_token_id and in suppress_tokens",
                *c.forced_bos_token_id);
  if (!c.forced_eos_token_ids.empty() && std::ranges::all_of(c.forced_eos_token_ids, suppressed))
    usage_error("[generate] token {} is both forced_eos_token_id and in suppress_tokens",
                c.forced_eos_token_ids[0]);
}

void process_scores(const TokenContext& context, const Constraints& constraints,
                    const Sampling& sampling, const std::vector<int64_t>& eos_token_ids,
                    std::span<float> scores) {
  check_sampling(sampling);
  check_constraints(constraints, std::ssize(scores));
  generation::apply_constraints(context, constraints, eos_token_ids, scores);
  generation::TokenScores row(scores);
  if (sampling.temperature > 0) generation::apply_warpers(sampling, 1, row);
  if (constraints.renormalize_logits) row.log_softmax();
  row.apply_removals();
}

}  // namespace corten
