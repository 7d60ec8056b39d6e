#include "diagnose/recipes.h"

namespace corten {

const std::vector<Recipe>& recipes() {
  // Moments: two per parameter, of 4, 2 or 1 bytes (Dettmers et al., 2022, for 8 bits; the scales of their blocks are below
  // 2 % of them and left out).
  static const std::vector<Recipe> all = {
      {"float32", 4, 4, 0, 8},
      {"bf16, float32 master weights", 2, 2, 4, 8},
      {"bf16, float32 moments, no master weights", 2, 2, 0, 8},
      {"bf16, 8-bit moments, float32 master weights", 2, 2, 4, 2},
      {"bf16, bf16 moments, no master weights", 2, 2, 0, 4},
      {"bf16, 8-bit moments, no master weights", 2, 2, 0, 2},
  };
  return all;
}

std::vector<RecipeBytes> recipe_bytes(int64_t parameters, int64_t ranks) {
  std::vector<RecipeBytes> out;
  for (const Recipe& recipe : recipes()) {
    const double bytes = recipe.total() * static_cast<double>(parameters);
    out.push_back({recipe, bytes, bytes / static_cast<double>(ranks)});
  }
  return out;
}

}  // namespace corten
