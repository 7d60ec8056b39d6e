// `corten explain`: what became of a training step on its way to machine code, and why it was compiled.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "corten/compile.h"
#include "cuda/device_plan.h"
#include "passes/pipeline.h"
#include "train/config.h"

namespace corten {

/// Steps of a program that do the same: kernels of one name, products of the same operands.
struct StepGroup {
  std::string name;
  bool product = false;
  int64_t count = 0, bytes = 0;
  double flops = 0;
  std::string example;  ///< one of them: result and source line
};

struct ProgramExplanation {
  std::string name;  ///< "training step"
  ProgramInfo info;
  std::vector<passes::PassRecord> passes;
  std::vector<StepGroup> groups;  ///< the most bytes first
  std::vector<std::string> kernel_texts;
  std::vector<CompileRecord> compilations;
};

/// `device`: its program there, which is explained then.
ProgramExplanation explain(std::string name, const CompiledFunction& function, const cuda::DevicePlan* device = nullptr);
/// The programs of a training run: its step and its evaluation, compiled on tensors without values.
std::vector<ProgramExplanation> explain_training(const Config& config, const std::function<void(const std::string&)>& message);
Json to_json(const ProgramExplanation& program);

}  // namespace corten
