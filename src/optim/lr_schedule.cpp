#include <algorithm>
#include <cmath>
#include <numbers>

#include "corten/optim.h"

namespace corten::optim {

double LrSchedule::at(int64_t step) const {
  if (step < warmup_steps)
    return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps + 1);
  const auto since = static_cast<double>(step - warmup_steps);
  const auto span = static_cast<double>(decay_steps - warmup_steps);
  const double x = since < span ? since / span : 1;
  switch (kind) {
    case Kind::constant:
      return lr;
    case Kind::linear:
      return min_lr + (lr - min_lr) * (1 - x);
    case Kind::cosine:
      return x < 1 ? min_lr + (lr - min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * x)) : min_lr;
    case Kind::step:
      return std::max(
          min_lr,
          lr * std::pow(gamma,
                        std::floor(since / static_cast<double>(std::max<int64_t>(1, step_size)))));
  }
  return lr;
}

}  // namespace corten::optim
