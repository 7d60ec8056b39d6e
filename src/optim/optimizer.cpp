#include <set>

#include "base/format.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "ir/value.h"
#include "nn/state.h"

namespace corten::optim {

Optimizer::Optimizer(std::vector<ParamGroup> groups, double lr) : groups_(std::move(groups)) {
  std::set<std::string_view> names;
  std::set<const TensorImpl*> tensors;
  for (const ParamGroup& group : groups_) {
    if (!(group.weight_decay >= 0))
      usage_error("[optim] the weight decay {} is negative", group.weight_decay);
    for (const auto& [name, tensor] : group.params) {
      if (!tensor.defined() || !tensor.is_leaf() || !tensor.requires_grad())
        usage_error("[optim] \"{}\" is not a leaf that requires grad", name);
      if (!names.insert(name).second) usage_error("[optim] two parameters are called \"{}\"", name);
      if (!tensors.insert(tensor.impl().get()).second)
        usage_error("[optim] \"{}\" is listed twice", name);
    }
  }
  if (names.empty()) usage_error("[optim] there are no parameters that require grad");
  lr_ = scalar(0);
  step_ = scalar(0, DType::i64);
  set_lr(lr);
}

std::vector<Tensor> Optimizer::make_moments(const std::string& name) {
  std::vector<Tensor> out;
  for (const ParamGroup& group : groups_)
    for (const auto& [parameter, tensor] : group.params) {
      out.push_back(zeros(tensor.shape(), compute_type(tensor.dtype()), tensor.device()));
      moments_.emplace_back(name + "." + parameter, out.back());
    }
  return out;
}

void Optimizer::step() {
  NoGradGuard no_grad;
  const ir::StageScope stage(ir::Stage::update);
  step_.add_(scalar(1, DType::i64));
  size_t index = 0;
  for (ParamGroup& group : groups_) {
    Tensor lr = group.lr_scale == 1 ? lr_ : lr_ * group.lr_scale;
    for (auto& [name, parameter] : group.params) {
      Tensor gradient = parameter.grad();
      if (gradient.defined()) update(index, parameter, gradient, lr, step_, group.weight_decay);
      ++index;
    }
  }
  advance_generator();
}

void Optimizer::zero_grad() {
  for (ParamGroup& group : groups_)
    for (auto& [name, parameter] : group.params) parameter.zero_grad();
}

void Optimizer::set_lr(double lr) {
  if (!(lr >= 0)) usage_error("[optim] the learning rate {} is negative", lr);
  set_lr(from_vector(std::vector<float>{static_cast<float>(lr)}, {}));
}
void Optimizer::set_lr(const Tensor& lr) {
  if (lr.numel() != 1)
    usage_error("[optim] a learning rate has one element, got {}", nn::type_text(lr));
  NoGradGuard no_grad;
  lr_.copy_(lr.dim() == 0 ? lr : lr.reshape({}));
}
double Optimizer::lr() const {
  return lr_.item<double>();
}
int64_t Optimizer::steps_taken() const {
  return step_.item<int64_t>();
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> out;
  for (const ParamGroup& group : groups_)
    for (const auto& [name, tensor] : group.params) out.push_back(tensor);
  return out;
}

StateDict Optimizer::state_dict() const {
  StateDict out{{"step", step_}, {"lr", lr_}};
  out.insert(out.end(), moments_.begin(), moments_.end());
  return out;
}

void Optimizer::load_state_dict(const StateDict& state) {
  const StateDict mine = state_dict();
  nn::check_states("optim", "optimizer state", nn::compare_states(mine, state));
  nn::copy_state(mine, state);
}

}  // namespace corten::optim
