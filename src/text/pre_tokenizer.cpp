#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "text/unicode.h"

namespace corten {

namespace {

struct ByteChars {
  std::array<char32_t, 256> to_char{};
  std::array<int16_t, 0x144> to_byte{};

  constexpr ByteChars() {
    for (auto& byte : to_byte) byte = -1;
    char32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      to_char[b] = printable ? b : next++;
      to_byte[to_char[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr ByteChars kByteChars;

bool flag(const Json& json, std::string_view key, bool fallback, const std::string& where) {
  const Json* value = json.find(key);
  if (value == nullptr || value->is_null()) return fallback;
  return value->as_bool(format("{}: \"{}\"", where, key));
}

}  // namespace

char32_t byte_to_char(uint8_t byte) noexcept {
  return kByteChars.to_char[byte];
}
int char_to_byte(char32_t c) noexcept {
  return c < kByteChars.to_byte.size() ? kByteChars.to_byte[c] : -1;
}
std::string to_byte_level(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 2);
  for (char byte : bytes) append_utf8(text, byte_to_char(static_cast<uint8_t>(byte)));
  return text;
}

PreTokenizer::PreTokenizer(const Json& json, const std::string& source_name) {
  const std::string where = source_name + ": pre_tokenizer";
  bool byte_level = false;
  if (!json.is_null()) parse(json, where, byte_level);
  if (!byte_level)
    usage_error("{}: there is no ByteLevel: only byte-level BPE is supported", where);
}

PreTokenizer::Behavior PreTokenizer::behavior(const Json& json, const std::string& where) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const std::string& name = json.at("behavior").as_string(where + ": \"behavior\"");
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) usage_error("{}: unknown behavior \"{}\"", where, name);
  return static_cast<Behavior>(found - kNames.begin());
}

void PreTokenizer::parse(const Json& json, const std::string& where, bool& byte_level) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", where, json.type_name());
  const Json* type_value = json.find("type");
  if (type_value == nullptr) usage_error("{}: there is no \"type\"", where);
  const std::string& type = type_value->as_string(where + ": \"type\"");
  const std::string here = where + " " + type;
  Step step{.kind = Kind::ByteLevel, .regex = {}, .literal = {}, .byte_level = byte_level};
  if (type == "Sequence") {
    const Json* list = json.find("pretokenizers");
    if (list == nullptr) usage_error("{}: there is no \"pretokenizers\"", here);
    for (const Json& element : list->elements(here + ": \"pretokenizers\""))
      parse(element, where, byte_level);
  } else if (type == "ByteLevel") {
    if (byte_level) usage_error("{}: more than one is not supported", here);
    byte_level = true;
    if (flag(json, "add_prefix_space", true, here)) {
      step.kind = Kind::Prefix;
      steps_.push_back(step);
    }
    step.kind = flag(json, "use_regex", true, here) ? Kind::Gpt2 : Kind::ByteLevel;
    steps_.push_back(step);
  } else if (type == "Split") {
    step.kind = Kind::Split;
    parse_split(json, here, std::move(step));
  } else if (type == "Digits") {
    step.kind = Kind::Digits;
    step.behavior =
        flag(json, "individual_digits", false, here) ? Behavior::Isolated : Behavior::Contiguous;
    steps_.push_back(step);
  } else if (type == "Punctuation") {
    step.kind = Kind::Punctuation;
    if (json.contains("behavior")) step.behavior = behavior(json, here);
    steps_.push_back(step);
  } else {
    usage_error(
        "{}: the type \"{}\" is not supported (ByteLevel, Split, Digits, Punctuation and Sequence "
        "are)",
        where, type);
  }
}

void PreTokenizer::parse_split(const Json& json, const std::string& where, Step step) {
  for (const char* key : {"pattern", "behavior", "invert"})
    if (!json.contains(key)) usage_error("{}: there is no \"{}\"", where, key);
  step.behavior = behavior(json, where);
  step.invert = json.at("invert").as_bool(where + ": \"invert\"");
  const Json& pattern = json.at("pattern");
  if (const Json* regex = pattern.find("Regex")) {
    step.regex.emplace(regex->as_string(where + ": \"Regex\""), where);
  } else if (const Json* text = pattern.find("String")) {
    step.literal = text->as_string(where + ": \"String\"");
    if (step.literal.empty()) usage_error("{}: an empty pattern is not supported", where);
  } else {
    usage_error("{}: \"pattern\" must be {{\"Regex\": ...}} or {{\"String\": ...}}", where);
  }
  steps_.push_back(std::move(step));
}

std::vector<PreTokenizer::Range> PreTokenizer::cut(const Step& step, std::string_view text) {
  // Matches and what lies between them, in order.
  std::vector<std::pair<Range, bool>> parts;
  size_t done = 0;
  const auto match = [&](size_t begin, size_t end) {
    if (done != begin) parts.push_back({{done, begin}, step.invert});
    parts.push_back({{begin, end}, !step.invert});
    done = end;
  };
  if (step.regex) {
    Regex::Matcher matcher(*step.regex, text);
    for (size_t begin, end; matcher.next(begin, end);) match(begin, end);
  } else if (step.kind == Kind::Split) {
    for (size_t at; (at = text.find(step.literal, done)) != std::string_view::npos;)
      match(at, at + step.literal.size());
  } else {
    const uint8_t wanted = step.kind == Kind::Digits ? kNumericFlag : kPunctuationFlag;
    const UnicodeTable& table = unicode_table();
    char32_t c;
    for (size_t i = 0, length; i < text.size(); i += length) {
      length = decode_valid_utf8(text.data() + i, c);
      if (table.properties(c) & wanted) match(i, i + length);
    }
  }
  if (done != text.size()) parts.push_back({{done, text.size()}, step.invert});

  std::vector<Range> result;
  bool previous = false;
  switch (step.behavior) {
    case Behavior::Removed:
      for (const auto& [range, matched] : parts)
        if (!matched) result.push_back(range);
      break;
    case Behavior::Isolated:
      for (const auto& [range, matched] : parts) result.push_back(range);
      break;
    case Behavior::Contiguous:
    case Behavior::MergedWithPrevious:
      for (const auto& [range, matched] : parts) {
        const bool join =
            step.behavior == Behavior::Contiguous ? matched == previous : matched && !previous;
        if (join && !result.empty())
          result.back().second = range.second;
        else
          result.push_back(range);
        previous = matched;
      }
      break;
    case Behavior::MergedWithNext:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        const auto& [range, matched] = *part;
        if (matched && !previous && !result.empty())
          result.back().first = range.first;
        else
          result.push_back(range);
        previous = matched;
      }
      std::reverse(result.begin(), result.end());
      break;
  }
  return result;
}

std::vector<PreTokenizer::Range> PreTokenizer::cut_byte_level(const Step& step,
                                                              std::string_view bytes) {
  const std::string text = to_byte_level(bytes);
  // Offsets in `text` to offsets in `bytes`: every byte is one character.
  std::vector<size_t> source(text.size() + 1);
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    source[i] = count;
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++count;
  }
  source[text.size()] = count;
  std::vector<Range> ranges = cut(step, text);
  for (auto& [begin, end] : ranges) {
    begin = source[begin];
    end = source[end];
  }
  return ranges;
}

}  // namespace corten
