#include "models/generation/program.h"

#include <cstring>

#include "io/tensor_bytes.h"
#include "runtime/device_function.h"

namespace corten::generation {

Program::Program(Function function, runtime::DeviceState* device)
    : compiled_(compile(std::move(function))),
      on_device_(device ? std::make_unique<runtime::DeviceFunction>(compiled_, *device) : nullptr) {}
Program::~Program() = default;

std::vector<Tensor> Program::operator()(const std::vector<Tensor>& in) {
  return on_device_ ? (*on_device_)(in) : compiled_(in);
}

int64_t Program::arena_bytes() const {
  if (!on_device_) return compiled_.info().arena_bytes;
  return on_device_->device_plan() ? on_device_->info().arena_bytes : 0;
}

Tensor as_f32(const Tensor& logits) {
  return logits.dtype() == DType::f32 ? logits : logits.to(DType::f32);
}

std::vector<float> on_host(const Tensor& logits) {
  std::vector<float> out(static_cast<size_t>(logits.numel()));
  const TensorBytes bytes(logits);
  std::memcpy(out.data(), bytes.span().data(), bytes.span().size());
  return out;
}

}  // namespace corten::generation
