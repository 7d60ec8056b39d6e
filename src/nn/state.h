// Comparing and copying tensors by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "corten/nn.h"

namespace corten::nn {

struct StateDifference {
  std::vector<std::string> missing, unexpected, misshapen;  ///< names; the last with both shapes
};
StateDifference compare_states(const StateDict& mine, const StateDict& other);
/// Usage error "[what] owner: missing ...; unexpected ...; shapes ..." if anything differs.
void check_states(std::string_view what, std::string_view owner, const StateDifference& difference);
/// Copies values by name; names that one side lacks are skipped.
void copy_state(const StateDict& mine, const StateDict& other);
/// "a, b, c and 9 more".
std::string shorten(const std::vector<std::string>& names);
/// "f32[2,3]".
std::string type_text(const Tensor& tensor);

}  // namespace corten::nn
