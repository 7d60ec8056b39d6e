#include "text/letter_case.h"

#include <algorithm>
#include <unordered_map>

#include "text/normalizer_data.h"
#include "text/unicode.h"

namespace corten {

char32_t lowercase_of(char32_t c) noexcept {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const LowercaseRun* const end = kLowercaseRuns + kLowercaseRunCount;
  const LowercaseRun* run = std::upper_bound(
      kLowercaseRuns, end, c, [](char32_t x, const LowercaseRun& r) { return x < r.first; });
  // Runs of different strides may overlap by a few characters.
  for (int i = 0; i < 3 && run != kLowercaseRuns; ++i) {
    --run;
    if (c <= run->last && (c - run->first) % run->stride == 0)
      return static_cast<char32_t>(static_cast<int32_t>(c) + run->difference);
  }
  return c;
}

namespace {

// Of several letters with one lower case ("K" and the sign of kelvin), the first.
const std::unordered_map<char32_t, char32_t>& upper_cases() {
  static const std::unordered_map<char32_t, char32_t> table = [] {
    std::unordered_map<char32_t, char32_t> upper;
    for (size_t i = 0; i < kLowercaseRunCount; ++i) {
      const LowercaseRun& run = kLowercaseRuns[i];
      for (char32_t c = run.first; c <= run.last; c += run.stride)
        upper.try_emplace(static_cast<char32_t>(static_cast<int32_t>(c) + run.difference), c);
    }
    return upper;
  }();
  return table;
}

}  // namespace

std::string to_lowercase(std::string_view text) {
  std::string out;
  char32_t c;
  for (size_t i = 0; i < text.size();) {
    i += decode_valid_utf8(text.data() + i, c);
    if (c == 0x130)
      out += "i\u0307";
    else
      append_utf8(out, lowercase_of(c));
  }
  return out;
}

std::string to_uppercase(std::string_view text) {
  std::string out;
  char32_t c;
  for (size_t i = 0; i < text.size();) {
    i += decode_valid_utf8(text.data() + i, c);
    if (c < 0x80) {
      out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    } else if (c == 0xDF) {
      out += "SS";
    } else {
      const auto found = upper_cases().find(c);
      append_utf8(out, found == upper_cases().end() ? c : found->second);
    }
  }
  return out;
}

}  // namespace corten
