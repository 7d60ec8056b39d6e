#include "cuda/step_kernels.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "codegen/compile.h"

namespace corten::cuda {

using codegen::gpu::KernelText;
using codegen::gpu::Schedule;
using kernel::LoweredKernel;
using kernel::Storage;

namespace {

// Memory that a kernel touches. New state may lie where the old does: both count as one.
class Memory {
 public:
  explicit Memory(const kernel::Partition& p) {
    for (const ir::Output& o : p.graph->outputs())
      if (o.alias >= 0) old_[p.places[o.value].root] = p.graph->inputs()[static_cast<size_t>(o.alias)];
  }
  void add(const LoweredKernel& k, std::set<Storage>& read, std::set<Storage>& written) const {
    for (size_t i = 0; i < k.operands.size(); ++i) (k.kernel.operands[i].written ? written : read).insert(place(k.operands[i]));
  }

 private:
  Storage place(const Storage& s) const {
    const auto found = old_.find(s.root);
    return found == old_.end() || s.partial ? s : Storage{found->second};
  }
  std::map<ir::ValueRef, ir::ValueRef> old_;
};

class Builder {
 public:
  Builder(const kernel::Partition& p, bool group) : p_(p), memory_(p), group_(group) {}

  StepKernels run() {
    for (size_t s = 0; s < p_.steps.size(); ++s) {
      if (p_.steps[s].library) {
        flush();
        continue;
      }
      for (LoweredKernel& k : kernel::lower(p_, p_.steps[s])) {
        out_.kernels.push_back(std::move(k));
        out_.steps.push_back(static_cast<int32_t>(s));
        add(static_cast<int32_t>(out_.kernels.size()) - 1);
      }
    }
    flush();
    return std::move(out_);
  }

 private:
  struct Pending {
    GpuLaunch launch;
    Hash128 structure;
  };

  void add(int32_t index) {
    LoweredKernel& k = out_.kernels[static_cast<size_t>(index)];
    const std::vector<uint64_t> addresses(k.operands.size(), codegen::gpu::kMaxAlignment);
    const Hash128 structure = codegen::structure_hash(k.kernel);
    // Launches that could run in any order may change places.
    std::set<Storage> read, written;
    memory_.add(k, read, written);
    bool apart = group_ && k.kernel.form == ir::KernelForm::rows && k.launches.size() == 1;
    for (const Storage& w : written) apart &= !read_.count(w) && !written_.count(w);
    for (const Storage& r : read) apart &= !written_.count(r);
    if (!apart) flush();
    for (ir::Launch& launch : k.launches) {
      GpuLaunch made;
      made.kernel = index;
      made.schedule = codegen::gpu::choose_schedule(k.kernel, launch, addresses);
      made.launch = std::move(launch);
      pending_.push_back({std::move(made), structure});
    }
    k.launches.clear();
    if (!apart && (k.kernel.form != ir::KernelForm::rows || pending_.size() > 1)) return flush();
    read_.merge(read);
    written_.merge(written);
  }

  // Closes a run of launches that could go in any order: those of one kernel and of schedules that can be joined are one.
  void flush() {
    std::vector<char> done(pending_.size(), 0);
    for (size_t i = 0; i < pending_.size(); ++i) {
      if (done[i]) continue;
      std::vector<size_t> members{i};
      Schedule schedule = pending_[i].launch.schedule;
      for (size_t j = i + 1; j < pending_.size() && group_; ++j)
        if (!done[j] && pending_[j].structure == pending_[i].structure && codegen::gpu::join(schedule, pending_[j].launch.schedule)) {
          members.push_back(j);
          done[j] = 1;
        }
      schedule.grouped = members.size() > 1;
      const LoweredKernel& k = out_.kernels[static_cast<size_t>(pending_[i].launch.kernel)];
      KernelText text = codegen::gpu::emit(k.kernel, schedule);
      auto [known, is_new] = texts_.emplace(text.name, static_cast<int32_t>(out_.texts.size()));
      if (is_new) out_.texts.push_back(std::move(text));
      out_.groups.push_back({static_cast<int32_t>(out_.launches.size()), static_cast<int32_t>(members.size())});
      for (size_t m : members) {
        GpuLaunch& l = pending_[m].launch;
        l.schedule = schedule;
        l.text = known->second;
        l.blocks = codegen::gpu::block_count(out_.kernels[static_cast<size_t>(l.kernel)].kernel, l.launch, schedule);
        out_.launches.push_back(std::move(l));
      }
    }
    pending_.clear();
    read_.clear();
    written_.clear();
  }

  const kernel::Partition& p_;
  const Memory memory_;
  const bool group_;
  StepKernels out_;
  std::vector<Pending> pending_;
  std::set<Storage> read_, written_;  // of the pending launches
  std::map<std::string, int32_t> texts_;
};

}  // namespace

StepKernels step_kernels(const kernel::Partition& partition, bool group) { return Builder(partition, group).run(); }

}  // namespace corten::cuda
