#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>

#include "base/file.h"
#include "corten/error.h"
#include "text/gpt2_split.h"
#include "text/pre_tokenizer.h"

namespace corten {
namespace {

const std::string kGoldens = CORTEN_TEST_DATA "/goldens/";

std::string usage_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "no error";
}

TEST(BpeTrainer, LearnsWhatTheLibraryLearns) {
  const std::string text = read_file(kGoldens + "train.txt");
  const std::string_view texts[] = {text};
  Tokenizer::TrainOptions options;
  options.vocab_size = 700;
  EXPECT_EQ(Tokenizer::train(texts, options).to_json(), read_file(kGoldens + "tokenizer.json"));
}

TEST(BpeTrainer, ThreadsChangeNothing) {
  std::string text;  // several chunks, with ties between pairs
  std::mt19937 random(3);
  while (text.size() < 5'000'000) {
    for (uint32_t n = random() % 9 + 1; n > 0; --n) text += static_cast<char>('a' + random() % 6);
    text += random() % 12 == 0 ? '\n' : ' ';
    if (random() % 50 == 0) text += "  don't \xff\xe2\x82\xac ";
  }
  const std::string_view texts[] = {text, "one", "", std::string_view(text).substr(0, 100)};
  Tokenizer::TrainOptions options;
  options.vocab_size = 600;
  options.threads = 1;
  const std::string expected = Tokenizer::train(texts, options).to_json();
  for (int threads : {2, 3, 7}) {
    options.threads = threads;
    EXPECT_EQ(Tokenizer::train(texts, options).to_json(), expected);
  }
}

// The definition, without any bookkeeping: count all pairs of all words anew for each merge.
std::vector<std::pair<std::string, std::string>> slow_merges(std::string_view text, size_t merges) {
  std::map<std::vector<std::string>, int> words;
  std::map<std::string, int> ids = {{"<|endoftext|>", 0}};
  std::map<char32_t, std::string> alphabet;
  for (int b = 0; b < 256; ++b)
    alphabet[byte_to_char(static_cast<uint8_t>(b))] =
        to_byte_level(std::string(1, static_cast<char>(b)));
  for (const auto& [c, token] : alphabet) ids.emplace(token, static_cast<int>(ids.size()));
  gpt2_split(text, [&](std::string_view word) {
    std::vector<std::string> symbols;
    for (char c : word) symbols.push_back(to_byte_level(std::string(1, c)));
    ++words[symbols];
  });
  std::vector<std::pair<std::string, std::string>> result;
  while (result.size() < merges) {
    std::map<std::pair<std::string, std::string>, int> counts;
    for (const auto& [word, count] : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) counts[{word[i], word[i + 1]}] += count;
    std::pair<std::string, std::string> best;
    int best_count = 1;  // pairs that occur once are not merged
    for (const auto& [pair, count] : counts) {
      const auto key = [&](const auto& p) { return std::pair(ids.at(p.first), ids.at(p.second)); };
      if (count > best_count || (count == best_count && count > 1 && key(pair) < key(best))) {
        best = pair;
        best_count = count;
      }
    }
    if (best_count < 2) break;
    result.push_back(best);
    ids.emplace(best.first + best.second, static_cast<int>(ids.size()));
    std::map<std::vector<std::string>, int> merged;
    for (const auto& [word, count] : words) {
      std::vector<std::string> symbols;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool match =
            i + 1 < word.size() && word[i] == best.first && word[i + 1] == best.second;
        symbols.push_back(match ? best.first + best.second : word[i]);
        if (match) ++i;
      }
      merged[symbols] += count;
    }
    words = merged;
  }
  return result;
}

TEST(BpeTrainer, MatchesTheDefinition) {
  std::string text = read_file(kGoldens + "train.txt").substr(0, 3000);
  const std::string_view texts[] = {text};
  Tokenizer::TrainOptions options;
  options.vocab_size = 257 + 60;
  const BpeConfig config = train_bpe(texts, options);
  EXPECT_EQ(config.merges, slow_merges(text, 60));
  EXPECT_EQ(config.vocab.size(), 257u + 60);
}

TEST(BpeTrainer, SmallTextsGiveSmallVocabularies) {
  Tokenizer::TrainOptions options;
  EXPECT_EQ(Tokenizer::train({}, options).vocab_size(), 257u);
  const std::string_view texts[] = {"ab ab ab"};
  const Tokenizer tokenizer = Tokenizer::train(texts, options);
  // "ab" twice with a space and once without: b joins a, then the space joins them.
  EXPECT_EQ(tokenizer.vocab_size(), 259u);
  EXPECT_EQ(tokenizer.encode("ab ab").tokens, (std::vector<std::string>{"ab", "Ġab"}));
  options.min_frequency = 3;
  EXPECT_EQ(Tokenizer::train(texts, options).vocab_size(), 258u);
  options.min_frequency = 4;
  EXPECT_EQ(Tokenizer::train(texts, options).vocab_size(), 257u);
}

TEST(BpeTrainer, SpecialTokens) {
  Tokenizer::TrainOptions options;
  options.special_tokens = {"<s>", "</s>"};
  options.vocab_size = 258;
  const std::string_view texts[] = {"a a a a"};
  const Tokenizer tokenizer = Tokenizer::train(texts, options);
  EXPECT_EQ(tokenizer.vocab_size(), 258u);
  EXPECT_EQ(tokenizer.token_to_id("<s>"), 0);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.encode_ids("<s>").size(), 1u);
  options.special_tokens = {};
  EXPECT_EQ(Tokenizer::train(texts, options).eos_id(), std::nullopt);
}

TEST(BpeTrainer, Errors) {
  const auto train = [](Tokenizer::TrainOptions options) {
    return usage_error_of([&] { Tokenizer::train({}, options); });
  };
  EXPECT_NE(train({.vocab_size = 256}).find("vocab_size 256 is too small"), std::string::npos);
  EXPECT_NE(train({.special_tokens = {""}}).find("special token 0 is empty"), std::string::npos);
  EXPECT_NE(train({.special_tokens = {"a!", "a!"}}).find("\"a!\" is given twice"),
            std::string::npos);
}

}  // namespace
}  // namespace corten
