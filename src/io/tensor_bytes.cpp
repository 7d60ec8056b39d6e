#include "io/tensor_bytes.h"

#include "base/format.h"
#include "runtime/tensor_impl.h"

namespace corten {

TensorBytes::TensorBytes(const Tensor& tensor) {
  const ir::Value value = runtime::concrete_value(tensor, "save", At::current());
  const auto buffer = value->buffer;
  const auto* data = static_cast<const std::byte*>(buffer->data()) +
                     value->layout.offset * static_cast<int64_t>(size_of(value.dtype()));
  owner_ = buffer;
  bytes_ = {data, static_cast<size_t>(value.type().bytes())};
}

Tensor tensor_from_stored(const StoredTensor& stored) {
  const auto dtype = dtype_from_safetensors(stored.dtype);
  if (!dtype)
    usage_error("tensor \"{}\" has the type {}, which Corten does not compute with", stored.name,
                stored.dtype);
  return from_bytes(stored.bytes.data(), stored.dims, *dtype);
}

void write_state(const std::string& path, const StateDict& state,
                 const SafetensorsMetadata& metadata) {
  std::vector<StoredTensor> entries;
  for (const auto& [name, tensor] : state)
    entries.push_back({name, std::string(safetensors_name(tensor.dtype())), tensor.shape(), {}});
  TensorBytes bytes;
  write_safetensors(path, entries, metadata,
                    [&](const StoredTensor& entry) -> std::span<const std::byte> {
                      bytes = TensorBytes(*find_tensor(state, entry.name));
                      return bytes.span();
                    });
}

StateDict read_state(const std::string& path) {
  StateDict out;
  const Safetensors file = Safetensors::open(path);
  for (const StoredTensor& stored : file.tensors())
    out.emplace_back(stored.name, tensor_from_stored(stored));
  return out;
}

}  // namespace corten
