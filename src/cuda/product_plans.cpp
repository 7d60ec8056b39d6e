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

// An algorithm is for a library and a model of device.
Hasher hasher_for(const Device& device, std::string_view what, const std::string& library) {
  const DeviceInfo& d = device.info();
  Hasher hasher;
  hasher.update(what).update(library).update_value(char{0}).update(d.name);
  hasher.update_value(char{0}).update_value(d.major).update_value(d.minor);
  hasher.update_value(d.multiprocessors).update_value(d.memory_bytes);
  return hasher;
}

Hash128 key_of(Device& device, const Product& p) {
  std::string library;
  raise(device.product_library(library));
  Hasher hasher = hasher_for(device, "product 3", library);
  hasher.update_value(static_cast<int>(p.type)).update_value(static_cast<int>(p.wide_result));
  hasher.update_value(static_cast<int>(p.transpose_a)).update_value(static_cast<int>(p.transpose_b));
  for (int64_t n : {p.m, p.n, p.k, p.batch, p.lda, p.ldb, p.ldc, p.stride_a, p.stride_b, p.stride_c})
    hasher.update_value(n);
  if (has_8_bits(p.type))
    hasher.update_value(static_cast<int>(p.type_b)).update_value(static_cast<int>(p.type_c));
  // An algorithm serves the product with a bias and without.
  return hasher.update_value(p.alignment).digest128();
}

Hash128 key_of(Device& device, const Convolution& c, int64_t max_workspace) {
  std::string library;
  raise(device.convolution_library(library));
  Hasher hasher = hasher_for(device, "convolution 1", library);
  hasher.update_value(static_cast<int>(c.kind)).update_value(static_cast<int>(c.type));
  for (int64_t n : {c.images, c.channels, c.filters, c.groups, max_workspace})
    hasher.update_value(n);
  for (const auto* pair : {&c.size, &c.kernel, &c.stride, &c.padding, &c.dilation, &c.out})
    hasher.update_value((*pair)[0]).update_value((*pair)[1]);
  return hasher.digest128();
}

// What is stored under the key, or what `ask` gives, which is stored.
template <typename Ask>
ProductPlan kept(const Hash128& key, Ask&& ask) {
  codegen::ObjectCache& cache = codegen::object_cache();
  ProductPlan plan;
  if (const auto stored = cache.load(key); stored && stored->size() > sizeof plan.workspace_bytes) {
    std::memcpy(&plan.workspace_bytes, stored->data(), sizeof plan.workspace_bytes);
    plan.algorithm = stored->substr(sizeof plan.workspace_bytes);
    return plan;
  }
  raise(ask(plan));
  std::string bytes(sizeof plan.workspace_bytes, '\0');
  std::memcpy(bytes.data(), &plan.workspace_bytes, sizeof plan.workspace_bytes);
  cache.store(key, bytes + plan.algorithm);
  return plan;
}

}  // namespace

ProductPlan product_plan(Device& device, const Product& product) {
  return kept(key_of(device, product),
              [&](ProductPlan& plan) { return device.plan_product(product, plan); });
}

ProductPlan convolution_plan(Device& device, const Convolution& convolution,
                             int64_t max_workspace) {
  return kept(key_of(device, convolution, max_workspace), [&](ProductPlan& plan) {
    return device.plan_convolution(convolution, max_workspace, plan);
  });
}

}  // namespace corten::cuda
