// Values of nodes, loads and stores.
#include <algorithm>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

using ir::Access;
using ir::InnerStride;
using ir::ScalarNode;
using ir::ScalarOp;

namespace {

bool is_reduce(ScalarOp op) {
  return op == ScalarOp::reduce_sum || op == ScalarOp::reduce_max || op == ScalarOp::reduce_min;
}

}  // namespace

std::string Emitter::outer_count(int dims) const {
  std::string count = "1";
  for (int d = 0; d < dims; ++d)
    count = d == 0 ? format("({})n0", index_) : count + format(" * ({})n{}", index_, d);
  return count;
}

void Emitter::outer_point(const std::string& linear, int dims) {
  if (dims == 0) return;
  std::string rest = linear;
  for (int d = dims - 1; d > 0; --d) {
    if (index_ == "int")
      line("const int rest{} = quotient({}, a.w[{}]);", d, rest, args_.outer_quotient(d));
    else
      line("const i64 rest{} = (i64)((uint64)({}) / (uint64)n{});", d, rest, d);
    line("const {} o{} = {} - rest{} * n{};", index_, d, rest, d, d);
    rest = format("rest{}", d);
  }
  line("const {} o0 = {};", index_, rest);
}

std::set<int> Emitter::accesses_of(const std::vector<int32_t>& nodes) const {
  std::set<int> out;
  for (int32_t id : nodes)
    if (const ScalarNode& n = node(id); n.op == ScalarOp::load || n.op == ScalarOp::index)
      out.insert(static_cast<int>(n.imm));
  return out;
}

std::set<int> Emitter::store_accesses() const {
  std::set<int> out;
  for (const ir::Store& s : k_.stores) out.insert(s.access);
  return out;
}

void Emitter::place_accesses(const std::set<int>& accesses) {
  for (int i : accesses) {
    const Access& a = k_.accesses[static_cast<size_t>(i)];
    std::string offset;
    for (int d = 0; d < k_.outer_rank; ++d)
      offset += format(" + (i64)o{} * a.w[{}]", d, args_.stride(i, d));
    if (a.operand < 0) {
      line("const i64 p{} = a.w[{}]{};", i, args_.address(i), offset);
      continue;
    }
    const ir::Operand& operand = k_.operands[static_cast<size_t>(a.operand)];
    const std::string pointer =
        format("{}{}*", operand.written ? "" : "const ", memory_type(operand.dtype));
    line("{} const p{} = ({})a.w[{}]{};", pointer, i, pointer, args_.address(i), offset);
    std::string guard;
    for (int d = 0; d < k_.outer_rank; ++d)
      if (a.guards >> d & 1)
        guard += format("{}o{} >= a.w[{}] && o{} < a.w[{}]", guard.empty() ? "" : " && ", d,
                        args_.lo(i, d), d, args_.hi(i, d));
    if (!guard.empty()) line("const bool g{} = {};", i, guard);
  }
}

std::string Emitter::inner_guard(int access, const std::string& c) const {
  const Access& a = k_.accesses[static_cast<size_t>(access)];
  if (!(a.guards >> k_.outer_rank & 1)) return "";
  return format("{} >= a.w[{}] && {} < a.w[{}]", c, args_.lo(access, k_.outer_rank), c,
                args_.hi(access, k_.outer_rank));
}

std::string Emitter::element_address(int access, const std::string& c) const {
  switch (k_.accesses[static_cast<size_t>(access)].inner) {
    case InnerStride::zero:
      return format("p{}", access);
    case InnerStride::one:
      return format("p{} + {}", access, c);
    default:
      return format("p{} + (i64)({}) * a.w[{}]", access, c, args_.inner_stride(access));
  }
}

std::string Emitter::from_memory(DType dtype, const std::string& raw) const {
  switch (dtype) {
    case DType::bf16:
      return format("from_bf16({})", raw);
    case DType::f16:
      return format("from_f16({})", raw);
    case DType::u8:
      return format("(int){}", raw);
    case DType::boolean:
      return format("{} != 0", raw);
    case DType::f8_e4m3:
      return format("from_e4m3({})", raw);
    case DType::f8_e5m2:
      return format("from_e5m2({})", raw);
    default:
      return raw;
  }
}

std::string Emitter::to_memory(DType dtype, int32_t id) {
  const ScalarNode& n = node(id);
  // What is rounded as it is stored need not be rounded before, if it is known here: a value that
  // was kept is not.
  const bool known = !columns_in_array_.count(id) && n.arg[0] >= 0 &&
                     (!p_.varies[n.arg[0]] || defined_.count(n.arg[0]));
  return stored(dtype, ref(ir::rounded_type(n.op) == dtype && known ? n.arg[0] : id));
}

