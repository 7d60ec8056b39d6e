#include "text/bpe.h"

#include <algorithm>
#include <array>
#include <functional>
#include <queue>

#include "base/format.h"
#include "base/json.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {

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

// ---- Bpe

namespace {

constexpr std::string_view kSpaceMark = "\u2581";  // what SentencePiece writes for a space

std::string byte_token(size_t byte) { return format("<0x{:02X}>", byte); }

}  // namespace

Bpe::Bpe(BpeConfig config, Units units, const std::string& source_name)
    : Model(Vocabulary(std::move(config.vocab), source_name + ": model")),
      config_(std::move(config)),
      units_(units) {
  const std::string where = source_name + ": model";
  for (size_t b = 0; b < 256; ++b) {
    std::string text;
    if (units_ == Units::Bytes)
      append_utf8(text, byte_to_char(static_cast<uint8_t>(b)));
    else
      text = byte_token(b);
    byte_ids_[b] = id(text);
    all_bytes_ = all_bytes_ && byte_ids_[b] >= 0;
  }
  if (config_.unk_token) unk_id_ = id(*config_.unk_token);
  if (!(units_ == Units::Bytes && all_bytes_) && config_.unk_token && unk_id_ < 0)
    usage_error("{}: the unk_token {} is not in the vocabulary", where,
                json_quote(*config_.unk_token));

  lengths_.resize(static_cast<size_t>(max_id() + 1));
  for (const auto& [token, id] : vocabulary_.entries()) {
    size_t length = token.size();
    if (units_ == Units::Bytes)
      length = static_cast<size_t>(std::count_if(token.begin(), token.end(), [](char c) {
        return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
      }));
    lengths_[static_cast<size_t>(id)] = static_cast<uint32_t>(length);
  }
  if (units_ == Units::Characters) {
    for (const int32_t id : byte_ids_)
      if (id >= 0 && config_.byte_fallback) lengths_[static_cast<size_t>(id)] = 1;
    affixes_ = (config_.continuing_subword_prefix && !config_.continuing_subword_prefix->empty()) ||
               (config_.end_of_word_suffix && !config_.end_of_word_suffix->empty());
    character_ids_.resize(0x3000);
    for (size_t c = 0; c < character_ids_.size(); ++c) {
      std::string text;
      append_utf8(text, static_cast<char32_t>(c));
      character_ids_[c] = id(text);
    }
  }

  merges_.reserve(config_.merges.size());
  const size_t prefix =
      config_.continuing_subword_prefix ? config_.continuing_subword_prefix->size() : 0;
  std::string joined;
  uint32_t rank = 0;
  for (const auto& [left, right] : config_.merges) {
    joined.assign(left).append(right, std::min(prefix, right.size()));
    const int32_t l = id(left), r = id(right), both = id(joined);
    if (l < 0 || r < 0 || both < 0)
      usage_error("{}: merge {} ({} {}) names {}, which is not in the vocabulary", where, rank,
                  json_quote(left), json_quote(right),
                  json_quote(l < 0   ? left
                             : r < 0 ? right
                                     : joined));
    merges_.set(l, r, {rank++, both});
  }
  find_splits(config_.merges);
  config_.merges = {};
}

struct Bpe::Symbol {
  int32_t id;
  uint32_t length;  // in UTF-8 bytes of the byte-level text; 0 once merged into the left neighbour
  uint32_t next, previous;
  uint32_t rank;  // of the merge with the next symbol
};

// A text without words, as SentencePiece models get it, takes long to merge and is never seen again.
// Where no merge crosses from one character to U+2581, it can be cut there.
void Bpe::find_splits(const std::vector<std::pair<std::string, std::string>>& merges) {
  // Characters that are left out would let their neighbours meet.
  const bool complete = unk_id_ >= 0 || (config_.byte_fallback && all_bytes_);
  splits_ = units_ == Units::Characters && complete && !affixes_ && !config_.ignore_merges &&
            id(kSpaceMark) >= 0;
  if (!splits_) return;
  const auto is_byte = [](std::string_view token) {
    return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
  };
  for (const auto& [left, right] : merges) {
    // Such tokens stand for other characters than they are written with.
    for (const std::string& token : {left, right})
      if ((config_.byte_fallback && is_byte(token)) ||
          (config_.unk_token && token == *config_.unk_token))
        splits_ = false;
    if (!right.starts_with(kSpaceMark) || left.empty()) continue;
    char32_t last;
    decode_before(left, left.size(), last);
    no_split_after_.push_back(last);
  }
  std::sort(no_split_after_.begin(), no_split_after_.end());
  no_split_after_.erase(std::unique(no_split_after_.begin(), no_split_after_.end()),
                        no_split_after_.end());
}

template <typename Emit>
void Bpe::split_long(std::string_view word, Emit&& emit) const {
  size_t begin = 0;
  for (size_t at = word.find(kSpaceMark, 1); at != std::string_view::npos;
       at = word.find(kSpaceMark, at + 1)) {
    char32_t before;
    decode_before(word, at, before);
    if (std::binary_search(no_split_after_.begin(), no_split_after_.end(), before)) continue;
    emit(begin, at);
    begin = at;
  }
  emit(begin, word.size());
}

