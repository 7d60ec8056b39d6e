// Convolution in two dimensions as torch.nn.functional.conv2d: a composite, its gradients and their claimed forms. The three
// are bilinear, and each one's gradient is made of the other two.
#include "ops/convolution.h"

#include <array>

#include "ops/define.h"

namespace corten::ops {

int64_t window_count(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

namespace {

using Convolution = ConvolutionAttrs;

Value conv(const Convolution& a, const Value& x, const Value& w, const Value& bias);
Value data_gradient(Convolution a, const Value& g, const Value& w, const Dims& x);
Value weight_gradient(Convolution a, const Value& x, const Value& g, const Type& w);

/// Places (k, o) of an axis where element k of the kernel stands for result o.
Value places(int64_t kernel, int64_t out, int64_t stride, int64_t dilation) {
  const Dims grid{kernel, out};
  return reshape(iota(grid, 0) * static_cast<double>(dilation) + iota(grid, 1) * static_cast<double>(stride), {kernel * out});
}
Dims without_images(const Dims& dims) { return {0, 0, dims[0], dims[1]}; }

/// [N, C, H, W] to [N, G, C / G * KH * KW, OH * OW]: the patch of every result as a column.
Value unfold(const Convolution& a, Value x, const Dims& kernel, const Dims& out) {
  const int64_t N = x.dims()[0], C = x.dims()[1];
  x = pad(x, without_images(a.padding), without_images(a.padding), 0);
  for (int64_t d : {0, 1}) x = index_select(x, 2 + d, places(kernel[d], out[d], a.stride[d], a.dilation[d]));
  x = permute(reshape(x, {N, C, kernel[0], out[0], kernel[1], out[1]}), {0, 1, 2, 4, 3, 5});
  return reshape(x, {N, a.groups, C / a.groups * kernel[0] * kernel[1], out[0] * out[1]});
}
/// The adjoint of unfold: sums columns into images of `size`.
Value fold(const Convolution& a, const Value& columns, int64_t channels, const Dims& size, const Dims& kernel, const Dims& out) {
  const int64_t N = columns.dims()[0], C = channels;
  Value x = permute(reshape(columns, {N, C, kernel[0], kernel[1], out[0], out[1]}), {0, 1, 2, 4, 3, 5});
  x = reshape(x, {N, C, kernel[0] * out[0], kernel[1] * out[1]});
  for (int64_t d : {1, 0}) {
    Dims dims = x.dims(), index_dims = x.dims(), line(4, 1);
    line[2 + d] = dims[2 + d];
    dims[2 + d] = size[d] + 2 * a.padding[d];
    Value index = expand(reshape(places(kernel[d], out[d], a.stride[d], a.dilation[d]), line), index_dims);
    x = scatter_add(full(dims, x.dtype(), 0), index, x, 2 + d);
  }
  return slice(x, without_images(a.padding), {N, C, size[0], size[1]});
}

Value by_group(const Convolution& a, const Value& w) {
  return reshape(w, {1, a.groups, w.dims()[0] / a.groups, w.dims()[1] * w.dims()[2] * w.dims()[3]});
}
Value results_by_group(const Convolution& a, const Value& g) {
  return reshape(g, {g.dims()[0], a.groups, g.dims()[1] / a.groups, g.dims()[2] * g.dims()[3]});
}
Dims kernel_of(const Value& w) { return {w.dims()[2], w.dims()[3]}; }
Dims size_of_image(const Value& x) { return {x.dims()[2], x.dims()[3]}; }
/// What the family in src/convolution computes.
bool claimable(const Value& x) { return compute_type(x.dtype()) == DType::f32; }

/// x, w, bias or not.
struct Conv2d : Composite {
  static constexpr auto name = "conv2d";
  static constexpr int arity = -1;
  using Attrs = Convolution;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims[1] = in[1].dims[0];
    for (int d : {2, 3})
      out.dims[d] = window_count(in[0].dims[d], in[1].dims[d], a.stride[d - 2], a.padding[d - 2], a.dilation[d - 2]);
    return {out};
  }
  static Values expand(const Attrs& a, const Values& in) {
    const Value& x = in[0];
    const Type out = infer(a, {x.type(), in[1].type()})[0];
    const DType wide = compute_type(x.dtype());
    Value w = by_group(a, cast(in[1], x.dtype()));
    Value y = matmul(w, unfold(a, x, kernel_of(in[1]), {out.dims[2], out.dims[3]}), in.size() > 2 ? wide : x.dtype());
    if (in.size() > 2) y = cast(y + ops::expand(reshape(cast(in[2], wide), {1, a.groups, w.dims()[2], 1}), y.dims()), x.dtype());
    return {reshape(y, out.dims)};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    const Value &x = v.inputs[0], &w = v.inputs[1], &g = v.grads[0];
    Values out(v.inputs.size());
    if (v.needed[0]) out[0] = data_gradient(a, g, w, x.dims());
    if (v.needed[1]) out[1] = weight_gradient(a, x, g, w.type());
    if (v.inputs.size() > 2 && v.needed[2]) out[2] = sum(cast(g, v.inputs[2].dtype()), {0, 2, 3}, false);
    return out;
  }
  static Values claim(const Attrs& a, const Values& in);
};

/// g, w: the gradient of images of attrs.size.
struct Conv2dDataGrad : Composite {
  static constexpr auto name = "conv2d_data_grad";
  static constexpr int arity = 2;
  using Attrs = Convolution;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims = {in[0].dims[0], in[1].dims[1] * a.groups, a.size[0], a.size[1]};
    return {out};
  }
  static Values expand(const Attrs& a, const Values& in) {
    const Value &g = in[0], &w = in[1];
    Value columns = matmul(transpose(by_group(a, cast(w, g.dtype())), -1, -2), results_by_group(a, g), compute_type(g.dtype()));
    return {cast(fold(a, columns, w.dims()[1] * a.groups, a.size, kernel_of(w), size_of_image(g)), g.dtype())};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    return {v.needed[0] ? conv(a, v.grads[0], v.inputs[1], Value()) : Value(),
            v.needed[1] ? weight_gradient(a, v.grads[0], v.inputs[0], v.inputs[1].type()) : Value()};
  }
  static Values claim(const Attrs& a, const Values& in);
};

/// x, g: the gradient of a kernel of attrs.size in attrs.out.
struct Conv2dWeightGrad : Composite {
  static constexpr auto name = "conv2d_weight_grad";
  static constexpr int arity = 2;
  using Attrs = Convolution;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) {
    Type out = in[0];
    out.dims = {in[1].dims[1], in[0].dims[1] / a.groups, a.size[0], a.size[1]};
    out.dtype = a.out;
    return {out};
  }
  static Values expand(const Attrs& a, const Values& in) {
    const Value &x = in[0], &g = in[1];
    Value patches = permute(unfold(a, x, a.size, size_of_image(g)), {1, 0, 3, 2}), results = permute(results_by_group(a, g), {1, 2, 0, 3});
    patches = reshape(patches, {a.groups, patches.dims()[1] * patches.dims()[2], patches.dims()[3]});
    results = reshape(results, {a.groups, results.dims()[1], patches.dims()[1]});
    Value dw = matmul(results, patches, compute_type(x.dtype()));
    return {cast(reshape(dw, infer(a, {x.type(), g.type()})[0].dims), a.out)};
  }
  static Values vjp(const Attrs& a, const Vjp& v) {
    return {v.needed[0] ? data_gradient(a, v.inputs[1], v.grads[0], v.inputs[0].dims()) : Value(),
            v.needed[1] ? conv(a, v.inputs[0], v.grads[0], Value()) : Value()};
  }
  static Values claim(const Attrs& a, const Values& in);
};

