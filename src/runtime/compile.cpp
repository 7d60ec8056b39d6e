// compile(): traces a function twice, plans it once, replays it.
#include "corten/compile.h"

#include <chrono>
#include <cstdlib>
#include <list>
#include <optional>

#include "base/env.h"
#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "ops/functions.h"
#include "corten/random.h"
#include "runtime/allocator.h"
#include "runtime/compile_reason.h"
#include "runtime/compiled_on_device.h"
#include "runtime/device_report.h"
#include "runtime/devices.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "runtime/program.h"
#include "runtime/tensor_impl.h"

namespace corten {

using runtime::Program;
using runtime::Trace;

namespace {

constexpr size_t kPrograms = 16;  // per compiled function; least recently used ones are forgotten

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What one trace found.
struct Recorded {
  ir::Graph graph;
  std::vector<CellPtr> states;
  std::vector<bool> written;
  std::vector<bool> leaves, replaced;  // of each state's cell, when it was recorded
  size_t results = 0;        // outputs of the function; the others are state

  /// What makes the graph one of other states than those of now, or "".
  std::string states_changed() const {
    for (size_t i = 0; i < states.size(); ++i) {
      const Cell& cell = *states[i];
      const bool newly_replaced = cell.replaced && !replaced[i];
      if (!newly_replaced && static_cast<bool>(cell.leaf) == leaves[i]) continue;
      const std::string type = to_string(cell.value.type());
      if (newly_replaced) return format("state {} ({}) was replaced by another tensor", i, type);
      return format("state {} ({}) {} grad now", i, type, cell.leaf ? "requires" : "does not require");
    }
    return "";
  }
};

/// One program of a compiled function, for one list of argument types.
struct Entry {
  runtime::ProgramKey key;
  Recorded recorded;
  std::unique_ptr<Program> program;  // on the CPU; else the one below
  std::unique_ptr<runtime::CompiledOnDevice> on_device;
  ir::Placement home;
  int64_t calls = 0;
  double trace_ms = 0;
};

std::string describe(const ir::Node& n) {
  std::string at = ir::to_string(n.source);
  return format("{}{}{}", n.op->name, n.attrs->text(), at.empty() ? "" : " at " + at);
}

/// The first difference between two traces, or "".
std::string difference(const ir::Graph& a, const ir::Graph& b) {
  for (size_t i = 0; i < std::min(a.nodes().size(), b.nodes().size()); ++i) {
    const ir::Node &x = a.nodes()[i], &y = b.nodes()[i];
    if (x.op == y.op && x.attrs->equals(*y.attrs) && x.inputs == y.inputs && x.types == y.types) continue;
    return format("{} became {}", describe(x), describe(y));
  }
  if (a.nodes().size() != b.nodes().size()) {
    const ir::Graph& longer = a.nodes().size() > b.nodes().size() ? a : b;
    return format("{} operations became {}; the first extra one is {}", a.nodes().size(), b.nodes().size(),
                  describe(longer.nodes()[std::min(a.nodes().size(), b.nodes().size())]));
  }
  for (size_t i = 0; i < std::min(a.outputs().size(), b.outputs().size()); ++i)
    if (a.outputs()[i].value != b.outputs()[i].value || a.outputs()[i].alias != b.outputs()[i].alias) return format("result {} changed", i);
  return a.outputs().size() == b.outputs().size() ? "" : "the number of results changed";
}

}  // namespace

struct CompiledFunction::Impl {
  Function function;
  CompileOptions options;
  std::list<Entry> entries;  // most recently used first
  runtime::CompileHistory history;
  bool detect_anomaly = false;
  ProgramInfo info;

  Recorded trace(const std::vector<Tensor>& arguments, const ir::Values& values) {
    Recorded out;
    runtime::RandomState saved = runtime::random_state();
    runtime::random_state().ordinal = 0;
    struct Restore {
      runtime::RandomState saved;
      ~Restore() { runtime::random_state() = saved; }
    } restore{saved};
    Trace trace;
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < arguments.size(); ++i)
      inputs.push_back(runtime::wrap(trace.graph.input(values[i].type(), format("argument{}", i), ir::Layout{0, values[i]->layout.strides})));
    trace.arguments = arguments.size();
    for (const Tensor& t : function(inputs)) {
      trace.graph.output(runtime::value_of(t).with_edge({}));
      ++out.results;
    }
    for (size_t i = 0; i < trace.states.size(); ++i) {
      const Trace::State& s = trace.states[i];
      if (s.written) trace.graph.output(s.current, static_cast<int32_t>(arguments.size() + i));
      out.states.push_back(s.cell);
      out.written.push_back(s.written);
      out.leaves.push_back(static_cast<bool>(s.cell->leaf));
      out.replaced.push_back(s.cell->replaced);
    }
    out.graph = std::move(trace.graph);
    return out;
  }

