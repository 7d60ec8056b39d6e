// "quantization_config" of config.json.
#pragma once

#include <optional>
#include <string_view>

#include "base/json.h"
#include "corten/quantize.h"

namespace corten {

/// What the config.json of a quantised model says of it; nothing without such a field. Usage error
/// "source: ..." for methods that Corten does not read and for values out of range.
std::optional<Quantization> read_quantization_config(const Json& config, std::string_view source);
Json quantization_config(const Quantization& how);

}  // namespace corten
