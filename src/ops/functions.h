// Ops as functions of values: what gradients, expansions and the tensor API are written in. Operands of one call must
// have one dtype unless stated (the tensor API promotes); shapes broadcast as NumPy's where marked (b).
#pragma once

#include <optional>

#include "ir/value.h"

namespace corten {
struct QuantizedShape;
}

namespace corten::ops {

using ir::Dims;
using ir::Type;
using ir::Value;
using ir::Values;

// Element-wise (b).
Value add(Value a, Value b);
Value sub(Value a, Value b);
Value mul(Value a, Value b);
Value div(Value a, Value b);
Value rem(Value a, Value b);  // integers, sign of the dividend
Value minimum(Value a, Value b);
Value maximum(Value a, Value b);
Value eq(Value a, Value b);
Value ne(Value a, Value b);
Value lt(Value a, Value b);
Value le(Value a, Value b);
inline Value gt(Value a, Value b) { return lt(b, a); }
inline Value ge(Value a, Value b) { return le(b, a); }
Value logical_and(Value a, Value b);  // booleans or integers (bitwise)
Value logical_or(Value a, Value b);
Value logical_xor(Value a, Value b);
Value where(Value condition, Value a, Value b);  // condition: bool
// Element-wise of one operand.
Value copy(Value x);  // contiguous storage of its own
Value neg(Value x);
Value abs(Value x);
Value sign(Value x);
Value sqrt(Value x);
Value rsqrt(Value x);
Value exp(Value x);
Value log(Value x);
Value tanh(Value x);
Value erf(Value x);
Value sin(Value x);
Value cos(Value x);
Value floor(Value x);
Value round(Value x);  // to nearest, ties to even
Value logical_not(Value x);
Value cast(Value x, DType to);
// With a number: the constant takes the operand's dtype.
Value add(Value a, double b);
Value sub(Value a, double b);
Value sub(double a, Value b);
Value mul(Value a, double b);
Value div(Value a, double b);
Value div(double a, Value b);
Value where(Value condition, Value a, double b);
inline Value operator+(const Value& a, const Value& b) { return add(a, b); }
inline Value operator-(const Value& a, const Value& b) { return sub(a, b); }
inline Value operator*(const Value& a, const Value& b) { return mul(a, b); }
inline Value operator/(const Value& a, const Value& b) { return div(a, b); }
inline Value operator+(const Value& a, double b) { return add(a, b); }
inline Value operator-(const Value& a, double b) { return sub(a, b); }
inline Value operator*(const Value& a, double b) { return mul(a, b); }
inline Value operator/(const Value& a, double b) { return div(a, b); }
inline Value operator-(const Value& a) { return neg(a); }

// Reductions. Empty `axes`: all. bf16 and f16 accumulate in f32 and round once.
Value sum(Value x, Dims axes, bool keepdim);
Value max(Value x, Dims axes, bool keepdim);
Value min(Value x, Dims axes, bool keepdim);
Value mean(Value x, Dims axes, bool keepdim);
Value logsumexp(Value x, int64_t axis, bool keepdim);
Value argmax(Value x, int64_t axis, bool keepdim);  // i64; the first of equal ones; NaN counts as the largest
/// Sums broadcast axes away: the adjoint of expanding `dims` to x's shape.
Value sum_to(Value x, const Dims& dims);

// Views.
Value reshape(Value x, Dims dims);  // one size may be -1
Value permute(Value x, Dims axes);
Value transpose(Value x, int64_t a, int64_t b);
Value expand(Value x, const Dims& dims);  // NumPy broadcasting of x to dims
Value slice(Value x, Dims starts, Dims sizes);
Value slice_axis(Value x, int64_t axis, int64_t start, int64_t size);

// Movement and indexing.
Value pad(Value x, Dims low, Dims high, double value);
/// out[..., i, ...] = x[..., index[..., i, ...], ...] along `axis`, as torch.gather; other sizes equal. index: i64.
Value gather(Value x, Value index, int64_t axis);
/// base with updates added at index along `axis`, in ascending order of the updates; as torch.scatter_add.
Value scatter_add(Value base, Value index, Value updates, int64_t axis);
Value scatter_set(Value base, Value index, Value updates, int64_t axis);
/// Rows (along `axis`) of x named by a 1-d i64 index.
Value index_select(Value x, int64_t axis, Value index);
Value concat(const Values& parts, int64_t axis);
Value stack(const Values& parts, int64_t axis);
Value full(Dims dims, DType dtype, double value);
Value full_like(Value x, double value);
/// i64: coordinate along `axis`.
Value iota(Dims dims, int64_t axis);
/// i64: row-major linear index.
Value linear_index(Dims dims);

// Matrix products: [..., m, k] x [..., k, n] with equal or broadcast batch sizes; f32 accumulation for bf16, f16, f32.
Value matmul(Value a, Value b, std::optional<DType> out_dtype = {});
/// The claimed form of matmul (passes/claim.cpp) with bias [n] in the compute type, or null.
Value gemm(Value a, Value b, Value bias, DType out_dtype);
/// c + a b, the chains of c carried on; made by passes/chunk_rows.cpp.
Value gemm_continue(Value a, Value b, Value c);
/// x [..., in] times w ([in, out], or [out, in] if transposed) plus bias [out] (may be null). Computes in x's dtype; w and
/// bias may be f32 masters: their gradients are f32 then.
Value linear(Value x, Value w, Value bias, bool transposed);
/// scale_a scale_b a b of 8-bit floats: a [m, k], b [k, n], scales f32 []. No gradient.
Value scaled_matmul(Value a, Value b, Value scale_a, Value scale_b, DType out_dtype);
/// {values in an 8-bit type, f32 scale} with x = values * scale: the largest |x| becomes the type's largest number.
std::pair<Value, Value> float8_scaled(Value x, DType dtype);
/// linear() whose three products are of 8-bit floats, with one scale per operand.
Value float8_linear(Value x, Value w, Value bias, bool transposed);

// Networks. Norms and losses compute in f32; the result has x's dtype.
Value gelu(Value x);       // x Phi(x)
Value gelu_tanh(Value x);  // the tanh approximation of Hendrycks and Gimpel (2016)
Value relu(Value x);
Value silu(Value x);
Value sigmoid(Value x);
Value softmax(Value x, int64_t axis);
Value log_softmax(Value x, int64_t axis);
Value layer_norm(Value x, Value weight, Value bias, double eps);  // last axis; bias may be null
Value rms_norm(Value x, Value weight, double eps);                // last axis
/// x [..., T, D] turned by angles whose cosines and sines broadcast to [..., T, D/2], in the type that x is computed in.
Value rotary(Value x, Value cosines, Value sines);
Value embedding(Value ids, Value weight);                         // weight [vocab, dim], ids i64 or i32
/// Losses [...] (f32) of logits [..., classes] and targets [...] (i64); 0 where target == ignore_index.
Value cross_entropy(Value logits, Value targets, int64_t ignore_index, double label_smoothing);
/// Random numbers are keyed by generator state (seed, step: 0-d i64) and `site`; see the numerics contract, point 4.
struct Generator {
  Value seed, step;
};
Value random_uniform(Generator generator, int64_t site, Dims dims);  // f32 in [0, 1)
Value random_normal(Generator generator, int64_t site, Dims dims, double mean = 0, double std = 1);  // f32
/// i32 random bits: word 0 or 1 of ir::philox; operands i64 of one shape. And f32 in [0, 1) from them.
Value philox(Value seed, Value step, Value site, Value index, int64_t word);
Value uniform01(Value bits);
Value dropout(Value x, Generator generator, int64_t site, double p);
/// softmax(q k^T * scale + mask) v over [..., t, d]; `mask` (may be null): bool (true = visible) or additive. With p > 0
/// the weights are dropped by the generator.
Value scaled_dot_product_attention(Value q, Value k, Value v, Value mask, bool causal, double scale, double p,
                                   Generator generator, int64_t site);
/// x [..., k] times quantised weights [n, k] plus bias [n] (may be null): base/quantized_shape.h, quant/quantized_product.h.
Value quantized_linear(Value x, Value weight, Value scale, Value bias, const QuantizedShape& shape, double threshold);
/// Rows of 8-bit weights [n, k] named by ids, in `dtype`.
Value quantized_embedding(Value ids, Value weight, Value scale, const QuantizedShape& shape, DType dtype);

// Optimizers: new {parameter, first moment, second moment} (AdamW; Loshchilov and Hutter, 2019), {parameter, momentum} (SGD).
Values adamw(Value p, Value g, Value m, Value v, Value lr, Value step, double beta1, double beta2, double eps, double weight_decay);
Values sgd(Value p, Value g, Value momentum_buffer, Value lr, Value step, double momentum, double dampening, double weight_decay, bool nesterov);
/// sqrt of the sum of squares of all elements, f32 0-d: float64 partial sums per tensor, added in order.
Value global_norm(const Values& xs);

}  // namespace corten::ops
