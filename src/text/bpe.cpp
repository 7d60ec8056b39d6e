#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "base/format.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {

// ---- TokenIndex

void TokenIndex::place(const Slot& slot) noexcept {
  const size_t mask = slots_.size() - 1;
  size_t at = hash64(slot.token) & mask;
  while (slots_[at].number >= 0) at = (at + 1) & mask;
  slots_[at] = slot;
}

void TokenIndex::reserve(size_t tokens) {
  size_t capacity = 16;
  while (capacity < tokens * 2) capacity *= 2;
  if (capacity <= slots_.size()) return;
  std::vector<Slot> old(capacity);
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.number >= 0) place(slot);
}

int32_t TokenIndex::insert(std::string_view token, int32_t number) {
  reserve(size_ + 1);
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = hash64(token);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  size_t at = hash & mask;
  for (; slots_[at].number >= 0; at = (at + 1) & mask)
    if (slots_[at].hash == tag && slots_[at].token == token) return slots_[at].number;
  slots_[at] = {token, tag, number};
  ++size_;
  return number;
}

int32_t TokenIndex::find(std::string_view token) const noexcept {
  if (slots_.empty()) return -1;
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = hash64(token);
  for (size_t at = hash & mask; slots_[at].number >= 0; at = (at + 1) & mask)
    if (slots_[at].hash == static_cast<uint32_t>(hash >> 32) && slots_[at].token == token)
      return slots_[at].number;
  return -1;
}

// ---- MergeMap

const MergeMap::Merge MergeMap::kNone;

void MergeMap::reserve(size_t merges) {
  size_t capacity = 16;
  while (capacity < merges * 2) capacity *= 2;
  if (capacity <= slots_.size()) return;
  std::vector<Slot> old(capacity);
  old.swap(slots_);
  mask_ = capacity - 1;
  for (const Slot& slot : old) {
    if (slot.key == kFree) continue;
    size_t at = hash(slot.key);
    while (slots_[at].key != kFree) at = (at + 1) & mask_;
    slots_[at] = slot;
  }
}

void MergeMap::set(int32_t left, int32_t right, Merge merge) {
  reserve(size_ + 1);
  const uint64_t key = key_of(left, right);
  size_t at = hash(key);
  while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & mask_;
  if (slots_[at].key == kFree) ++size_;
  slots_[at] = {key, merge};
}

std::vector<std::pair<int32_t, int32_t>> MergeMap::pairs_by_rank() const {
  std::vector<Slot> used;
  used.reserve(size_);
  for (const Slot& slot : slots_)
    if (slot.key != kFree) used.push_back(slot);
  std::sort(used.begin(), used.end(),
            [](const Slot& a, const Slot& b) { return a.merge.rank < b.merge.rank; });
  std::vector<std::pair<int32_t, int32_t>> pairs;
  pairs.reserve(used.size());
  for (const Slot& slot : used)
    pairs.emplace_back(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key));
  return pairs;
}

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

// ---- Bpe

