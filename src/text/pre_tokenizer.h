// Splitting text into the words that models work on, as `pre_tokenizer` of a
// tokenizer.json file says.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/gpt2_split.h"
#include "text/normalized_text.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace corten {

/// Text between added tokens, normalized.
struct Segment {
  std::string_view text;
  /// Of each byte with the original; none: it stands where the original does, from `origin` on.
  const std::pair<size_t, size_t>* alignment = nullptr;
  size_t origin = 0;
  /// Where the byte text[i] comes from.
  size_t original(size_t i) const {
    return alignment != nullptr ? alignment[i].first : origin + i;
  }
};

/// Part of a segment. Pre-tokenizers may have put characters before it or replaced some.
struct Piece {
  std::string_view text;
  const char* end = nullptr;  ///< the buffer of `text` reaches to here
  size_t origin = 0;          ///< offset in the segment of the first byte that is no added space
  bool prefixed = false;      ///< text[0] is an added space
  const uint32_t* map = nullptr;  ///< of rewritten text: each byte's offset in the segment

  Piece part(size_t from, size_t to) const {
    const std::string_view view = text.substr(from, to - from);
    if (map != nullptr) return {view, end, 0, false, map + from};
    if (from == 0) return {view, end, origin, prefixed, nullptr};
    return {view, end, origin + from - (prefixed ? 1 : 0), false, nullptr};
  }
  /// Offset in the segment of text[i]; an added space shares that of the byte after it.
  size_t source(size_t i) const {
    return map != nullptr ? map[i] : origin + i - (prefixed && i > 0 ? 1 : 0);
  }
  size_t readable() const { return static_cast<size_t>(end - text.data()); }
};

/// Characters that stand for bytes in byte-level vocabularies: printable ones for themselves, the
/// others from U+0100 on (Radford et al., encoder.py).
char32_t byte_to_char(uint8_t byte) noexcept;
/// The byte, or -1 if `c` stands for none.
int char_to_byte(char32_t c) noexcept;
/// The text of the characters that stand for `bytes`.
std::string to_byte_level(std::string_view bytes);

/// The pre-tokenizers BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace,
/// Punctuation, Split, Whitespace, WhitespaceSplit and sequences of them. Immutable.
class PreTokenizer {
 public:
  /// `json` is the value of "pre_tokenizer", null for none. `bytes_wanted`: the model can take
  /// words of raw bytes instead of the characters that ByteLevel makes of them. Usage error naming
  /// what is not supported.
  PreTokenizer(const Json& json, bool bytes_wanted, const std::string& source_name);

  /// Whether words are raw bytes, for a byte-level vocabulary.
  bool gives_bytes() const noexcept { return gives_bytes_; }
  /// Whether it matters where in the original text a segment begins.
  bool needs_tracking() const noexcept { return needs_tracking_; }

  /// Calls emit(const Piece&) for each word of a segment of valid UTF-8, in order.
  template <typename Emit>
  void split(const Segment& segment, Emit&& emit) const {
    if (segment.text.empty()) return;
    const char* const end = segment.text.data() + segment.text.size();
    run(0, segment, Piece{segment.text, end, 0, false, nullptr}, emit);
  }

