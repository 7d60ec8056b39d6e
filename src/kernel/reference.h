// The reference: executes a tensor graph one element at a time.
#pragma once

#include "ir/graph.h"

namespace corten::kernel {

/// A tensor on the host, row-major: floats in .f, everything else in .i.
struct HostTensor {
  ir::Type type;
  std::vector<ir::ScalarValue> values;
};

/// Reads and writes the bytes of a contiguous tensor.
HostTensor from_memory(const ir::Type& type, const void* data);
void to_memory(const HostTensor& tensor, void* data);

/// Evaluates a graph (composites by their definition). exact: to the bit what programs compute (products: the float32
/// chain of the AVX families). real: every float in double without rounding, an oracle for accuracy. Usage error for an
/// index out of range.
std::vector<HostTensor> evaluate(const ir::Graph& graph, const std::vector<HostTensor>& inputs, ir::Precision precision);

}  // namespace corten::kernel
