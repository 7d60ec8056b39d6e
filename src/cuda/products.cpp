#include "cuda/products.h"

#include <algorithm>

#include "base/format.h"
#include "passes/precision.h"

namespace corten::cuda {
namespace {

struct Matrix {
  bool transposed = false;
  int64_t leading = 0;
};

// How the last two dimensions lie: rows of neighbouring elements, or columns of them.
Matrix describe(const ir::Type& type, const ir::Layout& at, const char* which) {
  const size_t rank = type.dims.size();
  const int64_t rows = type.dims[rank - 2], columns = type.dims[rank - 1];
  const int64_t row = at.strides[rank - 2], column = at.strides[rank - 1];
  // The stride of a dimension of one element means nothing.
  if ((column == 1 || columns == 1) && (rows == 1 || row >= columns))
    return {false, rows == 1 ? columns : row};
  if ((row == 1 || rows == 1) && (columns == 1 || column >= rows))
    return {true, columns == 1 ? rows : column};
  usage_error(
      "a product cannot read its {} operand {} with strides {} and {} on the GPU: make it "
      "contiguous",
      which, to_string(type), row, column);
}

}  // namespace

namespace {

ProductType product_type(const ir::Type& type) {
  switch (type.dtype) {
    case DType::f32:
      return ProductType::f32;
    case DType::bf16:
      return ProductType::bf16;
    case DType::f16:
      return ProductType::f16;
    case DType::f64:
      return ProductType::f64;
    case DType::f8_e4m3:
      return ProductType::e4m3;
    case DType::f8_e5m2:
      return ProductType::e5m2;
    default:
      usage_error("a product of {} on the GPU", to_string(type));
  }
}

ProductCalls scaled_calls(const ir::Node& node, const ir::Type& a, const ir::Layout& a_at,
                          const ir::Type& b, const ir::Layout& b_at) {
  ProductCalls out;
  Product& p = out.product;
  p.type = product_type(a);
  p.type_b = product_type(b);
  p.type_c = product_type(node.types[0]);
  p.m = a.dims[0];
  p.k = a.dims[1];
  p.n = b.dims[0];
  p.transpose_b = true;
  p.lda = a_at.strides[0];
  p.ldb = b_at.strides[0];
  p.ldc = p.n;
  out.calls.push_back({a_at.offset, b_at.offset, 0, 1});
  return out;
}

}  // namespace

ProductCalls product_calls(const ir::Node& node, const ir::Type& a, const ir::Layout& a_at,
                           const ir::Type& b, const ir::Layout& b_at) {
  if (node.op->name == "scaled_matmul") return scaled_calls(node, a, a_at, b, b_at);
  const ir::Type& c = node.types[0];
  const size_t rank = a.dims.size();
  ProductCalls out;
  Product& p = out.product;
  const Matrix am = describe(a, a_at, "left"), bm = describe(b, b_at, "right");
  p.m = a.dims[rank - 2];
  p.k = a.dims[rank - 1];
  p.n = b.dims[rank - 1];
  p.transpose_a = am.transposed;
  p.transpose_b = bm.transposed;
  p.lda = am.leading;
  p.ldb = bm.leading;
  p.ldc = p.n;
  if (a.dtype != b.dtype)
    usage_error("a product of {} and {} on the GPU", to_string(a), to_string(b));
  p.type = product_type(a);
  // TF32 is what "high" means where the hardware has it.
  if (p.type == ProductType::f32 && passes::matmul_precision() == "high") p.type = ProductType::tf32;
  p.wide_result = c.dtype == DType::f32 && a.dtype != DType::f32;
  if (c.dtype != a.dtype && !p.wide_result)
    usage_error("a product of {} with a result of {} on the GPU", to_string(a), to_string(c));
  // The innermost batch dimensions that all operands walk with one stride are the library's batch.
  const ir::Dims cs = ir::contiguous_strides(c.dims);
  size_t inner = rank - 2;
  while (inner > 0) {
    const size_t d = inner - 1;
    if (inner == rank - 2) {
      p.batch = c.dims[d];
      p.stride_a = a_at.strides[d];
      p.stride_b = b_at.strides[d];
      p.stride_c = cs[d];
    } else if (c.dims[d] == 1) {
    } else if (p.batch == 1) {
      p.batch = c.dims[d];
      p.stride_a = a_at.strides[d];
      p.stride_b = b_at.strides[d];
      p.stride_c = cs[d];
    } else if (a_at.strides[d] == p.stride_a * p.batch && b_at.strides[d] == p.stride_b * p.batch) {
      p.batch *= c.dims[d];
    } else {
      break;
    }
    inner = d;
  }
  int64_t calls = 1;
  for (size_t d = 0; d < inner; ++d) calls *= c.dims[d];
  const auto a_size = static_cast<int64_t>(size_of(a.dtype)),
             c_size = static_cast<int64_t>(size_of(c.dtype));
  int64_t alignment = 16;
  for (int64_t i = 0; i < calls; ++i) {
    ProductCalls::Call call{a_at.offset, b_at.offset, 0, 1};
    int64_t rest = i;
    for (size_t d = inner; d-- > 0;) {
      const int64_t at = rest % c.dims[d];
      rest /= c.dims[d];
      call.a += at * a_at.strides[d];
      call.b += at * b_at.strides[d];
      call.c += at * cs[d];
    }
    call.a *= a_size;
    call.b *= a_size;
    call.c *= c_size;
    // Parts of one size, but for the last one.
    const int64_t batch = p.batch, parts = (batch + kMaxBatch - 1) / kMaxBatch;
    const int64_t part = parts > 1 ? (batch + parts - 1) / parts : batch;
    for (int64_t done = 0; done < std::max<int64_t>(batch, 1); done += std::max<int64_t>(part, 1)) {
      const ProductCalls::Call one{call.a + done * p.stride_a * a_size,
                                   call.b + done * p.stride_b * a_size,
                                   call.c + done * p.stride_c * c_size,
                                   std::min(part, batch - done)};
      while (one.a % alignment || one.b % alignment || one.c % alignment) alignment /= 2;
      out.calls.push_back(one);
    }
  }
  if (!out.calls.empty()) p.batch = out.calls[0].batch;
  p.alignment = static_cast<int>(alignment);
  return out;
}

}  // namespace corten::cuda
