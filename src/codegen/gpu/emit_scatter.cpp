// Stores to places that an index names, in ascending order of the outer points for every place.
#include <algorithm>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

using ir::ScalarNode;

// Every place has one block. Blocks look at all points before theirs (those that add) or behind
// (those that set): only the block of a place's first (last) point goes on. It then takes the
// points that name its place in order.
void Emitter::emit_scatter() {
  collective_ = true;
  CORTEN_CHECK(k_.stores.size() == 1 && p_.stages.size() == 1,
               "a scatter of {} stores and {} stages", k_.stores.size(), p_.stages.size());
  const Stage& stage = p_.stages.back();
  const ir::Store& store = k_.stores[0];
  const int target = store.access, v = s_.vector, dims = k_.outer_rank;
  const ir::Access& access = k_.accesses[static_cast<size_t>(target)];
  const DType dtype = k_.operands[static_cast<size_t>(access.operand)].dtype;
  const bool adds = store.mode == ir::StoreMode::add;
  const std::string_view memory = memory_type(dtype);

  // The nodes that the index is computed from.
  std::set<int32_t> needed;
  const auto need = [&](auto&& self, int32_t id) -> void {
    if (id < 0 || !needed.insert(id).second) return;
    const ScalarNode& n = node(id);
    for (int32_t arg : n.arg) self(self, arg);
    if (n.op == ir::ScalarOp::load) self(self, k_.accesses[static_cast<size_t>(n.imm)].index);
  };
  need(need, access.index);
  const std::vector<int32_t> index_nodes(needed.begin(), needed.end());

  line("const {} tiles = (inner + {}) / {};", index_, v * s_.threads - 1, v * s_.threads);
  line("const {} mine = BLOCK / tiles;", index_);
  line("const {} c = ((BLOCK - mine * tiles) * {} + THREAD) * {};", index_, s_.threads, v);
  line("const {} total = {};", index_, outer_count(dims));

  line("// The address of a point's row, or 0.");
  open("const auto place = [&]({} point) -> i64 {{", index_);
  outer_point("point", dims);
  std::set<int> used = accesses_of(index_nodes);
  used.insert(target);
  place_accesses(used);
  if (access.guards & ((1 << dims) - 1)) line("if (!g{}) return 0;", target);
  for (int32_t id : index_nodes) define(id);
  const std::string index = ref(access.index);
  line("if (!in_range({}, a.w[{}], a.w[{}], {})) return 0;", index, args_.index_bound(target),
       args_.fault(), target);
  line("return (i64)(p{} + {} * a.w[{}]);", target, index, args_.index_stride(target));
  depth_--;
  line("}};");

  line("// Takes the values of a point.");
  open("const auto take = [&]({} point, {} (&y0)[{}]) {{", index_, memory, v);
  outer_point("point", dims);
  used = accesses_of(stage.varying);
  used.merge(accesses_of(stage.uniform));
  gathers_.clear();
  place_accesses(used);
  uniform_nodes(stage);
  gather_rows(stage.varying);
  elements(stage.varying, v, "", true, [&] {
    if (!adds) return line("y0[e] = {};", to_memory(dtype, store.node));
    CORTEN_CHECK(dtype != DType::boolean, "a store that adds booleans");
    const std::string sum = format("add({}, {})", from_memory(dtype, "y0[e]"), ref(store.node));
    line("y0[e] = {};", stored(dtype, sum));
  });
  depth_--;
  line("}};");

  line("const i64 row = place(mine);");
  line("if (row == 0) return;");
  // Rows that are named often were named early: the search ends there for the whole block.
  constexpr int kRounds = 8;
  const int span = kRounds * s_.threads;
  open("for ({} base = {}; base < {}; base += {}) {{", index_, adds ? "0" : "mine + 1",
       adds ? "mine" : "total", span);
  line("int other = 0;");
  line("for ({} q = base + THREAD; q < {} && q - base < {}; q += {}) other |= place(q) == row;",
       index_, adds ? "mine" : "total", span, s_.threads);
  line("if (BARRIER_OR(other)) return;");
  close();
  line("{}* const p{} = ({}*)row;", memory, target, memory);
  line("const bool has = c < inner;");
  line("{} y0[{}];", memory, v);
  if (adds) {
    const std::string inner = inner_guard(target, "(c + e)");
    if (v > 1 && s_.aligned[static_cast<size_t>(target)]) {
      line("if (has) read_pack(y0, p{} + c);", target);
    } else {
      line("for (int e = 0; e < {}; ++e) if (has{}) y0[e] = read({});", v,
           inner.empty() ? "" : " && " + inner, element_address(target, "(c + e)"));
    }
    line("SHARED(uint32, found, {});", s_.threads / 32);
    open("for ({} base = mine; base < total; base += {}) {{", index_, s_.threads);
    line("const uint32 named = BALLOT(base + THREAD < total && place(base + THREAD) == row);");
    line("if (THREAD % 32 == 0) found[THREAD / 32] = named;");
    line("BARRIER();");
    open("for (int w = 0; w < {}; ++w) {{", s_.threads / 32);
    open("for (uint32 bits = found[w]; bits != 0; bits &= bits - 1) {{");
    line("if (has) take(base + w * 32 + first_bit(bits), y0);");
    close();
    close();
    line("BARRIER();");
    close();
  } else {
    line("if (has) take(mine, y0);");
  }
  line("if (!has) return;");
  // Outer guards held, or there would be no row.
  if (v > 1 && s_.aligned[static_cast<size_t>(target)]) {
    line("write_pack(p{} + c, y0);", target);
  } else {
    const std::string inner = inner_guard(target, "(c + e)");
    line("for (int e = 0; e < {}; ++e) {}write({}, y0[e]);", v,
         inner.empty() ? "" : format("if ({}) ", inner), element_address(target, "(c + e)"));
  }
}

