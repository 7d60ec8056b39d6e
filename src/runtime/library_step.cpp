#include "runtime/library_step.h"

#include <algorithm>

#include "base/format.h"
#include "gemm/gemm.h"

namespace corten::runtime {
namespace {

/// a, b, bias or not; c. As gemm_continue: a, b, sums; sums.
class GemmStep : public LibraryStep {
 public:
  GemmStep(const ir::Node& node, std::span<const LibraryOperand> in, std::optional<TileKernel> tiles)
      : tiles_(std::move(tiles)), inputs_(in.size()) {
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
    if (tiles_) take_tiles();
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
    g.c = operands[inputs_];
    Tiles tiles;
    if (tiles_) {
      tiles.kernel = &*tiles_;
      tiles.row_bytes = tile_stride_ * static_cast<int64_t>(size_of(g.c_dtype));
      tiles.element_bytes = static_cast<int64_t>(size_of(g.c_dtype));
      for (int32_t i = 0; i < tiles_->operands; ++i) tiles.operands[i] = operands[inputs_ + 1 + i];
      if (tiles_->stored) tiles.operands[tiles_->result] = static_cast<char*>(g.c);
      g.consumer = take_tile;
      g.consumer_context = &tiles;
    }
    gemm(g, workspace, pool);
  }

 private:
  /// What the kernel needs besides a tile.
  struct Tiles {
    const TileKernel* kernel;
    int64_t row_bytes, element_bytes;
    char* operands[kMaxTileOperands];
  };

  static void take_tile(void* context, const void* c, int64_t m0, int64_t n0, int64_t mn, int64_t nn) {
    const Tiles& tiles = *static_cast<const Tiles*>(context);
    const TileKernel& k = *tiles.kernel;
    void* pointers[kMaxTileOperands];
    std::copy_n(tiles.operands, k.operands, pointers);
    // Where element (0, 0) would be if the tile were all of the result: the kernel counts from there.
    if (!k.stored)
      pointers[k.result] = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(c) - static_cast<uintptr_t>(m0 * tiles.row_bytes) -
                                                   static_cast<uintptr_t>(n0 * tiles.element_bytes));
    k.kernel->run(k.launch, pointers, m0, m0 + mn, n0, n0 + nn, nullptr, nullptr);
  }

  /// Rows of a result that is not stored are as far apart as those of its tiles.
  void take_tiles() {
    CORTEN_CHECK(tiles_->operands <= kMaxTileOperands && tiles_->kernel->splittable_inner() &&
                 tiles_->kernel->scratch_bytes(tiles_->launch) == 0);
    args_.consumer = take_tile;
    if (tiles_->stored) return;
    tile_stride_ = gemm_tile_stride(args_);
    for (int32_t a : tiles_->accesses)
      for (int64_t& stride : tiles_->launch.accesses[a].strides) stride = stride / args_.n * tile_stride_;
  }

  GemmArgs args_;
  std::vector<int64_t> offsets_;  // bytes
  std::optional<TileKernel> tiles_;
  size_t inputs_;
  int64_t tile_stride_ = 0;  // elements
};

}  // namespace

std::unique_ptr<LibraryStep> make_library_step(const ir::Node& node, std::span<const LibraryOperand> inputs,
                                               std::optional<TileKernel> tiles) {
  if (node.op->name == "gemm" || node.op->name == "gemm_continue")
    return std::make_unique<GemmStep>(node, inputs, std::move(tiles));
  if (node.op->name == "attention") return make_attention_step(node, inputs);
  if (node.op->name == "attention_grad") return make_attention_grad_step(node, inputs);
  if (node.op->name.starts_with("convolution")) return make_convolution_step(node, inputs);
  if (node.op->name == "quantized_product") return make_quantized_step(node, inputs);
  internal_error("no kernel family executes [{}]", node.op->name);
}

}  // namespace corten::runtime
