// Products with quantised weights: src/quant.
#include "ops/quantized.h"
#include "quant/quantized_product.h"
#include "runtime/library_step.h"

namespace corten::runtime {
namespace {

/// x [m, k], weight, scale, bias or not; y [m, n].
class QuantizedStep : public LibraryStep {
 public:
  QuantizedStep(const ir::Node& node, std::span<const LibraryOperand> in) : inputs_(in.size()) {
    const auto& attrs = ir::get<ops::QuantizedAttrs>(node.attrs);
    args_.shape = attrs.shape();
    args_.threshold = static_cast<float>(attrs.threshold);
    args_.m = in[0].type.dims[0];
    args_.x_dtype = in[0].type.dtype;
    args_.x_row_stride = in[0].layout.strides[0];
    args_.y_dtype = node.types[0].dtype;
    args_.y_row_stride = args_.shape.n;
    if (in.size() > 3) args_.bias_dtype = in[3].type.dtype;
    for (const LibraryOperand& operand : in)
      offsets_.push_back(operand.layout.offset * static_cast<int64_t>(size_of(operand.type.dtype)));
  }
  int64_t workspace_bytes(int threads) const override {
    return static_cast<int64_t>(quantized_workspace_bytes(args_, threads));
  }
  double flops() const override {
    return 2 * static_cast<double>(args_.m) * static_cast<double>(args_.shape.n) *
           static_cast<double>(args_.shape.k);
  }
  void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const override {
    QuantizedArgs g = args_;
    g.x = operands[0] + offsets_[0];
    g.weight = reinterpret_cast<const uint8_t*>(operands[1] + offsets_[1]);
    g.scale = operands[2] + offsets_[2];
    if (inputs_ > 3) g.bias = operands[3] + offsets_[3];
    g.y = operands[inputs_];
    quantized_product(g, workspace, pool);
  }

 private:
  QuantizedArgs args_;
  std::vector<int64_t> offsets_;  // bytes
  size_t inputs_;
};

}  // namespace

std::unique_ptr<LibraryStep> make_quantized_step(const ir::Node& node,
                                                 std::span<const LibraryOperand> inputs) {
  return std::make_unique<QuantizedStep>(node, inputs);
}

}  // namespace corten::runtime
