#include "kernel/reference.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/format.h"
#include "base/float8.h"
#include "passes/passes.h"

namespace corten::kernel {

using ir::Dims;
using ir::Node;
using ir::OpKind;
using ir::Precision;
using ir::ScalarValue;
using ir::Type;
using ir::ValueRef;

namespace {

ScalarValue load(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::f32: return {static_cast<const float*>(data)[i], 0};
    case DType::f64: return {static_cast<const double*>(data)[i], 0};
    case DType::bf16: return {from_bf16(static_cast<const uint16_t*>(data)[i]), 0};
    case DType::f16: return {from_f16(static_cast<const uint16_t*>(data)[i]), 0};
    case DType::i64: return {0, static_cast<const int64_t*>(data)[i]};
    case DType::i32: return {0, static_cast<const int32_t*>(data)[i]};
    case DType::u8: return {0, static_cast<const uint8_t*>(data)[i]};
    case DType::boolean: return {0, static_cast<const uint8_t*>(data)[i] != 0};
    case DType::f8_e4m3: return {from_e4m3(static_cast<const uint8_t*>(data)[i]), 0};
    case DType::f8_e5m2: return {from_e5m2(static_cast<const uint8_t*>(data)[i]), 0};
  }
  return {};
}

/// Calls f(linear index, coordinates) for every point of a shape.
void for_each(const Dims& dims, const std::function<void(int64_t, const Dims&)>& f) {
  Dims at(dims.size(), 0);
  for (int64_t i = 0, n = ir::product(dims); i < n; ++i) {
    f(i, at);
    for (size_t d = dims.size(); d-- > 0;) {
      if (++at[d] < dims[d]) break;
      at[d] = 0;
    }
  }
}

class Evaluator {
 public:
  Evaluator(const ir::Graph& graph, const std::vector<HostTensor>& inputs, Precision precision)
      : graph_(passes::expand(graph, true)), precision_(precision), values_(graph_.nodes().size()) {
    for (size_t i = 0; i < inputs.size(); ++i) values_[graph_.inputs()[i].node] = inputs[i];
  }
  std::vector<HostTensor> run() {
    for (size_t i = 0; i < graph_.nodes().size(); ++i) node(static_cast<int32_t>(i));
    std::vector<HostTensor> out;
    for (const ir::Output& o : graph_.outputs()) out.push_back(values_[o.value.node]);
    return out;
  }

 private:
  const HostTensor& in(const Node& n, size_t k) const { return values_[n.inputs[k].node]; }

  /// One scalar body, evaluated for given arguments. Constants of f32 and f64 bodies are kept exact in both modes.
  ScalarValue body(const ir::Body& body, int32_t result, const std::vector<ScalarValue>& args) {
    scratch_.resize(body.nodes().size());
    for (int32_t i = 0; i <= result; ++i) {
      const ir::ScalarNode& s = body.node(i);
      switch (s.op) {
        case ir::ScalarOp::param: scratch_[i] = args[s.imm]; break;
        case ir::ScalarOp::constant:
          scratch_[i] = s.type == DType::f32   ? ScalarValue{std::bit_cast<float>(static_cast<uint32_t>(s.imm)), 0}
                        : s.type == DType::f64 ? ScalarValue{std::bit_cast<double>(s.imm), 0}
                                               : ScalarValue{0, s.imm};
          break;
        default: {
          ScalarValue operands[3];
          for (int k = 0; k < ir::arity(s.op); ++k) operands[k] = scratch_[s.arg[k]];
          scratch_[i] = ir::eval(s, body.node(s.arg[0]).type, {operands, static_cast<size_t>(ir::arity(s.op))}, precision_);
        }
      }
    }
    return scratch_[result];
  }

  ScalarValue rounded(DType dtype, ScalarValue v) {
    ir::Body b;
    ir::Expr e = ir::round_to(dtype, b.param(ir::scalar_type(dtype), 0));
    return body(b, e.id, {v});
  }

  void elementwise(const Node& n, HostTensor& out) {
    ir::Body b;
    std::vector<ir::Expr> args;
    for (size_t k = 0; k < n.inputs.size(); ++k) args.push_back(b.param(ir::scalar_type(in(n, k).type.dtype), static_cast<int>(k)));
    ir::Expr e = ir::round_to(n.types[0].dtype, n.op->body(n.attrs, args));
    std::vector<ScalarValue> point(args.size());
    for (size_t i = 0; i < out.values.size(); ++i) {
      for (size_t k = 0; k < args.size(); ++k) point[k] = in(n, k).values[i];
      out.values[i] = body(b, e.id, point);
    }
  }

