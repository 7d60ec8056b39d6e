// What a run trains on: its tokenizer and its token shards.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "corten/data.h"
#include "corten/tokenizer.h"
#include "train/config.h"

namespace corten {

/// What the model must know of the tokenizer.
struct TokenizerInfo {
  std::optional<Tokenizer> tokenizer;  ///< unset: the run has none, only token shards
  std::string hash;                    ///< tokenizer_hash(); "" if there is none
  int64_t vocab_size = 0;              ///< ids are below this; 0: unknown
  int64_t end_of_text = -1;            ///< id of the token that ends a document; -1: none
};

/// What data sets record of the tokenizer that made them.
std::string tokenizer_hash(const Tokenizer& tokenizer);
/// The encoding of documents for training: without special tokens around them.
EncodeFunction document_encoder(Tokenizer tokenizer);

struct RunDataCallbacks {
  std::function<void(const std::string&)> message;
  /// Asked now and then during long work; true abandons it with SetupStopped.
  std::function<bool()> stop;
};

/// Thrown where RunDataCallbacks::stop answered true.
struct SetupStopped {};

/// The tokenizer of a new run: trained on data.text if tokenizer.vocab_size is set, otherwise that
/// of tokenizer.path, or the one that lies in the folder of the shards or of the model. Its files
/// are written to `folder` ("": nowhere). Usage error if there is text and no tokenizer.
TokenizerInfo make_tokenizer(const Config& config, const std::string& folder,
                             const RunDataCallbacks& callbacks);
/// The tokenizer that make_tokenizer() wrote to `folder`, if there is one.
TokenizerInfo open_tokenizer(const std::string& folder);

/// Turns data.text and data.val_text into shards in `folder`/train and `folder`/validation; nothing
/// to do for data.shards.
void prepare_data(const Config& config, const TokenizerInfo& tokenizer, const std::string& folder,
                  const RunDataCallbacks& callbacks);

/// The data of a run.
struct RunData {
  TokenDataset train;
  std::optional<TokenDataset> validation;
  uint32_t max_token = 0;  ///< largest id in either
  /// Fingerprints of the token streams; validation is "" where it is a part of the training stream.
  std::string train_fingerprint, validation_fingerprint;
};
/// Opens what prepare_data() made in `folder`, or data.shards. Usage error if it was made by
/// another tokenizer, or is too short for one sequence.
RunData open_data(const Config& config, const TokenizerInfo& tokenizer, const std::string& folder);

}  // namespace corten
