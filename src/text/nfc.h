// Unicode normalization form C (UAX #15), as the `tokenizers` library does it, with the places in
// the original text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// For each byte of a normalized text the range of bytes of the original that it comes from.
using Alignment = std::vector<std::pair<size_t, size_t>>;

/// Whether NFC leaves a valid UTF-8 text as it is for certain: no character of it changes, is
/// reordered or combines with one before.
bool surely_nfc(std::string_view text);

/// Normal form C of valid UTF-8. If `alignment` is given it is filled.
std::string nfc(std::string_view text, Alignment* alignment = nullptr);

}  // namespace corten
