// BERT (Devlin et al., 2019), with the parameter names of transformers' BertModel, BertForMaskedLM
// and BertForSequenceClassification.
//
// Suffixes: see models/layers/encoder.h.
#pragma once

#include <memory>

#include "models/layers/encoder.h"

namespace corten::bert {

/// The block of BERT and RoBERTa: attention and MLP, each followed by dropout, the residual and a
/// layer norm.
std::unique_ptr<layers::EncoderBlock> make_block(const layers::EncoderConfig& config);

extern const layers::EncoderFamily kFamily;

}  // namespace corten::bert
