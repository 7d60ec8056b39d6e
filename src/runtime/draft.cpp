#include "runtime/draft.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <set>
#include <unordered_set>

#include "base/cpu.h"
#include "base/env.h"
#include "base/format.h"
#include "kernel/partition.h"
#include "kernel/timeline.h"
#include "runtime/tile_kernels.h"

namespace corten::runtime {

using ir::Node;
using ir::Type;
using ir::ValueRef;
using kernel::Storage;

namespace {

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

/// Makes the steps from a partition.
class Builder final : public Draft {
 public:
  Builder(ir::Graph g, bool fuse, int threads)
      : Draft(std::move(g)), p_(kernel::partition(graph, fuse)), threads_(threads), fuse_(fuse) {
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
  passes::Timeline timeline() const override {
    std::vector<kernel::TimelineStep> list;
    for (size_t s = 0; s < lowered_.size(); ++s) {
      const Lowered& l = lowered_[s];
      list.push_back({.steps = {l.step}, .stores_result = l.stores_result, .read = touched(l, false), .written = touched(l, true),
                      .bytes = static_cast<double>(steps[s].bytes), .flops = steps[s].flops});
      if (l.tile_step) list.back().steps.push_back(l.tile_step);
    }
    std::map<ValueRef, kernel::ArenaBuffer> arena;
    for (auto& [storage, slot] : slots_)
      if (slot.kind == Slot::Kind::arena && !storage.partial) {
        const passes::Interval& life = intervals[slot.index];
        arena[storage.root] = {life.bytes, life.last == static_cast<int32_t>(lowered_.size())};
      }
    return kernel::timeline(p_, list, arena);
  }

  /// What lies in each interval.
  std::vector<Storage> contents() const override {
    std::vector<Storage> out(intervals.size());
    for (auto& [storage, slot] : slots_)
      if (slot.kind == Slot::Kind::arena) out[slot.index] = storage;
    return out;
  }

 private:
  void lower() {
    std::unordered_set<const codegen::CpuKernel*> distinct;
    double start = now_ms();
    lowered_.reserve(p_.steps.size() + p_.steps.size() / 4);
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
    for (const Storage& s : l.kernel.operands) bytes += storage_type(graph, s).bytes();
    if (bytes <= cache || l.step->form != ir::KernelForm::rows) return;
    for (ir::Store& store : l.kernel.kernel.stores) {
      const Storage& s = l.kernel.operands[l.kernel.kernel.accesses[store.access].operand];
      const bool state = std::any_of(graph.outputs().begin(), graph.outputs().end(),
                                     [&](const ir::Output& o) { return o.alias >= 0 && p_.places[o.value].root == s.root; });
      store.streaming = !s.partial && !state;
    }
  }

  std::vector<Storage> touched(const Lowered& l, bool written) const { return runtime::touched(p_, l, written); }

  /// Whether new state may be written over the old: every reader of the old value comes before the first writer (a scatter
  /// writes again what another step wrote), or is that writer itself, element by element.
  std::string refusal(int32_t input, ValueRef root) const {
    ValueRef old = graph.inputs()[input];
    const auto written = first_writer_.find(root);
    if (written == first_writer_.end()) return "no step writes it";
    const int32_t writer = written->second;
    if (const auto read = last_reader_.find(old); read != last_reader_.end()) {
      if (read->second > writer) return "the old value is read later by " + describe(graph, {lowered_[read->second].step->members.back(), 0});
      if (read->second == writer) {
        if (lowered_[writer].library()) return "a library step reads it while writing";
        if (!element_wise(lowered_[writer].kernel, {old}, {root})) return "its writer reads other elements too";
      }
    }
    if (graph.input_layouts()[input] && !ir::is_contiguous(*graph.input_layouts()[input], graph.type(old).dims)) return "its layout is strided";
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
    for (const ir::Output& o : graph.outputs())
      if (o.alias >= 0) written_over[p_.places[o.value].root] = graph.inputs()[o.alias];
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
    together_.assign(lowered_.size(), -1);
    for (int32_t first = 0, last = 0; first < count; first = ++last) {
      // Neighbours that could run in any order.
      std::set<Storage> read, written;
      for (int32_t s = first; s < count && joins(s); ++s) {
        std::set<Storage> reads, writes;
        for (const Storage& r : touched(lowered_[s], false)) reads.insert(memory(r));
        for (const Storage& w : touched(lowered_[s], true)) writes.insert(memory(w));
        bool apart = true;
        for (const Storage& w : writes) apart &= !read.count(w) && !written.count(w);
        for (const Storage& r : reads) apart &= !written.count(r);
        if (!apart) break;
        read.merge(reads);
        written.merge(writes);
        last = s;
      }
      sort_by_kernel(first, last + 1);
    }
    for (int32_t first = 0, last = 0; first < count; first = ++last) {
      while (together_[first] >= 0 && last + 1 < count && together_[last + 1] == together_[first]) ++last;
      for (int32_t s = first; s <= last; ++s) groups_[s] = {first, last};
    }
  }
  /// Puts steps that could run in any order next to others of their kernel.
  void sort_by_kernel(int32_t first, int32_t last) {
    if (last - first < 2) return;
    std::map<const codegen::CpuKernel*, int32_t> rank;
    for (int32_t s = first; s < last; ++s) rank.emplace(compiled_[s].get(), s);
    std::vector<int32_t> order(static_cast<size_t>(last - first));
    std::iota(order.begin(), order.end(), first);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return rank[compiled_[a].get()] < rank[compiled_[b].get()]; });
    std::vector<Lowered> lowered;
    std::vector<std::shared_ptr<const codegen::CpuKernel>> compiled;
    for (int32_t s : order) {
      together_[first + static_cast<int32_t>(lowered.size())] = rank[compiled_[s].get()];
      lowered.push_back(std::move(lowered_[s]));
      compiled.push_back(std::move(compiled_[s]));
    }
    std::move(lowered.begin(), lowered.end(), lowered_.begin() + first);
    std::move(compiled.begin(), compiled.end(), compiled_.begin() + first);
  }
  int32_t first_of(int32_t step) const { return static_cast<size_t>(step) < groups_.size() ? groups_[step].first : step; }
  int32_t last_of(int32_t step) const { return static_cast<size_t>(step) < groups_.size() ? groups_[step].last : step; }

