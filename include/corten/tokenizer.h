// Byte-level BPE tokenizers: reading and writing tokenizer.json, training, encoding, decoding.
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

/// Tokens of a text with their places.
struct Encoding {
  std::vector<int32_t> ids;
  /// Texts of the tokens in the vocabulary's byte-level form ("Ġthe" for " the"); of added tokens,
  /// the text that they were found as.
  std::vector<std::string> tokens;
  /// Begin and end in Unicode characters of the text. Tokens that hold part of a character cover
  /// the whole of it; special tokens that are no part of the text have (0, 0).
  std::vector<std::pair<size_t, size_t>> offsets;
};

/// A byte-level BPE tokenizer (Sennrich et al. 2016; Radford et al. 2019), compatible with the
/// `tokenizers` library and its tokenizer.json files: the same ids, tokens, offsets and decoded
/// text for the same file. Immutable, cheap to copy, safe to share between threads.
///
/// Text is UTF-8. Bytes that are no UTF-8 are taken as U+FFFD, one for each maximal invalid
/// subpart, as Python's bytes.decode(errors="replace") does.
class Tokenizer {
 public:
  /// Reads a tokenizer.json file with a BPE model and a ByteLevel pre-tokenizer. Supported beside
  /// it: the pre-tokenizers Split, Digits, Punctuation and Sequence, the normalizer NFC, added
  /// tokens, the post-processors ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing
  /// and Sequence, and the decoder ByteLevel. "truncation" and "padding" are kept but not applied:
  /// lengths are the caller's business. If a tokenizer_config.json lies beside the file, its
  /// bos_token and eos_token are used. Usage error naming the file and what is wrong or not
  /// supported; Resource error if reading fails.
  static Tokenizer from_file(const std::string& path);
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

  /// Tokens, ids and places. `add_special_tokens`: apply the post-processor's template.
  Encoding encode(std::string_view text, bool add_special_tokens = true) const;
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

  /// The tokens that begin and end a text: those of tokenizer_config.json, otherwise added tokens
  /// with one of the usual names (<|endoftext|>, </s>, <|end_of_text|>, <s>, ...).
  std::optional<int32_t> bos_id() const noexcept;
  std::optional<int32_t> eos_id() const noexcept;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Turns ids into text as they come. The results put together are Tokenizer::decode() of all ids;
/// each is complete UTF-8: bytes that may be the beginning of a character are held back.
class Tokenizer::StreamDecoder {
 public:
  std::string push(int32_t id);
  /// What was held back, as U+FFFD. The decoder can then be used for another text.
  std::string finish();

 private:
  friend class Tokenizer;
  StreamDecoder(std::shared_ptr<const Impl> impl, bool skip_special_tokens)
      : impl_(std::move(impl)), skip_special_tokens_(skip_special_tokens) {}
  std::shared_ptr<const Impl> impl_;
  std::string pending_;
  bool skip_special_tokens_;
  bool first_ = true;
};

}  // namespace corten
