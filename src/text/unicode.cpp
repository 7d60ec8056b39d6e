#include "text/unicode.h"

#include <algorithm>
#include <cstring>

#include "text/unicode_data.h"

namespace corten {

UnicodeTable::UnicodeTable() {
  std::array<uint8_t, 256> block;
  size_t run = 0;
  for (uint32_t b = 0; b < index_.size(); ++b) {
    const bool uniform = run + 1 == kUnicodeRunCount || kUnicodeRuns[run + 1] >> 8 >= (b + 1) << 8;
    for (uint32_t i = 0; i < 256; ++i) {
      while (run + 1 < kUnicodeRunCount && kUnicodeRuns[run + 1] >> 8 <= (b << 8 | i)) ++run;
      block[i] = static_cast<uint8_t>(kUnicodeRuns[run]);
    }
    // Long stretches (ideographs, Hangul, private use, unassigned) share one block.
    const auto same = uniform ? std::find(blocks_.begin(), blocks_.end(), block) : blocks_.end();
    index_[b] = static_cast<uint16_t>(same - blocks_.begin());
    if (same == blocks_.end()) blocks_.push_back(block);
  }
}

const UnicodeTable& unicode_table() {
  static const UnicodeTable table;
  return table;
}

bool is_space(char32_t c) noexcept {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

Utf8Char decode_utf8(std::string_view text) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8::Valid, 1, lead};
  // The table of well-formed sequences: The Unicode Standard, table 3-7.
  unsigned char low = 0x80, high = 0xBF;  // range of the second byte
  uint8_t length = 0;
  char32_t code = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
    code = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Utf8::Invalid, 1, 0xFFFD};
  }
  for (uint8_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8::Incomplete, i, 0xFFFD};
    if (byte(i) < low || byte(i) > high) return {Utf8::Invalid, i, 0xFFFD};
    code = code << 6 | (byte(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8::Valid, length, code};
}

size_t decode_before(std::string_view text, size_t position, char32_t& code) noexcept {
  size_t begin = position - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return decode_valid_utf8(text.data() + begin, code);
}

void append_utf8(std::string& out, char32_t code) {
  char bytes[4];
  out.append(bytes, encode_utf8(code, bytes));
}

namespace {

// Bytes of the longest valid beginning of a text.
size_t valid_length(std::string_view text) noexcept {
  size_t i = 0;
  for (;;) {
    for (uint64_t word; i + 8 <= text.size(); i += 8) {
      std::memcpy(&word, text.data() + i, 8);
      if (word & 0x8080808080808080u) break;
    }
    while (i < text.size() && static_cast<signed char>(text[i]) >= 0) ++i;
    if (i == text.size()) return i;
    do {  // stays here within text of other scripts
      const Utf8Char c = decode_utf8(text.substr(i));
      if (c.state != Utf8::Valid) return i;
      i += c.length;
    } while (i < text.size() && static_cast<signed char>(text[i]) < 0);
  }
}

}  // namespace

size_t append_lossy(std::string& out, std::string_view bytes, bool final) {
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t valid = valid_length(bytes.substr(done));
    out.append(bytes.substr(done, valid));
    done += valid;
    if (done == bytes.size()) break;
    const Utf8Char c = decode_utf8(bytes.substr(done));
    if (c.state == Utf8::Incomplete && !final) break;
    append_utf8(out, 0xFFFD);
    done += c.length;
  }
  return done;
}

std::string_view valid_utf8(std::string_view text, std::string& buffer) {
  if (valid_length(text) == text.size()) return text;
  buffer.clear();
  append_lossy(buffer, text, true);
  return buffer;
}

// ---- sets

CharSet::CharSet(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end());
  for (const Range& range : ranges) {
    if (!ranges_.empty() && range.first <= ranges_.back().second + 1)
      ranges_.back().second = std::max(ranges_.back().second, range.second);
    else
      ranges_.push_back(range);
  }
}

CharSet CharSet::category(Category category) {
  std::vector<Range> ranges;
  for (size_t i = 0; i < kUnicodeRunCount; ++i) {
    if ((kUnicodeRuns[i] & kCategoryMask) != static_cast<uint32_t>(category)) continue;
    const char32_t end = i + 1 < kUnicodeRunCount ? kUnicodeRuns[i + 1] >> 8 : 0x110000;
    ranges.emplace_back(kUnicodeRuns[i] >> 8, end - 1);
  }
  return CharSet(std::move(ranges));
}

bool CharSet::contains(char32_t c) const noexcept {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                      [](char32_t x, const Range& r) { return x < r.first; });
  return after != ranges_.begin() && c <= std::prev(after)->second;
}

CharSet CharSet::united(const CharSet& other) const {
  std::vector<Range> ranges = ranges_;
  ranges.insert(ranges.end(), other.ranges_.begin(), other.ranges_.end());
  return CharSet(std::move(ranges));
}

CharSet CharSet::complement() const {
  CharSet result;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) result.ranges_.emplace_back(next, range.first - 1);
    next = range.second + 1;
  }
  if (next <= 0x10FFFF) result.ranges_.emplace_back(next, 0x10FFFF);
  return result;
}

CharSet CharSet::intersected(const CharSet& other) const {
  return complement().united(other.complement()).complement();
}

}  // namespace corten
