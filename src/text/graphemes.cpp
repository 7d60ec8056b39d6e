#include "text/graphemes.h"

#include <array>
#include <cstdint>
#include <vector>

#include "text/normalizer_data.h"
#include "text/unicode.h"

namespace corten {
namespace {

enum class GraphemeClass : uint8_t {
  Other,
  CR,
  LF,
  Control,
  Extend,
  ZWJ,
  RegionalIndicator,
  Prepend,
  SpacingMark,
  L,
  V,
  T,
  LV,
  LVT,
  Pictographic,
};

struct Properties {
  GraphemeClass kind;
  bool consonant, linker;
};

// Properties of all code points in blocks of 256, of which many are the same.
class Table {
 public:
  Table() {
    std::array<uint8_t, 256> block;
    size_t run = 0;
    for (uint32_t b = 0; b < index_.size(); ++b) {
      for (uint32_t i = 0; i < 256; ++i) {
        while (run + 1 < kGraphemeRunCount && kGraphemeRuns[run + 1] >> 8 <= (b << 8 | i)) ++run;
        block[i] = static_cast<uint8_t>(kGraphemeRuns[run]);
      }
      if (blocks_.empty() || blocks_.back() != block) blocks_.push_back(block);
      index_[b] = static_cast<uint16_t>(blocks_.size() - 1);
    }
  }
  Properties of(char32_t c) const noexcept {
    const uint8_t bits = blocks_[index_[c >> 8]][c & 255];
    return {static_cast<GraphemeClass>(bits & 15), (bits & 16) != 0, (bits & 32) != 0};
  }

 private:
  std::array<uint16_t, 0x1100> index_;
  std::vector<std::array<uint8_t, 256>> blocks_;
};

}  // namespace

size_t grapheme_length(std::string_view text, size_t from) noexcept {
  using enum GraphemeClass;
  static const Table table;
  char32_t c;
  size_t at = from + decode_valid_utf8(text.data() + from, c);
  Properties before = table.of(c);
  // What the rules need to know of the cluster so far.
  int indicators = before.kind == RegionalIndicator ? 1 : 0;
  bool picture = before.kind == Pictographic;  // a pictograph and Extend after it
  bool conjunct = before.consonant;            // a consonant and marks after it,
  bool linked = false;                         // among them a linker
  while (at < text.size()) {
    const size_t length = decode_valid_utf8(text.data() + at, c);
    const Properties next = table.of(c);
    const auto is = [](const Properties& p, auto... kinds) { return ((p.kind == kinds) || ...); };
    bool join = false;
    if (is(before, CR)) {
      join = is(next, LF);  // GB3
    } else if (is(before, LF, Control) || is(next, CR, LF, Control)) {
      join = false;  // GB4, GB5
    } else if (is(next, Extend, ZWJ, SpacingMark) || is(before, Prepend)) {
      join = true;  // GB9, GB9a, GB9b
    } else if (is(before, L)) {
      join = is(next, L, V, LV, LVT);  // GB6
    } else if (is(before, LV, V)) {
      join = is(next, V, T);  // GB7
    } else if (is(before, LVT, T)) {
      join = is(next, T);  // GB8
    } else if (is(before, ZWJ) && picture && is(next, Pictographic)) {
      join = true;  // GB11
    } else if (is(before, RegionalIndicator) && is(next, RegionalIndicator)) {
      join = indicators % 2 == 1;  // GB12, GB13
    }
    if (!join && conjunct && linked && next.consonant) join = true;  // GB9c
    if (!join) break;
    indicators = is(next, RegionalIndicator) ? indicators + 1 : 0;
    picture = is(next, Pictographic) || (picture && is(next, Extend, ZWJ));
    if (next.consonant) {
      conjunct = true;
      linked = false;
    } else if (is(next, Extend, ZWJ) && c != 0x200C) {
      linked = linked || next.linker;
    } else if (next.linker) {
      linked = true;
    } else {
      conjunct = linked = false;
    }
    before = next;
    at += length;
  }
  return at - from;
}

}  // namespace corten