Bpe::Bpe(BpeConfig config, const std::string& source_name) : config_(std::move(config)) {
  const std::string where = source_name + ": model";
  // Ids index tables, so that holes are allowed but not without bound.
  const int64_t limit = static_cast<int64_t>(config_.vocab.size()) * 8 + (1 << 20);
  int64_t max_id = -1;
  index_.reserve(config_.vocab.size());
  size_t kept = 0;
  for (size_t i = 0; i < config_.vocab.size(); ++i) {
    auto& [token, id] = config_.vocab[i];
    if (id < 0 || id >= limit)
      usage_error("{}: the id {} of the token {} is out of range (0 to {} with {} tokens)", where,
                  id, json_quote(token), limit - 1, config_.vocab.size());
    max_id = std::max(max_id, id);
    if (kept != i) config_.vocab[kept] = std::move(config_.vocab[i]);
    auto& entry = config_.vocab[kept];
    const int32_t first = index_.insert(entry.first, static_cast<int32_t>(kept));
    if (first == static_cast<int32_t>(kept))
      ++kept;
    else  // the last one wins, as in the `tokenizers` library
      config_.vocab[static_cast<size_t>(first)].second = entry.second;
  }
  config_.vocab.resize(kept);
  tokens_.resize(static_cast<size_t>(max_id + 1));
  lengths_.resize(tokens_.size());
  for (const auto& [token, id] : config_.vocab) {
    std::string_view& place = tokens_[static_cast<size_t>(id)];
    if (place.data() != nullptr)
      usage_error("{}: the tokens {} and {} have the same id {}", where, json_quote(place),
                  json_quote(token), id);
    place = token;
    lengths_[static_cast<size_t>(id)] =
        static_cast<uint32_t>(std::count_if(token.begin(), token.end(), [](char c) {
          return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
        }));
  }

  for (int b = 0; b < 256; ++b) {
    std::string text;
    append_utf8(text, byte_to_char(static_cast<uint8_t>(b)));
    byte_ids_[b] = id(text);
    all_bytes_ = all_bytes_ && byte_ids_[b] >= 0;
  }
  if (config_.unk_token) unk_id_ = id(*config_.unk_token);
  if (!all_bytes_ && config_.unk_token && unk_id_ < 0)
    usage_error("{}: the unk_token {} is not in the vocabulary", where,
                json_quote(*config_.unk_token));
  if (!all_bytes_ && config_.byte_fallback)
    usage_error("{}: byte_fallback is not supported where the vocabulary lacks bytes", where);

  merges_.reserve(config_.merges.size());
  std::string joined;
  uint32_t rank = 0;
  for (const auto& [left, right] : config_.merges) {
    joined.assign(left).append(right);
    const int32_t l = id(left), r = id(right), both = id(joined);
    if (l < 0 || r < 0 || both < 0)
      usage_error("{}: merge {} ({} {}) names {}, which is not in the vocabulary", where, rank,
                  json_quote(left), json_quote(right),
                  json_quote(l < 0   ? left
                             : r < 0 ? right
                                     : joined));
    merges_.set(l, r, {rank++, both});
  }
  config_.merges = {};
}

struct Bpe::Symbol {
  int32_t id;
  uint32_t length;  // in UTF-8 bytes of the byte-level text; 0 once merged into the left neighbour
  uint32_t next, previous;
  uint32_t rank;  // of the merge with the next symbol
};

bool Bpe::whole_word(std::string_view word, int32_t& id) const {
  if (!config_.ignore_merges) return false;
  id = this->id(to_byte_level(word));
  return id >= 0;
}

void Bpe::encode_short(std::string_view word, const WordCache::Key& key, WordCache::Entry& entry,
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

void Bpe::encode_long(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const {
  size_t count = 0;
  if (const int32_t* ids = cache.find_long(word, count)) {
    out.insert(out.end(), ids, ids + count);
    return;
  }
  const size_t before = out.size();
  encode_uncached(word, out);
  cache.add_long(word, out.data() + before, out.size() - before);
}

void Bpe::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  int32_t whole;
  if (whole_word(word, whole)) {
    out.push_back(whole);
    return;
  }
  if (all_bytes_ && word.size() <= 64) return merge_few(word, out);
  std::vector<Symbol> symbols;
  start(word, symbols);
  merge(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.length != 0) out.push_back(symbol.id);
}

void Bpe::encode_spans(std::string_view word, size_t readable, WordCache& cache,
                       std::vector<Span>& out) const {
  out.clear();
  if (!all_bytes_) return spans_uncached(word, out);
  std::vector<int32_t>& ids = cache.scratch();
  ids.clear();
  encode(word, readable, cache, ids);
  size_t begin = 0;
  for (int32_t id : ids) {
    const size_t end = begin + lengths_[static_cast<size_t>(id)];
    out.push_back({id, begin, end});
    begin = end;
  }
}

void Bpe::spans_uncached(std::string_view word, std::vector<Span>& out) const {
  int32_t whole;
  if (whole_word(word, whole)) {
    out.push_back({whole, 0, word.size()});
    return;
  }
  std::vector<Symbol> symbols;
  start(word, symbols);
  merge(symbols);
  // The library counts lengths in the byte-level text, where a byte takes one or two bytes.
  std::vector<size_t> source;
  for (size_t i = 0; i < word.size(); ++i)
    source.insert(source.end(), byte_to_char(static_cast<uint8_t>(word[i])) < 0x80 ? 1 : 2, i);
  size_t begin = 0;
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    const size_t end = begin + symbol.length;
    out.push_back({symbol.id, source[begin], source[end - 1] + 1});
    begin = end;
  }
}

