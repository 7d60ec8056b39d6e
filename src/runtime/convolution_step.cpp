// Convolution and its gradients: src/convolution.
#include "convolution/convolution.h"

#include <algorithm>

#include "ops/convolution.h"
#include "runtime/library_step.h"

namespace corten::runtime {
namespace {

enum class Kind { forward, data_gradient, weight_gradient };

class ConvolutionStep : public LibraryStep {
 public:
  ConvolutionStep(const ir::Node& node, std::span<const LibraryOperand> in, Kind kind) : kind_(kind), inputs_(in.size()) {
    const auto& attrs = ir::get<ops::ConvolutionAttrs>(node.attrs);
    const ir::Dims& x = kind == Kind::data_gradient ? node.types[0].dims : in[0].type.dims;
    const ir::Dims& w = kind == Kind::weight_gradient ? node.types[0].dims : in[1].type.dims;
    const ir::Dims& y = kind == Kind::forward ? node.types[0].dims : in[kind == Kind::data_gradient ? 0 : 1].type.dims;
    a_.dtype = in[0].type.dtype;
    a_.images = x[0];
    a_.channels = x[1];
    a_.filters = w[0];
    a_.groups = attrs.groups;
    for (int d : {0, 1}) {
      a_.size[d] = x[2 + d];
      a_.kernel[d] = w[2 + d];
      a_.out[d] = y[2 + d];
      a_.stride[d] = attrs.stride[d];
      a_.padding[d] = attrs.padding[d];
      a_.dilation[d] = attrs.dilation[d];
    }
    if (kind != Kind::data_gradient) std::copy_n(in[0].layout.strides.begin(), 3, a_.x_stride);
    for (const LibraryOperand& operand : in)
      offsets_.push_back(operand.layout.offset * static_cast<int64_t>(size_of(operand.type.dtype)));
  }
  int64_t workspace_bytes(int threads) const override {
    switch (kind_) {
      case Kind::forward: return static_cast<int64_t>(convolution_workspace_bytes(a_, threads));
      case Kind::data_gradient: return static_cast<int64_t>(convolution_data_gradient_workspace_bytes(a_, threads));
      case Kind::weight_gradient: return static_cast<int64_t>(convolution_weight_gradient_workspace_bytes(a_, threads));
    }
    return 0;
  }
  double flops() const override { return a_.flops(); }
  void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const override {
    const auto at = [&](size_t i) { return operands[i] + offsets_[i]; };
    char* out = operands[inputs_];
    switch (kind_) {
      case Kind::forward: {
        const auto* bias = inputs_ > 2 ? reinterpret_cast<const float*>(at(2)) : nullptr;
        return convolution(a_, at(0), at(1), bias, out, workspace, pool);
      }
      case Kind::data_gradient: return convolution_data_gradient(a_, at(0), at(1), out, workspace, pool);
      case Kind::weight_gradient:
        return convolution_weight_gradient(a_, at(0), at(1), reinterpret_cast<float*>(out), workspace, pool);
    }
  }

 private:
  const Kind kind_;
  const size_t inputs_;
  ConvolutionArgs a_;
  std::vector<int64_t> offsets_;  // bytes
};

}  // namespace

std::unique_ptr<LibraryStep> make_convolution_step(const ir::Node& node, std::span<const LibraryOperand> inputs) {
  const Kind kind = node.op->name == "convolution"             ? Kind::forward
                    : node.op->name == "convolution_data_grad" ? Kind::data_gradient
                                                               : Kind::weight_gradient;
  return std::make_unique<ConvolutionStep>(node, inputs, kind);
}

}  // namespace corten::runtime
