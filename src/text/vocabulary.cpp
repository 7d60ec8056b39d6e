#include "text/vocabulary.h"

#include <algorithm>

#include "base/format.h"
#include "base/hash.h"
#include "base/json.h"

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

// ---- Vocabulary

Vocabulary::Vocabulary(Entries entries, const std::string& where) : entries_(std::move(entries)) {
  // Ids index tables, so that holes are allowed but not without bound.
  const int64_t limit = static_cast<int64_t>(entries_.size()) * 8 + (1 << 20);
  int64_t max_id = -1;
  index_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const auto& [token, id] = entries_[i];
    if (id < 0 || id >= limit)
      usage_error("{}: the id {} of the token {} is out of range (0 to {} with {} tokens)", where,
                  id, json_quote(token), limit - 1, entries_.size());
    max_id = std::max(max_id, id);
    if (index_.insert(token, static_cast<int32_t>(i)) != static_cast<int32_t>(i))
      usage_error("{}: duplicate key {}", where, json_quote(token));
  }
  tokens_.resize(static_cast<size_t>(max_id + 1));
  for (const auto& [token, id] : entries_) {
    std::string_view& place = tokens_[static_cast<size_t>(id)];
    if (place.data() != nullptr)
      usage_error("{}: the tokens {} and {} have the same id {}", where, json_quote(place),
                  json_quote(token), id);
    place = token;
  }
}

}  // namespace corten