std::string Emitter::stored(DType dtype, const std::string& value) {
  switch (dtype) {
    case DType::bf16:
      return format("to_bf16({})", value);
    case DType::f16:
      return format("to_f16({})", value);
    case DType::u8:
    case DType::boolean:
      return format("(uint8){}", value);
    case DType::f8_e4m3:
      return format("to_e4m3({})", value);
    case DType::f8_e5m2:
      return format("to_e5m2({})", value);
    default:
      return value;
  }
}

bool Emitter::reads_pack(int32_t id) const {
  const ScalarNode& n = node(id);
  if (n.op != ScalarOp::load || !p_.varies[id] || !s_.aligned[static_cast<size_t>(n.imm)])
    return false;
  const int32_t index = k_.accesses[static_cast<size_t>(n.imm)].index;
  return index < 0 || !p_.varies[index];
}

// A gathered row: its address replaces that of the outer point, h tells whether it exists.
void Emitter::gather_rows(const std::vector<int32_t>& nodes) {
  for (int32_t id : nodes) {
    const ScalarNode& n = node(id);
    if (n.op != ScalarOp::load || !p_.varies[id]) continue;
    const int i = static_cast<int>(n.imm);
    const Access& a = k_.accesses[static_cast<size_t>(i)];
    if (a.index < 0 || p_.varies[a.index] || !gathers_.insert(i).second) continue;
    // The index of elements that no guard lets through names nothing.
    std::string guard = (a.guards & ((1 << k_.outer_rank) - 1)) ? format("g{} && ", i) : "";
    if (a.guards >> k_.outer_rank & 1) {
      const int lo = args_.lo(i, k_.outer_rank), hi = args_.hi(i, k_.outer_rank);
      guard += format("a.w[{}] < a.w[{}] && a.w[{}] > 0 && a.w[{}] < a.w[{}] && ", lo, hi, hi, lo,
                      args_.inner());
    } else {
      guard += format("a.w[{}] > 0 && ", args_.inner());
    }
    line("const bool h{} = {}in_range({}, a.w[{}], a.w[{}], {});", i, guard, ref(a.index),
         args_.index_bound(i), args_.fault(), i);
    line("const {}* const d{} = p{} + (h{} ? {} * a.w[{}] : 0);",
         memory_type(k_.operands[static_cast<size_t>(a.operand)].dtype), i, i, i, ref(a.index),
         args_.index_stride(i));
  }
}

std::string Emitter::load(int32_t id) {
  const ScalarNode& n = node(id);
  const int i = static_cast<int>(n.imm);
  const Access& a = k_.accesses[static_cast<size_t>(i)];
  const DType dtype = k_.operands[static_cast<size_t>(a.operand)].dtype;
  const std::string c = p_.varies[id] ? "(c + e)" : "0";
  std::string guard = (a.guards & ((1 << k_.outer_rank) - 1)) ? format("g{}", i) : "";
  if (const std::string inner = inner_guard(i, c); !inner.empty())
    guard += (guard.empty() ? "" : " && ") + inner;
  const std::string zero = dtype == DType::boolean ? "false" : format("({})0", type(n.type));
  std::string value;
  if (pack_[static_cast<size_t>(id)]) {
    value = from_memory(dtype, format("x{}[e]", id));
    if (a.index >= 0) value = format("h{} ? {} : {}", i, value, zero);
  } else {
    std::string address = element_address(i, c);
    std::string exists;
    if (a.index >= 0 && p_.varies[id] && !p_.varies[a.index]) {
      exists = format("h{}", i);
      address[0] = 'd';
    } else if (a.index >= 0) {
      exists = format("in_range({}, a.w[{}], a.w[{}], {})", ref(a.index), args_.index_bound(i),
                      args_.fault(), i);
      address += format(" + {} * a.w[{}]", ref(a.index), args_.index_stride(i));
    }
    value = from_memory(dtype, format("read({})", address));
    if (!exists.empty()) value = format("{} ? {} : {}", exists, value, zero);
  }
  return guard.empty() ? value : format("{} ? ({}) : {}", guard, value, ref(n.arg[0]));
}

