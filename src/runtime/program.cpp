#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <unordered_set>

#include "base/cpu.h"
#include "base/env.h"
#include "base/format.h"
#include "base/half.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "kernel/lower.h"
#include "passes/plan_memory.h"
#include "passes/remat.h"
#include "runtime/allocator.h"
#include "runtime/tile_kernels.h"

namespace corten::runtime {

using ir::Node;
using ir::Type;
using ir::ValueRef;
using kernel::Storage;

namespace {

constexpr size_t kMaxLibraryOperands = 16 + kMaxTileOperands;

/// Results of products from this size on are taken tile by tile: smaller ones stay in cache anyway.
int64_t tile_bytes() { return static_cast<int64_t>(env_bytes("CORTEN_TILE_BYTES", uint64_t{1} << 20)); }

/// What the threads may expect to find in the last cache: it is shared with other programs, and on large machines with many
/// other cores.
int64_t cache_bytes(int threads) {
  const CpuInfo& cpu = cpu_info();
  const size_t last = cpu.l3_bytes ? cpu.l3_bytes : cpu.l2_bytes * static_cast<size_t>(threads);
  const size_t share = std::min(last, (size_t{16} << 20) * static_cast<size_t>(threads));
  return static_cast<int64_t>(env_bytes("CORTEN_STREAM_BYTES", share));
}

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

std::string describe(const ir::Graph& graph, ValueRef r) {
  const Node& n = graph.node(r);
  std::string at = ir::to_string(n.source);
  return format("[{}] {}{}", n.op->name, to_string(n.types[r.output]), at.empty() ? "" : ", at " + at);
}

Type storage_type(const ir::Graph& graph, Storage s) {
  return s.partial ? kernel::partial_type(graph, s.root.node) : graph.type(s.root);
}

int64_t items(const ProgramStep& step, const ir::Launch& launch) {
  if (step.form == ir::KernelForm::scatter) return 1;
  int64_t n = 1;
  for (int d = 0; d < step.outer_rank - (step.form == ir::KernelForm::columns ? 1 : 0); ++d) n *= launch.outer[d];
  return step.form == ir::KernelForm::columns ? n * launch.chunks : n;
}

/// Builds the steps of a program from a partition.
class Builder {
 public:
  Builder(const ir::Graph& graph, const kernel::Partition& partition, int threads, bool fuse)
      : graph_(graph), p_(partition), threads_(threads), fuse_(fuse) {}

  std::vector<ProgramStep> steps;
  std::vector<StateCopy> copies;
  std::vector<passes::Interval> intervals;
  std::vector<std::string> kernel_texts;
  ProgramInfo info;

  void run() {
    lower();
    group();
    assign_outputs();
    for (size_t s = 0; s < lowered_.size(); ++s) emit(static_cast<int32_t>(s));
    // Outputs that are copied into their state after the last step.
    const int32_t end = static_cast<int32_t>(lowered_.size());
    for (StateCopy& copy : copies)
      if (copy.from.kind == Slot::Kind::arena) intervals[copy.from.index].last = end;
  }

