// Files that are wrong in one way each: a Usage error that names the file and the fault.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/file.h"
#include "base/json.h"
#include "corten/error.h"
#include "corten/tokenizer.h"
#include "temp_folder.h"

namespace corten {
namespace {

const std::string kPath = CORTEN_TEST_DATA "/goldens/tokenizer.json";

const std::string& content() {
  static const std::string text = read_file(kPath);
  return text;
}

std::string usage_error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

std::string error_of(const std::string& json) {
  return usage_error_of([&] { Tokenizer::from_json(json, "x/tokenizer.json"); });
}

void expect_error(const std::function<void(Json&)>& change, const std::string& expected) {
  Json document = Json::parse(content(), "");
  change(document);
  const std::string message = error_of(document.dump());
  EXPECT_EQ(message.find("x/tokenizer.json"), 0u) << message;
  EXPECT_NE(message.find(expected), std::string::npos) << message;
}

TEST(TokenizerErrors, MissingAndMalformedFiles) {
  const testing::TempFolder folder;
  const std::string missing = folder / "none.json";
  EXPECT_NE(usage_error_of([&] { Tokenizer::from_file(missing); }).find(missing),
            std::string::npos);
  for (const char* text : {"", " ", "null", "[]", "{", "{}", "{\"model\": 1}", "{\"model\": {}}",
                           "\xff\xfe", "{\"model\": {\"vocab\": {}, \"merges\": []}} x"}) {
    write_file_atomic(folder / "bad.json", std::string_view(text));
    const std::string message = usage_error_of([&] { Tokenizer::from_file(folder / "bad.json"); });
    EXPECT_NE(message.find("bad.json"), std::string::npos) << text << ": " << message;
  }
}

TEST(TokenizerErrors, EveryTruncation) {
  for (size_t size = 0; size + 2 < content().size(); size += size < 2000 ? 1 : 97) {
    const std::string message = error_of(content().substr(0, size));
    ASSERT_EQ(message.find("x/tokenizer.json"), 0u) << size << ": " << message;
  }
}

TEST(TokenizerErrors, ChangedBytesNeverCrash) {
  std::string text = Json::parse(content(), "").dump();
  for (size_t i = 0; i < text.size(); i += i < 3000 ? 1 : 61) {
    for (char c : {'\0', '"', '}', '9', '\xFF'}) {
      const char before = text[i];
      text[i] = c;
      try {
        Tokenizer::from_json(text, "x").encode("some text 日本");
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
      }
      text[i] = before;
    }
  }
}

TEST(TokenizerErrors, Model) {
  const auto model = [](const char* key, const char* value) {
    return [=](Json& json) { json["model"].set(key, Json::parse(value, "")); };
  };
  expect_error(model("type", "\"Markov\""), "the type \"Markov\" is not supported");
  expect_error(model("type", "\"Unigram\""), "\"vocab\": expected an array, found object");
  expect_error(model("type", "\"WordPiece\""), "there is no \"unk_token\"");
  expect_error([](Json& json) { json["model"].erase("vocab"); }, "there is no \"vocab\"");
  expect_error([](Json& json) { json["model"].erase("merges"); }, "there is no \"merges\"");
  expect_error(model("vocab", "[]"), "\"vocab\": expected an object, found array");
  expect_error(model("vocab", "{\"a\": \"0\"}"), "id of \"a\": expected an integer");
  expect_error(model("vocab", "{\"a\": 0.5}"), "id of \"a\": expected an integer");
  expect_error(model("vocab", "{\"a\": -1}"), "the id -1 of the token \"a\" is out of range");
  expect_error(model("vocab", "{\"a\": 4000000000}"), "the id 4000000000");
  expect_error(model("vocab", "{\"a\": 99999999999999999999}"), "id of \"a\"");
  expect_error(model("vocab", "{\"a\": 1, \"b\": 1}"), "\"a\" and \"b\" have the same id 1");
  expect_error(model("merges", "{}"), "\"merges\": expected an array");
  expect_error(model("merges", "[\"a\"]"), "merge 0 (\"a\") must be two tokens");
  expect_error(model("merges", "[\"a b c\"]"), "merge 0 (\"a b c\") must be two tokens");
  expect_error(model("merges", "[[\"a\", \"b\", \"c\"]]"), "merge 0 must be a pair");
  expect_error(model("merges", "[7]"), "merge 0: expected a string");
  expect_error(model("merges", "[\"a zzz\"]"), "names \"zzz\", which is not in the vocabulary");
  expect_error(model("merges", "[[\"a\", \"!\"]]"), "names \"a!\", which is not in the vocabulary");
  expect_error(model("dropout", "0.1"), "dropout 0.1 is not supported");
  expect_error(model("end_of_word_suffix", "1"), "\"end_of_word_suffix\": expected a string");
  expect_error(model("ignore_merges", "1"), "\"ignore_merges\": expected a bool");
  expect_error(
      [](Json& json) {
        json["model"].set("vocab", Json::parse("{\"a\": 0}", "")).set("merges", Json::array());
        json["model"].set("unk_token", "<unk>");
      },
      "the unk_token \"<unk>\" is not in the vocabulary");
}

TEST(TokenizerErrors, Components) {
  const auto part = [](const char* key, const char* value) {
    return [=](Json& json) { json.set(key, Json::parse(value, "")); };
  };
  expect_error(part("version", "\"2.0\""), "version \"2.0\" is not supported");
  expect_error(part("normalizer", "{\"type\": \"Uppercase\"}"),
               "normalizer: the type \"Uppercase\"");
  expect_error(part("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "%"})"),
               "byte 0 is no base64");
  expect_error(part("normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AAAA"})"),
               "3 bytes are too few");
  expect_error(part("normalizer", R"({"type": "Replace", "content": ""})"),
               "there is no \"pattern\"");
  expect_error(part("normalizer", R"({"type": "BertNormalizer", "clean_text": true})"),
               "there is no \"handle_chinese_chars\"");
  expect_error(part("normalizer", "{}"), "normalizer: there is no \"type\"");
  expect_error(part("normalizer", "{\"type\": \"Sequence\"}"), "there is no \"normalizers\"");
  expect_error(part("pre_tokenizer", "[]"), "expected an object, found array");
  expect_error(part("pre_tokenizer", "{\"type\": \"Fixed\"}"), "the type \"Fixed\"");
  expect_error(part("pre_tokenizer", "{\"type\": \"Metaspace\"}"), "there is no \"replacement\"");
  expect_error(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})"),
               "must be one character, not \"ab\"");
  expect_error(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_",
               "prepend_scheme": "last"})"),
               "must be first, never or always");
  expect_error(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_",
               "prepend_scheme": "first", "add_prefix_space": false})"),
               "contradict each other");
  expect_error(part("pre_tokenizer", "{\"type\": \"Sequence\"}"), "there is no \"pretokenizers\"");
  expect_error(part("pre_tokenizer", "{\"type\": \"ByteLevel\", \"use_regex\": 3}"),
               "\"use_regex\": expected a bool");
  const auto split = [&](const std::string& pattern) {
    const std::string text =
        R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern":)" + pattern +
        R"(, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel"}]})";
    return [text](Json& json) { json.set("pre_tokenizer", Json::parse(text, "")); };
  };
  expect_error(split(R"({"Regex": "(a"})"), "an unmatched \"(\"");
  expect_error(split(R"({"Regex": "(a)\\1"})"), "\"\\1\" at byte 4");
  expect_error(split(R"({"Regex": "\\p{Klingon}"})"), "the property \"Klingon\"");
  expect_error(split(R"({"String": ""})"), "an empty pattern");
  expect_error(split("{}"), "\"pattern\" must be");
  expect_error(part("pre_tokenizer", R"({"type": "Split", "pattern": {"String": "a"},
               "behavior": "Sideways", "invert": false})"),
               "unknown behavior \"Sideways\"");
  expect_error(part("decoder", "{\"type\": \"CTC\"}"), "decoder: the type \"CTC\"");
  expect_error(part("decoder", "{\"type\": \"WordPiece\"}"), "there is no \"prefix\"");
  expect_error(part("decoder", R"({"type": "Strip", "content": " ", "start": -1, "stop": 0})"),
               "\"start\" is -1, which is out of range");
  expect_error(part("truncation", R"({"max_length": 5, "strategy": "Some", "stride": 0})"),
               "truncation: the strategy \"Some\"");
  expect_error(part("padding", R"({"strategy": {"Fixed": "x"}})"),
               "padding: \"strategy\": \"Fixed\": expected an integer");
  expect_error(part("post_processor", "{\"type\": \"Other\"}"),
               "post_processor: the type \"Other\"");
  expect_error(part("post_processor", "{\"type\": \"TemplateProcessing\"}"), "\"single\"");
  expect_error(part("post_processor", R"({"type": "TemplateProcessing", "special_tokens": {},
               "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]})"),
               "lacks ids or tokens of \"<s>\"");
  expect_error(part("post_processor", R"({"type": "TemplateProcessing", "special_tokens": {},
               "single": [{"Sequence": {"id": "B", "type_id": 0}}]})"),
               "may only have the sequence A");
  expect_error(part("post_processor", R"({"type": "BertProcessing", "cls": ["<s>"], "sep": 1})"),
               "\"cls\" must be [token, id]");
  expect_error(part("added_tokens", "{}"), "added_tokens: expected an array");
  expect_error(part("added_tokens", "[1]"), "added_tokens[0]: expected an object");
  expect_error(part("added_tokens", "[{\"id\": 1}]"), "added_tokens[0]: there is no \"content\"");
  expect_error([](Json& json) { json["added_tokens"].mutable_elements()[0].set("special", "yes"); },
               "added_tokens[0]: \"special\": expected a bool");
}

