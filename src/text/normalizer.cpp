#include "text/normalizer.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "text/component_json.h"
#include "text/letter_case.h"
#include "text/normalizer_data.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {
namespace {

void lowercase(NormalizedText& text) {
  const std::string& old = text.text();
  if (std::all_of(old.begin(), old.end(), [](char c) { return static_cast<signed char>(c) >= 0; }))
    return text.map_bytes(
        [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  std::vector<CharChange> changes;
  changes.reserve(old.size());
  for (char32_t c : text.characters()) {
    if (c == 0x130) {
      changes.push_back({'i', 0});
      changes.push_back({0x307, 1});
    } else {
      changes.push_back({lowercase_of(c), 0});
    }
  }
  text.transform(changes);
}

bool in_ranges(const uint32_t (*ranges)[2], size_t count, char32_t c) noexcept {
  const auto* const end = ranges + count;
  const auto* after = std::upper_bound(
      ranges, end, c, [](char32_t x, const uint32_t (&range)[2]) { return x < range[0]; });
  return after != ranges && c <= (*(after - 1))[1];
}

// Left out or replaced by BertNormalizer's clean_text.
bool is_control(char32_t c) noexcept {
  if (c < 0x80) return (c < 32 && c != '\t' && c != '\n' && c != '\r') || c == 127;
  return in_ranges(kBertControl, kBertControlCount, c);
}
bool is_nonspacing(char32_t c) noexcept {
  return c >= 0x300 && in_ranges(kNonspacingMarks, kNonspacingMarksCount, c);
}
// The blocks that BERT puts spaces around.
bool is_chinese(char32_t c) noexcept {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void strip(NormalizedText& text, bool left, bool right) {
  const std::vector<char32_t> chars = text.characters();
  size_t leading = 0, trailing = 0;
  if (left)
    while (leading < chars.size() && is_space(chars[leading])) ++leading;
  if (right)
    while (trailing < chars.size() && is_space(chars[chars.size() - 1 - trailing])) ++trailing;
  if (leading == 0 && trailing == 0) return;
  std::vector<CharChange> changes;
  for (size_t i = leading; i + trailing < chars.size(); ++i) changes.push_back({chars[i], 0});
  text.transform(changes, leading);
}

void nmt(NormalizedText& text) {
  text.filter([](char32_t c) {
    return !((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
             c == 0x9F);
  });
  std::vector<CharChange> changes;
  for (char32_t c : text.characters()) {
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    changes.push_back({space ? U' ' : c, 0});
  }
  text.transform(changes);
}

void to_bytes(NormalizedText& text) {
  std::vector<CharChange> changes;
  for (char c : text.text()) {
    const auto byte = static_cast<uint8_t>(c);
    changes.push_back({byte_to_char(byte), (byte & 0xC0) == 0x80 ? 1 : 0});
  }
  text.transform(changes);
}

}  // namespace

Normalizer::Normalizer(const Json& json, const std::string& where) {
  if (!json.is_null()) parse(json, where, 0);
}

void Normalizer::parse(const Json& json, const std::string& where, int depth) {
  static const std::unordered_map<std::string_view, UnicodeForm> kForms = {
      {"NFC", UnicodeForm::NFC},
      {"NFD", UnicodeForm::NFD},
      {"NFKC", UnicodeForm::NFKC},
      {"NFKD", UnicodeForm::NFKD}};
  static const std::unordered_map<std::string_view, Kind> kPlain = {
      {"Lowercase", Kind::Lowercase},
      {"StripAccents", Kind::StripAccents},
      {"Nmt", Kind::Nmt},
      {"ByteLevel", Kind::ByteLevel}};
  const std::string& type = type_of(json, where);
  const std::string here = where + " " + type;
  Step step;
  if (type == "Sequence") {
    if (depth > 16) usage_error("{}: more than 16 levels of Sequence", where);
    for (const Json& element :
         need_member(json, "normalizers", here).elements(here + ": \"normalizers\""))
      parse(element, where, depth + 1);
    return;
  }
  if (const auto form = kForms.find(type); form != kForms.end()) {
    step.form = form->second;
  } else if (const auto plain = kPlain.find(type); plain != kPlain.end()) {
    step.kind = plain->second;
  } else if (type == "Strip") {
    step.kind = Kind::Strip;
    step.left = need_member(json, "strip_left", here).as_bool(here + ": \"strip_left\"");
    step.right = need_member(json, "strip_right", here).as_bool(here + ": \"strip_right\"");
  } else if (type == "Replace") {
    step.kind = Kind::Replace;
    step.pattern = TextPattern(need_member(json, "pattern", here), here);
    step.content = string_member(json, "content", here);
    needs_tracking_ = needs_tracking_ || step.pattern.is_regex();
  } else if (type == "Prepend") {
    step.kind = Kind::Prepend;
    step.content = string_member(json, "prepend", here);
  } else if (type == "BertNormalizer") {
    step.kind = Kind::Bert;
    step.clean = need_member(json, "clean_text", here).as_bool(here + ": \"clean_text\"");
    step.chinese = need_member(json, "handle_chinese_chars", here)
                       .as_bool(here + ": \"handle_chinese_chars\"");
    step.lowercase = need_member(json, "lowercase", here).as_bool(here + ": \"lowercase\"");
    step.accents = flag_member(json, "strip_accents", step.lowercase, here);
  } else if (type == "Precompiled") {
    step.kind = Kind::Precompiled;
    // An empty map changes nothing.
    const std::string& map = string_member(json, "precompiled_charsmap", here);
    if (map.empty()) return;
    step.precompiled = std::make_shared<corten::Precompiled>(map, here);
  } else {
    usage_error(
        "{}: the type \"{}\" is not supported (NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, "
        "Strip, Replace, Prepend, BertNormalizer, Precompiled, Nmt, ByteLevel and Sequence are)",
        where, type);
  }
  steps_.push_back(std::move(step));
}

void Normalizer::run(NormalizedText& text) const {
  for (const Step& step : steps_) run(step, text);
}

std::string Normalizer::normalize(std::string_view text) const {
  NormalizedText normal(text, needs_tracking_);
  run(normal);
  return normal.take_text();
}

void Normalizer::run(const Step& step, NormalizedText& text) {
  switch (step.kind) {
    case Kind::Form:
      if (!surely_normal(text.text(), step.form))
        text.transform(unicode_changes(text.text(), step.form));
      break;
    case Kind::Lowercase:
      lowercase(text);
      break;
    case Kind::StripAccents:
      text.filter([](char32_t c) {
        return c < 0x300 || !in_ranges(kCombiningMarks, kCombiningMarksCount, c);
      });
      break;
    case Kind::Strip:
      strip(text, step.left, step.right);
      break;
    case Kind::Replace: {
      std::vector<std::pair<size_t, size_t>> ranges;
      step.pattern.find(text.text(),
                        [&](size_t begin, size_t end) { ranges.emplace_back(begin, end); });
      text.replace(ranges, step.content);
      break;
    }
    case Kind::Prepend:
      text.prepend(step.content);
      break;
    case Kind::Bert:
      run_bert(step, text);
      break;
    case Kind::Precompiled:
      step.precompiled->normalize(text);
      break;
    case Kind::Nmt:
      nmt(text);
      break;
    case Kind::ByteLevel:
      to_bytes(text);
      break;
  }
}

void Normalizer::run_bert(const Step& step, NormalizedText& text) {
  if (run_bert_quickly(step, text)) return;
  if (step.clean) {
    text.filter([](char32_t c) { return c != 0 && c != 0xFFFD && !is_control(c); });
    std::vector<CharChange> changes;
    for (char32_t c : text.characters()) changes.push_back({is_space(c) ? U' ' : c, 0});
    text.transform(changes);
  }
  if (step.chinese) {
    std::vector<CharChange> changes;
    bool any = false;
    for (char32_t c : text.characters()) {
      if (is_chinese(c)) {
        changes.insert(changes.end(), {{U' ', 0}, {c, 1}, {U' ', 1}});
        any = true;
      } else {
        changes.push_back({c, 0});
      }
    }
    if (any) text.transform(changes);
  }
  if (step.accents) {
    if (!surely_normal(text.text(), UnicodeForm::NFD))
      text.transform(unicode_changes(text.text(), UnicodeForm::NFD));
    text.filter([](char32_t c) { return !is_nonspacing(c); });
  }
  if (step.lowercase) lowercase(text);
}

// The four steps in one pass over the characters; false, with the text as it was, where that would
// not do: places are to be kept and lengths change, or marks would have to be put in order.
bool Normalizer::run_bert_quickly(const Step& step, NormalizedText& text) {
  const std::string& old = text.text();
  std::array<char, 128> map;  // what an ASCII character becomes; 0: left out
  for (size_t i = 0; i < map.size(); ++i) {
    const auto c = static_cast<char>(i);
    map[i] = c;
    if (step.clean && is_space(i)) map[i] = ' ';
    if (step.clean && is_control(i)) map[i] = 0;  // also of white space: U+000B and U+000C
    if (step.lowercase && c >= 'A' && c <= 'Z') map[i] = static_cast<char>(c + 32);
  }
  if (text.tracked()) {
    const bool one_to_one = std::all_of(old.begin(), old.end(), [&](char c) {
      return static_cast<signed char>(c) >= 0 && (map[static_cast<size_t>(c)] != 0 || c == 0);
    });
    if (!one_to_one || (step.clean && old.find('\0') != std::string::npos)) return false;
    text.map_bytes([&](char c) { return map[static_cast<size_t>(c)]; });
    return true;
  }
  constexpr size_t kMargin = 40;  // more than one character can become
  std::string next(old.size() + kMargin, '\0');
  size_t size = 0;
  const auto put = [&](char32_t c) {
    if (step.accents && is_nonspacing(c)) return;
    if (step.lowercase) c = lowercase_of(c);
    size += encode_utf8(c, next.data() + size);
  };
  for (size_t i = 0; i < old.size();) {
    if (next.size() < size + (old.size() - i) + kMargin) next.resize(next.size() * 2 + kMargin);
    const char byte = old[i];
    if (static_cast<signed char>(byte) >= 0) {
      const char mapped = map[static_cast<size_t>(byte)];
      next[size] = mapped;
      size += mapped != 0 || (byte == 0 && !step.clean);
      ++i;
      continue;
    }
    char32_t c;
    i += decode_valid_utf8(old.data() + i, c);
    if (step.clean) {
      if (c == 0xFFFD || is_control(c)) continue;
      if (is_space(c)) c = ' ';
    }
    const bool chinese = step.chinese && is_chinese(c);
    if (step.lowercase && c == 0x130 && !step.accents) return false;
    if (chinese) next[size++] = ' ';
    if (!step.accents) {
      put(c);
    } else if (c >= 0xAC00 && c < 0xD7A4) {
      const char32_t syllable = c - 0xAC00;  // The Unicode Standard, section 3.12
      put(0x1100 + syllable / 588);
      put(0x1161 + syllable / 28 % 21);
      if (syllable % 28 != 0) put(0x11A7 + syllable % 28);
    } else if (const Decomposition parts = canonical_decomposition(c); parts.size > 0) {
      if (parts.size + 2 > 8) return false;
      for (size_t k = 0; k < parts.size; ++k) {
        if (combining_class(parts.parts[k]) != 0 && !is_nonspacing(parts.parts[k])) return false;
        put(parts.parts[k]);
      }
    } else {
      if (combining_class(c) != 0 && !is_nonspacing(c)) return false;
      put(c);
    }
    if (chinese) next[size++] = ' ';
  }
  next.resize(size);
  text.set_untracked(std::move(next));
  return true;
}

}  // namespace corten
