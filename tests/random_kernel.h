// Random kernels with arguments and operands, for comparisons of what executes kernels.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/float8.h"
#include "kernel_problem.h"

namespace corten::codegen::test {

using namespace ir;

class RandomKernel {
 public:
  RandomKernel(uint64_t seed, KernelForm form)
      : random_(seed * 4 + static_cast<uint64_t>(form)), form_(form) {}

  Problem make() {
    Kernel& k = p_.kernel;
    k.form = form_;
    k.outer_rank = static_cast<int32_t>(below(form_ == KernelForm::rows ? 4 : 3));
    if (form_ == KernelForm::columns) ++k.outer_rank;
    static const std::vector<int64_t> inner{0,  1,   2,   15,   16,   17,   31,   63,   64,
                                            65, 100, 255, 1000, 1023, 1024, 1025, 2050, 4097};
    p_.launch.inner = pick(inner);
    int64_t budget = 6000 / std::max<int64_t>(p_.launch.inner, 1) + 1;
    for (int d = 0; d < k.outer_rank; ++d) {
      const bool reduced = form_ == KernelForm::columns && d == k.outer_rank - 1;
      static const std::vector<int64_t> outer{0, 1, 2, 3, 4, 5, 7, 11},
          rows{0, 1, 3, 4, 5, 63, 64, 65, 130, 300};
      int64_t n = pick(reduced ? rows : outer);
      if (n == 0 && below(3)) n = 2;
      n = std::min(n, std::max<int64_t>(budget, 1));
      budget /= std::max<int64_t>(n, 1);
      p_.launch.outer[d] = n;
    }
    const int params = static_cast<int>(below(3));
    for (int i = 0; i < params; ++i) {
      const DType t = pick(kScalarTypes);
      k.params.push_back(t);
      p_.launch.params.push_back(random_bits(t));
      pool_.push_back(body().param(t, i));
    }
    const int leaves = 1 + static_cast<int>(below(4));
    for (int i = 0; i < leaves; ++i) add_leaf();
    const int ops = 1 + static_cast<int>(below(below(4) ? 12 : 40));
    int reductions = 0;
    for (int i = 0; i < ops; ++i) {
      if (form_ != KernelForm::scatter && reductions < 3 && below(6) == 0)
        reductions += add_reduction();
      else if (below(12) == 0)
        add_leaf();
      else
        add_op();
    }
    if (form_ == KernelForm::columns) {
      while (!reductions) {
        reductions += add_reduction();
        if (!reductions) add_leaf();  // what there is cannot be reduced
      }
      add_epilogue();
    }
    const int stores = form_ == KernelForm::scatter ? 1 : 1 + static_cast<int>(below(3));
    for (int i = 0; i < stores; ++i) add_store();
    return std::move(p_);
  }

 private:
  inline static const std::vector<DType> kScalarTypes{
      DType::f32, DType::f32, DType::f32, DType::f64, DType::i64, DType::i32, DType::boolean};
  inline static const std::vector<DType> kDTypes{
      DType::f32, DType::f32, DType::f32, DType::bf16, DType::bf16,   DType::f16,
      DType::f64, DType::i64, DType::i32, DType::u8,   DType::boolean, DType::f8_e4m3,
      DType::f8_e5m2};

  uint64_t below(uint64_t n) { return random_() % n; }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  Body& body() { return p_.kernel.body; }

  double random_float() {
    static const std::vector<double> special{
        0.0,   -0.0,  1,          -1,        0.5,           INFINITY,     -INFINITY,
        NAN,   1e-40, -1e-39,     1e-45,     1.1754943e-38, 3.4e38,       -3.4e38,
        65504, 65520, 6e-8,       1e10,      -2147483648.0, 2147483648.0, 9.3e18,
        88.7,  -87.4, 1.00390625, 0.99609375};
    if (below(12) == 0) return pick(special);
    const double magnitude = std::exp2(static_cast<double>(below(40)) / 4 - 5);
    return (static_cast<double>(below(1 << 24)) / (1 << 23) - 1) * magnitude;
  }
  int64_t random_int(DType t) {
    static const std::vector<int64_t> special{0,  1,         -1,        2,         31,        32,
                                              63, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX, 255};
    int64_t x = below(4) == 0 ? pick(special) : static_cast<int64_t>(below(200)) - 100;
    if (below(16) == 0) x = static_cast<int64_t>(random_());
    return t == DType::i32 ? static_cast<int32_t>(x) : t == DType::boolean ? x & 1 : x;
  }
  int64_t random_bits(DType t) {
    if (t == DType::f32) return std::bit_cast<uint32_t>(static_cast<float>(random_float()));
    if (t == DType::f64) return std::bit_cast<int64_t>(random_float());
    return random_int(t);
  }

