#include <cmath>

#include "base/format.h"
#include "corten/float8.h"
#include "corten/nn.h"
#include "corten/random.h"

namespace corten::nn {
namespace {

void check_sizes(std::string_view what, std::initializer_list<int64_t> sizes) {
  for (int64_t size : sizes)
    if (size < 1) usage_error("[nn] {} cannot have the size {}", what, size);
}
init::Initializer uniform_by_inputs(int64_t in) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  return init::uniform(-bound, bound);
}
std::string quantized_repr(const Quantizable& module) {
  if (!module.is_quantized()) return "";
  const Quantization& how = module.quantized().how;
  return how.bits == 8 ? ", int8" : format(", int4 in groups of {}", how.group_size);
}

}  // namespace

void Quantizable::quantize(const Quantization& how, bool keep_values) {
  if (is_quantized()) usage_error("[nn] the weight of {} is quantised to {} bits already", type_name(), quantized_.how.bits);
  const int64_t rows = weight.size(0), columns = weight.size(1);
  QuantizedTensor q = keep_values ? corten::quantize(weight, how, in_out_)
                      : in_out_   ? make_quantized(columns, rows, how)
                                  : make_quantized(rows, columns, how);
  dtype_ = weight.dtype();
  quantized_ = std::move(q);
  register_buffer("weight_packed", quantized_.weight, quantized_.weight);
  register_buffer("weight_scale", quantized_.scale, quantized_.scale);
  weight = Tensor();
}
Shape Quantizable::weight_shape() const {
  if (!is_quantized()) return weight.shape();
  return in_out_ ? Shape{quantized_.in, quantized_.out} : Shape{quantized_.out, quantized_.in};
}
void Quantizable::quantize_from(const void* data, DType dtype) {
  if (!is_quantized()) usage_error("[nn] the weight of {} is not quantised", type_name());
  quantize_into(quantized_, data, dtype, in_out_ ? 1 : quantized_.in, in_out_ ? quantized_.out : 1);
}

Linear::Linear(int64_t in, int64_t out, bool with_bias)
    : Linear(in, out, with_bias, uniform_by_inputs(in), uniform_by_inputs(in)) {}
Linear::Linear(int64_t in, int64_t out, bool with_bias, init::Initializer weight_init,
               init::Initializer bias_init)
    : Quantizable(false) {
  check_sizes("Linear", {in, out});
  register_parameter("weight", weight, {out, in}, std::move(weight_init));
  if (with_bias) register_parameter("bias", bias, {out}, std::move(bias_init));
}
Tensor Linear::forward(const Tensor& x) {
  if (is_quantized()) return quantized_linear(x, quantized(), bias);
  return float8 ? float8_linear(x, weight, bias) : linear(x, weight, bias);
}
std::string Linear::extra_repr() const {
  const Shape shape = weight_shape();
  return format("in={}, out={}, bias={}{}{}", shape[1], shape[0], bias.defined(), quantized_repr(*this),
                float8 ? ", float8" : "");
}

Conv1D::Conv1D(int64_t in, int64_t out, init::Initializer weight_init) : Quantizable(true) {
  check_sizes("Conv1D", {in, out});
  register_parameter("weight", weight, {in, out}, std::move(weight_init));
  register_parameter("bias", bias, {out}, init::zeros());
}
Tensor Conv1D::forward(const Tensor& x) {
  if (is_quantized()) return quantized_linear(x, quantized(), bias);
  return float8 ? conv1d_float8_linear(x, weight, bias) : conv1d_linear(x, weight, bias);
}
std::string Conv1D::extra_repr() const {
  const Shape shape = weight_shape();
  return format("in={}, out={}{}{}", shape[0], shape[1], quantized_repr(*this), float8 ? ", float8" : "");
}

Embedding::Embedding(int64_t count, int64_t dim, init::Initializer weight_init) : Quantizable(false) {
  check_sizes("Embedding", {count, dim});
  register_parameter("weight", weight, {count, dim}, std::move(weight_init));
}
Tensor Embedding::forward(const Tensor& ids) {
  return is_quantized() ? quantized_embedding(ids, quantized(), weight_dtype()) : embedding(ids, weight);
}
Tensor Embedding::project(const Tensor& x) const {
  return is_quantized() ? quantized_linear(x, quantized()) : linear(x, weight);
}
std::string Embedding::extra_repr() const {
  const Shape shape = weight_shape();
  return format("{}, {}{}", shape[0], shape[1], quantized_repr(*this));
}

LayerNorm::LayerNorm(int64_t dim, double eps, bool with_bias) : eps_(eps) {
  check_sizes("LayerNorm", {dim});
  register_parameter("weight", weight, {dim}, init::ones());
  if (with_bias) register_parameter("bias", bias, {dim}, init::zeros());
}
Tensor LayerNorm::forward(const Tensor& x) {
  return layer_norm(x, weight, bias, eps_);
}
std::string LayerNorm::extra_repr() const {
  return format("{}, eps={}", weight.size(0), eps_);
}

RMSNorm::RMSNorm(int64_t dim, double eps) : eps_(eps) {
  check_sizes("RMSNorm", {dim});
  register_parameter("weight", weight, {dim}, init::ones());
}
Tensor RMSNorm::forward(const Tensor& x) {
  return rms_norm(x, weight, eps_);
}
std::string RMSNorm::extra_repr() const {
  return format("{}, eps={}", weight.size(0), eps_);
}

Dropout::Dropout(double p) : p_(p) {
  if (!(p >= 0 && p <= 1)) usage_error("[nn] Dropout's probability {} is not between 0 and 1", p);
}
Tensor Dropout::forward(const Tensor& x) {
  return dropout(x, p_, is_training());
}
std::string Dropout::extra_repr() const {
  return format("p={}", p_);
}

std::string GELU::extra_repr() const {
  return tanh_approximation_ ? "tanh" : "";
}

Module& Sequential::add(std::unique_ptr<Module> module) {
  if (!module) usage_error("[nn] Sequential cannot hold an empty module");
  modules_.push_back(std::move(module));
  register_module(std::to_string(modules_.size() - 1), *modules_.back());
  return *modules_.back();
}
Tensor Sequential::forward(const Tensor& x) {
  Tensor out = x;
  for (auto& module : modules_) out = (*module)(out);
  return out;
}

}  // namespace corten::nn
