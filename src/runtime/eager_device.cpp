#include "runtime/eager_device.h"

#include <algorithm>
#include <cstring>

#include "base/format.h"
#include "ops/functions.h"
#include "runtime/devices.h"
#include "runtime/program.h"
#include "runtime/recorder.h"
#include "runtime/tensor_impl.h"

namespace corten::runtime {

using cuda::raise;
using ir::Value;
using ir::Values;

namespace {

constexpr uint64_t kAlignment = 16;  // of the addresses that programs take

uint64_t address(const ir::BufferPtr& buffer) {
  return reinterpret_cast<uint64_t>(buffer->data());
}
int64_t element_size(const Value& v) {
  return static_cast<int64_t>(size_of(v.dtype()));
}

/// Where a program finds an operand: an address that is a multiple of 16, and elements behind it.
struct Place {
  uint64_t address;
  int64_t offset;
};
Place place(const Value& v, const ir::BufferPtr& buffer) {
  const uint64_t at = address(buffer) + static_cast<uint64_t>(v->layout.offset * element_size(v));
  return {at / kAlignment * kAlignment, static_cast<int64_t>(at % kAlignment) / element_size(v)};
}

}  // namespace

bool is_number(const Value& value) {
  const ir::Dims& strides = value->layout.strides;
  return value.concrete() && value.type().elements() > 0 &&
         std::all_of(strides.begin(), strides.end(), [](int64_t s) { return s == 0; });
}

EagerDevice::EagerDevice(cuda::Device& device, ir::Placement placement,
                         cuda::MakeModules make_modules)
    : device_(device),
      placement_(placement),
      make_modules_(std::move(make_modules)),
      allocator_(std::make_shared<DeviceAllocator>(device, placement)),
      kernels_(std::make_shared<cuda::LoadedKernels>(device, make_modules_)),
      scratch_(std::make_shared<cuda::Scratch>(device)),
      staging_(std::make_unique<cuda::HostMemory>(
          device, static_cast<int64_t>(kNumbers * sizeof(uint64_t)))) {}

EagerDevice::~EagerDevice() {
  device_.synchronize();
  numbers_.clear();
  allocator_->close();
}

void EagerDevice::check_thread() const {
  if (std::this_thread::get_id() != thread_)
    usage_error("tensors on {} are used by the thread that used it first, and by no other",
                ir::to_string(placement_));
}

// A number's place on the device. What an optimizer counts changes with every step: the copy must
// not wait.
ir::BufferPtr EagerDevice::number(const Value& host) {
  const auto size = static_cast<size_t>(element_size(host));
  Number key{host.dtype(), 0};
  std::memcpy(
      &key.bits,
      static_cast<const char*>(host->buffer->data()) + host->layout.offset * element_size(host),
      size);
  if (const auto found = numbers_.find(key); found != numbers_.end()) return found->second;
  if (numbers_.size() >= kNumbers) numbers_.clear();
  const AllocationLabel label("number");
  ir::BufferPtr buffer = allocator_->allocate(static_cast<int64_t>(size));
  put_number(host, address(buffer));
  numbers_[key] = buffer;
  return buffer;
}

void EagerDevice::put_number(const Value& host, uint64_t to) {
  check_thread();
  if (staged_ == kNumbers) {
    raise(device_.synchronize());
    staged_ = 0;
  }
  char* const from = staging_->data() + staged_++ * sizeof(uint64_t);
  std::memcpy(
      from,
      static_cast<const char*>(host->buffer->data()) + host->layout.offset * element_size(host),
      size_of(host.dtype()));
  raise(device_.to_device(to, from, element_size(host)));
}

void EagerDevice::watch(const std::shared_ptr<Watched>& program) {
  if (program->program->fault_bytes() == 0) return;
  program->source = ir::current_source();
  unchecked_.insert(program);
}

std::shared_ptr<EagerDevice::Watched> EagerDevice::compile(const ir::Op& op,
                                                           const ir::AttrsPtr& attrs,
                                                           const Values& inputs) {
  ir::Graph graph;
  {
    const ir::SourceScope nowhere(ir::Source{});  // it serves calls from everywhere
    Values in;
    for (const Value& v : inputs) {
      const bool host = v->buffer->placement() != placement_;
      in.push_back(graph.input(
          v.type(), "", ir::Layout{host ? 0 : place(v, v->buffer).offset, v->layout.strides}));
    }
    const ir::BuilderScope builder(graph);
    for (const Value& v : graph.add(op, attrs, in)) graph.output(v);
  }
  return std::make_shared<Watched>(Watched{
      std::make_unique<cuda::DeviceProgram>(cuda::plan_for_device(graph, device_.info()), device_,
                                            kernels_),
      {}});
}

ir::BufferPtr EagerDevice::temporary(int64_t bytes, const char* label) {
  if (bytes == 0) return nullptr;
  const AllocationLabel scope(label);
  return allocator_->allocate(bytes);
}

Values EagerDevice::run(const ir::Op& op, const ir::AttrsPtr& attrs, const Values& inputs) {
  check_thread();
  thread_local std::string key;
  make_program_key(op, *attrs, inputs, key);
  std::vector<uint64_t> in, out;
  for (const Value& v : inputs) {
    const ir::Placement there = v->buffer->placement();
    if (there == placement_) {
      const Place at = place(v, v->buffer);
      in.push_back(at.address);
      key += static_cast<char>(at.offset);
    } else if (there.kind == ir::DeviceKind::cpu && is_number(v)) {
      in.push_back(address(number(v)));
      key += '\0';
    } else {
      usage_error("[{}] operands lie on {} and {} ({}): move one with to(\"{}\") or cpu()", op.name,
                  ir::to_string(placement_), ir::to_string(there), to_string(v.type()),
                  ir::to_string(placement_));
    }
  }
  std::shared_ptr<Watched> found = cache_.find(key);
  if (!found) {
    const std::string mine = key;  // planning may run other ops
    found = compile(op, attrs, inputs);
    cache_.insert(mine, found);
  }
  cuda::DeviceProgram& program = *found->program;
  const RangeScope range(op.name, "cpu_op");
  Values results;
  {
    const AllocationLabel label(op.name);
    for (const ir::Type& type : program.output_types()) {
      results.push_back(ir::make_concrete(type, allocator_->allocate(type.bytes())));
      out.push_back(address(results.back()->buffer));
    }
  }
  const ir::BufferPtr arena = temporary(program.info().arena_bytes, "scratch of an op");
  const ir::BufferPtr workspace =
      temporary(program.info().workspace_bytes, "workspace of a product");
  program.run_once(in, out, arena ? address(arena) : 0, workspace ? address(workspace) : 0);
  watch(found);
  if (eager_detects_anomaly())
    for (const Value& result : results)
      if (is_floating(result.dtype()) && has_nan(result.type(), download(result)->buffer->data())) {
        const std::string at = ir::to_string(ir::current_source());
        usage_error("the first NaN was made by [{}] {}{}", op.name, to_string(result.type()),
                    at.empty() ? "" : ", at " + at);
      }
  return results;
}

Value EagerDevice::upload(const Value& host) {
  check_thread();
  const AllocationLabel label("copy from the host");
  const Value from = ir::is_contiguous(host->layout, host.dims()) ? host : ops::copy(host);
  const int64_t bytes = from.type().bytes();
  Value out = ir::make_concrete(from.type(), allocator_->allocate(bytes));
  if (bytes == 0) return out;
  const char* data =
      static_cast<const char*>(from->buffer->data()) + from->layout.offset * element_size(from);
  raise(device_.to_device(address(out->buffer), data, bytes));
  raise(device_.synchronize());
  return out;
}

Value EagerDevice::download(const Value& value) {
  check_thread();
  const Value from = ir::is_contiguous(value->layout, value.dims()) ? value : ops::copy(value);
  const int64_t bytes = from.type().bytes();
  Value out = ir::make_concrete(from.type(), allocate(bytes));
  if (bytes > 0)
    raise(device_.to_host(
        out->buffer->data(),
        address(from->buffer) + static_cast<uint64_t>(from->layout.offset * element_size(from)),
        bytes));
  check();
  return out;
}

Value EagerDevice::zeros(const ir::Type& type) {
  check_thread();
  Value out = ir::make_concrete(type, allocator_->allocate(type.bytes()));
  if (type.bytes() > 0) raise(device_.fill(address(out->buffer), 0, type.bytes()));
  return out;
}

void EagerDevice::check() {
  check_thread();
  raise(device_.synchronize());
  staged_ = 0;
  const auto ran = std::exchange(unchecked_, {});
  for (const std::shared_ptr<Watched>& p : ran) {
    try {
      p->program->check();
    } catch (const Error& error) {
      const std::string at = ir::to_string(p->source);
      if (at.empty()) throw;
      usage_error("{} (called at {}, or before)", error.what(), at);
    }
  }
}

Value move_to(const Value& value, ir::Placement placement) {
  const ir::Placement from = ir::placement_of(value);
  if (from == placement) return value;
  const ir::GradScope no_grad(false);
  const ir::BuilderScope eager(ir::eager_builder());
  const Value host = from.kind == ir::DeviceKind::cuda ? open_device(from).download(value) : value;
  return placement.kind == ir::DeviceKind::cuda ? open_device(placement).upload(host) : host;
}

}  // namespace corten::runtime