  std::string random_bytes(DType dtype, int64_t n) {
    std::string bytes(static_cast<size_t>(n) * size_of(dtype), '\0');
    for (int64_t i = 0; i < n; ++i) {
      char* to = bytes.data() + static_cast<size_t>(i) * size_of(dtype);
      if (dtype == DType::bf16 || dtype == DType::f16) {
        const auto x = static_cast<float>(random_float());
        const uint16_t h = below(50) == 0         ? static_cast<uint16_t>(random_())
                           : dtype == DType::bf16 ? to_bf16(x)
                                                  : to_f16(x);
        std::memcpy(to, &h, 2);
      } else if (is_float8(dtype)) {
        const auto x = static_cast<float>(random_float());
        const uint8_t b = below(50) == 0            ? static_cast<uint8_t>(random_())
                          : dtype == DType::f8_e4m3 ? to_e4m3(x)
                                                    : to_e5m2(x);
        *to = static_cast<char>(b);
      } else {
        const int64_t x =
            dtype == DType::u8 ? static_cast<int64_t>(below(256)) : random_bits(dtype);
        std::memcpy(to, &x, size_of(dtype));
      }
    }
    return bytes;
  }

  int64_t extent(int d) const {
    return d == p_.kernel.outer_rank ? p_.launch.inner : p_.launch.outer[d];
  }

  // Strides and guards of a new access, and how many elements its operand must have at least.
  // `injective`: no two points are at one place (stores), but for dimension `skip`.
  int new_access(int operand, bool injective, bool allow_guards, int64_t& elements, int skip = -1,
                 bool once_per_row = false) {
    Access a;
    Launch::Access x;
    a.operand = operand;
    const int rank = p_.kernel.outer_rank;
    const uint64_t kind = below(8);
    a.inner = injective ? (kind < 6 ? InnerStride::one : InnerStride::any)
                        : (kind < 5   ? InnerStride::one
                           : kind < 7 ? InnerStride::zero
                                      : InnerStride::any);
    if (once_per_row) a.inner = InnerStride::zero;
    if (allow_guards && below(3) == 0)
      a.guards = static_cast<uint8_t>(below(uint64_t{1} << (rank + (once_per_row ? 0 : 1))));
    if (skip >= 0) a.guards &= static_cast<uint8_t>(~(1 << skip));
    int64_t stride = 1, low = 0, high = 0;
    bool empty = false;
    for (int d = rank; d >= 0; --d) {
      // What does not vary with an empty dimension is read nevertheless.
      int64_t n = std::max<int64_t>(extent(d), 1), first = 0, last = n - 1;
      if (a.guards >> d & 1) {
        x.lo[d] = static_cast<int64_t>(below(static_cast<uint64_t>(n) + 3)) - 1;
        x.hi[d] = x.lo[d] + static_cast<int64_t>(below(static_cast<uint64_t>(n) + 3)) - 1;
        first = std::max(first, x.lo[d]);
        last = std::min(last, x.hi[d] - 1);
      }
      int64_t s;
      if (d == rank) {
        s = a.inner == InnerStride::zero  ? 0
            : a.inner == InnerStride::one ? 1
                                          : 1 + static_cast<int64_t>(below(3));
        if (a.inner == InnerStride::any && !injective && below(3) == 0) s = -s;
        x.inner_stride = s;
      } else {
        s = d == skip               ? 0
            : injective || below(4) ? stride + static_cast<int64_t>(below(2))
                                    : static_cast<int64_t>(below(5)) - 2;
        x.strides[d] = s;
      }
      stride = std::max(stride, std::abs(s) * n);
      if (first > last) {
        empty = true;
        continue;
      }
      low += std::min(s * first, s * last);
      high += std::max(s * first, s * last);
    }
    if (empty) low = high = 0;
    x.offset = -low;
    elements = empty && a.guards ? 1 : high - low + 1;
    p_.kernel.accesses.push_back(a);
    p_.launch.accesses.push_back(x);
    return static_cast<int>(p_.kernel.accesses.size()) - 1;
  }

