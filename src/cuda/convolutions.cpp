#include "cuda/convolutions.h"

#include "base/format.h"
#include "ops/convolution.h"
#include "passes/precision.h"

namespace corten::cuda {
namespace {

// Algorithms for tensor cores rearrange their operands, with channels filled up to some multiple.
constexpr int64_t kChannelUnit = 8;
// Beside such copies: indices, partial sums.
constexpr int64_t kWorkspaceBesideCopies = int64_t{8} << 20;

int64_t round_up(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit * unit;
}
int64_t max_workspace(const Convolution& c) {
  const int64_t per_group = round_up(c.channels / c.groups, kChannelUnit);
  const int64_t filters = round_up(c.filters / c.groups, kChannelUnit) * c.groups;
  const int64_t elements = c.images * per_group * c.groups * c.size[0] * c.size[1] +
                           filters * per_group * c.kernel[0] * c.kernel[1] +
                           c.images * filters * c.out[0] * c.out[1];
  const bool half = c.type == ProductType::bf16 || c.type == ProductType::f16;
  return elements * (half ? 2 : 4) + kWorkspaceBesideCopies;
}

bool widened(const ir::Graph& graph, ir::ValueRef r) {
  const ir::Node& n = graph.node(r);
  return n.op->name == "cast" && size_of(graph.type(n.inputs[0]).dtype) == 2 &&
         is_floating(graph.type(n.inputs[0]).dtype);
}

ProductType type_of(const ir::Graph& graph, const ir::Node& node) {
  const ir::Type& type = graph.type(node.inputs[0]);
  switch (type.dtype) {
    case DType::f32: {
      const bool exact = widened(graph, node.inputs[0]) && widened(graph, node.inputs[1]);
      return exact || passes::matmul_precision() != "highest" ? ProductType::tf32
                                                              : ProductType::f32;
    }
    case DType::bf16:
      return ProductType::bf16;
    case DType::f16:
      return ProductType::f16;
    default:
      usage_error("a convolution of {} on the GPU", to_string(type));
  }
}

}  // namespace

double PlannedConvolution::flops() const {
  return 2 * static_cast<double>(of.images) * static_cast<double>(of.filters) *
         static_cast<double>(of.channels / of.groups) *
         static_cast<double>(of.kernel[0] * of.kernel[1]) *
         static_cast<double>(of.out[0] * of.out[1]);
}
bool PlannedConvolution::empty() const {
  return flops() == 0;
}

std::optional<PlannedConvolution> planned_convolution(const ir::Graph& graph,
                                                      const ir::Node& node) {
  using Kind = Convolution::Kind;
  if (!node.op->name.starts_with("convolution")) return std::nullopt;
  PlannedConvolution out;
  Convolution& c = out.of;
  c.kind = node.op->name == "convolution"             ? Kind::forward
           : node.op->name == "convolution_data_grad" ? Kind::data_gradient
                                                      : Kind::weight_gradient;
  c.type = type_of(graph, node);
  const ir::Type &a = graph.type(node.inputs[0]), &b = graph.type(node.inputs[1]),
                 &made = node.types[0];
  if (node.inputs.size() != 2 || made.dtype != a.dtype)
    internal_error("[{}] of {} to {} was claimed for a GPU", node.op->name, to_string(a),
                   to_string(made));
  const ir::Type& x = c.kind == Kind::data_gradient ? made : a;
  const ir::Type& w = c.kind == Kind::weight_gradient ? made : b;
  const ir::Type& y = c.kind == Kind::forward ? made : c.kind == Kind::data_gradient ? a : b;
  const auto& attrs = ir::get<ops::ConvolutionAttrs>(node.attrs);
  c.images = x.dims[0];
  c.channels = x.dims[1];
  c.filters = w.dims[0];
  c.groups = attrs.groups;
  for (size_t d : {0u, 1u}) {
    c.size[d] = x.dims[2 + d];
    c.kernel[d] = w.dims[2 + d];
    c.out[d] = y.dims[2 + d];
    c.stride[d] = attrs.stride[d];
    c.padding[d] = attrs.padding[d];
    c.dilation[d] = attrs.dilation[d];
  }
  if (!out.empty()) out.max_workspace = max_workspace(c);
  return out;
}

}  // namespace corten::cuda
