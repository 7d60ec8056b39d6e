#include "models/layers/gated_mlp.h"

#include "models/layers/activation.h"

namespace corten::layers {

GatedMlp::GatedMlp(const DecoderConfig& c)
    : gate_proj_(c.hidden_size, c.intermediate_size, c.mlp_bias,
                 init::normal(0, c.initializer_range)),
      up_proj_(c.hidden_size, c.intermediate_size, c.mlp_bias,
               init::normal(0, c.initializer_range)),
      down_proj_(c.intermediate_size, c.hidden_size, c.mlp_bias,
                 init::normal(0, c.initializer_range)),
      act_fn_(make_activation(c.hidden_act)) {
  register_module("gate_proj", gate_proj_);
  register_module("up_proj", up_proj_);
  register_module("down_proj", down_proj_);
  register_module("act_fn", *act_fn_);
}

Tensor GatedMlp::forward(const Tensor& x_BTC) {
  Tensor x_BTF = (*act_fn_)(gate_proj_(x_BTC)) * up_proj_(x_BTC);
  return down_proj_(x_BTF);
}

}  // namespace corten::layers
