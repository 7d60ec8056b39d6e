#include "block_eval.h"

#include <cmath>
#include <cstring>

#include "base/format.h"

// The machine must have what Corten needs anyway; these loops must not contract and may assume that
// floats do not trap.
#pragma GCC target("avx2,fma")
#pragma GCC optimize("O3,no-trapping-math,no-math-errno")

namespace corten::test {

using ir::ScalarNode;
using ir::ScalarOp;

namespace {

using Bits = const uint32_t* __restrict;

float as_float(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}
uint32_t as_bits(float value) {
  return __builtin_bit_cast(uint32_t, value);
}

#define LOOP(expression)                                    \
  do {                                                      \
    for (int i = 0; i < kBlock; ++i) out[i] = (expression); \
    return;                                                 \
  } while (0)
#define FA as_float(a[i])
#define FB as_float(b[i])
#define FC as_float(c[i])
#define IA static_cast<int32_t>(a[i])
#define IB static_cast<int32_t>(b[i])

void evaluate(const ScalarNode& n, DType arg, Bits a, Bits b, Bits c, uint32_t* __restrict out) {
  const bool floats = arg == DType::f32;
  switch (n.op) {
    case ScalarOp::constant: {
      const auto bits = static_cast<uint32_t>(n.imm);
      LOOP(bits);
    }
    case ScalarOp::add:
      if (floats) LOOP(as_bits(FA + FB));
      LOOP(a[i] + b[i]);
    case ScalarOp::sub:
      if (floats) LOOP(as_bits(FA - FB));
      LOOP(a[i] - b[i]);
    case ScalarOp::mul:
      if (floats) LOOP(as_bits(FA * FB));
      LOOP(a[i] * b[i]);
    case ScalarOp::div:
      LOOP(as_bits(FA / FB));
    case ScalarOp::fma:
      LOOP(as_bits(__builtin_fmaf(FA, FB, FC)));
    case ScalarOp::neg:
      LOOP(a[i] ^ 0x80000000u);
    case ScalarOp::abs:
      LOOP(a[i] & 0x7fffffffu);
    case ScalarOp::sqrt:
      LOOP(as_bits(__builtin_sqrtf(FA)));
    case ScalarOp::scale:  // exact in double, then rounded once
      LOOP(as_bits(static_cast<float>(
          FA * std::bit_cast<double>(static_cast<uint64_t>(1023 + (FB == FB ? static_cast<int>(FB) : 0)) << 52))));
    case ScalarOp::eq:
      if (floats) LOOP(FA == FB);
      LOOP(a[i] == b[i]);
    case ScalarOp::ne:
      if (floats) LOOP(FA != FB);
      LOOP(a[i] != b[i]);
    case ScalarOp::lt:
      if (floats) LOOP(FA < FB);
      LOOP(IA < IB);
    case ScalarOp::le:
      if (floats) LOOP(FA <= FB);
      LOOP(IA <= IB);
    case ScalarOp::and_:
      LOOP(a[i] & b[i]);
    case ScalarOp::or_:
      LOOP(a[i] | b[i]);
    case ScalarOp::xor_:
      LOOP(a[i] ^ b[i]);
    case ScalarOp::shl:
      LOOP(a[i] << (b[i] & 31));
    case ScalarOp::lshr:
      LOOP(a[i] >> (b[i] & 31));
    case ScalarOp::ashr:
      LOOP(static_cast<uint32_t>(IA >> (b[i] & 31)));
    case ScalarOp::umulhi:
      LOOP(static_cast<uint32_t>(static_cast<uint64_t>(a[i]) * b[i] >> 32));
    case ScalarOp::select:
      LOOP(a[i] ? b[i] : c[i]);
    case ScalarOp::bitcast:
      LOOP(a[i]);
    case ScalarOp::convert:
      if (arg == DType::i32 && n.type == DType::f32) LOOP(as_bits(static_cast<float>(IA)));
      [[fallthrough]];
    default:
      internal_error("the block evaluator does not know {} of {}", name(n.op),
                     corten::name(n.type));
  }
}

}  // namespace

BlockEvaluator::BlockEvaluator(const ir::Body& body, int32_t root)
    : body_(body), root_(root), values_(body.nodes().size(), std::vector<uint32_t>(kBlock)) {}

const uint32_t* BlockEvaluator::run(const uint32_t* bits) {
  for (size_t id = 0; id < values_.size(); ++id) {
    const ScalarNode& n = body_.nodes()[id];
    if (n.op == ScalarOp::param) {
      std::memcpy(values_[id].data(), bits, kBlock * sizeof *bits);
      continue;
    }
    const auto arg = [&](int i) { return n.arg[i] >= 0 ? values_[n.arg[i]].data() : nullptr; };
    const DType type = n.arg[0] >= 0 ? body_.node(n.arg[0]).type : n.type;
    evaluate(n, type, arg(0), arg(1), arg(2), values_[id].data());
  }
  return values_[root_].data();
}

}  // namespace corten::test
