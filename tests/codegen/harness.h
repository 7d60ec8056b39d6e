// Runs a kernel by the interpreter and by compiled code for every instruction set of this machine,
// and compares all bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/compile.h"
#include "kernel_problem.h"

namespace corten::codegen::test {

/// Memory whose first or last byte lies next to a page that may not be touched.
class GuardedMemory {
 public:
  GuardedMemory(size_t bytes, bool at_end);
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory(const GuardedMemory&) = delete;
  ~GuardedMemory();
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char *mapping_ = nullptr, *data_ = nullptr;
  size_t mapped_ = 0, size_ = 0;
};

/// The targets this machine can run, AVX-512 without the bf16 instruction included.
std::vector<Target> targets();

/// Differences between the interpreter and compiled code, "" if there are none. `seed` decides how
/// work is split into calls.
std::string compare(const Problem& problem, uint64_t seed);

/// The operands after compiled code ran in one call.
std::vector<std::string> run(const Problem& problem, const Target& target,
                             ir::KernelFault* fault = nullptr);

}  // namespace corten::codegen::test