  Entry& find(const std::vector<Tensor>& arguments, const ir::Values& values) {
    runtime::ProgramKey key = runtime::program_key(values);
    std::string states_changed;
    for (auto it = entries.begin(); it != entries.end(); ++it)
      if (it->key == key) {
        states_changed = it->recorded.states_changed();
        if (const ir::Placement home = states_changed.empty() ? runtime::home_of(values, it->recorded.states) : it->home; home != it->home)
          states_changed = format("its state lies on {} now, not on {}", ir::to_string(home), ir::to_string(it->home));
        entries.splice(entries.begin(), entries, it);
        if (states_changed.empty()) return entries.front();
        break;
      }
    Entry entry;
    CompileRecord record;
    record.reason = history.reason(key, entries.empty() ? nullptr : &entries.front().key, states_changed);
    if (!states_changed.empty()) entries.pop_front();
    entry.key = std::move(key);
    const codegen::CompileStats before = codegen::compile_stats();
    double start = now_ms();
    entry.recorded = trace(arguments, values);
    entry.trace_ms = now_ms() - start;
    ir::BuilderScope eager(ir::eager_builder());
    runtime::ProgramOptions planning;
    entry.home = runtime::home_of(values, entry.recorded.states);
    if (entry.home.kind == ir::DeviceKind::cuda)
      entry.on_device = std::make_unique<runtime::CompiledOnDevice>(runtime::open_device(entry.home), entry.recorded.graph, options.memory_budget);
    else if (options.memory_budget > 0) planning.arena_budget = std::max<int64_t>(0, options.memory_budget - bytes_besides_arena(entry.recorded, values));
    if (!entry.on_device) entry.program = std::make_unique<Program>(entry.recorded.graph, planning);
    const codegen::CompileStats after = codegen::compile_stats();
    record.trace_ms = entry.trace_ms;
    record.passes_ms = entry.on_device ? entry.on_device->plan().plan_ms : entry.program->info().passes_ms;
    record.compile_ms = entry.on_device ? entry.on_device->kernels_ms() : entry.program->info().compile_ms;
    record.kernels_compiled = after.compiled - before.compiled;
    record.kernels_from_disk = after.from_disk - before.from_disk;
    record.kernels_from_memory = after.from_memory - before.from_memory;
    history.add(std::move(record));
    entries.push_front(std::move(entry));
    if (entries.size() > kPrograms) {
      history.forgotten(entries.back().key);
      entries.pop_back();
    }
    return entries.front();
  }

  static int64_t bytes_besides_arena(const Recorded& recorded, const ir::Values& arguments) {
    int64_t bytes = 0;
    for (const CellPtr& cell : recorded.states) bytes += cell->value.type().bytes();
    for (const ir::Value& v : arguments) bytes += v.type().bytes();
    for (const ir::Output& o : recorded.graph.outputs())
      if (o.alias < 0) bytes += recorded.graph.type(o.value).bytes();
    return bytes;
  }

  void describe_program(const Entry& entry, const ir::Values& arguments) {
    if (entry.on_device) {
      ProgramInfo host;
      for (const ir::Output& o : entry.recorded.graph.outputs())
        if (o.alias < 0) host.output_bytes += entry.recorded.graph.type(o.value).bytes();
      info = runtime::device_info(host, entry.on_device->plan());
      info.passes_ms = entry.on_device->plan().plan_ms;
      info.compile_ms = entry.on_device->kernels_ms();
    } else {
      info = entry.program->info();
    }
    info.trace_ms = entry.trace_ms;
    info.state_bytes = info.argument_bytes = 0;
    for (const CellPtr& cell : entry.recorded.states) info.state_bytes += cell->value.type().bytes();
    for (const ir::Value& v : arguments) info.argument_bytes += v.type().bytes();
  }

  static ir::Values concrete(const std::vector<Tensor>& arguments) {
    if (Trace::active()) usage_error("a compiled function was called while another one is being compiled: call the plain function there");
    ir::Values out;
    ir::GradScope no_grad(false);
    for (const Tensor& t : arguments) {
      out.push_back(runtime::value_of(t).with_edge({}));
      const ir::Value& v = out.back();
      // Programs of a GPU copy their arguments to where they read them.
      if (ir::placement_of(v).kind == ir::DeviceKind::cuda && !ir::is_contiguous(v->layout, v.dims())) out.back() = ops::copy(v);
    }
    return out;
  }

