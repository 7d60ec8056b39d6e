#include "gpu/run_problem.h"

#include <cstdlib>
#include <cstring>

#include "codegen/gpu/arguments.h"
#include "kernel/interpret.h"

namespace corten::codegen::test {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Operands next to each other as in an arena, each aligned.
struct Operands {
  std::vector<std::unique_ptr<char, Free>> memory;
  std::vector<uint64_t> addresses;
  std::vector<HostModule::Range> ranges;
  std::vector<void*> pointers;
  explicit Operands(const Problem& problem) {
    for (const std::string& bytes : problem.operands) {
      memory.emplace_back(
          static_cast<char*>(std::aligned_alloc(64, (bytes.size() + 127) / 64 * 64)));
      std::memcpy(memory.back().get(), bytes.data(), bytes.size());
      addresses.push_back(reinterpret_cast<uint64_t>(memory.back().get()));
      pointers.push_back(memory.back().get());
      ranges.push_back({memory.back().get(), static_cast<int64_t>(bytes.size())});
    }
  }
  std::vector<std::string> contents() const {
    std::vector<std::string> all;
    for (const HostModule::Range& r : ranges)
      all.emplace_back(static_cast<const char*>(r.begin), static_cast<size_t>(r.bytes));
    return all;
  }
};

}  // namespace

Execution prepare(const Problem& problem) {
  const std::vector<uint64_t> addresses(problem.operands.size(), 64);
  Execution out;
  out.schedule = gpu::choose_schedule(problem.kernel, problem.launch, addresses);
  out.text = gpu::emit(problem.kernel, out.schedule);
  return out;
}

std::string compare(const HostModule& module, const Problem& problem, const Execution& execution,
                    uint64_t seed, bool tracked) {
  Operands expected(problem), actual(problem);
  ir::KernelFault expected_fault, fault;
  interpret(problem.kernel, problem.launch, expected.pointers.data(), ir::Precision::exact,
            &expected_fault);
  std::vector<int64_t> words;
  gpu::pack_arguments(problem.kernel, problem.launch, actual.addresses,
                      reinterpret_cast<uint64_t>(&fault), words);
  const std::string error =
      module.run(execution.text, words.data(),
                 gpu::block_count(problem.kernel, problem.launch, execution.schedule),
                 actual.ranges, tracked, seed);
  if (!error.empty()) return error;
  // Points of a scatter that its store's guard leaves out are not computed, nor are their indices
  // looked at.
  const bool guarded = problem.kernel.form == ir::KernelForm::scatter &&
                       problem.kernel.accesses[problem.kernel.stores[0].access].guards != 0;
  if (guarded && expected_fault.flagged) return "";
  if ((fault.flagged != 0) != (expected_fault.flagged != 0))
    return format("fault {} of access {}, index {}; expected {}, access {}, index {}",
                  fault.flagged, fault.access, fault.value, expected_fault.flagged,
                  expected_fault.access, expected_fault.value);
  return fault.flagged ? "" : difference(problem.kernel, expected.contents(), actual.contents());
}

}  // namespace corten::codegen::test
