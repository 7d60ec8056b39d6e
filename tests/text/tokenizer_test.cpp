#include "corten/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "corten/error.h"
#include "temp_folder.h"

namespace corten {
namespace {

const std::string kGoldens = CORTEN_TEST_DATA "/goldens/";

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::vector<int32_t> to_ids(const Json& json) {
  std::vector<int32_t> ids;
  for (const Json& id : json.elements()) ids.push_back(static_cast<int32_t>(id.as_int()));
  return ids;
}

// The small tokenizer with other parts.
Tokenizer with_parts(const Json& parts) {
  const std::string path = kGoldens + "tokenizer.json";
  Json document = Json::parse(read_file(path), path);
  for (const auto& [key, value] : parts.items()) {
    if (key == "ignore_merges")
      document["model"].set(key, value);
    else
      document.set(key, value);
  }
  return Tokenizer::from_json(document.dump(), "parts");
}

const Json& goldens() {
  static const Json cases = Json::parse(read_file(kGoldens + "cases.json"), "cases.json");
  return cases;
}
const std::vector<Json>& golden_groups() {
  return goldens().at("groups").elements();
}

TEST(Tokenizer, EncodesAsTheLibrary) {
  ASSERT_GT(golden_groups().size(), 15u);
  for (const Json& group : golden_groups()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Tokenizer tokenizer = with_parts(group.at("parts"));
    const std::vector<Json>& texts = goldens().at("texts").elements();
    ASSERT_EQ(group.at("cases").size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const Json& test_case = group.at("cases").at(i);
      const std::string text = from_hex(texts[i].as_string());
      SCOPED_TRACE(text);
      const Json& expected = test_case.at("with");
      const Encoding encoding = tokenizer.encode(text);
      EXPECT_EQ(encoding.ids, to_ids(expected.at("ids")));
      std::vector<int32_t> offsets;
      for (const auto& [begin, end] : encoding.offsets) {
        offsets.push_back(static_cast<int32_t>(begin));
        offsets.push_back(static_cast<int32_t>(end));
      }
      EXPECT_EQ(offsets, to_ids(expected.at("offsets")));
      EXPECT_EQ(encoding.tokens.size(), encoding.ids.size());
      if (const Json* tokens = expected.find("tokens")) {
        EXPECT_EQ(Json(encoding.tokens), *tokens);
      }
      const Json* without = test_case.find("without");
      const std::vector<int32_t> plain =
          to_ids(without != nullptr ? without->at("ids") : expected.at("ids"));
      EXPECT_EQ(tokenizer.encode(text, false).ids, plain);
      for (int pass = 0; pass < 2; ++pass) {  // without and with cached words
        EXPECT_EQ(tokenizer.encode_ids(text), encoding.ids);
        EXPECT_EQ(tokenizer.encode_ids(text, false), plain);
      }
    }
  }
}

TEST(Tokenizer, DecodesAsTheLibrary) {
  for (const Json& group : golden_groups()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Tokenizer tokenizer = with_parts(group.at("parts"));
    for (const Json& test_case : group.at("decodings").elements()) {
      const std::vector<int32_t> ids = to_ids(test_case.at("ids"));
      EXPECT_EQ(tokenizer.decode(ids, false), test_case.at("all").as_string());
      EXPECT_EQ(tokenizer.decode(ids), test_case.at("skipped").as_string());
    }
  }
}

TEST(Tokenizer, StreamsWhatItDecodes) {
  const Tokenizer tokenizer = Tokenizer::from_file(kGoldens + "tokenizer.json");
  const std::string text = "日本語 👩\u200d👩\u200d👧 é<|endoftext|> \xff ok";
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids = tokenizer.encode_ids(text);
    if (round > 0)  // cut characters and put them together anew
      for (int i = 0; i < 5; ++i) ids[random() % ids.size()] = static_cast<int32_t>(random() % 700);
    for (bool skip : {true, false}) {
      Tokenizer::StreamDecoder decoder = tokenizer.stream_decoder(skip);
      for (int again = 0; again < 2; ++again) {
        std::string streamed;
        for (int32_t id : ids) {
          const std::string part = decoder.push(id);
          EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
          streamed += part;
        }
        streamed += decoder.finish();
        EXPECT_EQ(streamed, tokenizer.decode(ids, skip));
      }
    }
  }
  // A character is not given out before it is complete.
  Tokenizer::StreamDecoder decoder = tokenizer.stream_decoder();
  const std::vector<int32_t> euro = tokenizer.encode_ids("€");
  ASSERT_GT(euro.size(), 1u);
  EXPECT_EQ(decoder.push(euro[0]), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(Tokenizer, InvalidUtf8IsReplaced) {
  const Tokenizer tokenizer = Tokenizer::from_file(kGoldens + "tokenizer.json");
  EXPECT_EQ(tokenizer.encode_ids("a\xE2\x82z\xFF"), tokenizer.encode_ids("a\uFFFDz\uFFFD"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode_ids("\xF0\x9F\x98")), "\uFFFD");
  std::mt19937 random(2);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 20, ' ');
    for (char& c : bytes) c = static_cast<char>(random());
    const Encoding encoding = tokenizer.encode(bytes);
    EXPECT_EQ(tokenizer.encode_ids(bytes), encoding.ids);
    const std::string text = tokenizer.decode(encoding.ids);
    EXPECT_EQ(tokenizer.encode_ids(text), encoding.ids);
    for (const auto& [begin, end] : encoding.offsets) EXPECT_LT(begin, end);
  }
}

TEST(Tokenizer, VocabularyLookups) {
  const Tokenizer tokenizer = Tokenizer::from_file(kGoldens + "tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 700u);
  EXPECT_EQ(tokenizer.token_to_id("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer.id_to_token(0), "<|endoftext|>");
  EXPECT_EQ(tokenizer.token_to_id("!"), 1);
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(700), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(-1), std::nullopt);
  for (int32_t id = 0; id < 700; ++id)
    EXPECT_EQ(tokenizer.token_to_id(*tokenizer.id_to_token(id)), id);
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.bos_id(), 0);
}

TEST(Tokenizer, SavesTheFileThatTheLibraryWrites) {
  const std::string content = read_file(kGoldens + "tokenizer.json");
  const Tokenizer tokenizer = Tokenizer::from_json(content, "tokenizer.json");
  EXPECT_EQ(tokenizer.to_json(), content);
  const testing::TempFolder folder;
  tokenizer.save(folder / "tokenizer.json");
  EXPECT_EQ(read_file(folder / "tokenizer.json"), content);
  for (const Json& group : golden_groups()) {
    const Tokenizer other = with_parts(group.at("parts"));
    EXPECT_EQ(Tokenizer::from_json(other.to_json(), "again").to_json(), other.to_json());
  }
}

TEST(Tokenizer, LegacyMergesAndMissingType) {
  const std::string content = read_file(kGoldens + "tokenizer.json");
  Json document = Json::parse(content, "");
  Json merges = Json::array();
  merges.push_back("#version: 0.2");
  for (const Json& pair : document.at("model").at("merges").elements())
    merges.push_back(pair.at(size_t{0}).as_string() + " " + pair.at(size_t{1}).as_string());
  document["model"].set("merges", merges);
  document["model"].erase("type");
  EXPECT_EQ(Tokenizer::from_json(document.dump(), "legacy").to_json(), content);
  EXPECT_EQ(Tokenizer::from_json(document.dump(1), "legacy").to_json(), content);
}

TEST(Tokenizer, EscapesInJson) {
  const std::string content = read_file(kGoldens + "tokenizer.json");
  // Every character beyond ASCII as a \u escape.
  std::string escaped;
  for (size_t i = 0; i < content.size();) {
    const auto byte = static_cast<unsigned char>(content[i]);
    if (byte < 0x80) {
      escaped += content[i++];
      continue;
    }
    ASSERT_LT(byte, 0xE0);  // the byte-level alphabet ends at U+0143
    char text[8];
    std::snprintf(text, sizeof(text), "\\u%04X",
                  (byte & 0x1F) << 6 | (static_cast<unsigned char>(content[i + 1]) & 0x3F));
    escaped += text;
    i += 2;
  }
  EXPECT_EQ(Tokenizer::from_json(escaped, "escaped").to_json(), content);
  // All kinds of escapes in a token of the vocabulary.
  std::string added = content;
  added.insert(added.find("\"vocab\": {") + 10, R"("\ud83d\ude00\n\"\\\/": 700,)");
  EXPECT_EQ(Tokenizer::from_json(added, "added").token_to_id("😀\n\"\\/"), 700);

  Json document = Json::parse(content, "");
  Json token = document.at("added_tokens").elements()[0];
  token.set("content", "😀\n\"\\").set("id", 700);
  document["added_tokens"].push_back(token);
  const Tokenizer tokenizer = Tokenizer::from_json(document.dump(), "emoji");
  EXPECT_EQ(tokenizer.token_to_id("😀\n\"\\"), 700);
  EXPECT_EQ(tokenizer.encode_ids("😀\n\"\\"), std::vector<int32_t>{700});
}

TEST(Tokenizer, TokenizerConfigBesideTheFile) {
  const testing::TempFolder folder;
  Tokenizer::from_file(kGoldens + "tokenizer.json").save(folder / "tokenizer.json");
  write_file_atomic(folder / "tokenizer_config.json",
                    R"({"bos_token": {"content": "Ġthe"}, "eos_token": "!", "pad_token": null})");
  const Tokenizer tokenizer = Tokenizer::from_file(folder / "tokenizer.json");
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.bos_id(), *tokenizer.token_to_id("Ġthe"));
  write_file_atomic(folder / "tokenizer_config.json", "{");
  try {
    Tokenizer::from_file(folder / "tokenizer.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find("tokenizer_config.json"), std::string::npos);
  }
}

TEST(Tokenizer, FoldersAreSavedAsTheyWereRead) {
  const testing::TempFolder from, to, plain;
  const std::string kConfig = R"({"eos_token": {"content": "<s>"},   "model_max_length": 512})";
  Tokenizer::from_file(kGoldens + "tokenizer.json").save(from / "tokenizer.json");
  write_file_atomic(from / "tokenizer_config.json", kConfig);
  write_file_atomic(from / "special_tokens_map.json", R"({"pad_token": "<pad>"})");
  write_file_atomic(from / "chat_template.jinja", "{{ messages }}");
  const Tokenizer tokenizer = Tokenizer::from_pretrained(from.path());
  tokenizer.save_pretrained(to / "new");
  EXPECT_EQ(list_folder(to / "new"), list_folder(from.path()));
  for (const std::string& name : list_folder(from.path()))
    EXPECT_EQ(read_file(join_path(to / "new", name)), read_file(from / name)) << name;
  const Tokenizer again = Tokenizer::from_pretrained(to / "new");
  EXPECT_EQ(again.eos_id(), tokenizer.eos_id());
  EXPECT_EQ(again.chat_template(), "{{ messages }}");

  // Without files beside it, its tokens are named for those who read the folder.
  const std::string text = "some words and some other words";
  const std::string_view texts[] = {text};
  Tokenizer::train(texts, {.vocab_size = 270, .threads = 1}).save_pretrained(plain.path());
  const Json config = Json::parse(read_file(plain / "tokenizer_config.json"), "config");
  EXPECT_EQ(config.at("eos_token"), Json("<|endoftext|>"));
  EXPECT_EQ(Tokenizer::from_pretrained(plain.path()).special_id("eos"), 0);
}

TEST(Tokenizer, ThreadsShareATokenizer) {
  const Tokenizer tokenizer = Tokenizer::from_file(kGoldens + "tokenizer.json");
  const std::string text = read_file(kGoldens + "train.txt");
  const std::vector<int32_t> expected = tokenizer.encode_ids(text);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        const Tokenizer copy = tokenizer;
        for (int round = 0; round < 5; ++round)
          if (copy.encode_ids(text) != expected || copy.decode(expected) != text) ++wrong;
      });
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, AppendsIds) {
  const Tokenizer tokenizer = Tokenizer::from_file(kGoldens + "tokenizer.json");
  std::vector<int32_t> ids = {7};
  tokenizer.encode_ids(" the", true, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{7, *tokenizer.token_to_id("Ġthe")}));
}

}  // namespace
}  // namespace corten
