// What greedy decoding, sampling, beam search and speculative decoding share.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "corten/generate.h"

namespace corten::generation {

double seconds_since(std::chrono::steady_clock::time_point start);

/// What a plan needs to know of a model.
struct ModelLimits {
  int64_t vocab_size = 0, max_positions = 0;
  std::vector<int64_t> eos_token_ids;
};

/// Prompts and options that fit each other and the model: what they come to.
struct Plan {
  /// Usage error where they do not. Both must outlive the plan.
  Plan(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
       const GenerationOptions& options);
  /// `sources`: what the prompts are written for, if not for themselves.
  Plan(const ModelLimits& model, const std::vector<std::vector<int64_t>>& prompts,
       const GenerationOptions& options, const std::vector<std::vector<int64_t>>& sources);

  const std::vector<std::vector<int64_t>>& prompts;
  const std::vector<std::vector<int64_t>>& sources;  ///< what random numbers are keyed by
  const GenerationOptions& options;
  std::vector<int64_t> eos;    ///< empty: none ends a text
  int64_t length = 0;          ///< of the longest prompt
  int64_t prompt_tokens = 0;   ///< of all of them
  int64_t max_new_tokens = 0;  ///< what the options ask for and the model has room for
  int64_t vocab_size = 0;
  int64_t positions = 0;  ///< of the cache
  bool padded = false;    ///< prompts differ in length

  bool is_end(int64_t token) const;
  /// Sequences that are written side by side: beams, or results of each prompt.
  int64_t rows() const;
  /// The prompts, padded at the left; the mask is empty if nothing is padded.
  struct Input {
    std::vector<int64_t> ids, mask;
  };
  Input input() const;
  /// What keys the random numbers of each row, for `copies` rows of every prompt.
  std::vector<int64_t> random_rows(int64_t copies) const;
};

/// A sequence that is being written.
struct Row {
  explicit Row(const std::vector<int64_t>& prompt)
      : ids(prompt), prompt_tokens(std::ssize(prompt)), last(prompt.back()) {}

  std::vector<int64_t> ids;  ///< the prompt and the new tokens, without an end token
  int64_t prompt_tokens;
  int64_t last;  ///< token, which may be an end token
  bool done = false;
  StopReason reason = StopReason::length;

  std::span<const int64_t> new_ids() const {
    return std::span(ids).subspan(static_cast<size_t>(prompt_tokens));
  }
  TokenContext context(const Plan& plan) const { return {ids, prompt_tokens, plan.max_new_tokens}; }
  /// The next token; true if the row is done with it.
  bool add(const Plan& plan, int64_t token, const TokenCallback& on_token, int64_t number);
};

/// The next token of a row; `logits` are changed.
int64_t choose(const Plan& plan, const TokenContext& context, std::span<float> logits,
               int64_t random_row);

/// A model that runs the plan's prompts and what is written after them.
class Continuation {
 public:
  virtual ~Continuation() = default;
  /// Logits [rows, V] after the prompts, `copies` neighbouring rows for each.
  virtual std::vector<float> start(int64_t copies) = 0;
  /// Those after one more token of each row.
  virtual std::vector<float> next(const std::vector<int64_t>& ids) = 0;
  /// Row i goes on from what was row rows[i] of the same prompt.
  virtual void reorder(const std::vector<int64_t>& rows) = 0;
};

/// Greedily, by drawing or with beams, as the plan's options say.
Generation write(Continuation& model, const Plan& plan, const TokenCallback& on_token);
Generation beam_search(Continuation& model, const Plan& plan);

}  // namespace corten::generation
