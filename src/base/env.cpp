#include "base/env.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/format.h"
#include "base/strings.h"

namespace corten {
namespace {

template <typename T>
T parse_number(const char* name, const std::string& text, const char* expected) {
  const std::string_view digits = trim(text);
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    usage_error("{}=\"{}\": expected {}", name, text, expected);
  return value;
}

}  // namespace

std::optional<std::string> env_string(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

int64_t env_int(const char* name, int64_t fallback) {
  const auto text = env_string(name);
  return text ? parse_number<int64_t>(name, *text, "an integer") : fallback;
}

double env_double(const char* name, double fallback) {
  const auto text = env_string(name);
  return text ? parse_number<double>(name, *text, "a number") : fallback;
}

bool env_bool(const char* name, bool fallback) {
  const auto text = env_string(name);
  if (!text) return fallback;
  std::string word(trim(*text));
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  if (word == "1" || word == "true" || word == "yes" || word == "on") return true;
  if (word == "0" || word == "false" || word == "no" || word == "off") return false;
  usage_error("{}=\"{}\": expected 1 or 0 (or true/false, yes/no, on/off)", name, *text);
}

uint64_t env_bytes(const char* name, uint64_t fallback) {
  const auto text = env_string(name);
  return text ? parse_bytes(*text, name) : fallback;
}

std::vector<std::string> env_list(const char* name) {
  std::vector<std::string> entries;
  const auto text = env_string(name);
  if (!text) return entries;
  for (const std::string& part : split(*text, ','))
    if (!trim(part).empty()) entries.emplace_back(trim(part));
  return entries;
}

}  // namespace corten
