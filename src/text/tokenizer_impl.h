// The parts of a tokenizer.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "corten/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/nfc.h"
#include "text/pre_tokenizer.h"

namespace corten {

/// One step of "post_processor".
struct PostStep {
  struct Part {
    bool is_text = false;  ///< the tokens of the text
    std::vector<int32_t> ids;
    std::vector<std::string> tokens;
  };
  bool trim = false;  ///< leave white space out of offsets
  bool add_prefix_space = false;
  std::vector<Part> parts;  ///< if not `trim`
};

struct Tokenizer::Impl {
  /// The values of these keys, as they were read.
  struct Components {
    Json truncation, padding, normalizer, pre_tokenizer, post_processor, decoder;
    Json continuing_subword_prefix, end_of_word_suffix;
  };
  Impl(Components components, BpeConfig config, std::vector<AddedToken> added,
       const std::string& source_name);

  /// Reads the content of a tokenizer.json file.
  static std::shared_ptr<Impl> parse(std::string_view json, const std::string& source_name);

  Components components;
  bool normalize = false;  ///< NFC
  bool byte_level_decoder = false;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens added;
  std::vector<PostStep> post_steps;
  std::vector<PostStep::Part> with_special, without_special;  ///< the steps in one template
  std::optional<int32_t> bos, eos;

  std::string to_json() const;
  void encode_ids(std::string_view text, std::vector<int32_t>& ids) const;
  /// The bytes that a token stands for.
  std::string token_bytes(std::string_view token) const;
  /// Text of an id in the vocabulary; a null view if there is none.
  std::string_view token_text(int32_t id) const;
  /// Appends what decoding an id gives; false if it is skipped.
  bool append_decoded(int32_t id, bool skip_special_tokens, bool first, std::string& out) const;

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
  void walk(std::string_view text, bool offsets, OnAdded&& on_added, OnPiece&& on_piece) const;
  friend class Tokenizer;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> idle_caches_;
};

}  // namespace corten
