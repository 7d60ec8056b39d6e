#include "train/benched_ops.h"

#include <charconv>

#include "base/format.h"
#include "base/strings.h"
#include "corten/ops.h"
#include "corten/random.h"
#include "models/layers/rotary_embedding.h"
#include "runtime/tensor_ops.h"

namespace corten {
namespace {

/// Weight and bias of a norm over the last axis of x.
Tensor ones_of(const Tensor& x) {
  return ones({x.size(-1)}, x.dtype());
}

/// The gradient of an op's first operand, from the gradient of its result: the second operand.
template <typename F>
Tensor gradient_of(const Operands& x, F&& op) {
  Tensor leaf = x[0].detach().set_requires_grad();
  op(leaf).backward(x[1]);
  return leaf.grad();
}

/// Causal attention of q [B, H, T, D] over k and v [B, K, T, D], whose heads H / K queries' heads
/// share.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v) {
  if (q.dim() != 4 || k.dim() != 4 || v.dim() != 4 || q.size(1) == k.size(1) || k.size(1) == 0)
    return scaled_dot_product_attention(q, k, v, {}, {.causal = true});
  const Tensor grouped = q.reshape({q.size(0), k.size(1), q.size(1) / k.size(1), q.size(2), q.size(3)});
  return scaled_dot_product_attention(grouped, k.unsqueeze(2), v.unsqueeze(2), {}, {.causal = true})
      .reshape(q.shape());
}

const BenchedOp kOps[] = {
    {"add", 2, [](const Operands& x) { return Operands{x[0] + x[1]}; }},
    {"sub", 2, [](const Operands& x) { return Operands{x[0] - x[1]}; }},
    {"mul", 2, [](const Operands& x) { return Operands{x[0] * x[1]}; }},
    {"div", 2, [](const Operands& x) { return Operands{x[0] / x[1]}; }},
    {"maximum", 2, [](const Operands& x) { return Operands{maximum(x[0], x[1])}; }},
    {"exp", 1, [](const Operands& x) { return Operands{exp(x[0])}; }},
    {"log", 1, [](const Operands& x) { return Operands{log(abs(x[0]))}; }},
    {"tanh", 1, [](const Operands& x) { return Operands{tanh(x[0])}; }},
    {"erf", 1, [](const Operands& x) { return Operands{erf(x[0])}; }},
    {"sin", 1, [](const Operands& x) { return Operands{sin(x[0])}; }},
    {"cos", 1, [](const Operands& x) { return Operands{cos(x[0])}; }},
    {"sqrt", 1, [](const Operands& x) { return Operands{sqrt(abs(x[0]))}; }},
    {"relu", 1, [](const Operands& x) { return Operands{relu(x[0])}; }},
    {"gelu", 1, [](const Operands& x) { return Operands{gelu(x[0])}; }},
    {"gelu_tanh", 1, [](const Operands& x) { return Operands{gelu(x[0], true)}; }},
    {"silu", 1, [](const Operands& x) { return Operands{silu(x[0])}; }},
    {"sigmoid", 1, [](const Operands& x) { return Operands{sigmoid(x[0])}; }},
    {"softmax", 1, [](const Operands& x) { return Operands{softmax(x[0], -1)}; }},
    {"log_softmax", 1, [](const Operands& x) { return Operands{log_softmax(x[0], -1)}; }},
    {"logsumexp", 1, [](const Operands& x) { return Operands{logsumexp(x[0], -1)}; }},
    {"sum", 1, [](const Operands& x) { return Operands{sum(x[0], {-1})}; }},
    {"mean", 1, [](const Operands& x) { return Operands{mean(x[0], {-1})}; }},
    {"max", 1, [](const Operands& x) { return Operands{amax(x[0], {-1})}; }},
    {"argmax", 1, [](const Operands& x) { return Operands{argmax(x[0], -1)}; }},
    {"layer_norm", 1,
     [](const Operands& x) { return Operands{layer_norm(x[0], ones_of(x[0]), ones_of(x[0]))}; }},
    {"rms_norm", 1, [](const Operands& x) { return Operands{rms_norm(x[0], ones_of(x[0]))}; }},
    {"gelu_grad", 2,
     [](const Operands& x) { return Operands{gradient_of(x, [](const Tensor& t) { return gelu(t); })}; }},
    {"gelu_tanh_grad", 2,
     [](const Operands& x) { return Operands{gradient_of(x, [](const Tensor& t) { return gelu(t, true); })}; }},
    {"softmax_grad", 2,
     [](const Operands& x) { return Operands{gradient_of(x, [](const Tensor& t) { return softmax(t, -1); })}; }},
    {"layer_norm_grad", 2,
     [](const Operands& x) {
       return Operands{gradient_of(x, [](const Tensor& t) { return layer_norm(t, ones_of(t), ones_of(t)); })};
     }},
    {"rms_norm_grad", 2,
     [](const Operands& x) {
       return Operands{gradient_of(x, [](const Tensor& t) { return rms_norm(t, ones_of(t)); })};
     }},
    {"swiglu", 2, [](const Operands& x) { return Operands{silu(x[0]) * x[1]}; }},
    // x [B, H, T, D], cos and sin [1, 1, T, D/2].
    {"rope", 3,
     [](const Operands& x) {
       return Operands{layers::rotate(x[0], {x[1].to(DType::f32), x[2].to(DType::f32)})};
     }},
    // Parameter, gradient, first and second moment.
    {"adamw", 4,
     [](const Operands& x) {
       return adamw_update(x[0], x[1], x[2], abs(x[3]), full({}, 1e-3), full({}, 1, DType::i64), 0.9,
                           0.95, 1e-8, 0.1);
     }},
    {"dropout", 1, [](const Operands& x) { return Operands{dropout(x[0], 0.1)}; }},
    {"transpose", 1, [](const Operands& x) { return Operands{x[0].t().clone()}; }},
    {"matmul", 2, [](const Operands& x) { return Operands{matmul(x[0], x[1])}; }},
    {"linear", 2, [](const Operands& x) { return Operands{linear(x[0], x[1])}; }},
    {"scaled_dot_product_attention", 3,
     [](const Operands& x) {
       return Operands{attend(x[0], x[1], x[2])};
     }},
    // q, k, v, and the gradient of the result: forward and backward.
    {"scaled_dot_product_attention_grad", 4,
     [](const Operands& x) {
       Operands leaves;
       for (size_t i = 0; i < 3; ++i) leaves.push_back(x[i].detach().set_requires_grad());
       attend(leaves[0], leaves[1], leaves[2]).backward(x[3]);
       return Operands{leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
     }},
    // x [N, D], weight [V, D]: the mean loss of N made-up targets, and both gradients.
    {"linear_cross_entropy", 2,
     [](const Operands& x) {
       const Tensor h = x[0].detach().set_requires_grad(), w = x[1].detach().set_requires_grad();
       const Tensor targets = remainder_trunc(arange(h.size(0)), full({}, static_cast<double>(w.size(0)), DType::i64));
       const Tensor loss = cross_entropy(linear(h, w), targets);
       loss.backward();
       return Operands{loss.detach(), h.grad(), w.grad()};
     }},
};

}  // namespace

const BenchedOp& find_benched_op(const std::string& name) {
  std::vector<std::string> names;
  for (const BenchedOp& op : kOps) {
    if (op.name == name) return op;
    names.emplace_back(op.name);
  }
  usage_error("unknown op \"{}\"{} (known: {})", name, did_you_mean(name, names),
              fmt::join(names, ", "));
}

namespace {

/// "4x8" -> {4, 8}.
Shape parse_shape(const std::string& text) {
  Shape shape;
  for (const std::string& part : split(text, 'x')) {
    int64_t size = 0;
    auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (part.empty() || error != std::errc() || stop != part.data() + part.size() || size < 0)
      usage_error("\"{}\" is no shape; expected sizes such as 1024x768", text);
    shape.push_back(size);
  }
  return shape;
}

}  // namespace

Operands random_operands(const BenchedOp& op, const BenchOpOptions& options) {
  if (options.shapes.size() != op.operands && options.shapes.size() != 1)
    usage_error("{} takes {} operands, {} shapes are given", op.name, op.operands,
                options.shapes.size());
  manual_seed(options.seed);
  Operands operands;
  for (size_t i = 0; i < op.operands; ++i)
    operands.push_back(
        randn(parse_shape(options.shapes[options.shapes.size() == 1 ? 0 : i])).to(options.dtype));
  return operands;
}

double tensor_bytes(const std::vector<Tensor>& tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors)
    bytes += static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype()));
  return bytes;
}

}  // namespace corten
