// Convolutions by cuDNN, loaded with the first one.
#pragma once

#include <cuda.h>

#include <memory>

#include "cuda/plugin.h"

namespace corten::cuda {

/// The library's handle in one context, for work on one stream.
class Convolutions {
 public:
  virtual ~Convolutions() = default;
  virtual std::string version() const = 0;
  virtual Status plan(const Convolution& convolution, int64_t max_workspace, ProductPlan& plan) = 0;
  virtual Status run(const Convolution& convolution, const ProductPlan& plan, uint64_t a,
                     uint64_t b, uint64_t c, uint64_t workspace) = 0;
};
Status make_convolutions(CUstream stream, std::unique_ptr<Convolutions>& out);

}  // namespace corten::cuda
