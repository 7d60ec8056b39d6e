#include "text/model.h"

#include <algorithm>

#include "base/hash.h"

namespace corten {

// ---- WordCache

WordCache::WordCache() : entries_(size_t{1} << kBits), long_(kLongEntries) {}

WordCache::Key WordCache::key_of(std::string_view word, size_t readable) noexcept {
  Key key;
  const size_t n = word.size();
  if (readable >= 16) {
    std::memcpy(&key, word.data(), 16);
    if (n < 8) {
      key.low &= (uint64_t{1} << (8 * n)) - 1;
      key.high = 0;
    } else {
      key.high &= (uint64_t{1} << (8 * (n - 8))) - 1;
    }
  } else {
    std::memcpy(&key, word.data(), n);
  }
  key.high |= uint64_t{n} << 56;
  return key;
}

const int32_t* WordCache::find_long(std::string_view word, size_t& count) const noexcept {
  const LongEntry& entry = long_[hash64(word) & (kLongEntries - 1)];
  if (entry.size != word.size() || entry.size == 0 ||
      std::memcmp(bytes_.data() + entry.word, word.data(), word.size()) != 0)
    return nullptr;
  count = entry.count;
  return ids_.data() + entry.ids;
}

void WordCache::add_long(std::string_view word, const int32_t* ids, size_t count) {
  if (word.size() > kMaxLongBytes) return;
  if (bytes_.size() + word.size() > kMaxBuffer || ids_.size() + count > kMaxBuffer / 4) {
    std::fill(long_.begin(), long_.end(), LongEntry());
    bytes_.clear();
    ids_.clear();
  }
  long_[hash64(word) & (kLongEntries - 1)] = {
      static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(word.size()),
      static_cast<uint32_t>(ids_.size()), static_cast<uint32_t>(count)};
  bytes_.append(word);
  ids_.insert(ids_.end(), ids, ids + count);
}

// ---- Model

void Model::encode_short(std::string_view word, const WordCache::Key& key, WordCache::Entry& entry,
                       WordCache& cache, std::vector<int32_t>& out) const {
  size_t count = 0;
  if (const int32_t* ids = cache.find_long(word, count)) {
    out.insert(out.end(), ids, ids + count);
    return;
  }
  const size_t before = out.size();
  encode_uncached(word, out);
  count = out.size() - before;
  if (count > WordCache::kMaxIds) return cache.add_long(word, out.data() + before, count);
  entry.key = key;
  entry.count = static_cast<uint32_t>(count);
  std::copy(out.begin() + static_cast<ptrdiff_t>(before), out.end(), entry.ids);
}

void Model::encode_long(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const {
  size_t count = 0;
  if (const int32_t* ids = cache.find_long(word, count)) {
    out.insert(out.end(), ids, ids + count);
    return;
  }
  const size_t before = out.size();
  encode_uncached(word, out);
  cache.add_long(word, out.data() + before, out.size() - before);
}

Json Model::vocabulary_json() const {
  Json vocab = Json::object();
  for (int32_t id = 0; id <= vocabulary_.max_id(); ++id)
    if (const std::string_view text = vocabulary_.token(id); text.data() != nullptr)
      vocab.set(text, id);
  return vocab;
}

}  // namespace corten
