#include "passes/random_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/format.h"
#include "base/half.h"
#include "base/quantized_shape.h"
#include "corten/custom_op.h"
#include "corten/ops.h"
#include "grad/differentiate.h"
#include "kernel/partition.h"
#include "kernel/reference.h"
#include "ops/batch_norm.h"
#include "ops/convolution.h"
#include "ops/custom.h"
#include "ops/functions.h"
#include "ops/pooling.h"
#include "passes/passes.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"
#include "runtime/program.h"

namespace corten::testing {

using ir::Dims;
using ir::Type;
using ir::Value;
using ir::Values;

namespace {

/// Two ops as users define them: an element-wise one, and one with row reductions.
void register_ops() {
  static const CustomOp gated({
      .name = "fuzz_gated",
      .inputs = 2,
      .body = [](std::span<const Scalar> x) { return x[0] / (1 + exp(-x[0])) * select(x[1] > 0, x[1], 0.5 * x[1]); },
      .expand = [](const std::vector<Tensor>& x) { return silu(x[0]) * where(x[1] > 0, x[1], x[1] * 0.5); },
  });
  static const CustomOp standardised({
      .name = "fuzz_standardised",
      .form = CustomForm::rows,
      .body = [](std::span<const Scalar> x) {
        Scalar centred = x[0] - row_mean(x[0]);
        return fma(centred, rsqrt(row_mean(centred * centred) + 1e-5), row_sum(abs(x[0])));
      },
      .expand = [](const std::vector<Tensor>& x) {
        Tensor centred = x[0] - x[0].mean({-1}, true);
        return centred * rsqrt((centred * centred).mean({-1}, true) + 1e-5) + abs(x[0]).sum({-1}, true);
      },
  });
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : rng_(seed * 2654435761u + 17) { out_.bf16 = seed % 2 == 1; }

  RandomGraph run(int count) {
    ir::BuilderScope builder(out_.graph);
    ir::GradScope no_grad(false);
    // Few sizes per graph, so that many values fit together; one of them is long in a third of the graphs.
    static const int64_t sizes[] = {1, 2, 3, 5, 7, 8, 16, 17, 33, 64, 65, 128};
    for (int i = 0; i < 3; ++i) sizes_.push_back(sizes[pick(12)]);
    if (chance(33)) sizes_.push_back(chance(12) ? 33000 + pick(7000) : 1025 + pick(2000));
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
    outputs();
    return std::move(out_);
  }

 private:
  int pick(int64_t n) { return n > 0 ? static_cast<int>(rng_() % static_cast<uint64_t>(n)) : 0; }
  bool chance(int percent) { return pick(100) < percent; }
  int64_t size() { return sizes_[pick(static_cast<int64_t>(sizes_.size()))]; }
  Dims shape() {
    Dims dims;
    for (int i = 0, rank = 1 + pick(3); i < rank; ++i) dims.push_back(size());
    if (chance(1)) dims[0] = 0;
    while (ir::product(dims) > 16000 && dims.size() > 1) dims.erase(dims.begin() + pick(static_cast<int64_t>(dims.size())));
    return dims;
  }
  DType other() {
    static const DType some[] = {DType::f32, DType::f32, DType::f32, DType::f16, DType::f64};
    return chance(85) ? (out_.bf16 ? DType::bf16 : DType::f32) : chance(40) ? DType::bf16 : some[pick(5)];
  }

  // ---- Values
  void keep(Value v) {
    ++made_;
    // Values of a million elements would make the reference slow, and long chains of products and exponentials would
    // leave nothing but infinities to compare.
    total_ += v.type().elements();
    if (v.type().elements() <= 50000) (is_floating(v.dtype()) ? pool_ : others_).push_back(std::move(v));
  }
  void keep(const Values& values) {
    for (const Value& v : values)
      if (v) keep(v);
  }
  Value input(Dims dims) { return input(std::move(dims), other()); }
  Value input(Dims dims, DType dtype) {
    Type type{dtype, std::move(dims)};
    kernel::HostTensor host{type, {}};
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < type.elements(); ++i) {
      double v = chance(2) ? 0.0 : normal(rng_);
      host.values.push_back({dtype == DType::f64 ? v : static_cast<float>(v), 0});
    }
    Value v = add(host);
    pool_.push_back(v);
    return v;
  }
  Value integer_input(Dims dims, int64_t bound, DType dtype = DType::i64) {
    kernel::HostTensor host{{dtype, std::move(dims)}, {}};
    for (int64_t i = 0; i < host.type.elements(); ++i) host.values.push_back({0, static_cast<int64_t>(rng_() % static_cast<uint64_t>(std::max<int64_t>(bound, 1)))});
    return add(host);
  }
  Value add(const kernel::HostTensor& host) {
    out_.inputs.emplace_back(host.type.bytes());
    kernel::to_memory(host, out_.inputs.back().data());
    return out_.graph.input(host.type);
  }
  Value any() {
    for (int i = 0; i < 8; ++i) {
      Value v = pool_[pool_.size() - 1 - pick(std::min<int64_t>(12, static_cast<int64_t>(pool_.size())))];
      if (v.type().elements() <= 8000 || total_ < 400000) return v;
    }
    return input({size()});
  }
  Value integer() {
    if (others_.empty() || chance(40)) {
      Value x = any();
      return chance(50) ? ops::cast(ops::mul(x, 3), chance(50) ? DType::i64 : DType::i32) : ops::linear_index(x.dims());
    }
    return others_[others_.size() - 1 - pick(std::min<int64_t>(6, static_cast<int64_t>(others_.size())))];
  }
  Value whole(Value x) { return is_floating(x.dtype()) || x.dtype() == DType::boolean ? ops::cast(x, DType::i64) : x; }
  Value boolean() {
    Value x = any();
    return chance(50) ? ops::lt(x, partner(x)) : ops::le(partner(x), x);
  }
  Value f32(Value x) { return ops::cast(x, DType::f32); }
  /// A value that broadcasts to x's shape, of its dtype.
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
  /// Values of x's size in a range that exponentials and products keep finite.
  Value tamed(const Value& x) { return chance(50) ? ops::tanh(x) : ops::maximum(ops::minimum(x, ops::full_like(x, 4)), ops::full_like(x, -4)); }
  int64_t axis(const Value& x) { return pick(x.rank()); }
  /// Rows of two axes, the last one as it is.
  Value matrix(const Value& x) { return x.rank() == 2 ? x : ops::reshape(x, {-1, x.dims().back()}); }
  /// Coordinates below `bound`, of a shape: data, or computed where they are used.
  Value index(Dims dims, int64_t bound) {
    if (chance(60)) return integer_input(std::move(dims), bound);
    Value i = ops::linear_index(dims);
    return ops::rem(ops::add(ops::mul(i, 7), 3), ops::full_like(i, static_cast<double>(bound)));
  }
  /// Operands of a product: rarely in 16 bits, where only the passes are compared, not the reference.
  Value factor(const Value& x) {
    Value y = tamed(x);
    if (size_of(x.dtype()) == 2) {
      if (!chance(15)) return f32(y);
      out_.exact_reference = false;
    }
    return y;
  }

