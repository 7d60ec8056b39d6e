// What is done to a text before it is split: the "normalizer" of a tokenizer.json file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/normalized_text.h"
#include "text/pattern.h"
#include "text/precompiled.h"
#include "text/unicode_forms.h"

namespace corten {

/// The normalizers NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend,
/// BertNormalizer, Precompiled, Nmt, ByteLevel and Sequence. Immutable.
class Normalizer {
 public:
  /// `json` is the value of "normalizer", null for none. Usage error naming what is not supported.
  Normalizer(const Json& json, const std::string& where);

  bool empty() const noexcept { return steps_.empty(); }
  /// Whether the places of characters matter to what the steps do.
  bool needs_tracking() const noexcept { return needs_tracking_; }
  void run(NormalizedText& text) const;
  /// Whether run() leaves the text as it is for certain; quick.
  bool surely_unchanged(std::string_view text) const noexcept {
    return steps_.size() == 1 && steps_[0].kind == Kind::Form &&
           surely_normal(text, steps_[0].form);
  }
  std::string normalize(std::string_view text) const;

 private:
  enum class Kind {
    Form,
    Lowercase,
    StripAccents,
    Strip,
    Replace,
    Prepend,
    Bert,
    Precompiled,
    Nmt,
    ByteLevel
  };
  struct Step {
    Kind kind = Kind::Form;
    UnicodeForm form = UnicodeForm::NFC;
    bool left = false, right = false;  // Strip
    TextPattern pattern;               // Replace
    std::string content;               // Replace, Prepend
    // BertNormalizer
    bool clean = false, chinese = false, accents = false, lowercase = false;
    std::shared_ptr<const corten::Precompiled> precompiled;
  };
  void parse(const Json& json, const std::string& where, int depth);
  static void run(const Step& step, NormalizedText& text);
  static void run_bert(const Step& step, NormalizedText& text);
  static bool run_bert_quickly(const Step& step, NormalizedText& text);

  std::vector<Step> steps_;
  bool needs_tracking_ = false;
};

}  // namespace corten
