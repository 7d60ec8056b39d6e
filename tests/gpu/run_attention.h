// Problems of attention, executed by the GPU's kernels somewhere and compared with the definition
// in double precision.
#pragma once

#include <memory>

#include "attention/problem.h"
#include "cuda/plugin.h"
#include "gpu/run_step.h"

namespace corten::cuda::test {

using AttentionProblem = corten::test::Problem;

/// The kernels of a problem, forward and backward.
std::vector<codegen::gpu::KernelText> attention_texts(AttentionProblem& problem,
                                                      int shared_limit = kMaxSharedBytes);

/// Runs both passes: results come back into the problem. "" or what went wrong.
std::string run_attention(Runner& runner, AttentionProblem& problem,
                          int shared_limit = kMaxSharedBytes);

/// What of the results is not the definition's within the rounding of the operands' type; "" if
/// nothing.
std::string attention_difference(const AttentionProblem& problem);

/// Made-up problems that reach every branch of the kernels.
std::vector<std::unique_ptr<AttentionProblem>> attention_samples();

}  // namespace corten::cuda::test