  // ---- Ops
  void op() {
    Value x = any();
    if (x.rank() == 0) x = ops::reshape(x, {1});
    switch (pick(14)) {
      case 0: case 1: case 2: case 3: return arithmetic(x);
      case 4: case 5: return function(x);
      case 6: return reduction(x);
      case 7: return layer(x);
      case 8: return view(x);
      case 9: return movement(x);
      case 10: return chance(40) ? product(x) : chance(35) ? image(x) : integers(x);
      case 11: return chance(50) ? random(x) : chance(70) ? loss(x) : head();
      case 12: return chance(50) ? optimizer(x) : arithmetic(x);
      default: return gradient(x);
    }
  }

  void arithmetic(const Value& x) {
    using namespace ops;
    switch (pick(11)) {
      case 0: return keep(x + partner(x));
      case 1: return keep(x - partner(x));
      case 2: return keep(x * tamed(partner(x)));
      case 3: return keep(x / (abs(partner(x)) + 0.5));
      case 4: return keep(maximum(x, partner(x)));
      case 5: return keep(minimum(x, partner(x)));
      case 6: return keep(where(lt(x, partner(x)), x, neg(x)));
      case 7: return keep(where(logical_or(eq(x, partner(x)), logical_not(ne(x, round(x)))), x, partner(x)));
      case 8: return keep(cast(x, other()));
      case 9: return keep(x * (pick(7) - 3.0) + (pick(3) - 1.0));
      default: return keep(copy(x) + 1);
    }
  }

