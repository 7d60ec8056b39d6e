// Lower and upper case of characters.
#pragma once

#include <string>
#include <string_view>

namespace corten {

/// What Rust's char::to_lowercase gives, but for U+0130, which becomes two characters.
char32_t lowercase_of(char32_t c) noexcept;
/// A text in lower case, and in upper case: the characters of which it is the lower case ("ß"
/// becomes "SS").
std::string to_lowercase(std::string_view text);
std::string to_uppercase(std::string_view text);

}  // namespace corten
