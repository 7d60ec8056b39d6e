#include "runtime/device_function.h"

#include <algorithm>
#include <cstring>

#include "base/format.h"
#include "base/strings.h"
#include "ops/functions.h"
#include "passes/precision.h"
#include "runtime/allocator.h"
#include "runtime/device_report.h"
#include "runtime/eager_device.h"
#include "runtime/recorder.h"

namespace corten::runtime {
namespace {

using cuda::raise;

/// Left of a device's free memory for workspaces of products, constants, modules and tables.
constexpr int64_t kReserve = int64_t{96} << 20;
/// Arguments and results of a call lie in one block each, at multiples of this.
constexpr int64_t kPlace = 256;

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
  const ir::Value value = contiguous(move_to(cell->value, {}));
  const int64_t bytes = value.type().bytes();
  if (!place.cell || place.bytes != bytes) {
    if (place.address) raise(device_.release(std::exchange(place.address, 0)));
    bytes_ += bytes - place.bytes;
    place.cell = cell;
    place.bytes = bytes;
    cuda::raise(device_, device_.allocate(std::max<int64_t>(bytes, 1), place.address),
                "state of a program", bytes);
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

void DeviceState::forget(const CellPtr& cell) {
  const auto found = places_.find(cell.get());
  if (found == places_.end()) return;
  device_.synchronize();
  if (found->second.address) device_.release(found->second.address);
  bytes_ -= found->second.bytes;
  places_.erase(found);
}

/// What a call in flight needs of its own.
struct DeviceFunction::Slot {
  Slot(cuda::Device& device, int64_t arguments, int64_t results, int64_t faults)
      : in(device, arguments),
        out(device, results),
        faults(device, faults),
        staged(device, arguments, "arguments of a call"),
        arrived(device),
        done(device) {}
  cuda::HostMemory in, out, faults;
  cuda::DeviceMemory staged;  // arguments, until the device has time for them
  cuda::Event arrived, done;  // of the arguments; of the results
  bool busy = false;
};

struct DeviceFunction::Entry {
  std::vector<CellPtr> states;
  std::vector<bool> written;
  std::vector<int64_t> argument_at, result_at;  // places in the blocks below; -1: state
  int64_t argument_bytes = 0, result_bytes = 0;
  std::unique_ptr<cuda::DeviceMemory> arguments, results;
  std::vector<uint64_t> outputs;  // addresses
  std::unique_ptr<cuda::DeviceProgram> program;
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<uint64_t> inputs;     // of the last run
  std::vector<StepReport> reports;  // by step, for recordings
};

DeviceFunction::DeviceFunction(CompiledFunction& function, DeviceState& state)
    : function_(function), state_(state) {}
DeviceFunction::~DeviceFunction() {
  state_.device().synchronize();
}

std::unique_ptr<cuda::DevicePlan> plan_within(const ir::Graph& recorded, int64_t memory_budget,
                                              cuda::Device& device, const cuda::Scratch& scratch) {
  // What the device has got left, now that everything else lies there.
  int64_t free = 0, total = 0;
  raise(device.memory(free, total));
  int64_t budget = std::max<int64_t>(0, free + scratch.bytes() - kReserve);
  const int64_t besides = cuda::bytes_besides_arena(recorded, device.info().workspace_bytes);
  if (memory_budget > 0) budget = std::clamp<int64_t>(memory_budget - besides, 0, budget);
  std::unique_ptr<cuda::DevicePlan> plan =
      cuda::plan_for_device(recorded, device.info(), budget);
  const int64_t least = besides + plan->info().arena_bytes;
  if (memory_budget > 0 && least > memory_budget)
    resource_error(
        "a compiled function needs at least {} ({} bytes) of the device, however much it computes "
        "again; its memory budget is {} ({} bytes)",
        format_bytes(static_cast<uint64_t>(least)), least,
        format_bytes(static_cast<uint64_t>(memory_budget)), memory_budget);
  return plan;
}

DeviceFunction::Entry& DeviceFunction::find(const std::vector<Tensor>& arguments) {
  std::string key = format("{} ", passes::matmul_precision());
  for (const Tensor& t : arguments) key += to_string(value_of(t).type()) + " ";
  std::unique_ptr<Entry>& place = entries_[key];
  if (place) return *place;
  // Plans of compiled functions are for contiguous arguments here.
  std::vector<Tensor> plain;
  for (const Tensor& t : arguments) plain.push_back(wrap(contiguous(move_to(value_of(t), {}))));
  function_.plan(plain);
  const Inspection found = inspect(function_);
  auto entry = std::make_unique<Entry>();
  entry->states = found.states;
  entry->written = found.written;
  cuda::Device& device = state_.device();
  const auto place_in = [](int64_t& block, int64_t bytes) {
    const int64_t at = block;
    block += (bytes + kPlace - 1) / kPlace * kPlace;
    return at;
  };
  for (const Tensor& t : plain)
    entry->argument_at.push_back(place_in(entry->argument_bytes, value_of(t).type().bytes()));
  const ir::Graph& recorded = *found.recorded;
  for (const ir::Output& o : recorded.outputs())
    entry->result_at.push_back(
        o.alias < 0 ? place_in(entry->result_bytes, recorded.type(o.value).bytes()) : -1);
  entry->arguments = std::make_unique<cuda::DeviceMemory>(device, entry->argument_bytes,
                                                          "arguments of a program");
  entry->results =
      std::make_unique<cuda::DeviceMemory>(device, entry->result_bytes, "results of a program");
  bytes_ += entry->argument_bytes + entry->result_bytes;
  for (const int64_t at : entry->result_at)
    entry->outputs.push_back(at < 0 ? 0 : entry->results->address() + static_cast<uint64_t>(at));
  for (const CellPtr& cell : entry->states) state_.use(cell);
  entry->program = std::make_unique<cuda::DeviceProgram>(
      plan_within(recorded, found.memory_budget, device, *state_.scratch()), device,
      state_.make_modules(), state_.scratch());
  place = std::move(entry);
  return *place;
}

std::vector<Tensor> DeviceFunction::operator()(const std::vector<Tensor>& arguments) {
  return end(begin(arguments));
}

DeviceFunction::Call DeviceFunction::begin(const std::vector<Tensor>& arguments) {
  const ir::BuilderScope eager(ir::eager_builder());
  Entry& entry = find(arguments);
  last_ = &entry;
  cuda::Device& device = state_.device();
  Slot* slot = nullptr;
  for (const auto& s : entry.slots)
    if (!s->busy) slot = s.get();
  if (!slot)
    slot = entry.slots
               .emplace_back(std::make_unique<Slot>(
                   device, entry.argument_bytes, entry.result_bytes, entry.program->fault_bytes()))
               .get();
  std::vector<uint64_t> inputs;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const ir::Value value = contiguous(move_to(value_of(arguments[i]), {}));
    if (const int64_t bytes = value.type().bytes(); bytes > 0)
      std::memcpy(slot->in.data() + entry.argument_at[i], data(value), static_cast<size_t>(bytes));
    inputs.push_back(entry.arguments->address() + static_cast<uint64_t>(entry.argument_at[i]));
  }
  // To memory of this call's own, so that the call before may still be running.
  if (entry.argument_bytes > 0) {
    raise(device.prefetch(slot->staged.address(), slot->in.data(), entry.argument_bytes));
    raise(device.record_prefetch(slot->arrived.get()));
    raise(device.wait_event(slot->arrived.get()));
    raise(device.copy(entry.arguments->address(), slot->staged.address(), entry.argument_bytes));
  }
  for (const CellPtr& cell : entry.states) inputs.push_back(state_.use(cell));
  Recorder* const recorder = Recorder::active();
  if (recorder && inputs == entry.inputs)
    record(entry, *recorder);
  else
    entry.program->run(inputs, entry.outputs);
  entry.inputs = std::move(inputs);
  for (size_t i = 0; i < entry.states.size(); ++i)
    if (entry.written[i]) state_.written(entry.states[i]);
  if (entry.result_bytes > 0)
    raise(device.to_host(slot->out.data(), entry.results->address(), entry.result_bytes));
  entry.program->copy_faults(slot->faults.data());
  raise(device.record_event(slot->done.get()));
  slot->busy = true;
  Call call;
  call.entry_ = &entry;
  call.slot_ = slot;
  return call;
}

// A run whose launches are timed.
void DeviceFunction::record(Entry& entry, Recorder& recorder) {
  const cuda::DevicePlan& plan = entry.program->plan();
  if (entry.reports.empty()) entry.reports = device_report(plan).steps;
  raise(state_.device().synchronize());
  recorder.begin("device", "user_annotation");
  int64_t at = recorder.ranges().back().start_ns;
  const cuda::DeviceProfile profile = entry.program->profile();
  for (size_t s = 0; s < profile.ms.size(); ++s) {
    const StepReport& report = entry.reports[s];
    const auto ns = static_cast<int64_t>(profile.ms[s] * 1e6);
    recorder.add({.name = report.name,
                  .category = "kernel",
                  .start_ns = at,
                  .end_ns = at + ns,
                  .flops = report.flops,
                  .bytes = report.bytes,
                  .detail = report.detail});
    at += ns;
  }
  recorder.end().detail = profile.traced ? "traced by the device" : profile.note;
}

std::vector<Tensor> DeviceFunction::end(Call call) {
  const Entry& entry = *call.entry_;
  Slot& slot = *call.slot_;
  raise(state_.device().wait_host(slot.done.get()));
  slot.busy = false;
  entry.program->raise_faults(slot.faults.data());
  std::vector<Tensor> out;
  for (size_t i = 0; i < entry.result_at.size(); ++i) {
    if (entry.result_at[i] < 0) continue;
    const ir::Type& type = entry.program->output_types()[i];
    ir::Value value = ir::make_concrete(type, allocate(type.bytes()));
    if (type.bytes() > 0)
      std::memcpy(value->buffer->data(), slot.out.data() + entry.result_at[i],
                  static_cast<size_t>(type.bytes()));
    out.push_back(wrap(value));
  }
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
