#include "text/bpe_trainer.h"

#include <algorithm>
#include <exception>
#include <queue>
#include <thread>
#include <unordered_map>

#include "base/format.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/gpt2_split.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {
namespace {

// How often each word occurs.
class WordCounts {
 public:
  void add(std::string_view word, uint64_t count) {
    if (words_.size() * 2 >= slots_.size()) grow();
    size_t at = hash64(word) & (slots_.size() - 1);
    for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1)) {
      Word& known = words_[slots_[at] - 1];
      if (text(known) != word) continue;
      known.count += count;
      return;
    }
    slots_[at] = static_cast<uint32_t>(words_.size() + 1);
    words_.push_back({bytes_.size(), static_cast<uint32_t>(word.size()), count});
    bytes_.append(word);
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Word& word : words_) visit(text(word), word.count);
  }
  size_t size() const noexcept { return words_.size(); }

 private:
  struct Word {
    size_t begin;
    uint32_t size;
    uint64_t count;
  };
  std::string_view text(const Word& word) const {
    return std::string_view(bytes_).substr(word.begin, word.size);
  }
  void grow() {
    slots_.assign(std::max<size_t>(1024, slots_.size() * 4), 0);
    for (size_t i = 0; i < words_.size(); ++i) {
      size_t at = hash64(text(words_[i])) & (slots_.size() - 1);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = static_cast<uint32_t>(i + 1);
    }
  }
  std::string bytes_;
  std::vector<Word> words_;
  std::vector<uint32_t> slots_;  // index + 1, 0 = free
};

// Cuts texts into chunks of about a megabyte. GPT-2's splitter always cuts before white space
// that follows something else, so that chunks beginning there give the same words.
std::vector<std::string_view> chunks(std::span<const std::string_view> texts) {
  constexpr size_t kChunk = 1 << 20;
  const auto graphic = [](char c) { return c > ' ' && c < 0x7F; };
  std::vector<std::string_view> result;
  for (std::string_view text : texts) {
    while (text.size() > kChunk) {
      size_t end = kChunk;
      while (end < text.size() &&
             !(graphic(text[end - 1]) && (text[end] == ' ' || text[end] == '\n')))
        ++end;
      result.push_back(text.substr(0, end));
      text.remove_prefix(end);
    }
    if (!text.empty()) result.push_back(text);
  }
  return result;
}

