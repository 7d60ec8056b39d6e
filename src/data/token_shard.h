// One file of tokens: format, writer and checked reader.
//
//   offset  bytes  content (little-endian)
//        0      8  magic "CORTENTK"
//        8      4  version, 1
//       12      4  bytes per token, 2 or 4
//       16      8  number of tokens, >= 1
//       24      8  number of documents, >= 1
//       32      8  bytes of the JSON text at the end
//       40      4  largest token id, below 2^31
//       44      4  zero
//       48     16  XXH3-128 of everything from byte 64 on, then of bytes 0 to 47 (low half, high
//       half) 64         tokens; zeros up to a multiple of 8
//                  first token of every document, 8 bytes each, increasing from 0
//                  provenance: a JSON object (see prepare.cpp)
//
// Nothing in it depends on the time or the machine.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace corten {

struct ShardHeader {
  char magic[8];
  uint32_t version, token_bytes;
  uint64_t tokens, documents, json_bytes;
  uint32_t max_token, zero;
  uint64_t hash_low, hash_high;
};
static_assert(sizeof(ShardHeader) == 64);

/// Writes a shard from front to back; memory grows with the number of documents only.
class ShardWriter {
 public:
  /// `token_bytes`: 2 or 4.
  ShardWriter(const std::string& path, uint32_t token_bytes);
  /// Appends one document of at least one token.
  void add_document(std::span<const uint32_t> tokens);
  uint64_t tokens() const noexcept { return header_.tokens; }
  uint64_t documents() const noexcept { return starts_.size(); }
  /// Completes the file and moves it to its place; returns its hash.
  Hash128 finish(const Json& provenance);

 private:
  void append(std::span<const std::byte> bytes);

  AtomicFile file_;
  ShardHeader header_{};
  Hasher hasher_;
  std::vector<uint64_t> starts_;
  std::vector<uint16_t> narrow_;  // scratch
};

/// A mapped shard whose structure has been checked.
class ShardFile {
 public:
  /// Usage error with the path and the fault if the file is truncated or contradicts itself.
  explicit ShardFile(const std::string& path);

  const std::string& path() const noexcept { return file_.path(); }
  uint64_t tokens() const noexcept { return header_.tokens; }
  uint32_t token_bytes() const noexcept { return header_.token_bytes; }
  uint32_t max_token() const noexcept { return header_.max_token; }
  Hash128 hash() const noexcept { return {header_.hash_high, header_.hash_low}; }
  const std::byte* token_data() const noexcept {
    return file_.bytes().data() + sizeof(ShardHeader);
  }
  std::span<const uint64_t> document_starts() const noexcept { return starts_; }
  const Json& provenance() const noexcept { return provenance_; }
  /// Reads all bytes. Usage error if the hash differs.
  void verify() const;

 private:
  MappedFile file_;
  ShardHeader header_{};
  std::span<const uint64_t> starts_;
  Json provenance_;
};

}  // namespace corten
