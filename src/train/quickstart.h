// The whole path in one call: a small model trained on the King James Bible, or on another text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "train/trainer.h"

namespace corten {

struct QuickstartOptions {
  std::optional<int64_t> steps;  ///< unset: as many as take two to three minutes on two cores
  std::string text;              ///< UTF-8 file; empty: see quickstart_text()
  std::string out;               ///< run folder; empty: a new one under runs/
  std::optional<DType> dtype;    ///< unset: bf16 where the processor multiplies it (AMX), else f32
  bool compile = true;
  std::string device = "cpu";
  int64_t threads = 0;
  int64_t seed = 1;
};

struct QuickstartResult {
  TrainResult train;
  double val_loss_before = 0;  ///< of the fresh model, nats per token
  double unigram_entropy = 0;  ///< of the validation text's tokens, nats per token
  std::string prompt, sample;  ///< a continuation of `prompt` by the trained model
};

/// The text that comes with Corten: corpus/kjv.txt beside the folder of the program or below the
/// present one's build folder, or share/corten/kjv.txt of an installation. Usage error that says
/// how to get it if there is none.
std::string quickstart_text();

/// Trains a tokenizer and a small GPT-2 on the text, evaluates before and after, and samples.
/// Usage error if `out` holds a run.
QuickstartResult quickstart(const QuickstartOptions& options, const TrainCallbacks& callbacks);

}  // namespace corten
