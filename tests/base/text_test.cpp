// TOML, strings, hashes and the environment.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/env.h"
#include "base/format.h"
#include "base/hash.h"
#include "base/strings.h"
#include "base/toml.h"

namespace corten {
namespace {

template <typename Function>
std::string usage_message(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "";
}

TEST(Errors, AreOneLineOfUtf8WhateverTheValuesHold) {
  const Error error(ErrorKind::Usage, "a.json: unknown name \"x\ny\t\x1b[31m\xff\xc3\" (known: \xc3\xa9)");
  EXPECT_STREQ(error.what(), "a.json: unknown name \"x?y??[31m??\" (known: \xc3\xa9)");
  EXPECT_LE(std::string(Error(ErrorKind::Usage, std::string(1 << 20, '\xff')).what()).size(), 8195u);
}

TEST(Toml, KeepsOrderAndLines) {
  const TomlDocument document = parse_toml(
      "z = 1\n"
      "[train]\n"
      "steps = 5\n"
      "lr = 1e-3   # comment\n"
      "names = [\"a\", \"b\"]\n"
      "a.b = true\n"
      "\n"
      "[[stage]]\n"
      "x = -9223372036854775808\n"
      "[[stage]]\n"
      "day = 1979-05-27\n",
      "c.toml");
  EXPECT_EQ(document.root.dump(),
            R"({"z":1,"train":{"steps":5,"lr":0.001,"names":["a","b"],"a":{"b":true}},)"
            R"("stage":[{"x":-9223372036854775808},{"day":"1979-05-27"}]})");
  EXPECT_EQ(document.lines.at("z"), 1);
  EXPECT_EQ(document.lines.at("train"), 2);
  EXPECT_EQ(document.lines.at("train.lr"), 4);
  EXPECT_EQ(document.lines.at("train.a.b"), 6);
  EXPECT_EQ(document.lines.at("stage[0].x"), 9);
  EXPECT_EQ(document.lines.at("stage[1].day"), 11);
}

TEST(Toml, CharactersOutsideAsciiInStringsAndComments) {
  const char* text =
      "\xEF\xBB\xBF"  // a byte order mark is allowed
      "a = \"\u00e9 \\\" \u00e9\"  # \u00e9 \" '\n"
      "b = '\u00e9 \\'\r\n"
      "c = \"\"\"\u00e9 \"\" \n \\\"\"\" \u00e9\"\"\"\"\"\n"
      "d = '''\u00e9 ' '' \n \u00e9 \\'''\n"
      "\"\u00e9\" = \"\"\n"
      "e = ''  # \u00e9\n";
  const Json root = parse_toml(text, "c.toml").root;
  EXPECT_EQ(root.at("a").as_string(), "\u00e9 \" \u00e9");
  EXPECT_EQ(root.at("c").as_string(), "\u00e9 \"\" \n \"\"\" \u00e9\"\"");
  EXPECT_EQ(root.at("d").as_string(), "\u00e9 ' '' \n \u00e9 \\");
  EXPECT_EQ(root.at("\u00e9").as_string(), "");
}

TEST(Toml, ErrorsNameThePlace) {
  EXPECT_EQ(usage_message([] { parse_toml("a = 1\nb = \n", "c.toml"); }).find("c.toml:2:5: "), 0u);
  for (const char* bad : {"a = 1\na = 2\n", "[t]\n[t]\n", "a", "= 1", "a = 1 b = 2", "a = 01",
                          "a = \"x\ny\"", "[\x01a?y\"t]", "[?]", "[[?]]", "[a.?]", "a.? = 1", "{",
                          "x = {? = 1}", "a = [1, 2", "\xFF = 1"})
    EXPECT_NE(usage_message([&] { parse_toml(bad, "c.toml"); }), "") << bad;
  for (const char* bad : {"\u00e9 = 1", "a = 1 # \x02", "a = 0\"\xEF\xBB\x9F", "\xEF\xBB\xBE"})
    EXPECT_EQ(usage_message([&] { parse_toml(bad, "c.toml"); }).find("c.toml:1:"), 0u) << bad;
  EXPECT_EQ(usage_message([&] { parse_toml("a = 1\n [?]\n", "c.toml"); }),
            "c.toml:2: expected a key after '[', saw \"?\"");
  const std::string deep = "a = " + std::string(100000, '[');
  EXPECT_NE(usage_message([&] { parse_toml(deep, "c.toml"); }), "");
}

TEST(Strings, EditDistance) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ab", "ba"), 1u);
  EXPECT_EQ(edit_distance("batch", "batch"), 0u);
  EXPECT_EQ(did_you_mean("warmup_step", {"steps", "warmup_steps", "lr"}),
            "; did you mean \"warmup_steps\"?");
  EXPECT_EQ(did_you_mean("Seed", {"seq", "seed"}), "; did you mean \"seed\"?");
  EXPECT_EQ(did_you_mean("zzz", {"steps", "lr"}), "");
  EXPECT_EQ(did_you_mean("x", {}), "");
}

TEST(Strings, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes((1u << 20) - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(uint64_t{3} << 29), "1.50 GiB");
  EXPECT_EQ(format_bytes(~uint64_t{0}), "16.00 EiB");
  EXPECT_EQ(parse_bytes("2GiB", "b"), uint64_t{2} << 30);
  EXPECT_EQ(parse_bytes(" 1.5 gib ", "b"), uint64_t{3} << 29);
  EXPECT_EQ(parse_bytes("500MB", "b"), 500'000'000u);
  EXPECT_EQ(parse_bytes("10k", "b"), 10240u);
  EXPECT_EQ(parse_bytes("4096", "b"), 4096u);
  EXPECT_EQ(parse_bytes("12B", "b"), 12u);
  EXPECT_EQ(parse_bytes("9007199254740993", "b"), 9007199254740993u);
  for (const char* bad : {"", "GiB", "-1", "1.5", "2 XB", "2GiBs", "2 2", "1e3", "nan", "inf",
                          "99999999TiB", "0x10", "2gbb", "99999999999999999999"})
    EXPECT_NE(usage_message([&] { parse_bytes(bad, "memory_budget"); }).find("memory_budget"),
              std::string::npos)
        << bad;
}

TEST(Strings, Counts) {
  EXPECT_EQ(parse_count("13B", "n"), 13'000'000'000);
  EXPECT_EQ(parse_count(" 1.5 k ", "n"), 1500);
  EXPECT_EQ(parse_count("124m", "n"), 124'000'000);
  EXPECT_EQ(parse_count("1.1e9", "n"), 1'100'000'000);
  EXPECT_EQ(parse_count("0", "n"), 0);
  for (const char* bad : {"", "B", "-1", "13Q", "13BB", "nan", "inf", "1e30", "1 2"})
    EXPECT_NE(usage_message([&] { parse_count(bad, "--params"); }).find("--params"), std::string::npos)
        << bad;
}

TEST(Strings, Durations) {
  EXPECT_EQ(format_duration(0.0123), "12.3 ms");
  EXPECT_EQ(format_duration(4.56), "4.56 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
  EXPECT_EQ(format_duration(3 * 86400 + 4 * 3600), "3 d 04 h");
  EXPECT_EQ(format_duration(1e300), "1e+300 s");
  EXPECT_EQ(parse_duration("30", "d"), 30);
  EXPECT_EQ(parse_duration("250ms", "d"), 0.25);
  EXPECT_EQ(parse_duration("1h30min", "d"), 5400);
  EXPECT_EQ(parse_duration("2 h 05 min", "d"), 7500);
  for (const char* bad : {"", "s", "5 parsec", "1h30", "-3s", "3s x"})
    EXPECT_NE(usage_message([&] { parse_duration(bad, "timeout"); }), "") << bad;
}

TEST(Strings, Utf8) {
  const size_t npos = std::string_view::npos;
  EXPECT_EQ(find_invalid_utf8(""), npos);
  EXPECT_EQ(find_invalid_utf8("plain ascii, longer than eight bytes"), npos);
  EXPECT_EQ(
      find_invalid_utf8("\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
      npos);
  const char* bad[] = {"\x80",
                       "\xC0\x80",
                       "\xC1\xBF",
                       "\xE0\x9F\xBF",
                       "\xED\xA0\x80",
                       "\xF0\x8F\xBF\xBF",
                       "\xF4\x90\x80\x80",
                       "\xF5\x80\x80\x80",
                       "\xFF",
                       "\xE2\x82",
                       "\xC3",
                       "\xE2\x28\xA1"};
  for (const char* text : bad) {
    EXPECT_EQ(find_invalid_utf8(text), 0u) << text;
    // At every distance to the eight-byte fast path.
    for (size_t shift = 0; shift < 20; ++shift)
      EXPECT_EQ(find_invalid_utf8(std::string(shift, 'a') + text + "tail of ascii"), shift);
  }
}

TEST(Strings, OneLine) {
  EXPECT_EQ(one_line("a\nb\tc\x7f \xC3\xA9 \xFF"), "a?b?c? \xC3\xA9 ?");
  EXPECT_EQ(one_line("\xC3\xA9\xC3\xA9", 3), "\xC3\xA9?...");
  EXPECT_EQ(one_line("abc", 3), "abc");
}

TEST(Strings, SplitTrimLines) {
  EXPECT_EQ(split("a,,b", ',').size(), 3u);
  EXPECT_EQ(split("", ',').size(), 1u);
  EXPECT_EQ(trim(" \t a b\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(line_and_column("ab\ncd", 4), std::pair(size_t{2}, size_t{2}));
  EXPECT_EQ(line_and_column("ab\ncd", 99), std::pair(size_t{2}, size_t{3}));
}

TEST(Hash, KnownValuesAndStreaming) {
  // From the xxhsum program, -H3 and -H2.
  EXPECT_EQ(hex(hash64("")), "2d06800538d394c2");
  EXPECT_EQ(hex(hash64("hello")), "9555e8555c62dcfd");
  EXPECT_EQ(hex(hash128("hello")), "b5e9c1ad071b3e7fc779cfaa5e523818");
  std::mt19937 random(3);
  std::string data(300000, '\0');
  for (char& c : data) c = static_cast<char>(random());
  for (int round = 0; round < 20; ++round) {
    Hasher hasher;
    size_t done = 0;
    while (done < data.size()) {
      const size_t n = std::min<size_t>(data.size() - done, random() % 5000);
      hasher.update(std::string_view(data).substr(done, n));
      done += n;
    }
    ASSERT_EQ(hasher.digest64(), hash64(data));
    ASSERT_EQ(hasher.digest128(), hash128(data));
  }
  EXPECT_NE(hash64("hello", 1), hash64("hello", 2));
  EXPECT_EQ(Hasher().update_value(uint32_t{0x6c6c6568}).update("o").digest64(), hash64("hello"));
}

class Environment : public ::testing::Test {
 protected:
  void set(const char* value) { ::setenv("CORTEN_TEST_VALUE", value, 1); }
  void TearDown() override { ::unsetenv("CORTEN_TEST_VALUE"); }
  static constexpr const char* kName = "CORTEN_TEST_VALUE";
};

TEST_F(Environment, ReadsTypes) {
  EXPECT_EQ(env_int(kName, 7), 7);
  set("");
  EXPECT_EQ(env_int(kName, 7), 7);
  EXPECT_FALSE(env_string(kName));
  set("-12");
  EXPECT_EQ(env_int(kName, 7), -12);
  EXPECT_EQ(env_double(kName, 0), -12.0);
  set("Yes");
  EXPECT_TRUE(env_bool(kName, false));
  set("off");
  EXPECT_FALSE(env_bool(kName, true));
  set("2GiB");
  EXPECT_EQ(env_bytes(kName, 0), uint64_t{2} << 30);
  set("fuse, cse,,");
  EXPECT_EQ(env_list(kName), (std::vector<std::string>{"fuse", "cse"}));
}

TEST_F(Environment, ErrorsNameTheVariable) {
  for (const char* bad : {"abc", "1x", "1.5", "99999999999999999999"}) {
    set(bad);
    EXPECT_NE(usage_message([&] { env_int(kName, 0); }).find(kName), std::string::npos);
  }
  set("maybe");
  EXPECT_NE(usage_message([&] { env_bool(kName, false); }).find("maybe"), std::string::npos);
  EXPECT_NE(usage_message([&] { env_bytes(kName, 0); }).find(kName), std::string::npos);
  EXPECT_NE(usage_message([&] { env_double(kName, 0); }).find(kName), std::string::npos);
}

}  // namespace
}  // namespace corten
