// Feeds arbitrary bytes to the safetensors parser. A file that is accepted must be consistent:
// every byte belongs to the header or to exactly one tensor. Errors must be one line of kind Usage.
//
// clang++-19 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
// -Iinclude
//   -Isrc fuzz/safetensors_fuzz.cpp src/io/safetensors.cpp
//   src/base/{json,file,strings,error,dtype}.cpp -lfmt -o safetensors_fuzz && ./safetensors_fuzz
//   -max_len=4096 CORPUS_FOLDER
#include <cstdlib>
#include <cstring>

#include "corten/error.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  corten::SafetensorsContent content;
  try {
    content = corten::parse_safetensors(file, "fuzz");
  } catch (const corten::Error& error) {
    if (error.kind() != corten::ErrorKind::Usage) std::abort();
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();  // errors are one line
    return 0;
  }
  size_t total = 0;
  unsigned sum = 0;
  for (const corten::StoredTensor& tensor : content.tensors) {
    if (tensor.bytes.size() != corten::safetensors_bytes(tensor.dtype, tensor.dims)) std::abort();
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);  // readable
    total += tensor.bytes.size();
  }
  uint64_t header = 0;
  std::memcpy(&header, data, 8);
  if (8 + header + total != size) std::abort();
  volatile unsigned sink = sum;
  (void)sink;
  return 0;
}
