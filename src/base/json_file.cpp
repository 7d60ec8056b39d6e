#include "base/json_file.h"

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"

namespace corten {

Json parse_config(std::string_view text, std::string_view source) {
  return Json::parse(text, source, {.refuse_duplicate_keys = true});
}

Json read_json_file(const std::string& path) {
  constexpr uint64_t kMaxBytes = 16 << 20;
  return parse_config(read_file(path, kMaxBytes), path);
}

std::optional<Json> read_optional_json(const std::string& path) {
  return has_file(path) ? std::optional(read_json_file(path)) : std::nullopt;
}

}  // namespace corten
