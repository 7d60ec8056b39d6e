#include "passes/place.h"

#include "ops/view_layout.h"

namespace corten::passes {

bool Places::add(const ir::Graph& graph, int32_t i) {
  const ir::Node& n = graph.nodes()[i];
  places_.resize(std::max<size_t>(places_.size(), i + 1));
  std::vector<Place>& out = places_[i];
  out.clear();
  if (n.op->kind == ir::OpKind::view) {
    const Place& source = (*this)[n.inputs[0]];
    auto layout = ops::view_layout(*n.op, n.attrs, graph.type(n.inputs[0]).dims, source.layout);
    if (!layout) return false;
    out.push_back({source.root, *layout});
    return true;
  }
  if (n.op->in_place >= 0) {
    out.push_back((*this)[n.inputs[n.op->in_place]]);
    return true;
  }
  for (size_t k = 0; k < n.types.size(); ++k)
    out.push_back({{i, static_cast<int32_t>(k)}, {0, ir::contiguous_strides(n.types[k].dims)}});
  if (n.op == &ir::kInputOp) {
    if (auto& layout = graph.input_layouts()[ir::get<ir::InputAttrs>(n.attrs).index]) out[0].layout = *layout;
  } else if (n.op == &ir::kConstantOp) {
    out[0].layout = graph.constants()[ir::get<ir::ConstantAttrs>(n.attrs).index]->layout;
  } else if (n.op->kind == ir::OpKind::full) {
    out[0].layout.strides.assign(n.types[0].dims.size(), 0);
  }
  return true;
}

std::optional<ir::Layout> compose(const ir::Dims& dims, const ir::Layout& outer, const ir::Dims& mid, const ir::Layout& inner) {
  const size_t rank = mid.size();
  ir::Dims step = ir::contiguous_strides(mid), reach(rank, 0);
  ir::Layout out{inner.offset, ir::Dims(dims.size(), 0)};
  // The start of the view as a point of mid.
  int64_t rest = outer.offset;
  for (size_t j = 0; j < rank; ++j) {
    int64_t at = rest / step[j];
    rest %= step[j];
    reach[j] = at;
    out.offset += at * inner.strides[j];
  }
  for (size_t d = 0; d < dims.size(); ++d) {
    int64_t stride = outer.strides[d];
    if (dims[d] <= 1 || stride == 0) continue;
    size_t j = 0;  // the axis of mid that this dimension walks
    while (j < rank && !(mid[j] > 1 && stride >= step[j] && stride < step[j] * mid[j])) ++j;
    if (j == rank || stride % step[j]) return std::nullopt;
    int64_t factor = stride / step[j], far = reach[j] + factor * (dims[d] - 1);
    out.strides[d] = inner.strides[j] * factor;
    if (far < mid[j]) {
      reach[j] = far;
      continue;
    }
    // It walks on into the axes above j: fine where those are one axis for the operand too.
    if (reach[j] != 0 || mid[j] % factor) return std::nullopt;
    int64_t covered = mid[j] / factor;
    for (size_t i = j; covered < dims[d]; --i) {
      if (i == 0 || reach[i - 1] != 0) return std::nullopt;
      if (mid[i - 1] == 1) continue;
      size_t below = i;  // nearest axis below with more than one element
      while (mid[below] == 1) ++below;
      if (inner.strides[i - 1] != inner.strides[below] * mid[below]) return std::nullopt;
      if (dims[d] % covered) return std::nullopt;
      int64_t take = std::min(dims[d] / covered, mid[i - 1]);
      reach[i - 1] = take - 1;
      covered *= take;
    }
    reach[j] = mid[j] - 1;
  }
  return out;
}

}  // namespace corten::passes