WordCounts count_words(std::span<const std::string_view> texts, int threads) {
  const std::vector<std::string_view> parts = chunks(texts);
  size_t workers = threads > 0 ? static_cast<size_t>(threads) : std::thread::hardware_concurrency();
  workers = std::clamp<size_t>(workers, 1, std::max<size_t>(1, parts.size()));
  std::vector<WordCounts> counts(workers);
  std::vector<std::exception_ptr> errors(workers);
  const auto work = [&](size_t worker) {
    try {
      for (size_t i = worker; i < parts.size(); i += workers) {
        std::string buffer;
        gpt2_split(valid_utf8(parts[i], buffer),
                   [&](std::string_view word) { counts[worker].add(word, 1); });
      }
    } catch (...) {
      errors[worker] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
    work(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  for (size_t worker = 1; worker < workers; ++worker)
    counts[worker].for_each([&](std::string_view word, uint64_t n) { counts[0].add(word, n); });
  return std::move(counts[0]);
}

using Pair = uint64_t;  // two ids, the left one in the upper half: ordered as the pair is
Pair make_pair(uint32_t left, uint32_t right) {
  return uint64_t{left} << 32 | right;
}

class Trainer {
 public:
  Trainer(const WordCounts& words, const Tokenizer::TrainOptions& options);
  BpeConfig run(size_t vocab_size, uint64_t min_frequency);

 private:
  struct PairHash {
    size_t operator()(Pair pair) const noexcept {
      return static_cast<size_t>((pair ^ pair >> 31) * 0x9E3779B97F4A7C15u);
    }
  };
  // A pair with the words in which it was found. The words of one pair may be spread over several
  // entries of the queue; each of them is merged when it comes up, as in the library.
  struct Candidate {
    int64_t count;
    Pair pair;
    size_t words;  // in word_lists_
    // Of equal counts the pair with the smaller ids comes first; the queue gives the largest.
    bool operator<(const Candidate& other) const {
      if (count != other.count) return count < other.count;
      if (pair != other.pair) return pair > other.pair;
      return words > other.words;
    }
  };
  struct Word {
    size_t begin;  // in symbols_
    uint32_t size;
    int64_t count;
  };

  uint32_t add_token(std::string token);
  void found(Pair pair, uint32_t word);
  void queue_found();
  void merge_in_word(Word& word, uint32_t index, Pair pair, uint32_t id);

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, uint32_t> ids_;
  std::vector<uint32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::vector<uint32_t>, PairHash> found_;  // since the last merge
  std::vector<std::vector<uint32_t>> word_lists_;
  std::priority_queue<Candidate> queue_;
};

uint32_t Trainer::add_token(std::string token) {
  const auto [place, inserted] =
      ids_.try_emplace(std::move(token), static_cast<uint32_t>(tokens_.size()));
  if (inserted) tokens_.push_back(place->first);
  return place->second;
}

void Trainer::found(Pair pair, uint32_t word) {
  std::vector<uint32_t>& list = found_[pair];
  if (list.empty() || list.back() != word) list.push_back(word);
}

Trainer::Trainer(const WordCounts& words, const Tokenizer::TrainOptions& options) {
  for (const std::string& token : options.special_tokens) add_token(token);
  std::vector<char32_t> alphabet;
  for (int b = 0; b < 256; ++b) alphabet.push_back(byte_to_char(static_cast<uint8_t>(b)));
  std::sort(alphabet.begin(), alphabet.end());
  uint32_t byte_ids[256];
  for (char32_t c : alphabet) {
    std::string text;
    append_utf8(text, c);
    byte_ids[char_to_byte(c)] = add_token(std::move(text));
  }
  words_.reserve(words.size());
  words.for_each([&](std::string_view text, uint64_t count) {
    const auto index = static_cast<uint32_t>(words_.size());
    words_.push_back(
        {symbols_.size(), static_cast<uint32_t>(text.size()), static_cast<int64_t>(count)});
    for (size_t i = 0; i < text.size(); ++i) {
      symbols_.push_back(byte_ids[static_cast<uint8_t>(text[i])]);
      if (i == 0) continue;
      const Pair pair = make_pair(symbols_[symbols_.size() - 2], symbols_.back());
      counts_[pair] += static_cast<int64_t>(count);
      found(pair, index);
    }
  });
  queue_found();
}

void Trainer::queue_found() {
  // In the order of the pairs, so that nothing depends on the order of the hash table.
  std::vector<Pair> pairs;
  pairs.reserve(found_.size());
  for (const auto& [pair, words] : found_) pairs.push_back(pair);
  std::sort(pairs.begin(), pairs.end());
  for (Pair pair : pairs) {
    const int64_t count = counts_[pair];
    if (count <= 0) continue;
    queue_.push({count, pair, word_lists_.size()});
    word_lists_.push_back(std::move(found_[pair]));
  }
  found_.clear();
}

void Trainer::merge_in_word(Word& word, uint32_t index, Pair pair, uint32_t id) {
  const auto left = static_cast<uint32_t>(pair >> 32), right = static_cast<uint32_t>(pair);
  uint32_t* const symbols = symbols_.data() + word.begin;
  const auto gone = [&](uint32_t a, uint32_t b) { counts_[make_pair(a, b)] -= word.count; };
  const auto came = [&](uint32_t a, uint32_t b) {
    counts_[make_pair(a, b)] += word.count;
    found(make_pair(a, b), index);
  };
  uint32_t out = 0;
  for (uint32_t i = 0; i < word.size;) {
    if (symbols[i] != left || i + 1 >= word.size || symbols[i + 1] != right) {
      symbols[out++] = symbols[i++];
      continue;
    }
    if (out > 0) {
      gone(symbols[out - 1], left);
      came(symbols[out - 1], id);
    }
    symbols[out++] = id;
    i += 2;
    if (i < word.size) {
      gone(right, symbols[i]);
      came(id, symbols[i]);
    }
  }
  word.size = out;
}

BpeConfig Trainer::run(size_t vocab_size, uint64_t min_frequency) {
  std::vector<Pair> merges;
  while (tokens_.size() < vocab_size && !queue_.empty()) {
    Candidate top = queue_.top();
    queue_.pop();
    const int64_t count = counts_[top.pair];
    if (count != top.count) {  // out of date
      top.count = count;
      queue_.push(top);
      continue;
    }
    if (count < 1 || static_cast<uint64_t>(count) < min_frequency) break;
    const uint32_t id =
        add_token(tokens_[top.pair >> 32] + tokens_[static_cast<uint32_t>(top.pair)]);
    merges.push_back(top.pair);
    const std::vector<uint32_t> list = std::move(word_lists_[top.words]);
    for (uint32_t index : list) merge_in_word(words_[index], index, top.pair, id);
    queue_found();
  }
  BpeConfig config;
  for (size_t i = 0; i < tokens_.size(); ++i)
    config.vocab.emplace_back(tokens_[i], static_cast<int64_t>(i));
  for (Pair pair : merges)
    config.merges.emplace_back(tokens_[pair >> 32], tokens_[static_cast<uint32_t>(pair)]);
  return config;
}

}  // namespace

BpeConfig train_bpe(std::span<const std::string_view> texts,
                    const Tokenizer::TrainOptions& options) {
  for (size_t i = 0; i < options.special_tokens.size(); ++i) {
    const std::string& token = options.special_tokens[i];
    if (token.empty()) usage_error("tokenizer training: special token {} is empty", i);
    if (std::find(options.special_tokens.begin(),
                  options.special_tokens.begin() + static_cast<ptrdiff_t>(i),
                  token) != options.special_tokens.begin() + static_cast<ptrdiff_t>(i))
      usage_error("tokenizer training: the special token {} is given twice", json_quote(token));
  }
  const size_t least = 256 + options.special_tokens.size();
  if (options.vocab_size < least)
    usage_error(
        "tokenizer training: vocab_size {} is too small: the 256 bytes and {} special tokens need "
        "{}",
        options.vocab_size, options.special_tokens.size(), least);
  const WordCounts words = count_words(texts, options.threads);
  return Trainer(words, options).run(options.vocab_size, options.min_frequency);
}

}  // namespace corten
