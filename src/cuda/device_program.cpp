#include "cuda/device_program.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "base/format.h"
#include "base/thread_pool.h"
#include "codegen/gpu/arguments.h"
#include "cuda/binaries.h"
#include "cuda/loaded_kernels.h"
#include "cuda/product_plans.h"
#include "cuda/products.h"

namespace corten::cuda {

using codegen::gpu::KernelText;
using ir::Node;
using ir::Type;
using ir::ValueRef;
using kernel::Storage;

namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The fault slots of steps with gathered accesses.
constexpr int64_t kFaultBytes = sizeof(ir::KernelFault);

}  // namespace

class DeviceProgram::Impl {
 public:
  Impl(std::unique_ptr<DevicePlan> plan, Device& device, MakeModules make_modules,
       std::shared_ptr<Scratch> scratch, std::shared_ptr<LoadedKernels> kernels)
      : plan(std::move(plan)),
        device_(device),
        make_modules_(std::move(make_modules)),
        kernels_of_all_(std::move(kernels)),
        scratch_(scratch ? std::move(scratch) : std::make_shared<Scratch>(device)) {
    const Clock::time_point start = Clock::now();
    if (!kernels_of_all_) scratch_->reserve(plan_.bytes);
    upload_constants();
    const Clock::time_point loading = Clock::now();
    load_kernels();
    info.kernels_ms = ms_since(loading);
    plan_products();
    plan_convolutions();
    make_faults();
    for (const ir::Output& o : graph_.outputs()) output_types.push_back(graph_.type(o.value));
    info.make_ms = this->plan->plan_ms + ms_since(start);
  }
  ~Impl() {
    device_.synchronize();
    if (executable_) device_.release_graph(executable_);
    for (uint64_t m : modules_) device_.unload_module(m);
  }

  void run(const std::vector<uint64_t>& inputs, const std::vector<uint64_t>& outputs) {
    CORTEN_CHECK(inputs.size() == graph_.inputs().size() &&
                 outputs.size() == graph_.outputs().size());
    const bool same =
        bound_ && inputs == inputs_ && outputs == outputs_ && arena_ == scratch_->address();
    replayed = false;
    if (!same) {
      if (executable_) {
        raise(device_.synchronize());
        device_.release_graph(executable_);
        executable_ = 0;
      }
      inputs_ = inputs;
      outputs_ = outputs;
      arena_ = scratch_->address();
      bind();
      bound_ = true;
      return execute();
    }
    if (!executable_ && info.uncaptured.empty()) capture();
    replayed = executable_ != 0;
    if (!executable_) return execute();
    raise(device_, device_.launch_graph(executable_), "launch of a graph");
  }

  void run_once(const std::vector<uint64_t>& inputs, const std::vector<uint64_t>& outputs,
                uint64_t arena, uint64_t workspace) {
    CORTEN_CHECK(kernels_of_all_ && inputs.size() == graph_.inputs().size() &&
                 outputs.size() == graph_.outputs().size());
    inputs_ = inputs;
    outputs_ = outputs;
    arena_ = arena;
    workspace_address_ = workspace;
    bind();
    execute();
  }

  int64_t fault_bytes() const { return static_cast<int64_t>(fault_steps_.size()) * kFaultBytes; }
  // They are the call's own: the next one begins without.
  void copy_faults(void* to) {
    if (fault_steps_.empty()) return;
    raise(device_.to_host(to, faults_->address(), fault_bytes()));
    raise(device_.fill(faults_->address(), 0, fault_bytes()));
  }
  void raise_faults(const void* from) {
    const auto* faults = static_cast<const ir::KernelFault*>(from);
    for (size_t i = 0; i < fault_steps_.size(); ++i) {
      if (!faults[i].flagged) continue;
      const GpuStep& step = kernels_.steps[static_cast<size_t>(fault_steps_[i])];
      const GpuLaunch& l = step.launches[0];
      const kernel::Step& of =
          partition_.steps[static_cast<size_t>(kernels_.steps_of[static_cast<size_t>(l.kernel)])];
      usage_error("{}: index {} is out of range 0..{}", describe(graph_, {of.members.back(), 0}),
                  faults[i].value,
                  l.launch.accesses[static_cast<size_t>(faults[i].access)].index_bound - 1);
    }
  }
  void check() {
    std::vector<ir::KernelFault> faults(fault_steps_.size());
    copy_faults(faults.data());
    raise(device_.synchronize());
    raise_faults(faults.data());
  }

