#include "kernel/interpret.h"

#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#include "base/format.h"
#include "base/float8.h"

namespace corten {
namespace {

using ir::Access;
using ir::Body;
using ir::InnerStride;
using ir::Kernel;
using ir::KernelFault;
using ir::KernelForm;
using ir::kMaxOuter;
using ir::Launch;
using ir::Precision;
using ir::ScalarNode;
using ir::ScalarOp;
using ir::ScalarValue;
using ir::Store;
using ir::StoreMode;
using ir::Tree;

template <typename T>
T read(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
void write(char* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

ScalarValue load_element(DType dtype, const char* from) {
  switch (dtype) {
    case DType::f32:
      return {read<float>(from), 0};
    case DType::bf16:
      return {from_bf16(read<uint16_t>(from)), 0};
    case DType::f16:
      return {from_f16(read<uint16_t>(from)), 0};
    case DType::f64:
      return {read<double>(from), 0};
    case DType::i64:
      return {0, read<int64_t>(from)};
    case DType::i32:
      return {0, read<int32_t>(from)};
    case DType::u8:
      return {0, read<uint8_t>(from)};
    case DType::boolean:
      return {0, read<uint8_t>(from) != 0};
    case DType::f8_e4m3:
      return {from_e4m3(read<uint8_t>(from)), 0};
    case DType::f8_e5m2:
      return {from_e5m2(read<uint8_t>(from)), 0};
  }
  return {};
}

void store_element(DType dtype, char* to, ScalarValue x) {
  switch (dtype) {
    case DType::f32:
      return write(to, static_cast<float>(x.f));
    case DType::bf16:
      return write(to, to_bf16(static_cast<float>(x.f)));
    case DType::f16:
      return write(to, to_f16(static_cast<float>(x.f)));
    case DType::f64:
      return write(to, x.f);
    case DType::i64:
      return write(to, x.i);
    case DType::i32:
      return write(to, static_cast<int32_t>(x.i));
    case DType::u8:
      return write(to, static_cast<uint8_t>(x.i));
    case DType::boolean:
      return write(to, static_cast<uint8_t>(x.i != 0));
    case DType::f8_e4m3:
      return write(to, to_e4m3(static_cast<float>(x.f)));
    case DType::f8_e5m2:
      return write(to, to_e5m2(static_cast<float>(x.f)));
  }
}

ScalarValue param_value(DType type, int64_t bits) {
  switch (type) {
    case DType::f32:
      return {std::bit_cast<float>(static_cast<uint32_t>(bits)), 0};
    case DType::f64:
      return {std::bit_cast<double>(bits), 0};
    case DType::i32:
      return {0, static_cast<int32_t>(bits)};
    case DType::boolean:
      return {0, bits != 0};
    default:
      return {0, bits};
  }
}

ScalarOp combining_op(ScalarOp reduction) {
  switch (reduction) {
    case ScalarOp::reduce_sum:
      return ScalarOp::add;
    case ScalarOp::reduce_max:
      return ScalarOp::max;
    default:
      return ScalarOp::min;
  }
}

ScalarValue identity(ScalarOp op, DType type) {
  if (op == ScalarOp::reduce_sum) return {};
  const bool max = op == ScalarOp::reduce_max;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (type) {
    case DType::i64: {
      using Limits = std::numeric_limits<int64_t>;
      return {0, max ? Limits::min() : Limits::max()};
    }
    case DType::i32: {
      using Limits = std::numeric_limits<int32_t>;
      return {0, max ? Limits::min() : Limits::max()};
    }
    default:
      return {max ? -kInfinity : kInfinity, 0};
  }
}

bool is_reduce(ScalarOp op) {
  return op == ScalarOp::reduce_sum || op == ScalarOp::reduce_max || op == ScalarOp::reduce_min;
}

/// Combines values as the tree says.
class Reducer {
 public:
  Reducer(const ScalarNode& reduction, Precision precision)
      : tree_(Body::tree(reduction)),
        identity_(identity(reduction.op, reduction.type)),
        node_{combining_op(reduction.op), reduction.type},
        precision_(precision) {
    CORTEN_CHECK(tree_.lanes > 0 && std::has_single_bit(static_cast<uint32_t>(tree_.lanes)) &&
                     tree_.chunk > 0,
                 "a reduction tree of {} lanes and chunks of {}", tree_.lanes, tree_.chunk);
  }

  ScalarValue combine(ScalarValue a, ScalarValue b) const {
    const ScalarValue args[] = {a, b};
    return ir::eval(node_, node_.type, args, precision_);
  }

  /// The result of one chunk: elements [begin, end) of values.
  ScalarValue chunk(const std::vector<ScalarValue>& values, size_t begin, size_t end) const {
    std::vector<ScalarValue> lanes(tree_.lanes, identity_);
    for (size_t i = begin; i < end; ++i) {
      ScalarValue& lane = lanes[(i - begin) % lanes.size()];
      lane = combine(lane, values[i]);
    }
    for (size_t half = lanes.size() / 2; half > 0; half /= 2)
      for (size_t j = 0; j < half; ++j) lanes[j] = combine(lanes[j], lanes[j + half]);
    return lanes[0];
  }

  std::vector<ScalarValue> chunks(const std::vector<ScalarValue>& values) const {
    std::vector<ScalarValue> results;
    for (size_t begin = 0; begin < values.size(); begin += tree_.chunk)
      results.push_back(chunk(values, begin, std::min(begin + tree_.chunk, values.size())));
    return results;
  }

  ScalarValue all(const std::vector<ScalarValue>& values) const {
    std::vector<ScalarValue> results = chunks(values);
    if (results.empty()) return identity_;
    while (results.size() > 1) {
      size_t out = 0;
      for (size_t i = 0; i < results.size(); i += 2)
        results[out++] = i + 1 < results.size() ? combine(results[i], results[i + 1]) : results[i];
      results.resize(out);
    }
    return results[0];
  }

 private:
  Tree tree_;
  ScalarValue identity_;
  ScalarNode node_;
  Precision precision_;
};

/// Executes a kernel line by line. A line is what reductions run over: in the rows and scatter
/// forms all c of one outer point; in the columns form all values of the last outer dimension, for
/// one c.
class Interpreter {
 public:
  Interpreter(const Kernel& kernel, const Launch& launch, void* const* pointers,
              Precision precision, KernelFault* fault)
      : kernel_(kernel),
        launch_(launch),
        pointers_(pointers),
        precision_(precision),
        fault_(fault),
        columns_(kernel.form == KernelForm::columns) {
    const int rank = kernel.outer_rank;
    CORTEN_CHECK(rank >= (columns_ ? 1 : 0) && rank <= kMaxOuter, "outer rank {}", rank);
    CORTEN_CHECK(launch.accesses.size() == kernel.accesses.size() &&
                     launch.params.size() == kernel.params.size(),
                 "a launch with {} accesses and {} parameters for a kernel with {} and {}",
                 launch.accesses.size(), launch.params.size(), kernel.accesses.size(),
                 kernel.params.size());
    // The coordinate that a line runs along; the inner one is number outer_rank.
    along_ = columns_ ? rank - 1 : rank;
    length_ = columns_ ? launch.outer[rank - 1] : launch.inner;
    state_.assign(kernel.body.nodes().size(), 0);
    varies_.assign(kernel.body.nodes().size(), 0);
    for (const Store& store : kernel.stores) {
      visit(kernel.accesses.at(store.access).index);
      visit(store.node);
      check(store);
    }
  }

  void run() {
    int64_t extents[kMaxOuter + 1];
    int64_t lines = 1;
    for (int d = 0; d <= kernel_.outer_rank; ++d) {
      extents[d] = d == along_ ? 1 : d == kernel_.outer_rank ? launch_.inner : launch_.outer[d];
      lines *= extents[d];
    }
    values_.resize(kernel_.body.nodes().size());
    for (int64_t line = 0; line < lines; ++line) {
      int64_t rest = line;
      for (int d = kernel_.outer_rank; d >= 0; --d) {
        point_[d] = rest % extents[d];
        rest /= extents[d];
      }
      run_line();
    }
  }

 private:
  // Orders the live nodes so that arguments come first, and finds which vary along a line.
  void visit(int32_t id) {
    if (id < 0 || state_.at(id) == 2) return;
    CORTEN_CHECK(state_[id] == 0, "node %{} depends on itself", id);
    state_[id] = 1;
    const ScalarNode& n = kernel_.body.node(id);
    bool varies = false;
    for (const int32_t arg : n.arg) {
      visit(arg);
      varies |= arg >= 0 && varies_[arg];
    }
    if (n.op == ScalarOp::load || n.op == ScalarOp::index) {
      const Access& access = kernel_.accesses.at(n.imm);
      CORTEN_CHECK((n.op == ScalarOp::index) == (access.operand < 0), "node %{}, access {}", id,
                   n.imm);
      CORTEN_CHECK(n.op == ScalarOp::index ||
                       n.type == ir::scalar_type(kernel_.operands.at(access.operand).dtype),
                   "node %{} loads {} as {}", id, name(kernel_.operands[access.operand].dtype),
                   name(n.type));
      CORTEN_CHECK(access.guards == 0 || n.arg[0] >= 0, "guarded load %{} without a value", id);
      visit(access.index);
      varies |= access_varies(n.imm);
    }
    if (n.op == ScalarOp::param)
      CORTEN_CHECK(kernel_.params.at(n.imm) == n.type, "parameter {} as {}", n.imm, name(n.type));
    varies_[id] = varies && !is_reduce(n.op);
    state_[id] = 2;
    order_.push_back(id);
  }

  bool access_varies(int64_t id) const {
    const Access& access = kernel_.accesses[id];
    if (access.guards >> along_ & 1) return true;
    if (access.index >= 0 && varies_[access.index]) return true;
    return columns_ ? launch_.accesses[id].strides[along_] != 0 : access.inner != InnerStride::zero;
  }

  void check(const Store& store) const {
    const Access& access = kernel_.accesses[store.access];
    const ir::Operand& operand = kernel_.operands.at(access.operand);
    const DType type = kernel_.body.node(store.node).type;
    CORTEN_CHECK(operand.written && type == ir::scalar_type(operand.dtype),
                 "a store of {} to operand {}, {}", name(type), access.operand,
                 name(operand.dtype));
    CORTEN_CHECK(kernel_.form == KernelForm::scatter
                     ? access.index >= 0
                     : store.mode == StoreMode::set && access.index < 0,
                 "a gathered or adding store outside the scatter form, or none in it");
    if (columns_)
      CORTEN_CHECK(!varies_[store.node] &&
                       (launch_.chunks <= 1 || is_reduce(kernel_.body.node(store.node).op)),
                   "a store of %{}, which is no reduction", store.node);
    else
      CORTEN_CHECK(!varies_[store.node] || access_varies(store.access),
                   "a store of %{} for every c to one place", store.node);
  }

  void run_line() {
    for (const int32_t id : order_) {
      const ScalarNode& n = kernel_.body.node(id);
      std::vector<ScalarValue>& values = values_[id];
      if (is_reduce(n.op)) {
        std::vector<ScalarValue> args(length_);
        for (int64_t i = 0; i < length_; ++i) args[i] = value(n.arg[0], i);
        const Reducer reducer(n, precision_);
        values =
            launch_.chunks > 1 && columns_ ? reducer.chunks(args) : std::vector{reducer.all(args)};
        continue;
      }
      values.resize(varies_[id] ? length_ : 1);
      for (size_t i = 0; i < values.size(); ++i) values[i] = evaluate(n, i);
    }
    if (columns_) return store_columns();
    if (kernel_.form == KernelForm::scatter) {
      for (int64_t i = 0; i < length_; ++i)
        for (const Store& store : kernel_.stores) store_one(store, i, values_[store.node], i);
      return;
    }
    for (const Store& store : kernel_.stores) {
      const int64_t count = access_varies(store.access) ? length_ : 1;
      for (int64_t i = 0; i < count; ++i) store_one(store, i, values_[store.node], i);
    }
  }

  // Chunk k goes to coordinate k of the last outer dimension, whose stride is otherwise unused.
  void store_columns() {
    for (const Store& store : kernel_.stores) {
      const std::vector<ScalarValue>& values = values_[store.node];
      if (launch_.chunks <= 1) {
        store_one(store, 0, values, 0);
        continue;
      }
      CORTEN_CHECK(values.size() == static_cast<size_t>(launch_.chunks), "{} chunks instead of {}",
                   launch_.chunks, values.size());
      for (size_t k = 0; k < values.size(); ++k) store_one(store, k, values, k);
    }
  }

  ScalarValue value(int32_t id, int64_t i) const {
    const std::vector<ScalarValue>& values = values_[id];
    return varies_[id] ? values[i] : values[0];
  }

  ScalarValue evaluate(const ScalarNode& n, int64_t i) {
    switch (n.op) {
      case ScalarOp::param:
        return param_value(n.type, launch_.params[n.imm]);
      case ScalarOp::index:
        point_[along_] = i;
        return {0, affine(n.imm)};
      case ScalarOp::load: {
        point_[along_] = i;
        if (!inside(n.imm)) return value(n.arg[0], i);
        const char* place = address(n.imm, i);
        return place ? load_element(kernel_.operands[kernel_.accesses[n.imm].operand].dtype, place)
                     : ScalarValue{};
      }
      default:
        break;
    }
    ScalarValue args[3];
    size_t count = 0;
    for (; count < 3 && n.arg[count] >= 0; ++count) args[count] = value(n.arg[count], i);
    const DType type = count > 0 ? kernel_.body.node(n.arg[0]).type : n.type;
    return ir::eval(n, type, {args, count}, precision_);
  }

  // Stores values[k] (or the only one) at coordinate i of the line.
  void store_one(const Store& store, int64_t i, const std::vector<ScalarValue>& values, size_t k) {
    point_[along_] = i;
    if (!inside(store.access)) return;
    char* place = address(store.access, i);
    if (!place) return;
    const DType dtype = kernel_.operands[kernel_.accesses[store.access].operand].dtype;
    ScalarValue x = values.size() > 1 ? values[k] : values[0];
    if (store.mode == StoreMode::add) {
      const DType type = ir::scalar_type(dtype);
      const ScalarValue args[] = {load_element(dtype, place), x};
      x = ir::eval({ScalarOp::add, type}, type, args, precision_);
    }
    store_element(dtype, place, x);
  }

  bool inside(int64_t id) const {
    const int guards = kernel_.accesses[id].guards;
    const Launch::Access& access = launch_.accesses[id];
    for (int d = 0; d <= kernel_.outer_rank; ++d)
      if ((guards >> d & 1) && (point_[d] < access.lo[d] || point_[d] >= access.hi[d]))
        return false;
    return true;
  }

  int64_t affine(int64_t id) const {
    const Launch::Access& access = launch_.accesses[id];
    int64_t sum = access.offset;
    for (int d = 0; d < kernel_.outer_rank; ++d) sum += point_[d] * access.strides[d];
    switch (kernel_.accesses[id].inner) {
      case InnerStride::zero:
        return sum;
      case InnerStride::one:
        return sum + point_[kernel_.outer_rank];
      default:
        return sum + point_[kernel_.outer_rank] * access.inner_stride;
    }
  }

  // Null after an index out of range.
  char* address(int64_t id, int64_t i) {
    const Access& access = kernel_.accesses[id];
    int64_t element = affine(id);
    if (access.index >= 0) {
      const int64_t coordinate = value(access.index, i).i, bound = launch_.accesses[id].index_bound;
      if (coordinate < 0 || coordinate >= bound) {
        if (!fault_) usage_error("index {} is out of range for size {}", coordinate, bound);
        if (!fault_->flagged) *fault_ = {1, id, coordinate};
        return nullptr;
      }
      element += coordinate * launch_.accesses[id].index_stride;
    }
    const auto size = static_cast<int64_t>(size_of(kernel_.operands[access.operand].dtype));
    return static_cast<char*>(pointers_[access.operand]) + element * size;
  }

  const Kernel& kernel_;
  const Launch& launch_;
  void* const* pointers_;
  Precision precision_;
  KernelFault* fault_;
  bool columns_;
  int along_ = 0;
  int64_t length_ = 0;
  std::vector<char> state_, varies_;  // by node; state: 0 unseen, 1 being visited, 2 in order_
  std::vector<int32_t> order_;
  std::vector<std::vector<ScalarValue>> values_;  // by node: of the current line
  int64_t point_[kMaxOuter + 1] = {};
};

}  // namespace

void interpret(const Kernel& kernel, const Launch& launch, void* const* pointers,
               Precision precision, KernelFault* fault) {
  Interpreter(kernel, launch, pointers, precision, fault).run();
}

}  // namespace corten
