// What the verbs that take a tokenizer have in common.
#pragma once

#include <string>

namespace corten::cli {

/// `path` itself, or the tokenizer.json in it if it is a folder.
std::string tokenizer_path(const std::string& path);

}  // namespace corten::cli
