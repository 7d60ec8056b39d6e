#include "passes/random_graph.h"

#include <cmath>
#include <cstring>

#include "base/format.h"
#include "base/half.h"
#include "kernel/reference.h"
#include "ops/functions.h"
#include "runtime/program.h"

namespace corten::testing {

using ir::Dims;
using ir::Type;
using ir::Value;

namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : rng_(seed) {}

  RandomGraph run(int count) {
    ir::BuilderScope builder(out_.graph);
    ir::GradScope no_grad(false);
    for (int i = 0; i < 3; ++i) input(shape());
    seed_ = integer_input({}, 1000);
    step_ = integer_input({}, 10);
    while (made_ < count) {
      try {
        op();
      } catch (const Error&) {
        // Operands that do not fit together: the op refused them and made nothing.
      }
    }
    int outputs = 1 + pick(4);
    for (int i = 0; i < outputs; ++i) out_.graph.output(pool_[pool_.size() - 1 - pick(std::min<int>(6, static_cast<int>(pool_.size())))]);
    return std::move(out_);
  }

 private:
  int pick(int n) { return n > 0 ? static_cast<int>(rng_() % static_cast<uint64_t>(n)) : 0; }
  bool chance(int percent) { return pick(100) < percent; }
  int64_t size() {
    static const int64_t sizes[] = {1, 2, 3, 5, 7, 8, 16, 17, 33, 64, 65};
    return sizes[pick(11)];
  }
  Dims shape() {
    Dims dims;
    for (int i = 0, rank = 1 + pick(3); i < rank; ++i) dims.push_back(size());
    if (chance(8)) dims.back() = chance(30) ? 40000 : 1000 + pick(1200);
    if (chance(2)) dims[0] = 0;
    while (ir::product(dims) > 120000) dims.erase(dims.begin());
    return dims;
  }
  void keep(Value v) {
    ++made_;
    if (v.type().elements() <= 200000) pool_.push_back(std::move(v));
  }
  Value input(Dims dims) {
    DType dtype = chance(35) ? DType::bf16 : chance(8) ? DType::f16 : chance(8) ? DType::f64 : DType::f32;
    Type type{dtype, std::move(dims)};
    kernel::HostTensor host{type, {}};
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < type.elements(); ++i) {
      double v = chance(2) ? 0.0 : normal(rng_);
      host.values.push_back({dtype == DType::f64 ? v : static_cast<float>(v), 0});
    }
    return add(host);
  }
  Value integer_input(Dims dims, int64_t bound) {
    kernel::HostTensor host{{DType::i64, std::move(dims)}, {}};
    for (int64_t i = 0; i < host.type.elements(); ++i) host.values.push_back({0, static_cast<int64_t>(rng_() % static_cast<uint64_t>(std::max<int64_t>(bound, 1)))});
    return add(host);
  }
  Value add(const kernel::HostTensor& host) {
    out_.inputs.emplace_back(host.type.bytes());
    kernel::to_memory(host, out_.inputs.back().data());
    Value v = out_.graph.input(host.type);
    if (is_floating(host.type.dtype)) pool_.push_back(v);
    return v;
  }
  Value any() { return pool_[pool_.size() - 1 - pick(std::min<int>(12, static_cast<int>(pool_.size())))]; }
  /// A value that broadcasts with x, of its dtype.
  Value partner(const Value& x) {
    for (int i = 0; i < 8; ++i) {
      Value y = any();
      try {
        if (ir::broadcast(x.dims(), y.dims()) == x.dims()) return ops::cast(y, x.dtype());
      } catch (const Error&) {
      }
    }
    return chance(50) ? ops::full_like(x, pick(5) - 2.0) : ops::mul(x, 0.5);
  }
  int64_t axis(const Value& x) { return pick(static_cast<int>(x.rank())); }

  void op() {
    using namespace ops;
    Value x = any();
    if (x.rank() == 0) x = reshape(x, {1});
    switch (pick(34)) {
      case 0: return keep(x + partner(x));
      case 1: return keep(x - partner(x));
      case 2: return keep(x * partner(x));
      case 3: return keep(x / (abs(partner(x)) + 0.5));
      case 4: return keep(maximum(x, partner(x)));
      case 5: return keep(where(lt(x, partner(x)), x, neg(x)));
      case 6: return keep(exp(minimum(x, full_like(x, 3))));
      case 7: return keep(tanh(x));
      case 8: return keep(gelu(x));
      case 9: return keep(gelu_tanh(x));
      case 10: return keep(sin(x) + cos(x));
      case 11: return keep(log(abs(x) + 0.01));
      case 12: return keep(cast(x, chance(50) ? DType::bf16 : DType::f32));
      case 13: return keep(sum(x, {axis(x)}, true));
      case 14: return keep(sum(x, {axis(x)}, chance(50)));
      case 15: return keep(max(x, {axis(x)}, true));
      case 16: return keep(mean(x, {axis(x)}, chance(70)));
      case 17: return keep(softmax(x, chance(80) ? -1 : axis(x)));
      case 18: return keep(layer_norm(x, full({x.dims().back()}, DType::f32, 1.25), full({x.dims().back()}, DType::f32, -0.5), 1e-5));
      case 19: return keep(reshape(x, {-1}));
      case 20: {
        Dims dims = x.dims();
        int64_t a = axis(x);
        for (int64_t f : {2, 3, 5, 8})
          if (dims[a] % f == 0 && dims[a] > f) {
            dims[a] /= f;
            dims.insert(dims.begin() + a, f);
            return keep(reshape(x, dims));
          }
        return keep(reshape(x, {-1, 1}));
      }
      case 21: return keep(transpose(x, axis(x), axis(x)));
      case 22: return keep(transpose(x, 0, -1));
      case 23: {
        int64_t a = axis(x), n = x.dims()[a], start = pick(static_cast<int>(n));
        return keep(slice_axis(x, a, start, 1 + pick(static_cast<int>(n - start))));
      }
      case 24: {
        Dims low(x.rank(), 0), high(x.rank(), 0);
        low[axis(x)] = pick(3);
        high[axis(x)] = pick(4);
        return keep(pad(x, low, high, chance(50) ? 0 : 1.5));
      }
      case 25: return keep(concat({x, x * 2, abs(x)}, axis(x)));
      case 26: {
        int64_t a = axis(x);
        if (x.dims()[a] == 0) return;
        Value index = integer_input({1 + pick(20)}, std::max<int64_t>(1, x.dims()[a]));
        return keep(index_select(x, a, index));
      }
      case 27: {
        Dims dims = x.dims();
        int64_t a = axis(x);
        if (dims[a] == 0) return;
        dims[a] = 1 + pick(9);
        Value index = integer_input(dims, std::max<int64_t>(1, x.dims()[a]));
        return keep(chance(50) ? gather(x, index, a) : scatter_add(x, index, full(dims, x.dtype(), 0.75), a));
      }
      case 28: return keep(dropout(x, {seed_, step_}, pick(1000), 0.3));
      case 29: {
        Value m = x.rank() >= 2 ? cast(x, DType::f32) : reshape(cast(x, DType::f32), {1, -1});
        return keep(matmul(m, transpose(m, -1, -2)));
      }
      case 30: {
        if (x.rank() < 2) return;
        Dims rows(x.dims().begin(), x.dims().end() - 1);
        Value targets = integer_input(rows, x.dims().back());
        return keep(cross_entropy(x, targets, -100, chance(30) ? 0.1 : 0));
      }
      case 31: return keep(random_uniform({seed_, step_}, pick(1000), x.dims()) * cast(x, DType::f32));
      case 32: return keep(cast(argmax(x, axis(x), true), x.dtype()) * x);
      default: return keep(expand(sum(x, {}, true), x.dims()) - x);
    }
  }

  std::mt19937_64 rng_;
  RandomGraph out_;
  ir::Values pool_;
  Value seed_, step_;
  int made_ = 0;
};

}  // namespace