  std::vector<double> time(int runs) {
    CORTEN_CHECK(bound_);
    std::vector<uint64_t> events(static_cast<size_t>(runs) + 1, 0);
    for (uint64_t& e : events) raise(device_.create_event(e));
    if (!executable_) run(inputs_, outputs_);  // capturing is no part of a run
    raise(device_.record_event(events[0]));
    for (int i = 0; i < runs; ++i) {
      run(inputs_, outputs_);
      raise(device_.record_event(events[static_cast<size_t>(i) + 1]));
    }
    std::vector<double> out;
    for (size_t i = 0; i + 1 < events.size(); ++i) {
      float ms = 0;
      raise(device_.milliseconds(events[i], events[i + 1], ms));
      out.push_back(static_cast<double>(ms));
    }
    for (uint64_t e : events) device_.release_event(e);
    return out;
  }

  DeviceProfile profile() {
    CORTEN_CHECK(bound_);
    DeviceProfile out;
    out.costs = step_costs(partition_, kernels_);
    out.ms.assign(out.costs.size(), 0);
    raise(device_.synchronize());
    out.note = device_.begin_trace();
    out.traced = out.note.empty();
    if (!out.traced) {
      between_events(out);
      return out;
    }
    // Captured anew: what was captured before the trace began need not be seen by it.
    if (executable_) device_.release_graph(std::exchange(executable_, 0));
    run(inputs_, outputs_);
    std::vector<TracedWork> work;
    raise(device_.end_trace(work));
    attribute(work, out);
    return out;
  }

  const std::unique_ptr<DevicePlan> plan;
  DeviceProgramInfo info = plan->info();  // with the workspace, which the device's library decides
  std::vector<Type> output_types;
  bool replayed = false;

 private:
  uint64_t address(const Storage& s) const {
    const Slot* found = plan->slot(s);
    if (!found) return nothing();
    const Slot& slot = *found;
    uint64_t at = 0;
    switch (slot.kind) {
      case Slot::Kind::input:
        at = inputs_[static_cast<size_t>(slot.index)];
        break;
      case Slot::Kind::output:
        at = outputs_[static_cast<size_t>(slot.index)];
        break;
      case Slot::Kind::constant:
        at = constants_[static_cast<size_t>(slot.index)]->address();
        break;
      case Slot::Kind::arena:
        at = arena_ + static_cast<uint64_t>(plan_.offsets[static_cast<size_t>(slot.index)]);
        break;
      case Slot::Kind::none:
        break;
    }
    // Tensors without elements lie nowhere; a value per row is read from and written to them all
    // the same, and not used.
    if (at == 0) at = nothing();
    if (at % codegen::gpu::kMaxAlignment)
      internal_error("an operand of a program at {:#x}, no multiple of 16", at);
    return at;
  }

  /// 256 bytes of zeros.
  uint64_t nothing() const {
    return kernels_of_all_ ? kernels_of_all_->zeros() : nothing_->address();
  }

  void upload_constants() {
    if (!kernels_of_all_) {
      nothing_ = std::make_unique<DeviceMemory>(device_, 256);
      raise(device_.fill(nothing_->address(), 0, 256));
    }
    if (kernels_of_all_ && graph_.constants().empty()) return;
    for (const ir::Value& v : graph_.constants()) {
      const int64_t bytes = v.type().bytes();
      constants_.push_back(std::make_unique<DeviceMemory>(device_, std::max<int64_t>(bytes, 1),
                                                          "constants of a program"));
      if (bytes > 0)
        raise(device_.to_device(constants_.back()->address(), v->buffer->data(), bytes));
    }
    raise(device_.synchronize());  // what is copied may go
  }

