#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "text/unicode.h"

namespace corten::jinja {
namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<signed char>(c) < 0;
}

std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      if (tag == std::string::npos) {
        text(source_.substr(at_));
        break;
      }
      const char kind = source_[tag + 1];
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      text(before_tag(tag, kind, sign));
      move(tag + 2 + (sign == '-' || sign == '+'));
      if (kind == '#')
        comment();
      else if (kind == '%' && raw())
        continue;
      else
        inside(kind == '%');
    }
    tokens_.push_back({Token::End, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { usage_error("line {}: {}", line_, what); }

  void move(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void text(std::string part) {
    if (!part.empty()) tokens_.push_back({Token::Text, std::move(part), line_});
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1))
      if (i + 1 < source_.size() &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    return std::string::npos;
  }

  // The text up to a tag without the white space that the tag takes.
  std::string before_tag(size_t tag, char kind, char sign) const {
    std::string part = source_.substr(at_, tag - at_);
    if (sign == '-') {
      while (!part.empty()) {
        char32_t c;
        const size_t length = decode_before(part, part.size(), c);
        if (!is_space(c)) break;
        part.resize(part.size() - length);
      }
    } else if (sign != '+' && kind != '{') {
      const size_t newline = part.rfind('\n');
      const size_t begin = newline == std::string::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) &&
          std::all_of(part.begin() + static_cast<ptrdiff_t>(begin), part.end(), is_blank))
        part.resize(begin);
    }
    return part;
  }

  // Behind the end of a tag: `-` takes all white space, a block one newline.
  void after_tag(size_t to, bool minus, bool newline) {
    move(to);
    const size_t begin = at_;
    size_t end = at_;
    if (minus) {
      while (end < source_.size()) {
        char32_t c;
        const size_t length = decode_valid_utf8(source_.data() + end, c);
        if (!is_space(c)) break;
        end += length;
      }
    } else if (newline && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    move(end);
    line_starting_ = end > begin && source_[end - 1] == '\n';
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment without an end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    after_tag(end + 2, sign == '-', sign != '+');
  }

  // A name in a tag, and the end of the tag: the position behind it, or npos.
  size_t tag_with(std::string_view name, size_t from, bool& minus, bool& plus) const {
    size_t i = from;
    const auto skip = [&] {
      while (i < source_.size() && is_blank(source_[i])) ++i;
    };
    skip();
    if (source_.compare(i, name.size(), name) != 0) return std::string::npos;
    i += name.size();
    skip();
    minus = plus = false;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) {
      minus = source_[i] == '-';
      plus = !minus;
      ++i;
    }
    return source_.compare(i, 2, "%}") == 0 ? i + 2 : std::string::npos;
  }

  bool raw() {
    bool minus, plus;
    const size_t begin = tag_with("raw", at_, minus, plus);
    if (begin == std::string::npos || plus) return false;
    after_tag(begin, minus, false);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
         tag = source_.find("{%", tag + 2)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      const size_t end =
          tag_with("endraw", tag + 2 + (sign == '-' || sign == '+'), minus, plus);
      if (end == std::string::npos) continue;
      text(before_tag(tag, '%', sign));
      after_tag(end, minus, !plus);
      return true;
    }
    fail("raw without endraw");
  }

  void add(Token::Kind kind, std::string part) { tokens_.push_back({kind, std::move(part), line_}); }

  void inside(bool block) {
    add(block ? Token::BlockBegin : Token::OutputBegin, "");
    const std::string_view close = block ? "%}" : "}}";
    std::vector<char> open;  // brackets that are to be closed
    for (;;) {
      size_t i = at_;
      while (i < source_.size() && is_blank(source_[i])) ++i;
      move(i);
      if (at_ == source_.size()) fail(format("a tag without {}", close));
      if (open.empty()) {
        const char sign = source_[at_];
        const size_t skip = sign == '-' || (sign == '+' && block) ? 1 : 0;
        if (rest().substr(skip).starts_with(close)) {
          add(block ? Token::BlockEnd : Token::OutputEnd, "");
          return after_tag(at_ + skip + 2, sign == '-', block && sign != '+');
        }
      }
      const char c = source_[at_];
      if (begins_name(c))
        name();
      else if (is_digit(c))
        number();
      else if (c == '\'' || c == '"')
        string(c);
      else
        symbol(open);
    }
  }

  void name() {
    size_t end = at_;
    while (end < source_.size() && (begins_name(source_[end]) || is_digit(source_[end]))) ++end;
    add(Token::Name, source_.substr(at_, end - at_));
    move(end);
  }

  void number() {
    size_t end = at_;
    std::string digits;
    const auto read = [&] {
      for (; end < source_.size() && (is_digit(source_[end]) || source_[end] == '_'); ++end)
        if (source_[end] != '_') digits += source_[end];
    };
    const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
    read();
    Token::Kind kind = Token::Int;
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      kind = Token::Float;
      digits += '.';
      ++end;
      read();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign =
          end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      if (digit_at(end + 1 + sign)) {
        kind = Token::Float;
        digits += source_.substr(end, 1 + sign);
        end += 1 + sign;
        read();
      }
    }
    add(kind, std::move(digits));
    move(end);
  }

  void string(char quote) {
    std::string out;
    size_t i = at_ + 1;
    for (;; ++i) {
      if (i >= source_.size()) fail("a string without an end");
      const char c = source_[i];
      if (c == quote) break;
      if (c == '\\' && i + 1 < source_.size())
        i = escape(i + 1, out);
      else
        out += c;
    }
    add(Token::String, std::move(out));
    move(i + 1);
  }

  // Python's escapes; `i` is behind the backslash. Returns the place of the last character.
  size_t escape(size_t i, std::string& out) const {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"", kCodes = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[i];
    if (const size_t k = kLetters.find(c); k != std::string_view::npos) {
      out += kCodes[k];
      return i;
    }
    if (c == '\n') return i;
    const auto digit = [&](size_t at, uint32_t base) -> uint32_t {
      if (at >= source_.size()) return 99;
      const char d = source_[at];
      const uint32_t value = is_digit(d)              ? static_cast<uint32_t>(d - '0')
                             : d >= 'a' && d <= 'f' ? static_cast<uint32_t>(d - 'a' + 10)
                             : d >= 'A' && d <= 'F' ? static_cast<uint32_t>(d - 'A' + 10)
                                                    : 99;
      return value < base ? value : 99;
    };
    const auto put = [&](uint32_t code) {
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        fail(format("an escape for U+{:04X}, which is no character", code));
      append_utf8(out, code);
    };
    uint32_t code = 0;
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      for (size_t k = 1; k <= count; ++k) {
        if (digit(i + k, 16) == 99) fail(format("\\{} needs {} hexadecimal digits", c, count));
        code = code << 4 | digit(i + k, 16);
      }
      put(code);
      return i + count;
    }
    if (digit(i, 8) != 99) {
      size_t end = i;
      for (; end < i + 3 && digit(end, 8) != 99; ++end) code = code << 3 | digit(end, 8);
      put(code);
      return end - 1;
    }
    out += '\\';
    out += c;
    return i;
  }

  void symbol(std::vector<char>& open) {
    static constexpr std::array<std::string_view, 27> kSymbols = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
        "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "!"};
    const auto found = std::find_if(kSymbols.begin(), kSymbols.end(),
                                    [&](std::string_view s) { return rest().starts_with(s); });
    if (found == kSymbols.end() || *found == "!")
      fail(format("unexpected character {:?}", rest().substr(0, 1)));
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(format("unexpected {}", c));
      open.pop_back();
    }
    add(Token::Operator, std::string(*found));
    move(at_ + found->size());
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace corten::jinja
