// What a run draws its batches from: windows of a token stream, texts with labels, or pairs of texts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "corten/tokenizer.h"
#include "train/config.h"
#include "train/run_data.h"
#include "train/trained_model.h"

namespace corten {

/// Examples of which every epoch has each once, in an order of its own that is a function of the
/// seed.
class Examples {
 public:
  virtual ~Examples() = default;
  virtual uint64_t size() const = 0;  ///< per epoch
  /// Rows [first, last) of batch `step` of `batch` rows: ids [last - first, seq] and targets
  /// [last - first, targets per row].
  virtual void fill(uint64_t step, int64_t batch, int64_t first, int64_t last,
                    std::span<int64_t> ids, std::span<int64_t> targets) const = 0;
};

constexpr int64_t kPaddingId = -1;  ///< of what is no token, in texts with labels or targets

struct TrainingData {
  std::unique_ptr<Examples> train, validation;  ///< validation may be null
  uint32_t max_token = 0;                       ///< largest id in either
  std::string train_fingerprint, validation_fingerprint;
  std::string summary;  ///< what there is, for messages
};

TrainingData token_windows(RunData data, int64_t seq);

/// Texts as ids with the tokenizer's special tokens, cut to data.seq, and classes as the first of
/// their row's targets. Without val_text the part val_fraction is held out: a fixed sample.
TrainingData labelled_examples(const Config& config, const Tokenizer& tokenizer,
                               const std::vector<std::string>& class_names);

/// Pairs as ids with the tokenizer's special tokens, sources cut to data.seq and targets to
/// data.target_seq. Targets end with the tokenizer's end of text if it has one, and hold out as
/// labels do.
TrainingData paired_examples(const Config& config, const TokenizerInfo& tokenizer);

/// The data of a run, in `folder` as far as it lies in files of its own (see prepare_data()). Usage
/// error without a tokenizer, if the task needs one.
TrainingData open_examples(const Config& config, Task task, const TokenizerInfo& tokenizer,
                           const std::vector<std::string>& class_names, const std::string& folder);

}  // namespace corten
