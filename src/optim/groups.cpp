#include "optim/groups.h"

namespace corten::optim {

std::vector<ParamGroup> weight_decay_groups(const nn::Module& module, double weight_decay) {
  return weight_decay_groups(module.named_parameters(), weight_decay);
}

std::vector<ParamGroup> weight_decay_groups(const StateDict& params, double weight_decay) {
  ParamGroup decayed{{}, weight_decay, 1}, others{{}, 0, 1};
  for (const auto& [name, tensor] : params)
    if (tensor.requires_grad())
      (tensor.dim() >= 2 ? decayed : others).params.emplace_back(name, tensor);
  std::vector<ParamGroup> groups;
  if (!decayed.params.empty()) groups.push_back(std::move(decayed));
  if (!others.params.empty()) groups.push_back(std::move(others));
  return groups;
}

std::vector<ParamGroup> one_group(const nn::Module& module, double weight_decay) {
  ParamGroup group{{}, weight_decay, 1};
  for (auto& [name, tensor] : module.named_parameters())
    if (tensor.requires_grad()) group.params.emplace_back(name, tensor);
  return {std::move(group)};
}

std::vector<ParamGroup> one_group(const std::vector<Tensor>& params, double weight_decay) {
  ParamGroup group{{}, weight_decay, 1};
  for (const Tensor& tensor : params)
    group.params.emplace_back(std::to_string(group.params.size()), tensor);
  return {std::move(group)};
}

}  // namespace corten::optim