/// A claimed form: the composite's definition, of operands in one dtype. x may have any strides but that of its last axis.
template <typename Of, bool of_images>
struct Claimed {
  static constexpr OpKind kind = OpKind::library;
  static constexpr int arity = Of::arity;
  static constexpr bool no_gradient = true;
  using Attrs = Convolution;
  static std::vector<Type> infer(const Attrs& a, const std::vector<Type>& in) { return Of::infer(a, in); }
  static Values expand(const Attrs& a, const Values& in) { return Of::expand(a, in); }
  static bool accepts(const Attrs&, size_t index, const Dims& dims, const ir::Layout& layout) {
    if (of_images && index == 0) return dims.back() == 1 || layout.strides.back() == 1;
    return ir::is_contiguous(layout, dims);
  }
};
struct ClaimedConvolution : Claimed<Conv2d, true> { static constexpr auto name = "convolution"; };
struct ClaimedConvolutionDataGrad : Claimed<Conv2dDataGrad, false> { static constexpr auto name = "convolution_data_grad"; };
struct ClaimedConvolutionWeightGrad : Claimed<Conv2dWeightGrad, true> { static constexpr auto name = "convolution_weight_grad"; };

}  // namespace

CORTEN_OP(Conv2d) CORTEN_OP(Conv2dDataGrad) CORTEN_OP(Conv2dWeightGrad)
CORTEN_OP(ClaimedConvolution) CORTEN_OP(ClaimedConvolutionDataGrad) CORTEN_OP(ClaimedConvolutionWeightGrad)

