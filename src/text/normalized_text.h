// Text on its way through the normalizers, with the places in the original that it comes from.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// For each byte of a normalized text the range of bytes of the original that it comes from.
using Alignment = std::vector<std::pair<size_t, size_t>>;

/// A character that a normalizer gives. `change` is how the `tokenizers` library accounts for it: 0
/// replaces one character, 1 is inserted, -n replaces one and swallows n more.
struct CharChange {
  char32_t code;
  int change;
};

/// Text and, if it is tracked, its alignment with the original. The rules by which a change gets
/// its place are those of the `tokenizers` library, so that offsets of tokens are the same.
class NormalizedText {
 public:
  NormalizedText(std::string_view original, bool track)
      : text_(original), original_size_(original.size()), track_(track) {}

  const std::string& text() const noexcept { return text_; }
  bool tracked() const noexcept { return track_; }
  /// Whether every byte still stands at its place in the original (characters may have been
  /// replaced by others of the same length).
  bool in_place() const noexcept { return in_place_; }
  /// The alignment; empty if not tracked or in_place().
  const Alignment& alignment() const noexcept { return alignment_; }
  std::string take_text() noexcept { return std::move(text_); }
  Alignment take_alignment() noexcept { return std::move(alignment_); }

  /// Replaces the whole text; the first `removed` characters are left out first.
  void transform(std::span<const CharChange> changes, size_t removed = 0);
  /// Keeps the characters for which keep(char32_t) holds.
  template <typename Keep>
  void filter(Keep&& keep);
  /// Puts text before the first character; an empty text stays empty.
  void prepend(std::string_view before);
  /// Replaces sorted, disjoint ranges of bytes by `content`.
  void replace(std::span<const std::pair<size_t, size_t>> ranges, std::string_view content);
  /// Changes bytes without changing lengths of characters.
  template <typename Map>
  void map_bytes(Map&& map) {
    for (char& c : text_) c = map(c);
  }
  /// Takes over a text that was made without keeping track.
  void set_untracked(std::string text) {
    text_ = std::move(text);
    in_place_ = false;
  }

  std::vector<char32_t> characters() const;

 private:
  void align();  // makes alignment_ of a text in place

  std::string text_;
  Alignment alignment_;
  size_t original_size_;
  bool track_;
  bool in_place_ = true;
};

template <typename Keep>
void NormalizedText::filter(Keep&& keep) {
  std::vector<CharChange> changes;
  int removed = 0;
  size_t removed_first = 0;
  bool any = false;
  for (char32_t c : characters()) {
    if (!keep(c)) {
      ++removed;
      continue;
    }
    if (any)
      changes.back().change = -removed;
    else
      removed_first = static_cast<size_t>(removed);
    changes.push_back({c, 0});
    any = true;
    removed = 0;
  }
  if (any) changes.back().change = -removed;
  transform(changes, removed_first);
}

}  // namespace corten
