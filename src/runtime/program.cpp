#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/format.h"
#include "base/half.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "runtime/allocator.h"
#include "runtime/draft.h"

namespace corten::runtime {

using ir::Node;
using ir::Type;
using ir::ValueRef;
using kernel::Storage;

namespace {

constexpr size_t kMaxLibraryOperands = 16 + kMaxTileOperands;

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The scratch segment shared by all compiled programs: as large as the largest of them.
struct Scratch {
  std::mutex mutex;  // programs run one at a time
  std::unique_ptr<Arena> arena;
};
Scratch& scratch() {
  static auto* instance = new Scratch;
  return *instance;
}

int64_t items(const ProgramStep& step, const ir::Launch& launch) {
  if (step.form == ir::KernelForm::scatter) return 1;
  int64_t n = 1;
  for (int d = 0; d < step.outer_rank - (step.form == ir::KernelForm::columns ? 1 : 0); ++d) n *= launch.outer[d];
  return step.form == ir::KernelForm::columns ? n * launch.chunks : n;
}

/// Every range of the arena is filled with NaN once its last reader is done: reading it later shows.
void poison_after(Draft& draft) {
  for (size_t i = 0; i < draft.intervals.size(); ++i) {
    const passes::Interval& life = draft.intervals[i];
    if (static_cast<size_t>(life.last) < draft.steps.size())
      draft.steps[static_cast<size_t>(life.last)].poison.emplace_back(draft.plan.offsets[i], life.bytes);
  }
}

}  // namespace

Program::Program(const ir::Graph& graph, ProgramOptions options)
    : options_(options), threads_(default_thread_pool().num_threads()) {
  const auto disabled = passes::disabled_passes();
  double passes_ms = 0, compile_ms = 0;
  auto draft = [&](ir::Graph g) {
    const double start = now_ms();
    auto out = make_draft(std::move(g), !disabled.count("fuse"), !disabled.count("plan"), threads_);
    compile_ms += out->info.compile_ms;
    passes_ms += now_ms() - start - out->info.compile_ms;
    return out;
  };
  const double start = now_ms();
  ir::Graph optimised = passes::run_pipeline(graph, disabled, &passes_);
  passes_ms += now_ms() - start;
  std::unique_ptr<Draft> chosen = draft(std::move(optimised));
  if (!options.eager && !disabled.count("remat")) {
    const double begin = now_ms(), before = passes_ms + compile_ms;
    const size_t nodes = chosen->graph.nodes().size();
    chosen = passes::rematerialise<Draft>(std::move(chosen), options.arena_budget, draft);
    passes_.push_back({"remat", now_ms() - begin, nodes, chosen->graph.nodes().size(), false});
    passes_ms += now_ms() - begin - (passes_ms + compile_ms - before);
  }
  ir::Graph& final = chosen->graph;
  passes::MemoryPlan& plan = chosen->plan;
  auto settle = [&](Slot& slot) {
    if (slot.kind == Slot::Kind::arena) slot.offset = plan.offsets[slot.index];
  };
  for (ProgramStep& step : chosen->steps) {
    for (Slot& slot : step.operands) settle(slot);
    settle(step.scratch);
  }
  for (StateCopy& copy : chosen->copies) settle(copy.from);
  if (std::getenv("CORTEN_POISON")) poison_after(*chosen);
  steps_ = std::move(chosen->steps);
  copies_ = std::move(chosen->copies);
  kernel_texts_ = std::move(chosen->kernel_texts);
  if (!options_.eager) {
    contents_ = chosen->contents();
    intervals_ = std::move(chosen->intervals);
    offsets_ = std::move(plan.offsets);
  }
  constants_ = final.constants();
  outputs_ = final.outputs();
  info_ = chosen->info;
  info_.passes_ms = passes_ms;
  info_.compile_ms = compile_ms;
  info_.arena_bytes = plan.bytes;
  info_.arena_lower_bound = plan.lower_bound;
  for (const ir::Output& o : outputs_) {
    output_types_.push_back(final.type(o.value));
    if (o.alias < 0) info_.output_bytes += output_types_.back().bytes();
  }
  graph_ = std::move(final);
}

std::string Program::what(const ProgramStep& step) const {
  std::string out = describe(graph_, {step.nodes.back(), 0});
  if (!step.library) return format("{} ({})", out, op_names(graph_, step.nodes));
  if (!step.tile_nodes.empty()) out += format(" (its tiles{}: {})", step.stores_result ? "" : ", not stored", op_names(graph_, step.tile_nodes));
  return out;
}

const ProgramReport& Program::report() const {
  std::call_once(reported_, [this] {
    if (options_.eager) return;
    for (size_t i = 0; i < steps_.size(); ++i) {
      StepReport& step = report_.steps.emplace_back(describe_step(graph_, steps_[i].nodes, steps_[i].library != nullptr, steps_[i].tile_nodes));
      step.bytes = steps_[i].bytes;
      step.flops = steps_[i].flops;
      step.joined = i > 0 && steps_[i - 1].group > 1;
    }
    report_.buffers = describe_buffers(graph_, intervals_, offsets_, contents_, report_.steps);
  });
  return report_;
}

void* Program::address(const Slot& slot, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) const {
  switch (slot.kind) {
    case Slot::Kind::input: return inputs[slot.index];
    case Slot::Kind::output: return outputs[slot.index];
    case Slot::Kind::constant: return constants_[slot.index]->buffer->data();
    case Slot::Kind::arena: return arena + slot.offset;
    case Slot::Kind::none: return nullptr;
  }
  return nullptr;
}

namespace {

/// A part of a launch that one thread does.
struct Task {
  const ProgramStep* step;
  const ir::Launch* launch;
  void* const* operands;
  int64_t first, last;  // items
  int64_t from, to;     // of the row
  char* scratch;
};

/// Divides a launch. Many items are divided among the tasks; few are divided along the row too.
void divide(const ProgramStep& step, const ir::Launch& launch, void* const* operands, char* scratch, int threads, std::vector<Task>& out) {
  int64_t work = launch.inner;
  for (int d = 0; d < step.outer_rank; ++d) work *= launch.outer[d];
  const int64_t count = items(step, launch);
  if (count == 0) return;
  const bool split_inner = step.kernel->splittable_inner();
  const int64_t tiles = split_inner ? std::max<int64_t>(1, (launch.inner + 1023) / 1024) : 1;
  int64_t tasks = std::min<int64_t>(count * tiles, int64_t{4} * threads);
  if (work < 16384) tasks = 1;
  const int64_t parts = count >= tasks ? tasks : count, along = count >= tasks ? 1 : std::min(tiles, (tasks + count - 1) / count);
  const int64_t grain = ((launch.inner + along - 1) / along + codegen::kInnerGrain - 1) / codegen::kInnerGrain * codegen::kInnerGrain;
  for (int64_t part = 0; part < parts; ++part)
    for (int64_t tile = 0; tile < along; ++tile) {
      const int64_t from = std::min(tile * grain, launch.inner), to = along == 1 ? launch.inner : std::min(from + grain, launch.inner);
      if (from < to || launch.inner == 0)
        out.push_back({&step, &launch, operands, count * part / parts, count * (part + 1) / parts, from, to, scratch});
    }
}

void run_tasks(const std::vector<Task>& tasks, ir::KernelFault& fault) {
  auto work_on = [&](int64_t index, int worker) {
    const Task& t = tasks[static_cast<size_t>(index)];
    t.step->kernel->run(*t.launch, t.operands, t.first, t.last, t.from, t.to, t.scratch + worker * t.step->scratch_bytes, &fault);
  };
  if (tasks.size() == 1) work_on(0, 0);
  else default_thread_pool().parallel_for(static_cast<int64_t>(tasks.size()), work_on);
}

}  // namespace

void Program::execute(std::span<const ProgramStep> group, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) {
  if (const ProgramStep& step = group[0]; step.library) {
    char* operands[kMaxLibraryOperands];
    for (size_t i = 0; i < step.operands.size(); ++i)
      operands[i] = static_cast<char*>(address(step.operands[i], arena, inputs, outputs));
    step.library->run({operands, step.operands.size()}, static_cast<char*>(address(step.scratch, arena, inputs, outputs)), default_thread_pool());
    return;
  }
  // Their memory is kept from call to call.
  thread_local std::vector<void*> pointers;
  thread_local std::vector<Task> tasks;
  pointers.clear();
  tasks.clear();
  // Tensors without elements have no address; a value per row is read from and written to them all the same, and not used.
  alignas(64) static char nothing[64] = {}, ignored[64];
  for (const ProgramStep& step : group) {
    const size_t base = pointers.size();
    for (const Slot& slot : step.operands) {
      void* p = address(slot, arena, inputs, outputs);
      pointers.push_back(p ? p : nothing);
    }
    for (auto& [operand, type] : step.results)
      if (void*& p = pointers[base + static_cast<size_t>(operand)]; p == nothing) p = ignored;
  }
  ir::KernelFault fault;
  size_t base = 0;
  for (const ProgramStep& step : group) {
    char* scratch = static_cast<char*>(address(step.scratch, arena, inputs, outputs));
    for (const ir::Launch& launch : step.launches) {
      int64_t work = launch.inner;
      for (int d = 0; d < step.outer_rank; ++d) work *= launch.outer[d];
      if (step.checks_indices && work > 0)
        for (size_t a = 0; a < launch.accesses.size(); ++a)
          if (step.gathered[a] && launch.accesses[a].index_bound == 0) usage_error("{}: an index into an axis without elements", what(step));
      divide(step, launch, pointers.data() + base, scratch, threads_, tasks);
      if (group.size() > 1 || tasks.empty()) continue;
      run_tasks(tasks, fault);
      tasks.clear();
    }
    base += step.operands.size();
  }
  if (!tasks.empty()) run_tasks(tasks, fault);
  if (group[0].checks_indices && fault.flagged) {
    int64_t bound = group[0].launches[0].accesses[fault.access].index_bound;
    usage_error("{}: index {} is out of range 0..{}", what(group[0]), fault.value, bound - 1);
  }
}

bool has_nan(const ir::Type& type, const void* data) {
  bool bad = false;
  for (int64_t i = 0, n = type.elements(); i < n && !bad; ++i) {
    switch (type.dtype) {
      case DType::f32: bad = std::isnan(static_cast<const float*>(data)[i]); break;
      case DType::f64: bad = std::isnan(static_cast<const double*>(data)[i]); break;
      case DType::bf16: bad = (static_cast<const uint16_t*>(data)[i] & 0x7fff) > 0x7f80; break;
      case DType::f16: bad = (static_cast<const uint16_t*>(data)[i] & 0x7fff) > 0x7c00; break;
      case DType::f8_e4m3: bad = (static_cast<const uint8_t*>(data)[i] & 0x7f) == 0x7f; break;
      case DType::f8_e5m2: bad = (static_cast<const uint8_t*>(data)[i] & 0x7f) > 0x7c; break;
      default: break;
    }
  }
  return bad;
}

void Program::check(const ProgramStep& step, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) const {
  for (auto& [operand, type] : step.results) {
    const void* data = address(step.operands[operand], arena, inputs, outputs);
    if (has_nan(type, data)) usage_error("the first NaN was made by {}", what(step));
  }
}

template <typename F>
void Program::record(Recorder& recorder, std::span<const ProgramStep> group, F&& execute) const {
  const StepReport& report = this->report().steps[static_cast<size_t>(group.data() - steps_.data())];
  recorder.begin(report.name, "cpu_op");
  execute();
  RecordedRange& range = recorder.end();
  for (const ProgramStep& step : group) {
    range.flops += step.flops;
    range.bytes += step.bytes;
  }
  range.detail = report.detail;
}

void Program::run(const std::vector<void*>& inputs, const std::vector<void*>& outputs, bool detect_anomaly) {
  if (default_thread_pool().num_threads() != threads_) internal_error("a program was planned for {} threads", threads_);
  Recorder* recorder = options_.eager ? nullptr : Recorder::active();  // eager ops are recorded as ops
  auto go = [&](char* arena) {
    for (size_t i = 0; i < steps_.size();) {
      const std::span<const ProgramStep> group(&steps_[i], static_cast<size_t>(steps_[i].group));
      i += group.size();
      if (recorder) record(*recorder, group, [&] { execute(group, arena, inputs, outputs); });
      else execute(group, arena, inputs, outputs);
      for (const ProgramStep& step : group) {
        if (detect_anomaly) check(step, arena, inputs, outputs);
        for (auto [offset, bytes] : step.poison) std::memset(arena + offset, 0xff, static_cast<size_t>(bytes));
      }
    }
    for (const StateCopy& copy : copies_) std::memcpy(inputs[copy.input], address(copy.from, arena, inputs, outputs), copy.bytes);
  };
  if (options_.eager) {
    ir::BufferPtr memory = info_.arena_bytes ? allocate(info_.arena_bytes) : nullptr;
    go(memory ? static_cast<char*>(memory->data()) : nullptr);
    return;
  }
  Scratch& shared = scratch();
  std::lock_guard lock(shared.mutex);
  if (!shared.arena || shared.arena->bytes() < info_.arena_bytes) {
    shared.arena.reset();
    shared.arena = std::make_unique<Arena>(info_.arena_bytes);
  }
  go(shared.arena->data());
}

int64_t Program::touched_arena_bytes() const {
  Scratch& shared = scratch();
  std::lock_guard lock(shared.mutex);
  return shared.arena ? std::min(shared.arena->touched_bytes(), info_.arena_bytes) : 0;
}

std::string Program::explain() const {
  std::string out = format("{} kernels ({} distinct), {} matrix products, {:.3f} GFLOP, {} moved\n", info_.kernels, info_.distinct_kernels,
                           info_.gemms, info_.flops / 1e9, format_bytes(info_.bytes_moved));
  out += format("arena {} (lower bound {}), compile {:.1f} ms, passes {:.1f} ms\n", format_bytes(info_.arena_bytes),
                format_bytes(info_.arena_lower_bound), info_.compile_ms, info_.passes_ms);
  if (info_.recomputed > 0) out += format("{} values are computed again, {:.3f} GFLOP\n", info_.recomputed, info_.recomputed_flops / 1e9);
  for (const auto& pass : passes_)
    out += pass.skipped ? format("  {:<12} skipped\n", pass.name) : format("  {:<12} {:8.2f} ms  {} -> {} nodes\n", pass.name, pass.ms, pass.nodes_before, pass.nodes_after);
  for (const std::string& copy : info_.copies) out += "  " + copy + "\n";
  for (size_t i = 0; i < steps_.size(); ++i) out += format("step {:4}  {}\n", i, what(steps_[i]));
  for (const std::string& text : kernel_texts_) out += text + "\n";
  return out;
}

}  // namespace corten::runtime
