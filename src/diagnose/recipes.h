// How many bytes of memory a parameter costs under the usual recipes of mixed precision.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corten {

/// Bytes per parameter. Gradients count at their full size, as if all of them existed at once.
struct Recipe {
  std::string_view name;
  double weights = 0, gradients = 0, master = 0, moments = 0;
  double total() const { return weights + gradients + master + moments; }
};
/// From the most to the least memory.
const std::vector<Recipe>& recipes();

/// A recipe for a number of parameters whose state is divided evenly among `ranks` devices.
struct RecipeBytes {
  Recipe recipe;
  double bytes = 0, bytes_per_rank = 0;
};
std::vector<RecipeBytes> recipe_bytes(int64_t parameters, int64_t ranks);

}  // namespace corten
