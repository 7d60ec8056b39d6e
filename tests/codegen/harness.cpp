#include "codegen/harness.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "base/format.h"
#include "kernel/interpret.h"

namespace corten::codegen::test {

using ir::Kernel;
using ir::KernelFault;
using ir::KernelForm;
using ir::Launch;

GuardedMemory::GuardedMemory(size_t bytes, bool at_end) : size_(bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t inside = (bytes + page - 1) / page * page;
  mapped_ = inside + 2 * page;
  mapping_ =
      static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (inside > 0) mprotect(mapping_ + page, inside, PROT_READ | PROT_WRITE);
  data_ = mapping_ + page + (at_end ? inside - bytes : 0);
}
GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      data_(other.data_),
      mapped_(other.mapped_),
      size_(other.size_) {}
GuardedMemory::~GuardedMemory() {
  if (mapping_) munmap(mapping_, mapped_);
}

namespace {

struct Memory {
  std::vector<GuardedMemory> operands;
  std::vector<void*> pointers;
  Memory(const Problem& problem, uint64_t seed) {
    for (size_t i = 0; i < problem.operands.size(); ++i) {
      const std::string& bytes = problem.operands[i];
      operands.emplace_back(bytes.size(), (seed >> (i % 64) & 1) != 0);
      std::memcpy(operands.back().data(), bytes.data(), bytes.size());
      pointers.push_back(operands.back().data());
    }
  }
  std::vector<std::string> contents() const {
    std::vector<std::string> all;
    for (const GuardedMemory& m : operands) all.emplace_back(m.data(), m.size());
    return all;
  }
};

std::string target_name(const Target& t) {
  return format("{}{}", name(t.isa), t.bf16 ? "+bf16" : "");
}

int64_t item_count(const Kernel& kernel, const Launch& launch) {
  if (kernel.form == KernelForm::scatter) return 1;
  const bool columns = kernel.form == KernelForm::columns;
  int64_t n = 1;
  for (int d = 0; d < kernel.outer_rank - (columns ? 1 : 0); ++d) n *= launch.outer[d];
  return columns && launch.chunks > 1 ? n * launch.chunks : n;
}

// Pieces of [0, n) at multiples of grain.
std::vector<int64_t> cuts(int64_t n, int64_t grain, std::mt19937_64& random) {
  std::vector<int64_t> at{0};
  while (at.back() < n) {
    const int64_t left = n - at.back();
    int64_t step = random() % 3 == 0 ? left : (1 + static_cast<int64_t>(random() % 4)) * grain;
    at.push_back(at.back() + std::min(step, left));
  }
  if (at.size() == 1) at.push_back(0);  // an empty range is run, too
  return at;
}

// Compiled once per structure, as sizes and strides are arguments of the launch.
std::shared_ptr<const CpuKernel> compiled(const Kernel& kernel, const Target& target) {
  static std::map<std::string, std::shared_ptr<const CpuKernel>> cache;
  auto& place = cache[hex(structure_hash(kernel)) + target_name(target)];
  if (!place) place = compile_cpu(kernel, target, nullptr);
  return place;
}

std::vector<std::string> execute(const Problem& problem, const Target& target, KernelFault* fault,
                                 uint64_t seed, bool split) {
  const auto kernel = compiled(problem.kernel, target);
  Memory memory(problem, seed);
  const GuardedMemory scratch(static_cast<size_t>(kernel->scratch_bytes(problem.launch)), true);
  std::memset(scratch.data(), 0xff, scratch.size());
  std::mt19937_64 random(seed);
  const int64_t items = item_count(problem.kernel, problem.launch);
  const auto item_cuts = split ? cuts(items, 1, random) : std::vector<int64_t>{0, items};
  const auto c_cuts = split && kernel->splittable_inner()
                          ? cuts(problem.launch.inner, kInnerGrain, random)
                          : std::vector<int64_t>{0, problem.launch.inner};
  for (size_t i = 0; i + 1 < item_cuts.size(); ++i)
    for (size_t j = 0; j + 1 < c_cuts.size(); ++j)
      kernel->run(problem.launch, memory.pointers.data(), item_cuts[i], item_cuts[i + 1], c_cuts[j],
                  c_cuts[j + 1], scratch.data(), fault);
  return memory.contents();
}

}  // namespace

std::vector<Target> targets() {
  std::vector<Target> all{{Isa::avx2, false}};
  const Isa best = best_isa(cpu_features());
  if (best == Isa::avx2) return all;
  all.push_back({Isa::avx512, false});
  if (cpu_features().avx512_bf16) all.push_back({best, true});
  return all;
}

std::string compare(const Problem& problem, uint64_t seed) {
  Memory expected(problem, seed);
  KernelFault expected_fault;
  interpret(problem.kernel, problem.launch, expected.pointers.data(), ir::Precision::exact,
            &expected_fault);
  const std::vector<std::string> want = expected.contents();
  for (const Target& target : targets()) {
    KernelFault fault;
    const std::vector<std::string> got = execute(problem, target, &fault, seed, true);
    if ((fault.flagged != 0) != (expected_fault.flagged != 0))
      return format("{}: fault {} of access {}, index {}; expected {}, access {}, index {}",
                    target_name(target), fault.flagged, fault.access, fault.value,
                    expected_fault.flagged, expected_fault.access, expected_fault.value);
    if (fault.flagged) continue;
    if (const std::string found = difference(problem.kernel, want, got); !found.empty())
      return format("{}: {}", target_name(target), found);
  }
  return "";
}

std::vector<std::string> run(const Problem& problem, const Target& target, KernelFault* fault) {
  KernelFault own;
  return execute(problem, target, fault ? fault : &own, 0, false);
}

}  // namespace corten::codegen::test
