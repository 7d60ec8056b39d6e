// Special tokens around texts: the "post_processor" of a tokenizer.json file.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "corten/tokenizer.h"

namespace corten {

/// The post-processors ByteLevel, BertProcessing, RobertaProcessing, TemplateProcessing and
/// Sequence. Immutable.
class PostProcessor {
 public:
  /// `json` is the value of "post_processor", null for none. Usage error naming what is not
  /// supported.
  PostProcessor(const Json& json, const std::string& where);

  /// Special tokens that come to one text or two.
  size_t added_tokens(bool pair) const noexcept;
  /// Puts one or two encodings together. Places are in characters.
  Encoding process(std::vector<Encoding> texts, bool add_special_tokens) const;

  /// One text or the special tokens before or after it.
  struct Part {
    bool is_text = false;
    std::vector<int32_t> ids;
  };
  /// What comes to the ids of one text; nothing if that takes process().
  const std::vector<Part>* plain(bool add_special_tokens) const noexcept {
    return has_plain_ ? &plain_[add_special_tokens] : nullptr;
  }

 private:
  struct Piece {
    int text = -1;  // 0 or 1: a text; otherwise special tokens
    int32_t type_id = 0;
    std::vector<int32_t> ids;
    std::vector<std::string> tokens;
  };
  using Template = std::vector<Piece>;
  struct Step {
    bool trim = false;  // leave white space out of places
    bool add_prefix_space = false;
    bool zero_type_ids = false;
    bool is_template = false;
    bool sets_type_ids = false;  // of texts, as their pieces say
    bool without_special = true;  // applies without special tokens, too
    Template single, pair;
  };
  void parse(const Json& json, const std::string& where, int depth);
  static Template parse_template(const Json& json, const char* key, const std::string& where);
  static void parse_cls_sep(const Json& json, const std::string& where, bool roberta, Step& step);
  void make_plain();

  bool none_ = true;
  std::vector<Step> steps_;
  bool has_plain_ = false;
  std::vector<Part> plain_[2];
};

}  // namespace corten
