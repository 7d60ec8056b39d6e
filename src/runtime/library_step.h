// Steps that a kernel family computes whole: matrix products and whatever else claim hands out.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "base/thread_pool.h"
#include "codegen/cpu.h"
#include "ir/graph.h"

namespace corten::runtime {

/// An operand as a family sees it: its type, and where its elements lie from its address on.
struct LibraryOperand {
  ir::Type type;
  ir::Layout layout;
};

inline constexpr int kMaxTileOperands = 12;

/// A kernel that takes the tiles of a product while they are in cache (runtime/tile_kernels.h).
struct TileKernel {
  std::shared_ptr<const codegen::CpuKernel> kernel;
  ir::Launch launch;              // its items are the product's rows
  std::vector<int32_t> accesses;  // those of the product's result
  int32_t result = 0;             // the operand that is the product's result
  int32_t operands = 0;
  bool stored = true;             // the result is stored as a whole too
};

class LibraryStep {
 public:
  virtual ~LibraryStep() = default;
  /// Bytes of workspace for runs on pools of up to `threads` threads.
  virtual int64_t workspace_bytes(int threads) const = 0;
  /// Multiplications and additions of products, without padding and without what is computed twice.
  virtual double flops() const = 0;
  /// `operands`: addresses of the node's inputs, then of its results (contiguous; null if not stored), then of the operands of
  /// its tile kernel. Must not throw.
  virtual void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const = 0;
};

/// The step that executes a node of kind `library`; products may have a kernel that takes their tiles.
std::unique_ptr<LibraryStep> make_library_step(const ir::Node& node, std::span<const LibraryOperand> inputs,
                                               std::optional<TileKernel> tiles = {});
// Those of src/quant and src/attention.
std::unique_ptr<LibraryStep> make_quantized_step(const ir::Node& node, std::span<const LibraryOperand> inputs);
std::unique_ptr<LibraryStep> make_attention_step(const ir::Node& node, std::span<const LibraryOperand> inputs);
std::unique_ptr<LibraryStep> make_attention_grad_step(const ir::Node& node, std::span<const LibraryOperand> inputs);
// Those of src/convolution.
std::unique_ptr<LibraryStep> make_convolution_step(const ir::Node& node, std::span<const LibraryOperand> inputs);

}  // namespace corten::runtime
