#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/file.h"
#include "base/format.h"
#include "temp_folder.h"

namespace corten {
namespace {

using ::corten::testing::TempFolder;

std::string file_of(std::string_view header, std::string_view data = "") {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(header).append(data);
}
std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string golden(const std::string& name) {
  return read_file(std::string(CORTEN_TEST_DATA) + "/" + name);
}

TEST(Safetensors, ReadsWhatTheLibraryWrote) {
  const Safetensors file = Safetensors::open(std::string(CORTEN_TEST_DATA) + "/golden.safetensors");
  EXPECT_EQ(file.tensors().size(), 25u);
  const auto check = [&](const char* name, int number, const char* dtype, std::vector<int64_t> dims,
                         size_t bytes) {
    const StoredTensor& tensor = file.at(name);
    EXPECT_EQ(tensor.dtype, dtype) << name;
    EXPECT_EQ(tensor.dims, dims) << name;
    ASSERT_EQ(tensor.bytes.size(), bytes) << name;
    for (size_t k = 0; k < bytes; ++k)
      ASSERT_EQ(static_cast<size_t>(tensor.bytes[k]),
                (7 * static_cast<size_t>(number) + 3 * k) % 251)
          << name;
  };
  check("wte.weight", 0, "F32", {3, 5}, 60);
  check("h.0.attn.bias", 1, "BOOL", {2, 3}, 6);
  check("h.10.w", 2, "BF16", {4, 4}, 32);
  check("half", 4, "F16", {1, 2, 3}, 12);
  check("double", 5, "F64", {2}, 16);
  check("long", 6, "I64", {3}, 24);
  check("fp8 d", 17, "F8_E4M3FNUZ", {1}, 1);
  check("fp4", 19, "F4", {2, 6}, 6);
  check("complex", 20, "C64", {1}, 8);
  check("scalar", 21, "F32", {}, 4);
  check("empty", 22, "F32", {0, 4}, 0);
  check("quote \" back \\ tab \t \x01 \x7f \u2028 é 😀 /", 23, "F32", {1}, 4);
  check("", 24, "I32", {1}, 4);
  EXPECT_EQ(file.metadata().size(), 2u);
  EXPECT_EQ(file.find("h.10.W"), nullptr);
  try {
    file.at("wte.weigth");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"wte.weight\""), std::string::npos);
  }
}

TEST(Safetensors, RoundTripIsByteIdentical) {
  const TempFolder folder;
  for (const char* name : {"golden.safetensors", "golden_empty.safetensors"}) {
    const Safetensors file = Safetensors::open(std::string(CORTEN_TEST_DATA) + "/" + name);
    std::vector<StoredTensor> tensors = file.tensors();
    std::mt19937 random(5);
    std::shuffle(tensors.begin(), tensors.end(), random);  // the writer has its own order
    write_safetensors(folder / name, tensors, file.metadata());
    EXPECT_EQ(read_file(folder / name), golden(name));
  }
}

TEST(Safetensors, NamesOfTypes) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_safetensors(safetensors_name(dtype)), dtype);
    EXPECT_EQ(safetensors_bits(safetensors_name(dtype)), static_cast<int>(8 * size_of(dtype)));
  }
  EXPECT_FALSE(dtype_from_safetensors("F8_E4M3FNUZ"));
  EXPECT_FALSE(dtype_from_safetensors("f32"));
  EXPECT_EQ(safetensors_bits("F6_E2M3"), 6);
  EXPECT_EQ(safetensors_bits("X"), 0);
  EXPECT_EQ(safetensors_bytes("F6_E2M3", {4}), 3u);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const auto names = [](const std::string& file) {
    std::string list;
    for (const StoredTensor& tensor : parse_safetensors(bytes_of(file), "f").tensors)
      list += tensor.name + ";";
    return list;
  };
  EXPECT_EQ(names(file_of("{}")), "");
  EXPECT_EQ(names(file_of(" \n{}  ")), "");
  // Any order of the header, several empty tensors at one place, unknown fields, odd alignment.
  EXPECT_EQ(
      names(file_of(R"({"b":{"shape":[3],"data_offsets":[1,4],"dtype":"U8","later":{"x":[]}},)"
                    R"("a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},)"
                    R"("z":{"dtype":"F64","shape":[9,0],"data_offsets":[4,4]},)"
                    R"("y":{"dtype":"F64","shape":[0],"data_offsets":[4,4]}})",
                    "abcd")),
      "a;b;y;z;");
}

