// The ops that `corten bench op` knows.
#pragma once

#include <string>
#include <vector>

#include "corten/tensor.h"
#include "train/bench.h"

namespace corten {

using Operands = std::vector<Tensor>;

struct BenchedOp {
  const char* name;
  size_t operands;  ///< shapes to be given
  Operands (*apply)(const Operands&);
};

/// Usage error with a did-you-mean for an unknown one.
const BenchedOp& find_benched_op(const std::string& name);
/// Random numbers of the shapes and dtype of the options.
Operands random_operands(const BenchedOp& op, const BenchOpOptions& options);
double tensor_bytes(const std::vector<Tensor>& tensors);

}  // namespace corten
