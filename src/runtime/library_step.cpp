#include "runtime/library_step.h"

#include "base/format.h"
#include "gemm/gemm.h"

namespace corten::runtime {
namespace {

/// a, b, bias or not; c. As gemm_continue: a, b, sums; sums.
class GemmStep : public LibraryStep {
 public:
  GemmStep(const ir::Node& node, std::span<const LibraryOperand> in) {
    const ir::Type &a = in[0].type, &b = in[1].type, &c = node.types[0];
    const ir::Dims &as = in[0].layout.strides, &bs = in[1].layout.strides;
    const size_t rank = a.dims.size();
    args_.m = a.dims[rank - 2];
    args_.k = a.dims[rank - 1];
    args_.n = b.dims[rank - 1];
    args_.a_dtype = a.dtype;
    args_.b_dtype = b.dtype;
    args_.c_dtype = c.dtype;
    args_.a_as_bf16 = a.dtype == DType::f32 && b.dtype == DType::bf16;
    args_.b_as_bf16 = b.dtype == DType::f32 && a.dtype == DType::bf16;
    args_.a_row_stride = as[rank - 2];
    args_.a_col_stride = as[rank - 1];
    args_.b_row_stride = bs[rank - 2];
    args_.b_col_stride = bs[rank - 1];
    args_.c_row_stride = args_.n;
    const ir::Dims cs = ir::contiguous_strides(c.dims);
    for (size_t d = 0; d + 2 < rank; ++d) {
      const size_t place = 3 - (rank - 2) + d;
      args_.batch[place] = a.dims[d];
      args_.a_batch_stride[place] = as[d];
      args_.b_batch_stride[place] = bs[d];
      args_.c_batch_stride[place] = cs[d];
    }
    for (const LibraryOperand& operand : in)
      offsets_.push_back(operand.layout.offset * static_cast<int64_t>(size_of(operand.type.dtype)));
    args_.resume = node.op->in_place >= 0;
    if (in.size() > 2 && !args_.resume) args_.bias = this;  // its address is set at each run
  }
  int64_t workspace_bytes(int threads) const override {
    return static_cast<int64_t>(gemm_workspace_bytes(args_, threads));
  }
  double flops() const override {
    const auto batch = static_cast<double>(args_.batch[0] * args_.batch[1] * args_.batch[2]);
    return 2 * batch * static_cast<double>(args_.m) * static_cast<double>(args_.n) * static_cast<double>(args_.k);
  }
  void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const override {
    GemmArgs g = args_;
    g.a = operands[0] + offsets_[0];
    g.b = operands[1] + offsets_[1];
    if (g.bias) g.bias = operands[2] + offsets_[2];
    g.c = operands.back();
    gemm(g, workspace, pool);
  }

 private:
  GemmArgs args_;
  std::vector<int64_t> offsets_;  // bytes
};

}  // namespace

std::unique_ptr<LibraryStep> make_library_step(const ir::Node& node, std::span<const LibraryOperand> inputs) {
  if (node.op->name == "gemm" || node.op->name == "gemm_continue") return std::make_unique<GemmStep>(node, inputs);
  if (node.op->name == "attention") return make_attention_step(node, inputs);
  if (node.op->name == "attention_grad") return make_attention_grad_step(node, inputs);
  internal_error("no kernel family executes [{}]", node.op->name);
}

}  // namespace corten::runtime
