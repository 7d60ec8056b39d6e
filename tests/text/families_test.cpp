// Tokenizers of the main model families against the `tokenizers` library; see
// scripts/make_family_goldens.py.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "corten/error.h"
#include "corten/tokenizer.h"
#include "temp_folder.h"

namespace corten {
namespace {

const Json& goldens() {
  static const std::string path = CORTEN_TEST_DATA "/goldens/families.json";
  static const Json document = Json::parse(read_file(path), path);
  return document;
}

Tokenizer tokenizer_of(const Json& group) {
  Json document = group.at("parts");
  document.set("model", goldens().at("models").at(static_cast<size_t>(group.at("model").as_int())));
  return Tokenizer::from_json(document.dump(), group.at("name").as_string());
}

Tokenizer tokenizer_named(std::string_view name) {
  for (const Json& group : goldens().at("groups").elements())
    if (group.at("name") == Json(name)) return tokenizer_of(group);
  throw std::runtime_error("no such group");
}

template <typename T>
Json flat(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(Json(static_cast<int64_t>(value)));
  return list;
}
Json flat(const std::vector<std::pair<size_t, size_t>>& offsets) {
  Json list = Json::array();
  for (const auto& [begin, end] : offsets) {
    list.push_back(begin);
    list.push_back(end);
  }
  return list;
}

TEST(Families, EncodeAsTheLibrary) {
  const std::vector<Json>& texts = goldens().at("texts").elements();
  ASSERT_GT(goldens().at("groups").size(), 15u);
  for (const Json& group : goldens().at("groups").elements()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Tokenizer tokenizer = tokenizer_of(group);
    ASSERT_EQ(group.at("cases").size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const Json& expected = group.at("cases").at(i);
      const std::string& text = texts[i].as_string();
      SCOPED_TRACE(text);
      const Encoding encoding = tokenizer.encode(text);
      EXPECT_EQ(flat(encoding.ids), expected.at("ids"));
      EXPECT_EQ(flat(encoding.offsets), expected.at("offsets"));
      if (const Json* tokens = expected.find("tokens")) {
        EXPECT_EQ(Json(encoding.tokens), *tokens);
      }
      const Json* plain = expected.find("plain");
      const Encoding without = tokenizer.encode(text, false);
      EXPECT_EQ(flat(without.ids), plain != nullptr ? *plain : expected.at("ids"));
      for (int pass = 0; pass < 2; ++pass) {  // without and with cached words
        EXPECT_EQ(tokenizer.encode_ids(text), encoding.ids);
        EXPECT_EQ(tokenizer.encode_ids(text, false), without.ids);
      }
    }
  }
}

TEST(Families, SpecialTokensThatStayText) {
  const std::vector<Json>& texts = goldens().at("texts").elements();
  EncodeOptions options;
  options.split_special_tokens = true;
  int others = 0;
  for (const Json& group : goldens().at("groups").elements()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Tokenizer tokenizer = tokenizer_of(group);
    for (size_t i = 0; i < texts.size(); ++i) {
      const Json& expected = group.at("cases").at(i);
      const Json* split = expected.find("split");
      SCOPED_TRACE(texts[i].as_string());
      EXPECT_EQ(flat(tokenizer.encode({texts[i].as_string(), {}}, options).ids),
                split ? *split : expected.at("ids"));
      others += split != nullptr;
    }
  }
  EXPECT_GT(others, 10);
}

// Two added tokens side by side that take the space around them: what `tokenizers` 0.23 gives.
TEST(Families, AddedTokensWithinTheSpaceOfOthers) {
  for (const char* normalized : {"true", "false"}) {
    const Tokenizer tokenizer = Tokenizer::from_json(
        std::string(R"({"version": "1.0", "added_tokens": [{"id": 2, "content": "\n", "single_word": false,
            "lstrip": true, "rstrip": true, "special": false, "normalized": )") +
            normalized + R"(}], "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "x": 1}, "unk_token": "<unk>"}})",
        "newlines");
    const Encoding encoding = tokenizer.encode("x\n\n \nx");
    EXPECT_EQ(encoding.ids, (std::vector<int32_t>{1, 2, 1})) << normalized;
    EXPECT_EQ(encoding.offsets,
              (std::vector<std::pair<size_t, size_t>>{{0, 1}, {1, 5}, {5, 6}}));
  }
}

TEST(Families, DecodeAsTheLibrary) {
  for (const Json& group : goldens().at("groups").elements()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Tokenizer tokenizer = tokenizer_of(group);
    for (const Json& decoding : group.at("decodings").elements()) {
      std::vector<int32_t> ids;
      for (const Json& id : decoding.at("ids").elements())
        ids.push_back(static_cast<int32_t>(id.as_int()));
      for (const bool skip : {false, true}) {
        const std::string& expected = decoding.at(skip ? "skipped" : "all").as_string();
        EXPECT_EQ(tokenizer.decode(ids, skip), expected);
        Tokenizer::StreamDecoder stream = tokenizer.stream_decoder(skip);
        for (int again = 0; again < 2; ++again) {
          std::string streamed;
          for (int32_t id : ids) {
            const std::string part = stream.push(id);
            EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
            streamed += part;
          }
          EXPECT_EQ(streamed + stream.finish(), expected);
        }
      }
    }
  }
}

TEST(Families, StreamsAsSoonAsItIsCertain) {
  const Tokenizer tokenizer = tokenizer_named("llama 2");
  const std::vector<int32_t> ids = tokenizer.encode_ids("the earth", false);
  Tokenizer::StreamDecoder stream = tokenizer.stream_decoder();
  std::string text;
  for (int32_t id : ids) text += stream.push(id);
  EXPECT_EQ(text, "the earth");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Families, SaveWhatTheyRead) {
  for (const Json& group : goldens().at("groups").elements()) {
    SCOPED_TRACE(group.at("name").as_string());
    const Json written = Json::parse(tokenizer_of(group).to_json(), "written");
    EXPECT_EQ(written.at("model"),
              goldens().at("models").at(static_cast<size_t>(group.at("model").as_int())));
    for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"})
      EXPECT_EQ(written.at(part), group.at("parts").at(part));
  }
}