void Bpe::encode_long(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const {
  if (!splits_) return Model::encode_long(word, cache, out);
  split_long(word, [&](size_t begin, size_t end) {
    const std::string_view part = word.substr(begin, end - begin);
    if (part.size() <= WordCache::kMaxBytes)
      encode(part, word.size() - begin, cache, out);
    else
      Model::encode_long(part, cache, out);
  });
}

bool Bpe::whole_word(std::string_view word, int32_t& id) const {
  if (!config_.ignore_merges) return false;
  id = units_ == Units::Bytes ? this->id(to_byte_level(word)) : this->id(word);
  return id >= 0;
}

void Bpe::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  int32_t whole;
  if (whole_word(word, whole)) {
    out.push_back(whole);
    return;
  }
  constexpr size_t kFew = 64;
  if (units_ == Units::Bytes && all_bytes_ && word.size() <= kFew) {
    int32_t ids[kFew];
    for (size_t i = 0; i < word.size(); ++i) ids[i] = byte_ids_[static_cast<uint8_t>(word[i])];
    return merge_few(ids, word.size(), out);
  }
  std::vector<Symbol> symbols;
  start(word, symbols);
  if (symbols.size() <= kFew) {
    int32_t ids[kFew];
    for (size_t i = 0; i < symbols.size(); ++i) ids[i] = symbols[i].id;
    return merge_few(ids, symbols.size(), out);
  }
  merge(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.length != 0) out.push_back(symbol.id);
}

void Bpe::encode_spans(std::string_view word, size_t readable, WordCache& cache,
                       std::vector<Span>& out) const {
  out.clear();
  if (affixes_ || (units_ == Units::Bytes && !all_bytes_)) return spans_uncached(word, out);
  std::vector<int32_t>& ids = cache.scratch();
  ids.clear();
  encode(word, readable, cache, ids);
  size_t begin = 0;
  bool known = true;
  for (int32_t id : ids) {
    const size_t end = begin + lengths_[static_cast<size_t>(id)];
    out.push_back({id, begin, end});
    begin = end;
    known = known && (id != unk_id_ || units_ == Units::Bytes);
  }
  // Lengths follow from the tokens but for unknown, left out and oddly written characters.
  if (!known || begin != word.size()) {
    out.clear();
    spans_uncached(word, out);
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
  if (units_ == Units::Characters) {
    size_t begin = 0;
    for (const Symbol& symbol : symbols) {
      if (symbol.length == 0) continue;
      out.push_back({symbol.id, begin, begin + symbol.length});
      begin += symbol.length;
    }
    return;
  }
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
  if (units_ == Units::Characters) return start_characters(word, symbols);
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

int32_t Bpe::character_id(std::string_view character, bool first, bool last) const {
  if (!affixes_) {
    char32_t c;
    decode_valid_utf8(character.data(), c);
    return c < character_ids_.size() ? character_ids_[c] : id(character);
  }
  std::string text(character);
  if (!first && config_.continuing_subword_prefix)
    text = *config_.continuing_subword_prefix + text;
  if (last && config_.end_of_word_suffix) text += *config_.end_of_word_suffix;
  return id(text);
}

void Bpe::start_characters(std::string_view word, std::vector<Symbol>& symbols) const {
  const auto add = [&](int32_t id, uint32_t length) {
    const auto n = static_cast<uint32_t>(symbols.size());
    symbols.push_back({id, length, n + 1, n - 1, MergeMap::kNoRank});
  };
  uint32_t unknown = 0;  // length of an unknown token not yet added
  char32_t c;
  for (size_t i = 0, size; i < word.size(); i += size) {
    size = decode_valid_utf8(word.data() + i, c);
    const std::string_view character = word.substr(i, size);
    const bool last = i + size == word.size();
    const int32_t known = character_id(character, i == 0, last);
    if (known >= 0) {
      if (unknown > 0) add(unk_id_, unknown);
      unknown = 0;
      add(known, static_cast<uint32_t>(size));
      continue;
    }
    if (config_.byte_fallback) {
      std::string text(character);  // with the prefix and the suffix, if there are any
      if (affixes_ && i > 0 && config_.continuing_subword_prefix)
        text = *config_.continuing_subword_prefix + text;
      if (affixes_ && last && config_.end_of_word_suffix) text += *config_.end_of_word_suffix;
      const auto byte_id = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
      if (std::all_of(text.begin(), text.end(), [&](char byte) { return byte_id(byte) >= 0; })) {
        // An unknown token before stays behind: that is what the `tokenizers` library does.
        for (char byte : text) add(byte_id(byte), 1);
        continue;
      }
    }
    if (unk_id_ < 0) continue;
    if (unknown > 0 && !config_.fuse_unk) {
      add(unk_id_, unknown);
      unknown = 0;
    }
    unknown += static_cast<uint32_t>(size);
  }
  if (unknown > 0) add(unk_id_, unknown);
}

// The pair with the lowest rank is merged first, the leftmost of equal ones. For a short word
// looking through all of them is the fastest. `n` is at most 64.
void Bpe::merge_few(int32_t* ids, size_t n, std::vector<int32_t>& out) const {
  MergeMap::Merge merges[64];  // of ids[i] and ids[i + 1]
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

Json Bpe::to_json() const {
  Json merges = Json::array();
  for (const auto& [left, right] : merges_.pairs_by_rank()) {
    Json pair = Json::array();
    pair.push_back(token(left));
    pair.push_back(token(right));
    merges.push_back(std::move(pair));
  }
  const auto text = [](const std::optional<std::string>& value) {
    return value ? Json(*value) : Json();
  };
  Json model = Json::object();
  model.set("type", "BPE")
      .set("dropout", Json())
      .set("unk_token", text(config_.unk_token))
      .set("continuing_subword_prefix", text(config_.continuing_subword_prefix))
      .set("end_of_word_suffix", text(config_.end_of_word_suffix))
      .set("fuse_unk", config_.fuse_unk)
      .set("byte_fallback", config_.byte_fallback)
      .set("ignore_merges", config_.ignore_merges)
      .set("vocab", vocabulary_json())
      .set("merges", std::move(merges));
  return model;
}

}  // namespace corten