  void add_operand(DType dtype, bool written, int64_t elements) {
    p_.kernel.operands.push_back({dtype, written});
    p_.operands.push_back(written && below(2)
                              ? std::string(static_cast<size_t>(elements) * size_of(dtype), '\0')
                              : random_bytes(dtype, elements));
  }

  Expr constant(DType t) {
    return body().add({ScalarOp::constant, t, {-1, -1, -1}, random_bits(t)});
  }

  Expr value_of(DType t) {
    std::vector<Expr> candidates;
    for (Expr e : pool_)
      if (e.type() == t) candidates.push_back(e);
    if (candidates.empty() || below(8) == 0)
      return below(3) || pool_.empty() ? constant(t) : convert_to(pick(pool_), t);
    return below(2) ? candidates.back() : pick(candidates);
  }
  // The bits of a NaN are outside the contract: never made visible.
  Expr number_of(DType t) {
    const Expr x = value_of(t);
    return select(x == x, x, 0.0);
  }
  static Expr convert_to(Expr x, DType t) { return convert(x, t); }

  void add_leaf() {
    if (below(6) == 0) {
      int64_t elements;
      const int access = new_access(-1, false, false, elements);
      pool_.push_back(body().index(access));
      return;
    }
    const DType dtype = pick(kDTypes);
    int64_t elements;
    // The index of a gathered load is made first: an operand of valid (now and then invalid)
    // numbers.
    int32_t index = -1;
    int64_t bound = 0, index_stride = 1;
    if (below(5) == 0) {
      const int operand = static_cast<int>(p_.kernel.operands.size());
      bound = 1 + static_cast<int64_t>(below(9));
      int64_t count;
      const int access = new_access(operand, false, false, count);
      add_operand(DType::i64, false, count);
      for (int64_t i = 0; i < count; ++i) {
        int64_t v = static_cast<int64_t>(below(static_cast<uint64_t>(bound)));
        if (below(3000) == 0) v = below(2) ? bound : -1;
        std::memcpy(p_.operands[static_cast<size_t>(operand)].data() + i * 8, &v, 8);
      }
      index = body().load(DType::i64, access).id;
      index_stride = static_cast<int64_t>(below(4));
    }
    const int operand = static_cast<int>(p_.kernel.operands.size());
    const int access = new_access(operand, false, true, elements);
    p_.kernel.accesses[static_cast<size_t>(access)].index = index;
    p_.launch.accesses[static_cast<size_t>(access)].index_bound = bound;
    p_.launch.accesses[static_cast<size_t>(access)].index_stride = index_stride;
    if (index >= 0) elements += index_stride * (bound - 1);
    add_operand(dtype, false, elements);
    const DType t = scalar_type(dtype);
    const int32_t otherwise =
        p_.kernel.accesses[static_cast<size_t>(access)].guards ? value_of(t).id : -1;
    pool_.push_back(body().load(t, access, otherwise));
  }

  bool add_reduction() {
    if (pool_.empty()) return false;
    const Expr x = pick(pool_);
    if (x.type() == DType::boolean) return false;
    if (form_ == KernelForm::columns && depends_on_reduction(x)) return false;
    const ScalarOp op = pick(std::vector<ScalarOp>{ScalarOp::reduce_sum, ScalarOp::reduce_sum,
                                                   ScalarOp::reduce_max, ScalarOp::reduce_min});
    static const std::vector<Tree> rows{{64, 1024}, {64, 1024}, {64, 1024}, {1, 1},
                                        {32, 64},   {4, 16},    {16, 16}};
    static const std::vector<Tree> columns{{1, 64}, {1, 64}, {1, 64}, {1, 1}, {8, 64}, {2, 5}};
    const Expr r = body().reduce(op, x, pick(form_ == KernelForm::columns ? columns : rows));
    (form_ == KernelForm::columns ? reduced_ : pool_).push_back(r);
    return true;
  }
  bool depends_on_reduction(Expr x) const {
    const ScalarNode& n = p_.kernel.body.node(x.id);
    if (n.op == ScalarOp::reduce_sum || n.op == ScalarOp::reduce_max ||
        n.op == ScalarOp::reduce_min)
      return true;
    for (int32_t a : n.arg)
      if (a >= 0 && depends_on_reduction({x.body, a})) return true;
    return false;
  }

