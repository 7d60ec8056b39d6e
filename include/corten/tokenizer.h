// Tokenizers: reading and writing tokenizer.json, training, encoding, decoding, chat templates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// Tokens of a text, or of two, with their places. All lists have one entry per token.
struct Encoding {
  std::vector<int32_t> ids;
  /// Texts of the tokens as the vocabulary has them ("Ġthe" for " the" in byte-level ones); of added
  /// tokens, the text that they were found as; of what a Unigram model does not know, the text.
  std::vector<std::string> tokens;
  /// Begin and end in Unicode characters of the text (or in bytes, see EncodeOptions). Tokens that
  /// hold part of a character cover the whole of it; special tokens that are no part of the text
  /// and padding have (0, 0).
  std::vector<std::pair<size_t, size_t>> offsets;
  std::vector<int32_t> type_ids;             ///< as the post-processor says; by default 0 and 1
  std::vector<uint8_t> attention_mask;       ///< 0 of padding
  std::vector<uint8_t> special_tokens_mask;  ///< 1 of special tokens around the text and padding
  std::vector<int32_t> word_ids;      ///< number of the word that it is part of; -1: of none
  std::vector<int32_t> sequence_ids;  ///< 0: of the first text, 1: of the second, -1: of none
  std::vector<Encoding> overflowing;  ///< what truncation cut off, in parts of the same length
};

/// How long encodings are cut; see EncodeOptions.
struct Truncation {
  enum Strategy { LongestFirst, OnlyFirst, OnlySecond };
  size_t max_length = 512;  ///< with the special tokens
  size_t stride = 0;        ///< tokens that the parts of what overflows have in common
  Strategy strategy = LongestFirst;
  bool from_left = false;  ///< keeps the end of the text
};

/// How short encodings are filled up; see EncodeOptions.
struct Padding {
  std::optional<size_t> length;  ///< none: as long as the longest of the batch
  size_t multiple_of = 0;        ///< rounds the length up, unless 0
  bool left = false;             ///< fills up at the beginning
  int32_t id = 0, type_id = 0;
  std::string token = "[PAD]";
};

/// One text, or two that belong together.
struct TextInput {
  std::string_view first;
  std::optional<std::string_view> second;
};

struct EncodeOptions {
  bool add_special_tokens = true;  ///< apply the post-processor's template
  /// Text that looks like a special token ("</s>") stays text: for what comes from users. False, the
  /// default of `transformers` and `tokenizers`, too: such text becomes the token.
  bool split_special_tokens = false;
  bool byte_offsets = false;       ///< places in bytes of UTF-8 instead of characters
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  int threads = 0;  ///< of encode_batch(); 0: one per core
};

/// What a chat template is given beside the messages.
struct ChatOptions {
  bool add_generation_prompt = false;
  std::string tools;      ///< a JSON list of tools, or empty
  std::string variables;  ///< a JSON object of further variables, or empty
};

/// A tokenizer, compatible with the `tokenizers` library and its tokenizer.json files: the same
/// ids, tokens, offsets and decoded text for the same file. Immutable, cheap to copy, safe to share
/// between threads.
///
/// Text is UTF-8. Bytes that are no UTF-8 are taken as U+FFFD, one for each maximal invalid
/// subpart, as Python's bytes.decode(errors="replace") does.
class Tokenizer {
 public:
  /// Reads a tokenizer.json file. Models: BPE (of bytes or characters, with byte fallback),
  /// WordPiece, Unigram and WordLevel. Components: all but the pre-tokenizers UnicodeScripts and
  /// FixedLength and the decoder CTC. Files that lie beside it are read, too: tokenizer_config.json
  /// and special_tokens_map.json for the special tokens' roles, chat_template.jinja. Usage error
  /// naming the file and what is wrong or not supported; Resource error if reading fails.
  static Tokenizer from_file(const std::string& path);
  /// The same for a folder with a tokenizer.json, in Hugging Face layout.
  static Tokenizer from_pretrained(const std::string& folder);
  /// The same from the file's content; `source_name` is for error texts.
  static Tokenizer from_json(std::string_view json, const std::string& source_name);

