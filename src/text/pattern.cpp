#include "text/pattern.h"

#include "base/format.h"

namespace corten {

TextPattern::TextPattern(const Json& json, const std::string& where) {
  if (const Json* regex = json.find("Regex")) {
    regex_.emplace(regex->as_string(where + ": \"Regex\""), where);
  } else if (const Json* text = json.find("String")) {
    literal_ = text->as_string(where + ": \"String\"");
    if (literal_.empty()) usage_error("{}: an empty pattern is not supported", where);
  } else {
    usage_error("{}: \"pattern\" must be {{\"Regex\": ...}} or {{\"String\": ...}}", where);
  }
}

std::string TextPattern::replaced(std::string_view text, std::string_view content) const {
  std::string result;
  size_t done = 0;
  find(text, [&](size_t begin, size_t end) {
    result += text.substr(done, begin - done);
    result += content;
    done = end;
  });
  return result += text.substr(done);
}

}  // namespace corten
