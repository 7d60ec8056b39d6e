#include "ir/scalar.h"

#include <array>
#include <bit>
#include <cmath>
#include <string_view>

#include "base/format.h"

namespace corten::ir {
namespace {

struct OpInfo {
  std::string_view name;
  int arity;
};
constexpr auto kOps = std::to_array<OpInfo>({
#define CORTEN_X(op_name, arity) {#op_name, arity},
    CORTEN_SCALAR_OPS(CORTEN_X)
#undef CORTEN_X
});

bool is_integer(DType t) {
  return t == DType::i64 || t == DType::i32;
}
bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64;
}
bool is_number(DType t) {
  return is_integer(t) || is_float(t);
}

// Whether a node's types are legal; `t` and `a` are the types of the node and of its arguments.
bool well_typed(ScalarOp op, DType t, const DType (&a)[3]) {
  switch (op) {
    case ScalarOp::constant:
    case ScalarOp::param:
      return scalar_type(t) == t;
    case ScalarOp::load:
      return scalar_type(t) == t && a[0] == t;
    case ScalarOp::index:
      return t == DType::i64;
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::div:
    case ScalarOp::min:
    case ScalarOp::max:
      return is_number(t) && a[0] == t && a[1] == t;
    case ScalarOp::reduce_sum:
    case ScalarOp::reduce_max:
    case ScalarOp::reduce_min:
    case ScalarOp::neg:
    case ScalarOp::abs:
      return is_number(t) && a[0] == t;
    case ScalarOp::fma:
      return is_float(t) && a[0] == t && a[1] == t && a[2] == t;
    case ScalarOp::sqrt:
    case ScalarOp::floor:
    case ScalarOp::rint:
    case ScalarOp::exp:
    case ScalarOp::log:
    case ScalarOp::tanh:
    case ScalarOp::erf:
    case ScalarOp::sin:
    case ScalarOp::cos:
    case ScalarOp::rsqrt:
      return is_float(t) && a[0] == t;
    case ScalarOp::rem:
    case ScalarOp::shl:
    case ScalarOp::lshr:
    case ScalarOp::ashr:
      return is_integer(t) && a[0] == t && a[1] == t;
    case ScalarOp::eq:
    case ScalarOp::ne:
    case ScalarOp::lt:
    case ScalarOp::le:
      return t == DType::boolean && a[0] == a[1];
    case ScalarOp::and_:
    case ScalarOp::or_:
    case ScalarOp::xor_:
      return !is_float(t) && a[0] == t && a[1] == t;
    case ScalarOp::not_:
      return !is_float(t) && a[0] == t;
    case ScalarOp::umulhi:
      return t == DType::i32 && a[0] == t && a[1] == t;
    case ScalarOp::select:
      return a[0] == DType::boolean && a[1] == t && a[2] == t;
    case ScalarOp::convert:
      return scalar_type(t) == t;
    case ScalarOp::bitcast:
      return is_number(t) && is_number(a[0]) && is_float(t) != is_float(a[0]) &&
             size_of(t) == size_of(a[0]);
    case ScalarOp::scale:
      return t == DType::f32 && a[0] == t && a[1] == t;
    case ScalarOp::round_bf16:
    case ScalarOp::round_f16:
    case ScalarOp::round_e4m3:
    case ScalarOp::round_e5m2:
      return t == DType::f32 && a[0] == t;
  }
  return false;
}

std::string constant_text(const ScalarNode& n) {
  switch (n.type) {
    case DType::f32: {
      const auto bits = static_cast<uint32_t>(n.imm);
      const auto value = std::bit_cast<float>(bits);
      return std::isnan(value) ? format("nan:{:#010x}", bits) : format("{}", value);
    }
    case DType::f64: {
      const auto value = std::bit_cast<double>(n.imm);
      return std::isnan(value) ? format("nan:{:#018x}", static_cast<uint64_t>(n.imm))
                               : format("{}", value);
    }
    case DType::boolean:
      return n.imm ? "true" : "false";
    default:
      return format("{}", n.imm);
  }
}

}  // namespace

std::string_view name(ScalarOp op) {
  std::string_view text = kOps[static_cast<size_t>(op)].name;
  if (text.back() == '_') text.remove_suffix(1);  // and_ is named so because "and" is a keyword
  return text;
}
int arity(ScalarOp op) {
  return kOps[static_cast<size_t>(op)].arity;
}

DType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::bf16:
    case DType::f16:
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return DType::f32;
    case DType::u8:
      return DType::i32;
    default:
      return dtype;
  }
}

