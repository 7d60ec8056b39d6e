// GPT-2's config.json as JSON.
#pragma once

#include <string_view>

#include "base/json.h"
#include "corten/models.h"

namespace corten {

GPT2Config gpt2_config(const Json& json, std::string_view source);
Json gpt2_config_json(const GPT2Config& config);

}  // namespace corten
