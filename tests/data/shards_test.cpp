#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "base/file.h"
#include "base/format.h"
#include "base/hash.h"
#include "base/json.h"
#include "corten/data.h"
#include "data/token_shard.h"
#include "temp_folder.h"

namespace corten {
namespace {

using ::corten::testing::kill_while_running;
using ::corten::testing::TempFolder;

constexpr uint32_t kSeparator = 256;

void encode_bytes(std::string_view text, std::vector<uint32_t>& ids) {
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
}

PrepareOptions byte_options() {
  PrepareOptions options;
  options.vocab_size = 257;
  options.separator_token = kSeparator;
  options.tokenizer_hash = "bytes";
  return options;
}

std::string usage_message(const std::function<void()>& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    return error.what();
  }
  return "";
}

std::string stream_text(const TokenShards& shards) {
  std::vector<int32_t> ids(shards.tokens());
  shards.copy(0, std::span(ids));
  std::string text;
  for (const int32_t id : ids) text += id == kSeparator ? '|' : static_cast<char>(id);
  return text;
}

class Shards : public ::testing::Test {
 protected:
  std::string text(const std::string& name, std::string_view content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;  // no fsync: much faster
    return folder_ / name;
  }
  TempFolder folder_;
};

TEST(SplitDocuments, SeparatorsStandOnTheirOwnLine) {
  const auto split = [](std::string_view text, std::string_view separator = "<|endoftext|>") {
    std::string list;
    for (const std::string_view document : split_documents(text, separator))
      list += format("[{}]", document);
    return list;
  };
  EXPECT_EQ(split("one\ntwo\n"), "[one\ntwo\n]");
  EXPECT_EQ(split("one\n<|endoftext|>\ntwo"), "[one\n][two]");
  EXPECT_EQ(split("one\r\n<|endoftext|>\r\ntwo"), "[one\r\n][two]");
  EXPECT_EQ(split("<|endoftext|>\none\n<|endoftext|>\n<|endoftext|>\n \n<|endoftext|>"), "[one\n]");
  EXPECT_EQ(split("one <|endoftext|>\n<|endoftext|>two\n"),
            "[one <|endoftext|>\n<|endoftext|>two\n]");
  EXPECT_EQ(split("a\n<|endoftext|>\nb", ""), "[a\n<|endoftext|>\nb]");
  EXPECT_EQ(split("a\n--\nb\n--", "--"), "[a\n][b\n]");
  EXPECT_EQ(split(""), "");
}

TEST_F(Shards, PrepareAndRead) {
  const std::string a = text("a.txt", "alpha\n<|endoftext|>\nbeta\n"), b = text("b.txt", "gamma");
  const PrepareResult result =
      prepare_tokens({a, b}, encode_bytes, folder_ / "out", byte_options());
  EXPECT_EQ(result.documents, 3u);
  EXPECT_EQ(result.tokens, 6u + 5 + 5 + 3);
  EXPECT_EQ(result.text_bytes, file_size(a) + file_size(b));
  ASSERT_EQ(result.shards.size(), 1u);
  const TokenShards shards = TokenShards::open(folder_ / "out");
  shards.verify();
  EXPECT_EQ(stream_text(shards), "alpha\n|beta\n|gamma|");
  EXPECT_EQ(shards.documents(), 3u);
  EXPECT_EQ(shards.max_token(), kSeparator);
  EXPECT_EQ(shards.tokenizer_hash(), "bytes");
  EXPECT_EQ(shards.fingerprint(), result.fingerprint);
  const auto place = shards.place(14);
  EXPECT_EQ(place.source, b);
  EXPECT_EQ(place.document, 2u);
  EXPECT_EQ(place.token_offset, 1u);
  EXPECT_EQ(place.document_tokens, 6u);
  EXPECT_EQ(place.shard, result.shards[0]);
  const Json manifest = Json::parse(read_file(folder_ / "out/dataset.json"), "dataset.json");
  EXPECT_EQ(manifest.at("sources").at(size_t{0}).at("xxh3").as_string(),
            hex(hash128(read_file(a))));
  EXPECT_EQ(manifest.at("sources").at(size_t{0}).at("tokens").as_int(), 13);
}

TEST_F(Shards, ReproducibleByteForByte) {
  const std::string a = text("a.txt", "some text\n<|endoftext|>\nmore");
  prepare_tokens({a}, encode_bytes, folder_ / "one", byte_options());
  prepare_tokens({a}, encode_bytes, folder_ / "two", byte_options());
  ASSERT_EQ(list_folder(folder_ / "one"), list_folder(folder_ / "two"));
  for (const std::string& name : list_folder(folder_ / "one"))
    EXPECT_EQ(read_file(folder_ / "one/" + name), read_file(folder_ / "two/" + name)) << name;
  EXPECT_FALSE(path_exists(folder_ / "one.partial"));
}

TEST_F(Shards, TheDivisionIntoShardsMakesNoDifference) {
  std::vector<std::string> files;
  std::mt19937 random(4);
  for (int i = 0; i < 12; ++i) {
    std::string content;
    for (int k = 0; k < 40; ++k) {
      content += std::string(1 + random() % 30, static_cast<char>('a' + random() % 26)) + "\n";
      if (random() % 4 == 0) content += "<|endoftext|>\n";
    }
    files.push_back(text(format("{}.txt", i), content));
  }
  PrepareOptions options = byte_options();
  prepare_tokens(files, encode_bytes, folder_ / "whole", options);
  options.shard_tokens = 300;
  const PrepareResult divided = prepare_tokens(files, encode_bytes, folder_ / "divided", options);
  EXPECT_GT(divided.shards.size(), 10u);
  const TokenShards whole = TokenShards::open(folder_ / "whole"),
                    parts = TokenShards::open(folder_ / "divided");
  EXPECT_EQ(stream_text(whole), stream_text(parts));
  const TokenDataset a(whole, {.seq = 33}), b(parts, {.seq = 33});
  for (uint64_t step = 0; step < 50; ++step) {
    ASSERT_EQ(a.batch(step, 4).inputs, b.batch(step, 4).inputs);
    ASSERT_EQ(a.batch(step, 4).targets, b.batch(step, 4).targets);
  }
  for (uint64_t offset = 0; offset < whole.tokens(); ++offset) {
    const auto left = whole.place(offset), right = parts.place(offset);
    ASSERT_EQ(left.source, right.source) << offset;
    ASSERT_EQ(left.document, right.document);
    ASSERT_EQ(left.token_offset, right.token_offset);
    ASSERT_EQ(left.document_tokens, right.document_tokens);
  }
  // A batch is traced to the shard file that really holds it.
  const TokenDataset::Trace trace = b.trace(3, 4, 1);
  uint64_t tokens = 0;
  for (const auto& piece : trace.pieces) {
    EXPECT_TRUE(file_exists(piece.shard));
    EXPECT_TRUE(file_exists(piece.source));
    tokens += piece.tokens;
  }
  EXPECT_EQ(tokens, 34u);
}

TEST_F(Shards, WideTokens) {
  const std::string a = text("a.txt", "abc");
  PrepareOptions options = byte_options();
  options.vocab_size = 100000;
  options.separator_token = 99999;
  prepare_tokens({a}, encode_bytes, folder_ / "out", options);
  const TokenShards shards = TokenShards::open(folder_ / "out");
  std::vector<int64_t> ids(4);
  shards.copy(0, std::span(ids));
  EXPECT_EQ(ids, (std::vector<int64_t>{'a', 'b', 'c', 99999}));
  EXPECT_EQ(shards.max_token(), 99999u);
}

TEST_F(Shards, RefusesBadTexts) {
  const auto refusal = [&](std::string_view content) {
    const std::string path = text("bad.txt", content);
    const std::string message = usage_message(
        [&] { prepare_tokens({path}, encode_bytes, folder_ / "out", byte_options()); });
    EXPECT_EQ(message.find(path), 0u) << message;
    EXPECT_FALSE(path_exists(folder_ / "out"));
    EXPECT_FALSE(path_exists(folder_ / "out.partial"));
    EXPECT_NE(usage_message([&] { read_text_file(path); }), "") << message;
    return message;
  };
  EXPECT_NE(refusal("").find("empty"), std::string::npos);
  EXPECT_NE(refusal(std::string_view("ab\0c", 4)).find("NUL byte at offset 2"), std::string::npos);
  EXPECT_NE(refusal("good\nbad \xFF").find("byte 0xff at offset 9 (line 2)"), std::string::npos);
  EXPECT_NE(refusal("latin caf\xE9 text").find("offset 9"), std::string::npos);
  const std::string blank = text("blank.txt", " \n<|endoftext|>\n");
  EXPECT_NE(usage_message([&] {
              prepare_tokens({blank}, encode_bytes, folder_ / "out", byte_options());
            }).find("holds no text"),
            std::string::npos);
  EXPECT_NE(usage_message([&] {
              prepare_tokens({folder_ / "none"}, encode_bytes, folder_ / "out", byte_options());
            }).find("No such file"),
            std::string::npos);
  EXPECT_NE(
      usage_message([&] { prepare_tokens({}, encode_bytes, folder_ / "out", byte_options()); }),
      "");
}

TEST_F(Shards, RefusesBadOptionsAndTokens) {
  const std::string a = text("a.txt", "abc");
  const auto refusal = [&](PrepareOptions options) {
    return usage_message([&] { prepare_tokens({a}, encode_bytes, folder_ / "out", options); });
  };
  PrepareOptions options = byte_options();
  options.vocab_size = 98;
  options.separator_token = -1;
  EXPECT_NE(refusal(options).find("id 98"), std::string::npos);
  options.separator_token = 98;
  EXPECT_NE(refusal(options).find("separator token 98"), std::string::npos);
  options.vocab_size = 0;
  EXPECT_NE(refusal(options), "");
  options.vocab_size = (uint64_t{1} << 31) + 1;
  EXPECT_NE(refusal(options), "");
  EXPECT_FALSE(path_exists(folder_ / "out"));
}

TEST_F(Shards, NeverOverwritesSomethingElse) {
  const std::string a = text("a.txt", "abc"), b = text("b.txt", "other");
  create_folders(folder_ / "home");
  text("home/precious", "x");
  PrepareOptions options = byte_options();
  EXPECT_NE(usage_message([&] { prepare_tokens({a}, encode_bytes, folder_ / "home", options); }),
            "");
  options.overwrite = true;
  EXPECT_NE(usage_message([&] { prepare_tokens({a}, encode_bytes, folder_ / "home", options); }),
            "");
  EXPECT_NE(usage_message([&] { prepare_tokens({a}, encode_bytes, a, options); }), "");
  EXPECT_NE(usage_message([&] { prepare_tokens({a}, encode_bytes, ".", options); }), "");
  EXPECT_EQ(read_file(folder_ / "home/precious"), "x");
  create_folders(folder_ / "empty");
  options.overwrite = false;
  prepare_tokens({a}, encode_bytes, folder_ / "empty/", options);
  EXPECT_EQ(stream_text(TokenShards::open(folder_ / "empty")), "abc|");
  EXPECT_NE(usage_message([&] { prepare_tokens({b}, encode_bytes, folder_ / "empty", options); }),
            "");
  options.overwrite = true;
  prepare_tokens({b}, encode_bytes, folder_ / "empty", options);
  EXPECT_EQ(stream_text(TokenShards::open(folder_ / "empty")), "other|");
}

TEST_F(Shards, ACallbackThatThrowsLeavesNothing) {
  const std::string a = text("a.txt", "abc");
  EXPECT_THROW(prepare_tokens(
                   {a}, [](std::string_view, std::vector<uint32_t>&) { throw 1; },
                   folder_ / "new/out", byte_options()),
               int);
  EXPECT_TRUE(list_folder(folder_ / "new").empty());
}

TEST_F(Shards, KillLeavesTheOldDataSetOrTheNewOne) {
  const std::string a = text("a.txt", std::string(30000, 'a')),
                    b = text("b.txt", std::string(30000, 'b'));
  PrepareOptions options = byte_options();
  options.overwrite = true;
  prepare_tokens({a}, encode_bytes, folder_ / "out", options);
  std::mt19937 random(6);
  for (int i = 0; i < 15; ++i) {
    kill_while_running(static_cast<int>(1000 + random() % 15000), [&](int round) {
      prepare_tokens({round % 2 == 0 ? b : a}, encode_bytes, folder_ / "out", options);
    });
    const TokenShards shards = TokenShards::open(folder_ / "out");
    shards.verify();
    ASSERT_EQ(shards.tokens(), 30001u);
  }
}

// Damage
// -------------------------------------------------------------------------------------------

class DamagedShard : public Shards {
 protected:
  void SetUp() override {
    ShardWriter writer(folder_ / "good", 2);
    writer.add_document(std::vector<uint32_t>{5, 6, 7});
    writer.add_document(std::vector<uint32_t>{8, 9});
    writer.finish(provenance(2));
    good_ = read_file(folder_ / "good");
  }
  static Json provenance(int documents) {
    return Json::object(
        {{"tokenizer", "t"},
         {"sources",
          Json(std::vector<Json>{Json::object({{"path", "p"}, {"documents", documents}})})}});
  }
  // Opens a copy with `bytes` written over offset `at`.
  std::string refusal(size_t at, std::string_view bytes) {
    std::string copy = good_;
    copy.replace(at, bytes.size(), bytes);
    return open(copy);
  }
  std::string open(const std::string& content) {
    const std::string path = text("damaged", content);
    const std::string message = usage_message([&] { TokenShards::open(path); });
    if (!message.empty()) {
      EXPECT_EQ(message.find(path), 0u) << message;
    }
    return message;
  }
  static std::string number(uint64_t value, size_t bytes) {
    std::string text(8, '\0');
    std::memcpy(text.data(), &value, 8);
    return text.substr(0, bytes);
  }
  std::string good_;
};

TEST_F(DamagedShard, EveryFieldOfTheHeaderIsChecked) {
  EXPECT_EQ(open(good_), "");
  EXPECT_NE(refusal(0, "X").find("not a token shard"), std::string::npos);
  EXPECT_NE(refusal(8, number(2, 4)).find("version 2"), std::string::npos);
  EXPECT_NE(refusal(12, number(3, 4)).find("3 bytes per token"), std::string::npos);
  EXPECT_NE(refusal(12, number(4, 4)).find("truncated or damaged"), std::string::npos);
  for (const uint64_t tokens :
       {uint64_t{0}, uint64_t{1}, uint64_t{50}, uint64_t{1} << 62, ~uint64_t{0}})
    EXPECT_NE(refusal(16, number(tokens, 8)), "") << tokens;
  for (const uint64_t documents :
       {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{6}, ~uint64_t{0}})
    EXPECT_NE(refusal(24, number(documents, 8)), "") << documents;
  for (const uint64_t json : {uint64_t{0}, uint64_t{1000}, ~uint64_t{0}})
    EXPECT_NE(refusal(32, number(json, 8)).find("truncated or damaged"), std::string::npos) << json;
  EXPECT_NE(refusal(40, number(70000, 4)).find("does not fit"), std::string::npos);
  EXPECT_NE(refusal(44, number(1, 4)).find("not zero"), std::string::npos);
}

TEST_F(DamagedShard, TheTableOfDocumentsIsChecked) {
  const size_t table = 64 + 16;  // five tokens of two bytes, padded to 8
  EXPECT_NE(refusal(table, number(1, 8)).find("starts at token 1"), std::string::npos);
  EXPECT_NE(refusal(table + 8, number(0, 8)).find("document 1"), std::string::npos);
  EXPECT_NE(refusal(table + 8, number(5, 8)).find("document 1"), std::string::npos);
  EXPECT_NE(refusal(table + 8, number(~uint64_t{0}, 8)).find("document 1"), std::string::npos);
}

TEST_F(DamagedShard, TheProvenanceIsChecked) {
  const auto with = [&](const Json& provenance) {
    ShardWriter writer(folder_ / "other", 2);
    writer.add_document(std::vector<uint32_t>{5, 6, 7});
    writer.add_document(std::vector<uint32_t>{8, 9});
    writer.finish(provenance);
    return usage_message([&] { TokenShards::open(folder_ / "other"); });
  };
  EXPECT_EQ(with(provenance(2)), "");
  EXPECT_NE(with(provenance(1)), "");
  EXPECT_NE(with(provenance(3)), "");
  EXPECT_NE(with(provenance(-1)), "");
  EXPECT_NE(with(Json::object({{"tokenizer", "t"}})), "");
  EXPECT_NE(with(Json::object({{"tokenizer", 1}, {"sources", Json::array()}})), "");
  EXPECT_NE(with(Json::array()), "");
  EXPECT_NE(refusal(good_.size() - 1, "x"), "");  // no JSON any more
}

TEST_F(DamagedShard, EveryTruncationIsRefused) {
  for (size_t size = 0; size < good_.size(); ++size)
    EXPECT_NE(open(good_.substr(0, size)), "") << size;
  EXPECT_NE(open(good_ + '\0'), "");
  EXPECT_NE(open(good_ + good_), "");
}

TEST_F(DamagedShard, VerifyFindsEveryFlippedBit) {
  TokenShards::open(folder_ / "good").verify();
  for (size_t at = 0; at < good_.size(); ++at)
    for (const int bit : {0, 3, 7}) {
      std::string copy = good_;
      copy[at] = static_cast<char>(copy[at] ^ (1 << bit));
      const std::string path = text("damaged", copy);
      EXPECT_NE(usage_message([&] { TokenShards::open(path).verify(); }), "")
          << at << " bit " << bit;
    }
}

TEST_F(DamagedShard, TokensAboveTheLargestAreNotHandedOut) {
  std::string copy = good_;
  copy[64 + 2] = 10;  // token 1 was 6; the largest is 9
  const TokenShards shards = TokenShards::open(text("damaged", copy));
  std::vector<int32_t> ids(1);
  shards.copy(0, std::span(ids));
  EXPECT_EQ(ids[0], 5);
  ids.resize(5);
  EXPECT_NE(usage_message([&] { shards.copy(0, std::span(ids)); }).find("damaged: token 10"),
            std::string::npos);
}

TEST_F(Shards, ManifestAndShardsMustAgree) {
  const std::string a = text("a.txt", "abc"), b = text("b.txt", "xyz");
  prepare_tokens({a}, encode_bytes, folder_ / "a", byte_options());
  prepare_tokens({b}, encode_bytes, folder_ / "b", byte_options());
  const std::string manifest = read_file(folder_ / "a/dataset.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = manifest;
    changed.replace(changed.find(from), from.size(), to);
    write_file_atomic(folder_ / "a/dataset.json", changed);
    return usage_message([&] { TokenShards::open(folder_ / "a"); });
  };
  EXPECT_NE(with("\"file\": \"shard", "\"file\": \"../b/shard").find("plain file name"),
            std::string::npos);
  EXPECT_NE(with("shard-00000", "shard-00001").find("No such file"), std::string::npos);
  EXPECT_NE(with("corten-tokens", "other").find("manifest"), std::string::npos);
  EXPECT_NE(with("\"version\": 1", "\"version\": 2").find("version 2"), std::string::npos);
  EXPECT_EQ(with("/a.txt", "/c.txt"), "");  // paths of sources are for the reader of a trace
  write_file_atomic(folder_ / "a/shard-00000.tokens", read_file(folder_ / "b/shard-00000.tokens"));
  EXPECT_NE(usage_message([&] { TokenShards::open(folder_ / "a"); }).find("its hash is"),
            std::string::npos);
  EXPECT_NE(usage_message([&] { TokenShards::open(folder_.path()); }).find("no dataset.json"),
            std::string::npos);
  EXPECT_NE(usage_message([&] { TokenShards::open(folder_ / "none"); }), "");
  EXPECT_NE(usage_message([&] { TokenShards::open(std::vector<std::string>{}); }), "");
}

TEST_F(Shards, TokenizersDoNotMix) {
  const std::string a = text("a.txt", "abc");
  PrepareOptions options = byte_options();
  const auto first = prepare_tokens({a}, encode_bytes, folder_ / "a", options);
  options.tokenizer_hash = "other";
  const auto second = prepare_tokens({a}, encode_bytes, folder_ / "b", options);
  EXPECT_NE(usage_message([&] {
              TokenShards::open({first.shards[0], second.shards[0]});
            }).find("tokenizer"),
            std::string::npos);
  EXPECT_EQ(TokenShards::open({first.shards[0], first.shards[0]}).tokens(), 8u);
}

}  // namespace
}  // namespace corten
