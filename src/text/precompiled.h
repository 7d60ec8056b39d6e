// The Precompiled normalizer: replacements that SentencePiece keeps in a double array.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalized_text.h"

namespace corten {

/// The rules of a "precompiled_charsmap". Immutable.
class Precompiled {
 public:
  /// `base64` is the value in the file. Usage error "<where>: ..." if it is not well formed.
  Precompiled(std::string_view base64, const std::string& where);

  void normalize(NormalizedText& text) const;

 private:
  /// The replacement of the shortest beginning of `text` that has one; null data() if none has.
  std::string_view find(std::string_view text) const noexcept;
  template <typename Keep, typename Replace>
  bool walk(std::string_view text, Keep&& keep, Replace&& replace) const;

  std::vector<uint32_t> units_;
  std::string texts_;  // each ends with a NUL
  std::array<std::string_view, 128> ascii_{};  // replacements of single characters
};

}  // namespace corten
