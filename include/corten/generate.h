// Text generation token by token with a key-value cache.
//
//   auto model = load_model("gpt2");
//   Generation out = generate(*model, {{15496, 11}}, {.max_new_tokens = 20});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corten/compile.h"
#include "corten/models.h"

namespace corten {

/// How the next token is drawn from logits; applied in this order, as in transformers.
struct Sampling {
  double temperature = 1;  ///< logits are divided by it; 0: the most likely token
  int64_t top_k = 0;  ///< keep the k most likely tokens (of equal ones those of smaller id); 0: all
  double top_p =
      1;  ///< keep the fewest tokens whose probabilities reach p (Holtzman et al., 2020); 1: all
  int64_t seed = 1;
};
/// Usage error for values out of range.
void check_sampling(const Sampling& sampling);
/// A token drawn from `logits` [V]. A pure function: the random number is keyed by (seed, step,
/// row).
int64_t sample_token(const float* logits, int64_t vocab_size, const Sampling& sampling,
                     int64_t step, int64_t row = 0);

/// A model that decodes: the cache and the two compiled programs around it. Prompts of a new length
/// compile prefill anew, decoding compiles once.
class DecodeSession {
 public:
  /// `model` must outlive the session. Its mode is set to eval. `padded`: prompts come with masks.
  DecodeSession(CausalLM& model, int64_t batch, int64_t length, bool compiled = true,
                bool padded = false);
  ~DecodeSession();
  /// Starts anew with ids [B, T], row-major, T tokens of each sequence: logits [B, V], f32.
  /// attention_mask [B, T], of padded sessions only: 0 for padding, which stands at the left.
  std::vector<float> prefill(const std::vector<int64_t>& ids,
                             const std::vector<int64_t>& attention_mask = {});
  /// One more token of each sequence: logits [B, V]. Usage error when the cache is full.
  std::vector<float> decode(const std::vector<int64_t>& ids);
  int64_t position() const { return position_; }  ///< tokens in the cache
  int64_t batch() const { return cache_.batch; }
  int64_t length() const { return cache_.length; }
  /// Bytes of cache, and of the compiled programs' arenas as planned.
  int64_t cache_bytes() const;
  int64_t arena_bytes() const;

 private:
  CausalLM& model_;
  KvCache cache_;
  bool compiled_;
  int64_t position_ = 0;
  std::unique_ptr<CompiledFunction> prefill_, decode_;
};

enum class StopReason { length, eos, stopped };
const char* to_string(StopReason reason) noexcept;

struct GenerationOptions {
  int64_t max_new_tokens = 100;
  Sampling sampling = {};
  std::vector<int64_t> eos_token_ids = {};  ///< empty: the model's
  bool stop_at_eos = true;
  bool compiled = true;
};
struct Generation {
  std::vector<std::vector<int64_t>>
      ids;  ///< new tokens of each prompt; an end token is not part of it
  std::vector<StopReason> reasons;
  int64_t prompt_tokens = 0;  ///< of all prompts together
  int64_t decode_steps = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};
/// Called with the row of the prompt and its new token; false ends this row ("stopped"; the token
/// counts).
using TokenCallback = std::function<bool(int64_t row, int64_t token)>;

/// Continues prompts; shorter ones are padded at the left. Usage error for prompts that are empty
/// or leave no room for one token. Generation ends at the model's last position.
Generation generate(CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                    const GenerationOptions& options = {}, const TokenCallback& on_token = {});

/// Finds stop texts in text that arrives in pieces.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);
  /// Adds a piece and returns the text that is certain not to be part of a stop text.
  std::string push(std::string_view piece);
  bool stopped() const {
    return stopped_;
  }                     ///< a stop text was found; everything from it on is dropped
  std::string flush();  ///< what was held back, at the end

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace corten
