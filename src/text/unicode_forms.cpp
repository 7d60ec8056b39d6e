#include "text/unicode_forms.h"

#include <algorithm>
#include <unordered_map>

#include "text/nfc_data.h"
#include "text/normalizer_data.h"
#include "text/unicode.h"

namespace corten {
namespace {

// Hangul syllables: The Unicode Standard, section 3.12.
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct Tables {
  std::unordered_map<char32_t, uint8_t> classes;
  std::unordered_map<char32_t, Decomposition> decompositions, compatibility;
  std::unordered_map<uint64_t, char32_t> compositions;
  std::vector<bool> may_change;  // characters below 0x30000

  Tables() : may_change(0x30000) {
    const auto mark = [&](char32_t c) {
      if (c < may_change.size()) may_change[c] = true;
    };
    for (size_t i = 0; i < kCombiningClassCount; ++i) {
      classes[kCombiningClasses[i] >> 8] = static_cast<uint8_t>(kCombiningClasses[i]);
      mark(kCombiningClasses[i] >> 8);
    }
    struct Composed {
      char32_t code;
      const uint32_t* parts;
      size_t size;
    };
    std::vector<Composed> composed;
    for (size_t i = 0; i < kDecompositionsSize;) {
      const char32_t c = kDecompositions[i] & 0x1FFFFF;
      const size_t size = kDecompositions[i] >> 24 & 0x7F;
      const uint32_t* parts = kDecompositions + i + 1;
      decompositions[c] = {parts, size};
      if (kDecompositions[i] >> 31)
        composed.push_back({c, parts, size});
      else
        mark(c);
      i += 1 + size;
    }
    // A character of n parts is the composition of its first n - 1 parts with the last one.
    std::sort(composed.begin(), composed.end(),
              [](const Composed& a, const Composed& b) { return a.size < b.size; });
    for (const Composed& entry : composed) {
      char32_t first = entry.parts[0];
      for (size_t i = 1; i + 1 < entry.size; ++i)
        first = compositions.at(key(first, entry.parts[i]));
      compositions[key(first, entry.parts[entry.size - 1])] = entry.code;
      mark(entry.parts[entry.size - 1]);
    }
    for (size_t i = 0; i < kCompatibilitySize;) {
      const size_t size = kCompatibility[i] >> 24;
      compatibility[kCompatibility[i] & 0x1FFFFF] = {kCompatibility + i + 1, size};
      i += 1 + size;
    }
    for (char32_t c = kVBase; c < kVBase + kVCount; ++c) mark(c);
    for (char32_t c = kTBase + 1; c < kTBase + kTCount; ++c) mark(c);
  }

  static uint64_t key(char32_t a, char32_t b) { return uint64_t{a} << 32 | b; }

  uint8_t combining_class(char32_t c) const {
    if (c < 0x300) return 0;
    const auto found = classes.find(c);
    return found == classes.end() ? 0 : found->second;
  }

  char32_t compose(char32_t a, char32_t b) const {  // 0 if there is none
    if (a >= kLBase && a < kLBase + kLCount && b >= kVBase && b < kVBase + kVCount)
      return kSBase + ((a - kLBase) * kVCount + (b - kVBase)) * kTCount;
    if (a >= kSBase && a < kSBase + kSCount && (a - kSBase) % kTCount == 0 && b > kTBase &&
        b < kTBase + kTCount)
      return a + (b - kTBase);
    const auto found = compositions.find(key(a, b));
    return found == compositions.end() ? 0 : found->second;
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

struct Char {
  char32_t code;
  int change;  // as in CharChange
  uint8_t combining_class;
};

Decomposition decomposition(char32_t c, bool compatible) {
  if (c < 0xA0) return {};
  const Tables& table = tables();
  if (compatible) {
    const auto found = table.compatibility.find(c);
    if (found != table.compatibility.end()) return found->second;
  }
  const auto found = table.decompositions.find(c);
  return found == table.decompositions.end() ? Decomposition() : found->second;
}

std::vector<Char> decompose(std::string_view text, bool compatible) {
  const Tables& table = tables();
  std::vector<Char> chars;
  size_t pending = 0;  // marks from here on are not yet in order
  const auto push = [&](char32_t c, bool first) {
    const uint8_t combining_class = table.combining_class(c);
    if (combining_class == 0) {
      std::stable_sort(
          chars.begin() + static_cast<ptrdiff_t>(pending), chars.end(),
          [](const Char& a, const Char& b) { return a.combining_class < b.combining_class; });
      pending = chars.size();
    }
    chars.push_back({c, first ? 0 : 1, combining_class});
    if (combining_class == 0) pending = chars.size();
  };
  char32_t c;
  for (size_t i = 0; i < text.size();) {
    i += decode_valid_utf8(text.data() + i, c);
    if (c >= kSBase && c < kSBase + kSCount) {
      const char32_t s = c - kSBase;
      push(kLBase + s / (kVCount * kTCount), true);
      push(kVBase + s / kTCount % kVCount, false);
      if (s % kTCount != 0) push(kTBase + s % kTCount, false);
    } else if (const Decomposition parts = decomposition(c, compatible); parts.size > 0) {
      for (size_t k = 0; k < parts.size; ++k) push(parts.parts[k], k == 0);
    } else {
      push(c, true);
    }
  }
  std::stable_sort(
      chars.begin() + static_cast<ptrdiff_t>(pending), chars.end(),
      [](const Char& a, const Char& b) { return a.combining_class < b.combining_class; });
  return chars;
}

// UAX #15, section 1.2: a character combines with the last starter unless it is blocked.
std::vector<Char> compose(const std::vector<Char>& chars) {
  const Tables& table = tables();
  std::vector<Char> out;
  size_t starter = std::string::npos;  // in `out`
  int last_class = -1;                 // of the marks after the starter, -1 if there are none
  for (const Char& c : chars) {
    if (starter != std::string::npos && (last_class < 0 || last_class < c.combining_class)) {
      if (const char32_t code = table.compose(out[starter].code, c.code)) {
        out[starter].code = code;
        out[starter].change += c.change - 1;
        continue;
      }
    }
    out.push_back(c);
    if (c.combining_class == 0) {
      starter = out.size() - 1;
      last_class = -1;
    } else if (starter != std::string::npos) {
      last_class = c.combining_class;
    }
  }
  return out;
}

}  // namespace

Decomposition canonical_decomposition(char32_t c) { return decomposition(c, false); }
uint8_t combining_class(char32_t c) { return tables().combining_class(c); }

bool surely_normal(std::string_view text, UnicodeForm form) {
  char32_t c;
  for (size_t i = 0; i < text.size();) {
    // NFC leaves everything below U+0300 as it is.
    if (static_cast<unsigned char>(text[i]) < (form == UnicodeForm::NFC ? 0xCC : 0x80)) {
      ++i;
      continue;
    }
    if (form != UnicodeForm::NFC) return false;
    i += decode_valid_utf8(text.data() + i, c);
    if (c < 0x30000 && c >= 0x300 && tables().may_change[c]) return false;
  }
  return true;
}

std::vector<CharChange> unicode_changes(std::string_view text, UnicodeForm form) {
  const bool compatible = form == UnicodeForm::NFKC || form == UnicodeForm::NFKD;
  std::vector<Char> chars = decompose(text, compatible);
  if (form == UnicodeForm::NFC || form == UnicodeForm::NFKC) chars = compose(chars);
  std::vector<CharChange> changes;
  changes.reserve(chars.size());
  for (const Char& c : chars) changes.push_back({c.code, c.change});
  return changes;
}

std::string unicode_normal(std::string_view text, UnicodeForm form) {
  std::string out;
  for (const CharChange& c : unicode_changes(text, form)) append_utf8(out, c.code);
  return out;
}

}  // namespace corten
