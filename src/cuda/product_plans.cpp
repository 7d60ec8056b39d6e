#include "cuda/product_plans.h"

#include <cstring>

#include "base/format.h"
#include "base/hash.h"
#include "codegen/object_cache.h"

namespace corten::cuda {
namespace {

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

Hash128 key_of(Device& device, const Product& p) {
  std::string library;
  raise(device.product_library(library));
  const DeviceInfo& d = device.info();
  Hasher hasher;
  hasher.update("product 2").update(library).update_value(char{0}).update(d.name);
  hasher.update_value(char{0}).update_value(d.major).update_value(d.minor);
  hasher.update_value(d.multiprocessors).update_value(d.memory_bytes);
  hasher.update_value(static_cast<int>(p.type)).update_value(static_cast<int>(p.wide_result));
  hasher.update_value(static_cast<int>(p.transpose_a)).update_value(static_cast<int>(p.transpose_b));
  for (int64_t n : {p.m, p.n, p.k, p.batch, p.lda, p.ldb, p.ldc, p.stride_a, p.stride_b, p.stride_c})
    hasher.update_value(n);
  // An algorithm serves the product with a bias and without.
  return hasher.update_value(p.alignment).digest128();
}

}  // namespace

ProductPlan product_plan(Device& device, const Product& product) {
  const Hash128 key = key_of(device, product);
  codegen::ObjectCache& cache = codegen::object_cache();
  ProductPlan plan;
  if (const auto stored = cache.load(key); stored && stored->size() > sizeof plan.workspace_bytes) {
    std::memcpy(&plan.workspace_bytes, stored->data(), sizeof plan.workspace_bytes);
    plan.algorithm = stored->substr(sizeof plan.workspace_bytes);
    return plan;
  }
  raise(device.plan_product(product, plan));
  std::string bytes(sizeof plan.workspace_bytes, '\0');
  std::memcpy(bytes.data(), &plan.workspace_bytes, sizeof plan.workspace_bytes);
  cache.store(key, bytes + plan.algorithm);
  return plan;
}

}  // namespace corten::cuda
