#include "attention/operands.h"

#include <algorithm>

namespace corten {
namespace {

/// Batch axes of `dims` (all but the last two) end at place 2 of three.
void set_batch(const ir::Dims& dims, const ir::Dims& strides, int64_t (&out)[3]) {
  const size_t batch = dims.size() - 2;
  for (size_t d = 0; d < batch; ++d) out[3 - batch + d] = dims[d] == 1 ? 0 : strides[d];
}

AttentionTensor tensor(const ir::Type& type, const ir::Layout& layout) {
  AttentionTensor t;
  set_batch(type.dims, layout.strides, t.batch_stride);
  t.row_stride = layout.strides[type.dims.size() - 2];
  return t;
}

/// A result: contiguous, with the heads of a token side by side if it has four axes.
AttentionTensor result(const ir::Type& type) {
  const ir::Dims strides = ir::contiguous_strides(type.dims);
  AttentionTensor t;
  if (type.dims.size() == 4) {
    t.batch_stride[1] = strides[0];
    t.batch_stride[2] = strides[2];
    t.row_stride = strides[1];
    return t;
  }
  set_batch(type.dims, strides, t.batch_stride);
  t.row_stride = strides[type.dims.size() - 2];
  return t;
}

/// A mask of fewer or smaller axes has stride 0 along those that it lacks.
void set_mask(const ir::Type& type, const ir::Layout& layout, AttentionArgs& a) {
  const ir::Dims &dims = type.dims, &strides = layout.strides;
  int64_t full[5] = {0, 0, 0, 0, 0};
  for (size_t d = 0; d < dims.size(); ++d) full[5 - dims.size() + d] = dims[d] == 1 ? 0 : strides[d];
  std::copy_n(full, 3, a.mask_batch_stride);
  a.mask_dtype = type.dtype;
  a.mask_query_stride = full[3];
  a.mask_key_stride = full[4];
  a.mask = &a;  // its address is set at each run
}

}  // namespace

AttentionArgs attention_args(const ir::Node& node, std::span<const ir::Type> types, std::span<const ir::Layout> layouts) {
  const auto& attrs = ir::get<ops::AttentionAttrs>(node.attrs);
  const ir::Dims &q = types[0].dims, &k = types[1].dims;
  const size_t rank = q.size();
  AttentionArgs a;
  a.dtype = types[0].dtype;
  for (size_t d = 0; d + 2 < rank; ++d) a.batch[3 - (rank - 2) + d] = q[d];
  a.queries = q[rank - 2];
  a.keys = k[rank - 2];
  a.head_size = q[rank - 1];
  a.scale = static_cast<float>(attrs.scale);
  a.causal = attrs.causal;
  a.p = static_cast<float>(attrs.p);
  a.site = attrs.site;
  a.q = tensor(types[0], layouts[0]);
  a.k = tensor(types[1], layouts[1]);
  a.v = tensor(types[2], layouts[2]);
  if (attrs.masked) set_mask(types[3], layouts[3], a);
  if (node.types.size() == 3) {  // the gradient
    const size_t at = attrs.operands();
    a.out = tensor(types[at], layouts[at]);
    a.g = tensor(types[at + 2], layouts[at + 2]);
    a.dq = result(node.types[0]);
    a.dk = result(node.types[1]);
    a.dv = result(node.types[2]);
  } else {
    a.out = result(node.types[0]);
  }
  return a;
}

DropoutState set_addresses(const ops::AttentionAttrs& attrs, std::span<char* const> addresses, AttentionArgs& a) {
  DropoutState state;
  size_t next = 0;
  for (AttentionTensor* t : {&a.q, &a.k, &a.v}) t->data = addresses[next++];
  if (attrs.masked) a.mask = addresses[next++];
  if (attrs.p > 0) {
    state.seed = addresses[next++];
    state.step = addresses[next++];
  }
  a.out.data = addresses[next++];
  a.lse = reinterpret_cast<float*>(addresses[next++]);
  if (next == addresses.size()) return state;
  for (AttentionTensor* t : {&a.g, &a.dq, &a.dk, &a.dv}) t->data = addresses[next++];
  return state;
}

}  // namespace corten