  void load_kernels() {
    if (kernels_of_all_) {
      functions_ = kernels_of_all_->functions(texts_);
      return;
    }
    std::vector<std::string> cubins;
    if (make_modules_) {
      cubins = make_modules_(texts_);
    } else {
      const DeviceInfo& d = device_.info();
      for (Binary& b : compile_kernels(texts_, format("sm_{}{}", d.major, d.minor),
                                       default_thread_pool().num_threads()))
        cubins.push_back(std::move(b.cubin));
    }
    if (texts_.empty()) return;
    for (const std::string& cubin : cubins)
      raise(device_, device_.load_module(cubin, modules_.emplace_back()), "code of kernels");
    for (const KernelText& text : texts_) {
      Status status = "no module";
      uint64_t function = 0;
      for (size_t m = 0; m < modules_.size() && !status.empty(); ++m)
        status = device_.find_function(modules_[m], text.name, function);
      if (!status.empty()) internal_error("kernel {} was not compiled: {}", text.name, status);
      functions_.push_back(function);
    }
  }

  void plan_products() {
    for (const auto& [step, calls] : plan->products()) {
      PlannedProduct p{calls, {}};
      // Products without elements are no calls; those without k are zeros.
      const Product& of = p.calls.product;
      if (of.m > 0 && of.n > 0 && of.k > 0 && of.batch > 0 && !p.calls.calls.empty()) {
        const auto known = std::find_if(products_.begin(), products_.end(), [&](const auto& q) {
          return q.second.calls.product == of;
        });
        if (known != products_.end())
          p.plan = known->second.plan;
        else
          p.plan = product_plan(device_, of);
        info.workspace_bytes = std::max(info.workspace_bytes, p.plan.workspace_bytes);
      }
      products_.emplace(step, std::move(p));
    }
    if (kernels_of_all_) return;
    workspace_ =
        std::make_unique<DeviceMemory>(device_, info.workspace_bytes, "workspace of products");
    workspace_address_ = workspace_->address();
  }

  void plan_convolutions() {
    for (const auto& [step, c] : plan->convolutions())
      if (!c.empty()) convolutions_[step] = convolution_plan(device_, c.of, c.max_workspace);
  }

  // Where kernels say which index is out of range.
  void make_faults() {
    for (size_t s = 0; s < kernels_.steps.size(); ++s)
      if (kernels_.steps[s].library < 0)
        if (const GpuLaunch& l = kernels_.steps[s].launches[0]; has_index(l))
          fault_steps_.push_back(static_cast<int32_t>(s));
    faults_ = std::make_unique<DeviceMemory>(device_, fault_bytes());
    if (!fault_steps_.empty()) raise(device_.fill(faults_->address(), 0, fault_bytes()));
  }

  // The arguments of all launches for the addresses of this run. Those of grouped launches lie in
  // the device's memory.
  void bind() {
    bound_launches_.assign(kernels_.steps.size(), {});
    for (size_t s = 0; s < kernels_.steps.size(); ++s)
      if (const PlannedAttention* attention = attention_of(s))
        bound_launches_[s].words = attention_words(kernels_.steps[s].library, *attention);
    std::vector<int64_t> tables;
    for (size_t s = 0; s < kernels_.steps.size(); ++s) {
      const GpuStep& step = kernels_.steps[s];
      if (step.library >= 0) continue;
      Bound& bound = bound_launches_[s];
      const auto fault =
          std::lower_bound(fault_steps_.begin(), fault_steps_.end(), static_cast<int32_t>(s)) -
          fault_steps_.begin();
      std::vector<int64_t> begins{0};
      for (const GpuLaunch& l : step.launches) {
        const kernel::LoweredKernel& k = kernels_.kernels[static_cast<size_t>(l.kernel)];
        std::vector<uint64_t> addresses;
        for (const Storage& storage : k.operands)
          addresses.push_back(storage_type(graph_, storage).elements() ? address(storage)
                                                                       : nothing());
        codegen::gpu::pack_arguments(
            k.kernel, l.launch, addresses,
            faults_->address() + static_cast<uint64_t>(fault * kFaultBytes), bound.words);
        begins.push_back(begins.back() + l.blocks);
      }
      bound.blocks = begins.back();
      if (bound.blocks >= int64_t{1} << 31)
        usage_error("a launch of {} blocks: too many for a GPU", bound.blocks);
      if (!step.schedule.grouped) continue;
      begins.insert(begins.end(), bound.words.begin(), bound.words.end());
      bound.table = static_cast<int64_t>(tables.size()) * 8;
      bound.launches = static_cast<int32_t>(step.launches.size());
      tables.insert(tables.end(), begins.begin(), begins.end());
    }
    const auto bytes = static_cast<int64_t>(tables.size()) * 8;
    if (!tables_ || table_bytes_ < bytes) {
      raise(device_.synchronize());
      tables_ = std::make_unique<DeviceMemory>(device_, bytes);
      table_bytes_ = bytes;
    }
    if (bytes > 0) {
      raise(device_.to_device(tables_->address(), tables.data(), bytes));
      raise(device_.synchronize());  // the host's table goes
    }
    for (Bound& b : bound_launches_)
      b.table_address = tables_->address() + static_cast<uint64_t>(b.table);
  }

