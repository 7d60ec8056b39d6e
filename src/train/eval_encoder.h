// eval-logits of encoders, and of decoders without the head that continues text.
#pragma once

#include <string>

#include "train/generate.h"
#include "train/model_place.h"

namespace corten {

/// Whether the config.json of `folder` is that of an encoder, or that of a decoder whose
/// "architectures" names one without a head or one for whole sequences.
bool evaluated_as_encoder(const std::string& folder);
/// The logits of the head that the config's "architectures" names, or the last hidden state.
/// Labels: the hidden tokens, -100 elsewhere; or the sequence's class, or a number for each label.
EvalLogitsResult eval_encoder(const EvalLogitsOptions& options, const ModelPlace& place);

}  // namespace corten
