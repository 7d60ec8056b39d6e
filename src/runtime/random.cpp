#include "corten/random.h"

#include "base/format.h"
#include "base/hash.h"
#include "ops/functions.h"
#include "runtime/devices.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ops::operator*;
using ops::operator+;
using runtime::random_state;
using runtime::value_of;
using runtime::wrap;

namespace runtime {

RandomState& random_state() {
  thread_local RandomState state;
  return state;
}

int64_t next_site() {
  RandomState& s = random_state();
  // 31 bits of a hash of where, the how-many-eth call and in which shard.
  std::string key = format("{}/{}/{}", s.path, s.ordinal++, s.shard);
  return static_cast<int64_t>(hash64(key) & 0x7fffffff);
}

}  // namespace runtime

Generator& default_generator() {
  static auto* generator = [] {
    ir::BuilderScope eager(ir::eager_builder());
    auto* g = new Generator{scalar(0, DType::i64), scalar(0, DType::i64)};
    // Made while a function is compiled, they are still state, not constants of it.
    g->seed.impl()->cell->born_in = g->step.impl()->cell->born_in = 0;
    return g;
  }();
  return *generator;
}
void manual_seed(int64_t seed) {
  NoGradGuard no_grad;
  default_generator().seed.copy_(from_bytes(&seed, {}, DType::i64));
  default_generator().step.fill_(0);
  random_state().ordinal = 0;
}
void advance_generator() {
  NoGradGuard no_grad;
  default_generator().step.add_(1.0);
  random_state().ordinal = 0;
}

RandomScope::RandomScope(std::string_view name) : previous_(random_state().path.size()) {
  std::string& path = random_state().path;
  if (!path.empty() && !name.empty()) path += '.';
  path += name;
}
RandomScope::~RandomScope() { random_state().path.resize(previous_); }
ShardScope::ShardScope(int64_t shard) : previous_shard_(random_state().shard), previous_ordinal_(random_state().ordinal) {
  random_state().shard = shard;
  random_state().ordinal = 0;
}
ShardScope::~ShardScope() {
  random_state().shard = previous_shard_;
  random_state().ordinal = previous_ordinal_;
}

namespace {
/// A compiled function may have taken the generator to its device.
ops::Generator values(ir::Placement place) {
  Generator& g = default_generator();
  return {runtime::number_for(value_of(g.seed), place), runtime::number_for(value_of(g.step), place)};
}
ops::Generator fixed(int64_t seed) {
  return {value_of(from_bytes(&seed, {}, DType::i64)), value_of(scalar(0, DType::i64))};
}
int64_t named_site(std::string_view name) { return static_cast<int64_t>(hash64(name) & 0x7fffffff); }
}  // namespace

Tensor rand(Shape shape, const Device& device) {
  const ir::PlacementScope place(runtime::placement(device));
  return wrap(ops::random_uniform(values(ir::current_placement()), runtime::next_site(), std::move(shape)));
}
Tensor randn(Shape shape, const Device& device) {
  const ir::PlacementScope place(runtime::placement(device));
  return wrap(ops::random_normal(values(ir::current_placement()), runtime::next_site(), std::move(shape)));
}
Tensor dropout(const Tensor& x, double p, bool training) {
  if (!(p >= 0 && p <= 1)) usage_error("[dropout] the probability {} is not between 0 and 1", p);
  if (!training || p == 0) return x;
  const ir::Value v = value_of(x);
  return wrap(ops::dropout(v, values(ir::placement_of(v)), runtime::next_site(), p));
}
Tensor normal_init(Shape shape, double mean, double std, int64_t seed, std::string_view name) {
  NoGradGuard no_grad;
  return wrap(ops::random_normal(fixed(seed), named_site(name), std::move(shape), mean, std));
}
Tensor uniform_init(Shape shape, double low, double high, int64_t seed, std::string_view name) {
  NoGradGuard no_grad;
  return wrap(ops::random_uniform(fixed(seed), named_site(name), std::move(shape)) * (high - low) + low);
}

}  // namespace corten
