#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "text/component_json.h"
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

namespace {

// The component and those in it, without Sequences.
void flatten(const Json& json, std::vector<const Json*>& out, int depth = 0) {
  const Json* list = json.find("pretokenizers");
  if (list == nullptr || !list->is_array() || depth > 16) {
    out.push_back(&json);
    return;
  }
  for (const Json& element : list->elements()) flatten(element, out, depth + 1);
}

bool has_type(const Json& json, const char* type) {
  const Json* value = json.find("type");
  return value != nullptr && *value == Json(type);
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, bool bytes_wanted, const std::string& source_name) {
  if (json.is_null()) return;
  // Raw bytes are as good as characters for them if nothing after ByteLevel adds other characters.
  std::vector<const Json*> parts;
  flatten(json, parts);
  size_t byte_levels = 0;
  bool metaspace_after = false;
  for (const Json* part : parts) {
    byte_levels += has_type(*part, "ByteLevel");
    metaspace_after = metaspace_after || (byte_levels > 0 && has_type(*part, "Metaspace"));
  }
  gives_bytes_ = bytes_wanted && byte_levels == 1 && !metaspace_after;
  bool byte_level = false;
  parse(json, source_name + ": pre_tokenizer", 0, byte_level);
}

PreTokenizer::Behavior PreTokenizer::behavior(const Json& json, const std::string& where) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const std::string& name = json.at("behavior").as_string(where + ": \"behavior\"");
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) usage_error("{}: unknown behavior \"{}\"", where, name);
  return static_cast<Behavior>(found - kNames.begin());
}

void PreTokenizer::parse(const Json& json, const std::string& where, int depth,
                         bool& byte_level) {
  const std::string& type = type_of(json, where);
  const std::string here = where + " " + type;
  Step step{.kind = Kind::ByteLevel, .pattern = {}, .byte_level = byte_level, .replacement = {}};
  if (type == "Sequence") {
    if (depth > 16) usage_error("{}: more than 16 levels of Sequence", where);
    for (const Json& element :
         need_member(json, "pretokenizers", here).elements(here + ": \"pretokenizers\""))
      parse(element, where, depth + 1, byte_level);
  } else if (type == "ByteLevel") {
    byte_level = gives_bytes_;
    if (flag_member(json, "add_prefix_space", true, here)) {
      step.kind = Kind::Prefix;
      steps_.push_back(step);
    }
    const bool split = flag_member(json, "use_regex", true, here);
    if (split || gives_bytes_) {
      step.kind = split ? Kind::Gpt2 : Kind::ByteLevel;
      steps_.push_back(step);
    }
    if (!gives_bytes_) {
      step.kind = Kind::ToBytes;
      steps_.push_back(step);
    }
  } else if (type == "Split") {
    step.kind = Kind::Split;
    parse_split(json, here, std::move(step));
  } else if (type == "CharDelimiterSplit") {
    step.kind = Kind::Split;
    step.behavior = Behavior::Removed;
    step.pattern =
        TextPattern(Json::object({{"String", string_member(json, "delimiter", here)}}), here);
    steps_.push_back(step);
  } else if (type == "Digits") {
    step.kind = Kind::Digits;
    step.behavior = flag_member(json, "individual_digits", false, here) ? Behavior::Isolated
                                                                        : Behavior::Contiguous;
    steps_.push_back(step);
  } else if (type == "Punctuation") {
    step.kind = Kind::Punctuation;
    if (json.contains("behavior")) step.behavior = behavior(json, here);
    steps_.push_back(step);
  } else if (type == "Metaspace") {
    step.kind = Kind::Metaspace;
    parse_metaspace(json, here, std::move(step));
  } else if (type == "BertPreTokenizer" || type == "Whitespace" || type == "WhitespaceSplit") {
    step.kind = type == "Whitespace"        ? Kind::Whitespace
                : type == "WhitespaceSplit" ? Kind::WhitespaceSplit
                                            : Kind::Bert;
    steps_.push_back(step);
  } else {
    usage_error(
        "{}: the type \"{}\" is not supported (BertPreTokenizer, ByteLevel, CharDelimiterSplit, "
        "Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit and Sequence are)",
        where, type);
  }
}

void PreTokenizer::parse_split(const Json& json, const std::string& where, Step step) {
  for (const char* key : {"pattern", "behavior", "invert"}) need_member(json, key, where);
  step.behavior = behavior(json, where);
  step.invert = json.at("invert").as_bool(where + ": \"invert\"");
  step.pattern = TextPattern(json.at("pattern"), where);
  steps_.push_back(std::move(step));
}