  void function(const Value& x) {
    using namespace ops;
    switch (pick(16)) {
      case 0: return keep(exp(minimum(x, full_like(x, 3))));
      case 1: return keep(tanh(x));
      case 2: return keep(gelu(x));
      case 3: return keep(gelu_tanh(x));
      case 4: return keep(sin(x) + cos(x));
      case 5: return keep(log(abs(x) + 0.01));
      case 6: return keep(erf(x));
      case 7: return keep(sigmoid(x));
      case 8: return keep(relu(x));
      case 9: return keep(silu(x));
      case 10: return keep(sqrt(abs(x)));
      case 11: return keep(rsqrt(abs(x) + 0.25));
      case 12: return keep(floor(x));
      case 13: return keep(round(x * 2));
      case 14: return keep(sign(x) * abs(x));
      default: return keep(where(boolean_like(x), x, 0.25));
    }
  }
  Value boolean_like(const Value& x) {
    Value a = ops::lt(x, partner(x)), b = ops::le(ops::abs(x), ops::full_like(x, 1));
    return chance(50) ? ops::logical_xor(a, b) : ops::logical_and(a, b);
  }

  void reduction(const Value& x) {
    using namespace ops;
    switch (pick(9)) {
      case 0: return keep(sum(x, {axis(x)}, true));
      case 1: return keep(sum(x, {axis(x)}, chance(50)));
      case 2: return keep(max(x, {axis(x)}, true));
      case 3: return keep(min(x, {axis(x)}, chance(50)));
      case 4: return keep(mean(x, {axis(x)}, chance(70)));
      case 5: return keep(logsumexp(x, axis(x), chance(70)));
      case 6: return keep(cast(argmax(x, axis(x), true), x.dtype()) * tanh(x));
      case 7: return keep(expand(sum(x, {}, true), x.dims()) - x);
      default: return keep(x - mean(x, {-1}, true));
    }
  }

  void layer(const Value& x) {
    using namespace ops;
    const Dims last{x.dims().back()};
    if (x.rank() >= 2 && last.back() % 2 == 0 && chance(40)) {
      Dims table = x.dims();
      for (size_t d = 0; d + 1 < table.size(); ++d)
        if (d + 2 < table.size() || chance(20)) table[d] = 1;
      table.back() /= 2;
      return keep(rotary(x, input(table, compute_type(x.dtype())), input(table, compute_type(x.dtype()))));
    }
    switch (pick(8)) {
      case 5: return keep(custom("fuzz_gated", {x, expand(partner(x), x.dims())}));
      case 6: return keep(custom("fuzz_standardised", {x}));
      case 0: return keep(softmax(x, chance(80) ? -1 : axis(x)));
      case 1: return keep(log_softmax(x, chance(80) ? -1 : axis(x)));
      case 2: return keep(layer_norm(x, full(last, DType::f32, 1.25), full(last, DType::f32, -0.5), 1e-5));
      case 3: return keep(layer_norm(x, input(last, DType::f32), chance(50) ? input(last, DType::f32) : Value(), 1e-5));
      case 4: return keep(rms_norm(x, chance(50) ? input(last, x.dtype()) : full(last, DType::f32, 0.75), 1e-6));
      default: return keep(softmax(partner(x) + x, -1));
    }
  }

