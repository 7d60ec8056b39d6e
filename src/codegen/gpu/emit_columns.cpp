// Reductions over the last outer dimension: a thread walks down its columns, whose rows' elements
// lie side by side in memory for the threads of a warp.
#include <algorithm>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

void Emitter::emit_columns() {
  const int v = s_.vector, dims = k_.outer_rank - 1;
  line("const {} tiles = (inner + {}) / {};", index_, v * s_.threads - 1, v * s_.threads);
  line("const {} item = BLOCK / tiles;", index_);
  line("const {} c = ((BLOCK - item * tiles) * {} + THREAD) * {};", index_, s_.threads, v);
  line("if (c >= inner) return;");
  line("const {} parts = a.w[{}] > 1 ? ({})a.w[{}] : 1;", index_, args_.chunks(), index_,
       args_.chunks());
  line("const {} point = item / parts, part = item % parts;", index_);
  outer_point("point", dims);
  for (const Stage& stage : p_.stages) {
    if (&stage == &p_.stages.back()) break;
    column_stage(stage);
  }
  const Stage& stores = p_.stages.back();
  line("const {} o{} = part;", index_, dims);
  std::set<int> used = accesses_of(stores.varying);
  used.merge(accesses_of(stores.uniform));
  used.merge(store_accesses());
  gathers_.clear();
  place_accesses(used);
  uniform_nodes(stores);
  gather_rows(stores.varying);
  for (int32_t s : p_.loop_stores) {
    const ir::Store& store = k_.stores[static_cast<size_t>(s)];
    line(
        "{} y{}[{}];",
        memory_type(
            k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
                .dtype),
        s, v);
  }
  elements(stores.varying, v, "", true, [&] {
    for (int32_t s : p_.loop_stores) {
      const ir::Store& store = k_.stores[static_cast<size_t>(s)];
      const DType dtype =
          k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
              .dtype;
      line("y{}[e] = {};", s, to_memory(dtype, store.node));
    }
  });
  for (int32_t s : p_.loop_stores) store_elements(s, v, "", "", true);
}

// r<node>[e] of each reduction of a stage.
void Emitter::column_stage(const Stage& stage) {
  const int v = s_.vector, last = k_.outer_rank - 1, lanes = stage.tree.lanes,
            chunk = stage.tree.chunk;
  const bool stacked = s_.chunks;
  for (int32_t i : stage.reductions)
    line("{} r{}[{}];", type(node(reduction(i).node).type), reduction(i).node, v);
  const auto each = [&](auto&& body) {
    unroll();
    open("for (int e = 0; e < {}; ++e) {{", v);
    for (int32_t i : stage.reductions) body(reduction(i).node);
    close();
  };
  open("{{");
  if (lanes > 1)
    for (int32_t i : stage.reductions)
      line("{} l{}[{}][{}];", type(node(reduction(i).node).type), reduction(i).node, lanes, v);
  if (stacked) {
    for (int32_t i : stage.reductions)
      line("{} stack{}[32][{}];", type(node(reduction(i).node).type), reduction(i).node, v);
    line("const {} chunks = n{} > 0 ? (n{} + {}) / {} : 1;", index_, last, last, chunk - 1, chunk);
    open("for ({} k = 0; k < chunks; ++k) {{", index_);
  } else {
    line("const {} k = part;", index_);
  }
  each([&](int32_t id) {
    line("r{}[e] = {};", id, identity(id));
    if (lanes > 1) line("for (int j = 0; j < {}; ++j) l{}[j][e] = {};", lanes, id, identity(id));
  });
  line("const {} begin = k * {}, end = begin + {} < n{} ? begin + {} : n{};", index_, chunk, chunk,
       last, chunk, last);
  if (chunk > 1) unroll(stage.cost > 40 ? 2 : 8);
  open("for ({} o{} = begin; o{} < end; ++o{}) {{", index_, last, last, last);
  std::set<int> used = accesses_of(stage.varying);
  used.merge(accesses_of(stage.uniform));
  gathers_.clear();
  place_accesses(used);
  uniform_nodes(stage);
  gather_rows(stage.varying);
  elements(stage.varying, v, "", true, [&] {
    for (int32_t i : stage.reductions) {
      const int32_t id = reduction(i).node;
      const std::string sum =
          lanes > 1 ? format("l{}[(o{} - begin) % {}][e]", id, last, lanes) : format("r{}[e]", id);
      line("{} = {};", sum, combine(id, sum, ref(node(id).arg[0])));
    }
  });
  close();
  if (lanes > 1)
    each([&](int32_t id) {
      open("for (int half = {}; half > 0; half /= 2)", lanes / 2);
      line("for (int j = 0; j < half; ++j) l{}[j][e] = {};", id,
           combine(id, format("l{}[j][e]", id), format("l{}[j + half][e]", id)));
      --depth_;
      line("r{}[e] = l{}[0][e];", id, id);
    });
  if (stacked) {
    line("int level = 0;");
    open("for (; k >> level & 1; ++level) {{");
    each([&](int32_t id) {
      line("r{}[e] = {};", id, combine(id, format("stack{}[level][e]", id), format("r{}[e]", id)));
    });
    close();
    each([&](int32_t id) { line("stack{}[level][e] = r{}[e];", id, id); });
    close();
    // What is left: the runs of the set bits of the number of chunks, the shortest and last one
    // first.
    line("bool any = false;");
    open("for (int level = 0; chunks >> level; ++level) {{");
    line("if (!(chunks >> level & 1)) continue;");
    each([&](int32_t id) {
      line("r{}[e] = any ? {} : stack{}[level][e];", id,
           combine(id, format("stack{}[level][e]", id), format("r{}[e]", id)), id);
    });
    line("any = true;");
    close();
  }
  close();
  for (int32_t i : stage.reductions) columns_in_array_.insert(reduction(i).node);
}

}  // namespace corten::codegen::gpu
