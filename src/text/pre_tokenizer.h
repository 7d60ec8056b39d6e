// Splitting text into the words that byte-pair encoding works on, as `pre_tokenizer` of a
// tokenizer.json file says.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/gpt2_split.h"
#include "text/regex.h"

namespace corten {

/// Part of a segment of text. ByteLevel with add_prefix_space may have put a space before it.
struct Piece {
  std::string_view text;
  size_t origin = 0;      ///< offset in the segment of the first byte that is no added space
  bool prefixed = false;  ///< text[0] is an added space

  Piece part(size_t begin, size_t end) const {
    if (begin == 0) return {text.substr(0, end), origin, prefixed};
    return {text.substr(begin, end - begin), origin + begin - (prefixed ? 1 : 0), false};
  }
  /// Offset in the segment of text[i]; an added space shares that of the byte after it.
  size_t source(size_t i) const { return origin + i - (prefixed && i > 0 ? 1 : 0); }
};

/// Characters that stand for bytes in byte-level vocabularies: printable ones for themselves, the
/// others from U+0100 on (Radford et al., encoder.py).
char32_t byte_to_char(uint8_t byte) noexcept;
/// The byte, or -1 if `c` stands for none.
int char_to_byte(char32_t c) noexcept;
/// The text of the characters that stand for `bytes`.
std::string to_byte_level(std::string_view bytes);

/// The pre-tokenizers ByteLevel, Split, Digits, Punctuation and sequences of them with one
/// ByteLevel. Immutable.
class PreTokenizer {
 public:
  /// `json` is the value of "pre_tokenizer". Usage error naming what is not supported.
  PreTokenizer(const Json& json, const std::string& source_name);

  /// The GPT-2 splitter alone.
  bool is_gpt2() const noexcept { return steps_.size() == 1 && steps_[0].kind == Kind::Gpt2; }

  /// Calls emit(const Piece&) for each word of a segment of valid UTF-8, in order. Words are raw
  /// bytes: that they are encoded as characters is left to the vocabulary.
  template <typename Emit>
  void split(std::string_view segment, Emit&& emit) const {
    if (!segment.empty()) run(0, Piece{segment, 0, false}, emit);
  }

 private:
  enum class Kind { Gpt2, Prefix, ByteLevel, Split, Digits, Punctuation };
  enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };
  using Range = std::pair<size_t, size_t>;

  struct Step {
    Kind kind;
    Behavior behavior = Behavior::Isolated;
    bool invert = false;
    std::optional<Regex> regex;
    std::string literal;      // of Split without a regex
    bool byte_level = false;  // comes after ByteLevel: sees the characters that stand for bytes
  };

  void parse(const Json& json, const std::string& where, bool& byte_level);
  void parse_split(const Json& json, const std::string& where, Step step);
  static Behavior behavior(const Json& json, const std::string& where);
  // The parts of a text, each kept or dropped as the behavior says.
  static std::vector<Range> cut(const Step& step, std::string_view text);
  static std::vector<Range> cut_byte_level(const Step& step, std::string_view bytes);

  template <typename Emit>
  void run(size_t index, const Piece& piece, Emit& emit) const {
    if (index == steps_.size()) return emit(piece);
    const Step& step = steps_[index];
    const auto next = [&](size_t begin, size_t end) {
      if (begin < end) run(index + 1, piece.part(begin, end), emit);
    };
    if (step.kind == Kind::ByteLevel) {
      run(index + 1, piece, emit);
    } else if (step.kind == Kind::Gpt2) {
      size_t begin = 0;
      gpt2_split(piece.text, [&](std::string_view word) {
        next(begin, begin + word.size());
        begin += word.size();
      });
    } else if (step.kind == Kind::Prefix) {
      if (piece.text[0] == ' ') return run(index + 1, piece, emit);
      const std::string text = ' ' + std::string(piece.text);
      run(index + 1, Piece{text, piece.origin, true}, emit);
    } else if (step.regex && step.behavior == Behavior::Isolated && !step.byte_level) {
      // The usual case, without a list.
      Regex::Matcher matcher(*step.regex, piece.text);
      size_t done = 0, begin, end;
      while (matcher.next(begin, end)) {
        next(done, begin);
        next(begin, end);
        done = end;
      }
      next(done, piece.text.size());
    } else {
      const auto ranges =
          step.byte_level ? cut_byte_level(step, piece.text) : cut(step, piece.text);
      for (const auto& [begin, end] : ranges) next(begin, end);
    }
  }

  std::vector<Step> steps_;
};

}  // namespace corten
