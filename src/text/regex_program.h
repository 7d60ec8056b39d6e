// Patterns as trees (what the parser makes) and as programs (what the matcher runs).
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace corten {

inline constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

/// Part of a pattern.
struct RegexNode {
  enum class Kind : uint8_t {
    Set,        ///< one character out of `set`
    Concat,     ///< the children one after the other; none: the empty text
    Alternate,  ///< the first child that leads to a match
    Repeat,     ///< the child `least` to `most` times
    Ahead,      ///< (?=child)
    Behind,     ///< (?<=child)
    Atomic,     ///< (?>child)
    Assert,     ///< a place: `assertion`
  };
  enum class Mode : uint8_t { Greedy, Lazy, Possessive };

  Kind kind = Kind::Concat;
  CharSet set;
  std::vector<RegexNode> children;
  uint32_t least = 0, most = 0;
  Mode mode = Mode::Greedy;
  bool negated = false;  ///< of Ahead and Behind
  char assertion = 0;    ///< one of ^ $ A z Z b B
};

/// Parses Oniguruma's Ruby syntax; Usage error "<what>: ..." as described at Regex.
RegexNode parse_regex(std::string_view pattern, std::string_view what);

/// The set \w of Oniguruma.
CharSet regex_word_set();

/// Membership of code points in constant time.
class CharTable {
 public:
  explicit CharTable(const CharSet& set);
  bool contains(char32_t c) const noexcept {
    return blocks_[index_[c >> 8]][c >> 6 & 3] >> (c & 63) & 1;
  }
  enum Byte : uint8_t { kOut, kIn, kLead };
  /// Of an ASCII character: kIn or kOut; kLead for other bytes.
  Byte byte(char c) const noexcept { return bytes_[static_cast<unsigned char>(c)]; }

 private:
  std::array<Byte, 256> bytes_;
  std::array<uint16_t, 0x1100> index_;
  std::vector<std::array<uint64_t, 4>> blocks_;
};

/// Bytes with which a match can begin.
using ByteSet = std::bitset<256>;

struct RegexInstruction {
  enum class Op : uint8_t {
    Set,        ///< one character of sets[a]
    Run,        ///< `least` to `most` characters of sets[a], as many as possible
    RunAll,     ///< the same, possessive
    Split,      ///< go on here, then at `a`; skips to `a` if the next byte is not in bytes[b]
    SplitLazy,  ///< at `a`, then here
    Jump,       ///< to `a`
    Look,       ///< if the program that follows matches here (or not: negated), go on at `a`
    Behind,     ///< the same, b characters earlier, ending here
    Atomic,     ///< the program that follows, then at `a`
    Assert,     ///< a: one of ^ $ A z Z
    WordEdge,   ///< \b, or \B if negated; sets[a] is \w
    Accept,
    Fail,
  };
  Op op = Op::Fail;
  bool negated = false;
  uint32_t a = 0, b = 0, least = 0, most = 0;
};

inline constexpr uint32_t kNowhere = std::numeric_limits<uint32_t>::max();

struct RegexProgram {
  std::vector<RegexInstruction> code;
  std::vector<CharTable> sets;
  std::vector<ByteSet> bytes;
  bool may_be_empty = false;  ///< may match without taking a character
  /// Where to start if the next byte is known: behind alternatives that cannot begin with it;
  /// kNowhere if nothing can.
  std::array<uint32_t, 256> entry{};
};

}  // namespace corten