size_t Body::Hash::operator()(const ScalarNode& n) const {
  uint64_t h = static_cast<uint64_t>(n.op) << 8 | static_cast<uint64_t>(n.type);
  const auto mix = [&h](uint64_t x) {  // the finaliser of splitmix64
    h = (h ^ x) + 0x9e3779b97f4a7c15;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
    h = (h ^ h >> 27) * 0x94d049bb133111eb;
    h ^= h >> 31;
  };
  mix(static_cast<uint64_t>(n.imm));
  mix(static_cast<uint64_t>(static_cast<uint32_t>(n.arg[0])) << 32 |
      static_cast<uint32_t>(n.arg[1]));
  mix(static_cast<uint32_t>(n.arg[2]));
  return h;
}

Expr Body::add(ScalarNode node) {
  const int count = node.op == ScalarOp::load && node.arg[0] < 0 ? 0 : arity(node.op);
  DType types[3] = {node.type, node.type, node.type};
  for (int i = 0; i < 3; ++i) {
    if (i >= count) {
      node.arg[i] = -1;
      continue;
    }
    if (node.arg[i] < 0 || static_cast<size_t>(node.arg[i]) >= nodes_.size())
      internal_error("scalar op {}: argument {} is %{}, of {} nodes", name(node.op), i, node.arg[i],
                     nodes_.size());
    types[i] = nodes_[node.arg[i]].type;
  }
  if (!well_typed(node.op, node.type, types))
    internal_error("scalar op {} cannot give {} from ({}, {}, {})", name(node.op),
                   corten::name(node.type), corten::name(types[0]), corten::name(types[1]),
                   corten::name(types[2]));
  const auto [place, inserted] = ids_.try_emplace(node, static_cast<int32_t>(nodes_.size()));
  if (inserted) nodes_.push_back(node);
  return {this, place->second};
}

Expr Body::constant(DType type, double value) {
  int64_t bits = 0;
  switch (type) {
    case DType::f32:
      bits = std::bit_cast<uint32_t>(static_cast<float>(value));
      break;
    case DType::f64:
      bits = std::bit_cast<int64_t>(value);
      break;
    case DType::boolean:
      bits = value != 0;
      break;
    default:
      return constant_int(type, static_cast<int64_t>(value));
  }
  return add({ScalarOp::constant, type, {-1, -1, -1}, bits});
}

Expr Body::constant_int(DType type, int64_t value) {
  switch (type) {
    case DType::i32:
      value = static_cast<int32_t>(value);
      break;
    case DType::boolean:
      value = value != 0;
      break;
    case DType::i64:
      break;
    default:
      return constant(type, static_cast<double>(value));
  }
  return add({ScalarOp::constant, type, {-1, -1, -1}, value});
}

Expr round_to(DType dtype, Expr x) {
  switch (dtype) {
    case DType::bf16:
      return unary(ScalarOp::round_bf16, x);
    case DType::f16:
      return unary(ScalarOp::round_f16, x);
    case DType::f8_e4m3:
      return unary(ScalarOp::round_e4m3, x);
    case DType::f8_e5m2:
      return unary(ScalarOp::round_e5m2, x);
    case DType::u8:
      return x & x.body->constant_int(DType::i32, 255);
    default:
      return x;
  }
}

std::optional<DType> rounded_type(ScalarOp op) {
  switch (op) {
    case ScalarOp::round_bf16:
      return DType::bf16;
    case ScalarOp::round_f16:
      return DType::f16;
    case ScalarOp::round_e4m3:
      return DType::f8_e4m3;
    case ScalarOp::round_e5m2:
      return DType::f8_e5m2;
    default:
      return std::nullopt;
  }
}

std::string to_string(const Body& body) {
  std::string text;
  for (size_t id = 0; id < body.nodes().size(); ++id) {
    const ScalarNode& n = body.nodes()[id];
    text += format("%{} = {} {}", id, corten::name(n.type), name(n.op));
    for (const int32_t arg : n.arg)
      if (arg >= 0) text += format(" %{}", arg);
    switch (n.op) {
      case ScalarOp::constant:
        text += ' ' + constant_text(n);
        break;
      case ScalarOp::param:
      case ScalarOp::load:
      case ScalarOp::index:
        text += format(" @{}", n.imm);
        break;
      case ScalarOp::reduce_sum:
      case ScalarOp::reduce_max:
      case ScalarOp::reduce_min:
        text += format(" tree {}x{}", Body::tree(n).lanes, Body::tree(n).chunk);
        break;
      default:
        if (n.imm != 0) text += format(" imm {}", n.imm);
    }
    text += '\n';
  }
  return text;
}

}  // namespace corten::ir
