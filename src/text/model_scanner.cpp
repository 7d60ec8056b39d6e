#include "text/model_scanner.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "text/unicode.h"

namespace corten {
namespace {

class ModelScanner {
 public:
  explicit ModelScanner(std::string_view text) : text_(text) {}

  std::optional<std::string> run(ModelLists& lists) {
    std::string buffer;
    if (valid_utf8(text_, buffer).data() != text_.data()) return std::nullopt;
    const bool ok = members([&](const std::string& key) {
      if (key != "model") return skip_value();
      return members([&](const std::string& model_key) {
        const size_t begin = at_;
        space();
        if (model_key == "vocab" && !at_end() && text_[at_] == '[')
          return scores(lists) && cut(begin, "[]");
        if (model_key == "vocab") return vocab(lists) && cut(begin, "{}");
        if (model_key == "merges") return merges(lists) && cut(begin, "[]");
        return skip_value();
      });
    });
    space();
    if (!ok || at_ != text_.size() || cuts_ == 0 || cuts_ > 2) return std::nullopt;
    return rest_ + std::string(text_.substr(done_));
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  static bool blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  void space() {
    while (!at_end() && blank(text_[at_])) ++at_;
  }
  bool take(char c) {
    space();
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool cut(size_t begin, std::string_view replacement) {
    rest_ += text_.substr(done_, begin - done_);
    rest_ += replacement;
    done_ = at_;
    ++cuts_;
    return true;
  }

  template <typename Visit>
  bool members(Visit&& visit) {
    if (!take('{')) return false;
    if (take('}')) return true;
    std::string key;
    do {
      if (!string(key) || !take(':') || !visit(key)) return false;
    } while (take(','));
    return take('}');
  }
  template <typename Visit>
  bool elements(Visit&& visit) {
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      if (!visit()) return false;
    } while (take(','));
    return take(']');
  }

  bool vocab(ModelLists& lists) {
    std::string token;
    return members([&](const std::string& key) {
      int64_t id;
      if (!integer(id)) return false;
      lists.vocab.emplace_back(key, id);
      return true;
    });
  }
  bool merges(ModelLists& lists) {
    std::string left, right;
    return elements([&] {
      space();
      if (take('[')) {
        if (!string(left) || !take(',') || !string(right) || !take(']')) return false;
      } else {
        if (!string(left)) return false;
        if (left.starts_with("#version")) return true;
        const size_t middle = left.find(' ');
        if (middle == std::string::npos || left.find(' ', middle + 1) != std::string::npos)
          return false;
        right.assign(left, middle + 1);
        left.resize(middle);
      }
      lists.merges.emplace_back(left, right);
      return true;
    });
  }

  bool scores(ModelLists& lists) {
    std::string token;
    return elements([&] {
      double score = 0;
      if (!take('[') || !string(token) || !take(',') || !number(score) || !take(']')) return false;
      lists.scores.emplace_back(token, score);
      return true;
    });
  }

  // Scores decide by their last bit which of two ways to take a word apart is better, so that they
  // must be what the `tokenizers` library reads, which is not always the nearest double: the digits
  // as an integer, as many as fit, times or divided by a power of ten.
  bool number(double& value) {
    space();
    const bool negative = !at_end() && text_[at_] == '-';
    if (negative) ++at_;
    uint64_t digits = 0;
    int exponent = 0;
    size_t count = 0;
    const auto read = [&](bool fraction) {
      for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++count) {
        const auto digit = static_cast<uint64_t>(text_[at_] - '0');
        if (digits > (UINT64_MAX - digit) / 10) {
          full_ = true;
        }
        if (full_) {
          if (!fraction) ++exponent;
          continue;
        }
        digits = digits * 10 + digit;
        if (fraction) --exponent;
      }
    };
    full_ = false;
    read(false);
    if (count == 0) return false;
    if (!at_end() && text_[at_] == '.') {
      ++at_;
      count = 0;
      read(true);
      if (count == 0) return false;
    }
    if (!at_end() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      const bool minus = !at_end() && text_[at_] == '-';
      if (!at_end() && (text_[at_] == '-' || text_[at_] == '+')) ++at_;
      int power = 0;
      count = 0;
      for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++count)
        power = std::min(power * 10 + (text_[at_] - '0'), 100000);
      if (count == 0) return false;
      exponent += minus ? -power : power;
    }
    value = static_cast<double>(digits);
    const auto power_of_ten = [](int n) {  // correctly rounded, as a literal is
      return std::strtod(("1e" + std::to_string(n)).c_str(), nullptr);
    };
    for (; exponent < -308 && value != 0; exponent += 308) value /= 1e308;
    if (exponent > 308) return value == 0;
    if (value != 0 && exponent > 0) value *= power_of_ten(exponent);
    if (value != 0 && exponent < 0) value /= power_of_ten(-exponent);
    if (negative) value = -value;
    return std::isfinite(value);
  }

  bool integer(int64_t& value) {
    space();
    const size_t begin = at_;
    value = 0;
    while (!at_end() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 18)
      value = value * 10 + (text_[at_++] - '0');
    if (at_ == begin || (text_[begin] == '0' && at_ > begin + 1) || at_end()) return false;
    return text_[at_] != '.' && text_[at_] != 'e' && text_[at_] != 'E';
  }

  bool string(std::string& out) {
    if (!take('"')) return false;
    out.clear();
    for (;;) {
      const size_t begin = at_;
      while (!at_end() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20)
        ++at_;
      out.append(text_, begin, at_ - begin);
      if (at_end()) return false;
      const char c = text_[at_++];
      if (c == '"') return true;
      if (c != '\\' || !escape(out)) return false;
    }
  }
  bool escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kCodes = "\"\\/\b\f\n\r\t";
    if (at_end()) return false;
    const char c = text_[at_++];
    if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
      out += kCodes[i];
      return true;
    }
    char32_t code;
    if (c != 'u' || !hex4(code)) return false;
    if (code >= 0xD800 && code < 0xE000) {
      char32_t low;
      if (code >= 0xDC00 || text_.substr(at_, 2) != "\\u") return false;
      at_ += 2;
      if (!hex4(low) || low < 0xDC00 || low >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
    }
    append_utf8(out, code);
    return true;
  }
  bool hex4(char32_t& code) {
    code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_end()) return false;
      const char c = text_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      code = code << 4 | static_cast<char32_t>(digit);
    }
    return true;
  }

  // Values that Json::parse will look at.
  bool skip_value() {
    space();
    int depth = 0;
    std::string ignored;
    do {
      space();
      if (at_end()) return false;
      const char c = text_[at_];
      if (c == '"') {
        if (!string(ignored)) return false;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']' || c == ',') && depth == 0) return false;
      if (c == '}' || c == ']') --depth;
      ++at_;
      if (depth == 0 && c != '}' && c != ']') {  // a number, true, false or null
        while (!at_end() && !blank(text_[at_]) && text_[at_] != ',' && text_[at_] != '}' &&
               text_[at_] != ']')
          ++at_;
      }
    } while (depth > 0);
    return true;
  }

  std::string_view text_;
  size_t at_ = 0, done_ = 0;
  int cuts_ = 0;
  bool full_ = false;  // the digits of a number no longer fit
  std::string rest_;
};

}  // namespace

std::optional<std::string> scan_model(std::string_view json, ModelLists& lists) {
  return ModelScanner(json).run(lists);
}

}  // namespace corten
