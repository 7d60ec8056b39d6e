// Learns the merges of a byte-level BPE vocabulary.
#pragma once

#include <span>
#include <string_view>

#include "corten/tokenizer.h"
#include "text/bpe.h"

namespace corten {

/// Vocabulary and merges as tokenizers.trainers.BpeTrainer makes them after ByteLevel
/// pre-tokenization, with the 256 bytes as initial alphabet: ids are those of the special tokens,
/// then the bytes in the order of their characters, then the merges; the most frequent pair is
/// merged next, the one with the smaller ids among equals. Errors as Tokenizer::train.
BpeConfig train_bpe(std::span<const std::string_view> texts,
                    const Tokenizer::TrainOptions& options);

}  // namespace corten
