// Text generation token by token with a key-value cache.
//
//   auto model = load_model("gpt2");
//   Generation out = generate(*model, {{15496, 11}}, {.max_new_tokens = 20});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/compile.h"
#include "corten/models.h"

namespace corten::generation {
class Program;
}
namespace corten::runtime {
class DeviceState;
}

namespace corten {

/// How the next token is drawn from logits: warpers, applied in this order, as in transformers.
struct Sampling {
  double temperature = 1;  ///< logits are divided by it; 0: the most likely token, no drawing
  int64_t top_k = 0;  ///< keep the k most likely tokens, and those as likely as the last; 0: all
  double top_p = 1;  ///< keep the fewest tokens whose probabilities reach p (Holtzman et al., 2020)
  double min_p =
      0;  ///< keep tokens of min_p times the best one's probability (Nguyen et al., 2024)
  double typical_p = 1;       ///< keep the most typical tokens of this mass (Meister et al., 2023)
  double epsilon_cutoff = 0;  ///< keep tokens of at least this probability (Hewitt et al., 2022)
  double eta_cutoff = 0;      ///< the same, lower where the entropy is high (ibid.)
  int64_t seed = 1;
};
/// Usage error for values out of range.
void check_sampling(const Sampling& sampling);
/// A token drawn from `logits` [V]. A pure function: the random number is keyed by (seed, step,
/// row).
int64_t sample_token(const float* logits, int64_t vocab_size, const Sampling& sampling,
                     int64_t step, int64_t row = 0);

/// What stands before the token that is being chosen.
struct TokenContext {
  std::span<const int64_t> ids;  ///< the prompt without padding, and the new tokens
  int64_t prompt_tokens = 0;     ///< how many of them are the prompt
  int64_t max_new_tokens = 0;
};
/// Changes the logits [V] of one row in place, or its log probabilities in beam search.
using LogitsProcessor = std::function<void(const TokenContext&, std::span<float> scores)>;

/// What changes logits before sampling; greedy and beam search obey it too. Names and meaning are
/// those of transformers' GenerationConfig; presence and frequency penalties are OpenAI's.
struct Constraints {
  /// Added where the tokens before the last one were just written; (tokens, bias).
  std::vector<std::pair<std::vector<int64_t>, double>> sequence_bias = {};
  /// Logits of tokens that were there already are divided (multiplied, if negative) by it (Keskar
  /// et al., 2019).
  double repetition_penalty = 1;
  /// Subtracted from the logits of new tokens once, and as often as they were written.
  double presence_penalty = 0, frequency_penalty = 0;
  int64_t no_repeat_ngram_size = 0;  ///< no sequence of so many tokens occurs twice; 0: any may
  std::vector<std::vector<int64_t>> bad_words_ids = {};  ///< sequences that are not written
  int64_t min_length = 0;      ///< no end token before so many, counting the prompt's
  int64_t min_new_tokens = 0;  ///< the same without the prompt
  std::optional<int64_t> forced_bos_token_id = {};  ///< follows a prompt of one token
  std::vector<int64_t> forced_eos_token_ids = {};   ///< one of them is the last of max_new_tokens
  bool remove_invalid_values = false;  ///< NaN becomes 0, infinities the largest number
  /// (start, factor): beyond `start` new tokens, n further ones add |logit| (factor^n - 1) to those
  /// of the end tokens.
  std::optional<std::pair<int64_t, double>> exponential_decay_length_penalty = {};
  std::vector<int64_t> suppress_tokens = {};        ///< never written
  std::vector<int64_t> begin_suppress_tokens = {};  ///< not as the first new token
  std::vector<LogitsProcessor> processors = {};     ///< of one's own, after all of these
  bool renormalize_logits = false;                  ///< log_softmax at the very end
};
/// Usage error for values out of range and tokens outside the vocabulary.
void check_constraints(const Constraints& constraints, int64_t vocab_size);
/// Everything that happens to the scores [V] of a row before a token is chosen, in transformers'
/// order: bias, penalties, n-grams, bad words, lengths, forced tokens, invalid values, decay,
/// suppression, processors, and, unless the temperature is 0, the warpers. Removed tokens are
/// -infinity.
void process_scores(const TokenContext& context, const Constraints& constraints,
                    const Sampling& sampling, const std::vector<int64_t>& eos_token_ids,
                    std::span<float> scores);

/// A model that decodes: the cache and the two compiled programs around it. Prompts of a new length
/// compile prefill anew, decoding compiles once.
class DecodeSession {
 public:
  /// `model` must outlive the session. Its mode is set to eval. `padded`: prompts come with masks.
  /// `device`: executes the compiled programs, and keeps weights and cache; it must outlive the
  /// session too.
  DecodeSession(CausalLM& model, int64_t batch, int64_t length, bool compiled = true,
                bool padded = false, runtime::DeviceState* device = nullptr);
  ~DecodeSession();
  /// Starts anew with ids [B, T], row-major, T tokens of each sequence: logits [B, V], f32.
  /// attention_mask [B, T], of padded sessions only: 0 for padding, which stands at the left. With
  /// `copies`, ids and mask are those of B / copies sequences, which are run once and each begin so
  /// many neighbouring ones.
  std::vector<float> prefill(const std::vector<int64_t>& ids,
                             const std::vector<int64_t>& attention_mask = {}, int64_t copies = 1);
  /// One more token of each sequence: logits [B, V]. Usage error when the cache is full.
  std::vector<float> decode(const std::vector<int64_t>& ids);
  /// T more tokens of each sequence, ids [B, T]: logits [B, T, V] after each of them. Together, if
  /// the model can extend(), and always with the bits of T calls of decode().
  std::vector<float> extend(const std::vector<int64_t>& ids);
  /// Sequence i goes on from what was sequence rows[i], B row numbers.
  void reorder(const std::vector<int64_t>& rows);
  /// Forgets all tokens but the first `position`.
  void truncate(int64_t position);
  int64_t position() const { return position_; }  ///< tokens in the cache
  int64_t batch() const { return cache_.batch; }
  int64_t length() const { return cache_.length; }
  /// Bytes of cache, and of the compiled programs' arenas as planned.
  int64_t cache_bytes() const;
  int64_t arena_bytes() const;