struct Malformed {
  const char* rule;
  std::string file;
  const char* message;  // part of the expected error
};

// One file per rule of the format.
std::vector<Malformed> malformed_files() {
  const auto one = [](const char* info, std::string_view data = "") {
    return file_of(format("{{\"x\":{}}}", info), data);
  };
  std::string beyond(8, '\0'), huge(8, '\xff'), limit(8, '\0');
  beyond[0] = 100;
  const uint64_t over = 100'000'001;
  std::memcpy(limit.data(), &over, 8);
  std::vector<Malformed> files = {
      {"empty file", "", "too few"},
      {"shorter than the header length", std::string(7, '\0'), "too few"},
      {"header length zero", std::string(8, '\0'), "no JSON object"},
      {"header length 2^64 - 1", huge + "{}", "above the limit"},
      {"header length above 100 MB", limit + "{}", "above the limit"},
      {"header beyond the file", beyond + "{}", "beyond the end"},
      {"header of one invalid byte", file_of("\xff"), "no JSON object"},
      {"header is an array", file_of("[]"), "no JSON object"},
      {"header is a string", file_of("\"x\""), "no JSON object"},
      {"byte order mark", file_of("\xEF\xBB\xBF{}"), "no JSON object"},
      {"unterminated object", file_of("{"), "header"},
      {"bytes after the object", file_of("{}x"), "header"},
      {"NUL padding", file_of(std::string("{}\0\0", 4)), "NUL"},
      {"hidden after NUL", file_of(std::string("{}\0{\"x\"}", 8)), "NUL"},
      {"invalid UTF-8 in a name", file_of("{\"\xC0\xAF\":{}}"), "header"},
      {"lone surrogate", file_of("{\"\\ud800\":{}}"), "header"},
      {"nested too deep", file_of("{\"x\":" + std::string(100000, '[')), "levels"},
      {"tensor is no object", one("3"), "expected an object"},
      {"no dtype", one(R"({"shape":[],"data_offsets":[0,4]})", "abcd"), "no \"dtype\""},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,4]})", "abcd"), "no \"shape\""},
      {"no offsets", one(R"({"dtype":"F32","shape":[]})", ""), "no \"data_offsets\""},
      {"unknown dtype", one(R"({"dtype":"F33","shape":[],"data_offsets":[0,4]})", "abcd"),
       "unknown element type \"F33\""},
      {"dtype in lower case", one(R"({"dtype":"f32","shape":[],"data_offsets":[0,4]})", "abcd"),
       "unknown element type"},
      {"dtype is a number", one(R"({"dtype":32,"shape":[],"data_offsets":[0,4]})", "abcd"),
       "string"},
      {"shape is no array", one(R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})", "abcd"),
       "array"},
      {"negative dimension", one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", "abcd"),
       "negative"},
      {"fractional dimension", one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})", "abcd"),
       "integer"},
      {"exponent in a dimension",
       one(R"({"dtype":"F32","shape":[1e0],"data_offsets":[0,4]})", "abcd"), "integer"},
      {"dimension above 2^63",
       one(R"({"dtype":"F32","shape":[2,18446744073709551614],"data_offsets":[0,4]})", "abcd"),
       "below 2^63"},
      {"dimension above 2^64",
       one(R"({"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]})", "abcd"),
       "integer"},
      {"product overflows",
       one(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), "overflows"},
      {"bits overflow",
       one(R"({"dtype":"F32","shape":[2,9223372036854775807],"data_offsets":[0,4]})", "abcd"),
       "overflows"},
      {"elements fill no whole bytes",
       one(R"({"dtype":"F4","shape":[3],"data_offsets":[0,1]})", "a"), "no whole bytes"},
      {"one offset", one(R"({"dtype":"F32","shape":[],"data_offsets":[0]})", "abcd"), "not 2"},
      {"three offsets", one(R"({"dtype":"F32","shape":[],"data_offsets":[0,4,4]})", "abcd"),
       "not 2"},
      {"negative offset", one(R"({"dtype":"F32","shape":[],"data_offsets":[-4,0]})", "abcd"),
       ">= 0"},
      {"offset with a fraction",
       one(R"({"dtype":"F32","shape":[],"data_offsets":[0,4.0]})", "abcd"), "integer"},
      {"offsets backwards", one(R"({"dtype":"F32","shape":[],"data_offsets":[4,0]})", "abcd"),
       "backwards"},
      {"fewer bytes than the shape",
       one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", "abcd"), "takes 8 bytes"},
      {"more bytes than the shape",
       one(R"({"dtype":"F32","shape":[],"data_offsets":[0,8]})", "abcdefgh"), "takes 4 bytes"},
      {"hole at the front", one(R"({"dtype":"F32","shape":[],"data_offsets":[4,8]})", "abcdefgh"),
       "hole"},
      {"end beyond the file", one(R"({"dtype":"F32","shape":[],"data_offsets":[0,4]})", "ab"),
       "only 2 bytes"},
      {"bytes behind the last tensor",
       one(R"({"dtype":"F32","shape":[],"data_offsets":[0,4]})", "abcd polyglot"), "goes on"},
      {"data without tensors", file_of("{}", "abcd"), "goes on"},
      {"hole between tensors",
       file_of(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
               R"("y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
               "abc"),
       "hole"},
      {"overlap",
       file_of(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
               R"("y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
               "abc"),
       "overlapping"},
      {"two tensors on the same bytes",
       file_of(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
               R"("y":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
               "ab"),
       "overlapping"},
      {"the same key twice",
       file_of(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
               R"("x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
               "ab"),
       "duplicate key"},
      {"the same key twice by an escape",
       file_of(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
               R"("\u0078":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
               "ab"),
       "duplicate key"},
      {"a field twice",
       one(R"({"dtype":"U8","dtype":"I8","shape":[2],"data_offsets":[0,2]})", "ab"),
       "duplicate key"},
      {"metadata is no object", file_of(R"({"__metadata__":["a"]})"), "expected an object"},
      {"metadata is null", file_of(R"({"__metadata__":null})"), "expected an object"},
      {"metadata with a number", file_of(R"({"__metadata__":{"a":1}})"), "expected a string"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})"), "duplicate key"},
  };
  return files;
}

