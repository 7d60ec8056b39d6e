#include "text/encoding.h"

#include <algorithm>

#include "base/format.h"

namespace corten {
namespace {

// Calls apply(a.member, b.member) for all lists with an entry per token.
template <typename A, typename B, typename Apply>
void for_lists(A& a, B& b, Apply&& apply) {
  apply(a.ids, b.ids);
  apply(a.tokens, b.tokens);
  apply(a.offsets, b.offsets);
  apply(a.type_ids, b.type_ids);
  apply(a.attention_mask, b.attention_mask);
  apply(a.special_tokens_mask, b.special_tokens_mask);
  apply(a.word_ids, b.word_ids);
  apply(a.sequence_ids, b.sequence_ids);
}

Encoding part_of(const Encoding& encoding, size_t begin, size_t end) {
  Encoding part;
  for_lists(part, encoding, [&](auto& to, const auto& from) {
    to.assign(from.begin() + static_cast<ptrdiff_t>(begin),
              from.begin() + static_cast<ptrdiff_t>(end));
  });
  return part;
}

void pad(Encoding& encoding, size_t length, const Padding& padding) {
  for (Encoding& part : encoding.overflowing) pad(part, length, padding);
  if (encoding.ids.size() >= length) return;
  const size_t count = length - encoding.ids.size();
  Encoding filling;
  filling.ids.assign(count, padding.id);
  filling.tokens.assign(count, padding.token);
  filling.offsets.assign(count, {0, 0});
  filling.type_ids.assign(count, padding.type_id);
  filling.attention_mask.assign(count, 0);
  filling.special_tokens_mask.assign(count, 1);
  filling.word_ids.assign(count, -1);
  filling.sequence_ids.assign(count, -1);
  for_lists(encoding, filling, [&](auto& to, const auto& from) {
    to.insert(padding.left ? to.begin() : to.end(), from.begin(), from.end());
  });
}

}  // namespace

void append_special(Encoding& encoding, std::span<const int32_t> ids,
                    std::span<const std::string> tokens, int32_t type_id) {
  const size_t size = encoding.ids.size() + ids.size();
  encoding.ids.insert(encoding.ids.end(), ids.begin(), ids.end());
  encoding.tokens.insert(encoding.tokens.end(), tokens.begin(), tokens.end());
  encoding.offsets.resize(size, {0, 0});
  encoding.type_ids.resize(size, type_id);
  encoding.attention_mask.resize(size, 1);
  encoding.special_tokens_mask.resize(size, 1);
  encoding.word_ids.resize(size, -1);
  encoding.sequence_ids.resize(size, -1);
}

void append(Encoding& encoding, const Encoding& other) {
  std::vector<Encoding> overflowing;
  for (const Encoding& part : encoding.overflowing) {
    overflowing.push_back(part);
    append(overflowing.back(), other);
    for (const Encoding& other_part : other.overflowing) {
      overflowing.push_back(part);
      append(overflowing.back(), other_part);
    }
  }
  for (const Encoding& other_part : other.overflowing) {
    // With what overflowed of this one, too.
    overflowing.push_back(encoding);
    append(overflowing.back(), other_part);
  }
  for_lists(encoding, other, [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  });
  encoding.overflowing = std::move(overflowing);
}

void truncate(Encoding& encoding, size_t max_length, size_t stride, bool from_left) {
  const size_t size = encoding.ids.size();
  if (max_length >= size) return;
  if (max_length == 0) {
    Encoding all = std::move(encoding);
    encoding = Encoding();
    encoding.overflowing.push_back(std::move(all));
    return;
  }
  if (stride >= max_length)
    usage_error("truncation: the stride {} must be less than the length {} that is left without "
                "special tokens", stride, max_length);
  std::vector<std::pair<size_t, size_t>> ranges;
  const size_t step = max_length - stride;
  if (from_left) {
    for (size_t end = size;; end -= step) {
      ranges.emplace_back(end > max_length ? end - max_length : 0, end);
      if (ranges.back().first == 0 || end <= step) break;
    }
  } else {
    for (size_t begin = 0; begin < size; begin += step) {
      ranges.emplace_back(begin, std::min(begin + max_length, size));
      if (ranges.back().second == size) break;
    }
  }
  Encoding first = part_of(encoding, ranges[0].first, ranges[0].second);
  for (size_t i = 1; i < ranges.size(); ++i)
    first.overflowing.push_back(part_of(encoding, ranges[i].first, ranges[i].second));
  encoding = std::move(first);
}

void truncate(Encoding& first, Encoding* second, const Truncation& truncation, size_t added) {
  if (truncation.max_length < added)
    usage_error("truncation: max_length {} is less than the {} special tokens",
                truncation.max_length, added);
  const size_t length = truncation.max_length - added;
  const auto cut = [&](Encoding& encoding, size_t size) {
    truncate(encoding, size, truncation.stride, truncation.from_left);
  };
  if (length == 0) {
    cut(first, 0);
    if (second != nullptr) cut(*second, 0);
    return;
  }
  const size_t total = first.ids.size() + (second == nullptr ? 0 : second->ids.size());
  if (total <= length) return;
  const size_t excess = total - length;
  if (truncation.strategy == Truncation::LongestFirst) {
    if (second == nullptr) return cut(first, length);
    // The shorter one is cut only if half of the room is not enough for it.
    size_t n1 = first.ids.size(), n2 = second->ids.size();
    const bool swap = n1 > n2;
    if (swap) std::swap(n1, n2);
    n2 = n1 > length ? n1 : std::max(n1, length - n1);
    if (n1 + n2 > length) {
      n1 = length / 2;
      n2 = n1 + length % 2;
    }
    if (swap) std::swap(n1, n2);
    cut(first, n1);
    cut(*second, n2);
    return;
  }
  const bool only_first = truncation.strategy == Truncation::OnlyFirst;
  if (!only_first && second == nullptr)
    usage_error("truncation: only_second, and there is no second text");
  Encoding& target = only_first ? first : *second;
  if (target.ids.size() <= excess)
    usage_error("truncation: {} tokens are too many by {}, and the text to be cut has only {}",
                total, excess, target.ids.size());
  cut(target, target.ids.size() - excess);
}

void pad(std::span<Encoding> encodings, const Padding& padding) {
  size_t length = padding.length.value_or(0);
  if (!padding.length)
    for (const Encoding& encoding : encodings) length = std::max(length, encoding.ids.size());
  if (padding.multiple_of > 0 && length % padding.multiple_of > 0)
    length += padding.multiple_of - length % padding.multiple_of;
  for (Encoding& encoding : encodings) pad(encoding, length, padding);
}

}  // namespace corten
