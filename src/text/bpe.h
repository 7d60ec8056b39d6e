// Byte-pair encoding: the vocabulary, the merges and the encoder of words.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// Finds the number of a token by its text: open addressing over strings kept elsewhere.
class TokenIndex {
 public:
  void reserve(size_t tokens);
  /// The number stored for `token`, which is `number` itself if it was new.
  int32_t insert(std::string_view token, int32_t number);
  int32_t find(std::string_view token) const noexcept;  ///< -1 if there is none

 private:
  struct Slot {
    std::string_view token;
    uint32_t hash = 0;  // the upper half
    int32_t number = -1;
  };
  void place(const Slot& slot) noexcept;
  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
};

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
  std::vector<std::pair<std::string, int64_t>> vocab;  ///< a later id of a token replaces earlier
  std::vector<std::pair<std::string, std::string>> merges;
  std::optional<std::string> unk_token;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};

/// Words encoded before. One per thread.
class WordCache {
 public:
  WordCache();
  /// A word of up to kMaxBytes bytes that became up to kMaxIds ids.
  static constexpr size_t kMaxBytes = 15, kMaxIds = 3;
  struct Key {
    uint64_t low = 0, high = 0;  // the bytes; the last one is the length
  };
  struct Entry {
    Key key;
    int32_t ids[kMaxIds];
    uint32_t count;
  };
  /// `readable`: bytes that may be read from `word` on, at least its size.
  static Key key_of(std::string_view word, size_t readable) noexcept;
  Entry& entry(const Key& key) noexcept {
    uint64_t h = (key.low ^ key.high * 0xC2B2AE3D27D4EB4Fu) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
    return entries_[h * 0x9E3779B97F4A7C15u >> (64 - kBits)];
  }

  /// Longer words and words of more ids: {ids, count} or nullptr.
  const int32_t* find_long(std::string_view word, size_t& count) const noexcept;
  void add_long(std::string_view word, const int32_t* ids, size_t count);

  std::vector<int32_t>& scratch() noexcept { return scratch_; }

 private:
  static constexpr int kBits = 15;
  struct LongEntry {
    uint32_t word = 0, size = 0;  // in bytes_
    uint32_t ids = 0, count = 0;  // in ids_
  };
  static constexpr size_t kLongEntries = 1 << 13, kMaxLongBytes = 256, kMaxBuffer = 1 << 20;
  std::vector<Entry> entries_;
  std::vector<LongEntry> long_;
  std::string bytes_;
  std::vector<int32_t> ids_, scratch_;
};

/// A byte-level BPE model. Immutable.
class Bpe {
 public:
  /// Usage error "<source>: ..." for ids that are negative, unreasonably large or used twice, and
  /// merges that name unknown tokens.
  Bpe(BpeConfig config, const std::string& source_name);
  Bpe(const Bpe&) = delete;  // tokens_ and index_ refer to the strings of config_
  Bpe(Bpe&&) = default;

  /// Appends the ids of a word (any bytes). `readable` as in WordCache::key_of.
  void encode(std::string_view word, size_t readable, WordCache& cache,
              std::vector<int32_t>& out) const {
    if (word.size() <= WordCache::kMaxBytes) {
      const WordCache::Key key = WordCache::key_of(word, readable);
      WordCache::Entry& entry = cache.entry(key);
      if (entry.key.low == key.low && entry.key.high == key.high) {
        out.insert(out.end(), entry.ids, entry.ids + entry.count);
        return;
      }
      return encode_short(word, key, entry, cache, out);
    }
    encode_long(word, cache, out);
  }

  /// A token of a word and the bytes of the word that it stands for.
  struct Span {
    int32_t id;
    size_t begin, end;
  };
  /// As encode(), with the places; replaces what is in `out`. Where the vocabulary lacks bytes, the
  /// places are those that the `tokenizers` library gives: left-out bytes shift what follows.
  void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                    std::vector<Span>& out) const;

  size_t size() const noexcept { return config_.vocab.size(); }  ///< tokens
  int32_t max_id() const noexcept { return static_cast<int32_t>(tokens_.size()) - 1; }
  int32_t id(std::string_view token) const noexcept {  ///< -1 if there is none
    const int32_t number = index_.find(token);
    return number < 0 ? -1
                      : static_cast<int32_t>(config_.vocab[static_cast<size_t>(number)].second);
  }
  /// Text of a token; a null view (data() == nullptr) if there is none.
  std::string_view token(int32_t id) const noexcept {
    return id < 0 || id > max_id() ? std::string_view() : tokens_[static_cast<size_t>(id)];
  }
  const MergeMap& merges() const noexcept { return merges_; }
  const BpeConfig& config() const noexcept { return config_; }  ///< its merges are moved away

 private:
  struct Symbol;
  void encode_short(std::string_view word, const WordCache::Key& key, WordCache::Entry& entry,
                    WordCache& cache, std::vector<int32_t>& out) const;
  void encode_long(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const;
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const;
  bool whole_word(std::string_view word, int32_t& id) const;
  // Symbols of a word before merging.
  void start(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge_few(std::string_view word, std::vector<int32_t>& out) const;
  void merge(std::vector<Symbol>& symbols) const;
  void spans_uncached(std::string_view word, std::vector<Span>& out) const;

  BpeConfig config_;
  std::vector<std::string_view> tokens_;  // by id
  std::vector<uint32_t> lengths_;         // by id: bytes that a token stands for
  TokenIndex index_;                      // numbers in config_.vocab
  MergeMap merges_;
  int32_t byte_ids_[256];
  bool all_bytes_ = true;
  int32_t unk_id_ = -1;
};

}  // namespace corten