// No other thread has a thread's own coordinates, and thus its places: it goes through all points
// that have them.
void Emitter::emit_walk() {
  const Stage& stage = p_.stages.back();
  const ir::Store& store = k_.stores[0];
  const int target = store.access;
  const ir::Access& access = k_.accesses[static_cast<size_t>(target)];
  const DType dtype = k_.operands[static_cast<size_t>(access.operand)].dtype;
  const int dims = k_.outer_rank;
  const auto owns = [&](int d) { return (s_.own >> d & 1) != 0; };
  const bool owns_column = owns(ir::kMaxOuter);
  std::vector<std::string> sizes;
  if (owns_column) sizes.emplace_back("inner");
  for (int d = 0; d < dims; ++d)
    if (owns(d)) sizes.push_back(format("n{}", d));
  const std::string walks = sizes.empty() ? "1" : format("{}", fmt::join(sizes, " * "));
  line("const {} walk = ({})BLOCK * {} + THREAD;", index_, index_, s_.threads);
  line("if (walk >= {}) return;", walks);
  // The last coordinates change fastest from thread to thread.
  std::string rest = "walk";
  const auto digit = [&](const std::string& coordinate, const std::string& size) {
    line("const {} {} = {} % {};", index_, coordinate, rest, size);
    line("const {} above_{} = {} / {};", index_, coordinate, rest, size);
    rest = "above_" + coordinate;
  };
  if (owns_column) digit("c", "inner");
  for (int d = dims; d-- > 0;)
    if (owns(d)) digit(format("o{}", d), format("n{}", d));
  int loops = 0;
  for (int d = 0; d < dims; ++d)
    if (!owns(d)) {
      open("for ({} o{} = 0; o{} < n{}; ++o{}) {{", index_, d, d, d, d);
      ++loops;
    }
  std::set<int> used = accesses_of(stage.varying);
  used.merge(accesses_of(stage.uniform));
  used.insert(target);
  place_accesses(used);
  uniform_nodes(stage);
  gather_rows(stage.varying);
  if (!owns_column) {
    open("for ({} c = 0; c < inner; ++c) {{", index_);
    ++loops;
  }
  elements(stage.varying, 1, "", false, [&] {
    std::string guard = (access.guards & ((1 << dims) - 1)) ? format("g{} && ", target) : "";
    if (const std::string inner = inner_guard(target, "c"); !inner.empty()) guard += inner + " && ";
    open("if ({}in_range({}, a.w[{}], a.w[{}], {})) {{", guard, ref(access.index),
         args_.index_bound(target), args_.fault(), target);
    line("{}* const to = {} + {} * a.w[{}];", memory_type(dtype), element_address(target, "c"),
         ref(access.index), args_.index_stride(target));
    if (store.mode == ir::StoreMode::set) {
      line("write(to, ({}){});", memory_type(dtype), to_memory(dtype, store.node));
    } else {
      const std::string sum =
          format("add({}, {})", from_memory(dtype, "read(to)"), ref(store.node));
      line("write(to, {});", stored(dtype, sum));
    }
    close();
  });
  while (loops-- > 0) close();
}

}  // namespace corten::codegen::gpu
