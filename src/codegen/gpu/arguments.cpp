#include "codegen/gpu/arguments.h"

#include <bit>

#include "base/format.h"

namespace corten::codegen::gpu {

using ir::InnerStride;
using ir::Kernel;
using ir::Launch;

int64_t quotient(int64_t divisor) {
  const auto d = static_cast<uint64_t>(std::max<int64_t>(divisor, 1));
  if (d >= uint64_t{1} << 31) return 0;
  const int shift = 31 + std::bit_width(d - 1);
  const uint64_t multiplier = ((uint64_t{1} << shift) + d - 1) / d;
  return static_cast<int64_t>(static_cast<uint64_t>(shift) << 32 | multiplier);
}

ArgumentLayout::ArgumentLayout(const Kernel& kernel) {
  const int rank = kernel.outer_rank;
  int next = rank;
  inner_ = next;
  next += 2;
  next += std::max(rank - 1, 0) + 1;
  if (std::any_of(kernel.accesses.begin(), kernel.accesses.end(),
                  [](const ir::Access& a) { return a.index >= 0; }))
    fault_ = next++;
  for (const ir::Access& a : kernel.accesses) {
    Place p;
    p.first = next;
    next += 1 + rank;
    if (a.inner == InnerStride::any) p.inner = next++;
    if (a.index >= 0) {
      p.index = next;
      next += 2;
    }
    for (int d = 0; d <= rank; ++d)
      if (a.guards >> d & 1) {
        p.guards[d] = next;
        next += 2;
      }
    access_.push_back(p);
  }
  params_ = next;
  words_ = next + static_cast<int>(kernel.params.size());
}

void pack_arguments(const Kernel& kernel, const Launch& launch, std::span<const uint64_t> addresses,
                    uint64_t fault, std::vector<int64_t>& out) {
  CORTEN_CHECK(launch.accesses.size() == kernel.accesses.size() &&
               launch.params.size() == kernel.params.size());
  CORTEN_CHECK(addresses.size() == kernel.operands.size());
  const int rank = kernel.outer_rank;
  out.insert(out.end(), launch.outer, launch.outer + rank);
  out.push_back(launch.inner);
  out.push_back(launch.chunks);
  for (int d = 1; d < rank; ++d) out.push_back(quotient(launch.outer[d]));
  out.push_back(quotient(launch.inner));
  if (ArgumentLayout(kernel).fault() >= 0) out.push_back(static_cast<int64_t>(fault));
  for (size_t i = 0; i < kernel.accesses.size(); ++i) {
    const ir::Access& a = kernel.accesses[i];
    const Launch::Access& at = launch.accesses[i];
    if (a.operand < 0) {
      out.push_back(at.offset);
    } else {
      const auto size = static_cast<int64_t>(size_of(kernel.operands[a.operand].dtype));
      out.push_back(static_cast<int64_t>(addresses[a.operand]) + at.offset * size);
    }
    out.insert(out.end(), at.strides, at.strides + rank);
    if (a.inner == InnerStride::any) out.push_back(at.inner_stride);
    if (a.index >= 0) out.insert(out.end(), {at.index_stride, at.index_bound});
    for (int d = 0; d <= rank; ++d)
      if (a.guards >> d & 1) out.insert(out.end(), {at.lo[d], at.hi[d]});
  }
  out.insert(out.end(), launch.params.begin(), launch.params.end());
}

}  // namespace corten::codegen::gpu
