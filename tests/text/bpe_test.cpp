#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/pre_tokenizer.h"

namespace corten {
namespace {

// A vocabulary of all bytes and random merges; ranks do not follow lengths.
BpeConfig random_config(std::mt19937& random, size_t merges, bool shuffle) {
  BpeConfig config;
  for (int b = 0; b < 256; ++b)
    config.vocab.emplace_back(to_byte_level(std::string(1, static_cast<char>(b))), b);
  std::vector<std::string> tokens = {"a", "b", "c"};
  while (config.merges.size() < merges) {
    const std::string& left = tokens[random() % tokens.size()];
    const std::string& right = tokens[random() % tokens.size()];
    const std::string both = left + right;
    if (both.size() > 12) continue;
    config.merges.emplace_back(left, right);
    if (std::find(tokens.begin(), tokens.end(), both) != tokens.end()) continue;
    config.vocab.emplace_back(both, static_cast<int64_t>(config.vocab.size()));
    tokens.push_back(both);
  }
  if (shuffle) std::shuffle(config.merges.begin(), config.merges.end(), random);
  return config;
}

// The definition: merge the leftmost pair of the lowest rank until there is none.
std::vector<int32_t> slow_encode(const BpeConfig& config, const Bpe& bpe, std::string_view word) {
  std::vector<std::string> symbols;
  for (char c : word) symbols.push_back(to_byte_level(std::string(1, c)));
  for (;;) {
    size_t best = 0, best_rank = config.merges.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      for (size_t rank = config.merges.size(); rank-- > 0;)  // the last of equal pairs counts
        if (config.merges[rank].first == symbols[i] &&
            config.merges[rank].second == symbols[i + 1]) {
          if (rank < best_rank) {
            best = i;
            best_rank = rank;
          }
          break;
        }
    if (best_rank == config.merges.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& symbol : symbols) ids.push_back(bpe.id(symbol));
  return ids;
}

TEST(Bpe, MatchesTheDefinition) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const BpeConfig config = random_config(random, 5 + random() % 40, round % 2 == 0);
    const Bpe bpe(config, Bpe::Units::Bytes, "test");
    WordCache cache;
    for (int i = 0; i < 60; ++i) {
      // Of all the sizes that take different ways: up to 15, 64 and more bytes.
      std::string word(1 + random() % (i % 3 == 0 ? 15 : i % 3 == 1 ? 64 : 150), ' ');
      for (char& c : word) c = random() % 30 == 0 ? '\xE9' : static_cast<char>('a' + random() % 3);
      const std::vector<int32_t> expected = slow_encode(config, bpe, word);
      for (int pass = 0; pass < 2; ++pass) {
        std::vector<int32_t> ids;
        bpe.encode(word, word.size(), cache, ids);
        ASSERT_EQ(ids, expected) << word;
      }
      std::vector<Bpe::Span> spans;
      bpe.encode_spans(word, word.size(), cache, spans);
      ASSERT_EQ(spans.size(), expected.size());
      size_t end = 0;
      for (size_t k = 0; k < spans.size(); ++k) {
        EXPECT_EQ(spans[k].id, expected[k]);
        EXPECT_EQ(spans[k].begin, end);
        EXPECT_EQ(to_byte_level(word.substr(spans[k].begin, spans[k].end - spans[k].begin)),
                  bpe.token(spans[k].id));
        end = spans[k].end;
      }
      EXPECT_EQ(end, word.size());
    }
  }
}

TEST(Bpe, CacheIsBoundedAndRight) {
  std::mt19937 random(8);
  const BpeConfig config = random_config(random, 30, false);
  const Bpe bpe(config, Bpe::Units::Bytes, "test");
  WordCache cache;
  // More words than the cache holds, of every length, in a buffer that can be read beyond them.
  std::string text;
  for (int i = 0; i < 400'000; ++i) text += static_cast<char>('a' + random() % 3);
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<int32_t> fast;
    for (size_t at = 0; at + 300 < text.size(); at += 1 + at % 23) {
      const std::string_view word(text.data() + at, 1 + at % (at % 7 == 0 ? 280 : 20));
      fast.clear();
      bpe.encode(word, text.size() - at, cache, fast);
      if (at % 50 != 0) continue;
      ASSERT_EQ(fast, slow_encode(config, bpe, word));
    }
  }
}

TEST(Bpe, KeysHoldTheWholeWord) {
  const std::string buffer = "abcdefghijklmnopqrstuvwxyz";
  for (size_t n = 1; n <= WordCache::kMaxBytes; ++n) {
    const std::string_view word = std::string_view(buffer).substr(0, n);
    const WordCache::Key wide = WordCache::key_of(word, buffer.size());
    const WordCache::Key narrow = WordCache::key_of(word, n);
    EXPECT_EQ(wide.low, narrow.low);
    EXPECT_EQ(wide.high, narrow.high);
    EXPECT_EQ(narrow.high >> 56, n);
  }
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  BpeConfig config;
  for (int b = 0; b < 256; ++b)
    config.vocab.emplace_back(to_byte_level(std::string(1, static_cast<char>(b))), b);
  config.vocab.emplace_back("Ġabc", 256);
  config.ignore_merges = true;
  const Bpe bpe(config, Bpe::Units::Bytes, "test");
  WordCache cache;
  std::vector<int32_t> ids;
  bpe.encode(" abc", 4, cache, ids);
  bpe.encode(" abcd", 5, cache, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{256, ' ', 'a', 'b', 'c', 'd'}));
}

TEST(Bpe, LongWordsAreFast) {
  std::mt19937 random(9);
  const Bpe bpe(random_config(random, 40, false), Bpe::Units::Bytes, "test");
  WordCache cache;
  std::string word(1'000'000, 'a');
  for (char& c : word) c = static_cast<char>('a' + random() % 3);
  std::vector<int32_t> ids;
  bpe.encode(word, word.size(), cache, ids);  // quadratic time would take minutes
  EXPECT_LT(ids.size(), word.size());
}

}  // namespace
}  // namespace corten
