// Weights in shards, and what is said about folders where something is missing.
#include "io/sharded.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "corten/corten.h"
#include "corten/safetensors.h"
#include "io/tensor_bytes.h"
#include "temp_folder.h"

namespace corten {
namespace {

using testing::TempFolder;

/// Tensors of 8, 24, 400, 4, 12 and 8 bytes.
StateDict state() {
  return {{"z", ones({2})}, {"a", arange(3)},    {"big", full({100}, 3)},
          {"s", scalar(7)}, {"b", full({3}, 2)}, {"y", ones({4}, DType::bf16)}};
}
std::vector<std::string> files(const TempFolder& temp) {
  std::vector<std::string> out = list_folder(temp.path());
  std::ranges::sort(out);
  return out;
}
template <typename F>
std::string usage_message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}
void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
}

TEST(ShardedWriting, FilledInOrder) {
  TempFolder temp;
  write_weights(temp.path(), state(), 32);
  // By name: b does not fit beside a; big is larger than a shard and does not end that of b, which
  // goes on until it is full.
  EXPECT_EQ(files(temp), (std::vector<std::string>{
                             "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                             "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  const std::string text = read_file(temp / "model.safetensors.index.json");
  EXPECT_EQ(text, R"({
  "metadata": {
    "total_parameters": 113,
    "total_size": 456
  },
  "weight_map": {
    "a": "model-00001-of-00003.safetensors",
    "b": "model-00003-of-00003.safetensors",
    "big": "model-00002-of-00003.safetensors",
    "s": "model-00003-of-00003.safetensors",
    "y": "model-00003-of-00003.safetensors",
    "z": "model-00003-of-00003.safetensors"
  }
}
)");
  const Safetensors all = Safetensors::open(temp.path());
  EXPECT_EQ(all.tensors().size(), 6u);
  for (const auto& [name, tensor] : state())
    EXPECT_EQ(tensor_from_stored(all.at(name)).to_vector<double>(), tensor.to_vector<double>());
}

TEST(ShardedWriting, NumbersInNamesCountAsNumbers) {
  TempFolder temp;
  StateDict layers;
  for (const char* name : {"h.10.w", "h.2.w", "h.2.w10", "h.2.w9", "g", "h.b.w"})
    layers.emplace_back(name, ones({2}));
  write_weights(temp.path(), layers, 8);
  const Json index = Json::parse(read_file(temp / "model.safetensors.index.json"), "index");
  int number = 0;
  for (const char* name : {"g", "h.2.w", "h.2.w9", "h.2.w10", "h.10.w", "h.b.w"})
    EXPECT_EQ(index.at("weight_map").at(name).as_string().substr(6, 5),
              "0000" + std::to_string(++number))
        << name;
}

TEST(ShardedWriting, OneFileIsEnough) {
  TempFolder temp;
  write_weights(temp.path(), state(), 32);
  write_weights(temp.path(), state(), 456);
  // What is left of the shards would be read as well.
  EXPECT_EQ(files(temp), std::vector<std::string>{"model.safetensors"});
  write_file_atomic(temp / "model-of-mine.safetensors", "kept");
  write_weights(temp.path(), state(), 455);
  EXPECT_FALSE(file_exists(temp / "model.safetensors"));
  EXPECT_TRUE(file_exists(temp / "model-of-mine.safetensors"));
  EXPECT_EQ(Safetensors::open(temp.path()).tensors().size(), 6u);
  expect_contains(usage_message([&] { write_weights(temp.path(), state(), 0); }), "0 bytes");
}

TEST(ShardedWriting, MissingShardsAreNamed) {
  TempFolder temp;
  write_weights(temp.path(), state(), 32);
  remove_file(temp / "model-00001-of-00003.safetensors");
  remove_file(temp / "model-00003-of-00003.safetensors");
  const std::string message = usage_message([&] { Safetensors::open(temp.path()); });
  expect_contains(message,
                  "2 of 3 shards are missing: model-00001-of-00003.safetensors, "
                  "model-00003-of-00003.safetensors");
}

TEST(ShardedWriting, LinksThatLeadNowhere) {
  namespace fs = std::filesystem;
  TempFolder temp;
  const auto open = [&] { Safetensors::open(temp.path()); };
  fs::create_symlink("../blobs/12ab", temp / "model.safetensors");
  expect_contains(usage_message(open),
                  "model.safetensors is a link to ../blobs/12ab, which is not "
                  "there");
  fs::remove(temp / "model.safetensors");
  fs::create_symlink("other", temp / "model.safetensors");
  fs::create_symlink("model.safetensors", temp / "other");
  expect_contains(usage_message(open),
                  "model.safetensors is a link to other, which leads back to "
                  "itself");
  fs::remove(temp / "model.safetensors");
  fs::remove(temp / "other");
  write_weights(temp.path(), state(), 32);
  remove_file(temp / "model-00002-of-00003.safetensors");
  fs::create_symlink("gone", temp / "model-00002-of-00003.safetensors");
  expect_contains(usage_message(open), "model-00002-of-00003.safetensors is a link to gone");
}

TEST(ShardedWriting, PicklesAreRefusedWithTheReason) {
  TempFolder temp;
  write_file_atomic(temp / "pytorch_model.bin", "x");
  expect_contains(usage_message([&] { Safetensors::open(temp.path()); }), "pickled weights");
  expect_contains(usage_message([&] { Safetensors::open(temp / "pytorch_model.bin"); }),
                  "can run any code");
}

}  // namespace
}  // namespace corten