  /// Null for other steps.
  const PlannedAttention* attention_of(size_t s) const {
    const auto found = plan->attention().find(kernels_.steps[s].library);
    return found == plan->attention().end() ? nullptr : &found->second;
  }
  std::vector<int64_t> attention_words(int32_t step, const PlannedAttention& planned) const {
    const int32_t index = partition_.steps[static_cast<size_t>(step)].members[0];
    std::vector<uint64_t> addresses;
    for (ValueRef r : graph_.nodes()[static_cast<size_t>(index)].inputs)
      addresses.push_back(address({partition_.places[r].root}));
    for (const passes::Place& p : partition_.places.of(index))
      addresses.push_back(address({p.root}));
    return planned.step.words(addresses, workspace_at(planned.workspace));
  }
  // Of an interval of the arena, if there is one.
  uint64_t workspace_at(int32_t interval) const {
    return interval < 0
               ? 0
               : arena_ + static_cast<uint64_t>(plan_.offsets[static_cast<size_t>(interval)]);
  }

  bool has_index(const GpuLaunch& l) const {
    const auto& accesses = kernels_.kernels[static_cast<size_t>(l.kernel)].kernel.accesses;
    return std::any_of(accesses.begin(), accesses.end(),
                       [](const ir::Access& a) { return a.index >= 0; });
  }

  // The work of a run as a graph. A device that refuses is asked no more: what was done one by one
  // before is done so again.
  void capture() {
    // Whatever happens, the stream must not stay in capture.
    struct Capture {
      Device& device;
      bool open = false;
      ~Capture() {
        uint64_t graph = 0;
        if (open && device.end_capture(graph).empty()) device.release_graph(graph);
      }
    } capture{device_};
    Status status = device_.begin_capture();
    capture.open = status.empty();
    if (capture.open) {
      try {
        execute();
      } catch (const Error& e) {
        if (e.kind() != ErrorKind::Resource) throw;
        status = e.what();
      }
    }
    if (status.empty()) {
      capture.open = false;
      status = device_.end_capture(executable_);
      if (!status.empty()) executable_ = 0;
    }
    info.uncaptured = status;
  }

  void execute() {
    for (size_t s = 0; s < kernels_.steps.size(); ++s) execute_step(s);
    for (const StateCopy& c : plan->copies())
      raise(device_.copy(inputs_[static_cast<size_t>(c.input)], address({c.root}), c.bytes));
  }

  void execute_step(size_t s) {
    const GpuStep& step = kernels_.steps[s];
    Bound& b = bound_launches_[s];
    if (const PlannedAttention* attention = attention_of(s)) return attend(*attention, b.words);
    if (plan->convolutions().count(step.library)) return convolve(step.library);
    if (step.library >= 0) return product(step.library);
    if (b.blocks == 0) return;
    const KernelText& text = kernels_.texts[static_cast<size_t>(step.text)];
    void* single[] = {b.words.data()};
    void* grouped[] = {&b.table_address, &b.launches};
    raise(device_,
          device_.launch(functions_[static_cast<size_t>(step.text)], b.blocks, text.threads,
                         text.grouped ? grouped : single),
          "launch of a kernel");
  }

  // Steps one by one, with an event behind each.
  void between_events(DeviceProfile& out) {
    const size_t count = kernels_.steps.size();
    std::vector<uint64_t> events(count + 1, 0);
    for (uint64_t& e : events) raise(device_.create_event(e));
    raise(device_.record_event(events[0]));
    for (size_t s = 0; s < count; ++s) {
      execute_step(s);
      raise(device_.record_event(events[s + 1]));
    }
    for (const StateCopy& c : plan->copies())
      raise(device_.copy(inputs_[static_cast<size_t>(c.input)], address({c.root}), c.bytes));
    raise(device_.synchronize());
    for (size_t s = 0; s < count; ++s) {
      float ms = 0;
      raise(device_.milliseconds(events[s], events[s + 1], ms));
      out.ms[s] = static_cast<double>(ms);
      out.busy_ms += out.ms[s];
    }
    out.wall_ms = out.busy_ms;
    for (uint64_t e : events) device_.release_event(e);
  }

