// RMS norm (Zhang and Sennrich, 2019) whose factor is `offset` + weight: 0 for most models, 1 for
// Gemma, whose weights start from 0.
#pragma once

#include "corten/nn.h"

namespace corten::layers {

class RMSNorm : public nn::Module {
 public:
  RMSNorm(int64_t size, double eps, double offset) : eps_(eps), offset_(offset) {
    register_parameter("weight", weight, {size}, init::constant(1 - offset));
  }
  Tensor forward(const Tensor& x) override {
    return rms_norm(x, offset_ == 0 ? weight : weight.to(DType::f32) + offset_, eps_);
  }

  Tensor weight;

 private:
  double eps_, offset_;
};

}  // namespace corten::layers