  struct TrainOptions {
    size_t vocab_size = 8192;    ///< with the special tokens and the 256 bytes
    uint64_t min_frequency = 2;  ///< pairs of tokens that occur less often are not merged
    std::vector<std::string> special_tokens = {"<|endoftext|>"};  ///< get the first ids
    int threads = 0;                                              ///< 0: one per core
  };
  /// Trains on texts: GPT-2's splitting, the 256 bytes as initial alphabet, and the merges of
  /// tokenizers.trainers.BpeTrainer on the same texts, whatever the number of threads. The
  /// vocabulary is smaller than asked for when no pair is frequent enough. Usage error if
  /// vocab_size leaves no room for the bytes and the special tokens, or one of these is empty or
  /// given twice.
  static Tokenizer train(std::span<const std::string_view> texts, const TrainOptions& options);

  /// The file's content, as the `tokenizers` library writes it.
  std::string to_json() const;
  /// Writes tokenizer.json; an existing file is replaced in one step.
  void save(const std::string& path) const;
  /// Writes into `folder`, which is made if there is none, what transformers reads: tokenizer.json
  /// and the tokenizer_config.json, special_tokens_map.json and chat_template.jinja that were read
  /// beside it, as they were; a tokenizer_config.json with the tokens that begin and end a text if
  /// there was none. Each file is replaced in one step.
  void save_pretrained(const std::string& folder) const;

  /// Tokens, ids and places. `add_special_tokens`: apply the post-processor's template.
  Encoding encode(std::string_view text, bool add_special_tokens = true) const;
  /// One text or two, cut and filled up as the options say (and not as the file says: see
  /// truncation() and padding()). Usage error if the options contradict each other or the texts.
  Encoding encode(const TextInput& input, const EncodeOptions& options) const;
  /// Several; they are filled up to the same length. The result does not depend on the threads.
  std::vector<Encoding> encode_batch(std::span<const TextInput> inputs,
                                     const EncodeOptions& options) const;
  /// The file's own "truncation" and "padding", for those who want to apply them.
  std::optional<Truncation> truncation() const;
  std::optional<Padding> padding() const;
  /// The ids alone, several times as fast.
  std::vector<int32_t> encode_ids(std::string_view text, bool add_special_tokens = true) const;
  /// The same, appended to `ids`.
  void encode_ids(std::string_view text, bool add_special_tokens, std::vector<int32_t>& ids) const;

  /// Text of ids. Ids that stand for no token are skipped; bytes that are no UTF-8 become U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  /// Decodes ids one by one; see stream_decoder().
  class StreamDecoder;
  StreamDecoder stream_decoder(bool skip_special_tokens = true) const;

  /// The highest id + 1: what an embedding needs to have.
  size_t vocab_size() const noexcept;
  /// Id of a token given as in the vocabulary ("Ġthe").
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int32_t id) const;

  /// The tokens that begin and end a text: those of the files beside tokenizer.json, otherwise
  /// added tokens with one of the usual names (<|endoftext|>, </s>, <|end_of_text|>, <s>, ...).
  std::optional<int32_t> bos_id() const noexcept;
  std::optional<int32_t> eos_id() const noexcept;
  /// The token with a role, "pad", "unk", "cls", "sep", "mask", "bos" or "eos", of the files beside
  /// tokenizer.json.
  std::optional<int32_t> special_id(std::string_view role) const;

  /// The chat template of tokenizer_config.json or chat_template.jinja; empty if there is none.
  const std::string& chat_template() const noexcept;
  /// The text of a conversation: `messages` is a JSON list of {"role": ..., "content": ...}. Usage
  /// error if there is no template, it is wrong, or it raises an exception.
  std::string apply_chat_template(std::string_view messages, const ChatOptions& options) const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Turns ids into text as they come. The results put together are Tokenizer::decode() of all ids;
/// each is complete UTF-8: what depends on later ids (bytes that may be the beginning of a character,
/// white space that may be cut off at the end) is held back.
class Tokenizer::StreamDecoder {
 public:
  std::string push(int32_t id);
  /// What was held back, as U+FFFD. The decoder can then be used for another text.
  std::string finish();

  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

 private:
  friend class Tokenizer;
  struct State;
  explicit StreamDecoder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace corten