TEST(Safetensors, RefusesMalformedFiles) {
  const TempFolder folder;
  for (const Malformed& item : malformed_files()) {
    const std::string path = folder / "m.safetensors";
    write_file_atomic(path, item.file);
    try {
      Safetensors::open(path);
      ADD_FAILURE() << "accepted: " << item.rule;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(error.kind(), ErrorKind::Usage) << item.rule;
      EXPECT_EQ(text.find(path), 0u) << item.rule << ": " << text;
      EXPECT_NE(text.find(item.message), std::string::npos) << item.rule << ": " << text;
      EXPECT_EQ(text.find('\n'), std::string::npos) << item.rule;
    }
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string file = golden("golden.safetensors");
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_THROW(parse_safetensors(bytes_of(file).first(size), "f"), Error) << size;
  EXPECT_THROW(parse_safetensors(bytes_of(file + '\0'), "f"), Error);
}

TEST(Safetensors, DamagedHeadersNeverCrash) {
  const std::string original = golden("golden.safetensors");
  std::mt19937 random(17);
  size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string file = original;
    for (int k = 0; k < 1 + i % 3; ++k) file[random() % 1700] = static_cast<char>(random());
    try {
      for (const StoredTensor& tensor : parse_safetensors(bytes_of(file), "f").tensors)
        ASSERT_EQ(tensor.bytes.size(), safetensors_bytes(tensor.dtype, tensor.dims));
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::Usage);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000u);
}

StoredTensor tensor(std::string name, std::string dtype, std::vector<int64_t> dims,
                    std::string_view data) {
  return {std::move(name), std::move(dtype), std::move(dims), bytes_of(data)};
}