void PreTokenizer::parse_metaspace(const Json& json, const std::string& where, Step step) {
  step.replacement = string_member(json, "replacement", where);
  char32_t ignored;
  if (step.replacement.empty() ||
      decode_valid_utf8(step.replacement.data(), ignored) != step.replacement.size())
    usage_error("{}: \"replacement\" must be one character, not {}", where,
                json_quote(step.replacement));
  step.prepend = Prepend::Always;
  if (const Json* scheme = find_member(json, "prepend_scheme")) {
    const std::string& name = scheme->as_string(where + ": \"prepend_scheme\"");
    if (name == "first")
      step.prepend = Prepend::First;
    else if (name == "never")
      step.prepend = Prepend::Never;
    else if (name != "always")
      usage_error("{}: \"prepend_scheme\" must be first, never or always, not \"{}\"", where,
                  name);
  }
  // What files had before there were schemes.
  if (!flag_member(json, "add_prefix_space", true, where)) {
    if (json.contains("prepend_scheme") && step.prepend != Prepend::Never)
      usage_error("{}: \"add_prefix_space\" false and \"prepend_scheme\" {} contradict each other",
                  where, json.at("prepend_scheme").dump());
    step.prepend = Prepend::Never;
  }
  step.split = flag_member(json, "split", true, where);
  needs_tracking_ = needs_tracking_ || step.prepend == Prepend::First;
  steps_.push_back(std::move(step));
}

PreTokenizer::Rewritten PreTokenizer::metaspace(const Step& step, const Segment& segment,
                                                const Piece& piece) {
  Rewritten result;
  const size_t marks = static_cast<size_t>(std::count(piece.text.begin(), piece.text.end(), ' '));
  result.text.reserve(piece.text.size() + (marks + 1) * step.replacement.size());
  result.map.reserve(result.text.capacity());
  const auto put = [&](std::string_view text, size_t from, bool same_place) {
    result.text += text;
    for (size_t i = 0; i < text.size(); ++i)
      result.map.push_back(static_cast<uint32_t>(piece.source(same_place ? from : from + i)));
  };
  const bool wanted = step.prepend == Prepend::Always ||
                      (step.prepend == Prepend::First && segment.original(piece.source(0)) == 0);
  if (wanted && piece.text[0] != ' ' && !piece.text.starts_with(step.replacement))
    put(step.replacement, 0, true);
  size_t done = 0;
  for (size_t at = piece.text.find(' '); at != std::string_view::npos;
       at = piece.text.find(' ', at + 1)) {
    put(piece.text.substr(done, at - done), done, false);
    put(step.replacement, at, true);
    done = at + 1;
  }
  put(piece.text.substr(done), done, false);
  return result;
}

PreTokenizer::Rewritten PreTokenizer::to_bytes(const Piece& piece) {
  Rewritten result;
  for (size_t i = 0; i < piece.text.size(); ++i) {
    append_utf8(result.text, byte_to_char(static_cast<uint8_t>(piece.text[i])));
    result.map.resize(result.text.size(), static_cast<uint32_t>(piece.source(i)));
  }
  return result;
}

PreTokenizer::Rewritten PreTokenizer::prefixed(const Piece& piece) {
  Rewritten result{' ' + std::string(piece.text), {piece.map[0]}};
  result.map.insert(result.map.end(), piece.map, piece.map + piece.text.size());
  return result;
}

PreTokenizer::CharKind PreTokenizer::char_kind(Kind kind, char32_t c) noexcept {
  if (is_space(c)) return CharKind::Space;
  const uint8_t properties = unicode_table().properties(c);
  if (kind == Kind::Bert) return properties & kPunctuationFlag ? CharKind::Single : CharKind::Word;
  if (kind == Kind::Whitespace)
    return properties & kWordFlag ? CharKind::Word : CharKind::Single;
  return CharKind::Word;
}

const std::array<PreTokenizer::CharKind, 128>& PreTokenizer::ascii_kinds(Kind kind) noexcept {
  const auto make = [](Kind of) {
    std::array<CharKind, 128> kinds;
    for (char32_t c = 0; c < 128; ++c) kinds[c] = char_kind(of, c);
    return kinds;
  };
  static const std::array<CharKind, 128> bert = make(Kind::Bert),
                                         whitespace = make(Kind::Whitespace),
                                         split = make(Kind::WhitespaceSplit);
  return kind == Kind::Bert ? bert : kind == Kind::Whitespace ? whitespace : split;
}

std::vector<PreTokenizer::Range> PreTokenizer::cut(const Step& step, std::string_view text) {
  if (step.kind == Kind::Bert || step.kind == Kind::Whitespace ||
      step.kind == Kind::WhitespaceSplit) {
    std::vector<Range> words;
    scan(step.kind, text, [&](size_t begin, size_t end) { words.emplace_back(begin, end); });
    return words;
  }
  // Matches and what lies between them, in order.
  std::vector<std::pair<Range, bool>> parts;
  size_t done = 0;
  const auto match = [&](size_t begin, size_t end) {
    if (done != begin) parts.push_back({{done, begin}, step.invert});
    parts.push_back({{begin, end}, !step.invert});
    done = end;
  };
  if (step.kind == Kind::Split) {
    step.pattern.find(text, match);
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
  return behave(step.behavior, parts);
}

std::vector<PreTokenizer::Range> PreTokenizer::behave(
    Behavior behavior, const std::vector<std::pair<Range, bool>>& parts) {
  std::vector<Range> result;
  bool previous = false;
  switch (behavior) {
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
            behavior == Behavior::Contiguous ? matched == previous : matched && !previous;
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
