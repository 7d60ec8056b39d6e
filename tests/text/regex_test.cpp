#include "text/regex.h"

#include <gtest/gtest.h>

#include <random>

#include "corten/error.h"
#include "text/gpt2_split.h"
#include "text/unicode.h"

namespace corten {
namespace {

using Strings = std::vector<std::string>;

Strings matches(const std::string& pattern, std::string_view text) {
  const Regex regex(pattern, "test");
  Regex::Matcher matcher(regex, text);
  Strings result;
  for (size_t begin, end; matcher.next(begin, end);)
    result.emplace_back(text.substr(begin, end - begin));
  return result;
}

TEST(Regex, Matches) {
  EXPECT_EQ(matches("ab|a", "abaab"), (Strings{"ab", "a", "ab"}));
  EXPECT_EQ(matches("a|ab", "abaab"), (Strings{"a", "a", "a"}));
  EXPECT_EQ(matches("[a-c]+", "abcxcba-"), (Strings{"abc", "cba"}));
  EXPECT_EQ(matches("[^a-c]+", "abcxÜcba-"), (Strings{"xÜ", "-"}));
  EXPECT_EQ(matches("[]a]+", "a]b"), (Strings{"a]"}));
  EXPECT_EQ(matches("[a\\-z]+", "a-zb"), (Strings{"a-z"}));
  EXPECT_EQ(matches("[a-]+", "a-b"), (Strings{"a-"}));
  EXPECT_EQ(matches("[a[bc]]+", "abcd"), (Strings{"abc"}));
  EXPECT_EQ(matches("[^(\\s|[.,])]+", "ab(c d.e,f|g)"), (Strings{"ab", "c", "d", "e", "f", "g"}));
  EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello"), (Strings{"h", "ll"}));
  EXPECT_EQ(matches("a{2}", "aaaaa"), (Strings{"aa", "aa"}));
  EXPECT_EQ(matches("a{2,}", "a aa aaa"), (Strings{"aa", "aaa"}));
  EXPECT_EQ(matches("a{,2}b", "aaab"), (Strings{"aab"}));
  EXPECT_EQ(matches("a{1,3}", "aaaaa"), (Strings{"aaa", "aa"}));
  EXPECT_EQ(matches("a{1,3}?", "aa"), (Strings{"a", "a"}));
  EXPECT_EQ(matches("a{1,2}+b", "aaaab"), (Strings{"aaaab"}));  // repeats, is not possessive
  EXPECT_EQ(matches("a{x}", "a{x}"), (Strings{"a{x}"}));
  EXPECT_EQ(matches("a+?b", "aab"), (Strings{"aab"}));
  EXPECT_EQ(matches("a++a", "aaa"), Strings{});
  EXPECT_EQ(matches("(?>a+)a", "aaa"), Strings{});
  EXPECT_EQ(matches("(ab|c)+d", "abcabd cd"), (Strings{"abcabd", "cd"}));
  EXPECT_EQ(matches("(?:ab)*?c", "ababc"), (Strings{"ababc"}));
  EXPECT_EQ(matches("(?:ab){2,3}", "abababab"), (Strings{"ababab"}));
  EXPECT_EQ(matches("(?<word>b)(?#note)c", "abc"), (Strings{"bc"}));
  EXPECT_EQ(matches("a(?=b)", "abac"), (Strings{"a"}));
  EXPECT_EQ(matches("a(?!b).", "abac"), (Strings{"ac"}));
  EXPECT_EQ(matches("(?<=é)a", "aéa"), (Strings{"a"}));
  EXPECT_EQ(matches("(?<!b|cd)a", "abacda"), (Strings{"a"}));
  EXPECT_EQ(matches("^.", "ab\ncd\n"), (Strings{"a", "c"}));
  EXPECT_EQ(matches(".$", "ab\ncd\n"), (Strings{"b", "d"}));
  EXPECT_EQ(matches("\\A.", "ab\ncd"), (Strings{"a"}));
  EXPECT_EQ(matches(".\\z", "ab\ncd"), (Strings{"d"}));
  EXPECT_EQ(matches(".\\Z", "ab\ncd\n"), (Strings{"d"}));
  EXPECT_EQ(matches("\\b\\w", "one two"), (Strings{"o", "t"}));
  EXPECT_EQ(matches("\\B\\w", "one"), (Strings{"n", "e"}));
  EXPECT_EQ(matches("(?i:s|k)a", "SaSAſaka\u212Aaa"), (Strings{"Sa", "ſa", "ka", "\u212Aa"}));
  EXPECT_EQ(matches("(?i)ab", "aBABab"), (Strings{"aB", "AB", "ab"}));
  EXPECT_EQ(matches("(?i:a)b", "AbaB"), (Strings{"Ab"}));
  EXPECT_EQ(matches("\\x41\\u0042\\x{43}\\t\\.", "ABC\t."), (Strings{"ABC\t."}));
  EXPECT_EQ(matches("\\p{Lu}\\P{Lu}", "aBcÉé"), (Strings{"Bc", "Éé"}));
  EXPECT_EQ(matches("\\p{^L}+", "a12b"), (Strings{"12"}));
  EXPECT_EQ(matches("\\p{Han}+|\\p{Hiragana}+", "漢字かな"), (Strings{"漢字", "かな"}));
  EXPECT_EQ(matches("x*", "axxb"), (Strings{"", "xx", ""}));  // none where "xx" ended
}

TEST(Regex, UnsupportedPatternsAreErrors) {
  for (const char* pattern : {"(",
                              ")",
                              "a)",
                              "[",
                              "[a",
                              "[b-a]",
                              "*",
                              "a|*",
                              "(a)\\1",
                              "\\k<a>",
                              "\\p{Foo}",
                              "\\p{L",
                              "\\pL",
                              "(?m:a)",
                              "(?x)a",
                              "a(?i)b",
                              "(?i:ß)",
                              "(?i:ss)",
                              "(?i:first)",
                              "(a*)*",
                              "(?:a?)+",
                              "a{3,2}",
                              "a{2000}",
                              "\\",
                              "\\R",
                              "\\X",
                              "\\G",
                              "[[:alpha:]]",
                              "(?<=a+)b",
                              "\\xff",
                              "((((a{100}){100}){100}){100})",
                              "\xff"}) {
    try {
      Regex(pattern, "x.json: Split");
      ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      EXPECT_EQ(std::string(error.what()).find("x.json: Split: "), 0u) << error.what();
    }
  }
  EXPECT_THROW(Regex(std::string(100000, '('), "deep"), Error);
  EXPECT_THROW(Regex(std::string(100000, '['), "deep"), Error);
}

TEST(Regex, EndlessBacktrackingIsAnError) {
  const std::string text(200, 'a');
  try {
    matches("(?:a|a)+b", text);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find("backtracks too often"), std::string::npos);
  }
}

TEST(Regex, LongRunsNeedNoStack) {
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(matches("(?:a|b)+", text), (Strings{text}));
  EXPECT_EQ(matches("a+(?!\\S)|b", text), (Strings{text}));
}

// The hand-written splitter against its pattern, on random text of all classes.
TEST(Gpt2Split, EqualsItsPattern) {
  const Regex regex(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                    "gpt2");
  const Strings parts = {" ",  " ", "\n", "\t",   "\u00a0", "\u3000", "\xC2\x85", "'", "s", "re",
                         "ll", "v", "e",  "d",    "a",      "Ü",      "日",       "1", "²", "३",
                         ".",  "!", "😀",  "\x01", "\u0301", "\u200b", "K",        "_", "'", "\r"};
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (uint32_t n = random() % 12 + 1; n > 0; --n) {
      if (random() % 20 == 0) {
        char32_t c = random() % 0x110000;
        append_utf8(text, c >= 0xD800 && c < 0xE000 ? U'x' : c);
      } else {
        text += parts[random() % parts.size()];
      }
    }
    Strings expected, actual;
    Regex::Matcher matcher(regex, text);
    for (size_t begin, end; matcher.next(begin, end);)
      expected.emplace_back(text.substr(begin, end - begin));
    gpt2_split(text, [&](std::string_view word) { actual.emplace_back(word); });
    ASSERT_EQ(actual, expected) << text;
  }
}

TEST(Gpt2Split, EveryCodePoint) {
  const Regex regex(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                    "gpt2");
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "a";
    append_utf8(text, c);
    text += "1";
    append_utf8(text, c);
    text += ". ";
    Strings expected, actual;
    Regex::Matcher matcher(regex, text);
    for (size_t begin, end; matcher.next(begin, end);)
      expected.emplace_back(text.substr(begin, end - begin));
    gpt2_split(text, [&](std::string_view word) { actual.emplace_back(word); });
    ASSERT_EQ(actual, expected) << static_cast<uint32_t>(c);
  }
}

}  // namespace
}  // namespace corten
