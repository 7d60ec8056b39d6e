#include "codegen/cpu.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <list>
#include <mutex>
#include <unordered_map>

#include "base/format.h"
#include "base/thread_pool.h"
#include "codegen/compile.h"
#include "codegen/jit.h"

namespace corten::codegen {
namespace {

using ir::Kernel;
using ir::KernelForm;
using ir::Launch;

class CompiledKernel : public CpuKernel {
 public:
  CompiledKernel(const Plan& plan, std::shared_ptr<const LinkedObject> object)
      : object_(std::move(object)),
        function_(object_->function()),
        form_(plan.kernel.form),
        accesses_(plan.kernel.accesses.size()),
        params_(plan.kernel.params.size()),
        splittable_(plan.splittable_inner()),
        scratch_(plan.scratch) {
    for (size_t i = 0; i < accesses_; ++i)
      if (plan.kernel.accesses[i].operand >= 0 && plan.kernel.accesses[i].index >= 0)
        gathered_.push_back(i);
  }

  bool splittable_inner() const override { return splittable_; }
  int64_t scratch_bytes(const Launch& launch) const override { return scratch_.bytes(launch); }

  void run(const Launch& launch, void* const* pointers, int64_t begin, int64_t end, int64_t c0,
           int64_t c1, void* scratch, ir::KernelFault* fault) const override {
    CORTEN_CHECK(launch.accesses.size() == accesses_ && launch.params.size() == params_);
    CORTEN_CHECK(fault || gathered_.empty());
    const int32_t rank = scratch_.outer_rank;
    if (form_ == KernelForm::scatter) {
      end = end > begin ? 1 : 0;
      for (int d = 0; d < rank; ++d) end *= launch.outer[d];
      begin = 0;
    }
    if (begin >= end) return;
    for (size_t i : gathered_) {
      // Not even index 0 exists.
      if (launch.accesses[i].index_bound > 0 || c0 >= c1) continue;
      if (!fault->flagged) *fault = {1, static_cast<int64_t>(i), 0};
      return;
    }
    const Call call{launch.outer,
                    launch.accesses.data(),
                    launch.params.data(),
                    pointers,
                    static_cast<char*>(scratch),
                    fault,
                    launch.inner,
                    launch.chunks,
                    begin,
                    end,
                    c0,
                    c1};
    function_(&call);
  }

 private:
  std::shared_ptr<const LinkedObject> object_;
  KernelFunction function_;
  KernelForm form_;
  size_t accesses_, params_;
  bool splittable_;
  ScratchNeeds scratch_;
  std::vector<size_t> gathered_;
};

using KernelPtr = std::shared_ptr<const CpuKernel>;

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

struct HashOfHash {
  size_t operator()(const Hash128& h) const { return h.low; }
};

// Kernels in memory: the least recently used ones go when there are too many. Threads that ask for
// a kernel which another one is compiling wait for it.
class KernelCache {
 public:
  template <typename Make>
  KernelPtr find(const Hash128& key, Make make) {
    std::promise<KernelPtr> promise;
    std::shared_future<KernelPtr> future;
    {
      std::lock_guard lock(mutex_);
      if (const auto it = entries_.find(key); it != entries_.end()) {
        order_.splice(order_.begin(), order_, it->second.place);
        future = it->second.kernel;
        ++stats.from_memory;
      } else {
        order_.push_front(key);
        entries_[key] = {promise.get_future().share(), order_.begin()};
        while (entries_.size() > kMaxKernels) {
          entries_.erase(order_.back());
          order_.pop_back();
        }
      }
    }
    if (future.valid()) return future.get();
    try {
      KernelPtr kernel = make();
      promise.set_value(kernel);
      return kernel;
    } catch (...) {
      promise.set_exception(std::current_exception());
      std::lock_guard lock(mutex_);
      if (const auto it = entries_.find(key); it != entries_.end()) {
        order_.erase(it->second.place);
        entries_.erase(it);
      }
      throw;
    }
  }

  bool has(const Hash128& key) {
    std::lock_guard lock(mutex_);
    return entries_.count(key) > 0;
  }

  void count(bool from_disk, double ms) {
    std::lock_guard lock(mutex_);
    (from_disk ? stats.from_disk : stats.compiled) += 1;
    (from_disk ? stats.load_ms : stats.compile_ms) += ms;
  }
  CompileStats read_stats() {
    std::lock_guard lock(mutex_);
    return stats;
  }

