#include "cuda/step_kernels.h"

#include <algorithm>
#include <map>
#include <set>

#include "codegen/compile.h"
#include "codegen/gpu/arguments.h"

namespace corten::cuda {

using codegen::gpu::KernelText;
using codegen::gpu::Schedule;
using kernel::LoweredKernel;
using kernel::Storage;

namespace {

// A launch is moved up to others of its kernel past at most so many steps, and only if what it
// writes does not lie in memory for longer: state, or so few bytes. It is moved down if what it
// reads does not: so few bytes, or what is read later anyway. Partial results of sums over tokens count
// less: there are as many of them as activations, a 64th, and those are gone by then.
constexpr size_t kWindow = 512;
constexpr int64_t kPartialShare = 16;
constexpr int64_t kSmallResult = 64 << 10, kSmallOperands = 512 << 10;

using Touched = std::set<Storage>;

bool meet(const Touched& a, const Touched& b) {
  const Touched& small = a.size() < b.size() ? a : b;
  const Touched& large = a.size() < b.size() ? b : a;
  return std::any_of(small.begin(), small.end(),
                     [&](const Storage& s) { return large.count(s) > 0; });
}

class Builder {
 public:
  Builder(const kernel::Partition& p, bool group) : p_(p), group_(group) {
    for (const ir::Output& o : p.graph->outputs())
      if (o.alias >= 0)
        old_[p.places[o.value].root] = p.graph->inputs()[static_cast<size_t>(o.alias)];
    for (const kernel::Step& s : p.steps)
      for (int32_t m : s.members) {
        const ir::Node& n = p.graph->nodes()[static_cast<size_t>(m)];
        if (n.source.stage == ir::Stage::forward && n.phase == 0) continue;
        for (ir::ValueRef r : n.inputs) read_again_.insert(p.places[r].root);
      }
  }

  StepKernels run() {
    for (size_t s = 0; s < p_.steps.size(); ++s) {
      if (p_.steps[s].library) {
        library(static_cast<int32_t>(s));
        continue;
      }
      for (LoweredKernel& k : kernel::lower(p_, p_.steps[s])) {
        out_.kernels.push_back(std::move(k));
        out_.steps_of.push_back(static_cast<int32_t>(s));
        add(static_cast<int32_t>(out_.kernels.size()) - 1);
      }
    }
    if (group_) sink();
    emit();
    return std::move(out_);
  }

 private:
  struct Accesses {
    Touched read, written;
    Hash128 structure;
    bool conflicts(const Accesses& later) const {
      return meet(read, later.written) || meet(written, later.read) || meet(written, later.written);
    }
  };

  // New state may lie where the old does: both count as one.
  Storage place(const Storage& s) const {
    const auto found = old_.find(s.root);
    return found == old_.end() || s.partial ? s : Storage{found->second};
  }

  void library(int32_t step) {
    Accesses touched;
    const int32_t index = p_.steps[static_cast<size_t>(step)].members[0];
    const ir::Node& n = p_.graph->nodes()[static_cast<size_t>(index)];
    for (ir::ValueRef r : n.inputs) touched.read.insert(place({p_.places[r].root}));
    for (size_t k = 0; k < n.types.size(); ++k)
      touched.written.insert(place({p_.places.of(index)[k].root}));
    if (n.op->in_place >= 0)
      touched.written.insert(
          place({p_.places[n.inputs[static_cast<size_t>(n.op->in_place)]].root}));
    out_.steps.push_back({.library = step});
    touched_.push_back(std::move(touched));
  }

  int64_t fresh_bytes(const LoweredKernel& k) const {
    int64_t bytes = 0;
    for (size_t i = 0; i < k.operands.size(); ++i) {
      const Storage& s = k.operands[i];
      if (!k.kernel.operands[i].written || (!s.partial && old_.count(s.root))) continue;
      bytes += s.partial ? kernel::partial_type(*p_.graph, s.root.node).bytes()
                         : p_.graph->type(s.root).bytes();
    }
    return bytes;
  }

  // Converted weights: made of what is there from the start, read again by the backward pass. They
  // live when memory peaks, at its beginning, whenever they are made.
  bool lives_anyway(const LoweredKernel& k) const {
    bool all = true;
    for (size_t i = 0; i < k.operands.size(); ++i) {
      const Storage& s = k.operands[i];
      all &= k.kernel.operands[i].written ? read_again_.count(s.root) > 0 : bytes_between(s) == 0;
    }
    return all;
  }

  void add(int32_t index) {
    LoweredKernel& k = out_.kernels[static_cast<size_t>(index)];
    const std::vector<uint64_t> addresses(k.operands.size(), codegen::gpu::kMaxAlignment);
    Accesses touched;
    for (size_t i = 0; i < k.operands.size(); ++i)
      (k.kernel.operands[i].written ? touched.written : touched.read).insert(place(k.operands[i]));
    touched.structure = codegen::structure_hash(k.kernel);
    const bool movable = fresh_bytes(k) <= kSmallResult || lives_anyway(k);
    // The launches of one kernel write different elements: they may share a step.
    const size_t own = out_.steps.size();
    for (ir::Launch& launch : k.launches) {
      GpuLaunch made;
      made.kernel = index;
      Schedule schedule = codegen::gpu::choose_schedule(k.kernel, launch, addresses);
      made.launch = std::move(launch);
      GpuStep* home = group_ ? find(schedule, touched, movable, own) : nullptr;
      if (home) {
        Accesses& there = touched_[static_cast<size_t>(home - out_.steps.data())];
        there.read.insert(touched.read.begin(), touched.read.end());
        there.written.insert(touched.written.begin(), touched.written.end());
        home->launches.push_back(std::move(made));
        continue;
      }
      GpuStep step;
      step.schedule = schedule;
      step.launches.push_back(std::move(made));
      out_.steps.push_back(std::move(step));
      touched_.push_back(touched);
    }
    k.launches.clear();
  }

