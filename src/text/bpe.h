// Byte-pair encoding: the merges and the encoder of words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/model.h"

namespace corten {

/// Map from a pair of ids to the merge of the two.
class MergeMap {
 public:
  struct Merge {
    uint32_t rank = kNoRank;
    int32_t id = -1;  ///< what the pair becomes
  };
  static constexpr uint32_t kNoRank = 0xFFFFFFFF;

  void reserve(size_t merges);
  void set(int32_t left, int32_t right, Merge merge);  ///< replaces
  const Merge& find(int32_t left, int32_t right) const noexcept {
    const uint64_t key = key_of(left, right);
    for (size_t slot = hash(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].merge;
      if (slots_[slot].key == kFree) return kNone;
    }
  }
  size_t size() const noexcept { return size_; }
  /// The pairs in the order of their ranks.
  std::vector<std::pair<int32_t, int32_t>> pairs_by_rank() const;

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};  // no pair: ids are not negative
  static const Merge kNone;
  struct Slot {
    uint64_t key = kFree;
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) noexcept {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t hash(uint64_t key) const noexcept {
    return static_cast<size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> 20) & mask_;
  }
  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1, size_ = 0;
};

/// What the "model" of a tokenizer.json file holds.
struct BpeConfig {
  Vocabulary::Entries vocab;  ///< a later id of a token replaces an earlier one
  std::vector<std::pair<std::string, std::string>> merges;
  std::optional<std::string> unk_token;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
  std::optional<std::string> continuing_subword_prefix, end_of_word_suffix;
};

/// A BPE model. Immutable.
class Bpe final : public Model {
 public:
  /// What words are made of: bytes, of which the vocabulary has the characters that stand for them
  /// (byte-level vocabularies), or characters of UTF-8.
  enum class Units { Bytes, Characters };

  /// Usage error "<source>: ..." for a bad vocabulary and merges that name unknown tokens.
  Bpe(BpeConfig config, Units units, const std::string& source_name);

  /// Where the vocabulary lacks something, the places are those that the `tokenizers` library
  /// gives: what is left out shifts what follows.
  void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                    std::vector<Span>& out) const override;
  Json to_json() const override;

  Units units() const noexcept { return units_; }
  const MergeMap& merges() const noexcept { return merges_; }

 private:
  struct Symbol;
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const override;
  void encode_long(std::string_view word, WordCache& cache,
                   std::vector<int32_t>& out) const override;
  template <typename Emit>
  void split_long(std::string_view word, Emit&& emit) const;
  bool whole_word(std::string_view word, int32_t& id) const;
  // Symbols of a word before merging.
  void start(std::string_view word, std::vector<Symbol>& symbols) const;
  void start_characters(std::string_view word, std::vector<Symbol>& symbols) const;
  int32_t character_id(std::string_view character, bool first, bool last) const;
  void merge_few(int32_t* ids, size_t n, std::vector<int32_t>& out) const;
  void merge(std::vector<Symbol>& symbols) const;
  void spans_uncached(std::string_view word, std::vector<Span>& out) const;
  void find_splits(const std::vector<std::pair<std::string, std::string>>& merges);

  BpeConfig config_;  // its vocabulary and merges are moved away
  Units units_;
  std::vector<uint32_t> lengths_;  // by id: bytes of a word that a token stands for
  MergeMap merges_;
  int32_t byte_ids_[256];  // of the characters for bytes, or of <0x00> to <0xFF>
  bool all_bytes_ = true;
  int32_t unk_id_ = -1;
  std::vector<int32_t> character_ids_;  // of characters below U+3000
  bool affixes_ = false;                // has a prefix or a suffix
  // Whether a long text may be cut before each U+2581 that none of these characters precedes.
  bool splits_ = false;
  std::vector<char32_t> no_split_after_;
};

}  // namespace corten