  std::vector<Tensor> call(const std::vector<Tensor>& arguments) {
    static const int64_t check_every = env_int("CORTEN_CHECK_TRACE", 0);
    ir::Values values = concrete(arguments);
    Entry& entry = find(arguments, values);
    if (options.memory_budget > 0 && entry.program) {
      const int64_t least = bytes_besides_arena(entry.recorded, values) + entry.program->info().arena_bytes;
      if (least > options.memory_budget)
        resource_error("a compiled function needs at least {} ({} bytes), however much it computes again; its memory budget is {} ({} bytes)",
                       format_bytes(static_cast<uint64_t>(least)), least, format_bytes(static_cast<uint64_t>(options.memory_budget)),
                       options.memory_budget);
    }
    ++entry.calls;
    if (entry.calls == 2 || (check_every > 0 && entry.calls > 1 && entry.calls % check_every == 0)) {
      Recorded again = trace(arguments, values);
      std::string changed = difference(entry.recorded.graph, again.graph);
      if (changed.empty() && again.states != entry.recorded.states) changed = "other tensors are used as state";
      if (!changed.empty())
        usage_error("a compiled function did not do the same in two calls: {}. Pass what changes from call to call as a tensor (an argument or state)", changed);
    }
    if (entry.on_device) return call_on_device(entry, values);
    std::vector<void*> in, out;
    auto address = [](const ir::Value& v) {
      if (runtime::on_null_device(v))
        usage_error("a compiled function was called on a tensor of the null device ({}): it can be planned, not run", to_string(v.type()));
      return static_cast<void*>(static_cast<char*>(v->buffer->data()) + v->layout.offset * static_cast<int64_t>(size_of(v.dtype())));
    };
    for (ir::Value& v : values) in.push_back(address(v = runtime::transfer(v, entry.home)));
    for (size_t i = 0; i < entry.recorded.states.size(); ++i) {
      follow(*entry.recorded.states[i], entry.home);
      own(*entry.recorded.states[i], entry.recorded.written[i], values);
      in.push_back(address(entry.recorded.states[i]->value));
    }
    runtime::AllocationLabel label("result of a compiled function");
    ir::Values results;
    const auto& outputs = entry.program->outputs();
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].alias >= 0) {
        out.push_back(nullptr);
        continue;
      }
      const ir::Type& type = entry.program->output_types()[i];
      results.push_back(ir::make_concrete(type, runtime::allocate(type.bytes())));
      out.push_back(results.back()->buffer->data());
    }
    entry.program->run(in, out, detect_anomaly);
    describe_program(entry, values);
    std::vector<Tensor> tensors;
    for (const ir::Value& v : results) tensors.push_back(runtime::wrap(v));
    return tensors;
  }

  std::vector<Tensor> call_on_device(Entry& entry, const ir::Values& values) {
    if (detect_anomaly)
      usage_error("[detect_anomaly] programs on {} do not look for NaN: run the function on the cpu", ir::to_string(entry.home));
    for (size_t i = 0; i < entry.recorded.states.size(); ++i) {
      follow(*entry.recorded.states[i], entry.home);
      own(*entry.recorded.states[i], entry.recorded.written[i], values);
    }
    std::vector<Tensor> tensors;
    for (const ir::Value& v : (*entry.on_device)(values, entry.recorded.states)) tensors.push_back(runtime::wrap(v));
    describe_program(entry, values);
    return tensors;
  }

  /// 0-d state (the learning rate, the number of steps, the seed) lies where its function runs.
  static void follow(Cell& cell, ir::Placement home) {
    if (ir::placement_of(cell.value) == home) return;
    const ir::GradEdge edge = cell.value->edge;
    cell.value = runtime::transfer(cell.value.with_edge({}), home).with_edge(edge);
  }

  /// State lies contiguously in memory of its own before a program writes to it: others that hold its old value keep it.
  static void own(Cell& cell, bool written, const ir::Values& arguments) {
    const ir::Value& v = cell.value;
    bool contiguous = ir::is_contiguous(v->layout, v.dims());
    if (ir::placement_of(v).kind == ir::DeviceKind::cuda) contiguous &= v->layout.offset == 0;  // where it is aligned
    bool shared = written && (v->buffer.use_count() > 1 || v.use_count() > 1);
    if (written)
      for (const ir::Value& a : arguments)
        if (a->buffer == v->buffer) shared = true;
    if (contiguous && !shared) return;
    ir::GradScope no_grad(false);
    ir::GradEdge edge = v->edge;
    cell.value = ops::copy(v).with_edge(edge);
  }
};

