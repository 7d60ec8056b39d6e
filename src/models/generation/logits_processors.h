// What happens to the scores of a row before a token is chosen.
#pragma once

#include <span>

#include "corten/generate.h"
#include "models/generation/token_scores.h"

namespace corten::generation {

/// The constraints, in transformers' order, and the processors of one's own; not
/// renormalize_logits.
void apply_constraints(const TokenContext& context, const Constraints& constraints,
                       std::span<const int64_t> eos_token_ids, std::span<float> scores);
/// Whether apply_constraints() would do anything.
bool has_constraints(const Constraints& constraints);
/// The warpers of a temperature that is not 0. `keep` best tokens are never removed.
void apply_warpers(const Sampling& sampling, int64_t keep, TokenScores& scores);

/// Uniform in [0, 1) with 53 bits: Philox-4x32-10 (Salmon et al., SC'11, section 3.3) with key =
/// seed and counter = (step, row). `word` 0 and 1 are independent numbers.
double uniform(int64_t seed, int64_t step, int64_t row, int word = 0);

}  // namespace corten::generation
