// The C++ side of compare_tokenizers.py. Numbers are 32-bit little-endian, texts have their length
// before them.
//   tokenizer_peer encode TOKENIZER TEXTS OUT   per text, with and without special tokens: count,
//                                               ids, offsets, tokens
//   tokenizer_peer decode TOKENIZER IDS OUT     per list (count, ids): text without and with
//                                               special tokens
//   tokenizer_peer save TOKENIZER OUT
//   tokenizer_peer train OUT VOCAB_SIZE MIN_FREQUENCY THREADS FILE...
//   tokenizer_peer bench TOKENIZER FILE
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "corten/error.h"
#include "corten/tokenizer.h"

using corten::Tokenizer;

namespace {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Reader {
 public:
  explicit Reader(const std::string& path) : bytes_(read(path)) {}
  bool at_end() const { return at_ == bytes_.size(); }
  uint32_t number() {
    uint32_t value;
    std::memcpy(&value, take(4).data(), 4);
    return value;
  }
  std::string_view text() { return take(number()); }

 private:
  std::string_view take(size_t size) {
    if (bytes_.size() - at_ < size) throw std::runtime_error("the input is cut off");
    at_ += size;
    return std::string_view(bytes_).substr(at_ - size, size);
  }
  std::string bytes_;
  size_t at_ = 0;
};

class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path, std::ios::binary) {}
  void number(size_t value) {
    const auto small = static_cast<uint32_t>(value);
    file_.write(reinterpret_cast<const char*>(&small), 4);
  }
  void text(std::string_view text) {
    number(text.size());
    file_.write(text.data(), static_cast<std::streamsize>(text.size()));
  }

 private:
  std::ofstream file_;
};

void encode(const std::string& tokenizer_path, const std::string& in, const std::string& out) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path);
  Reader reader(in);
  Writer writer(out);
  while (!reader.at_end()) {
    const std::string_view text = reader.text();
    for (bool special : {true, false}) {
      const corten::Encoding encoding = tokenizer.encode(text, special);
      // Twice, with a cold and a warm cache.
      for (int i = 0; i < 2; ++i)
        if (tokenizer.encode_ids(text, special) != encoding.ids)
          throw std::runtime_error("encode_ids() differs from encode() on: " + std::string(text));
      writer.number(encoding.ids.size());
      for (int32_t id : encoding.ids) writer.number(static_cast<uint32_t>(id));
      for (const auto& [begin, end] : encoding.offsets) {
        writer.number(begin);
        writer.number(end);
      }
      for (const std::string& token : encoding.tokens) writer.text(token);
    }
  }
}

void decode(const std::string& tokenizer_path, const std::string& in, const std::string& out) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path);
  Reader reader(in);
  Writer writer(out);
  while (!reader.at_end()) {
    std::vector<int32_t> ids(reader.number());
    for (int32_t& id : ids) id = static_cast<int32_t>(reader.number());
    for (bool skip : {true, false}) {
      const std::string text = tokenizer.decode(ids, skip);
      Tokenizer::StreamDecoder decoder = tokenizer.stream_decoder(skip);
      std::string streamed;
      for (int32_t id : ids) streamed += decoder.push(id);
      if (streamed + decoder.finish() != text)
        throw std::runtime_error("streaming differs from decode() on: " + text);
      writer.text(text);
    }
  }
}

// Seconds of processor time: the machine may be busy with other things.
template <typename Work>
double seconds(Work&& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

void bench(const std::string& tokenizer_path, const std::string& path) {
  const std::string text = read(path);
  double load = 1e9, ids = 1e9;
  for (int i = 0; i < 5; ++i)
    load = std::min(load, seconds([&] { Tokenizer::from_file(tokenizer_path); }));
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path);
  size_t count = 0;
  for (int i = 0; i < 5; ++i)
    ids = std::min(ids, seconds([&] { count = tokenizer.encode_ids(text).size(); }));
  double full = 1e9, decode = 1e9;
  for (int i = 0; i < 3; ++i) full = std::min(full, seconds([&] { tokenizer.encode(text); }));
  const std::vector<int32_t> all = tokenizer.encode_ids(text);
  for (int i = 0; i < 3; ++i) decode = std::min(decode, seconds([&] { tokenizer.decode(all); }));
  const double megabytes = static_cast<double>(text.size()) * 1e-6;
  std::printf(
      "{\"load_ms\": %.2f, \"tokens\": %zu, \"encode_ids_mb_s\": %.1f, \"encode_mb_s\": "
      "%.1f, \"decode_mb_s\": %.1f}\n",
      load * 1e3, count, megabytes / ids, megabytes / full, megabytes / decode);
}

void train(int count, char** arguments) {
  Tokenizer::TrainOptions options;
  options.vocab_size = std::strtoul(arguments[1], nullptr, 10);
  options.min_frequency = std::strtoul(arguments[2], nullptr, 10);
  options.threads = std::atoi(arguments[3]);
  std::vector<std::string> texts;
  for (int i = 4; i < count; ++i) texts.push_back(read(arguments[i]));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const double time = seconds([&] { Tokenizer::train(views, options).save(arguments[0]); });
  std::printf("{\"train_cpu_s\": %.3f}\n", time);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::string verb = count > 1 ? arguments[1] : "";
    if (verb == "encode" && count == 5)
      encode(arguments[2], arguments[3], arguments[4]);
    else if (verb == "decode" && count == 5)
      decode(arguments[2], arguments[3], arguments[4]);
    else if (verb == "save" && count == 4)
      Tokenizer::from_file(arguments[2]).save(arguments[3]);
    else if (verb == "train" && count > 6)
      train(count - 2, arguments + 2);
    else if (verb == "bench" && count == 4)
      bench(arguments[2], arguments[3]);
    else
      throw std::runtime_error("unknown arguments");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