std::vector<Tensor> CompiledFunction::operator()(const std::vector<Tensor>& arguments) { return impl_->call(arguments); }
const ProgramInfo& CompiledFunction::info() const { return impl_->info; }
const ProgramInfo& CompiledFunction::plan(const std::vector<Tensor>& arguments) {
  ir::Values values = Impl::concrete(arguments);
  impl_->describe_program(impl_->find(arguments, values), values);
  return impl_->info;
}
int64_t CompiledFunction::touched_arena_bytes() const { return impl_->entries.empty() || !impl_->entries.front().program ? 0 : impl_->entries.front().program->touched_arena_bytes(); }
std::string CompiledFunction::explain() const {
  if (impl_->entries.empty()) return "nothing is compiled yet\n";
  const Entry& entry = impl_->entries.front();
  if (entry.on_device) {
    std::string out = format("program on {} for arguments {}, traced in {:.1f} ms\n", ir::to_string(entry.home), entry.key.text(), entry.trace_ms);
    const std::vector<runtime::StepReport> steps = runtime::device_report(entry.on_device->plan()).steps;
    for (size_t i = 0; i < steps.size(); ++i) out += format("step {:4}  {}  {}\n", i, steps[i].name, steps[i].detail);
    return out;
  }
  return format("program for arguments {}, traced in {:.1f} ms\n{}", entry.key.text(), entry.trace_ms, entry.program->explain());
}
runtime::Inspection runtime::inspect(const CompiledFunction& function) {
  const CompiledFunction::Impl& impl = *function.impl();
  if (impl.entries.empty()) usage_error("nothing is compiled yet: call the function, or plan() it");
  const Entry& entry = impl.entries.front();
  if (entry.on_device) usage_error("a compiled function whose state lies on {} is not planned for the cpu: move its state", ir::to_string(entry.home));
  return {entry.program.get(), &entry.recorded.graph, entry.recorded.states, entry.recorded.written, impl.options.memory_budget};
}
std::vector<CompileRecord> CompiledFunction::compilations() const { return impl_->history.records(); }
void CompiledFunction::detect_anomaly(bool enabled) { impl_->detect_anomaly = enabled; }

CompiledFunction compile(Function function, CompileOptions options) {
  auto impl = std::make_shared<CompiledFunction::Impl>();
  if (options.memory_budget < 0) usage_error("[compile] a memory budget of {} bytes", options.memory_budget);
  impl->function = std::move(function);
  impl->options = options;
  return CompiledFunction(std::move(impl));
}

std::vector<Tensor> for_shards(int64_t count, const std::function<std::vector<Tensor>(int64_t)>& shard) {
  if (count < 1) usage_error("[for_shards] {} shards", count);
  // Binary counter: partial[k] is the sum of an aligned block of 2^k shards. Adding a shard merges equal blocks, the
  // earlier one on the left; at the end the smaller blocks are the right parts.
  std::vector<std::optional<std::vector<Tensor>>> partial;
  auto add = [](const std::vector<Tensor>& left, const std::vector<Tensor>& right) {
    ir::StageScope stage(ir::Stage::accumulate);
    std::vector<Tensor> out;
    for (size_t i = 0; i < left.size(); ++i)
      out.push_back(left[i].defined() && right[i].defined()
                        ? runtime::wrap(ops::add(runtime::value_of(left[i]), runtime::value_of(right[i])))
                        : left[i].defined() ? left[i] : right[i]);
    return out;
  };
  for (int64_t v = 0; v < count; ++v) {
    std::vector<Tensor> sum;
    {
      ShardScope scope(v);
      sum = shard(v);
    }
    size_t k = 0;
    for (; k < partial.size() && partial[k]; ++k) {
      if (partial[k]->size() != sum.size()) usage_error("[for_shards] shard {} returned {} tensors, another {}", v, sum.size(), partial[k]->size());
      sum = add(*partial[k], sum);
      partial[k].reset();
    }
    if (k == partial.size()) partial.emplace_back();
    partial[k] = std::move(sum);
  }
  std::optional<std::vector<Tensor>> total;
  for (auto& block : partial)
    if (block) total = total ? add(*block, *total) : *block;
  return *total;
}

void set_detect_anomaly(bool enabled) { runtime::eager_detects_anomaly() = enabled; }

}  // namespace corten
