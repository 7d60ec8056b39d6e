// Tensors as text, as PyTorch prints them.
#include <algorithm>
#include <cmath>
#include <ostream>

#include "base/format.h"
#include "corten/tensor.h"

namespace corten {
namespace {

constexpr int64_t kSummaryAbove = 1000, kEdge = 3, kLineWidth = 80;

/// Chooses one format for all numbers of a tensor.
class Numbers {
 public:
  Numbers(const std::vector<double>& values, DType dtype) : dtype_(dtype) {
    if (dtype == DType::boolean) return;
    if (is_floating(dtype)) {
      double low = INFINITY, high = 0;
      whole_ = true;
      for (double v : values) {
        if (!std::isfinite(v)) continue;
        if (v != 0) low = std::min(low, std::abs(v)), high = std::max(high, std::abs(v));
        whole_ &= v == std::floor(v);
      }
      scientific_ = high > 0 && (high / low > 1e3 || high > 1e8 || low < 1e-4);
      if (whole_ && high <= 1e8) scientific_ = false;
    }
    for (double v : values) width_ = std::max(width_, plain(v).size());
  }
  std::string operator()(double v) const { return format("{:>{}}", plain(v), width_); }

 private:
  std::string plain(double v) const {
    if (dtype_ == DType::boolean) return v != 0 ? " True" : "False";
    if (!is_floating(dtype_)) return format("{}", static_cast<int64_t>(v));
    if (std::isnan(v)) return "nan";
    if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
    if (scientific_) return format("{:.4e}", v);
    return whole_ ? format("{:.0f}.", v) : format("{:.4f}", v);
  }
  DType dtype_;
  bool whole_ = false, scientific_ = false;
  size_t width_ = 0;
};

std::string block(const std::vector<double>& v, const Shape& shape, size_t axis, int64_t at, const Numbers& number, bool summary, size_t indent) {
  if (axis == shape.size()) return number(v[at]);
  int64_t step = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) step *= shape[i];
  const bool last = axis + 1 == shape.size();
  std::string out = "[", line;
  size_t used = indent + 1;
  bool first = true;
  for (int64_t i = 0; i < shape[axis]; ++i) {
    const bool skip = summary && shape[axis] > 2 * kEdge && i == kEdge;
    std::string piece = skip ? "..." : block(v, shape, axis + 1, at + i * step, number, summary, indent + 1);
    if (skip) i = shape[axis] - kEdge - 1;
    if (!first) {
      out += ",";
      if (last && used + piece.size() + 2 <= static_cast<size_t>(kLineWidth)) {
        out += " ";
        used += piece.size() + 2;
      } else {
        out += std::string(last ? 1 : shape.size() - axis - 1, '\n') + std::string(indent + 1, ' ');
        used = indent + 1 + piece.size();
      }
    } else {
      used += piece.size();
    }
    first = false;
    out += piece;
  }
  return out + "]";
}

}  // namespace

std::string Tensor::to_string() const {
  if (!defined()) return "tensor(undefined)";
  std::vector<double> values = to_vector<double>();
  const bool summary = numel() > kSummaryAbove;
  std::vector<double> shown = values;
  Numbers number(shown, dtype());
  std::string text = "tensor(" + block(values, shape(), 0, 0, number, summary, 7);
  if (is_cuda()) text += format(", device='{}'", device().to_string());
  if (numel() == 0 && dim() > 1) text += format(", size=({})", fmt::join(shape(), ", "));
  if (dtype() != DType::f32 && dtype() != DType::i64 && dtype() != DType::boolean) text += format(", dtype={}", name(dtype()));
  if (requires_grad()) text += ", requires_grad=True";
  return text + ")";
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) { return out << tensor.to_string(); }

}  // namespace corten
