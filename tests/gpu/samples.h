// Tensors of made-up numbers and a small network, for programs that are run in two places.
#pragma once

#include <memory>

#include "corten/corten.h"
#include "corten/optim.h"

namespace corten::cuda::test {

inline Tensor numbers(Shape shape, uint64_t seed) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values.push_back(static_cast<float>(static_cast<int64_t>(seed >> 40)) / 8388608.0f - 1.0f);
  }
  return from_vector(values, std::move(shape));
}
inline Tensor tokens(Shape shape, uint64_t seed, int64_t vocabulary) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  std::vector<int64_t> values;
  for (int64_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values.push_back(static_cast<int64_t>((seed >> 33) % static_cast<uint64_t>(vocabulary)));
  }
  return from_vector(values, std::move(shape));
}

/// A small network with everything but attention: its results must have the CPU's bits.
struct Network {
  Tensor table = numbers({50, 24}, 1), w1 = numbers({40, 24}, 2), b1 = numbers({40}, 3),
         w2 = numbers({40, 10}, 4), gain = numbers({24}, 5), shift = numbers({24}, 6);
  std::vector<Tensor> parameters{table, w1, b1, w2, gain, shift};
  std::unique_ptr<optim::AdamW> optimizer;
  Network() {
    for (Tensor& p : parameters) p.set_requires_grad();
    optimizer =
        std::make_unique<optim::AdamW>(parameters, optim::AdamWOptions{.weight_decay = 0.1});
  }
  std::vector<Tensor> step(const std::vector<Tensor>& in) {
    const Tensor x = layer_norm(embedding(in[0], table), gain, shift);
    const Tensor loss =
        cross_entropy(matmul(gelu(linear(x, w1, b1)), w2).reshape({-1, 10}), in[1].reshape({-1}));
    loss.backward();
    const Tensor norm = optim::clip_grad_norm_(parameters, 1.0);
    optimizer->set_lr(in[2]);
    optimizer->step();
    optimizer->zero_grad();
    return {loss.detach(), norm};
  }
};

}  // namespace corten::cuda::test
