// Characters: properties as the `tokenizers` library sees them (Unicode 16), and UTF-8.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// General category of a code point.
enum class Category : uint8_t {
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,  // clang-format off
  Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf, Cs, Co, Cn  // clang-format on
};
inline constexpr int kCategoryCount = 30;

inline constexpr uint8_t kCategoryMask = 31;
inline constexpr uint8_t kWordFlag = 32;          ///< \w of added tokens with single_word
inline constexpr uint8_t kNumericFlag = 64;       ///< cut out by the Digits pre-tokenizer
inline constexpr uint8_t kPunctuationFlag = 128;  ///< cut out by the Punctuation pre-tokenizer

/// Properties of all code points, in blocks of 256.
class UnicodeTable {
 public:
  UnicodeTable();
  /// Category and flags; `c` < 0x110000.
  uint8_t properties(char32_t c) const noexcept { return blocks_[index_[c >> 8]][c & 255]; }
  Category category(char32_t c) const noexcept {
    return static_cast<Category>(properties(c) & kCategoryMask);
  }

 private:
  std::array<uint16_t, 0x1100> index_;
  std::vector<std::array<uint8_t, 256>> blocks_;
};
/// The table, built at the first call (well under a millisecond).
const UnicodeTable& unicode_table();

/// White space as Unicode's White_Space property (\s of both regular-expression engines).
bool is_space(char32_t c) noexcept;

/// What a UTF-8 text holds at some place.
enum class Utf8 : uint8_t {
  Valid,       ///< a code point
  Invalid,     ///< bytes that are no code point and no beginning of one
  Incomplete,  ///< the text ends within a code point
};
struct Utf8Char {
  Utf8 state;
  uint8_t length;  ///< bytes; of Invalid and Incomplete: those that one U+FFFD replaces
  char32_t code;   ///< U+FFFD unless Valid
};
/// Decodes the first character of a text that is not empty. Invalid bytes are taken in maximal
/// subparts (The Unicode Standard, section 3.9, table 3-8), as Rust and Python replace them.
Utf8Char decode_utf8(std::string_view text) noexcept;

/// Decodes a character of text that is known to be valid; returns its length.
inline size_t decode_valid_utf8(const char* text, char32_t& code) noexcept {
  const auto* p = reinterpret_cast<const unsigned char*>(text);
  if (p[0] < 0x80) {
    code = p[0];
    return 1;
  }
  if (p[0] < 0xE0) {
    code = static_cast<char32_t>((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
    return 2;
  }
  if (p[0] < 0xF0) {
    code = static_cast<char32_t>((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F));
    return 3;
  }
  code = static_cast<char32_t>((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 |
                               (p[3] & 0x3F));
  return 4;
}
/// Length in bytes of the character before `position` > 0 of a valid text, and its code point.
size_t decode_before(std::string_view text, size_t position, char32_t& code) noexcept;

void append_utf8(std::string& out, char32_t code);
/// Writes a character to up to 4 bytes; returns how many.
inline size_t encode_utf8(char32_t code, char* out) noexcept {
  const auto byte = [](char32_t value) { return static_cast<char>(static_cast<uint8_t>(value)); };
  if (code < 0x80) {
    out[0] = byte(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = byte(0xC0 | code >> 6);
    out[1] = byte(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = byte(0xE0 | code >> 12);
    out[1] = byte(0x80 | (code >> 6 & 0x3F));
    out[2] = byte(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = byte(0xF0 | code >> 18);
  out[1] = byte(0x80 | (code >> 12 & 0x3F));
  out[2] = byte(0x80 | (code >> 6 & 0x3F));
  out[3] = byte(0x80 | (code & 0x3F));
  return 4;
}

/// `text` itself if it is valid UTF-8; otherwise `buffer`, filled with the text in which every
/// maximal invalid subpart is replaced by U+FFFD (as Python's errors="replace").
std::string_view valid_utf8(std::string_view text, std::string& buffer);

/// Appends bytes to `out` with U+FFFD for what is invalid. If not `final`, an incomplete character
/// at the end is left out; returns the number of bytes taken.
size_t append_lossy(std::string& out, std::string_view bytes, bool final);

/// A set of code points: sorted, disjoint, non-adjacent ranges (inclusive).
class CharSet {
 public:
  using Range = std::pair<char32_t, char32_t>;
  CharSet() = default;
  explicit CharSet(std::vector<Range> ranges);  ///< in any order, may overlap

  static CharSet category(Category category);
  static CharSet everything() { return CharSet({{0, 0x10FFFF}}); }

  const std::vector<Range>& ranges() const noexcept { return ranges_; }
  bool empty() const noexcept { return ranges_.empty(); }
  bool contains(char32_t c) const noexcept;
  CharSet united(const CharSet& other) const;
  CharSet complement() const;
  CharSet intersected(const CharSet& other) const;

 private:
  std::vector<Range> ranges_;
};

}  // namespace corten