RandomGraph random_graph(uint64_t seed, int ops) { return Generator(seed).run(ops); }

std::vector<std::vector<std::byte>> run_program(const RandomGraph& p) {
  runtime::Program program(p.graph, {});
  std::vector<void*> in, out;
  std::vector<std::vector<std::byte>> inputs = p.inputs, outputs;
  for (auto& bytes : inputs) in.push_back(bytes.data());
  for (const Type& type : program.output_types()) outputs.emplace_back(type.bytes());
  for (auto& bytes : outputs) out.push_back(bytes.data());
  program.run(in, out, false);
  return outputs;
}

std::vector<std::vector<std::byte>> run_reference(const RandomGraph& p) {
  std::vector<kernel::HostTensor> in;
  for (size_t i = 0; i < p.inputs.size(); ++i) in.push_back(kernel::from_memory(p.graph.type(p.graph.inputs()[i]), p.inputs[i].data()));
  std::vector<std::vector<std::byte>> out;
  for (const kernel::HostTensor& t : kernel::evaluate(p.graph, in, ir::Precision::exact)) {
    out.emplace_back(t.type.bytes());
    kernel::to_memory(t, out.back().data());
  }
  return out;
}

bool same_bits(const ir::Graph& graph, const std::vector<std::vector<std::byte>>& a, const std::vector<std::vector<std::byte>>& b, std::string& why) {
  for (size_t k = 0; k < a.size(); ++k) {
    const Type& type = graph.type(graph.outputs()[k].value);
    if (a[k] == b[k]) continue;
    kernel::HostTensor x = kernel::from_memory(type, a[k].data()), y = kernel::from_memory(type, b[k].data());
    for (size_t i = 0; i < x.values.size(); ++i) {
      bool nan = std::isnan(x.values[i].f) && std::isnan(y.values[i].f);
      bool same = std::memcmp(&x.values[i].f, &y.values[i].f, 8) == 0 && x.values[i].i == y.values[i].i;
      if (nan || same) continue;
      why = format("output {} ({}) element {}: {} against {} ({} against {})", k, to_string(type), i, x.values[i].f, y.values[i].f, x.values[i].i, y.values[i].i);
      return false;
    }
  }
  return true;
}

}  // namespace corten::testing
