// Feeds arbitrary bytes to the JSON parser (and, with the first byte odd, to the TOML parser). What
// is accepted must print to a text that reads back as the same value.
//
// clang++-19 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
// -Iinclude
//   -Isrc fuzz/json_fuzz.cpp src/base/{json,toml,strings,error}.cpp -lfmt -o json_fuzz
//   && ./json_fuzz -max_len=4096 CORPUS_FOLDER
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/json.h"
#include "base/toml.h"
#include "corten/error.h"

namespace {

using corten::Json;

bool all_finite(const Json& json) {  // infinities are printed as null
  if (json.is_double()) return std::isfinite(json.as_double());
  if (json.is_array()) {
    for (const Json& element : json.elements())
      if (!all_finite(element)) return false;
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.items())
      if (!all_finite(value)) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Json json;
  try {
    json = data[0] % 2 == 0 ? Json::parse(text, "fuzz") : corten::parse_toml(text, "fuzz").root;
  } catch (const corten::Error& error) {
    if (error.kind() != corten::ErrorKind::Usage) std::abort();
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();  // errors are one line
    return 0;
  }
  if (!all_finite(json)) return 0;
  if (!(Json::parse(json.dump(), "again", {.max_depth = 1000}) == json)) std::abort();
  if (!(Json::parse(json.dump(2), "again", {.max_depth = 1000}) == json)) std::abort();
  return 0;
}
