// A module of one's own: parameters, submodules, initial values, hooks, saving and loading.
#include <iostream>

#include "corten/corten.h"
#include "corten/nn.h"

using namespace corten;

/// Gated linear unit with SiLU, the MLP of Shazeer (2020): (silu(x W_gate) * x W_up) W_down, scaled
/// by a learned number.
class GatedMlp : public nn::Module {
 public:
  GatedMlp(int64_t dim, int64_t hidden)
      : gate_(dim, hidden, /*with_bias=*/false),
        up_(dim, hidden, /*with_bias=*/false),
        down_(hidden, dim, /*with_bias=*/false),
        dropout_(0.1) {
    // Registered parts are found by name: in parameters(), state_dict(), train(), to_string(), ...
    register_module("gate", gate_);
    register_module("up", up_);
    register_module("down", down_);
    register_module("dropout", dropout_);
    register_parameter("scale", scale_, {}, init::constant(0.5));
  }

  Tensor forward(const Tensor& x) override {
    return dropout_(down_(silu(gate_(x)) * up_(x))) * scale_;
  }

 private:
  nn::Linear gate_, up_, down_;
  nn::Dropout dropout_;
  Tensor scale_;
};

int main() {
  nn::Sequential net;
  net.emplace<nn::Linear>(8, 16);
  net.emplace<GatedMlp>(16, 32);
  net.emplace<nn::Linear>(16, 1);
  net.initialize(/*seed=*/1);  // every value is a function of the seed and the parameter's name
  std::cout << net.to_string() << "\n" << net.num_parameters() << " parameters\n";

  // A hook on one part, found by its path.
  nn::Module& gate = net.get_submodule("1.gate");
  const int64_t hook = gate.register_forward_hook(
      [](nn::Module& module, const std::vector<Tensor>& inputs, Tensor& output) {
        std::cout << module.type_name() << ": " << inputs[0].size(-1) << " -> " << output.size(-1)
                  << " features, mean " << output.mean().item() << "\n";
      });

  manual_seed(2);
  Tensor x = randn({4, 8});
  Tensor loss = square(net(x)).mean();
  loss.backward();
  gate.remove_hook(hook);
  for (const auto& [name, parameter] : net.named_parameters())
    std::cout << name << ": largest gradient " << abs(parameter.grad()).amax().item() << "\n";

  // State goes from one module to another by name; what does not fit is listed.
  nn::Sequential copy;
  copy.emplace<nn::Linear>(8, 16);
  copy.emplace<GatedMlp>(16, 32);
  copy.emplace<nn::Linear>(16, 1);
  copy.load_state_dict(net.state_dict());
  net.eval(), copy.eval();
  std::cout << "copies agree: " << std::boolalpha
            << (net(x).to_vector<float>() == copy(x).to_vector<float>()) << "\n";
  try {
    nn::Linear(8, 16).load_state_dict(net.state_dict());
  } catch (const Error& error) {
    std::cout << "error: " << error.what() << "\n";
  }
}
