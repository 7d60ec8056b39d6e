// Built-in architectures, by the names under which their checkpoints are known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace corten {

/// Names that preset_config() knows.
std::vector<std::string> preset_names();
/// The Hugging Face config (config.json) of a built-in architecture: model_type, sizes and
/// vocab_size of the published checkpoint; fields left out have their Hugging Face defaults.
/// Usage error with a did-you-mean for an unknown name.
Json preset_config(std::string_view name);
/// The Hugging Face config that a model_type stands for when no field is given. Decoders have their
/// defaults where the config is read, as some depend on other fields.
Json default_config(std::string_view model_type);

}  // namespace corten