TEST(TokenizerErrors, DuplicateKeys) {
  // "name": appears once more in front of the first member of an object that has it.
  const auto twice = [](const std::string& text, const std::string& at, const std::string& name) {
    std::string out = text;
    const size_t place = out.find(at);
    EXPECT_NE(place, std::string::npos) << at;
    return out.insert(place + at.size(), name);
  };
  const auto duplicate = [](const std::string& key) {
    return "x/tokenizer.json: duplicate key \"" + key + "\"";
  };
  const std::string compact = Json::parse(content(), "").dump();
  EXPECT_EQ(error_of(twice(compact, "{", R"("version":"1.0",)")), duplicate("version"));
  EXPECT_EQ(error_of(twice(compact, R"("added_tokens":[{)", R"("special":true,)")),
            duplicate("special"));
  EXPECT_EQ(error_of(twice(compact, R"("model":{)", R"("type":"BPE",)")), duplicate("type"));
  for (const char* list : {R"("vocab":{},)", R"("vocab":{"a":1},)"})
    EXPECT_EQ(error_of(twice(compact, R"("model":{)", list)), duplicate("vocab"));
  const Json document = Json::parse(compact, "");
  const auto& [token, id] = document.at("model").at("vocab").items().back();
  EXPECT_NE(error_of(twice(compact, R"("vocab":{)", json_quote(token) + ":" + id.dump() + ","))
                .find("duplicate key " + json_quote(token)),
            std::string::npos);

  const testing::TempFolder folder;
  write_file_atomic(folder / "tokenizer.json", content());
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    write_file_atomic(folder / name, R"({"eos_token": "a", "eos_token": "b"})");
    EXPECT_EQ(usage_error_of([&] { Tokenizer::from_pretrained(folder.path()); }),
              folder / name + ": duplicate key \"eos_token\"");
    remove_file(folder / name);
  }
}

TEST(TokenizerErrors, BrokenLinks) {
  const testing::TempFolder folder;
  const auto error = [&] {
    return usage_error_of([&] { Tokenizer::from_pretrained(folder.path()); });
  };
  std::filesystem::create_symlink("tokenizer.json", folder / "tokenizer.json");
  EXPECT_NE(error().find("leads back to itself"), std::string::npos) << error();
  remove_file(folder / "tokenizer.json");
  write_file_atomic(folder / "tokenizer.json", content());
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json",
                           "chat_template.jinja"}) {
    std::filesystem::create_symlink("nowhere", folder / name);
    EXPECT_NE(error().find(folder / name + " is a link to nowhere, which is not there"),
              std::string::npos)
        << error();
    remove_file(folder / name);
  }
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_NE(usage_error_of([&] { Tokenizer::from_pretrained(folder / "loop"); })
                .find("leads back to itself"),
            std::string::npos);
}

}  // namespace
}  // namespace corten
