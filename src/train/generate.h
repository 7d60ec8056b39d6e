// Sampling from a model folder and evaluating it on given tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/signals.h"
#include "corten/dtype.h"
#include "corten/generate.h"

namespace corten::runtime {
class DeviceState;
}

namespace corten {

/// How a model folder is loaded.
struct ModelOptions {
  std::string model;           ///< folder in Hugging Face layout, or a run folder
  std::string adapter;         ///< folder in PEFT's layout, or a run that made one; "": none
  std::optional<DType> dtype;  ///< of the weights; unset: as in the file
  std::string device = "cpu";
  int64_t threads = 0;  ///< 0: all
  /// What the device "cuda" means; empty: the first CUDA device.
  std::function<std::unique_ptr<runtime::DeviceState>()> cuda_device;
};

struct GenerateOptions {
  ModelOptions model;
  std::vector<std::string> prompts;  ///< continued side by side
  /// What is set here replaces what the model's generation_config.json says. Where neither says
  /// anything: 100 new tokens, drawn from all at temperature 1; 0 is the most likely token. Asking
  /// for a temperature or a cut-off asks for drawing, also from beams.
  GenerationConfig settings;
  std::vector<std::string> stop;  ///< texts that end the generation; not part of the result
  std::vector<std::string>
      bad_words;  ///< texts that are not written, with or without a space before
  int64_t seed = 1;
  std::string draft_model;  ///< folder or run of a model for speculative decoding; "": none
  int64_t num_draft_tokens = 5;
};

struct GeneratedText {
  int64_t prompt = 0;           ///< which of the prompts it continues
  std::string text;             ///< without the prompt
  std::vector<int64_t> ids;     ///< new tokens
  std::string stop_reason;      ///< "length", "eos", "stop" or "interrupted"
  std::optional<double> score;  ///< of a beam
};
struct GenerateResult {
  std::vector<GeneratedText> sequences;  ///< of each prompt, as many as were asked for
  int64_t prompt_tokens = 0;             ///< of all prompts
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;  ///< of all sequences
  std::optional<double> accepted_drafts;  ///< share of the draft model's tokens that stood
};

/// Called with the text of each new token (whole UTF-8 characters only); false ends the generation.
using TextCallback = std::function<bool(const std::string& text)>;

/// Continues the prompts. Usage error for a folder that holds no model, a prompt that leaves no
/// room for new tokens within the model's positions, settings that exclude each other, and a
/// callback for anything but one sequence without beams.
GenerateResult generate_text(const GenerateOptions& options, const TextCallback& on_text = {});

struct EvalLogitsOptions {
  ModelOptions model;
  std::vector<int64_t> input_ids;
  std::vector<int64_t> attention_mask;     ///< empty: all ones
  std::vector<int64_t> decoder_input_ids;  ///< encoder-decoder models only
  /// Empty: no loss; -100 is ignored. Of sequence classifiers: the class, or a number per label.
  std::vector<int64_t> labels;
  std::string pixel_values;  ///< image models: a safetensors file with the images, instead of ids
  bool interpolate_pos_encoding = false;  ///< of images of any size, see corten/vision.h
};

struct EvalLogitsResult {
  std::vector<int64_t> shape;  ///< [1, tokens, vocabulary or width], or [1, labels] of a sequence
  std::vector<float> values;   ///< row-major
  bool hidden_state = false;   ///< values are the last hidden state: the model has no head
  std::optional<double> loss;  ///< nats per predicted token, labels shifted by one (decoders)
};

EvalLogitsResult eval_logits(const EvalLogitsOptions& options);

}  // namespace corten
