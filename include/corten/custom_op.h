// Kernels of one's own: an op given as a scalar expression, which is compiled and fused like any other.
//
//   const CustomOp swiglu({
//       .name = "swiglu",
//       .inputs = 2,
//       .body = [](std::span<const Scalar> x) { return x[0] / (1 + exp(-x[0])) * x[1]; },
//       .expand = [](const std::vector<Tensor>& x) { return silu(x[0]) * x[1]; },
//   });
//   Tensor y = swiglu({a, b});
//   check_custom_op(swiglu, {a, b});  // in a test: the body against `expand`, the gradient against that of `expand`
//
// The op works eagerly, in compile() and under differentiation. The expression is text of no device: it becomes the code of
// whatever runs the program.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "corten/tensor.h"

namespace corten {

/// A number of one element of a tensor, while a kernel's body is being described: f32 for tensors of f32, bf16 and f16, f64
/// for f64; comparisons give booleans, for select() and the logical operators. C++ numbers take the other side's type.
/// Every operation rounds once; nothing is contracted but fma(). Usage error for types that do not fit together.
class Scalar {
 public:
  friend Scalar operator+(Scalar a, Scalar b);
  friend Scalar operator-(Scalar a, Scalar b);
  friend Scalar operator*(Scalar a, Scalar b);
  friend Scalar operator/(Scalar a, Scalar b);
  friend Scalar operator-(Scalar x);
  friend Scalar operator==(Scalar a, Scalar b);
  friend Scalar operator!=(Scalar a, Scalar b);
  friend Scalar operator<(Scalar a, Scalar b);
  friend Scalar operator<=(Scalar a, Scalar b);
  friend Scalar operator>(Scalar a, Scalar b);
  friend Scalar operator>=(Scalar a, Scalar b);
  friend Scalar operator&(Scalar a, Scalar b);  ///< booleans
  friend Scalar operator|(Scalar a, Scalar b);
  friend Scalar operator!(Scalar x);
  friend Scalar min(Scalar a, Scalar b);  ///< NaN if either is
  friend Scalar max(Scalar a, Scalar b);
  friend Scalar fma(Scalar a, Scalar b, Scalar c);  ///< a b + c with one rounding
  friend Scalar select(Scalar condition, Scalar a, Scalar b);
  friend Scalar abs(Scalar x);
  friend Scalar sqrt(Scalar x);
  friend Scalar rsqrt(Scalar x);  ///< 1 / sqrt(x)
  friend Scalar exp(Scalar x);
  friend Scalar log(Scalar x);
  friend Scalar tanh(Scalar x);
  friend Scalar erf(Scalar x);
  friend Scalar sin(Scalar x);
  friend Scalar cos(Scalar x);
  friend Scalar floor(Scalar x);
  friend Scalar round(Scalar x);  ///< ties to even
  // Over the row (the last axis), in the order of the numerics contract; CustomForm::rows only.
  friend Scalar row_sum(Scalar x);
  friend Scalar row_max(Scalar x);
  friend Scalar row_min(Scalar x);
  friend Scalar row_mean(Scalar x);

  /// A constant.
  Scalar(double value) : value_(value) {}  // NOLINT: implicit, so that numbers mix with expressions
  /// For the library itself.
  struct Node {
    void* body = nullptr;
    int id = -1;
  };
  explicit Scalar(Node node) : node_(node) {}
  const Node& node() const { return node_; }
  double value() const { return value_; }

 private:
  Node node_;         // no body: the constant
  double value_ = 0;
};

/// What a kernel walks, and so the rule for the result's shape.
enum class CustomForm {
  elementwise,  ///< inputs broadcast as NumPy's; the result has their shape. Fused with its neighbours.
  rows,         ///< inputs broadcast to [..., n]; the body may reduce over the row. The result is [..., n]. One kernel.
  row_values,   ///< the same with one result per row: [..., 1]
};

struct CustomOpDefinition {
  /// Unique in the process; graphs name the op by it.
  std::string name;
  int inputs = 1;
  CustomForm form = CustomForm::elementwise;
  /// The value of one element of the result from those of the inputs. Called whenever the op is compiled: it must describe
  /// the same expression every time.
  std::function<Scalar(std::span<const Scalar>)> body;
  /// The same in terms of other ops: the reference, and what is differentiated unless `gradient` is given.
  std::function<Tensor(const std::vector<Tensor>&)> expand;
  /// Gradients of the inputs (undefined tensors: none) given inputs, result and the result's gradient, all of the result's
  /// dtype and the inputs as broadcast.
  std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs, const Tensor& result, const Tensor& gradient)> gradient = {};
};

class CustomOp {
 public:
  /// Registers the op for the rest of the process. Usage error for a name in use, no inputs, and missing functions.
  explicit CustomOp(CustomOpDefinition definition);
  /// Inputs are promoted to one floating-point dtype, which the result has; 16-bit ones are computed in f32 and rounded
  /// once.
  Tensor operator()(const std::vector<Tensor>& inputs, At at = At::current()) const;
  const CustomOpDefinition& definition() const { return *definition_; }

 private:
  std::shared_ptr<const CustomOpDefinition> definition_;
};

struct CustomOpCheck {
  double relative = 0, absolute = 0;  ///< allowed difference; 0: 1e-5 for f32, 1e-11 for f64, two roundings for 16 bits
  bool gradient = true;
};
/// Runs the op on `inputs`, eagerly and compiled, against its `expand`, and its gradient against that of `expand`.
/// Usage error naming the first element that differs, or the result whose shape or dtype does.
void check_custom_op(const CustomOp& op, const std::vector<Tensor>& inputs, CustomOpCheck check = {});

}  // namespace corten