  /// What lives when: for decisions about rematerialisation.
  passes::Timeline timeline() const {
    passes::Timeline t;
    const auto& nodes = graph_.nodes();
    const int32_t end = static_cast<int32_t>(lowered_.size());
    t.places = &p_.places;
    t.steps = end + 1;
    t.step_of.assign(nodes.size(), -1);
    t.held.assign(nodes.size(), passes::Timeline::Held::anywhere);
    for (int32_t s = end; s-- > 0;)
      for (const kernel::Step* step : {lowered_[s].step, lowered_[s].tile_step})
        if (step)
          for (int32_t node : step->members) t.step_of[node] = s;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const ir::OpKind kind = nodes[i].op->kind;
      const ValueRef root = p_.places[{static_cast<int32_t>(i), 0}].root;
      if (kind == ir::OpKind::input || kind == ir::OpKind::constant || (kind != ir::OpKind::view && p_.stored.count(root)))
        t.held[i] = passes::Timeline::Held::stored;
      else if (t.step_of[i] >= 0)
        t.held[i] = passes::Timeline::Held::inner;
    }
    std::map<ValueRef, std::vector<int32_t>> touches;
    for (const Lowered& l : lowered_)
      if (!l.stores_result) t.held[l.step->members[0]] = passes::Timeline::Held::inner;
    for (int32_t s = 0; s < end; ++s) {
      t.bytes.push_back(static_cast<double>(steps[s].bytes));
      t.flops.push_back(steps[s].flops);
      for (bool written : {false, true})
        for (const Storage& storage : touched(lowered_[s], written))
          if (!storage.partial) touches[storage.root].push_back(s);
      if (lowered_[s].library())
        if (const Node& n = nodes[lowered_[s].step->members[0]]; n.op->in_place >= 0)
          t.overwritten.emplace(p_.places[n.inputs[n.op->in_place]].root, s);
      if (lowered_[s].step->form == ir::KernelForm::scatter) t.overwritten.emplace(p_.places[nodes[lowered_[s].step->members[0]].inputs[0]].root, s);
    }
    t.bytes.push_back(0);
    t.flops.push_back(0);
    for (const ir::Output& o : graph_.outputs())
      if (o.alias >= 0)
        if (auto writer = first_writer_.find(p_.places[o.value].root); writer != first_writer_.end())
          t.overwritten.emplace(graph_.inputs()[o.alias], writer->second);
    for (auto& [root, steps] : touches) {
      const auto slot = slots_.find({root});
      if (slot == slots_.end() || slot->second.kind != Slot::Kind::arena) continue;
      steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
      if (intervals[slot->second.index].last == end) steps.push_back(end);
      t.buffers.push_back({root, intervals[slot->second.index].bytes, std::move(steps)});
    }
    return t;
  }

  /// What lies in each interval.
  std::vector<Storage> contents() const {
    std::vector<Storage> out(intervals.size());
    for (auto& [storage, slot] : slots_)
      if (slot.kind == Slot::Kind::arena) out[slot.index] = storage;
    return out;
  }

 private:
  void lower() {
    std::unordered_set<const codegen::CpuKernel*> distinct;
    double start = now_ms();
    for (const kernel::Step& step : p_.steps) {
      if (step.library) {
        lowered_.push_back({.step = &step});
        continue;
      }
      for (auto& k : kernel::lower(p_, step)) lowered_.push_back({.step = &step, .kernel = std::move(k)});
    }
    if (fuse_) attach_tile_kernels(p_, lowered_, tile_bytes());
    const int64_t cache = cache_bytes(threads_);
    for (Lowered& l : lowered_)
      if (!l.library()) stream(l, cache);
    info.passes_ms += now_ms() - start;
    start = now_ms();
    std::vector<const ir::Kernel*> kernels;
    for (const Lowered& l : lowered_)
      if (l.has_kernel()) kernels.push_back(&l.kernel.kernel);
    auto next = codegen::compile_cpu(kernels);
    size_t made = 0;
    for (const Lowered& l : lowered_) {
      compiled_.push_back(l.has_kernel() ? std::move(next[made++]) : nullptr);
      if (l.has_kernel() && distinct.insert(compiled_.back().get()).second) kernel_texts.push_back(to_string(l.kernel.kernel));
    }
    info.compile_ms = now_ms() - start;
    info.distinct_kernels = static_cast<int64_t>(distinct.size());
  }

  /// Results of a kernel that touches more than the caches hold leave them before anyone reads them: they are written past them,
  /// without reading the lines first. New state written over the old is in cache, having been read.
  void stream(Lowered& l, int64_t cache) const {
    int64_t bytes = 0;
    for (const Storage& s : l.kernel.operands) bytes += storage_type(s).bytes();
    if (bytes <= cache || l.step->form != ir::KernelForm::rows) return;
    for (ir::Store& store : l.kernel.kernel.stores) {
      const Storage& s = l.kernel.operands[l.kernel.kernel.accesses[store.access].operand];
      const bool state = std::any_of(graph_.outputs().begin(), graph_.outputs().end(),
                                     [&](const ir::Output& o) { return o.alias >= 0 && p_.places[o.value].root == s.root; });
      store.streaming = !s.partial && !state;
    }
  }

  std::vector<Storage> touched(const Lowered& l, bool written) const { return runtime::touched(p_, l, written); }

