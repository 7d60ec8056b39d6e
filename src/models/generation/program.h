// What decoder-only models and encoder-decoders generate with: compiled functions that run here or on a
// device, and their logits as numbers.
#pragma once

#include <memory>
#include <vector>

#include "corten/compile.h"
#include "corten/tensor.h"

namespace corten::runtime {
class DeviceFunction;
class DeviceState;
}  // namespace corten::runtime

namespace corten::generation {

/// A compiled function, on a device or here.
class Program {
 public:
  /// `device`: null is here; it must outlive the program.
  Program(Function function, runtime::DeviceState* device);
  ~Program();

  std::vector<Tensor> operator()(const std::vector<Tensor>& in);
  int64_t arena_bytes() const;  ///< of the last call, as planned

 private:
  CompiledFunction compiled_;
  std::unique_ptr<runtime::DeviceFunction> on_device_;
};

/// The logits as f32, whatever the weights are.
Tensor as_f32(const Tensor& logits);
/// The values of an f32 tensor, row-major.
std::vector<float> on_host(const Tensor& logits);

}  // namespace corten::generation
