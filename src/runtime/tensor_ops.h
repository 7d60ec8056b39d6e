// Operations on tensors that only the library itself uses.
#pragma once

#include "corten/ops.h"

namespace corten {

/// One AdamW step (see ops/optimizer.cpp): new {p, m, v}. lr: f32 [], step: i64 [], counted from 1.
std::vector<Tensor> adamw_update(const Tensor& p, const Tensor& g, const Tensor& m, const Tensor& v, const Tensor& lr,
                                 const Tensor& step, double beta1, double beta2, double eps, double weight_decay);
/// One SGD step: new {p, momentum buffer}.
std::vector<Tensor> sgd_update(const Tensor& p, const Tensor& g, const Tensor& buffer, const Tensor& lr, const Tensor& step,
                               double momentum, double dampening, double weight_decay, bool nesterov);
/// sqrt of the sum of squares of all elements of all tensors, f32 [].
Tensor global_norm(const std::vector<Tensor>& tensors);

}  // namespace corten
