// T5: encoder-decoders of which every parameter has the name that it has in transformers.
#pragma once

#include <memory>

#include "corten/seq2seq.h"
#include "models/t5/config.h"

namespace corten::t5 {

/// Without a head; without a decoder, too, if `encoder_only`.
std::unique_ptr<Seq2SeqModel> make_model(const Config& config, bool encoder_only);
/// `tied`: the head is the token embedding.
std::unique_ptr<Seq2SeqLM> make_lm(const Config& config, bool tied);

}  // namespace corten::t5
