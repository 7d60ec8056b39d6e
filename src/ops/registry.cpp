// The registry: every op of Corten, one line each. A primitive added here needs a rule for everything in ops/define.h.
#include <unordered_map>

#include "ir/graph.h"

// clang-format off
#define CORTEN_OPS(X)                                                                     \
  /* element-wise */                                                                      \
  X(Add) X(Sub) X(Mul) X(Div) X(Rem) X(Minimum) X(Maximum)                                \
  X(Eq) X(Ne) X(Lt) X(Le) X(And) X(Or) X(Xor) X(Not) X(Where)                             \
  X(Copy) X(Neg) X(Abs) X(Sign) X(Sqrt) X(Rsqrt) X(Exp) X(Log) X(Tanh) X(Erf) X(Sin) X(Cos)       \
  X(Floor) X(Round) X(Cast) X(Philox) X(Uniform01)                                        \
  /* reductions */                                                                        \
  X(ReduceSum) X(ReduceMax) X(ReduceMin)                                                  \
  /* views, movement, indexing, constants */                                              \
  X(Reshape) X(Permute) X(Expand) X(Slice) X(Pad) X(Gather) X(ScatterAdd) X(ScatterSet)   \
  X(Full) X(Iota)                                                                         \
  /* products */                                                                          \
  X(MatMul) X(Gemm) X(GemmContinue) X(ScaledMatMul)                                                                             \
  /* composites */                                                                        \
  X(Linear) X(Float8Linear) X(Sigmoid) X(Relu) X(Silu) X(Gelu) X(GeluTanh)                                \
  X(Softmax) X(SoftmaxGrad) X(LogSoftmax) X(LayerNorm) X(LayerNormGrad) X(RmsNorm)        \
  X(Rotary) X(Embedding) X(CrossEntropy) X(CrossEntropyGrad)                              \
  X(RandomUniform) X(RandomNormal) X(Dropout) X(Attention) X(AttentionGrad)                \
  X(ClaimedAttention) X(ClaimedAttentionGrad)                                             \
  X(Conv2d) X(Conv2dDataGrad) X(Conv2dWeightGrad)                                         \
  X(ClaimedConvolution) X(ClaimedConvolutionDataGrad) X(ClaimedConvolutionWeightGrad)     \
  X(MaxPool2d) X(MaxPoolPlaces) X(AvgPool2d) X(AdaptiveAvgPool2d)                         \
  X(BatchNorm) X(BatchNormGrad) X(BatchNormInference)                                     \
  X(QuantizedLinear) X(ClaimedQuantizedLinear)                                            \
  X(AdamW) X(Sgd) X(GlobalNorm) X(DerivedVjp)                                              \
  /* definitions of users */                                                              \
  X(Custom) X(CustomPart)
// clang-format on

namespace corten::ops {
#define CORTEN_X(T) extern const ir::Op k##T;
CORTEN_OPS(CORTEN_X)
#undef CORTEN_X
}  // namespace corten::ops

namespace corten::ir {

std::span<const Op* const> all_ops() {
#define CORTEN_X(T) &ops::k##T,
  static const Op* const ops[] = {CORTEN_OPS(CORTEN_X)};
#undef CORTEN_X
  return ops;
}

const Op* find_op(std::string_view name) {
  static const auto* by_name = [] {
    auto* map = new std::unordered_map<std::string_view, const Op*>();
    for (const Op* op : all_ops()) map->emplace(op->name, op);
    return map;
  }();
  auto found = by_name->find(name);
  return found == by_name->end() ? nullptr : found->second;
}

}  // namespace corten::ir
