#include "base/format.h"
#include "corten/optim.h"
#include "optim/groups.h"
#include "runtime/tensor_ops.h"

namespace corten::optim {

AdamW::AdamW(const nn::Module& module, AdamWOptions options)
    : AdamW(one_group(module, options.weight_decay), options) {}
AdamW::AdamW(const std::vector<Tensor>& params, AdamWOptions options)
    : AdamW(one_group(params, options.weight_decay), options) {}
AdamW::AdamW(std::vector<ParamGroup> groups, AdamWOptions options)
    : Optimizer(std::move(groups), options.lr), options_(options) {
  for (double beta : options_.betas)
    if (!(beta >= 0 && beta < 1)) usage_error("[optim] AdamW's beta {} is not in [0, 1)", beta);
  if (!(options_.eps >= 0)) usage_error("[optim] AdamW's eps {} is negative", options_.eps);
  exp_avg_ = make_moments("exp_avg");
  exp_avg_sq_ = make_moments("exp_avg_sq");
}

void AdamW::update(size_t index, Tensor& parameter, const Tensor& gradient, const Tensor& lr,
                   const Tensor& step, double weight_decay) {
  std::vector<Tensor> next =
      adamw_update(parameter, gradient, exp_avg_[index], exp_avg_sq_[index], lr, step,
                   options_.betas[0], options_.betas[1], options_.eps, weight_decay);
  parameter.copy_(next[0]);
  exp_avg_[index].copy_(next[1]);
  exp_avg_sq_[index].copy_(next[2]);
}

}  // namespace corten::optim