  void view(const Value& x) {
    using namespace ops;
    switch (pick(5)) {
      case 0: return keep(reshape(x, {-1}));
      case 1: {
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
      case 2: return keep(transpose(x, axis(x), axis(x)));
      case 3: return keep(transpose(x, 0, -1));
      default: {
        int64_t a = axis(x), n = x.dims()[a], start = pick(n);
        return keep(slice_axis(x, a, start, 1 + pick(n - start)));
      }
    }
  }

  void movement(const Value& x) {
    using namespace ops;
    const int64_t a = axis(x), n = x.dims()[a];
    switch (pick(6)) {
      case 0: {
        Dims low(x.rank(), 0), high(x.rank(), 0);
        low[axis(x)] = pick(3);
        high[axis(x)] = pick(4);
        return keep(pad(x, low, high, chance(50) ? 0 : 1.5));
      }
      case 1: return keep(concat({x, x * 2, abs(x)}, axis(x)));
      case 2: return n ? keep(index_select(x, a, index({1 + pick(20)}, n))) : void();
      case 3: {
        Dims dims = x.dims();
        dims[a] = 1 + pick(9);
        if (n == 0) return;
        return keep(gather(x, index(dims, n), a));
      }
      case 4: {
        Dims dims = x.dims();
        dims[a] = 1 + pick(9);
        if (n == 0) return;
        Value updates = chance(50) ? full(dims, x.dtype(), 0.75) : input(dims, x.dtype());
        return keep(chance(50) ? scatter_add(x, index(dims, n), updates, a) : scatter_set(x, index(dims, n), updates, a));
      }
      default: {
        if (x.rank() != 2 || x.dims()[0] == 0) return;
        Value ids = index({1 + pick(30)}, x.dims()[0]);
        return keep(embedding(chance(50) ? cast(ids, DType::i32) : ids, x));
      }
    }
  }

  void product(const Value& x) {
    using namespace ops;
    if (x.type().elements() > 8000) return;
    switch (chance(8) ? 4 : chance(3) ? 5 : chance(20) ? 3 : pick(3)) {
      case 4: {
        // Integer sums and another order of the others than the definition's.
        out_.exact_reference = false;
        Value m = factor(x);
        const bool four = chance(50);
        const QuantizedShape s{four ? 4 : 8, four ? 32 << pick(3) : 0, 1 + pick(24), m.dims().back()};
        Value weight = integer_input(Dims{s.weight_bytes()}, 256, DType::u8), scale = input(Dims{s.scale_count()}, s.scale_dtype());
        return keep(quantized_linear(m, weight, scale, chance(50) ? input({s.n}, DType::f32) : Value(), s, chance(50) ? 2 : 0));
      }
      case 5: {
        out_.exact_reference = false;  // products in bf16
        Value m = factor(x), w = input({1 + pick(24), m.dims().back()}, DType::f32);
        return keep(float8_linear(m, w, chance(50) ? input({w.dims()[0]}, DType::f32) : Value(), true));
      }
      case 0: {
        Value m = factor(x.rank() >= 2 ? x : reshape(x, {1, -1}));
        return keep(matmul(m, transpose(m, -1, -2), chance(50) ? std::optional(DType::f32) : std::nullopt));
      }
      case 1: {
        Value m = factor(x), w = input({1 + pick(24), m.dims().back()}, chance(50) ? DType::f32 : m.dtype());
        return keep(linear(m, w, chance(60) ? input({w.dims()[0]}, DType::f32) : Value(), true));
      }
      case 2: {
        Value m = factor(matrix(x)), w = input({m.dims()[1], 1 + pick(24)}, m.dtype());
        // What claim takes as an epilogue, and what it must leave alone.
        Value y = matmul(m, w, DType::f32), bias = input({w.dims()[1]}, DType::f32);
        return keep(chance(50) ? cast(y + bias, x.dtype()) : cast(y, x.dtype()) + cast(bias, x.dtype()));
      }
      default: {
        Value q = factor(x.rank() >= 2 ? x : reshape(x, {1, -1}));
        out_.exact_reference = false;
        Value mask;
        const int64_t t = q.dims()[q.rank() - 2];
        if (chance(30)) mask = le(iota({t, t}, 1), iota({t, t}, 0));
        const bool drop = chance(30);
        return keep(scaled_dot_product_attention(q, q * 0.5, q + 1, mask, chance(50), 0.25, drop ? 0.2 : 0, {seed_, step_}, pick(100)));
      }
    }
  }

  /// [N, C, H, W], often with one image or one channel.
  Value as_images(const Value& x) {
    Dims dims = x.dims();
    while (dims.size() < 4) dims.insert(dims.begin() + (chance(50) ? 0 : std::min<size_t>(1, dims.size())), 1);
    return ops::reshape(x, dims);
  }
  ops::Pooling pooling(const Dims& dims) {
    ops::Pooling p{{}, {}, {}, {1, 1}, chance(50)};
    for (int d : {2, 3}) {
      p.kernel.push_back(1 + pick(std::min<int64_t>(dims[d], 3)));
      p.stride.push_back(1 + pick(3));
      p.padding.push_back(pick(p.kernel.back() / 2 + 1));
    }
    return p;
  }
  void image(const Value& given) {
    using namespace ops;
    if (given.type().elements() > 8000) return;
    Value x = as_images(given);
    switch (pick(6)) {
      case 4: {
        Value mean = input({x.dims()[1]}, DType::f32);
        return keep(batch_norm_inference(x, mean, abs(mean), Value(), chance(50) ? mean : Value(), 1e-3));
      }
      case 0: return keep(max_pool2d(x, pooling(x.dims())));
      case 1: return keep(avg_pool2d(x, pooling(x.dims()), chance(50), {}));
      case 2: return keep(adaptive_avg_pool2d(x, {1 + pick(4), 1 + pick(4)}));
      case 3: return keep(batch_norm_training(x, chance(50) ? input({x.dims()[1]}, DType::f32) : Value(), Value(), 1e-3));
      default: {
        // Sums in another order than the definition's.
        out_.exact_reference = false;
        const Dims& d = x.dims();
        const int64_t groups = d[1] % 2 == 0 && chance(40) ? 2 : 1;
        const Dims kernel{groups * (1 + pick(9)), d[1] / groups, 1 + pick(std::min<int64_t>(d[2], 4)), 1 + pick(std::min<int64_t>(d[3], 4))};
        Value w = input(kernel, chance(70) ? DType::f32 : x.dtype()), bias = chance(50) ? input({kernel[0]}, DType::f32) : Value();
        return keep(conv2d(tamed(x), w, bias, {1 + pick(2), 1 + pick(2)}, {pick(3), pick(3)}, {1 + pick(2), 1}, groups));
      }
    }
  }

  void integers(const Value& x) {
    using namespace ops;
    Value i = whole(integer());
    switch (pick(6)) {
      case 0: return keep(rem(i, full_like(i, 1 + pick(9))));
      case 1: return keep(logical_xor(logical_and(i, full_like(i, 5 + pick(50))), logical_or(i, full_like(i, 3))));
      case 2: return keep(i * 3 - i);
      case 3: return keep(i.rank() ? sum(cast(i, DType::i64), {axis(i)}, true) : ops::add(i, 1));
      case 4: return keep(where(boolean_like(x), cast(rem(linear_index(x.dims()), full(x.dims(), DType::i64, 11)), x.dtype()), x));
      default: return keep(cast(rem(i, full_like(i, 17)), chance(50) ? DType::f32 : DType::bf16));
    }
  }

  void random(const Value& x) {
    using namespace ops;
    const int64_t site = pick(1000);
    switch (pick(3)) {
      case 0: return keep(dropout(x, {seed_, step_}, site, 0.3));
      case 1: return keep(random_uniform({seed_, step_}, site, x.dims()) * f32(x));
      default: return keep(random_normal({seed_, step_}, site, x.dims(), 0.5, 0.25) + f32(x));
    }
  }

  void loss(const Value& x) {
    using namespace ops;
    if (x.rank() < 2) return keep(global_norm({tamed(x), tamed(partner(x))}));
    Dims rows(x.dims().begin(), x.dims().end() - 1);
    keep(cross_entropy(x, index(rows, x.dims().back()), -100, chance(30) ? 0.1 : 0));
  }

  void optimizer(const Value& x) {
    using namespace ops;
    Value lr = full({}, DType::f32, 0.01), g = tamed(expand(partner(x), x.dims()));
    Value m = chance(50) ? input(x.dims(), DType::f32) : full(x.dims(), DType::f32, 0);
    if (chance(30)) return keep(sgd(x, g, m, lr, step_, chance(50) ? 0.9 : 0, 0, chance(50) ? 0.1 : 0, chance(50)));
    keep(adamw(x, g, m, abs(m), lr, ops::add(step_, 1), 0.9, 0.99, 1e-8, chance(50) ? 0.1 : 0));
  }

  /// A small function of x and its gradient, so that every gradient rule takes part.
  void gradient(const Value& x) {
    using namespace ops;
    if (x.type().elements() > 8000) return;
    Values leaves{x.with_edge(ir::make_leaf())};
    Values out;
    {
      ir::GradScope recording(true);
      const Dims last{x.dims().back()};
      Value y = leaves[0];
      for (int i = 0, n = 1 + pick(2); i < n; ++i) {
        switch (pick(15)) {
          case 14: {
            Value images = as_images(y);
            switch (pick(4)) {
              case 0: y = max_pool2d(images, pooling(images.dims())); break;
              case 1: y = avg_pool2d(images, pooling(images.dims()), chance(50), {}); break;
              case 2: y = batch_norm_training(images, Value(), Value(), 1e-3)[0]; break;
              default: {
                out_.exact_reference = false;
                const int64_t channels = images.dims()[1];
                leaves.push_back(ops::full({1 + pick(9), channels, 1, std::min<int64_t>(images.dims()[3], 2)}, DType::f32, 0.125).with_edge(ir::make_leaf()));
                y = conv2d(factor(images), leaves.back(), Value(), {1, 1 + pick(2)}, {pick(2), 1}, {1, 1}, 1);
              }
            }
            break;
          }
          case 12: y = chance(50) ? custom("fuzz_gated", {y, y}) : custom("fuzz_standardised", {y}); break;
          case 0: y = gelu(y); break;
          case 1: y = softmax(y, -1); break;
          case 2: y = layer_norm(y, full(last, DType::f32, 1.5), Value(), 1e-5); break;
          case 3: y = rms_norm(y, full(last, DType::f32, 0.5), 1e-6); break;
          case 4: y = y * tamed(y); break;
          case 5: y = y / (abs(y) + 1); break;
          case 6: y = sum(y, {axis(y)}, true) * y; break;
          case 7: y = silu(y) - max(y, {-1}, true); break;
          case 8: y = sigmoid(y) + tanh(y); break;
          case 9: y = dropout(y, {seed_, step_}, pick(50), 0.2); break;
          case 10: {
            leaves.push_back(ops::full({3 + pick(8), y.dims().back()}, DType::f32, 0.125).with_edge(ir::make_leaf()));
            y = linear(factor(y), leaves.back(), Value(), true);
            i = n;
            break;
          }
          case 11: {
            if (chance(60)) {  // the reference does not follow attention to the bit
              y = abs(y) * sigmoid(y);
              break;
            }
            if (y.rank() < 2) y = reshape(y, {1, -1});
            out_.exact_reference = false;
            y = scaled_dot_product_attention(factor(y), y, y * 0.5, Value(), chance(50), 0.25, chance(30) ? 0.2 : 0, {seed_, step_}, pick(50));
            break;
          }
          default: {
            Dims rows(y.dims().begin(), y.dims().end() - 1);
            y = cross_entropy(y, index(rows, y.dims().back()), -100, 0);
            i = n;
          }
        }
      }
      out.push_back(y);
    }
    Values seeds{chance(50) || out[0].dims() != x.dims() ? full_like(out[0], 1) : cast(x, out[0].dtype())};
    std::vector<ir::GradEdge> wrt;
    for (const Value& leaf : leaves) wrt.push_back(leaf->edge);
    keep(autodiff::gradients(out, seeds, wrt, false));
  }

  /// Logits of many rows and their loss, as a language model has them: what passes/chunk_rows.cpp makes in pieces.
  void head() {
    using namespace ops;
    out_.exact_reference = false;
    const int64_t rows = 65 + pick(150), classes = 40 + pick(60), width = 1 + pick(12);
    const DType dtype = chance(50) ? DType::bf16 : DType::f32;
    Values leaves{input({rows, width}, dtype).with_edge(ir::make_leaf()), input({classes, width}, DType::f32).with_edge(ir::make_leaf())};
    Values out;
    {
      ir::GradScope recording(true);
      Value logits = linear(leaves[0], leaves[1], chance(30) ? input({classes}, DType::f32) : Value(), true);
      Dims dims{rows, classes};
      if (rows % 5 == 0) logits = reshape(logits, dims = {5, rows / 5, classes});
      dims.pop_back();
      Value losses = cross_entropy(logits, index(dims, classes), chance(50) ? 3 : -100, chance(30) ? 0.1 : 0);
      out.push_back(sum(losses, {}, false));
      // A wide value that is needed whole, or a loss that every row's gradient depends on.
      if (chance(15)) keep(logits);
      if (chance(15)) out[0] = out[0] * out[0];
    }
    keep(out[0]);
    if (chance(80)) keep(autodiff::gradients(out, {full({}, DType::f32, 0.25)}, {leaves[0]->edge, leaves[1]->edge}, false));
  }

  // ---- Results
  /// Most of what nothing reads is a result. Some results are new values of an input of their type.
  void outputs() {
    const auto uses = passes::count_uses(out_.graph);
    std::vector<Value> ends;
    for (const Values* pool : {&pool_, &others_})
      for (const Value& v : *pool) {
        const ir::ValueRef r = out_.graph.ref(v);
        if (uses[r.node][r.output] == 0 && out_.graph.node(r).op != &ir::kInputOp && chance(90)) ends.push_back(v);
      }
    if (ends.empty()) ends.push_back(pool_.back());
    std::set<int32_t> taken;
    for (const Value& v : ends) {
      int32_t state = -1;
      for (size_t k = 0; k < out_.graph.inputs().size() && chance(60); ++k)
        if (out_.graph.type(out_.graph.inputs()[k]) == v.type() && !taken.count(static_cast<int32_t>(k))) state = static_cast<int32_t>(k);
      if (state >= 0) taken.insert(state);
      out_.graph.output(v, state);
    }
    if (chance(20)) out_.graph.output(pool_[pick(static_cast<int64_t>(pool_.size()))]);
  }

  std::mt19937_64 rng_;
  RandomGraph out_;
  Dims sizes_;
  Values pool_, others_;  // floating-point values, and integers
  Value seed_, step_;
  int made_ = 0;
  int64_t total_ = 0;
};

}  // namespace

RandomGraph random_graph(uint64_t seed, int ops) {
  register_ops();
  return Generator(seed).run(ops);
}

namespace {
/// Names of ops in a graph, in the definitions of its composites, in theirs.
void collect(const ir::Graph& graph, std::set<std::string_view>& names) {
  for (const ir::Node& n : graph.nodes()) {
    names.insert(n.op->name);
    if (n.op->kind != ir::OpKind::composite) continue;
    ir::Graph definition;
    Values in;
    for (ir::ValueRef r : n.inputs) in.push_back(definition.input(graph.type(r)));
    {
      ir::BuilderScope builder(definition);
      ir::GradScope no_grad(false);
      for (const Value& v : n.op->expand(n.attrs, in)) definition.output(v);
    }
    collect(passes::dce(definition), names);
  }
}
}  // namespace

GraphStatistics statistics(const ir::Graph& graph) {
  GraphStatistics out;
  const ir::Graph live = passes::dce(graph), final = passes::run_pipeline(graph, {}, nullptr);
  for (const ir::Node& n : live.nodes()) {
    out.nodes += n.op != &ir::kInputOp && n.op != &ir::kConstantOp;
    for (const Type& t : n.types)
      for (int64_t d : t.dims) out.longest = std::max(out.longest, d);
  }
  collect(live, out.ops);
  collect(final, out.ops);
  for (const kernel::Step& step : kernel::partition(final, true).steps) out.fused |= step.members.size() > 1;
  return out;
}

std::vector<std::vector<std::byte>> run_program(const RandomGraph& p, ProgramInfo* info) {
  runtime::Program program(p.graph, {.arena_budget = 0});
  if (info) *info = program.info();
  std::vector<void*> in, out;
  std::vector<std::vector<std::byte>> inputs = p.inputs, outputs;
  for (auto& bytes : inputs) in.push_back(bytes.data());
  for (const Type& type : program.output_types()) outputs.emplace_back(type.bytes());
  for (auto& bytes : outputs) out.push_back(bytes.data());
  program.run(in, out, false);
  for (size_t k = 0; k < outputs.size(); ++k)
    if (int32_t state = program.outputs()[k].alias; state >= 0) outputs[k] = inputs[state];
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

FiniteCount count_finite(const Type& type, const std::vector<std::byte>& bytes) {
  FiniteCount out;
  if (!is_floating(type.dtype)) return out;
  for (const ir::ScalarValue& v : kernel::from_memory(type, bytes.data()).values) {
    ++out.all;
    out.finite += std::isfinite(v.f);
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
