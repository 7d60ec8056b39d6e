// The run-time arguments of a GPU kernel: 64-bit words in an order that the kernel's structure
// decides.
//
//   outer extents, inner, chunks, quotient() of every outer extent but the first and of inner, address
//   of the KernelFault if there is a gathered access;
//   for each access its address (the operand's plus the offset; indices: the offset), its outer
//   strides, and what its kind needs: inner stride, index stride and bound, lo and hi of each
//   guard; all strides in elements; parameters.
//
// A single launch passes its words by value. A grouped one passes the address of a table: for n
// launches n + 1 numbers, how many blocks all launches before have, and then the words of each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/kernel.h"

namespace corten::codegen::gpu {

/// A divisor (0: 1) as a multiplier m in the low and a shift s in the high 32 bits: n / divisor is
/// (n * m) >> s for all n below 2^31 (Granlund and Montgomery, "Division by invariant integers using
/// multiplication", 1994, theorem 4.2: m = ceil(2^s / divisor), s = 31 + ceil(log2 divisor)). 0 for
/// larger divisors.
int64_t quotient(int64_t divisor);

/// Where the words of a kernel lie.
class ArgumentLayout {
 public:
  explicit ArgumentLayout(const ir::Kernel& kernel);

  int words() const { return words_; }
  int outer(int d) const { return d; }
  int inner() const { return inner_; }
  int chunks() const { return inner_ + 1; }
  int outer_quotient(int d) const { return inner_ + 1 + d; }  ///< d > 0
  int inner_quotient() const { return inner_ + 2 + std::max(inner_ - 1, 0); }
  int fault() const { return fault_; }  ///< -1: none
  int address(int access) const { return access_[access].first; }
  int stride(int access, int d) const { return access_[access].first + 1 + d; }
  int inner_stride(int access) const { return access_[access].inner; }
  int index_stride(int access) const { return access_[access].index; }
  int index_bound(int access) const { return access_[access].index + 1; }
  int lo(int access, int d) const { return access_[access].guards[d]; }
  int hi(int access, int d) const { return access_[access].guards[d] + 1; }
  int param(int i) const { return params_ + i; }

 private:
  struct Place {
    int first = 0, inner = -1, index = -1;
    int guards[ir::kMaxOuter + 1];
  };
  std::vector<Place> access_;
  int inner_ = 0, fault_ = -1, params_ = 0, words_ = 0;
};

/// The words of a launch, appended to `out`. `fault` is where the kernel may report an index.
void pack_arguments(const ir::Kernel& kernel, const ir::Launch& launch,
                    std::span<const uint64_t> addresses, uint64_t fault, std::vector<int64_t>& out);

}  // namespace corten::codegen::gpu
