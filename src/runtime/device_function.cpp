#include "runtime/device_function.h"

#include <algorithm>

#include "base/format.h"
#include "base/strings.h"
#include "ops/functions.h"
#include "passes/precision.h"
#include "runtime/allocator.h"

namespace corten::runtime {
namespace {

using cuda::raise;

/// Left of a device's free memory for workspaces of products, constants, modules and tables.
constexpr int64_t kReserve = int64_t{96} << 20;

// The same value, contiguous.
ir::Value contiguous(const ir::Value& v) {
  if (ir::is_contiguous(v->layout, v.dims())) return v;
  const ir::GradScope no_grad(false);
  return ops::copy(v);
}
const char* data(const ir::Value& v) {
  return static_cast<const char*>(v->buffer->data()) +
         v->layout.offset * static_cast<int64_t>(size_of(v.dtype()));
}

}  // namespace

DeviceState::~DeviceState() {
  device_.synchronize();
  for (auto& [cell, place] : places_)
    if (place.address) device_.release(place.address);
}

uint64_t DeviceState::use(const CellPtr& cell) {
  Place& place = places_[cell.get()];
  if (place.known && place.known == cell->value->buffer) return place.address;
  const ir::Value value = contiguous(cell->value);
  const int64_t bytes = value.type().bytes();
  if (!place.cell || place.bytes != bytes) {
    if (place.address) raise(device_.release(std::exchange(place.address, 0)));
    bytes_ += bytes - place.bytes;
    place.cell = cell;
    place.bytes = bytes;
    raise(device_.allocate(std::max<int64_t>(bytes, 1), place.address));
  }
  if (bytes > 0) raise(device_.to_device(place.address, data(value), bytes));
  raise(device_.synchronize());  // the copy may go
  place.known = cell->value->buffer;
  place.newer = false;
  return place.address;
}

void DeviceState::written(const CellPtr& cell) {
  places_.at(cell.get()).newer = true;
}

void DeviceState::fetch() {
  for (auto& [key, place] : places_) {
    // A value that the host was given since counts more.
    if (!place.newer || place.known != place.cell->value->buffer) continue;
    const ir::Value& old = place.cell->value;
    ir::Value fresh = ir::make_concrete(old.type(), allocate(place.bytes));
    if (place.bytes > 0) raise(device_.to_host(fresh->buffer->data(), place.address, place.bytes));
    place.cell->value = fresh.with_edge(old->edge);
    place.known = place.cell->value->buffer;
    place.newer = false;
  }
  raise(device_.synchronize());
}

struct DeviceFunction::Entry {
  std::vector<CellPtr> states;
  std::vector<bool> written;
  std::vector<std::unique_ptr<cuda::DeviceMemory>> memory;
  std::vector<uint64_t> arguments, results;  // addresses
  std::unique_ptr<cuda::DeviceProgram> program;
};

DeviceFunction::DeviceFunction(CompiledFunction& function, DeviceState& state)
    : function_(function), state_(state) {}
DeviceFunction::~DeviceFunction() = default;  // programs wait

std::unique_ptr<cuda::DevicePlan> DeviceFunction::plan_arena(const Inspection& found) {
  // What the device has got left, now that everything else lies there.
  int64_t free = 0, total = 0;
  raise(state_.device().memory(free, total));
  int64_t budget = std::max<int64_t>(0, free + state_.scratch()->bytes() - kReserve);
  const ir::Graph& recorded = *found.recorded;
  const int64_t besides =
      cuda::bytes_besides_arena(recorded, state_.device().info().workspace_bytes);
  if (found.memory_budget > 0)
    budget = std::clamp<int64_t>(found.memory_budget - besides, 0, budget);
  std::unique_ptr<cuda::DevicePlan> plan = cuda::plan_for_device(recorded, budget);
  const int64_t least = besides + plan->info().arena_bytes;
  if (found.memory_budget > 0 && least > found.memory_budget)
    resource_error(
        "a compiled function needs at least {} ({} bytes) of the device, however much it computes "
        "again; its memory budget is {} ({} bytes)",
        format_bytes(static_cast<uint64_t>(least)), least,
        format_bytes(static_cast<uint64_t>(found.memory_budget)), found.memory_budget);
  return plan;
}

DeviceFunction::Entry& DeviceFunction::find(const std::vector<Tensor>& arguments) {
  std::string key = format("{} ", passes::matmul_precision());
  for (const Tensor& t : arguments) key += to_string(value_of(t).type()) + " ";
  std::unique_ptr<Entry>& place = entries_[key];
  if (place) return *place;
  // Plans of compiled functions are for contiguous arguments here.
  std::vector<Tensor> plain;
  for (const Tensor& t : arguments) plain.push_back(wrap(contiguous(value_of(t))));
  function_.plan(plain);
  const Inspection found = inspect(function_);
  auto entry = std::make_unique<Entry>();
  entry->states = found.states;
  entry->written = found.written;
  cuda::Device& device = state_.device();
  const auto reserve = [&](int64_t bytes) {
    bytes_ += bytes;
    return entry->memory
        .emplace_back(std::make_unique<cuda::DeviceMemory>(device, std::max<int64_t>(bytes, 1)))
        ->address();
  };
  for (const Tensor& t : plain) entry->arguments.push_back(reserve(value_of(t).type().bytes()));
  const ir::Graph& recorded = *found.recorded;
  for (const ir::Output& o : recorded.outputs())
    entry->results.push_back(o.alias < 0 ? reserve(recorded.type(o.value).bytes()) : 0);
  for (const CellPtr& cell : entry->states) state_.use(cell);
  entry->program = std::make_unique<cuda::DeviceProgram>(plan_arena(found), device,
                                                         state_.make_modules(), state_.scratch());
  place = std::move(entry);
  return *place;
}

std::vector<Tensor> DeviceFunction::operator()(const std::vector<Tensor>& arguments) {
  const ir::BuilderScope eager(ir::eager_builder());
  Entry& entry = find(arguments);
  last_ = &entry;
  cuda::Device& device = state_.device();
  std::vector<ir::Value> values;  // live until they are copied
  for (size_t i = 0; i < arguments.size(); ++i) {
    values.push_back(contiguous(value_of(arguments[i])));
    if (const int64_t bytes = values.back().type().bytes(); bytes > 0)
      raise(device.to_device(entry.arguments[i], data(values.back()), bytes));
  }
  std::vector<uint64_t> inputs = entry.arguments;
  for (const CellPtr& cell : entry.states) inputs.push_back(state_.use(cell));
  entry.program->run(inputs, entry.results);
  for (size_t i = 0; i < entry.states.size(); ++i)
    if (entry.written[i]) state_.written(entry.states[i]);
  std::vector<Tensor> out;
  for (size_t i = 0; i < entry.results.size(); ++i) {
    if (!entry.results[i]) continue;
    const ir::Type& type = entry.program->output_types()[i];
    ir::Value value = ir::make_concrete(type, allocate(type.bytes()));
    if (type.bytes() > 0)
      raise(device.to_host(value->buffer->data(), entry.results[i], type.bytes()));
    out.push_back(wrap(value));
  }
  entry.program->check();  // waits
  return out;
}

void DeviceFunction::plan(const std::vector<Tensor>& arguments) {
  const ir::BuilderScope eager(ir::eager_builder());
  last_ = &find(arguments);
}

void DeviceFunction::ran_again() {
  last_->program->check();
  for (size_t i = 0; i < last_->states.size(); ++i)
    if (last_->written[i]) state_.written(last_->states[i]);
}

std::vector<double> DeviceFunction::time(int runs) {
  if (!last_) usage_error("nothing was executed by the device yet");
  std::vector<double> out = last_->program->time(runs);
  ran_again();
  return out;
}

cuda::DeviceProfile DeviceFunction::profile() {
  if (!last_) usage_error("nothing was executed by the device yet");
  cuda::DeviceProfile out = last_->program->profile();
  ran_again();
  return out;
}

const cuda::DeviceProgramInfo& DeviceFunction::info() const {
  if (!last_) usage_error("nothing was planned for the device yet");
  return last_->program->info();
}
const cuda::DevicePlan* DeviceFunction::device_plan() const {
  return last_ ? &last_->program->plan() : nullptr;
}

}  // namespace corten::runtime