  /// Whether new state may be written over the old: every reader of the old value comes before the first writer (a scatter
  /// writes again what another step wrote), or is that writer itself, element by element.
  std::string refusal(int32_t input, ValueRef root) const {
    ValueRef old = graph_.inputs()[input];
    const auto written = first_writer_.find(root);
    if (written == first_writer_.end()) return "no step writes it";
    const int32_t writer = written->second;
    if (const auto read = last_reader_.find(old); read != last_reader_.end()) {
      if (read->second > writer) return "the old value is read later by " + describe(graph_, {lowered_[read->second].step->members.back(), 0});
      if (read->second == writer) {
        if (lowered_[writer].library()) return "a library step reads it while writing";
        if (!element_wise(lowered_[writer].kernel, {old}, {root})) return "its writer reads other elements too";
      }
    }
    if (graph_.input_layouts()[input] && !ir::is_contiguous(*graph_.input_layouts()[input], graph_.type(old).dims)) return "its layout is strided";
    return "";
  }

  static bool element_wise(const kernel::LoweredKernel& k, Storage read, Storage write) {
    if (k.kernel.form != ir::KernelForm::rows) return false;
    for (const ir::ScalarNode& n : k.kernel.body.nodes())
      if (n.op == ir::ScalarOp::reduce_sum || n.op == ir::ScalarOp::reduce_max || n.op == ir::ScalarOp::reduce_min) return false;
    for (const ir::Launch& launch : k.launches) {
      const ir::Launch::Access* store = nullptr;
      for (size_t a = 0; a < k.kernel.accesses.size(); ++a)
        if (int32_t o = k.kernel.accesses[a].operand; o >= 0 && k.operands[o] == write) store = &launch.accesses[a];
      for (size_t a = 0; a < k.kernel.accesses.size(); ++a) {
        const ir::Access& access = k.kernel.accesses[a];
        if (access.operand < 0 || k.operands[access.operand] != read) continue;
        const ir::Launch::Access& load = launch.accesses[a];
        if (!store || access.guards || access.index >= 0 || load.offset != store->offset || load.inner_stride != store->inner_stride ||
            !std::equal(load.strides, load.strides + ir::kMaxOuter, store->strides))
          return false;
      }
    }
    return true;
  }

  /// Neighbouring kernels of the same code that have nothing to do with each other (the optimizer's, one for each parameter)
  /// are one launch.
  void group() {
    std::map<ValueRef, ValueRef> written_over;  // new state lies where the old does
    for (const ir::Output& o : graph_.outputs())
      if (o.alias >= 0) written_over[p_.places[o.value].root] = graph_.inputs()[o.alias];
    auto memory = [&](const Storage& s) {
      const auto found = written_over.find(s.root);
      return found == written_over.end() || s.partial ? s : Storage{found->second};
    };
    auto joins = [&](int32_t s) {
      const Lowered& l = lowered_[s];
      return fuse_ && !l.library() && l.kernel.kernel.form == ir::KernelForm::rows && l.kernel.launches.size() == 1;
    };
    const auto count = static_cast<int32_t>(lowered_.size());
    groups_.resize(lowered_.size());
    for (int32_t first = 0, last = 0; first < count; first = ++last) {
      std::set<Storage> read, written;
      for (int32_t s = first; s < count && (s == first || (joins(first) && joins(s) && compiled_[s] == compiled_[first])); ++s) {
        bool apart = true;
        if (!joins(s)) break;
        std::set<Storage> reads, writes;
        for (const Storage& r : touched(lowered_[s], false)) reads.insert(memory(r));
        for (const Storage& w : touched(lowered_[s], true)) writes.insert(memory(w));
        for (const Storage& w : writes) apart &= !read.count(w) && !written.count(w);
        for (const Storage& r : reads) apart &= !written.count(r);
        if (!apart) break;
        read.merge(reads);
        written.merge(writes);
        last = s;
      }
      for (int32_t s = first; s <= last; ++s) groups_[s] = {first, last};
    }
  }
  int32_t first_of(int32_t step) const { return static_cast<size_t>(step) < groups_.size() ? groups_[step].first : step; }
  int32_t last_of(int32_t step) const { return static_cast<size_t>(step) < groups_.size() ? groups_[step].last : step; }

