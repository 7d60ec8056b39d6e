#include "text/normalized_text.h"

#include <algorithm>

#include "text/unicode.h"

namespace corten {

std::vector<char32_t> NormalizedText::characters() const {
  std::vector<char32_t> result;
  result.reserve(text_.size());
  char32_t c;
  for (size_t i = 0; i < text_.size();) {
    i += decode_valid_utf8(text_.data() + i, c);
    result.push_back(c);
  }
  return result;
}

void NormalizedText::align() {
  alignment_.reserve(text_.size());
  char32_t c;
  for (size_t i = 0, length; i < text_.size(); i += length) {
    length = decode_valid_utf8(text_.data() + i, c);
    alignment_.insert(alignment_.end(), length, {i, i + length});
  }
}

void NormalizedText::transform(std::span<const CharChange> changes, size_t removed) {
  if (text_.empty()) return;
  std::string next;
  next.reserve(text_.size() + 8);
  if (in_place_ && removed == 0) {
    // The frequent case: characters replaced one by one by others of the same length.
    size_t at = 0;
    char32_t ignored;
    bool same = true;
    for (const CharChange& c : changes) {
      const size_t before = next.size();
      append_utf8(next, c.code);
      const size_t length =
          same && at < text_.size() ? decode_valid_utf8(text_.data() + at, ignored) : 0;
      same = same && c.change == 0 && next.size() - before == length;
      at += length;
    }
    if (same && at == text_.size()) {
      text_ = std::move(next);
      return;
    }
  } else {
    for (const CharChange& c : changes) append_utf8(next, c.code);
  }
  if (!track_) {
    text_ = std::move(next);
    in_place_ = false;
    return;
  }
  if (in_place_) align();
  // What comes from nowhere in the original at the very beginning stays before the rest.
  size_t begin = 0;
  if (original_size_ > 0)
    while (begin < alignment_.size() && alignment_[begin].first == alignment_[begin].second)
      ++begin;
  const auto length_at = [&](size_t offset) {
    char32_t ignored;
    return offset < text_.size() ? decode_valid_utf8(text_.data() + offset, ignored) : 0;
  };
  size_t offset = begin;
  for (size_t i = 0; i < removed; ++i) offset += length_at(offset);
  Alignment aligned(alignment_.begin(), alignment_.begin() + static_cast<ptrdiff_t>(begin));
  aligned.reserve(begin + next.size());
  std::string utf8;
  for (const CharChange& c : changes) {
    std::pair<size_t, size_t> place = {0, 0};
    if (c.change > 0) {
      if (offset > 0) place = alignment_[offset - 1];
    } else {
      place = alignment_[std::min(offset, alignment_.size() - 1)];
      for (int n = c.change; n <= 0; ++n) offset += length_at(offset);
    }
    utf8.clear();
    append_utf8(utf8, c.code);
    aligned.insert(aligned.end(), utf8.size(), place);
  }
  text_.replace(begin, std::string::npos, next);
  alignment_ = std::move(aligned);
  in_place_ = false;
}

void NormalizedText::prepend(std::string_view before) {
  if (text_.empty() || before.empty()) return;
  if (track_) {
    if (in_place_) align();
    const std::pair<size_t, size_t> place = alignment_.front();
    alignment_.insert(alignment_.begin(), before.size(), place);
  }
  in_place_ = false;
  text_.insert(0, before);
}

void NormalizedText::replace(std::span<const std::pair<size_t, size_t>> ranges,
                             std::string_view content) {
  if (ranges.empty()) return;
  const bool one_byte = content.size() == 1 && static_cast<unsigned char>(content[0]) < 0x80 &&
                        std::all_of(ranges.begin(), ranges.end(),
                                    [](const auto& r) { return r.second == r.first + 1; });
  if (one_byte) {
    for (const auto& [begin, end] : ranges) text_[begin] = content[0];
    return;
  }
  if (track_ && in_place_) align();
  std::string next;
  next.reserve(text_.size() + ranges.size() * content.size());
  Alignment aligned;
  if (track_) aligned.reserve(next.capacity());
  size_t done = 0;
  const auto keep = [&](size_t end) {
    next.append(text_, done, end - done);
    if (track_)
      aligned.insert(aligned.end(), alignment_.begin() + static_cast<ptrdiff_t>(done),
                     alignment_.begin() + static_cast<ptrdiff_t>(end));
  };
  for (const auto& [begin, end] : ranges) {
    keep(begin);
    next += content;
    if (track_)
      aligned.insert(aligned.end(), content.size(),
                     end > 0 ? alignment_[end - 1] : std::pair<size_t, size_t>(0, 0));
    done = end;
  }
  keep(text_.size());
  text_ = std::move(next);
  alignment_ = std::move(aligned);
  in_place_ = false;
}

}  // namespace corten