TEST(Safetensors, WriterRefusesWhatTheReaderWould) {
  const TempFolder folder;
  const std::string path = folder / "w.safetensors";
  const auto refuses = [&](std::vector<StoredTensor> tensors, const char* message,
                           SafetensorsMetadata metadata = {}) {
    try {
      write_safetensors(path, tensors, metadata);
      ADD_FAILURE() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
    EXPECT_TRUE(list_folder(folder.path()).empty());
  };
  refuses({tensor("x", "F32", {1}, "abc")}, "3 were given");
  refuses({tensor("x", "F33", {1}, "abcd")}, "unknown element type");
  refuses({tensor("x", "F32", {-1}, "abcd")}, "negative");
  refuses({tensor("x", "F4", {1}, "a")}, "no whole bytes");
  refuses({tensor("x", "U8", {1}, "a"), tensor("x", "U8", {1}, "b")}, "twice");
  refuses({tensor("x", "U8", {1}, "a"), tensor("x", "F32", {1}, "abcd")}, "twice");
  refuses({tensor("__metadata__", "U8", {1}, "a")}, "reserved");
  refuses({tensor("\xff", "U8", {1}, "a")}, "UTF-8");
  refuses({}, "twice", {{"a", "1"}, {"a", "2"}});
  refuses({}, "UTF-8", {{"a", "\xff"}});
}

TEST(Safetensors, WriterAsksForBytesInFileOrder) {
  const TempFolder folder;
  std::vector<std::string> asked;
  std::string buffer;
  write_safetensors(folder / "f", {tensor("a", "U8", {2}, ""), tensor("b", "F32", {1}, "")}, {},
                    [&](const StoredTensor& entry) {
                      asked.push_back(entry.name);
                      buffer = entry.name == "a" ? "xy" : "wxyz";  // reused between the calls
                      return bytes_of(buffer);
                    });
  EXPECT_EQ(asked, (std::vector<std::string>{"b", "a"}));
  const Safetensors file = Safetensors::open(folder / "f");
  EXPECT_EQ(std::memcmp(file.at("a").bytes.data(), "xy", 2), 0);
  EXPECT_EQ(std::memcmp(file.at("b").bytes.data(), "wxyz", 4), 0);
}

class Sharded : public ::testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(folder_ / "model-00001-of-00002.safetensors",
                      {tensor("a", "U8", {2}, "ab"), tensor("b", "U8", {0}, "")},
                      {{"format", "pt"}});
    write_safetensors(folder_ / "model-00002-of-00002.safetensors", {tensor("c", "U8", {1}, "c")});
  }
  void index(const std::string& map) {
    write_file_atomic(folder_ / "model.safetensors.index.json",
                      "{\"metadata\":{\"total_size\":3},\"weight_map\":" + map + "}");
  }
  std::string refusal() {
    try {
      Safetensors::open(folder_.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return error.what();
    }
    return "accepted";
  }
  static constexpr const char* kGood = R"({"a":"model-00001-of-00002.safetensors",)"
                                       R"("b":"model-00001-of-00002.safetensors",)"
                                       R"("c":"model-00002-of-00002.safetensors"})";
  TempFolder folder_;
};

TEST_F(Sharded, OpensAsOne) {
  index(kGood);
  for (const std::string& path : {folder_.path(), folder_ / "model.safetensors.index.json"}) {
    const Safetensors file = Safetensors::open(path);
    EXPECT_EQ(file.tensors().size(), 3u);
    EXPECT_EQ(file.files().size(), 2u);
    EXPECT_EQ(std::memcmp(file.at("c").bytes.data(), "c", 1), 0);
    EXPECT_EQ(file.metadata(), (SafetensorsMetadata{{"format", "pt"}}));
  }
}

TEST_F(Sharded, RefusesLyingIndexes) {
  EXPECT_NE(refusal().find("neither"), std::string::npos);
  for (const char* name : {"../x.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "a\\\\b"}) {
    index(format("{{\"a\":\"{}\"}}", name));
    EXPECT_NE(refusal().find("no plain file name"), std::string::npos) << name;
  }
  index(R"({"a":"model-00001-of-00002.safetensors","d":"model-00002-of-00002.safetensors"})");
  EXPECT_NE(refusal().find("tensor \"d\" is not in model-00002"), std::string::npos) << refusal();
  index(R"({"a":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"})");
  EXPECT_NE(refusal().find("is not in"), std::string::npos);
  index(R"({"a":"model-00003-of-00002.safetensors"})");
  EXPECT_NE(refusal().find("shards are missing"), std::string::npos);
  index("{}");
  EXPECT_NE(refusal().find("lists no tensors"), std::string::npos);
  index("[1]");
  EXPECT_NE(refusal().find("expected an object"), std::string::npos);
  index("{\"a\":1}");
  EXPECT_NE(refusal().find("expected a string"), std::string::npos);
  write_safetensors(folder_ / "model-00002-of-00002.safetensors", {tensor("a", "U8", {1}, "c")});
  index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
  EXPECT_NE(refusal().find("two of the shards"), std::string::npos);
}

}  // namespace
}  // namespace corten
