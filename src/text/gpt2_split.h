// The word splitter of GPT-2, written out by hand.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "text/unicode.h"

namespace corten {

/// What the GPT-2 pattern distinguishes.
enum class Gpt2Class : uint8_t { Letter, Number, Space, Other, Multibyte };

/// Classes of single bytes; Multibyte for 0x80 and above.
extern const std::array<Gpt2Class, 256> kGpt2Bytes;
/// Class of a code point that takes several bytes.
Gpt2Class gpt2_class(char32_t c) noexcept;

/// Splits valid UTF-8 as the regular expression
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// (Radford et al., "Language Models are Unsupervised Multitask Learners", encoder.py) does, and
/// calls emit(std::string_view) for each part. The parts cover the text.
template <typename Emit>
void gpt2_split(std::string_view text, Emit&& emit) {
  const char* p = text.data();
  const char* const end = p + text.size();
  // Class of the character at q < end; `length` is its length in bytes.
  const auto class_at = [](const char* q, size_t& length) {
    Gpt2Class c = kGpt2Bytes[static_cast<unsigned char>(*q)];
    length = 1;
    if (c == Gpt2Class::Multibyte) {
      char32_t code;
      length = decode_valid_utf8(q, code);
      c = gpt2_class(code);
    }
    return c;
  };
  const auto skip = [&](const char* q, Gpt2Class wanted) {
    while (q < end) {
      const Gpt2Class c = kGpt2Bytes[static_cast<unsigned char>(*q)];
      if (c == wanted) {
        ++q;
        continue;
      }
      size_t length;
      if (c != Gpt2Class::Multibyte || class_at(q, length) != wanted) break;
      q += length;
    }
    return q;
  };
  while (p < end) {
    const char* const begin = p;
    size_t length;
    Gpt2Class c = class_at(p, length);
    if (c == Gpt2Class::Space) {
      const bool blank = *p == ' ';
      p += length;
      if (p < end && (c = class_at(p, length)) != Gpt2Class::Space) {
        if (blank) p = skip(p + length, c);  // " ?" of the three runs
      } else {
        // A run of spaces: all of it at the end of the text, else all but its last character.
        const char* last = begin;
        while (p < end && class_at(p, length) == Gpt2Class::Space) {
          last = p;
          p += length;
        }
        if (p < end) p = last;
      }
    } else if (*p == '\'' && end - p >= 2 &&
               (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')) {
      p += 2;
    } else if (*p == '\'' && end - p >= 3 &&
               ((p[2] == 'e' && (p[1] == 'r' || p[1] == 'v')) || (p[1] == 'l' && p[2] == 'l'))) {
      p += 3;
    } else {
      p = skip(p + length, c);
    }
    emit(std::string_view(begin, static_cast<size_t>(p - begin)));
  }
}

}  // namespace corten
