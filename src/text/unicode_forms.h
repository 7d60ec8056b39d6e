// Unicode normalization forms (UAX #15), as the `tokenizers` library does them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/normalized_text.h"

namespace corten {

enum class UnicodeForm : uint8_t { NFC, NFD, NFKC, NFKD };

/// Whether a form leaves a valid UTF-8 text as it is for certain: no character of it changes, is
/// reordered or combines with one before. Only NFC is decided beyond ASCII.
bool surely_normal(std::string_view text, UnicodeForm form);

/// The normal form of valid UTF-8 as changes of its characters.
std::vector<CharChange> unicode_changes(std::string_view text, UnicodeForm form);
/// The normal form itself.
std::string unicode_normal(std::string_view text, UnicodeForm form);

/// What canonical decomposition makes of one character; empty if it stays as it is.
struct Decomposition {
  const uint32_t* parts = nullptr;
  size_t size = 0;
};
Decomposition canonical_decomposition(char32_t c);
/// Canonical combining class; 0 of starters.
uint8_t combining_class(char32_t c);

}  // namespace corten
