// Attention and its gradient: src/attention.
#include "attention/attention.h"

#include "attention/operands.h"
#include "runtime/library_step.h"

namespace corten::runtime {
namespace {

class AttentionStep : public LibraryStep {
 public:
  AttentionStep(const ir::Node& node, std::span<const LibraryOperand> in, bool gradient)
      : attrs_(ir::get<ops::AttentionAttrs>(node.attrs)), gradient_(gradient) {
    std::vector<ir::Type> types;
    std::vector<ir::Layout> layouts;
    for (const LibraryOperand& operand : in) {
      types.push_back(operand.type);
      layouts.push_back(operand.layout);
      offsets_.push_back(operand.layout.offset * static_cast<int64_t>(size_of(operand.type.dtype)));
    }
    offsets_.resize(in.size() + node.types.size());
    a_ = attention_args(node, types, layouts);
  }
  int64_t workspace_bytes(int threads) const override {
    return static_cast<int64_t>(gradient_ ? attention_gradient_workspace_bytes(a_, threads)
                                          : attention_workspace_bytes(a_, threads));
  }
  double flops() const override { return attention_flops(a_, gradient_); }
  void run(std::span<char* const> operands, char* workspace, ThreadPool& pool) const override {
    AttentionArgs a = a_;
    char* addresses[kMaxOperands];
    for (size_t i = 0; i < operands.size(); ++i) addresses[i] = operands[i] + offsets_[i];
    const DropoutState dropout = set_addresses(attrs_, {addresses, operands.size()}, a);
    if (dropout.seed) {
      a.seed = *static_cast<const int64_t*>(dropout.seed);
      a.step = *static_cast<const int64_t*>(dropout.step);
    }
    if (gradient_)
      attention_gradient(a, workspace, pool);
    else
      attention(a, workspace, pool);
  }

 private:
  static constexpr size_t kMaxOperands = 12;  // q, k, v, mask, seed, step, out, lse, g, dq, dk, dv
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
