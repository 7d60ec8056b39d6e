#include "models/vit/interpolate.h"

#include "corten/amp.h"
#include "corten/ops.h"

namespace corten::vit {
namespace {

/// Weights [to, from] of what each sample is made of, in f32.
Tensor sampling_matrix(int64_t from, int64_t to) {
  constexpr double a = -0.75;
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const Tensor place = ((arange(to).to(DType::f32) + 0.5) * scale - 0.5).reshape({to, 1});
  const Tensor below = floor(place), grid = arange(from).to(DType::f32).reshape({1, from});
  Tensor out;
  for (double k : {-1.0, 0.0, 1.0, 2.0}) {
    const Tensor neighbour = below + k, d = abs(place - neighbour);
    const bool near = k == 0 || k == 1;  // by at most one patch
    const Tensor weight = near ? ((a + 2) * d - (a + 3)) * d * d + 1.0
                               : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    const Tensor index =
        minimum(maximum(neighbour, scalar(0)), scalar(static_cast<double>(from - 1)));
    const Tensor part = where(index == grid, weight, zeros_like(weight));
    out = out.defined() ? out + part : part;
  }
  return out;
}

}  // namespace

Tensor interpolate_positions(const Tensor& positions, std::array<int64_t, 2> from,
                             std::array<int64_t, 2> to) {
  if (from == to) return positions;
  const Autocast exact(DType::f32, false);
  const auto [h, w] = from;
  const auto [H, W] = to;
  const int64_t C = positions.size(2);
  const Tensor grid_hC = positions.slice(1, 1, 1 + h * w).to(DType::f32).reshape({h, w * C});
  const Tensor rows_HwC = matmul(sampling_matrix(h, H), grid_hC).reshape({H, w, C});
  const Tensor both_HWC = matmul(sampling_matrix(w, W).expand({H, W, w}), rows_HwC);
  const Tensor patches = both_HWC.reshape({1, H * W, C}).to(positions.dtype());
  return concat({positions.slice(1, 0, 1), patches}, 1);
}

}  // namespace corten::vit