  void reduce(const Node& n, HostTensor& out) {
    const HostTensor& x = in(n, 0);
    const int64_t axis = ir::attribute<int64_t>(n.attrs, "axis"), count = x.type.dims[axis];
    const ir::Tree tree = ir::attribute<ir::Tree>(n.attrs, "tree");
    const DType type = ir::scalar_type(x.type.dtype);
    ir::ScalarNode op{n.op->name == "reduce_max" ? ir::ScalarOp::max : n.op->name == "reduce_min" ? ir::ScalarOp::min : ir::ScalarOp::add, type, {0, 1, -1}};
    ScalarValue identity;
    const double infinity = std::numeric_limits<double>::infinity();
    if (op.op == ir::ScalarOp::max) identity = {-infinity, type == DType::i32 ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int64_t>::min()};
    if (op.op == ir::ScalarOp::min) identity = {infinity, type == DType::i32 ? std::numeric_limits<int32_t>::max() : std::numeric_limits<int64_t>::max()};
    auto combine = [&](ScalarValue a, ScalarValue b) {
      ScalarValue pair[2] = {a, b};
      return ir::eval(op, type, pair, precision_);
    };
    Dims strides = ir::contiguous_strides(x.type.dims);
    for_each(out.type.dims, [&](int64_t i, const Dims& at) {
      int64_t base = 0;
      for (size_t d = 0; d < at.size(); ++d) base += at[d] * strides[d];
      std::vector<ScalarValue> chunks;
      for (int64_t c = 0; c < count; c += tree.chunk) {
        std::vector<ScalarValue> lanes(tree.lanes, identity);
        for (int64_t k = c; k < std::min<int64_t>(c + tree.chunk, count); ++k)
          lanes[(k - c) % tree.lanes] = combine(lanes[(k - c) % tree.lanes], x.values[base + k * strides[axis]]);
        for (int32_t half = tree.lanes / 2; half > 0; half /= 2)
          for (int32_t j = 0; j < half; ++j) lanes[j] = combine(lanes[j], lanes[j + half]);
        chunks.push_back(lanes[0]);
      }
      while (chunks.size() > 1) {
        std::vector<ScalarValue> next;
        for (size_t k = 0; k + 1 < chunks.size(); k += 2) next.push_back(combine(chunks[k], chunks[k + 1]));
        if (chunks.size() % 2) next.push_back(chunks.back());
        chunks = std::move(next);
      }
      out.values[i] = rounded(out.type.dtype, chunks.empty() ? identity : chunks[0]);
    });
  }

  void product(const Node& n, HostTensor& out) {
    const HostTensor &a = in(n, 0), &b = in(n, 1);
    const size_t rank = a.type.dims.size();
    const int64_t m = a.type.dims[rank - 2], k = a.type.dims[rank - 1], cols = b.type.dims[rank - 1];
    // An f32 operand beside a bf16 one is rounded as it is read.
    const auto factors = [&](const HostTensor& t) {
      std::vector<ScalarValue> values = t.values;
      if (a.type.dtype != b.type.dtype && t.type.dtype == DType::f32)
        for (ScalarValue& v : values) v = rounded(DType::bf16, v);
      return values;
    };
    const std::vector<ScalarValue> left = factors(a), right = factors(b);
    const bool wide = precision_ == Precision::real || a.type.dtype == DType::f64;
    for (size_t i = 0; i < out.values.size(); ++i) {
      int64_t col = static_cast<int64_t>(i) % cols, row = static_cast<int64_t>(i) / cols % m, batch = static_cast<int64_t>(i) / cols / m;
      double sum = n.op->in_place >= 0 ? in(n, 2).values[i].f : 0;
      for (int64_t j = 0; j < k; ++j) {
        double x = left[(batch * m + row) * k + j].f, y = right[(batch * k + j) * cols + col].f;
        sum = wide ? std::fma(x, y, sum) : std::fma(static_cast<float>(x), static_cast<float>(y), static_cast<float>(sum));
      }
      if (n.inputs.size() > 2 && n.op->in_place < 0) sum = wide ? sum + in(n, 2).values[col].f : static_cast<float>(sum) + static_cast<float>(in(n, 2).values[col].f);
      out.values[i] = rounded(out.type.dtype, {sum, 0});
    }
  }

  void node(int32_t index) {
    const Node& n = graph_.nodes()[index];
    HostTensor& out = values_[index];
    if (n.op->kind == OpKind::input) return;
    out.type = n.types[0];
    out.values.resize(out.type.elements());
    const Dims& dims = out.type.dims;
    switch (n.op->kind) {
      case OpKind::constant: {
        const ir::Value& c = graph_.constants()[ir::get<ir::ConstantAttrs>(n.attrs).index];
        for_each(dims, [&](int64_t i, const Dims& at) {
          int64_t place = c->layout.offset;
          for (size_t d = 0; d < at.size(); ++d) place += at[d] * c->layout.strides[d];
          out.values[i] = load(out.type.dtype, c->buffer->data(), place);
        });
        break;
      }
      case OpKind::elementwise: elementwise(n, out); break;
      case OpKind::reduce: reduce(n, out); break;
      case OpKind::matmul: case OpKind::library: product(n, out); break;
      case OpKind::full: {
        double v = ir::attribute<double>(n.attrs, "value");
        DType type = ir::scalar_type(out.type.dtype);
        ScalarValue value = is_floating(type) ? ScalarValue{type == DType::f32 ? static_cast<float>(v) : v, 0} : ScalarValue{0, static_cast<int64_t>(v)};
        if (precision_ == Precision::real && is_floating(type)) value.f = v;
        else value = rounded(out.type.dtype, value);
        out.values.assign(out.values.size(), value);
        break;
      }
      case OpKind::iota: {
        Dims strides = ir::attribute<Dims>(n.attrs, "strides");
        for_each(dims, [&](int64_t i, const Dims& at) {
          for (size_t d = 0; d < at.size(); ++d) out.values[i].i += at[d] * strides[d];
        });
        break;
      }
      case OpKind::view: case OpKind::pad: case OpKind::gather: move(n, out); break;
      case OpKind::scatter: {
        out.values = in(n, 0).values;
        const int64_t axis = ir::attribute<int64_t>(n.attrs, "axis");
        Dims strides = ir::contiguous_strides(dims);
        ir::ScalarNode add{ir::ScalarOp::add, ir::scalar_type(out.type.dtype), {0, 1, -1}};
        for_each(in(n, 1).type.dims, [&](int64_t i, const Dims& at) {
          ScalarValue& target = out.values[place(at, strides, axis, in(n, 1).values[i].i, dims[axis])];
          ScalarValue pair[2] = {target, in(n, 2).values[i]};
          target = n.op->name == "scatter_add" ? rounded(out.type.dtype, ir::eval(add, add.type, pair, precision_)) : pair[1];
        });
        break;
      }
      default: internal_error("[{}] cannot be evaluated", n.op->name);
    }
  }