  void assign_outputs() {
    for (size_t s = 0; s < lowered_.size(); ++s) {
      for (const Storage& w : touched(lowered_[s], true))
        if (!w.partial) first_writer_.emplace(w.root, static_cast<int32_t>(s));
      for (const Storage& r : touched(lowered_[s], false)) last_reader_[r.root] = static_cast<int32_t>(s);
    }
    for (size_t k = 0; k < graph_.outputs().size(); ++k) {
      const ir::Output& o = graph_.outputs()[k];
      ValueRef root = p_.places[o.value].root;
      if (o.alias < 0) {
        slots_[{root}] = {Slot::Kind::output, static_cast<int32_t>(k)};
        continue;
      }
      if (root == graph_.inputs()[o.alias]) continue;  // written in place by a scatter
      std::string why = refusal(o.alias, root);
      if (why.empty()) {
        slots_[{root}] = {Slot::Kind::input, o.alias};
      } else {
        info.copies.push_back(format("state {} ({}) is copied: {}", o.alias, to_string(graph_.type(root)), why));
        copies.push_back({slot({root}, static_cast<int32_t>(lowered_.size())), o.alias, graph_.type(root).bytes()});
      }
    }
  }

  /// The place of a buffer; arena buffers grow their life to this step.
  Slot slot(Storage s, int32_t step) {
    auto found = slots_.find(s);
    if (found == slots_.end()) {
      const Node& n = graph_.node(s.root);
      Slot fresh;
      if (n.op == &ir::kInputOp) fresh = {Slot::Kind::input, static_cast<int32_t>(ir::get<ir::InputAttrs>(n.attrs).index)};
      else if (n.op == &ir::kConstantOp) fresh = {Slot::Kind::constant, static_cast<int32_t>(ir::get<ir::ConstantAttrs>(n.attrs).index)};
      else fresh = temporary(storage_type(graph_, s).bytes(), step);
      found = slots_.emplace(s, fresh).first;
    }
    if (found->second.kind == Slot::Kind::arena) {
      passes::Interval& life = intervals[found->second.index];
      life.first = std::min(life.first, first_of(step));
      life.last = std::max(life.last, last_of(step));
    }
    return found->second;
  }
  Slot temporary(int64_t bytes, int32_t step) {
    intervals.push_back({std::max<int64_t>(bytes, 1), first_of(step), last_of(step)});
    return {Slot::Kind::arena, static_cast<int32_t>(intervals.size()) - 1};
  }

  void emit(int32_t index) {
    Lowered& l = lowered_[index];
    ProgramStep step;
    const int64_t bytes_before = info.bytes_moved;
    const double flops_before = info.flops + info.recomputed_flops;
    if (l.library()) {
      library(l, index, step);
      ++info.gemms;
    } else {
      step.kernel = compiled_[index];
      step.form = l.kernel.kernel.form;
      step.outer_rank = l.kernel.kernel.outer_rank;
      step.launches = std::move(l.kernel.launches);
      for (size_t i = 0; i < l.kernel.operands.size(); ++i) {
        step.operands.push_back(slot(l.kernel.operands[i], index));
        Type type = storage_type(graph_, l.kernel.operands[i]);
        info.bytes_moved += type.bytes();
        if (l.kernel.kernel.operands[i].written) step.results.emplace_back(static_cast<int32_t>(i), type);
      }
      for (const ir::Access& a : l.kernel.kernel.accesses) {
        step.gathered.push_back(a.index >= 0);
        step.checks_indices |= a.index >= 0;
      }
      for (const ir::Launch& launch : step.launches) step.scratch_bytes = std::max(step.scratch_bytes, step.kernel->scratch_bytes(launch));
      step.scratch_bytes = (step.scratch_bytes + 63) / 64 * 64;
      if (step.scratch_bytes) step.scratch = temporary(step.scratch_bytes * threads_, index);
      step.group = groups_[index].last - index + 1;
      info.kernels += groups_[index].first == index;
    }
    for (int32_t node : l.step->members) info.recomputed += graph_.nodes()[node].phase != 0;
    step.nodes = l.step->members;
    step.bytes = info.bytes_moved - bytes_before;
    step.flops = info.flops + info.recomputed_flops - flops_before;
    steps.push_back(std::move(step));
  }