 private:
  enum class Kind {
    Gpt2,
    Prefix,
    ByteLevel,
    ToBytes,
    Metaspace,
    Split,
    Digits,
    Punctuation,
    Bert,
    Whitespace,
    WhitespaceSplit
  };
  enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };
  enum class Prepend { First, Never, Always };
  using Range = std::pair<size_t, size_t>;

  struct Step {
    Kind kind;
    Behavior behavior = Behavior::Isolated;
    bool invert = false;
    TextPattern pattern;      // Split
    bool byte_level = false;  // comes after ByteLevel, which was left out: sees its characters
    // Metaspace
    std::string replacement;
    Prepend prepend = Prepend::Never;
    bool split = true;
  };

  void parse(const Json& json, const std::string& where, int depth, bool& byte_level);
  void parse_split(const Json& json, const std::string& where, Step step);
  void parse_metaspace(const Json& json, const std::string& where, Step step);
  static Behavior behavior(const Json& json, const std::string& where);
  // The parts of a text, each kept or dropped as the behavior says.
  static std::vector<Range> cut(const Step& step, std::string_view text);
  static std::vector<Range> cut_byte_level(const Step& step, std::string_view bytes);
  static std::vector<Range> behave(Behavior behavior,
                                   const std::vector<std::pair<Range, bool>>& parts);
  // Words of characters of one kind.
  enum class CharKind : uint8_t { Word, Space, Single };
  static CharKind char_kind(Kind kind, char32_t c) noexcept;
  static const std::array<CharKind, 128>& ascii_kinds(Kind kind) noexcept;

  /// Text that replaces that of a piece.
  struct Rewritten {
    std::string text;
    std::vector<uint32_t> map;
    Piece piece() const { return {text, text.data() + text.size(), 0, false, map.data()}; }
  };
  static Rewritten metaspace(const Step& step, const Segment& segment, const Piece& piece);
  static Rewritten to_bytes(const Piece& piece);
  static Rewritten prefixed(const Piece& piece);

  template <typename Next>
  static void scan(Kind kind, std::string_view text, Next&& next) {
    const std::array<CharKind, 128>& ascii = ascii_kinds(kind);
    const bool join_singles = kind == Kind::Whitespace;
    size_t begin = 0;
    CharKind before = CharKind::Space;
    for (size_t i = 0, length; i < text.size(); i += length) {
      CharKind now;
      const auto byte = static_cast<unsigned char>(text[i]);
      length = 1;
      if (byte < 0x80) {
        now = ascii[byte];
      } else {
        char32_t c;
        length = decode_valid_utf8(text.data() + i, c);
        now = char_kind(kind, c);
      }
      if (now == before && (now == CharKind::Word || (now == CharKind::Single && join_singles)))
        continue;
      if (before != CharKind::Space) next(begin, i);
      begin = i;
      before = now;
    }
    if (before != CharKind::Space) next(begin, text.size());
  }

  template <typename Emit>
  void run(size_t index, const Segment& segment, const Piece& piece, Emit& emit) const {
    if (index == steps_.size()) return emit(piece);
    const Step& step = steps_[index];
    const auto next = [&](size_t begin, size_t end) {
      if (begin < end) run(index + 1, segment, piece.part(begin, end), emit);
    };
    const auto rewritten = [&](const Rewritten& text) {
      run(index + 1, segment, text.piece(), emit);
    };
    switch (step.kind) {
      case Kind::ByteLevel:
        return run(index + 1, segment, piece, emit);
      case Kind::Gpt2: {
        size_t begin = 0;
        gpt2_split(piece.text, [&](std::string_view word) {
          next(begin, begin + word.size());
          begin += word.size();
        });
        return;
      }
      case Kind::Prefix: {
        if (piece.text[0] == ' ') return run(index + 1, segment, piece, emit);
        if (piece.map != nullptr) return rewritten(prefixed(piece));
        const std::string text = ' ' + std::string(piece.text);
        return run(index + 1, segment,
                   Piece{text, text.data() + text.size(), piece.origin, true, nullptr}, emit);
      }
      case Kind::ToBytes:
        return rewritten(to_bytes(piece));
      case Kind::Metaspace: {
        const Rewritten text = metaspace(step, segment, piece);
        if (!step.split) return rewritten(text);
        const Piece whole = text.piece();
        size_t begin = 0;
        const auto part = [&](size_t end) {
          if (begin < end) run(index + 1, segment, whole.part(begin, end), emit);
          begin = end;
        };
        for (size_t at = text.text.find(step.replacement); at != std::string::npos;
             at = text.text.find(step.replacement, at + step.replacement.size()))
          part(at);
        return part(text.text.size());
      }
      case Kind::Bert:
      case Kind::Whitespace:
      case Kind::WhitespaceSplit:
        if (!step.byte_level) return scan(step.kind, piece.text, next);
        break;
      case Kind::Split:
        if (step.pattern.is_regex() && step.behavior == Behavior::Isolated && !step.byte_level) {
          // The usual case, without a list.
          Regex::Matcher matcher(step.pattern.regex(), piece.text);
          size_t done = 0, begin, end;
          while (matcher.next(begin, end)) {
            next(done, begin);
            next(begin, end);
            done = end;
          }
          return next(done, piece.text.size());
        }
        break;
      case Kind::Digits:
      case Kind::Punctuation:
        break;
    }
    const auto ranges =
        step.byte_level ? cut_byte_level(step, piece.text) : cut(step, piece.text);
    for (const auto& [begin, end] : ranges) next(begin, end);
  }

  std::vector<Step> steps_;
  bool gives_bytes_ = false, needs_tracking_ = false;
};

}  // namespace corten
