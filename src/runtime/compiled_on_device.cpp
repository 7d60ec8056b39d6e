#include "runtime/compiled_on_device.h"

#include "base/format.h"
#include "ir/placement.h"
#include "runtime/device_function.h"

namespace corten::runtime {

using cuda::raise;

namespace {

uint64_t address(const ir::BufferPtr& buffer) {
  return reinterpret_cast<uint64_t>(buffer->data());
}
uint64_t address(const ir::Value& v) {
  return address(v->buffer) +
         static_cast<uint64_t>(v->layout.offset * static_cast<int64_t>(size_of(v.dtype())));
}

}  // namespace

ir::Placement home_of(const ir::Values& arguments, const std::vector<CellPtr>& states) {
  ir::Placement home;
  std::string first;  // what decided
  const auto look = [&](const ir::Value& v, const char* kind, size_t i) {
    const ir::Placement place = ir::placement_of(v);
    if (v.rank() == 0) {
      if (first.empty() && place.kind == ir::DeviceKind::cuda) home = place;
      return;
    }
    const std::string what = format("{} {} ({})", kind, i, to_string(v.type()));
    if (first.empty()) {
      first = what;
      home = place;
    } else if (place != home) {
      usage_error(
          "a compiled function runs on one device, but {} lies on {} and {} on {}: move one of "
          "them",
          first, ir::to_string(home), what, ir::to_string(place));
    }
  };
  for (size_t i = 0; i < arguments.size(); ++i) look(arguments[i], "argument", i);
  for (size_t i = 0; i < states.size(); ++i) look(states[i]->value, "state", i);
  return home;
}

CompiledOnDevice::CompiledOnDevice(EagerDevice& device, const ir::Graph& recorded,
                                   int64_t memory_budget)
    : device_(device) {
  const AllocationLabel label("arguments and results of a compiled function");
  device_.allocator().empty_cache();  // what made the state will not be needed by a program that
                                      // has its own memory
  program_ = std::make_shared<EagerDevice::Watched>();
  program_->program = std::make_unique<cuda::DeviceProgram>(
      plan_within(recorded, memory_budget, device_.device(), *device_.scratch()), device_.device(),
      device_.make_modules(), device_.scratch());
  for (const ir::Output& o : recorded.outputs())
    results_.push_back(o.alias < 0 ? device_.allocator().allocate(recorded.type(o.value).bytes())
                                   : nullptr);
}

ir::Values CompiledOnDevice::operator()(const ir::Values& arguments,
                                        const std::vector<CellPtr>& states) {
  cuda::Device& device = device_.device();
  cuda::DeviceProgram& program = *program_->program;
  std::vector<uint64_t> in, out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const int64_t bytes = arguments[i].type().bytes();
    if (i == arguments_.size()) arguments_.push_back(device_.allocator().allocate(bytes));
    in.push_back(address(arguments_[i]));
    if (ir::placement_of(arguments[i]).kind == ir::DeviceKind::cpu)
      device_.put_number(arguments[i], in.back());
    else if (bytes > 0)
      raise(device.copy(in.back(), address(arguments[i]), bytes));
  }
  for (const CellPtr& cell : states) in.push_back(address(cell->value));
  for (const ir::BufferPtr& result : results_) out.push_back(result ? address(result) : 0);
  program.run(in, out);
  device_.watch(program_);
  const AllocationLabel label("result of a compiled function");
  ir::Values values;
  for (size_t i = 0; i < results_.size(); ++i) {
    if (!results_[i]) continue;
    const ir::Type& type = program.output_types()[i];
    values.push_back(ir::make_concrete(type, device_.allocator().allocate(type.bytes())));
    if (type.bytes() > 0) raise(device.copy(address(values.back()), out[i], type.bytes()));
  }
  return values;
}

}  // namespace corten::runtime