  void library(Lowered& l, int32_t index, ProgramStep& step) {
    const int32_t node = l.step->members[0];
    const Node& n = graph_.nodes()[node];
    std::vector<LibraryOperand> in;
    for (ValueRef r : n.inputs) {
      in.push_back({graph_.type(r), p_.places[r].layout});
      step.operands.push_back(slot({p_.places[r].root}, index));
      info.bytes_moved += graph_.type(r).bytes();
    }
    for (size_t k = 0; k < n.types.size(); ++k) {
      if (!l.stores_result) {
        step.operands.push_back({});
        continue;
      }
      step.operands.push_back(slot({p_.places.of(node)[k].root}, index));
      step.results.emplace_back(static_cast<int32_t>(step.operands.size()) - 1, n.types[k]);
      info.bytes_moved += n.types[k].bytes();
    }
    std::optional<TileKernel> tiles;
    if (l.takes_tiles()) {
      tiles = tile_kernel(l, index, step);
      step.tile_nodes = l.tile_step->members;
      step.stores_result = l.stores_result;
      ++info.kernels;
    }
    step.library = make_library_step(n, in, std::move(tiles));
    step.scratch_bytes = step.library->workspace_bytes(threads_);
    if (step.scratch_bytes) step.scratch = temporary(step.scratch_bytes, index);
    (n.phase == 0 ? info.flops : info.recomputed_flops) += step.library->flops();
  }

  /// The kernel that takes a product's tiles; its operands follow the product's.
  TileKernel tile_kernel(Lowered& l, int32_t index, ProgramStep& step) {
    TileKernel out;
    out.kernel = compiled_[index];
    out.stored = l.stores_result;
    out.operands = static_cast<int32_t>(l.kernel.operands.size());
    for (int32_t i = 0; i < out.operands; ++i) {
      const Storage& storage = l.kernel.operands[i];
      if (storage == Storage{{l.step->members[0], 0}}) {
        out.result = i;
        step.operands.push_back({});
        continue;
      }
      step.operands.push_back(slot(storage, index));
      const Type type = storage_type(graph_, storage);
      info.bytes_moved += type.bytes();
      if (l.kernel.kernel.operands[i].written) step.results.emplace_back(static_cast<int32_t>(step.operands.size()) - 1, type);
    }
    for (size_t a = 0; a < l.kernel.kernel.accesses.size(); ++a)
      if (l.kernel.kernel.accesses[a].operand == out.result) out.accesses.push_back(static_cast<int32_t>(a));
    out.launch = std::move(l.kernel.launches[0]);
    return out;
  }

  const ir::Graph& graph_;
  const kernel::Partition& p_;
  const int threads_;
  const bool fuse_;
  std::vector<Lowered> lowered_;
  std::vector<std::shared_ptr<const codegen::CpuKernel>> compiled_;
  std::map<Storage, Slot> slots_;
  std::map<ValueRef, int32_t> first_writer_, last_reader_;  // steps, by root
  struct Group {
    int32_t first = 0, last = 0;
  };
  std::vector<Group> groups_;  // of each step
};

}  // namespace

