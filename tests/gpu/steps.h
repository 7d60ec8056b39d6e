// The GPU kernels of training steps of real shapes, planned without values.
#pragma once

#include <memory>
#include <string>

#include "cuda/step_kernels.h"
#include "train/train_step.h"

namespace corten::cuda::test {

/// A compiled step and its kernels: of "gpt2" (124M) or "llama" (TinyLlama 1.1B), with three
/// blocks.
class ModelStep {
 public:
  ModelStep(const std::string& model, DType dtype);
  const kernel::Partition& partition() const { return *partition_; }
  const StepKernels& kernels() const { return kernels_; }
  /// All that a program of the step loads: those of kernels(), then attention's.
  std::vector<codegen::gpu::KernelText> texts() const;

 private:
  std::unique_ptr<CausalLM> model_;
  std::unique_ptr<TrainStep> step_;
  ir::Graph graph_;  // after the passes for GPUs
  std::unique_ptr<kernel::Partition> partition_;
  StepKernels kernels_;
};

/// Made once per process.
const ModelStep& model_step(const std::string& model, DType dtype);

}  // namespace corten::cuda::test