  static int64_t place(const Dims& at, const Dims& strides, int64_t axis, int64_t index, int64_t bound) {
    if (index < 0 || index >= bound) usage_error("index {} is out of range 0..{}", index, bound - 1);
    int64_t out = index * strides[axis];
    for (size_t d = 0; d < at.size(); ++d)
      if (static_cast<int64_t>(d) != axis) out += at[d] * strides[d];
    return out;
  }

  void move(const Node& n, HostTensor& out) {
    const HostTensor& x = in(n, 0);
    Dims strides = ir::contiguous_strides(x.type.dims);
    if (n.op->name == "reshape") {
      out.values = x.values;
      return;
    }
    Dims axes = ir::attribute<Dims>(n.attrs, "axes"), starts = ir::attribute<Dims>(n.attrs, "starts"), low = ir::attribute<Dims>(n.attrs, "low");
    const ScalarValue fill{ir::attribute<double>(n.attrs, "value"), static_cast<int64_t>(ir::attribute<double>(n.attrs, "value"))};
    for_each(out.type.dims, [&](int64_t i, const Dims& at) {
      int64_t from = 0;
      bool inside = true;
      if (n.op->kind == OpKind::gather) {
        const int64_t axis = ir::attribute<int64_t>(n.attrs, "axis");
        from = place(at, strides, axis, in(n, 1).values[i].i, x.type.dims[axis]);
      } else {
        for (size_t d = 0; d < at.size(); ++d) {
          if (n.op->name == "permute") from += at[d] * strides[axes[d]];
          else if (n.op->name == "expand") from += x.type.dims[d] == 1 ? 0 : at[d] * strides[d];
          else if (n.op->name == "slice") from += (at[d] + starts[d]) * strides[d];
          else {
            int64_t c = at[d] - low[d];
            inside &= c >= 0 && c < x.type.dims[d];
            from += c * strides[d];
          }
        }
      }
      out.values[i] = inside ? x.values[from] : rounded(out.type.dtype, fill);
    });
  }

  ir::Graph graph_;
  Precision precision_;
  std::vector<HostTensor> values_;
  std::vector<ScalarValue> scratch_;
};

}  // namespace

HostTensor from_memory(const Type& type, const void* data) {
  HostTensor out{type, std::vector<ScalarValue>(type.elements())};
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] = load(type.dtype, data, static_cast<int64_t>(i));
  return out;
}

void to_memory(const HostTensor& tensor, void* data) {
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    const ScalarValue& v = tensor.values[i];
    switch (tensor.type.dtype) {
      case DType::f32: static_cast<float*>(data)[i] = static_cast<float>(v.f); break;
      case DType::f64: static_cast<double*>(data)[i] = v.f; break;
      case DType::bf16: static_cast<uint16_t*>(data)[i] = to_bf16(static_cast<float>(v.f)); break;
      case DType::f16: static_cast<uint16_t*>(data)[i] = to_f16(static_cast<float>(v.f)); break;
      case DType::i64: static_cast<int64_t*>(data)[i] = v.i; break;
      case DType::i32: static_cast<int32_t*>(data)[i] = static_cast<int32_t>(v.i); break;
      case DType::u8: static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(v.i); break;
      case DType::boolean: static_cast<uint8_t*>(data)[i] = v.i != 0; break;
      case DType::f8_e4m3: static_cast<uint8_t*>(data)[i] = to_e4m3(static_cast<float>(v.f)); break;
      case DType::f8_e5m2: static_cast<uint8_t*>(data)[i] = to_e5m2(static_cast<float>(v.f)); break;
    }
  }
}

std::vector<HostTensor> evaluate(const ir::Graph& graph, const std::vector<HostTensor>& inputs, Precision precision) {
  return Evaluator(graph, inputs, precision).run();
}

}  // namespace corten::kernel
