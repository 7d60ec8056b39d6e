#include "text/wordpiece.h"

#include <algorithm>

#include "base/format.h"

namespace corten {

WordPiece::WordPiece(Config config, const std::string& source_name)
    : Model(Vocabulary(std::move(config.vocab), source_name + ": model")),
      config_(std::move(config)),
      where_(source_name + ": model"),
      unk_id_(id(config_.unk_token)) {
  const std::string& prefix = config_.continuing_subword_prefix;
  for (const auto& [token, id] : vocabulary_.entries()) {
    longest_ = std::max(longest_, token.size());
    const std::string_view text = token;
    if (!text.starts_with(prefix) || text.size() == prefix.size()) continue;
    const std::string_view rest = text.substr(prefix.size());
    const auto number = static_cast<int32_t>(continuing_ids_.size());
    if (continuing_.insert(rest, number) != number) continue;
    continuing_ids_.push_back(static_cast<int32_t>(id));
    longest_continuing_ = std::max(longest_continuing_, rest.size());
  }
}

int32_t WordPiece::unknown() const {
  if (unk_id_ < 0)
    usage_error("{}: a word is unknown and the unk_token {} is not in the vocabulary", where_,
                json_quote(config_.unk_token));
  return unk_id_;
}

template <typename Emit>
bool WordPiece::take_apart(std::string_view word, Emit&& emit) const {
  const auto is_inside = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  if (word.size() > config_.max_input_chars_per_word) {
    const auto inside = std::count_if(word.begin(), word.end(), is_inside);
    if (word.size() - static_cast<size_t>(inside) > config_.max_input_chars_per_word) return false;
  }
  for (size_t begin = 0; begin < word.size();) {
    size_t end = std::min(word.size(), begin + (begin == 0 ? longest_ : longest_continuing_));
    int32_t found = -1;
    for (; end > begin; --end) {
      if (end < word.size() && is_inside(word[end])) continue;
      const std::string_view part = word.substr(begin, end - begin);
      if (begin == 0) {
        found = id(part);
      } else if (const int32_t number = continuing_.find(part); number >= 0) {
        found = continuing_ids_[static_cast<size_t>(number)];
      }
      if (found >= 0) break;
    }
    if (found < 0) return false;
    emit(found, begin, end);
    begin = end;
  }
  return true;
}

void WordPiece::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  const size_t before = out.size();
  if (take_apart(word, [&](int32_t id, size_t, size_t) { out.push_back(id); })) return;
  out.resize(before);
  out.push_back(unknown());
}

void WordPiece::encode_spans(std::string_view word, size_t, WordCache&,
                             std::vector<Span>& out) const {
  out.clear();
  if (take_apart(word, [&](int32_t id, size_t begin, size_t end) { out.push_back({id, begin, end}); }))
    return;
  out.clear();
  out.push_back({unknown(), 0, word.size()});
}

Json WordPiece::to_json() const {
  return Json::object(
      {{"type", "WordPiece"},
       {"unk_token", config_.unk_token},
       {"continuing_subword_prefix", config_.continuing_subword_prefix},
       {"max_input_chars_per_word", static_cast<int64_t>(config_.max_input_chars_per_word)},
       {"vocab", vocabulary_json()}});
}

// ---- WordLevel

WordLevel::WordLevel(Vocabulary::Entries vocab, std::string unk_token,
                     const std::string& source_name)
    : Model(Vocabulary(std::move(vocab), source_name + ": model")),
      unk_token_(std::move(unk_token)),
      where_(source_name + ": model") {}

void WordLevel::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  int32_t found = id(word);
  if (found < 0) found = id(unk_token_);
  if (found < 0)
    usage_error("{}: a word is unknown and the unk_token {} is not in the vocabulary", where_,
                json_quote(unk_token_));
  out.push_back(found);
}

void WordLevel::encode_spans(std::string_view word, size_t readable, WordCache& cache,
                             std::vector<Span>& out) const {
  std::vector<int32_t>& ids = cache.scratch();
  ids.clear();
  encode(word, readable, cache, ids);
  out.assign(1, {ids[0], 0, word.size()});
}

Json WordLevel::to_json() const {
  return Json::object(
      {{"type", "WordLevel"}, {"vocab", vocabulary_json()}, {"unk_token", unk_token_}});
}

}  // namespace corten
