// Feeds arbitrary bytes to the reader of tokenizer.json files (first byte even) and to chat templates
// (odd). A tokenizer that is accepted must encode and decode, its ids must be those of encode_ids(),
// streamed text must be decoded text, and what it writes must be read back. Errors must be one line
// of kind Usage.
//
// cmake -DCORTEN_FUZZ=ON with clang builds it; ./tokenizer_fuzz -max_len=65536 CORPUS_FOLDER, with the
// files of tests/text/goldens as a beginning.
#include <cstdlib>
#include <cstring>

#include "corten/error.h"
#include "corten/tokenizer.h"
#include "text/chat_template.h"

namespace {

void check(const corten::Error& error) {
  if (error.kind() != corten::ErrorKind::Usage) std::abort();
  if (std::strchr(error.what(), '\n') != nullptr) std::abort();
}

void run_template(const std::string& source) {
  corten::render_chat(source, R"([{"role": "user", "content": "Hi"}, {"role": "assistant",
      "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}])",
                      {.add_generation_prompt = true, .tools = "[]", .variables = ""},
                      {{"bos", "<s>"}, {"eos", "</s>"}});
}

void run_tokenizer(std::string_view json) {
  const corten::Tokenizer tokenizer = corten::Tokenizer::from_json(json, "fuzz");
  for (const std::string_view text :
       {std::string_view("The  heaven's 12 é\u0301 日本 ab"), std::string_view("\xFF a\0<s>▁x", 9)}) {
    const corten::Encoding encoding = tokenizer.encode(text);
    if (tokenizer.encode_ids(text) != encoding.ids) std::abort();
    if (encoding.offsets.size() != encoding.ids.size()) std::abort();
    const std::string decoded = tokenizer.decode(encoding.ids, false);
    corten::Tokenizer::StreamDecoder stream = tokenizer.stream_decoder(false);
    std::string streamed;
    for (const int32_t id : encoding.ids) streamed += stream.push(id);
    if (streamed + stream.finish() != decoded) std::abort();
  }
  corten::Tokenizer::from_json(tokenizer.to_json(), "again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 2 == 0)
      run_tokenizer(input);
    else
      run_template(input);
  } catch (const corten::Error& error) {
    check(error);
  }
  return 0;
}
