// JSON files that others wrote: configs of models, tokenizers and adapters.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace corten {

/// The document of a config. Usage error "source: ..." also for a key that an object has twice, of
/// which nobody can say which one counts.
Json parse_config(std::string_view text, std::string_view source);
/// The same of a file of at most 16 MiB, which must be there.
Json read_json_file(const std::string& path);
/// The same of a file that may be missing; errors as has_file().
std::optional<Json> read_optional_json(const std::string& path);

}  // namespace corten
