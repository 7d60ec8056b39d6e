// Attention and its gradient: src/attention.
#include "attention/attention.h"

#include <algorithm>

#include "ops/attention.h"
#include "runtime/library_step.h"

namespace corten::runtime {
namespace {

/// Batch axes of `dims` (all but the last two) end at place 2 of three.
void set_batch(const ir::Dims& dims, const ir::Dims& strides, int64_t (&out)[3], size_t inner) {
  const size_t batch = dims.size() - inner;
  for (size_t d = 0; d < batch; ++d) out[3 - batch + d] = dims[d] == 1 ? 0 : strides[d];
}

AttentionTensor tensor(const LibraryOperand& operand) {
  AttentionTensor t;
  const ir::Dims &dims = operand.type.dims, &strides = operand.layout.strides;
  set_batch(dims, strides, t.batch_stride, 2);
  t.row_stride = strides[dims.size() - 2];
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
  set_batch(type.dims, strides, t.batch_stride, 2);
  t.row_stride = strides[type.dims.size() - 2];
  return t;
}

class AttentionStep : public LibraryStep {
 public:
  AttentionStep(const ir::Node& node, std::span<const LibraryOperand> in, bool gradient)
      : attrs_(ir::get<ops::AttentionAttrs>(node.attrs)), gradient_(gradient) {
    const ir::Dims &q = in[0].type.dims, &k = in[1].type.dims;
    const size_t rank = q.size();
    a_.dtype = in[0].type.dtype;
    for (size_t d = 0; d + 2 < rank; ++d) a_.batch[3 - (rank - 2) + d] = q[d];
    a_.queries = q[rank - 2];
    a_.keys = k[rank - 2];
    a_.head_size = q[rank - 1];
    a_.scale = static_cast<float>(attrs_.scale);
    a_.causal = attrs_.causal;
    a_.p = static_cast<float>(attrs_.p);
    a_.site = attrs_.site;
    a_.q = tensor(in[0]);
    a_.k = tensor(in[1]);
    a_.v = tensor(in[2]);
    if (attrs_.masked) mask(in[3]);
    if (gradient) {
      a_.out = tensor(in[attrs_.operands()]);
      a_.g = tensor(in[attrs_.operands() + 2]);
      a_.dq = result(node.types[0]);
      a_.dk = result(node.types[1]);
      a_.dv = result(node.types[2]);
    } else {
      a_.out = result(node.types[0]);
    }
    for (const LibraryOperand& operand : in)
      offsets_.push_back(operand.layout.offset * static_cast<int64_t>(size_of(operand.type.dtype)));
    offsets_.resize(in.size() + node.types.size());
  }
  int64_t workspace_bytes(int threads) const override {
    return static_cast<int64_t>(gradient_ ? attention_gradient_workspace_bytes(a_, threads)
                                          : attention_workspace_bytes(a_, threads));
  }
  /// Two products, or four for the gradient; the weights that the gradient computes again do not count.
  double flops() const override {
    const auto heads = static_cast<double>(a_.batch[0] * a_.batch[1] * a_.batch[2]);
    return (gradient_ ? 8 : 4) * heads * static_cast<double>(a_.head_size) *
           attention_pairs(a_.queries, a_.keys, a_.causal);
  }
  void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const override {
    AttentionArgs a = a_;
    const auto at = [&](size_t i) { return operands[i] + offsets_[i]; };
    size_t next = 0;
    for (AttentionTensor* t : {&a.q, &a.k, &a.v}) t->data = at(next), ++next;
    if (attrs_.masked) a.mask = at(next), ++next;
    if (attrs_.p > 0) {
      a.seed = *reinterpret_cast<const int64_t*>(at(next));
      a.step = *reinterpret_cast<const int64_t*>(at(next + 1));
      next += 2;
    }
    a.out.data = at(next);
    a.lse = reinterpret_cast<float*>(at(next + 1));
    if (!gradient_) return attention(a, workspace, pool);
    a.g.data = at(next + 2);
    a.dq.data = at(next + 3);
    a.dk.data = at(next + 4);
    a.dv.data = at(next + 5);
    attention_gradient(a, workspace, pool);
  }

 private:
  /// A mask of fewer or smaller axes has stride 0 along those that it lacks.
  void mask(const LibraryOperand& operand) {
    const ir::Dims &dims = operand.type.dims, &strides = operand.layout.strides;
    int64_t full[5] = {0, 0, 0, 0, 0};
    for (size_t d = 0; d < dims.size(); ++d) full[5 - dims.size() + d] = dims[d] == 1 ? 0 : strides[d];
    std::copy_n(full, 3, a_.mask_batch_stride);
    a_.mask_dtype = operand.type.dtype;
    a_.mask_query_stride = full[3];
    a_.mask_key_stride = full[4];
    a_.mask = this;  // its address is set at each run
  }

  const ops::AttentionAttrs attrs_;
  const bool gradient_;
  AttentionArgs a_;
  std::vector<int64_t> offsets_;  // bytes
};

}  // namespace

std::unique_ptr<LibraryStep> make_attention_step(const ir::Node& node, std::span<const LibraryOperand> inputs) {
  return std::make_unique<AttentionStep>(node, inputs, false);
}
std::unique_ptr<LibraryStep> make_attention_grad_step(const ir::Node& node, std::span<const LibraryOperand> inputs) {
  return std::make_unique<AttentionStep>(node, inputs, true);
}

}  // namespace corten::runtime
