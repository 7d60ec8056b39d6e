// The gated feed-forward layer (Shazeer, 2020): down(act(gate x) * up x); SwiGLU with SiLU, GeGLU
// with GELU.
#pragma once

#include "corten/nn.h"
#include "models/layers/decoder_config.h"

namespace corten::layers {

class GatedMlp : public nn::Module {
 public:
  explicit GatedMlp(const DecoderConfig& config);
  Tensor forward(const Tensor& x_BTC) override;
  std::string type_name() const override { return "MLP"; }

 private:
  nn::Linear gate_proj_, up_proj_, down_proj_;
  std::unique_ptr<nn::Module> act_fn_;
};

}  // namespace corten::layers
