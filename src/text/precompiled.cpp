#include "text/precompiled.h"

#include <cstring>

#include "base/format.h"
#include "text/graphemes.h"
#include "text/unicode.h"

namespace corten {
namespace {

// Clusters of fewer bytes than this are replaced as a whole, longer ones character by character.
constexpr size_t kMaxCluster = 6;

std::string decode_base64(std::string_view text, const std::string& where) {
  std::array<int8_t, 256> values;
  values.fill(-1);
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kDigits.size(); ++i)
    values[static_cast<uint8_t>(kDigits[i])] = static_cast<int8_t>(i);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const int8_t value = values[static_cast<uint8_t>(text[i])];
    if (value < 0) usage_error("{}: byte {} is no base64", where, i);
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(static_cast<uint8_t>(bits >> count));
    }
  }
  return bytes;
}

// Units of the double array: darts-clone, darts.h.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

}  // namespace

Precompiled::Precompiled(std::string_view base64, const std::string& where) {
  const std::string here = where + ": \"precompiled_charsmap\"";
  const std::string bytes = decode_base64(base64, here);
  uint32_t size = 0;
  if (bytes.size() < 4) usage_error("{}: {} bytes are too few", here, bytes.size());
  std::memcpy(&size, bytes.data(), 4);
  if (size % 4 != 0 || size == 0 || size > bytes.size() - 4)
    usage_error("{}: a trie of {} bytes in {} bytes", here, size, bytes.size());
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data() + 4, size);
  texts_ = bytes.substr(4 + size);
  std::string buffer;
  if (valid_utf8(texts_, buffer).data() != texts_.data())
    usage_error("{}: the replacements are no UTF-8", here);
  for (size_t i = 1; i < ascii_.size(); ++i) {
    const char c = static_cast<char>(i);
    ascii_[i] = find(std::string_view(&c, 1));
  }
}

std::string_view Precompiled::find(std::string_view text) const noexcept {
  size_t node = offset_of(units_[0]);
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size()) break;
    const uint32_t unit = units_[node];
    if (label_of(unit) != byte) break;
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    const size_t begin = value_of(units_[node]);
    if (begin >= texts_.size()) break;
    // Replacements begin and end at characters in well-formed maps; others are taken as none.
    const char* text_begin = texts_.data() + begin;
    if ((static_cast<unsigned char>(*text_begin) & 0xC0) == 0x80) break;
    return std::string_view(text_begin);  // texts_ ends with a NUL in any case
  }
  return {};
}

// Calls keep(begin, end) for bytes that stay and replace(part, replacement) in the order of the
// text; whether anything is replaced.
template <typename Keep, typename Replace>
bool Precompiled::walk(std::string_view text, Keep&& keep, Replace&& replace) const {
  bool any = false;
  size_t at = 0, done = 0;  // what stays is passed on in long runs
  const auto change = [&](size_t begin, size_t length, std::string_view with) {
    if (done < begin) keep(done, begin);
    replace(text.substr(begin, length), with);
    done = begin + length;
    any = true;
  };
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const auto next = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0;
    if (byte < 0x80 && next < 0x80 && byte != '\r') {  // a cluster of its own
      if (const std::string_view with = ascii_[byte]; with.data() != nullptr) change(at, 1, with);
      ++at;
      continue;
    }
    const size_t size = grapheme_length(text, at);
    const std::string_view cluster = text.substr(at, size);
    if (size < kMaxCluster) {
      if (const std::string_view with = find(cluster); with.data() != nullptr) {
        change(at, size, with);
        at += size;
        continue;
      }
    }
    for (size_t end = at + size; at < end;) {
      char32_t ignored;
      const size_t length = decode_valid_utf8(text.data() + at, ignored);
      if (const std::string_view with = find(text.substr(at, length)); with.data() != nullptr)
        change(at, length, with);
      at += length;
    }
  }
  if (any && done < text.size()) keep(done, text.size());
  return any;
}

void Precompiled::normalize(NormalizedText& text) const {
  const std::string& old = text.text();
  if (!text.tracked()) {
    std::string next;
    next.reserve(old.size() + old.size() / 8);
    const bool any = walk(
        old, [&](size_t begin, size_t end) { next.append(old, begin, end - begin); },
        [&](std::string_view, std::string_view with) { next += with; });
    if (any) text.set_untracked(std::move(next));
    return;
  }
  std::vector<CharChange> changes;
  const auto append = [&](std::string_view part) {
    char32_t c;
    size_t count = 0;
    for (size_t i = 0; i < part.size(); ++count) {
      i += decode_valid_utf8(part.data() + i, c);
      changes.push_back({c, 0});
    }
    return count;
  };
  const auto characters = [](std::string_view part) {
    size_t count = 0;
    for (char c : part) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    return count;
  };
  const bool any = walk(
      old,
      [&](size_t begin, size_t end) { append(std::string_view(old).substr(begin, end - begin)); },
      [&](std::string_view part, std::string_view with) {
        const size_t before = characters(part), after = append(with);
        // Added characters are the last ones; removed ones belong to the last one.
        for (size_t i = before; i < after; ++i) changes[changes.size() - 1 - (i - before)].change = 1;
        if (after < before && !changes.empty())
          changes.back().change -= static_cast<int>(before - after);
      });
  if (any) text.transform(changes);
}

}  // namespace corten
