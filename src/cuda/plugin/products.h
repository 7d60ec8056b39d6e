// Matrix products by cuBLASLt, loaded with the first product.
#pragma once

#include <cuda.h>

#include <memory>

#include "cuda/plugin.h"

namespace corten::cuda {

/// The library's handle in one context.
class Products {
 public:
  virtual ~Products() = default;
  virtual std::string version() const = 0;
  virtual Status plan(const Product& product, ProductPlan& plan) = 0;
  virtual Status run(const Product& product, const ProductPlan& plan, const ProductAddresses& at,
                     CUstream stream) = 0;
};
Status make_products(std::unique_ptr<Products>& out);

}  // namespace corten::cuda
