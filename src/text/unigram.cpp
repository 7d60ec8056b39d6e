#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "base/format.h"
#include "text/unicode.h"

namespace corten {

// ---- TokenTrie

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, int32_t>> tokens) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // Level by level: a node is a range of tokens with a common beginning of `depth` bytes.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> nodes = {{0, tokens.size(), 0}};
  for (size_t n = 0; n < nodes.size(); ++n) {
    auto [begin, end, depth] = nodes[n];
    first_.push_back(static_cast<uint32_t>(labels_.size()));
    int32_t value = -1;
    while (begin < end && tokens[begin].first.size() == depth) value = tokens[begin++].second;
    values_.push_back(value);
    while (begin < end) {
      const char label = tokens[begin].first[depth];
      size_t stop = begin;
      while (stop < end && tokens[stop].first[depth] == label) ++stop;
      labels_.push_back(static_cast<unsigned char>(label));
      nodes.push_back({begin, stop, depth + 1});
      begin = stop;
    }
  }
  first_.push_back(static_cast<uint32_t>(labels_.size()));
  for (uint32_t edge = first_[0]; edge < first_[1]; ++edge) roots_[labels_[edge]] = edge + 1;
}

// ---- Unigram

namespace {

Vocabulary::Entries numbered(const std::vector<std::pair<std::string, double>>& vocab) {
  Vocabulary::Entries entries;
  entries.reserve(vocab.size());
  for (const auto& [token, score] : vocab)
    entries.emplace_back(token, static_cast<int64_t>(entries.size()));
  return entries;
}

std::vector<std::pair<std::string_view, int32_t>> with_ids(const Vocabulary& vocabulary) {
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  tokens.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.entries())
    tokens.emplace_back(token, static_cast<int32_t>(id));
  return tokens;
}

}  // namespace

Unigram::Unigram(Config config, const std::string& source_name)
    : Model(Vocabulary(numbered(config.vocab), source_name + ": model")),
      config_(std::move(config)),
      where_(source_name + ": model"),
      trie_(with_ids(vocabulary_)) {
  if (config_.unk_id && *config_.unk_id >= config_.vocab.size())
    usage_error("{}: the unk_id {} is not in the vocabulary of {} tokens", where_, *config_.unk_id,
                config_.vocab.size());
  unk_id_ = config_.unk_id ? static_cast<int32_t>(*config_.unk_id) : -1;
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& [token, score] : config_.vocab) lowest = std::min(lowest, score);
  unknown_score_ = lowest - 10.0;  // the penalty of SentencePiece
  for (size_t b = 0; b < 256; ++b) byte_ids_[b] = id(format("<0x{:02X}>", b));
}

// Viterbi over the bytes of the word. Among equally good paths the first one found stays: tokens
// that begin earlier come first, and of these the shorter ones.
template <typename Emit>
void Unigram::best_path(std::string_view word, Emit&& emit) const {
  struct Node {
    double score = 0;
    int32_t id = -1;
    size_t begin = std::string_view::npos;
  };
  Node few[65];
  std::vector<Node> many;
  if (word.size() > 64) many.resize(word.size() + 1);
  Node* const ends = many.empty() ? few : many.data();

  char32_t c;
  for (size_t begin = 0, length; begin < word.size(); begin += length) {
    length = decode_valid_utf8(word.data() + begin, c);
    const double before = ends[begin].score;
    bool single = false;
    const auto offer = [&](size_t end, double score, int32_t id) {
      Node& node = ends[end];
      if (node.begin != std::string_view::npos && !(score > node.score)) return;
      node = {score, id, begin};
    };
    trie_.prefixes(word.substr(begin), [&](size_t size, int32_t id) {
      offer(begin + size, config_.vocab[static_cast<size_t>(id)].second + before, id);
      single = single || size == length;
    });
    if (single) continue;
    if (unk_id_ < 0) usage_error("{}: a character is unknown and there is no unk_id", where_);
    offer(begin + length, unknown_score_ + before, unk_id_);
  }

  // Backwards; unknown parts side by side are one.
  std::vector<std::pair<size_t, size_t>> parts;
  bool after_unknown = false;
  for (size_t end = word.size(); end > 0;) {
    const Node& node = ends[end];
    const bool unknown = node.id == unk_id_ && unk_id_ >= 0;
    if (unknown && after_unknown)
      parts.back().first = node.begin;
    else
      parts.emplace_back(node.begin, end);
    after_unknown = unknown;
    end = node.begin;
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) emit(part->first, part->second);
}

void Unigram::encode_spans(std::string_view word, size_t, WordCache&,
                           std::vector<Span>& out) const {
  spans_of(word, out);
}

void Unigram::spans_of(std::string_view word, std::vector<Span>& out) const {
  out.clear();
  best_path(word, [&](size_t begin, size_t end) {
    const std::string_view text = word.substr(begin, end - begin);
    int32_t found = id(text);
    if (found < 0) {
      const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
      if (config_.byte_fallback &&
          std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) >= 0; })) {
        for (char c : text) out.push_back({byte_id(c), begin, end});
        return;
      }
      if (unk_id_ < 0) usage_error("{}: a text is unknown and there is no unk_id", where_);
      found = unk_id_;
    }
    out.push_back({found, begin, end, true});
  });
}

void Unigram::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  std::vector<Span> spans;
  spans_of(word, spans);
  for (const Span& span : spans) out.push_back(span.id);
}

Json Unigram::to_json() const {
  Json vocab = Json::array();
  for (const auto& [token, score] : config_.vocab) {
    Json entry = Json::array();
    entry.push_back(token);
    entry.push_back(score);
    vocab.push_back(std::move(entry));
  }
  return Json::object(
      {{"type", "Unigram"},
       {"unk_id", config_.unk_id ? Json(static_cast<int64_t>(*config_.unk_id)) : Json()},
       {"vocab", std::move(vocab)},
       {"byte_fallback", config_.byte_fallback}});
}

}  // namespace corten