 private:
  static constexpr size_t kMaxKernels = 4096;
  struct Entry {
    std::shared_future<KernelPtr> kernel;
    std::list<Hash128>::iterator place;
  };
  std::mutex mutex_;
  std::list<Hash128> order_;  // the most recently used first
  std::unordered_map<Hash128, Entry, HashOfHash> entries_;
  CompileStats stats;
};

KernelCache& kernels() {
  static auto* cache = new KernelCache;  // kernels may run in threads that outlive static objects
  return *cache;
}

}  // namespace

Hash128 structure_hash(const Kernel& kernel) {
  std::vector<int64_t> words{static_cast<int64_t>(kernel.form),
                             kernel.outer_rank,
                             static_cast<int64_t>(kernel.operands.size()),
                             static_cast<int64_t>(kernel.accesses.size()),
                             static_cast<int64_t>(kernel.stores.size()),
                             static_cast<int64_t>(kernel.params.size())};
  const auto pack = [](auto high, auto low) {
    return static_cast<int64_t>(static_cast<uint64_t>(high) << 32 | static_cast<uint32_t>(low));
  };
  for (const ir::Operand& o : kernel.operands) words.push_back(pack(o.dtype, o.written));
  for (const ir::Access& a : kernel.accesses) {
    words.push_back(pack(a.operand, a.index));
    words.push_back(pack(a.inner, a.guards));
  }
  for (const ir::Store& s : kernel.stores) {
    words.push_back(pack(s.access, s.node));
    words.push_back(pack(s.mode, s.streaming));
  }
  for (DType t : kernel.params) words.push_back(static_cast<int64_t>(t));
  for (const ir::ScalarNode& n : kernel.body.nodes()) {
    words.push_back(pack(n.op, n.type));
    words.push_back(pack(n.arg[0], n.arg[1]));
    words.push_back(n.arg[2]);
    words.push_back(n.imm);
  }
  return hash128(std::as_bytes(std::span(words)));
}

KernelPtr compile_cpu(const Kernel& kernel, const Target& target, ObjectCache* objects) {
  const auto start = std::chrono::steady_clock::now();
  const Plan plan = make_plan(kernel);
  const Hash128 structure = structure_hash(plan.kernel);
  Hasher hasher;
  hasher.update_value(structure.high).update_value(structure.low).update_value(kEmitterVersion);
  hasher.update(llvm_version()).update(feature_string(target)).update(name(target.isa));
  const Hash128 key = hasher.digest128();
  if (objects)
    if (const auto object = objects->load(key)) {
      try {
        auto made = std::make_shared<CompiledKernel>(plan, link_object(*object));
        kernels().count(true, milliseconds_since(start));
        return made;
      } catch (const Error&) {
        // The file is as it was written, but no object of ours: it is written anew.
      }
    }
  const std::string object = compile_object(plan, target);
  if (objects) objects->store(key, object);
  auto made = std::make_shared<CompiledKernel>(plan, link_object(object));
  kernels().count(false, milliseconds_since(start));
  return made;
}

namespace {
KernelPtr find_or_compile(const Hash128& key, const Kernel& kernel) {
  return kernels().find(
      key, [&] { return compile_cpu(kernel, target_for(cpu_isa()), &object_cache()); });
}
}  // namespace

KernelPtr compile_cpu(const Kernel& kernel) {
  return find_or_compile(structure_hash(kernel), kernel);
}

std::vector<KernelPtr> compile_cpu(const std::vector<const Kernel*>& list) {
  std::vector<Hash128> keys(list.size());
  std::unordered_map<Hash128, size_t, HashOfHash> first;  // by key: the first kernel that has it
  std::vector<size_t> missing;
  for (size_t i = 0; i < list.size(); ++i) {
    keys[i] = structure_hash(*list[i]);
    if (first.emplace(keys[i], i).second && !kernels().has(keys[i])) missing.push_back(i);
  }
  std::vector<KernelPtr> out(list.size());
  ThreadPool& pool = default_thread_pool();
  std::atomic<size_t> next = 0;  // kernels differ in what they cost
  pool.parallel_for(std::min<int64_t>(pool.num_threads(), static_cast<int64_t>(missing.size())), [&](int64_t, int) {
    for (size_t k; (k = next++) < missing.size();)
      out[missing[k]] = find_or_compile(keys[missing[k]], *list[missing[k]]);
  });
  for (size_t i = 0; i < list.size(); ++i)
    if (!out[i]) out[i] = find_or_compile(keys[i], *list[i]);
  return out;
}

CompileStats compile_stats() {
  return kernels().read_stats();
}

}  // namespace corten::codegen
