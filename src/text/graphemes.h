// Extended grapheme clusters (UAX #29), as the `tokenizers` library cuts them.
#pragma once

#include <cstddef>
#include <string_view>

namespace corten {

/// Length in bytes of the cluster that begins at `from` < text.size() of a valid UTF-8 text; a
/// cluster begins there.
size_t grapheme_length(std::string_view text, size_t from) noexcept;

}  // namespace corten