  // A product or a convolution.
  bool of_library(size_t s) const { return kernels_.steps[s].library >= 0 && !attention_of(s); }
  bool executes(size_t s, bool library, const std::string& name) const {
    if (of_library(s)) return library;
    const PlannedAttention* attention = attention_of(s);
    if (!attention) return texts_[static_cast<size_t>(kernels_.steps[s].text)].name == name;
    return std::any_of(attention->texts.begin(), attention->texts.end(),
                       [&](int32_t t) { return texts_[static_cast<size_t>(t)].name == name; });
  }
  // Work by step: kernels are known by their names, and come in the order of the steps; what the
  // libraries execute between two of them belongs to the library steps between them.
  void attribute(const std::vector<TracedWork>& work, DeviceProfile& out) const {
    std::set<std::string> own;
    for (const KernelText& t : texts_) own.insert(t.name);
    const size_t count = kernels_.steps.size();
    size_t next = 0;  // the first step that may have been executed next
    int64_t first = 0, last = 0;
    for (const TracedWork& w : work) {
      const double ms = static_cast<double>(w.end_ns - w.start_ns) * 1e-6;
      first = out.busy_ms > 0 ? first : w.start_ns;
      last = std::max(last, w.end_ns);
      out.busy_ms += ms;
      const bool library = own.count(w.name) == 0;
      size_t s = next;
      while (s < count && !executes(s, library, w.name)) ++s;
      if (s == count) continue;
      out.ms[s] += ms;
      // A library's step may need several kernels; attention's are known.
      const PlannedAttention* attention = attention_of(s);
      const bool more = attention
                            ? texts_[static_cast<size_t>(attention->texts.back())].name != w.name
                            : library && (s + 1 == count || !of_library(s + 1));
      next = more ? s : s + 1;
    }
    out.wall_ms = static_cast<double>(last - first) * 1e-6;
  }

  void attend(const PlannedAttention& planned, std::vector<int64_t>& words) {
    void* arguments[] = {words.data()};
    const std::vector<AttentionKernel>& kernels = planned.step.kernels();
    for (size_t i = 0; i < kernels.size(); ++i)
      if (kernels[i].blocks > 0)
        raise(device_,
              device_.launch(functions_[static_cast<size_t>(planned.texts[i])], kernels[i].blocks,
                             kernels[i].text.threads, arguments, kernels[i].text.shared_bytes),
              "launch of a kernel");
  }

  void convolve(int32_t step) {
    const PlannedConvolution& c = plan->convolutions().at(step);
    const int32_t index = partition_.steps[static_cast<size_t>(step)].members[0];
    const Node& n = graph_.nodes()[static_cast<size_t>(index)];
    const uint64_t out = address({partition_.places.of(index)[0].root});
    if (c.empty()) {
      if (n.types[0].elements() > 0) raise(device_.fill(out, 0, n.types[0].bytes()));
      return;
    }
    uint64_t in[2] = {};
    for (size_t k : {0u, 1u}) {
      const passes::Place& place = partition_.places[n.inputs[k]];
      in[k] = address({place.root}) +
              static_cast<uint64_t>(place.layout.offset) * size_of(graph_.type(n.inputs[k]).dtype);
    }
    raise(device_.run_convolution(c.of, convolutions_.at(step), in[0], in[1], out,
                                  workspace_at(c.workspace)));
  }

