#include "gpu/mirror.h"

#include <cmath>
#include <cstring>

#include "base/format.h"
#include "base/half.h"
#include "ir/value.h"
#include "runtime/inspect.h"
#include "runtime/tensor_impl.h"

namespace corten::cuda::test {
namespace {

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

// The bytes of a tensor, contiguous.
std::string bytes_of(const Tensor& t) {
  const Tensor c = t.contiguous();
  const ir::Value v = runtime::value_of(c);
  const auto size = static_cast<size_t>(v.type().bytes());
  const char* data = static_cast<const char*>(v->buffer->data()) +
                     v->layout.offset * static_cast<int64_t>(size_of(v.type().dtype));
  return {data, size};
}
std::string bytes_of(const ir::Value& v) {
  const char* data = static_cast<const char*>(v->buffer->data()) +
                     v->layout.offset * static_cast<int64_t>(size_of(v.type().dtype));
  return {data, static_cast<size_t>(v.type().bytes())};
}

double number(DType dtype, const char* p) {
  switch (dtype) {
    case DType::f32: {
      float x;
      std::memcpy(&x, p, 4);
      return static_cast<double>(x);
    }
    case DType::f64: {
      double x;
      std::memcpy(&x, p, 8);
      return x;
    }
    case DType::bf16:
    case DType::f16: {
      uint16_t x;
      std::memcpy(&x, p, 2);
      return static_cast<double>(dtype == DType::bf16 ? from_bf16(x) : from_f16(x));
    }
    case DType::i64: {
      int64_t x;
      std::memcpy(&x, p, 8);
      return static_cast<double>(x);
    }
    case DType::i32: {
      int32_t x;
      std::memcpy(&x, p, 4);
      return x;
    }
    default:
      return static_cast<uint8_t>(*p);
  }
}

void compare(const std::string& what, DType dtype, const std::string& want, const std::string& got,
             Comparison& out) {
  double largest = 0, difference = 0;
  const size_t size = size_of(dtype);
  for (size_t i = 0; i + size <= want.size(); i += size) {
    const double x = number(dtype, want.data() + i), y = number(dtype, got.data() + i);
    if (std::memcmp(want.data() + i, got.data() + i, size) != 0 && out.same_bits) {
      out.same_bits = false;
      out.where = format("{}, element {} of {}: {} on the device, {} on the CPU", what, i / size,
                         want.size() / size, y, x);
    }
    largest = std::max(largest, std::fabs(x));
    difference = std::isnan(x) != std::isnan(y)
                     ? INFINITY
                     : std::max(difference, std::isnan(x) ? 0 : std::fabs(x - y));
  }
  if (difference > 0)
    out.difference = std::max(out.difference, difference / std::max(largest, 1e-30));
}

struct OnDevice {
  Device& device;
  uint64_t address = 0;
  OnDevice(Device& d, int64_t bytes) : device(d) {
    raise(device.allocate(std::max<int64_t>(bytes, 1), address));
  }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { device.release(address); }
};

}  // namespace

Comparison compare_with_cpu(const Function& function,
                            const std::function<std::vector<Tensor>(int step)>& arguments,
                            int steps, Device& device, const MakeModules& make_modules,
                            int cpu_steps, int64_t arena_budget) {
  Comparison out;
  if (cpu_steps < 0) cpu_steps = steps;
  CompiledFunction compiled = compile(function);
  const std::vector<Tensor> first = arguments(0);
  compiled.plan(first);
  const runtime::Inspection found = runtime::inspect(compiled);
  const std::vector<CellPtr> states = found.states;
  auto plan = plan_for_device(*found.recorded, device.info(), arena_budget);
  const auto scratch = std::make_shared<Scratch>(device);
  int64_t free_before = 0, free_after = 0, total = 0;
  raise(device.memory(free_before, total));
  scratch->reserve(plan->info().arena_bytes);
  raise(device.memory(free_after, total));
  out.arena_allocated = free_before - free_after;
  const uint64_t arena = scratch->address();
  DeviceProgram program(std::move(plan), device, make_modules, scratch);
  std::vector<std::unique_ptr<OnDevice>> memory;
  std::vector<uint64_t> inputs, outputs;
  const auto reserve = [&](int64_t bytes) {
    return memory.emplace_back(std::make_unique<OnDevice>(device, bytes))->address;
  };
  for (const Tensor& t : first) inputs.push_back(reserve(static_cast<int64_t>(bytes_of(t).size())));
  for (const CellPtr& cell : states) {
    const std::string bytes = bytes_of(cell->value);
    inputs.push_back(reserve(static_cast<int64_t>(bytes.size())));
    raise(device.to_device(inputs.back(), bytes.data(), static_cast<int64_t>(bytes.size())));
    raise(device.synchronize());
  }
  size_t results = 0;
  for (size_t k = 0; k < program.outputs().size(); ++k) {
    const bool result = program.outputs()[k].alias < 0;
    results += result;
    outputs.push_back(result ? reserve(program.output_types()[k].bytes()) : 0);
  }
  uint64_t before = 0, after = 0;
  raise(device.create_event(before));
  raise(device.create_event(after));
  std::vector<std::vector<std::string>> device_results;
  for (int step = 0; step < steps; ++step) {
    const std::vector<Tensor> in = arguments(step);
    for (size_t i = 0; i < in.size(); ++i) {
      const std::string bytes = bytes_of(in[i]);
      raise(device.to_device(inputs[i], bytes.data(), static_cast<int64_t>(bytes.size())));
      raise(device.synchronize());
    }
    raise(device.record_event(before));
    program.run(inputs, outputs);
    raise(device.record_event(after));
    float ms = 0;
    raise(device.milliseconds(before, after, ms));
    out.step_ms.push_back(static_cast<double>(ms));
    program.check();
    out.replayed += program.replayed();
    std::vector<std::string>& mine = device_results.emplace_back();
    for (size_t k = 0; k < results; ++k) {
      std::string& bytes =
          mine.emplace_back(static_cast<size_t>(program.output_types()[k].bytes()), '\0');
      raise(device.to_host(bytes.data(), outputs[k], static_cast<int64_t>(bytes.size())));
    }
    raise(device.synchronize());
  }
  device.release_event(before);
  device.release_event(after);
  out.info = program.info();
  CORTEN_CHECK(scratch->address() == arena);  // as planned: it did not grow
  const auto one_number = [&] { return results > 0 && program.output_types()[0].elements() == 1; };
  if (one_number())
    for (const std::vector<std::string>& r : device_results)
      out.device.push_back(number(program.output_types()[0].dtype, r[0].data()));
  for (int step = 0; step < cpu_steps; ++step) {
    const std::vector<Tensor> cpu = compiled(arguments(step));
    for (size_t k = 0; k < results; ++k)
      compare(format("result {} of step {}", k, step), program.output_types()[k].dtype,
              bytes_of(cpu[k]), device_results[static_cast<size_t>(step)][k], out);
    if (one_number())
      out.cpu.push_back(number(program.output_types()[0].dtype, bytes_of(cpu[0]).data()));
  }
  if (cpu_steps != steps) return out;
  for (size_t i = 0; i < states.size(); ++i) {
    const std::string want = bytes_of(states[i]->value);
    std::string got(want.size(), '\0');
    raise(device.to_host(got.data(), inputs[first.size() + i], static_cast<int64_t>(got.size())));
    raise(device.synchronize());
    compare(format("state {} {}", i, to_string(states[i]->value.type())),
            states[i]->value.type().dtype, want, got, out);
  }
  return out;
}

}  // namespace corten::cuda::test