namespace {

/// A program that is planned but not chosen yet.
struct Draft {
  Draft(ir::Graph g, bool fuse, bool reuse, int threads)
      : graph(std::move(g)), partition(kernel::partition(graph, fuse)), builder(graph, partition, threads, fuse) {
    builder.run();
    plan = passes::plan_memory(builder.intervals, reuse);
  }
  ir::Graph graph;
  kernel::Partition partition;
  Builder builder;
  passes::MemoryPlan plan;
};

/// Every range of the arena is filled with NaN once its last reader is done: reading it later shows.
void poison_after(Builder& builder, const passes::MemoryPlan& plan) {
  for (size_t i = 0; i < builder.intervals.size(); ++i) {
    const passes::Interval& life = builder.intervals[i];
    if (static_cast<size_t>(life.last) < builder.steps.size())
      builder.steps[static_cast<size_t>(life.last)].poison.emplace_back(plan.offsets[i], life.bytes);
  }
}

/// Time that may be spent without being asked to need less memory, as a share of the step's; in programs from this size on.
constexpr double kFreeShare = 0.02;
constexpr int64_t kWorthwhile = int64_t{64} << 20;
/// Plans that are tried between the first peak and the least.
constexpr int kLadder = 24;

/// The draft that keeps to the budget with the least recomputation, or the least one; without a budget, what costs next to
/// nothing. `draft` plans a graph.
std::unique_ptr<Draft> rematerialise(std::unique_ptr<Draft> plain, int64_t budget, const std::function<std::unique_ptr<Draft>(ir::Graph)>& draft) {
  const int64_t start = plain->plan.bytes;
  if (start <= budget && start < static_cast<int64_t>(env_bytes("CORTEN_REMAT_BYTES", kWorthwhile))) return plain;
  const passes::Timeline timeline = plain->builder.timeline();
  const std::vector<passes::Recomputation> order = passes::order_recomputations(plain->graph, timeline, start > budget ? 1e9 : kFreeShare);
  auto attempt = [&](size_t count) {
    return draft(passes::recompute(plain->graph, timeline, {order.begin(), order.begin() + static_cast<ptrdiff_t>(count)}));
  };
  std::unique_ptr<Draft> best;
  int64_t least = start;
  auto keep = [&](std::unique_ptr<Draft> other, int64_t below) {
    if (other->plan.bytes >= below) return;
    least = other->plan.bytes;
    best = std::move(other);
  };
  size_t done = 0;
  while (done < order.size() && order[done].cost <= kFreeShare) ++done;
  if (done > 0) keep(attempt(done), start - start / 100);
  if (least > budget && done < order.size()) {
    const int64_t rung = std::max<int64_t>(1, (start - order.back().peak) / kLadder);
    int64_t level = std::min(least, done ? order[done - 1].peak : start) - rung;
    while (least > budget && done < order.size()) {
      if (order[done++].peak > level && done < order.size()) continue;
      level = order[done - 1].peak - rung;
      keep(attempt(done), least);
    }
  }
  return best ? std::move(best) : std::move(plain);
}

}  // namespace

