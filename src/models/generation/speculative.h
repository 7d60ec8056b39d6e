// The rule of speculative sampling.
#pragma once

#include <cstdint>
#include <vector>

namespace corten::generation {

/// Leviathan et al. (2023), algorithm 1: of a token drawn from q, whether it stands, so that what
/// stands or replaces it is distributed as p. u is uniform in [0, 1).
bool accepts(const std::vector<double>& p, const std::vector<double>& q, int64_t token, double u);
/// What replaces a token that does not: drawn from max(p - q, 0), normalised, by u in [0, 1).
int64_t replacement(const std::vector<double>& p, const std::vector<double>& q, double u);

}  // namespace corten::generation
