// Generated tables of character classes; see scripts/make_unicode_table.py. Use text/unicode.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corten {

// Runs of code points with equal properties: first code point << 8 | properties. The properties of
// a code point: bits 0-4 its Category, bits 5-7 kWordFlag, kNumericFlag, kPunctuationFlag.
extern const uint32_t kUnicodeRuns[];
extern const size_t kUnicodeRunCount;

struct ScriptEntry {
  const char* name;
  uint32_t first, count;  // in kScriptRanges
};
extern const uint32_t kScriptRanges[][2];
extern const ScriptEntry kScripts[];
extern const size_t kScriptCount;

}  // namespace corten
