// Token ids that users give.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace corten {

/// Usage error for an id outside of the vocabulary that a model's config.json describes.
void check_token_ids(const std::vector<int64_t>& ids, const std::string& config_json);

}  // namespace corten
