#include "base/json.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/format.h"

namespace corten {
namespace {

std::string message_of(std::string_view text, JsonLimits limits = {}) {
  try {
    Json::parse(text, "f.json", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "";
}

TEST(Json, ParsesAndPrints) {
  const std::string text =
      R"({"b":[1,2.5,-3,"x\u00e9\ud83d\ude00\u0001\n",true,null,18446744073709551615],"a":{"k":1e+300},"e":[],"o":{}})";
  const Json json = Json::parse(text, "f.json");
  EXPECT_EQ(
      json.dump(),
      "{\"b\":[1,2.5,-3,\"x\xC3\xA9\xF0\x9F\x98\x80\\u0001\\n\",true,null,18446744073709551615],"
      "\"a\":{\"k\":1e+300},\"e\":[],\"o\":{}}");
  EXPECT_EQ(Json::parse(json.dump(), "again"), json);
  EXPECT_EQ(Json::parse(json.dump(3), "again"), json);
  EXPECT_EQ(json.at("b").at(6).as_uint(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json.items()[0].first, "b");  // order kept
  EXPECT_EQ(Json::parse("[1,{\"a\":[2]}]", "f").dump(2),
            "[\n  1,\n  {\n    \"a\": [\n      2\n    ]\n  }\n]");
}

TEST(Json, ErrorsNameThePlace) {
  EXPECT_EQ(message_of("[1,]").find("f.json:1:4: "), 0u);
  EXPECT_EQ(message_of("{\"a\":1,\n \"b\" 2}").find("f.json:2:6: "), 0u);
  for (const char* bad : {"",
                          " ",
                          "{",
                          "}",
                          "[1 2]",
                          "{\"a\"}",
                          "tru",
                          "01",
                          "1.",
                          "+1",
                          ".5",
                          "NaN",
                          "Infinity",
                          "\"\\x\"",
                          "\"\\ud800\"",
                          "\"a\nb\"",
                          "{a:1}",
                          "[1]x",
                          "1e999",
                          "'a'",
                          "// c\n1",
                          "\"\xC0\xAF\"",
                          "\"\xED\xA0\x80\""})
    EXPECT_NE(message_of(bad), "") << bad;
  EXPECT_NE(message_of(std::string_view("1\0 2", 4)), "");  // the lexer alone would stop there
  EXPECT_NE(message_of(std::string_view("{}\0", 3)).find("f.json:1:3"), std::string::npos);
  const std::string garbage = "\"" + std::string(100000, 'x') + "\n";
  EXPECT_LT(message_of(garbage).size(), 300u);
}

TEST(Json, LimitsDepth) {
  EXPECT_EQ(message_of(std::string(256, '[') + std::string(256, ']')), "");
  EXPECT_NE(message_of(std::string(257, '[') + std::string(257, ']')), "");
  EXPECT_NE(message_of(std::string(5'000'000, '[')), "");
}

TEST(Json, DuplicateKeys) {
  EXPECT_EQ(Json::parse(R"({"a":1,"b":2,"a":{"c":3}})", "f").dump(), R"({"a":{"c":3},"b":2})");
  EXPECT_NE(message_of(R"({"a":1,"b":2,"a":3})", {.refuse_duplicate_keys = true}), "");
  EXPECT_NE(message_of(R"({"a":1,"\u0061":3})", {.refuse_duplicate_keys = true}), "");
  EXPECT_EQ(message_of(R"({"a":{"a":1}})", {.refuse_duplicate_keys = true}), "");
}

TEST(Json, DoublesRoundTripExactly) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    const Json back = Json::parse(Json(value).dump(), "d");
    ASSERT_TRUE(back.is_double()) << Json(value).dump();
    ASSERT_EQ(std::bit_cast<uint64_t>(back.as_double()), std::bit_cast<uint64_t>(value));
  }
  for (int i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    const Json back = Json::parse(Json(value).dump(), "f");
    ASSERT_EQ(std::bit_cast<uint32_t>(static_cast<float>(back.as_double())),
              std::bit_cast<uint32_t>(value));
    ASSERT_LE(Json(value).dump().size(), 17u);
  }
  EXPECT_EQ(Json(0.1f).dump(), "0.1");
  EXPECT_EQ(Json(1.0).dump(), "1.0");
  EXPECT_EQ(Json(-0.0).dump(), "-0.0");
  EXPECT_EQ(Json(1e22).dump(), "1e+22");
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(-std::numeric_limits<double>::infinity()).dump(), "null");
}

TEST(Json, IntegersAreExact) {
  for (const char* text :
       {"9223372036854775807", "-9223372036854775808", "9223372036854775808", "0"})
    EXPECT_EQ(Json::parse(text, "i").dump(), text);
  EXPECT_EQ(Json(std::numeric_limits<int64_t>::min()).as_int(),
            std::numeric_limits<int64_t>::min());
  EXPECT_EQ(Json(size_t{3}), Json(3));
  EXPECT_FALSE(Json::parse("1.0", "i").is_int());
  EXPECT_FALSE(Json::parse("1e2", "i").is_int());
  EXPECT_THROW(Json(uint64_t{1} << 63).as_int("n"), Error);
  EXPECT_THROW(Json(-1).as_uint("n"), Error);
  EXPECT_EQ(Json(5).as_double(), 5.0);
}

TEST(Json, TypeErrorsNameKeyAndValue) {
  const Json json = Json::object({{"n_layer", "abc"}, {"n_head", 12}});
  try {
    json.at("n_layer").as_int("n_layer");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "n_layer: expected an integer, found string \"abc\"");
  }
  try {
    json.at("n_heads");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "missing key \"n_heads\"; did you mean \"n_head\"?");
  }
  EXPECT_THROW(json.elements("x"), Error);
  EXPECT_THROW(json.at(size_t{0}), Error);
  EXPECT_THROW(Json(1).at("k"), Error);
  EXPECT_THROW(Json(1).push_back(1), Error);
  EXPECT_EQ(Json(1).find("k"), nullptr);
}

