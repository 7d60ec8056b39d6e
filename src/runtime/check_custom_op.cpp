#include <cmath>

#include "base/format.h"
#include "corten/compile.h"
#include "corten/custom_op.h"
#include "corten/ops.h"
#include "corten/random.h"

namespace corten {
namespace {

struct Tolerance {
  double relative, absolute;
};

/// Two roundings of the dtype: the body rounds once, `expand` at every op.
Tolerance tolerance(DType dtype, const CustomOpCheck& check) {
  const double usual = dtype == DType::f64 ? 1e-11 : dtype == DType::bf16 ? 1.6e-2 : dtype == DType::f16 ? 2e-3 : 1e-5;
  return {check.relative > 0 ? check.relative : usual, check.absolute > 0 ? check.absolute : usual};
}

void compare(const std::string& op, const char* what, const Tensor& got, const Tensor& want, const CustomOpCheck& check) {
  if (got.shape() != want.shape() || got.dtype() != want.dtype())
    usage_error("[{}] {} {}{} where `expand` gives {}{}", op, what, name(got.dtype()), fmt::join(got.shape(), ","), name(want.dtype()),
                fmt::join(want.shape(), ","));
  const Tolerance allowed = tolerance(got.dtype(), check);
  const std::vector<double> x = got.to_vector<double>(), y = want.to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i) {
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    if (!same && !(std::abs(x[i] - y[i]) <= allowed.absolute + allowed.relative * std::abs(y[i])))
      usage_error("[{}] {} element {} is {} where `expand` gives {}", op, what, i, x[i], y[i]);
  }
}

}  // namespace

void check_custom_op(const CustomOp& op, const std::vector<Tensor>& inputs, CustomOpCheck check) {
  const CustomOpDefinition& d = op.definition();
  const auto leaves = [&] {
    std::vector<Tensor> out;
    for (const Tensor& t : inputs) {
      out.push_back(t.detach().clone());
      if (is_floating(t.dtype())) out.back().set_requires_grad();
    }
    return out;
  };
  // The op promotes and broadcasts; so does what it is compared with.
  DType dtype = DType::boolean;
  for (const Tensor& t : inputs) dtype = promote(dtype, t.dtype());
  if (!is_floating(dtype)) dtype = DType::f32;
  const auto reference = [&](std::vector<Tensor> in) {
    Shape dims;
    for (Tensor& t : in) {
      t = t.to(dtype);
      dims.resize(std::max(dims.size(), t.shape().size()), 1);
      for (size_t i = 1; i <= t.shape().size(); ++i)
        if (int64_t n = t.shape()[t.shape().size() - i]; n != 1) dims[dims.size() - i] = n;
    }
    for (Tensor& t : in) t = t.expand(dims);
    return d.expand(in);
  };
  std::vector<Tensor> a = leaves(), b = leaves();
  const Tensor got = op(a), want = reference(b).to(dtype);
  compare(d.name, "the result's", got, want, check);
  const Tensor compiled = compile([&](const std::vector<Tensor>& in) { return std::vector<Tensor>{op(in)}; })(inputs)[0];
  if (compiled.to_vector<double>() != got.to_vector<double>() && !std::isnan(got.sum().item<double>()))
    usage_error("[{}] the compiled result differs from the eager one", d.name);
  if (!check.gradient) return;
  const Tensor seed = normal_init(got.shape(), 0, 1, 1, d.name).to(dtype);
  got.backward(seed);
  want.backward(seed);
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].grad().defined() && !b[i].grad().defined()) continue;
    const std::string what = format("the gradient of input {}:", i);
    const auto filled = [](const Tensor& t) { return t.grad().defined() ? t.grad() : zeros_like(t); };
    compare(d.name, what.c_str(), filled(a[i]), filled(b[i]), check);
  }
}

}  // namespace corten
