#include "base/format.h"
#include "corten/optim.h"
#include "ir/value.h"
#include "runtime/tensor_ops.h"

namespace corten::optim {

Tensor grad_norm(const std::vector<Tensor>& params) {
  NoGradGuard no_grad;
  const ir::StageScope stage(ir::Stage::update);
  std::vector<Tensor> gradients;
  for (const Tensor& p : params)
    if (p.grad().defined()) gradients.push_back(p.grad());
  return gradients.empty() ? scalar(0) : global_norm(gradients);
}

Tensor clip_grad_norm_(const std::vector<Tensor>& params, double max_norm) {
  if (!(max_norm > 0)) usage_error("[optim] the largest norm {} is not positive", max_norm);
  NoGradGuard no_grad;
  const ir::StageScope stage(ir::Stage::update);
  Tensor norm = grad_norm(params);
  Tensor scale = minimum(max_norm / (norm + 1e-6), scalar(1));
  const ir::StageScope gradients(ir::Stage::accumulate);  // whom the new ones belong to in reports of memory
  for (Tensor p : params)
    if (p.grad().defined()) p.set_grad(p.grad() * scale);
  return norm;
}

}  // namespace corten::optim