  // Expressions of reduce nodes, parameters and constants; or plain partial results in chunks.
  void add_epilogue() {
    std::vector<Expr> kept = reduced_;
    for (Expr e : pool_)
      if (body().node(e.id).op == ScalarOp::param) kept.push_back(e);
    const int64_t rows = p_.launch.outer[p_.kernel.outer_rank - 1];
    const Tree tree = Body::tree(body().node(reduced_[0].id));
    const int64_t chunks = (rows + tree.chunk - 1) / tree.chunk;
    if (below(3) == 0 && chunks > 1) {
      p_.launch.chunks = chunks;
      std::vector<Expr> alike;
      for (Expr e : reduced_)
        if (Body::tree(body().node(e.id)) == tree) alike.push_back(e);
      pool_ = alike;
      return;
    }
    pool_ = kept;
    for (uint64_t i = below(6); i > 0; --i) add_op();
    std::vector<Expr> results;
    for (Expr e : pool_)
      if (depends_on_reduction(e)) results.push_back(e);
    pool_ = results;
  }

  void add_op() {
    using S = ScalarOp;
    const DType t = pick(kScalarTypes);
    const auto any = [&](std::vector<S> ops) { return pick(ops); };
    const auto two = [&](S op) { return binary(op, value_of(t), value_of(t)); };
    const auto compare = [&](DType u) {
      return ir::compare(any({S::eq, S::ne, S::lt, S::le}), value_of(u), value_of(u));
    };
    Expr e;
    if (below(8) == 0) {
      e = select(value_of(DType::boolean), value_of(t), value_of(t));
    } else if (below(8) == 0) {
      e = compare(pick(kScalarTypes));
    } else if (below(8) == 0 && !pool_.empty()) {
      e = convert_to(pick(pool_), t);
    } else if (t == DType::boolean) {
      e = below(4) ? two(any({S::and_, S::or_, S::xor_})) : unary(S::not_, value_of(t));
    } else if (t == DType::i32 || t == DType::i64) {
      const uint64_t kind = below(10);
      if (kind == 0)
        e = unary(any({S::neg, S::abs, S::not_}), value_of(t));
      else if (kind == 1)
        e = bitcast(number_of(t == DType::i32 ? DType::f32 : DType::f64), t);
      else if (kind == 2 && t == DType::i32)
        e = two(S::umulhi);
      else
        e = two(any({S::add, S::sub, S::mul, S::div, S::rem, S::min, S::max, S::and_, S::or_,
                     S::xor_, S::shl, S::lshr, S::ashr}));
    } else {
      const uint64_t kind = below(12);
      if (kind == 0)
        e = ir::fma(value_of(t), value_of(t), value_of(t));
      else if (kind == 1)
        e = bitcast(value_of(t == DType::f32 ? DType::i32 : DType::i64), t);
      else if (kind == 2 && t == DType::f32)
        e = unary(any({S::round_bf16, S::round_f16, S::round_e4m3, S::round_e5m2}), value_of(t));
      else if (kind == 3)
        e = unary(any({S::exp, S::log, S::tanh, S::erf, S::sin, S::cos, S::rsqrt}), value_of(t));
      else if (kind < 6)
        e = unary(any({S::neg, S::abs, S::sqrt, S::floor, S::rint}), value_of(t));
      else
        e = two(any({S::add, S::sub, S::mul, S::div, S::min, S::max}));
    }
    pool_.push_back(e);
  }

  bool varies(int32_t id) const {  // with c (rows, scatter)
    const ScalarNode& n = p_.kernel.body.node(id);
    if (n.op == ScalarOp::reduce_sum || n.op == ScalarOp::reduce_max ||
        n.op == ScalarOp::reduce_min)
      return false;
    if (n.op == ScalarOp::load || n.op == ScalarOp::index) {
      const Access& a = p_.kernel.accesses[static_cast<size_t>(n.imm)];
      if (a.inner != InnerStride::zero || (a.guards >> p_.kernel.outer_rank & 1) ||
          (a.index >= 0 && varies(a.index)))
        return true;
    }
    for (int32_t arg : n.arg)
      if (arg >= 0 && varies(arg)) return true;
    return false;
  }

