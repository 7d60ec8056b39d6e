#include "base/format.h"
#include "corten/optim.h"
#include "optim/groups.h"
#include "runtime/tensor_ops.h"

namespace corten::optim {

SGD::SGD(const nn::Module& module, SGDOptions options)
    : SGD(one_group(module, options.weight_decay), options) {}
SGD::SGD(const std::vector<Tensor>& params, SGDOptions options)
    : SGD(one_group(params, options.weight_decay), options) {}
SGD::SGD(std::vector<ParamGroup> groups, SGDOptions options)
    : Optimizer(std::move(groups), options.lr), options_(options) {
  if (!(options_.momentum >= 0))
    usage_error("[optim] SGD's momentum {} is negative", options_.momentum);
  if (options_.nesterov && (options_.momentum == 0 || options_.dampening != 0))
    usage_error("[optim] Nesterov's method needs momentum and no dampening, got {} and {}",
                options_.momentum, options_.dampening);
  if (options_.momentum != 0) momentum_buffer_ = make_moments("momentum_buffer");
}

void SGD::update(size_t index, Tensor& parameter, const Tensor& gradient, const Tensor& lr,
                 const Tensor& step, double weight_decay) {
  const bool buffered = options_.momentum != 0;
  std::vector<Tensor> next =  // without momentum the buffer passes through, whatever it is
      sgd_update(parameter, gradient, buffered ? momentum_buffer_[index] : lr, lr, step,
                 options_.momentum, options_.dampening, weight_decay, options_.nesterov);
  parameter.copy_(next[0]);
  if (buffered) momentum_buffer_[index].copy_(next[1]);
}

}  // namespace corten::optim
