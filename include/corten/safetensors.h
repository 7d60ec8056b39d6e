// Reading and writing of safetensors files (https://github.com/huggingface/safetensors).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/dtype.h"

namespace corten {

/// A tensor in a file: row-major elements, little-endian, without gaps.
struct StoredTensor {
  std::string name;
  /// The format's own name: BOOL, U8, I8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64, C64,
  /// F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, F6_E2M3, F6_E3M2 or F4.
  std::string dtype;
  std::vector<int64_t> dims;
  /// The elements. In files of other writers they may be unaligned: copy bytes, do not cast.
  std::span<const std::byte> bytes;
};

/// The element type behind a safetensors name; nothing for types that Corten does not compute with.
std::optional<DType> dtype_from_safetensors(std::string_view name) noexcept;
/// "F32" for DType::f32, and so on.
std::string_view safetensors_name(DType dtype) noexcept;
/// Bits of one element of a type by its safetensors name; 0 if the format has no such type.
int safetensors_bits(std::string_view name) noexcept;
/// Bytes of a tensor. Usage error if the type is unknown, a dimension is negative, the size
/// overflows, or elements of less than a byte do not fill whole bytes.
uint64_t safetensors_bytes(std::string_view dtype, const std::vector<int64_t>& dims);

/// Largest file of weights unless the caller says otherwise, as in transformers: 50 GB.
inline constexpr uint64_t kMaxShardSize = 50'000'000'000;

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// One safetensors file, or all shards of a model, mapped into memory. Copies share the mapping;
/// the bytes of its tensors are valid while one copy lives.
class Safetensors {
 public:
  /// Opens `path`: a .safetensors file; an index file (model.safetensors.index.json) with its
  /// shards beside it; or a folder with "model.safetensors" or "model.safetensors.index.json".
  ///
  /// Every rule of the format is checked before any tensor is handed out: header length at most 100
  /// MB and inside the file; a JSON object without duplicate keys; known types; dimensions >= 0
  /// without overflow; offsets that cover the data exactly, without holes and overlaps, of the
  /// right sizes; string-only metadata. Shards: names without folders, every listed tensor in its
  /// file, none twice. Usage error with the file and the rule otherwise.
  static Safetensors open(const std::string& path);

  /// By file name, then by place in the file.
  const std::vector<StoredTensor>& tensors() const noexcept;
  const StoredTensor* find(std::string_view name) const noexcept;
  /// Usage error with a did-you-mean if there is no such tensor.
  const StoredTensor& at(std::string_view name) const;
  /// "__metadata__" of the (first) file, in its order.
  const SafetensorsMetadata& metadata() const noexcept;
  /// Paths of the files that are mapped.
  const std::vector<std::string>& files() const noexcept;

 private:
  struct State;
  explicit Safetensors(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Writes a file atomically, byte for byte as the safetensors library does: tensors by type (widest
/// first, the library's order), then by name; header padded with spaces to a multiple of 8.
/// Metadata keeps the order given. Usage error if a tensor's bytes do not match its type and
/// dimensions, or a name is used twice, is no UTF-8 or is "__metadata__"; Resource error if the
/// disk is full.
void write_safetensors(const std::string& path, const std::vector<StoredTensor>& tensors,
                       const SafetensorsMetadata& metadata = {});

/// The same for tensors whose bytes are not at hand: `bytes` of the entries is ignored, and `fetch`
/// is called once per entry in file order; what it returns must live until its next call.
void write_safetensors(const std::string& path, const std::vector<StoredTensor>& tensors,
                       const SafetensorsMetadata& metadata,
                       const std::function<std::span<const std::byte>(const StoredTensor&)>& fetch);

}  // namespace corten
