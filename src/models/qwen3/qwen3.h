// Qwen3 (Yang et al., 2025): LLaMA's blocks with an RMS norm of every head's queries and keys.
#pragma once

#include "models/layers/decoder.h"

namespace corten::qwen3 {

extern const layers::DecoderFamily kFamily;

}  // namespace corten::qwen3
