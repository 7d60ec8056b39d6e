// Rotary position embedding (Su et al., 2021): each pair of elements of a head is turned by an
// angle that grows with the position. Pairs are (i, i + D/2), as in transformers' checkpoints.
//
// How often a pair turns depends on RopeConfig::type:
//   default   theta^(-2i/D)
//   linear    the same divided by `factor` (Chen et al., 2023)
//   dynamic   beyond the trained length, theta grows with the length of the sequence ("NTK-aware")
//   yarn      between the two by wavelength, and longer keys and queries (Peng et al., 2023)
//   llama3    low frequencies divided by `factor`, smoothly (Llama 3.1)
#pragma once

#include <vector>

#include "corten/tensor.h"
#include "models/layers/rope_config.h"

namespace corten::layers {

/// The angles of the tokens of one call; f32 [1 or B, 1, T, D/2].
struct Rotation {
  Tensor cos, sin;
};

class RotaryEmbedding {
 public:
  RotaryEmbedding(const RopeConfig& config, int64_t head_size, int64_t max_positions);
  /// positions: i64 [1 or B, T]; `length` of the sequence, which matters to "dynamic" only.
  Rotation operator()(const Tensor& positions_BT, int64_t length) const;
  /// Turns per token of each pair, times 2 pi, for a sequence of `length` tokens: f32 [D/2].
  std::vector<float> frequencies(int64_t length) const;

 private:
  RopeConfig config_;
  int64_t head_size_, max_positions_;
  Tensor
      frequencies_;  ///< for lengths that the model was trained for; f32 whatever the weights are
};

/// x [B, H, T, D] turned, in x's dtype; computed in f32 and rounded once.
Tensor rotate(const Tensor& x_BHTD, const Rotation& rotation);

}  // namespace corten::layers
