// corten quantize: a folder with int8 or int4 weights, and how far its predictions are from the
// original's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "corten/quantize.h"
#include "train/generate.h"

namespace corten {

struct QuantizeOptions {
  ModelOptions model;
  Quantization how;
  std::string out;               ///< folder; "": the model's name with "-int8" or "-int4"
  std::string report_text;       ///< file whose text both models predict; "": no report
  int64_t report_tokens = 4096;  ///< at most so many, from the start
};

/// Of the next token's distribution p of the original and q of the quantised model, at every
/// position of the text: KL(p || q) in nats.
struct QuantizeReport {
  int64_t tokens = 0;  ///< positions
  double kl_mean = 0, kl_median = 0, kl_p99 = 0, kl_max = 0;
  double same_top = 0;  ///< share of positions where both think the same token the most likely
  double perplexity_before = 0, perplexity_after = 0;
};

struct QuantizeResult {
  std::string model, out;
  Quantization how;
  uint64_t bytes_before = 0, bytes_after = 0;  ///< of all weights, as loaded
  std::optional<QuantizeReport> report;
};

/// Reads, quantises, writes, and compares. Usage error if `out` holds a model already, if the model
/// is quantised, and for a text too short to predict anything. `on_progress` hears of the tokens
/// compared.
QuantizeResult quantize_folder(
    const QuantizeOptions& options,
    const std::function<void(int64_t done, int64_t total)>& on_progress = {});

/// Bytes of a model's parameters and buffers.
uint64_t model_bytes(const CausalLM& model);

}  // namespace corten
