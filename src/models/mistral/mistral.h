// Mistral (Jiang et al., 2023): LLaMA's blocks with a sliding window over the last keys.
#pragma once

#include "models/layers/decoder.h"

namespace corten::mistral {

extern const layers::DecoderFamily kFamily;

}  // namespace corten::mistral
