// The "pattern" of Split and Replace: a regular expression or a text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/regex.h"

namespace corten {

class TextPattern {
 public:
  TextPattern() = default;
  /// `json` is {"Regex": ...} or {"String": ...}. Usage error "<where>: ...".
  TextPattern(const Json& json, const std::string& where);

  bool is_regex() const noexcept { return regex_.has_value(); }
  const Regex& regex() const { return *regex_; }
  const std::string& literal() const noexcept { return literal_; }

  /// Calls match(begin, end) for each match in valid UTF-8, in order.
  template <typename Match>
  void find(std::string_view text, Match&& match) const {
    size_t begin = 0, end = 0;
    if (regex_) {
      Regex::Matcher matcher(*regex_, text);
      while (matcher.next(begin, end)) match(begin, end);
      return;
    }
    while ((begin = text.find(literal_, end)) != std::string_view::npos) {
      end = begin + literal_.size();
      match(begin, end);
    }
  }
  std::string replaced(std::string_view text, std::string_view content) const;

 private:
  std::optional<Regex> regex_;
  std::string literal_;
};

}  // namespace corten
