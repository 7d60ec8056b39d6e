#include "nn/state.h"

#include <unordered_map>

#include "base/format.h"

namespace corten::nn {
namespace {

std::unordered_map<std::string_view, const Tensor*> by_name(const StateDict& state) {
  std::unordered_map<std::string_view, const Tensor*> out;
  for (const auto& [name, tensor] : state) out.emplace(name, &tensor);
  return out;
}

}  // namespace

std::string shorten(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  if (names.size() <= kShown + 1) return format("{}", fmt::join(names, ", "));
  return format("{} and {} more", fmt::join(names.begin(), names.begin() + kShown, ", "),
                names.size() - kShown);
}

std::string type_text(const Tensor& tensor) {
  return format("{}[{}]", name(tensor.dtype()), fmt::join(tensor.shape(), ","));
}

StateDifference compare_states(const StateDict& mine, const StateDict& other) {
  StateDifference out;
  const auto mine_by_name = by_name(mine), other_by_name = by_name(other);
  for (const auto& [name, tensor] : mine) {
    auto found = other_by_name.find(name);
    if (found == other_by_name.end())
      out.missing.push_back(name);
    else if (!found->second->defined() || found->second->shape() != tensor.shape())
      out.misshapen.push_back(
          format("{} is {} here and {} there", name, type_text(tensor),
                 found->second->defined() ? type_text(*found->second) : std::string("undefined")));
  }
  for (const auto& [name, tensor] : other)
    if (!mine_by_name.contains(name)) out.unexpected.push_back(name);
  return out;
}

void check_states(std::string_view what, std::string_view owner,
                  const StateDifference& difference) {
  std::vector<std::string> parts;
  if (!difference.missing.empty()) parts.push_back("missing: " + shorten(difference.missing));
  if (!difference.unexpected.empty())
    parts.push_back("unexpected: " + shorten(difference.unexpected));
  if (!difference.misshapen.empty())
    parts.push_back("different shapes: " + shorten(difference.misshapen));
  if (!parts.empty()) usage_error("[{}] {}: {}", what, owner, fmt::join(parts, "; "));
}

void copy_state(const StateDict& mine, const StateDict& other) {
  NoGradGuard no_grad;
  const auto other_by_name = by_name(other);
  for (const auto& [name, tensor] : mine) {
    auto found = other_by_name.find(name);
    if (found == other_by_name.end()) continue;
    Tensor target = tensor;
    target.copy_(*found->second);
  }
}

}  // namespace corten::nn
