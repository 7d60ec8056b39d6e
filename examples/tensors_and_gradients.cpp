// Tensors, views and gradients in five minutes.
#include <iostream>

#include "corten/corten.h"

using namespace corten;

int main() {
  // Tensors are handles to storage; operations are functions that broadcast as NumPy's do.
  Tensor a = tensor({{1.0, 2.0, 3.0}, {4.0, 5.0, 6.0}});  // f32 [2, 3]
  Tensor b = tensor({10.0, 20.0, 30.0});                  // f32 [3]
  std::cout << "a + b =\n" << a + b << "\n";
  std::cout << "softmax over the last axis =\n" << softmax(a, -1) << "\n";

  // Views share storage: what is written through one is seen by all.
  Tensor first_column = a.select(1, 0);
  first_column.zero_();
  std::cout << "a after zeroing a view of its first column =\n" << a << "\n";

  // Leaves that require grad collect gradients: d/dx sum(x^2 y) = 2 x y.
  Tensor x = tensor({1.0, 2.0, 3.0}).set_requires_grad();
  Tensor y = tensor({4.0, 5.0, 6.0});
  Tensor z = sum(square(x) * y);
  z.backward();
  std::cout << "z = " << z.item() << ", dz/dx = " << x.grad() << "\n";

  // Gradients of gradients: d2/dx2 = 2 y.
  Tensor first = grad({sum(square(x) * y)}, {x}, {}, /*create_graph=*/true)[0];
  Tensor second = grad({sum(first)}, {x})[0];
  std::cout << "d2z/dx2 = " << second << "\n";

  // The same function as one compiled program, with the same bits.
  CompiledFunction program = compile([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{softmax(in[0] * in[0] + in[1], -1)};
  });
  std::cout << "compiled =\n" << program({a, b})[0] << "\n";

  // Errors say what does not fit.
  try {
    matmul(a, y.reshape({1, 3}));
  } catch (const Error& error) {
    std::cout << "error: " << error.what() << "\n";
  }
}