  void assign_outputs() {
    for (size_t s = 0; s < lowered_.size(); ++s) {
      for (const Storage& w : touched(lowered_[s], true))
        if (!w.partial) first_writer_.emplace(w.root, static_cast<int32_t>(s));
      for (const Storage& r : touched(lowered_[s], false)) last_reader_[r.root] = static_cast<int32_t>(s);
    }
    for (size_t k = 0; k < graph.outputs().size(); ++k) {
      const ir::Output& o = graph.outputs()[k];
      ValueRef root = p_.places[o.value].root;
      if (o.alias < 0) {
        slots_[{root}] = {Slot::Kind::output, static_cast<int32_t>(k)};
        continue;
      }
      if (root == graph.inputs()[o.alias]) continue;  // written in place by a scatter
      std::string why = refusal(o.alias, root);
      if (why.empty()) {
        slots_[{root}] = {Slot::Kind::input, o.alias};
      } else {
        info.copies.push_back(format("state {} ({}) is copied: {}", o.alias, to_string(graph.type(root)), why));
        copies.push_back({slot({root}, static_cast<int32_t>(lowered_.size())), o.alias, graph.type(root).bytes()});
      }
    }
  }

  /// The place of a buffer; arena buffers grow their life to this step.
  Slot slot(Storage s, int32_t step) {
    auto found = slots_.find(s);
    if (found == slots_.end()) {
      const Node& n = graph.node(s.root);
      Slot fresh;
      if (n.op == &ir::kInputOp) fresh = {Slot::Kind::input, static_cast<int32_t>(ir::get<ir::InputAttrs>(n.attrs).index)};
      else if (n.op == &ir::kConstantOp) fresh = {Slot::Kind::constant, static_cast<int32_t>(ir::get<ir::ConstantAttrs>(n.attrs).index)};
      else fresh = temporary(storage_type(graph, s).bytes(), step);
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
        Type type = storage_type(graph, l.kernel.operands[i]);
        // Tensors without elements lie nowhere; what a kernel reads there once per row, and does not use, is zero.
        step.operands.push_back(type.elements() ? slot(l.kernel.operands[i], index) : Slot{});
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
    for (int32_t node : l.step->members) info.recomputed += graph.nodes()[node].phase != 0;
    step.nodes = l.step->members;
    step.bytes = info.bytes_moved - bytes_before;
    step.flops = info.flops + info.recomputed_flops - flops_before;
    steps.push_back(std::move(step));
  }

  void library(Lowered& l, int32_t index, ProgramStep& step) {
    const int32_t node = l.step->members[0];
    const Node& n = graph.nodes()[node];
    std::vector<LibraryOperand> in;
    for (ValueRef r : n.inputs) {
      in.push_back({graph.type(r), p_.places[r].layout});
      step.operands.push_back(slot({p_.places[r].root}, index));
      info.bytes_moved += graph.type(r).bytes();
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
      const Type type = storage_type(graph, storage);
      info.bytes_moved += type.bytes();
      if (l.kernel.kernel.operands[i].written) step.results.emplace_back(static_cast<int32_t>(step.operands.size()) - 1, type);
    }
    for (size_t a = 0; a < l.kernel.kernel.accesses.size(); ++a)
      if (l.kernel.kernel.accesses[a].operand == out.result) out.accesses.push_back(static_cast<int32_t>(a));
    out.launch = std::move(l.kernel.launches[0]);
    return out;
  }

  const kernel::Partition p_;
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
  std::vector<int32_t> together_;  // steps of the same number may run side by side
};

}  // namespace

std::string describe(const ir::Graph& graph, ValueRef r) {
  const Node& n = graph.node(r);
  std::string at = ir::to_string(n.source);
  return format("[{}] {}{}", n.op->name, to_string(n.types[r.output]), at.empty() ? "" : ", at " + at);
}

Type storage_type(const ir::Graph& graph, Storage s) {
  return s.partial ? kernel::partial_type(graph, s.root.node) : graph.type(s.root);
}

std::unique_ptr<Draft> make_draft(ir::Graph graph, bool fuse, bool reuse, int threads) {
  auto out = std::make_unique<Builder>(std::move(graph), fuse, threads);
  out->plan = passes::plan_memory(out->intervals, reuse);
  return out;
}

}  // namespace corten::runtime