  void product(int32_t step) {
    const PlannedProduct& p = products_.at(step);
    const Product& of = p.calls.product;
    const int32_t index = partition_.steps[static_cast<size_t>(step)].members[0];
    const Node& n = graph_.nodes()[static_cast<size_t>(index)];
    const int64_t elements = n.types[0].elements();
    if (elements == 0) return;
    const uint64_t c = address({partition_.places.of(index)[0].root});
    if (of.k == 0) {
      if (!of.accumulate) raise(device_.fill(c, 0, n.types[0].bytes()));
      return;
    }
    const auto at = [&](size_t input, int64_t offset) {
      return address({partition_.places[n.inputs[input]].root}) + static_cast<uint64_t>(offset);
    };
    ProductAddresses addresses{.workspace = workspace_address_};
    if (of.bias) addresses.bias = at(2, p.calls.bias);
    if (has_8_bits(of.type)) {
      addresses.scale_a = at(2, p.calls.scale_a);
      addresses.scale_b = at(3, p.calls.scale_b);
    }
    for (const ProductCalls::Call& call : p.calls.calls) {
      addresses.a = at(0, call.a);
      addresses.b = at(1, call.b);
      addresses.c = c + static_cast<uint64_t>(call.c);
      Product some = of;
      some.batch = call.batch;
      raise(device_, device_.run_product(some, p.plan, addresses), "a product");
    }
  }

  struct PlannedProduct {
    ProductCalls calls;
    ProductPlan plan;
  };
  struct Bound {
    std::vector<int64_t> words;
    int64_t blocks = 0, table = 0;
    uint64_t table_address = 0;
    int32_t launches = 0;
  };

  Device& device_;
  MakeModules make_modules_;
  std::shared_ptr<LoadedKernels> kernels_of_all_;  // null: it has its own
  std::shared_ptr<Scratch> scratch_;
  uint64_t arena_ = 0, workspace_address_ = 0;  // arena: where it was when addresses were bound
  const ir::Graph& graph_ = plan->graph;
  const kernel::Partition& partition_ = plan->partition();
  const StepKernels& kernels_ = plan->kernels();
  const std::vector<KernelText>& texts_ = plan->texts();
  const passes::MemoryPlan& plan_ = plan->plan;
  std::unique_ptr<DeviceMemory> nothing_, workspace_, tables_, faults_;
  std::vector<std::unique_ptr<DeviceMemory>> constants_;
  int64_t table_bytes_ = 0;
  std::vector<uint64_t> modules_, functions_;
  std::map<int32_t, PlannedProduct> products_;  // by step of the partition
  std::map<int32_t, ProductPlan> convolutions_;
  std::vector<int32_t> fault_steps_;
  std::vector<Bound> bound_launches_;  // by step
  std::vector<uint64_t> inputs_, outputs_;
  bool bound_ = false;
  uint64_t executable_ = 0;
};

DeviceProgram::DeviceProgram(std::unique_ptr<DevicePlan> plan, Device& device,
                             MakeModules make_modules, std::shared_ptr<Scratch> scratch)
    : impl_(std::make_unique<Impl>(std::move(plan), device, std::move(make_modules),
                                   std::move(scratch), nullptr)) {}
DeviceProgram::DeviceProgram(std::unique_ptr<DevicePlan> plan, Device& device,
                             std::shared_ptr<LoadedKernels> kernels)
    : impl_(std::make_unique<Impl>(std::move(plan), device, MakeModules(), nullptr,
                                   std::move(kernels))) {}
DeviceProgram::~DeviceProgram() = default;
void DeviceProgram::run(const std::vector<uint64_t>& inputs, const std::vector<uint64_t>& outputs) {
  impl_->run(inputs, outputs);
}
void DeviceProgram::check() {
  impl_->check();
}
int64_t DeviceProgram::fault_bytes() const {
  return impl_->fault_bytes();
}
void DeviceProgram::copy_faults(void* to) {
  impl_->copy_faults(to);
}
void DeviceProgram::raise_faults(const void* from) {
  impl_->raise_faults(from);
}
void DeviceProgram::run_once(const std::vector<uint64_t>& inputs,
                             const std::vector<uint64_t>& outputs, uint64_t arena,
                             uint64_t workspace) {
  impl_->run_once(inputs, outputs, arena, workspace);
}
std::vector<double> DeviceProgram::time(int runs) {
  return impl_->time(runs);
}
DeviceProfile DeviceProgram::profile() {
  return impl_->profile();
}
const DeviceProgramInfo& DeviceProgram::info() const {
  return impl_->info;
}
const DevicePlan& DeviceProgram::plan() const {
  return *impl_->plan;
}
const std::vector<ir::Output>& DeviceProgram::outputs() const {
  return impl_->plan->graph.outputs();
}
const std::vector<ir::Type>& DeviceProgram::output_types() const {
  return impl_->output_types;
}
bool DeviceProgram::replayed() const {
  return impl_->replayed;
}

}  // namespace corten::cuda
