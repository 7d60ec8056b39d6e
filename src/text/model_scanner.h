// The large lists of a tokenizer.json file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace corten {

/// "vocab" and "merges" of the "model".
struct ModelLists {
  Vocabulary::Entries vocab;                                ///< of an object
  std::vector<std::pair<std::string, double>> scores;       ///< of a list, as Unigram has it
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Finds these and reads them without building a JSON tree: they are nearly the whole of the file.
/// Returns the document with empty values in their place; nothing if there is anything unexpected:
/// Json::parse then says what is wrong.
std::optional<std::string> scan_model(std::string_view json, ModelLists& lists);

}  // namespace corten
