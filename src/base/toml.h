// TOML documents, read into Json values.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "base/json.h"

namespace corten {

/// A parsed TOML document.
struct TomlDocument {
  Json root;  ///< an object; keys in the order of the text; dates and times as strings
  /// 1-based source line of every key by its dotted name: "train.steps", "stage[0].lr".
  std::unordered_map<std::string, int> lines;
};

/// Parses TOML 1.0. Usage error "source:line:column: what is wrong".
TomlDocument parse_toml(std::string_view text, std::string_view source_name);

}  // namespace corten
