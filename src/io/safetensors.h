// The safetensors header as bytes in memory (files: corten/safetensors.h).
#pragma once

#include "corten/safetensors.h"

namespace corten {

struct SafetensorsContent {
  std::vector<StoredTensor> tensors;  ///< by offset; `bytes` point into the parsed file
  SafetensorsMetadata metadata;
};

/// Checks and lists a whole file in memory. Usage error "source: which rule is broken". What is
/// allocated is bounded by the size of the file.
SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view source);

}  // namespace corten