TEST(Json, BuildsAndCopiesDeeply) {
  Json json;
  json["a"]["b"] = 1;
  json["list"].push_back("x").push_back(2.5).push_back(nullptr);
  json.set("v", std::vector<int>{1, 2});
  Json copy = json;
  copy["a"]["b"] = 2;
  EXPECT_EQ(json.dump(), R"({"a":{"b":1},"list":["x",2.5,null],"v":[1,2]})");
  EXPECT_EQ(copy.at("a").at("b").as_int(), 2);
  EXPECT_TRUE(copy.erase("list"));
  EXPECT_FALSE(copy.erase("list"));
  EXPECT_EQ(copy.dump(), R"({"a":{"b":2},"v":[1,2]})");
  json = json.at("list");  // assignment from a part of itself
  EXPECT_EQ(json.dump(), R"(["x",2.5,null])");
  EXPECT_EQ(Json::parse(R"({"x":1,"y":[2]})", "a"), Json::parse(R"({"y":[2],"x":1})", "b"));
  EXPECT_FALSE(Json(1) == Json(1.0));
}

TEST(Json, LargeObjectsFindEveryKey) {
  Json json = Json::object();
  for (int i = 0; i < 20000; ++i) json.set(format("key{}", i * 7919), i);
  ASSERT_EQ(json.size(), 20000u);
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(json.at(format("key{}", i * 7919)).as_int(), i);
  EXPECT_EQ(json.find("key1"), nullptr);
  json.set("key0", -1);
  EXPECT_EQ(json.size(), 20000u);
  EXPECT_TRUE(json.erase("key7919"));
  EXPECT_EQ(json.find("key7919"), nullptr);
  EXPECT_EQ(json.at("key15838").as_int(), 2);
}

TEST(Json, InvalidUtf8IsReplacedWhenPrinted) {
  EXPECT_EQ(Json("a\xFFz").dump(), "\"a\xEF\xBF\xBDz\"");
  EXPECT_EQ(Json("\xE2\x82").dump(), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace corten
