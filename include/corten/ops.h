// Operations on tensors.
//
// Binary operations broadcast as NumPy and promote dtypes as PyTorch (a C++ number does not promote a floating tensor).
// bf16 and f16 operands are computed in f32 and rounded once. Every function raises a Usage error with the shapes in it.
#pragma once

#include <optional>
#include <string_view>

#include "corten/tensor.h"

namespace corten {

// ---- Element-wise
Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);  ///< integers divide as f32, as torch.true_divide
Tensor operator+(const Tensor& a, double b);
Tensor operator-(const Tensor& a, double b);
Tensor operator*(const Tensor& a, double b);
Tensor operator/(const Tensor& a, double b);
Tensor operator+(double a, const Tensor& b);
Tensor operator-(double a, const Tensor& b);
Tensor operator*(double a, const Tensor& b);
Tensor operator/(double a, const Tensor& b);
Tensor operator-(const Tensor& x);
Tensor operator==(const Tensor& a, const Tensor& b);  ///< comparisons give bool tensors
Tensor operator!=(const Tensor& a, const Tensor& b);
Tensor operator<(const Tensor& a, const Tensor& b);
Tensor operator<=(const Tensor& a, const Tensor& b);
Tensor operator>(const Tensor& a, const Tensor& b);
Tensor operator>=(const Tensor& a, const Tensor& b);
Tensor operator==(const Tensor& a, double b);
Tensor operator!=(const Tensor& a, double b);
Tensor operator<(const Tensor& a, double b);
Tensor operator<=(const Tensor& a, double b);
Tensor operator>(const Tensor& a, double b);
Tensor operator>=(const Tensor& a, double b);
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& x);
Tensor remainder_trunc(const Tensor& a, const Tensor& b);  ///< integers; sign of the dividend, as C's %
Tensor minimum(const Tensor& a, const Tensor& b);  ///< NaN if either is NaN
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);
Tensor floor(const Tensor& x);
Tensor round(const Tensor& x);  ///< ties to even
Tensor square(const Tensor& x);
Tensor pow(const Tensor& x, double exponent);  ///< small integer exponents exactly by products, otherwise exp(e log x)

// ---- Reductions; empty `axes`: all. Sums of integers are i64.
Tensor sum(const Tensor& x, std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current());
Tensor mean(const Tensor& x, std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current());
Tensor amax(const Tensor& x, std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current());
Tensor amin(const Tensor& x, std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current());
Tensor argmax(const Tensor& x, int64_t axis, bool keepdim = false, At at = At::current());  ///< i64
Tensor logsumexp(const Tensor& x, int64_t axis, bool keepdim = false, At at = At::current());

// ---- Joining, padding, indexing
Tensor concat(const std::vector<Tensor>& parts, int64_t axis, At at = At::current());
Tensor stack(const std::vector<Tensor>& parts, int64_t axis, At at = At::current());
Tensor pad(const Tensor& x, std::vector<int64_t> low, std::vector<int64_t> high, double value = 0, At at = At::current());
/// As torch.gather: index i64 of x's rank. Out-of-range indices are a Usage error.
Tensor gather(const Tensor& x, int64_t axis, const Tensor& index, At at = At::current());
Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index, At at = At::current());
/// base with updates added (set) at index along `axis`; several at one place in ascending order.
Tensor scatter_add(const Tensor& base, int64_t axis, const Tensor& index, const Tensor& updates, At at = At::current());
Tensor scatter(const Tensor& base, int64_t axis, const Tensor& index, const Tensor& updates, At at = At::current());

// ---- Products
/// [..., m, k] x [..., k, n], batch sizes broadcast; one-dimensional operands as torch.matmul. f32 accumulation.
Tensor matmul(const Tensor& a, const Tensor& b, std::optional<DType> out_dtype = {}, At at = At::current());
/// x [..., in], weight [out, in], bias [out] or undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, At at = At::current());
/// The same with weight [in, out], GPT-2's Conv1D.
Tensor conv1d_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, At at = At::current());

// ---- Networks
Tensor relu(const Tensor& x);
Tensor gelu(const Tensor& x, bool tanh_approximation = false);
Tensor silu(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor softmax(const Tensor& x, int64_t axis, At at = At::current());
Tensor log_softmax(const Tensor& x, int64_t axis, At at = At::current());
/// Over the last axis. weight, bias: [size of the last axis]; bias may be undefined.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5, At at = At::current());
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps = 1e-6, At at = At::current());
/// Rotary position embedding (Su et al., 2021): elements i and i + D/2 of x's [..., T, D] last axis, turned by angles whose
/// cosines and sines broadcast to [..., T, D/2]. Usage error if they do not.
Tensor rotary(const Tensor& x, const Tensor& cosines, const Tensor& sines, At at = At::current());
/// Rows of weight [vocab, dim] named by integer ids [...]: [..., dim]. Ids out of range are a Usage error.
Tensor embedding(const Tensor& ids, const Tensor& weight, At at = At::current());
enum class Reduction { none, mean, sum };
/// logits [..., classes], integer targets [...]; rows with target == ignore_index do not count. f32. A target that is no class
/// is a Usage error; in a compiled function, where targets are known too late for that, the loss is NaN.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, Reduction reduction = Reduction::mean,
                     int64_t ignore_index = -100, double label_smoothing = 0, At at = At::current());
struct AttentionOptions {
  bool causal = false;
  double scale = 0;      ///< 0: 1 / sqrt(d)
  double dropout_p = 0;  ///< of the attention weights
};
/// softmax(q k^T scale + mask) v; q [..., t, d], k and v [..., s, d]; mask (bool: true = visible, or additive) broadcasts to
/// [..., t, s]; may be undefined.
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask = {},
                                    AttentionOptions options = {}, At at = At::current());

/// While one lives in this thread, ops choose their dtypes as under torch.autocast (docs/design/mixed-precision.md):
///   in `dtype` (bf16 or f16): matmul, linear, conv1d_linear, scaled_dot_product_attention;
///   in f32, with f32 results: exp, log, rsqrt, pow, sum, mean, logsumexp, softmax, log_softmax, layer_norm, rms_norm,
///   cross_entropy;
///   in the widest of their operands' dtypes: everything that joins several, scatter and scatter_add included.
/// Everything else keeps its operand's dtype, and f64 is left alone. Parameters stay f32 and so do their gradients. Scopes
/// nest; Autocast(dtype, false) switches off.
class Autocast {
 public:
  explicit Autocast(DType dtype, bool enabled = true);
  ~Autocast();
  Autocast(const Autocast&) = delete;

 private:
  std::optional<DType> previous_;
};
bool is_autocast_enabled();
/// The dtype of products in the innermost scope of this thread; f32 outside.
DType get_autocast_dtype();

/// How products of f32 operands are computed, in the whole process and from the next op or compilation on, as
/// torch.set_float32_matmul_precision:
///   "highest"  in f32 (the default);
///   "high"     the same on the CPU, which has no TF32;
///   "medium"   operands rounded to bf16, f32 accumulation and results: the bf16 family's speed.
/// Usage error for other words.
void set_float32_matmul_precision(std::string_view precision);
std::string_view get_float32_matmul_precision();

}  // namespace corten