 private:
  std::vector<float> prefill_copied(const std::vector<int64_t>& ids,
                                    const std::vector<int64_t>& attention_mask, int64_t copies);

  std::unique_ptr<generation::Program> program(Function function);

  CausalLM& model_;
  KvCache cache_;
  bool compiled_;
  runtime::DeviceState* device_;
  int64_t position_ = 0;
  std::unique_ptr<generation::Program> prefill_, decode_, extend_, reorder_;
};

enum class StopReason { length, eos, stopped };
const char* to_string(StopReason reason) noexcept;

/// When beam search ends before the tokens run out. open: when no running beam, at its present
/// length, could beat a finished one; yes: as soon as there are num_beams finished ones; never:
/// when no running beam could at any length (transformers' False, True and "never").
enum class EarlyStopping { open, yes, never };

struct GenerationOptions {
  int64_t max_new_tokens = 100;
  Sampling sampling = {};
  std::vector<int64_t> eos_token_ids = {};  ///< empty: the model's
  bool stop_at_eos = true;
  bool compiled = true;
  Constraints constraints = {};
  /// More than 1: beam search, at temperature 0 for the most likely text, otherwise drawing the
  /// continuations without replacement.
  int64_t num_beams = 1;
  double length_penalty = 1;  ///< beams compare by log probability / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::open;
  int64_t num_return_sequences = 1;  ///< for each prompt: drawn ones, or the best beams
  /// Ends a row after its token (which counts), as the result of a TokenCallback does; gets the new
  /// tokens. For beams, which have no callback.
  std::function<bool(std::span<const int64_t> new_ids)> stop = {};
  /// Executes the model, and keeps its weights from call to call; null: the CPU.
  runtime::DeviceState* device = nullptr;
};
struct Generation {
  /// New tokens of each prompt, num_return_sequences times; an end token is not part of them.
  std::vector<std::vector<int64_t>> ids;
  std::vector<StopReason> reasons;
  std::vector<double> scores;  ///< of beam search: log probability / length^length_penalty
  int64_t prompt_tokens = 0;   ///< of all prompts together
  int64_t decode_steps = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  int64_t drafted = 0, accepted = 0;  ///< tokens of a draft model that were judged, that stood
};
/// Called with the row of Generation::ids and its new token; false ends this row ("stopped"; the
/// token counts).
using TokenCallback = std::function<bool(int64_t row, int64_t token)>;

/// Continues prompts; shorter ones are padded at the left. Generation ends at the model's last
/// position. Random numbers are keyed by (seed, the prompt's tokens, which of equal prompts and
/// which of its sequences, the token's place): they depend neither on the threads nor on the other
/// prompts. Usage error for prompts that are empty or leave no room for one token, and for options
/// that exclude each other.
Generation generate(CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                    const GenerationOptions& options = {}, const TokenCallback& on_token = {});

/// Speculative decoding (Leviathan et al., 2023) of one prompt: `draft`, a smaller model of the
/// same vocabulary, proposes `num_draft_tokens` tokens, which `model` looks at together. At
/// temperature 0 these are exactly the tokens of generate(); otherwise exactly its distribution,
/// and a function of the seed and the prompt alone, although other tokens than generate() draws.
/// Usage error for beams, several sequences and models of different vocabularies.
Generation generate_speculative(CausalLM& model, CausalLM& draft,
                                const std::vector<int64_t>& prompt,
                                const GenerationOptions& options = {}, int64_t num_draft_tokens = 5,
                                const TokenCallback& on_token = {});

/// A generation_config.json: what was not said is unset, and everything can be overridden.
struct GenerationConfig {
  std::optional<int64_t> max_length, max_new_tokens, min_length, min_new_tokens;
  std::optional<bool> do_sample;
  std::optional<int64_t> num_beams, num_return_sequences;
  std::optional<EarlyStopping> early_stopping;
  std::optional<double> length_penalty;
  std::optional<double> temperature, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> no_repeat_ngram_size;
  std::optional<std::vector<std::vector<int64_t>>> bad_words_ids;
  std::optional<std::vector<std::pair<std::vector<int64_t>, double>>> sequence_bias;
  std::optional<int64_t> forced_bos_token_id;
  std::optional<std::vector<int64_t>> forced_eos_token_id, suppress_tokens, begin_suppress_tokens;
  std::optional<bool> remove_invalid_values, renormalize_logits;
  std::optional<std::pair<int64_t, double>> exponential_decay_length_penalty;
  std::optional<std::vector<std::string>> stop_strings;
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::optional<std::vector<int64_t>> eos_token_id;
  std::string other_fields =
      "{}";  ///< JSON object of what Corten has no use for; written back as it was

  /// Usage error "source: ..." for broken JSON, wrong types and what Corten cannot do.
  static GenerationConfig from_json(std::string_view text,
                                    std::string_view source = "generation_config.json");
  std::string to_json() const;
  /// Takes over what is set in `other`.
  void override_with(const GenerationConfig& other);
  /// The options for prompts of `prompt_tokens` tokens (the longest). Lengths that are unset leave
  /// `defaults.max_new_tokens`. Drawing: if do_sample is set, as it says; otherwise for one beam
  /// whose temperature is not 0. With do_sample, top_k is 50 if unset, as in transformers.
  GenerationOptions options(int64_t prompt_tokens, const GenerationOptions& defaults = {}) const;
};

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
