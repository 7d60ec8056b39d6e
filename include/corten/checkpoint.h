// Activation checkpointing of explicit regions: what the region makes is not kept for the backward pass, which runs the
// region again. Works op by op and in compiled functions. (A memory budget of compile() decides by itself what to compute
// again, and usually better.)
#pragma once

#include "corten/compile.h"

namespace corten {

/// The results of `function(inputs)`. Its gradients run it once more, from `inputs` and the tensors that it captured, under
/// the same module path, call ordinals (dropout draws the same masks), virtual shard and Autocast scope. Usage error when
/// gradients of these gradients are asked for, and when the second run returns something else.
std::vector<Tensor> checkpoint(const Function& function, const std::vector<Tensor>& inputs);
/// The same for functions of one tensor.
Tensor checkpoint(const std::function<Tensor(const Tensor&)>& function, const Tensor& input);

}  // namespace corten