namespace {

Values Conv2d::claim(const Attrs& a, const Values& in) {
  if (!claimable(in[0])) return {};
  Values operands{in[0], cast(in[1], in[0].dtype())};
  if (in.size() > 2) operands.push_back(cast(in[2], DType::f32));
  return {emit1(kClaimedConvolution, operands, a)};
}
Values Conv2dDataGrad::claim(const Attrs& a, const Values& in) {
  if (!claimable(in[0])) return {};
  return {emit1(kClaimedConvolutionDataGrad, {in[0], cast(in[1], in[0].dtype())}, a)};
}
Values Conv2dWeightGrad::claim(const Attrs& a, const Values& in) {
  if (!claimable(in[0])) return {};
  Attrs wide = a;
  wide.out = DType::f32;
  return {cast(emit1(kClaimedConvolutionWeightGrad, in, wide), a.out)};
}

Value conv(const Convolution& a, const Value& x, const Value& w, const Value& bias) {
  Convolution attrs = a;
  attrs.size = {};
  attrs.out = DType::f32;
  return emit1(kConv2d, bias ? Values{x, w, bias} : Values{x, w}, attrs);
}
Value data_gradient(Convolution a, const Value& g, const Value& w, const Dims& x) {
  a.size = {x[2], x[3]};
  a.out = DType::f32;
  return emit1(kConv2dDataGrad, {g, w}, a);
}
Value weight_gradient(Convolution a, const Value& x, const Value& g, const Type& w) {
  a.size = {w.dims[2], w.dims[3]};
  a.out = w.dtype;
  return emit1(kConv2dWeightGrad, {x, cast(g, x.dtype())}, a);
}

}  // namespace

Value conv2d(Value x, Value w, Value bias, Dims stride, Dims padding, Dims dilation, int64_t groups) {
  const auto all = [](const Dims& dims, int64_t least) {
    return dims.size() == 2 && dims[0] >= least && dims[1] >= least && dims[0] <= 1 << 30 && dims[1] <= 1 << 30;
  };
  if (!all(stride, 1) || !all(padding, 0) || !all(dilation, 1))
    usage_error("[conv2d] stride {}, padding {} and dilation {} must be pairs of at least 1, 0 and 1", ir::to_string(stride),
                ir::to_string(padding), ir::to_string(dilation));
  const bool fits = x.rank() == 4 && w.rank() == 4 && is_floating(x.dtype()) && is_floating(w.dtype()) && groups >= 1 &&
                    ir::product(w.dims()) > 0 && w.dims()[0] % groups == 0 && x.dims()[1] == w.dims()[1] * groups &&
                    (!bias || bias.dims() == Dims{w.dims()[0]});
  if (!fits)
    usage_error("[conv2d] input {} (images, channels, rows, columns), weight {}, bias {} and {} groups do not fit", to_string(x.type()),
                to_string(w.type()), bias ? to_string(bias.type()) : "none", groups);
  for (int d : {0, 1})
    if (window_count(x.dims()[2 + d], w.dims()[2 + d], stride[d], padding[d], dilation[d]) < 1)
      usage_error("[conv2d] the kernel of {} with dilation {} is larger than the input {} with padding {}", to_string(w.type()),
                  ir::to_string(dilation), to_string(x.type()), ir::to_string(padding));
  return conv({std::move(stride), std::move(padding), std::move(dilation), groups, {}, DType::f32}, x, w, bias);
}

}  // namespace corten::ops
