// Generated tables of the normalizers; see scripts/make_normalizer_table.py. Use text/normalizer.h
// and text/graphemes.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corten {

/// Every `stride`-th code point from `first` to `last` has this lower case.
struct LowercaseRun {
  uint32_t first, last, stride;
  int32_t difference;
};
extern const LowercaseRun kLowercaseRuns[];
extern const size_t kLowercaseRunCount;

// Inclusive ranges of code points, sorted.
extern const uint32_t kBertControl[][2];      // left out by BertNormalizer's clean_text
extern const size_t kBertControlCount;
extern const uint32_t kNonspacingMarks[][2];  // left out by its strip_accents
extern const size_t kNonspacingMarksCount;
extern const uint32_t kCombiningMarks[][2];   // left out by StripAccents
extern const size_t kCombiningMarksCount;

// bits 24-31: length; bits 0-23: code point. Then the code points of its full compatibility
// decomposition; of code points whose canonical decomposition differs.
extern const uint32_t kCompatibility[];
extern const size_t kCompatibilitySize;

// Runs of code points with equal classes: first code point << 8 | class; bits 0-3 its
// GraphemeClass, bit 4 consonant, bit 5 linker of conjuncts.
extern const uint32_t kGraphemeRuns[];
extern const size_t kGraphemeRunCount;

}  // namespace corten
