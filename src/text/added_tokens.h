// Tokens that are found in text before anything else: <|endoftext|> and the like.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/model.h"

namespace corten {

/// An entry of "added_tokens" in a tokenizer.json file.
struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  ///< only where no word character is beside it
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
  bool normalized = true;    ///< is looked for in normalized text
  bool special = false;      ///< left out when decoding
  std::string normal_form;   ///< content as it is after normalization
};

/// Finds the leftmost longest of several texts.
class TextFinder {
 public:
  void add(std::string_view text, size_t value);  ///< a text added again gets the new value
  bool empty() const noexcept { return values_.size() <= 1; }
  /// The first occurrence at or after `from`: true with its place and value.
  bool find(std::string_view in, size_t from, size_t& begin, size_t& end, size_t& value) const;

 private:
  // A trie; node 0 is the root. Value 0: no text ends there, else value + 1.
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte
  std::vector<size_t> values_ = {0};
  std::array<bool, 256> first_{};
  int only_first_ = -1;  // the byte that all texts begin with, -1 before the first, -2 if several
};

/// The added tokens of a tokenizer. Immutable once complete.
class AddedTokens {
 public:
  /// Part of a text: an added token, or text between such (id < 0).
  struct Part {
    size_t begin, end;
    int32_t id;
  };

  /// Adds tokens in order. Ids are those that the `tokenizers` library gives: that of the same
  /// text in `model`, or else the next one from the model's size on; ids in the file do not count.
  void add(AddedToken token, const Model& model);

  bool empty() const noexcept { return tokens_.empty(); }
  /// Sorted by id.
  const std::vector<AddedToken>& tokens() const noexcept { return tokens_; }
  const AddedToken* find(int32_t id) const noexcept;
  int32_t id(std::string_view content) const noexcept;  ///< -1 if there is none
  bool is_special(std::string_view content) const noexcept;

  /// Cuts text at the tokens that are looked for in text as it is (normalized = false) or in
  /// normalized text. `plain_special`: not at special ones, which stay text.
  std::vector<Part> split(std::string_view text, bool normalized, bool plain_special) const;
  bool has(bool normalized) const noexcept { return !finders_[normalized].empty(); }

 private:
  std::vector<AddedToken> tokens_;
  int32_t next_id_ = -1;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<std::string, bool> special_;
  TextFinder finders_[2];  // values are ids
};

/// Reads "added_tokens". Usage error naming the entry.
std::vector<AddedToken> parse_added_tokens(const Json& json, const std::string& source_name);
Json to_json(const AddedToken& token);

}  // namespace corten
