// eval-logits of encoder-decoders.
#pragma once

#include <string>

#include "train/generate.h"
#include "train/model_place.h"

namespace corten {

/// Whether the config.json of `folder` is that of an encoder-decoder.
bool holds_seq2seq(const std::string& folder);
/// The logits of the head, or the last hidden state of the model or encoder without one that the
/// config's "architectures" names. Labels are the tokens to predict, not shifted, -100 where there
/// are none; without decoder ids the decoder reads them shifted to the right.
EvalLogitsResult eval_seq2seq(const EvalLogitsOptions& options, const ModelPlace& place);

}  // namespace corten