void Bpe::start(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.reserve(word.size());
  const auto add = [&](int32_t id, uint32_t length) {
    const auto n = static_cast<uint32_t>(symbols.size());
    symbols.push_back({id, length, n + 1, n - 1, MergeMap::kNoRank});
  };
  uint32_t unknown = 0;  // length of an unknown token not yet added
  for (char c : word) {
    const auto byte = static_cast<uint8_t>(c);
    const uint32_t length = byte_to_char(byte) < 0x80 ? 1 : 2;
    if (byte_ids_[byte] >= 0) {
      if (unknown > 0) add(unk_id_, unknown);
      unknown = 0;
      add(byte_ids_[byte], length);
    } else if (unk_id_ >= 0) {
      if (unknown > 0 && !config_.fuse_unk) {
        add(unk_id_, unknown);
        unknown = 0;
      }
      unknown += length;
    }
  }
  if (unknown > 0) add(unk_id_, unknown);
}

// The pair with the lowest rank is merged first, the leftmost of equal ones. For a short word
// looking through all of them is the fastest.
void Bpe::merge_few(std::string_view word, std::vector<int32_t>& out) const {
  int32_t ids[64];
  MergeMap::Merge merges[64];  // of ids[i] and ids[i + 1]
  size_t n = word.size();
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(word[i])];
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = merges_.find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == MergeMap::kNoRank) break;
    ids[best] = merges[best].id;
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      ids[i] = ids[i + 1];
      merges[i - 1] = merges[i];
    }
    if (best > 0) merges[best - 1] = merges_.find(ids[best - 1], ids[best]);
    if (best + 1 < n) merges[best] = merges_.find(ids[best], ids[best + 1]);
  }
  out.insert(out.end(), ids, ids + n);
}

// The same with a heap: n log n.
void Bpe::merge(std::vector<Symbol>& symbols) const {
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint64_t> entries;  // rank and place
  const auto rank_pair = [&](uint32_t i) {
    const uint32_t next = symbols[i].next;
    symbols[i].rank =
        next < n ? merges_.find(symbols[i].id, symbols[next].id).rank : MergeMap::kNoRank;
    return symbols[i].rank != MergeMap::kNoRank;
  };
  for (uint32_t i = 0; i < n; ++i)
    if (rank_pair(i)) entries.push_back(uint64_t{symbols[i].rank} << 32 | i);
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>(),
                                                                             std::move(entries));
  while (!queue.empty()) {
    const auto rank = static_cast<uint32_t>(queue.top() >> 32);
    const auto i = static_cast<uint32_t>(queue.top());
    queue.pop();
    Symbol& left = symbols[i];
    if (left.length == 0 || left.rank != rank) continue;  // from before another merge
    Symbol& right = symbols[left.next];
    left.id = merges_.find(left.id, right.id).id;
    left.length += right.length;
    right.length = 0;
    left.next = right.next;
    if (left.next < n) symbols[left.next].previous = i;
    if (rank_pair(i)) queue.push(uint64_t{left.rank} << 32 | i);
    const uint32_t previous = left.previous;
    if (previous < n && rank_pair(previous))
      queue.push(uint64_t{symbols[previous].rank} << 32 | previous);
  }
}

}  // namespace corten
