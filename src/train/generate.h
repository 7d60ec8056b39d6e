// Sampling from a model folder and evaluating it on given tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/signals.h"
#include "corten/dtype.h"

namespace corten {

/// How a model folder is loaded.
struct ModelOptions {
  std::string model;           ///< folder in Hugging Face layout, or a run folder
  std::optional<DType> dtype;  ///< of the weights; unset: as in the file
  std::string device = "cpu";
  int64_t threads = 0;  ///< 0: all
};

struct GenerateOptions {
  ModelOptions model;
  std::string prompt;
  int64_t max_new_tokens = 100;
  double temperature = 1.0;       ///< 0: the most likely token
  int64_t top_k = 0;              ///< 0: all tokens
  double top_p = 1.0;             ///< 1: all tokens
  std::vector<std::string> stop;  ///< texts that end the generation; not part of the result
  int64_t seed = 1;
};

struct GenerateResult {
  std::string text;          ///< without the prompt
  std::vector<int64_t> ids;  ///< new tokens
  int64_t prompt_tokens = 0;
  std::string stop_reason;  ///< "length", "eos", "stop" or "interrupted"
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;
};

/// Called with the text of each new token (whole UTF-8 characters only); false ends the generation.
using TextCallback = std::function<bool(const std::string& text)>;

/// Continues the prompt. Usage error for a folder that holds no model, or a prompt that leaves no
/// room for new tokens within the model's positions.
GenerateResult generate_text(const GenerateOptions& options, const TextCallback& on_text = {});

struct EvalLogitsOptions {
  ModelOptions model;
  std::vector<int64_t> input_ids;
  std::vector<int64_t> attention_mask;     ///< empty: all ones
  std::vector<int64_t> decoder_input_ids;  ///< encoder-decoder models only
  std::vector<int64_t> labels;             ///< empty: no loss; -100 is ignored
};

struct EvalLogitsResult {
  std::vector<int64_t> shape;  ///< [1, tokens, vocabulary or width]
  std::vector<float> values;   ///< row-major
  bool hidden_state = false;   ///< values are the last hidden state: the model has no head
  std::optional<double> loss;  ///< nats per predicted token, labels shifted by one
};

EvalLogitsResult eval_logits(const EvalLogitsOptions& options);

}  // namespace corten