  // The last step that a launch can join.
  GpuStep* find(const Schedule& schedule, const Accesses& touched, bool movable, size_t own) {
    const size_t count = out_.steps.size();
    for (size_t back = 0; back < std::min(count, kWindow); ++back) {
      const size_t i = count - 1 - back;
      GpuStep& step = out_.steps[i];
      if (i < own && touched_[i].conflicts(touched)) return nullptr;
      if (i < own && back > 0 && !movable && out_.steps[count - 1 - back + 1].library >= 0)
        return nullptr;
      if (step.library < 0 && touched_[i].structure == touched.structure &&
          codegen::gpu::join(step.schedule, schedule))
        return &step;
    }
    return nullptr;
  }

  // Moves steps down to later ones of their kernel: what the update alone needs, the norms and sums
  // of gradients of the whole backward pass, comes together.
  void sink() {
    const auto count = static_cast<int32_t>(out_.steps.size());
    std::map<Storage, int32_t> last_reader;
    for (int32_t i = 0; i < count; ++i)
      for (const Storage& r : touched_[static_cast<size_t>(i)].read) last_reader[r] = i;
    std::vector<char> gone(out_.steps.size(), 0);
    for (int32_t i = count; i-- > 0;) {
      GpuStep& step = out_.steps[static_cast<size_t>(i)];
      Accesses& mine = touched_[static_cast<size_t>(i)];
      if (step.library >= 0) continue;
      int64_t dying = 0;
      for (const Storage& r : mine.read)
        if (last_reader[r] == i) dying += bytes_between(r) / (r.partial ? kPartialShare : 1);
      if (dying > kSmallOperands * static_cast<int64_t>(step.launches.size())) continue;
      for (int32_t j = i + 1, seen = 0; j < count && seen < static_cast<int32_t>(kWindow); ++j) {
        if (gone[static_cast<size_t>(j)]) continue;
        ++seen;
        GpuStep& later = out_.steps[static_cast<size_t>(j)];
        Accesses& there = touched_[static_cast<size_t>(j)];
        if (mine.conflicts(there)) break;
        if (later.library >= 0 || there.structure != mine.structure ||
            !codegen::gpu::join(later.schedule, step.schedule))
          continue;
        later.launches.insert(later.launches.begin(),
                              std::make_move_iterator(step.launches.begin()),
                              std::make_move_iterator(step.launches.end()));
        there.read.insert(mine.read.begin(), mine.read.end());
        there.written.insert(mine.written.begin(), mine.written.end());
        for (const Storage& r : mine.read) last_reader[r] = std::max(last_reader[r], j);
        gone[static_cast<size_t>(i)] = 1;
        break;
      }
    }
    std::vector<GpuStep> left;
    for (size_t i = 0; i < gone.size(); ++i)
      if (!gone[i]) left.push_back(std::move(out_.steps[i]));
    out_.steps = std::move(left);
  }

  // Bytes of a storage that lives within a step only; arguments, constants and state live anyway.
  int64_t bytes_between(const Storage& s) const {
    if (s.partial) return kernel::partial_type(*p_.graph, s.root.node).bytes();
    const ir::Node& n = p_.graph->node(s.root);
    return n.op == &ir::kInputOp || n.op == &ir::kConstantOp ? 0 : p_.graph->type(s.root).bytes();
  }

  void emit() {
    std::map<std::string, int32_t> known;
    for (GpuStep& step : out_.steps) {
      if (step.library >= 0) continue;
      const ir::Kernel& kernel =
          out_.kernels[static_cast<size_t>(step.launches[0].kernel)].kernel;
      step.schedule.grouped =
          step.launches.size() > 1 ||
          codegen::gpu::ArgumentLayout(kernel).words() * int64_t{8} > kMaxParameterBytes;
      KernelText text = codegen::gpu::emit(kernel, step.schedule);
      auto [place, is_new] = known.emplace(text.name, static_cast<int32_t>(out_.texts.size()));
      if (is_new) out_.texts.push_back(std::move(text));
      step.text = place->second;
      for (GpuLaunch& l : step.launches)
        l.blocks = codegen::gpu::block_count(out_.kernels[static_cast<size_t>(l.kernel)].kernel,
                                             l.launch, step.schedule);
    }
  }

  const kernel::Partition& p_;
  const bool group_;
  std::set<ir::ValueRef> read_again_;  // after the forward pass
  std::map<ir::ValueRef, ir::ValueRef> old_;  // new state: the input that it may be written over
  StepKernels out_;
  std::vector<Accesses> touched_;  // by step of out_
};

}  // namespace

size_t StepKernels::launches() const {
  size_t n = 0;
  for (const GpuStep& s : steps) n += s.launches.size();
  return n;
}
size_t StepKernels::groups() const {
  return static_cast<size_t>(
      std::count_if(steps.begin(), steps.end(), [](const GpuStep& s) { return s.library < 0; }));
}

StepKernels step_kernels(const kernel::Partition& partition, bool group) {
  return Builder(partition, group).run();
}

}  // namespace corten::cuda