void Emitter::define(int32_t id) {
  const ScalarNode& n = node(id);
  if (n.op == ScalarOp::constant || n.op == ScalarOp::param || is_reduce(n.op)) return;
  std::string value;
  if (n.op == ScalarOp::load) {
    value = load(id);
  } else if (n.op == ScalarOp::index) {
    const int i = static_cast<int>(n.imm);
    value = format("(i64)({})", element_address(i, p_.varies[id] ? "(c + e)" : "0"));
  } else {
    value = op(n);
  }
  line("const {} {} = {};", type(n.type), ref(id), value);
}

void Emitter::uniform_nodes(const Stage& stage) {
  for (int32_t id : stage.uniform) define(id);
}

void Emitter::elements(const std::vector<int32_t>& nodes, int count, const std::string& inside,
                       bool packed, const std::function<void()>& use) {
  pack_.assign(k_.body.nodes().size(), 0);
  defined_ = {nodes.begin(), nodes.end()};
  if (packed && count > 1)
    for (int32_t id : nodes) {
      if (!reads_pack(id)) continue;
      const int i = static_cast<int>(node(id).imm);
      const Access& a = k_.accesses[static_cast<size_t>(i)];
      pack_[static_cast<size_t>(id)] = 1;
      std::string guard = inside.empty() ? "" : "c < inner";
      if (a.guards) guard += format("{}g{}", guard.empty() ? "" : " && ", i);
      if (a.index >= 0) guard += format("{}h{}", guard.empty() ? "" : " && ", i);
      line("{} x{}[{}];", memory_type(k_.operands[static_cast<size_t>(a.operand)].dtype), id,
           count);
      line("{}read_pack(x{}, {}{} + c);", guard.empty() ? "" : format("if ({}) ", guard), id,
           a.index >= 0 ? 'd' : 'p', i);
    }
  if (count > 1) {
    unroll();
    open("for (int e = 0; e < {}; ++e) {{", count);
  } else {
    open("{{");
    line("const int e = 0;");
  }
  if (!inside.empty()) open("if ({}) {{", inside);
  // Values of this stage's thread between stages: pair s, element e.
  if (kept_)
    for (int32_t id : kept_->restored)
      line("const {} v{} = k{}[2 * s + e];", type(node(id).type), id, id);
  for (int32_t id : nodes) define(id);
  if (kept_)
    for (int32_t id : kept_->kept) line("k{}[2 * s + e] = v{};", id, id);
  use();
  if (!inside.empty()) close();
  close();
  pack_.assign(k_.body.nodes().size(), 0);
}

void Emitter::store_element(const ir::Store& store, const std::string& c,
                            const std::string& value) {
  const int i = store.access;
  const Access& a = k_.accesses[static_cast<size_t>(i)];
  std::string guard = (a.guards & ((1 << k_.outer_rank) - 1)) ? format("g{}", i) : "";
  if (const std::string inner = inner_guard(i, c); !inner.empty())
    guard += (guard.empty() ? "" : " && ") + inner;
  line("{}write({}, {});", guard.empty() ? "" : format("if ({}) ", guard), element_address(i, c),
       value);
}

void Emitter::store_elements(int number, int count, const std::string& first,
                             const std::string& inside, bool packed) {
  const ir::Store& store = k_.stores[static_cast<size_t>(number)];
  const int i = store.access;
  const Access& a = k_.accesses[static_cast<size_t>(i)];
  const std::string y = first.empty() ? format("y{}", number) : format("(y{} + {})", number, first);
  if (packed && count > 1 && s_.aligned[static_cast<size_t>(i)]) {
    std::string guard = inside.empty() ? "" : "c < inner";
    if (a.guards) guard += format("{}g{}", guard.empty() ? "" : " && ", i);
    const std::string array =
        first.empty()
            ? y
            : format("*({} (*)[{}]){}",
                     memory_type(k_.operands[static_cast<size_t>(a.operand)].dtype), count, y);
    line("{}write_pack(p{} + c, {});", guard.empty() ? "" : format("if ({}) ", guard), i, array);
    return;
  }
  if (count > 1) {
    unroll();
    open("for (int e = 0; e < {}; ++e) {{", count);
  } else {
    open("{{");
    line("const int e = 0;");
  }
  if (!inside.empty()) open("if ({}) {{", inside);
  store_element(store, "(c + e)",
                first.empty() ? format("y{}[e]", number) : format("y{}[{} + e]", number, first));
  if (!inside.empty()) close();
  close();
}

void Emitter::row_store(const ir::Store& store) {
  const DType dtype =
      k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
          .dtype;
  store_element(store, "0", to_memory(dtype, store.node));
}

}  // namespace corten::codegen::gpu
