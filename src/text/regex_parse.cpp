// Parser for Oniguruma's Ruby syntax (documented in its doc/RE).
#include <array>
#include <optional>

#include "base/format.h"
#include "text/regex_program.h"
#include "text/unicode_data.h"

namespace corten {
namespace {

constexpr std::array<std::string_view, kCategoryCount> kCategoryNames = {
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kMajorCategories = {
    {{"letter", "L"},
     {"mark", "M"},
     {"number", "N"},
     {"punctuation", "P"},
     {"symbol", "S"},
     {"separator", "Z"},
     {"other", "C"}}};

constexpr int kMaxDepth = 100;

CharSet categories(std::string_view prefix) {
  CharSet set;
  for (size_t i = 0; i < kCategoryNames.size(); ++i)
    if (kCategoryNames[i].starts_with(prefix))
      set = set.united(CharSet::category(static_cast<Category>(i)));
  return set;
}

// Names of properties are compared without case, spaces, '-' and '_'.
std::string plain_name(std::string_view name) {
  std::string result;
  for (char c : name)
    if (c != ' ' && c != '-' && c != '_')
      result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return result;
}

std::optional<CharSet> property_set(std::string_view name) {
  const std::string plain = plain_name(name);
  if (plain == "any") return CharSet::everything();
  for (const auto& [long_name, major] : kMajorCategories)
    if (plain == long_name || plain == plain_name(major)) return categories(major);
  for (std::string_view category : kCategoryNames)
    if (plain == plain_name(category)) return categories(category);
  for (size_t i = 0; i < kScriptCount; ++i) {
    if (plain != plain_name(kScripts[i].name)) continue;
    std::vector<CharSet::Range> ranges;
    for (uint32_t k = 0; k < kScripts[i].count; ++k) {
      const auto& range = kScriptRanges[kScripts[i].first + k];
      ranges.emplace_back(range[0], range[1]);
    }
    return CharSet(std::move(ranges));
  }
  return std::nullopt;
}

CharSet space_set() {
  return categories("Z").united(CharSet({{'\t', '\r'}, {0x85, 0x85}}));
}

bool ascii_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Parser {
 public:
  Parser(std::string_view pattern, std::string_view what) : in_(pattern), what_(what) {}

  RegexNode run() {
    if (take("(?i)")) ignore_case_ = true;  // elsewhere its extent differs from other engines
    RegexNode node = alternatives(0);
    if (!at_end()) fail("an unmatched \")\"");
    return node;
  }

 private:
  using Kind = RegexNode::Kind;
  using Mode = RegexNode::Mode;

  [[noreturn]] void fail(std::string_view construct) const {
    usage_error("{}: {} at byte {} of the pattern \"{}\" is not supported", what_, construct, at_,
                in_);
  }
  bool at_end() const { return at_ >= in_.size(); }
  bool ahead(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!ahead(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_char() {
    if (at_end()) fail("an unfinished pattern");
    const Utf8Char c = decode_utf8(in_.substr(at_));
    if (c.state != Utf8::Valid) fail("invalid UTF-8");
    at_ += c.length;
    return c.code;
  }

  static RegexNode parent(Kind kind, RegexNode child) {
    RegexNode node;
    node.kind = kind;
    node.children.push_back(std::move(child));
    return node;
  }
  static RegexNode repeat(RegexNode child, uint32_t least, uint32_t most, Mode mode) {
    RegexNode node = parent(Kind::Repeat, std::move(child));
    node.least = least;
    node.most = most;
    node.mode = mode;
    return node;
  }

  RegexNode alternatives(int depth) {
    if (depth > kMaxDepth) fail("a group nested this deep");
    RegexNode node;
    node.kind = Kind::Alternate;
    do node.children.push_back(sequence(depth));
    while (take("|"));
    return node.children.size() == 1 ? std::move(node.children[0]) : node;
  }

  RegexNode sequence(int depth) {
    RegexNode node;
    char32_t before = 0;  // a letter whose pair with the next might fold to one character
    while (!at_end() && in_[at_] != '|' && in_[at_] != ')') {
      if (take("(?#")) {
        while (take_char() != ')') {
        }
        continue;
      }
      const char32_t letter = ignore_case_ && ascii_letter(in_[at_]) ? in_[at_] | 0x20 : 0;
      // Full case folding equates "ss" with one character, and "st", "ff", "fi", "fl".
      if ((before == 's' && (letter == 's' || letter == 't')) ||
          (before == 'f' && (letter == 'f' || letter == 'i' || letter == 'l')))
        fail("this pair of letters with the flag i");
      before = letter;
      node.children.push_back(quantified(atom(depth)));
    }
    return node.children.size() == 1 ? std::move(node.children[0]) : node;
  }

  RegexNode atom(int depth) {
    RegexNode node;
    if (ahead("(")) return group(depth);
    if (take("^") || take("$")) {
      node.kind = Kind::Assert;
      node.assertion = in_[at_ - 1];
      return node;
    }
    if (ahead("*") || ahead("+") || ahead("?")) fail("a quantifier without an operand");
    if (ahead("\\") && at_ + 1 < in_.size() &&
        std::string_view("AzZbB").find(in_[at_ + 1]) != std::string_view::npos) {
      node.kind = Kind::Assert;
      node.assertion = in_[at_ + 1];
      at_ += 2;
      return node;
    }
    node.kind = Kind::Set;
    const size_t begin = at_;
    if (take("[")) {
      node.set = char_class(0);
    } else if (take(".")) {
      node.set = CharSet({{'\n', '\n'}}).complement();
    } else {
      const auto c = escape_or_char(node.set);
      if (c) node.set = CharSet({{*c, *c}});
    }
    if (ignore_case_) {
      if (!node.set.empty() && node.set.ranges().back().second >= 0x80) {
        at_ = begin;
        fail("a character beyond ASCII with the flag i");
      }
      node.set = both_cases(node.set);
    }
    return node;
  }

  // Simple case folding of ASCII: besides the other case, U+017F for s and U+212A for k.
  static CharSet both_cases(const CharSet& set) {
    std::vector<CharSet::Range> ranges = set.ranges();
    for (char32_t c = 'a'; c <= 'z'; ++c) {
      if (!set.contains(c) && !set.contains(c - 0x20)) continue;
      ranges.insert(ranges.end(), {{c, c}, {c - 0x20, c - 0x20}});
      if (c == 's') ranges.emplace_back(0x17F, 0x17F);
      if (c == 'k') ranges.emplace_back(0x212A, 0x212A);
    }
    return CharSet(std::move(ranges));
  }

  RegexNode group(int depth) {
    const bool outer_case = ignore_case_;
    Kind kind = Kind::Concat;
    bool negated = false;
    if (take("(?:")) {
    } else if (take("(?i:")) {
      ignore_case_ = true;
    } else if (take("(?-i:")) {
      ignore_case_ = false;
    } else if (ahead("(?=") || ahead("(?!")) {
      kind = Kind::Ahead;
      negated = in_[at_ + 2] == '!';
      at_ += 3;
    } else if (ahead("(?<=") || ahead("(?<!")) {
      kind = Kind::Behind;
      negated = in_[at_ + 3] == '!';
      at_ += 4;
    } else if (take("(?>")) {
      kind = Kind::Atomic;
    } else if (take("(?<")) {  // a named group
      while (take_char() != '>') {
      }
    } else if (ahead("(?") || ahead("(*")) {
      fail("this kind of group");
    } else {
      ++at_;
    }
    RegexNode body = alternatives(depth + 1);
    if (!take(")")) fail("an unmatched \"(\"");
    ignore_case_ = outer_case;
    if (kind == Kind::Concat) return body;
    RegexNode node = parent(kind, std::move(body));
    node.negated = negated;
    return node;
  }

  RegexNode quantified(RegexNode node) {
    for (;;) {
      uint32_t least = 0, most = kUnbounded;
      Mode mode = Mode::Greedy;
      if (!at_end() && std::string_view("*+?").find(in_[at_]) != std::string_view::npos) {
        const char c = in_[at_++];
        if (c == '+') least = 1;
        if (c == '?') most = 1;
        if (take("?"))
          mode = Mode::Lazy;
        else if (take("+"))
          mode = Mode::Possessive;
      } else if (ahead("{") && interval(least, most)) {
        // In Ruby {n,m}+ repeats the whole once more and {n}? makes it optional: next round.
        if (least != most && take("?")) mode = Mode::Lazy;
      } else {
        return node;
      }
      if (node.kind != Kind::Set && can_be_empty(node))
        fail("a quantifier of something that may be empty");
      node = repeat(std::move(node), least, most, mode);
    }
  }

  // {n}, {n,}, {,m}, {n,m}; anything else is literal text.
  bool interval(uint32_t& least, uint32_t& most) {
    const size_t begin = at_++;
    const auto number = [&](uint32_t& value) {
      const size_t first = at_;
      value = 0;
      while (!at_end() && in_[at_] >= '0' && in_[at_] <= '9') {
        value = value * 10 + static_cast<uint32_t>(in_[at_++] - '0');
        if (value > 1000) fail("a repetition of more than 1000 times");
      }
      return at_ > first;
    };
    const bool has_least = number(least);
    bool has_most = false;
    if (take(",")) {
      has_most = number(most);
      if (!has_most) most = kUnbounded;
    } else {
      most = least;
    }
    if ((!has_least && !has_most) || !take("}")) {
      at_ = begin;
      return false;
    }
    if (most < least) fail("a repetition of a larger to a smaller number of times");
    return true;
  }

  static bool can_be_empty(const RegexNode& node) {
    switch (node.kind) {
      case Kind::Set:
        return false;
      case Kind::Concat:
        for (const RegexNode& child : node.children)
          if (!can_be_empty(child)) return false;
        return true;
      case Kind::Alternate:
        for (const RegexNode& child : node.children)
          if (can_be_empty(child)) return true;
        return false;
      case Kind::Repeat:
        return node.least == 0 || can_be_empty(node.children[0]);
      case Kind::Atomic:
        return can_be_empty(node.children[0]);
      default:
        return true;
    }
  }

  // A character, or nothing if it was an escape for a set, which is added to `set`.
  std::optional<char32_t> escape_or_char(CharSet& set) {
    if (!take("\\")) return take_char();
    if (at_end()) fail("a \"\\\" at the end");
    if (const auto escaped = escaped_set()) {
      set = set.united(*escaped);
      return std::nullopt;
    }
    return escaped_char();
  }

  // After a backslash: \s \S \d \D \w \W \h \H \p{...} \P{...}.
  std::optional<CharSet> escaped_set() {
    const char c = in_[at_];
    if (c == 'p' || c == 'P') {
      if (!take("p{") && !take("P{")) fail("a property without braces");
      const bool negated = take("^") != (c == 'P');
      const size_t close = in_.find('}', at_);
      if (close == std::string_view::npos) fail("an unfinished property");
      const std::string_view name = in_.substr(at_, close - at_);
      const auto set = property_set(name);
      if (!set) fail(format("the property \"{}\"", name));
      at_ = close + 1;
      return negated ? set->complement() : *set;
    }
    const char lower = static_cast<char>(c | 0x20);
    if (lower != 's' && lower != 'd' && lower != 'w' && lower != 'h') return std::nullopt;
    ++at_;
    const CharSet set = lower == 's'   ? space_set()
                        : lower == 'd' ? CharSet::category(Category::Nd)
                        : lower == 'w' ? regex_word_set()
                                       : CharSet({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
    return c == lower ? set : set.complement();
  }

  char32_t digits(int base, size_t least, size_t most) {
    char32_t value = 0;
    size_t n = 0;
    for (; n < most && !at_end(); ++n, ++at_) {
      const char c = in_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : 16;
      if (digit >= base) break;
      value = value * static_cast<char32_t>(base) + static_cast<char32_t>(digit);
    }
    if (n < least || value > 0x10FFFF) fail("a character code");
    return value;
  }

  // After a backslash: the character that an escape stands for.
  char32_t escaped_char() {
    static constexpr std::string_view kLetters = "tnvfrae", kCodes = "\t\n\v\f\r\a\x1b";
    if (take("x{")) {
      const char32_t c = digits(16, 1, 8);
      if (!take("}")) fail("a character code");
      return c;
    }
    if (take("x")) {
      const char32_t c = digits(16, 1, 2);
      if (c >= 0x80) fail("a byte of a character");
      return c;
    }
    if (take("u")) return digits(16, 4, 4);
    if (take("0")) return digits(8, 0, 2);
    const char32_t c = static_cast<unsigned char>(in_[at_]);
    if (c >= 0x80) return take_char();
    if (const size_t i = kLetters.find(in_[at_]); i != std::string_view::npos) {
      ++at_;
      return static_cast<char32_t>(kCodes[i]);
    }
    if (ascii_letter(c) || (c >= '0' && c <= '9')) fail(format("\"\\{}\"", static_cast<char>(c)));
    ++at_;
    return c;
  }

  // After '[', up to and including ']': nested sets are united, && intersects.
  CharSet char_class(int depth) {
    if (depth > kMaxDepth) fail("a class nested this deep");
    const bool negated = take("^");
    std::optional<CharSet> left;  // operand of &&
    CharSet set;
    for (bool first = true;; first = false) {
      if (at_end()) fail("an unfinished class");
      if (!first && take("]")) break;
      if (take("&&")) {
        left = left ? left->intersected(set) : set;
        set = CharSet();
        continue;
      }
      if (ahead("[:")) fail("a POSIX bracket");
      if (take("[")) {
        set = set.united(char_class(depth + 1));
        continue;
      }
      const auto low = class_char(set);
      if (!low) continue;
      char32_t high = *low;
      if (at_ + 1 < in_.size() && in_[at_] == '-' && in_[at_ + 1] != ']' && in_[at_ + 1] != '[') {
        ++at_;
        CharSet ignored;
        const auto c = class_char(ignored);
        if (!c || *c < *low) fail("the end of a range");
        high = *c;
      }
      set = set.united(CharSet({{*low, high}}));
    }
    if (left) set = left->intersected(set);
    return negated ? set.complement() : set;
  }
  std::optional<char32_t> class_char(CharSet& set) {
    if (take("\\b")) return 8;
    return escape_or_char(set);
  }

  std::string_view in_, what_;
  size_t at_ = 0;
  bool ignore_case_ = false;
};

}  // namespace

RegexNode parse_regex(std::string_view pattern, std::string_view what) {
  return Parser(pattern, what).run();
}

// The tables hold the \w of Rust's regex crate; Oniguruma's lacks the two joiners and has six more
// characters below U+0100.
CharSet regex_word_set() {
  std::vector<CharSet::Range> ranges;
  for (size_t i = 0; i < kUnicodeRunCount; ++i)
    if (kUnicodeRuns[i] & kWordFlag)
      ranges.emplace_back(kUnicodeRuns[i] >> 8,
                          (i + 1 < kUnicodeRunCount ? kUnicodeRuns[i + 1] >> 8 : 0x110000) - 1);
  return CharSet(std::move(ranges))
      .intersected(CharSet({{0x200C, 0x200D}}).complement())
      .united(CharSet({{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}}));
}

}  // namespace corten
