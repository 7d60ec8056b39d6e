// The table of op samples: each is run against PyTorch's values, in every dtype, on every layout, eagerly and compiled.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "corten/corten.h"

namespace corten::testing {

struct Operand {
  Shape shape;
  double low = -2, high = 2;  // values are spread over [low, high]
  int64_t classes = 0;        // > 0: i64 values in [0, classes)
};

struct Case {
  std::string name;  // the same name in make_goldens.py
  std::vector<Operand> operands;
  std::function<Tensor(const std::vector<Tensor>&)> run;
  bool differentiable = true;
  bool smooth = true;      // finite differences make sense
  bool low_precision = true;  // defined for bf16 and f16
};

const std::vector<Case>& cases();
/// Operand i of a case, the same numbers as make_goldens.py makes.
Tensor operand(const Case& c, size_t i, DType dtype = DType::f32);

}  // namespace corten::testing
