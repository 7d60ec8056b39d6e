// DistilBERT (Sanh et al., 2019), with the parameter names of transformers' classes.
//
// Suffixes: see models/layers/encoder.h.
#pragma once

#include "models/layers/encoder.h"

namespace corten::distilbert {

extern const layers::EncoderFamily kFamily;

}  // namespace corten::distilbert
