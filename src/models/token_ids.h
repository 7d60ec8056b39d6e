// Token ids of Hugging Face configs: null, a number or a list of numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace corten {

/// Usage error "what: ..." for anything else.
std::vector<int64_t> token_ids(const Json& json, std::string_view what);
Json token_ids_json(const std::vector<int64_t>& ids);

}  // namespace corten