void expect_same(const Encoding& encoding, const Json& expected) {
  EXPECT_EQ(flat(encoding.ids), expected.at("ids"));
  EXPECT_EQ(flat(encoding.type_ids), expected.at("type_ids"));
  EXPECT_EQ(flat(encoding.offsets), expected.at("offsets"));
  EXPECT_EQ(flat(encoding.attention_mask), expected.at("attention"));
  EXPECT_EQ(flat(encoding.special_tokens_mask), expected.at("special"));
  EXPECT_EQ(flat(encoding.word_ids), expected.at("words"));
  ASSERT_EQ(encoding.overflowing.size(), expected.at("overflowing").size());
  for (size_t i = 0; i < encoding.overflowing.size(); ++i)
    expect_same(encoding.overflowing[i], expected.at("overflowing").at(i));
}

TEST(Families, PairsTruncationAndPadding) {
  const std::string& first = goldens().at("pair").at(size_t{0}).as_string();
  const std::string& second = goldens().at("pair").at(size_t{1}).as_string();
  int pairs = 0;
  for (const Json& group : goldens().at("groups").elements()) {
    for (const Json& pair : group.at("pairs").elements()) {
      SCOPED_TRACE(group.at("name").as_string() + " " + pair.at("truncation").dump());
      Json document = group.at("parts");
      document.set("model",
                   goldens().at("models").at(static_cast<size_t>(group.at("model").as_int())));
      document.set("truncation", pair.at("truncation")).set("padding", pair.at("padding"));
      const Tokenizer tokenizer = Tokenizer::from_json(document.dump(), "pairs");
      EncodeOptions options;
      options.truncation = tokenizer.truncation();
      options.padding = tokenizer.padding();
      expect_same(tokenizer.encode({first, second}, options), pair.at("result"));
      ++pairs;
    }
  }
  EXPECT_GE(pairs, 12);
}

TEST(Families, BatchesArePaddedTogetherWhateverTheThreads) {
  const Tokenizer tokenizer = tokenizer_named("bert");
  std::vector<TextInput> inputs;
  for (const Json& text : goldens().at("texts").elements())
    inputs.push_back({text.as_string(), std::nullopt});
  EncodeOptions options;
  options.padding = Padding{};
  options.threads = 1;
  const std::vector<Encoding> one = tokenizer.encode_batch(inputs, options);
  options.threads = 3;
  const std::vector<Encoding> three = tokenizer.encode_batch(inputs, options);
  size_t longest = 0;
  for (const TextInput& input : inputs)
    longest = std::max(longest, tokenizer.encode_ids(input.first).size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(one[i].ids, three[i].ids);
    EXPECT_EQ(one[i].ids.size(), longest);
    EXPECT_EQ(one[i].attention_mask.size(), longest);
  }
}

TEST(Families, ByteOffsets) {
  const Tokenizer tokenizer = tokenizer_named("bert");
  EncodeOptions options;
  options.byte_offsets = true;
  const std::string text = "é the";
  const Encoding encoding = tokenizer.encode({text, text}, options);
  size_t seen = 0;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (encoding.sequence_ids[i] < 0) {
      EXPECT_EQ(end, 0u);
    } else if (begin == 0) {
      EXPECT_EQ(end, 2u);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 2u);
}

std::string error_of(const EncodeOptions& options, const TextInput& input) {
  try {
    tokenizer_named("bert").encode(input, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "no error";
}

TEST(Families, ContradictoryOptionsAreErrors) {
  const std::string text = "the heaven and the earth and the heaven";
  EncodeOptions options;
  options.truncation = Truncation{.max_length = 4, .stride = 2};
  EXPECT_NE(error_of(options, {text, std::nullopt}).find("the stride 2 must be less"),
            std::string::npos);
  options.truncation = Truncation{.max_length = 1};
  EXPECT_NE(error_of(options, {text, std::nullopt}).find("less than the 2 special tokens"),
            std::string::npos);
  options.truncation = Truncation{.max_length = 4, .strategy = Truncation::OnlySecond};
  EXPECT_NE(error_of(options, {text, std::nullopt}).find("there is no second text"),
            std::string::npos);
}

TEST(Families, FromPretrainedReadsTheFolder) {
  const testing::TempFolder folder;
  tokenizer_named("bert").save(folder / "tokenizer.json");
  write_file_atomic(folder / "tokenizer_config.json",
                    std::string_view(R"({"cls_token": "[CLS]", "pad_token": {"content": "[PAD]"},
                                        "chat_template": "a"})"));
  write_file_atomic(folder / "special_tokens_map.json",
                    std::string_view(R"({"pad_token": "no", "unk_token": "[UNK]"})"));
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder / "");
  EXPECT_EQ(tokenizer.special_id("pad"), tokenizer.token_to_id("[PAD]"));
  EXPECT_EQ(tokenizer.special_id("unk"), tokenizer.token_to_id("[UNK]"));
  EXPECT_EQ(tokenizer.special_id("mask"), std::nullopt);
  EXPECT_EQ(tokenizer.chat_template(), "a");
  write_file_atomic(folder / "chat_template.jinja", std::string_view("b"));
  EXPECT_EQ(Tokenizer::from_pretrained(folder / "").chat_template(), "b");
  EXPECT_THROW(Tokenizer::from_pretrained(folder / "nowhere"), Error);
}

}  // namespace
}  // namespace corten
