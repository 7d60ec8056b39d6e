// eval-logits of encoders, and of decoders without the head that continues text.
#pragma once

#include <string>

#include "train/generate.h"
#include "train/model_place.h"

namespace corten {

/// Whether a model is an encoder, or a decoder that does not continue text: by the class that its
/// config's "architectures" names, or because its adapter is a classifier's.
bool evaluated_as_encoder(const ModelPlace& place);
/// The logits of the head that the config's "architectures" names, or the last hidden state.
/// Labels: the hidden tokens, -100 elsewhere; or the sequence's class, or a number for each label.
EvalLogitsResult eval_encoder(const EvalLogitsOptions& options, const ModelPlace& place);

}  // namespace corten
