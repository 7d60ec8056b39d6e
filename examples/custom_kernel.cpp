// A kernel of one's own: an element-wise gate and a norm over rows, checked, trained with, and compiled.
#include <iostream>

#include "corten/corten.h"

using namespace corten;

int main() {
  // SwiGLU's gate (Shazeer, 2020) as the value of one element. `expand` says the same in ops: it is the reference, and what
  // is differentiated.
  const CustomOp gate({
      .name = "gate",
      .inputs = 2,
      .body = [](std::span<const Scalar> x) { return x[0] / (1 + exp(-x[0])) * x[1]; },
      .expand = [](const std::vector<Tensor>& x) { return silu(x[0]) * x[1]; },
  });
  // A row form may reduce over the last axis. This one brings its gradient along:
  // y = x / |x|, dx = (g - y sum(g y)) / |x|.
  const CustomOp unit({
      .name = "unit",
      .form = CustomForm::rows,
      .body = [](std::span<const Scalar> x) { return x[0] * rsqrt(row_sum(x[0] * x[0]) + 1e-12); },
      .expand = [](const std::vector<Tensor>& x) { return x[0] * rsqrt(square(x[0]).sum({-1}, true) + 1e-12); },
      .gradient =
          [](const std::vector<Tensor>& x, const Tensor& y, const Tensor& g) {
            const Tensor inverse = rsqrt(square(x[0]).sum({-1}, true) + 1e-12);
            return std::vector<Tensor>{(g - y * (g * y).sum({-1}, true)) * inverse};
          },
  });

  // Bodies against references, gradients against those of the references; an Error says what differs.
  const Tensor x = normal_init({64, 16}, 0, 1, /*seed=*/1, "x");
  check_custom_op(gate, {x, normal_init({64, 16}, 0, 1, 1, "y")});
  check_custom_op(unit, {x});

  // In a compiled training step both are fused with what surrounds them.
  Tensor up = normal_init({16, 16}, 0, 0.3, 1, "up").set_requires_grad();
  Tensor to_gate = normal_init({16, 16}, 0, 0.3, 1, "gate").set_requires_grad();
  optim::AdamW optimizer(std::vector<Tensor>{up, to_gate}, {.lr = 1e-2});
  const Tensor target = unit({matmul(x, normal_init({16, 16}, 0, 1, 1, "teacher"))});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    const Tensor y = unit({gate({matmul(in[0], to_gate), matmul(in[0], up)})});
    const Tensor loss = square(y - in[1]).mean();
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss};
  });
  float first = 0, last = 0;
  for (int i = 0; i < 200; ++i) {
    last = step({x, target})[0].item<float>();
    if (i == 0) first = last;
  }
  std::cout << "loss " << first << " -> " << last << ", " << step.info().kernels << " kernels\n";
  return last < 0.5f * first ? 0 : 1;
}
