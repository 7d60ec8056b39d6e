// Generated tables of canonical normalization; see scripts/make_nfc_table.py. Use text/unicode_forms.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corten {

// code point << 8 | canonical combining class, of those with a class above 0.
extern const uint32_t kCombiningClasses[];
extern const size_t kCombiningClassCount;

// bit 31: composition gives the character back; bits 24-30: length; bits 0-20: code point. Then the
// code points of its full canonical decomposition.
extern const uint32_t kDecompositions[];
extern const size_t kDecompositionsSize;

}  // namespace corten
