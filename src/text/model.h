// What turns words into tokens: the "model" of a tokenizer.json file.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/vocabulary.h"

namespace corten {

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

/// A model: BPE, WordPiece, Unigram or WordLevel. Immutable.
class Model {
 public:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Appends the ids of a word. `readable` as in WordCache::key_of.
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
    bool verbatim = false;  ///< shown as these bytes, not as the vocabulary has it
  };
  /// As encode(), with the places; replaces what is in `out`.
  virtual void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                            std::vector<Span>& out) const = 0;

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  int32_t id(std::string_view token) const noexcept { return vocabulary_.id(token); }
  std::string_view token(int32_t id) const noexcept { return vocabulary_.token(id); }
  /// Tokens as the `tokenizers` library counts them.
  virtual size_t size() const noexcept { return vocabulary_.size(); }
  virtual int32_t max_id() const noexcept { return vocabulary_.max_id(); }
  /// The value of "model".
  virtual Json to_json() const = 0;

 protected:
  virtual void encode_uncached(std::string_view word, std::vector<int32_t>& out) const = 0;
  /// A long text in words that can be encoded on their own; by default it is one.
  virtual void encode_long(std::string_view word, WordCache& cache,
                           std::vector<int32_t>& out) const;
  Json vocabulary_json() const;

  Vocabulary vocabulary_;

 private:
  void encode_short(std::string_view word, const WordCache::Key& key, WordCache::Entry& entry,
                    WordCache& cache, std::vector<int32_t>& out) const;
};

}  // namespace corten
