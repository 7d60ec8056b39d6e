// What tensors on "cuda:0" must do, whatever stands there: a CPU in tests, a card where there is
// one.
#pragma once

#include <string>

#include "corten/tensor.h"

namespace corten::testing {

/// Every element, of any dtype, with one NaN.
std::string bits(const Tensor& t);

/// Every op of the table with its gradients, op by op: pointwise ops and reductions have the CPU's
/// bits, products and attention are near.
void ops_have_the_cpus_bits();

/// Modules move, optimizers follow; op by op and compiled, on tensors of the device, steps have the
/// same bits, as attention is one kernel in both; the CPU's are near.
void gpt2_trains_op_by_op_as_compiled();

/// Conversions of every bf16 number, and a layer of 8-bit products with its gradients.
void float8_has_the_cpus_bits();

}  // namespace corten::testing