  void add_store() {
    const Expr x = below(2) ? pool_.back() : pick(pool_);
    std::vector<DType> dtypes;
    for (DType d : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32,
                    DType::u8, DType::boolean, DType::f8_e4m3, DType::f8_e5m2})
      if (scalar_type(d) == x.type()) dtypes.push_back(d);
    if (p_.launch.chunks > 1) dtypes = {x.type()};
    const DType dtype = pick(dtypes);
    int64_t elements, count = 0;
    int32_t index = -1;
    int64_t bound = 0, index_stride = 1;
    const int rank = p_.kernel.outer_rank;
    if (form_ == KernelForm::scatter) {
      const int operand = static_cast<int>(p_.kernel.operands.size());
      bound = 1 + static_cast<int64_t>(below(9));
      const int access = new_access(operand, false, false, count);
      add_operand(DType::i64, false, count);
      for (int64_t i = 0; i < count; ++i) {
        int64_t v = static_cast<int64_t>(below(static_cast<uint64_t>(bound)));
        if (below(3000) == 0) v = below(2) ? bound : -1;
        std::memcpy(p_.operands[static_cast<size_t>(operand)].data() + i * 8, &v, 8);
      }
      index = body().load(DType::i64, access).id;
      index_stride = 1 + static_cast<int64_t>(below(4));
    }
    const int operand = static_cast<int>(p_.kernel.operands.size());
    Expr node = x;
    if (below(2)) node = round_to(dtype, node);
    const bool chunked = form_ == KernelForm::columns && p_.launch.chunks > 1;
    const int64_t rows = form_ == KernelForm::columns ? p_.launch.outer[rank - 1] : 0;
    if (chunked) {
      node = x;
      p_.launch.outer[rank - 1] = p_.launch.chunks;  // the extent of stores
    }
    const int access =
        new_access(operand, form_ != KernelForm::scatter || !varies(index), true, elements,
                   form_ == KernelForm::columns && !chunked ? rank - 1 : -1,
                   form_ == KernelForm::rows && !varies(node.id) && below(2));
    if (chunked) p_.launch.outer[rank - 1] = rows;
    Access& a = p_.kernel.accesses[static_cast<size_t>(access)];
    if (a.guards) elements += 8;
    a.index = index;
    p_.launch.accesses[static_cast<size_t>(access)].index_bound = bound;
    p_.launch.accesses[static_cast<size_t>(access)].index_stride = index_stride;
    // Where c may be split, different c are never in one place.
    if (index >= 0 && !varies(index))
      p_.launch.accesses[static_cast<size_t>(access)].index_stride = index_stride += elements;
    if (index >= 0) elements += index_stride * (bound - 1);
    if (form_ == KernelForm::scatter && varies(node.id) && a.inner == InnerStride::zero &&
        !(a.guards >> rank & 1) && !varies(index)) {  // every c in one place
      a.inner = InnerStride::one;
      p_.launch.accesses[static_cast<size_t>(access)].inner_stride = 1;
      elements += p_.launch.inner;
    }
    add_operand(dtype, true, elements);
    const bool add = form_ == KernelForm::scatter && dtype != DType::boolean && below(2);
    p_.kernel.stores.push_back(
        {access, node.id, add ? StoreMode::add : StoreMode::set, below(4) == 0 && !add});
  }

  std::mt19937_64 random_;
  KernelForm form_;
  Problem p_;
  std::vector<Expr> pool_, reduced_;
};

inline std::string describe(const Problem& p) {
  std::string s = format("outer rank {}, inner {}, chunks {}, outer", p.kernel.outer_rank,
                         p.launch.inner, p.launch.chunks);
  for (int d = 0; d < p.kernel.outer_rank; ++d) s += format(" {}", p.launch.outer[d]);
  for (size_t i = 0; i < p.kernel.accesses.size(); ++i) {
    const Access& a = p.kernel.accesses[i];
    s += format(
        "\n@{}: operand {} ({}), inner {}, index %{}, guards {}", i, a.operand,
        a.operand >= 0 ? name(p.kernel.operands[static_cast<size_t>(a.operand)].dtype) : "index",
        static_cast<int>(a.inner), a.index, a.guards);
  }
  s += '\n' + to_string(p.kernel.body);
  for (const Store& t : p.kernel.stores)
    s += format("store @{} %{}{}{}\n", t.access, t.node, t.mode == StoreMode::add ? " add" : "",
                t.streaming ? " streaming" : "");
  return s;
}

}  // namespace corten::codegen::test
