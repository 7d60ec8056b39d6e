// Tensors to and from safetensors files.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "corten/nn.h"
#include "corten/safetensors.h"
#include "corten/tensor.h"

namespace corten {

/// The elements of a tensor, row-major, little-endian: those in memory, or a copy if they are not
/// contiguous. Later writes to the tensor may or may not be seen.
class TensorBytes {
 public:
  TensorBytes() = default;
  /// Usage error while a function is being compiled.
  explicit TensorBytes(const Tensor& tensor);
  std::span<const std::byte> span() const { return bytes_; }

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
};

/// A tensor of the file's type with a copy of the bytes. Usage error for types that Corten does not
/// compute with.
Tensor tensor_from_stored(const StoredTensor& stored);

/// Writes all tensors by name, atomically.
void write_state(const std::string& path, const StateDict& state,
                 const SafetensorsMetadata& metadata = {});
/// All tensors of a file, in its order.
StateDict read_state(const std::string& path);

}  // namespace corten
