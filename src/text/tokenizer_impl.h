// The parts of a tokenizer.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "corten/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace corten {

/// What "model" of a tokenizer.json file holds.
struct WordLevelConfig {
  Vocabulary::Entries vocab;
  std::string unk_token;
};
using ModelConfig = std::variant<BpeConfig, WordPiece::Config, Unigram::Config, WordLevelConfig>;

/// The files beside a tokenizer.json.
struct TokenizerSettings {
  std::map<std::string, std::string, std::less<>> special;  ///< text by role: {"bos", "<s>"}
  std::string chat_template;
};

struct Tokenizer::Impl {
  /// The values of these keys, as they were read.
  struct Components {
    Json truncation, padding, normalizer, pre_tokenizer, post_processor, decoder;
  };
  Impl(Components components, ModelConfig config, std::vector<AddedToken> added,
       const std::string& source_name);

  /// Reads the content of a tokenizer.json file.
  static std::shared_ptr<Impl> parse(std::string_view json, const std::string& source_name);
  /// Reads what lies beside it.
  void read_settings(const std::string& folder);

  Components components;
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<Model> model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  TokenizerSettings settings;
  /// Names and contents of what was read beside the file.
  std::vector<std::pair<std::string, std::string>> side_files;
  std::optional<int32_t> bos, eos;

  std::string to_json() const;
  int32_t token_id(std::string_view token) const noexcept;  ///< -1 if there is none
  /// Text of an id in the vocabulary; a null view if there is none.
  std::string_view token_text(int32_t id) const;
  /// Text of an id to be decoded; a null view if it is skipped.
  std::string_view text_to_decode(int32_t id, bool skip_special_tokens) const;

  void encode_ids(std::string_view text, std::vector<int32_t>& ids) const;
  /// The tokens of one text, without special tokens around it.
  Encoding encode(std::string_view text, int32_t sequence, bool plain_special) const;
  Encoding encode(const TextInput& input, const EncodeOptions& options) const;

  /// A WordCache for the time of a call.
  class CacheLease {
   public:
    explicit CacheLease(const Impl& impl);
    ~CacheLease();
    WordCache& operator*() noexcept { return *cache_; }

   private:
    const Impl& impl_;
    std::unique_ptr<WordCache> cache_;
  };

 private:
  template <typename OnAdded, typename OnPiece>
  void walk(std::string_view text, bool track, bool plain_special, OnAdded&& on_added,
            OnPiece&& on_piece) const;
  friend class Tokenizer;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> idle_caches_;
};

/// The tokens of special roles and the chat template that lie in a folder. Usage error naming the
/// file that is not well formed.
TokenizerSettings read_tokenizer_settings(const std::string& folder);

}  // namespace corten
