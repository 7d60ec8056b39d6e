// Parameter groups of optimizers that were given none.
#pragma once

#include <vector>

#include "corten/optim.h"

namespace corten::optim {

std::vector<ParamGroup> one_group(const nn::Module& module, double weight_decay);
/// Parameters are called "0", "1", ...
std::vector<ParamGroup> one_group(const std::vector<Tensor>& params, double weight_decay);

}  // namespace corten::optim