Program::Program(const ir::Graph& graph, ProgramOptions options)
    : options_(options), threads_(default_thread_pool().num_threads()) {
  const auto disabled = passes::disabled_passes();
  double passes_ms = 0, compile_ms = 0;
  auto draft = [&](ir::Graph g) {
    const double start = now_ms();
    auto out = std::make_unique<Draft>(std::move(g), !disabled.count("fuse"), !disabled.count("plan"), threads_);
    compile_ms += out->builder.info.compile_ms;
    passes_ms += now_ms() - start - out->builder.info.compile_ms;
    return out;
  };
  const double start = now_ms();
  ir::Graph optimised = passes::run_pipeline(graph, disabled, &passes_);
  passes_ms += now_ms() - start;
  std::unique_ptr<Draft> chosen = draft(std::move(optimised));
  if (!options.eager && !disabled.count("remat")) {
    const double begin = now_ms(), before = passes_ms + compile_ms;
    const size_t nodes = chosen->graph.nodes().size();
    chosen = rematerialise(std::move(chosen), options.arena_budget, draft);
    passes_.push_back({"remat", now_ms() - begin, nodes, chosen->graph.nodes().size(), false});
    passes_ms += now_ms() - begin - (passes_ms + compile_ms - before);
  }
  Builder& builder = chosen->builder;
  ir::Graph& final = chosen->graph;
  passes::MemoryPlan& plan = chosen->plan;
  auto settle = [&](Slot& slot) {
    if (slot.kind == Slot::Kind::arena) slot.offset = plan.offsets[slot.index];
  };
  for (ProgramStep& step : builder.steps) {
    for (Slot& slot : step.operands) settle(slot);
    settle(step.scratch);
  }
  for (StateCopy& copy : builder.copies) settle(copy.from);
  if (std::getenv("CORTEN_POISON")) poison_after(builder, plan);
  steps_ = std::move(builder.steps);
  copies_ = std::move(builder.copies);
  kernel_texts_ = std::move(builder.kernel_texts);
  if (!options_.eager) {
    contents_ = builder.contents();
    intervals_ = std::move(builder.intervals);
    offsets_ = std::move(plan.offsets);
  }
  constants_ = final.constants();
  outputs_ = final.outputs();
  info_ = builder.info;
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

std::string Program::names(const std::vector<int32_t>& nodes) const {
  std::string out;
  std::string_view previous;
  for (int32_t node : nodes) {
    const std::string_view name = graph_.nodes()[node].op->name;
    if (name == previous) continue;
    out += format("{}{}", out.empty() ? "" : ", ", name);
    previous = name;
  }
  return out;
}

std::string Program::what(const ProgramStep& step) const {
  std::string out = describe(graph_, {step.nodes.back(), 0});
  if (!step.library) return format("{} ({})", out, names(step.nodes));
  if (!step.tile_nodes.empty()) out += format(" (its tiles{}: {})", step.stores_result ? "" : ", not stored", names(step.tile_nodes));
  return out;
}

const ProgramReport& Program::report() const {
  std::call_once(reported_, [this] {
    if (options_.eager) return;
    for (const ProgramStep& step : steps_) report_.steps.push_back(describe_step(step));
    report_.buffers = describe_buffers(report_.steps);
  });
  return report_;
}

StepReport Program::describe_step(const ProgramStep& step) const {
  const Node& last = graph_.nodes()[step.nodes.back()];
  StepReport out;
  out.library = step.library != nullptr;
  out.stage = last.phase != 0 ? ir::Stage::backward : last.source.stage;  // computed again for the backward pass
  out.source = last.source;
  out.detail = describe(graph_, {step.nodes.back(), 0});
  out.bytes = step.bytes;
  out.flops = step.flops;
  if (out.library) {
    out.name = last.op->name;
    if (!step.tile_nodes.empty()) out.name += " + " + names(step.tile_nodes);
    for (ValueRef r : last.inputs) out.operands += format("{}{}", out.operands.empty() ? "" : " ", to_string(graph_.type(r)));
    return out;
  }
  out.name = "kernel " + names(step.nodes);
  return out;
}

std::vector<BufferReport> Program::describe_buffers(const std::vector<StepReport>& steps) const {
  std::vector<BufferReport> out(intervals_.size());
  const int32_t end = static_cast<int32_t>(steps.size());
  for (size_t i = 0; i < out.size(); ++i) {
    BufferReport& b = out[i];
    b.bytes = (intervals_[i].bytes + passes::kAlignment - 1) / passes::kAlignment * passes::kAlignment;
    b.offset = offsets_[i];
    b.first = intervals_[i].first;
    b.last = intervals_[i].last;
    b.owner = Owner::workspace;
    const Storage& storage = contents_[i];
    if (storage.root.node < 0) continue;
    const Node& n = graph_.node(storage.root);
    b.owner = storage.partial ? Owner::temporary : owner_of(n.source.stage, b.last < end ? steps[b.last].stage : ir::Stage::update);
    b.recomputed = n.phase != 0;
    b.source = n.source;
    b.what = format("{} {}", n.op->name, to_string(storage_type(graph_, storage)));
  }
  return out;
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
  // Tensors without elements may have no address; a value per row is read from them all the same, and not used.
  alignas(64) static char nothing[64] = {};
  for (const ProgramStep& step : group)
    for (const Slot& slot : step.operands) {
      void* p = address(slot, arena, inputs, outputs);
      pointers.push_back(p ? p : nothing);
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

void Program::check(const ProgramStep& step, char* arena, const std::vector<void*>& inputs, const std::vector<void*>& outputs) const {
  for (auto& [operand, type] : step.results) {
    const void* data = address(step.operands[operand], arena, inputs, outputs);
    bool bad = false;
    for (int64_t i = 0, n = type.elements(); i < n && !bad; ++i) {
      switch (type.dtype) {
        case DType::f32: bad = std::isnan(static_cast<const float*>(data)[i]); break;
        case DType::f64: bad = std::isnan(static_cast<const double*>(data)[i]); break;
        case DType::bf16: bad = (static_cast<const uint16_t*>(data)[i] & 0x7fff) > 0x7f80; break;
        case DType::f16: bad = (static_cast<const uint16_t*>(data)[i] & 0x7fff) > 0x7c00; break;
        default: break;
      }
    }
    if (bad) usage_error("the first NaN was made by {}", what(step));
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
