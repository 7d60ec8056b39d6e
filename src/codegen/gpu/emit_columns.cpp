// Reductions over the last outer dimension: a thread walks down its columns, whose rows' elements
// lie side by side in memory for the threads of a warp.
//
// Chunks of a column are combined as a binary counter counts: two runs of 2^i chunks that begin at a
// multiple of 2^(i+1) become one; what is left in the end is combined from the shortest run up. So
// threads of a group may take runs of a power of two of chunks each, and combine their results in the
// same way.
#include <algorithm>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

void Emitter::emit_columns() {
  const int v = s_.vector, dims = k_.outer_rank - 1;
  const int across = s_.threads / s_.group;  // threads of a block side by side
  line("const {} tiles = (inner + {}) / {};", index_, v * across - 1, v * across);
  line("const {} item = BLOCK / tiles;", index_);
  if (s_.group > 1) {
    collective_ = true;
    line("const int run = THREAD / {}, lane = THREAD % {};", across, across);
    line("const {} column = ((BLOCK - item * tiles) * {} + lane) * {};", index_, across, v);
    // Threads behind the last column wait with the others at barriers.
    line("const {} c = column < inner ? column : 0;", index_);
  } else {
    line("const {} c = ((BLOCK - item * tiles) * {} + THREAD) * {};", index_, across, v);
    line("if (c >= inner) return;");
  }
  line("const {} parts = a.w[{}] > 1 ? ({})a.w[{}] : 1;", index_, args_.chunks(), index_,
       args_.chunks());
  line("const {} point = item / parts, part = item % parts;", index_);
  outer_point("point", dims);
  for (const Stage& stage : p_.stages) {
    if (&stage == &p_.stages.back()) break;
    column_stage(stage);
  }
  const Stage& stores = p_.stages.back();
  if (s_.group > 1) line("if (run > 0 || column >= inner) return;");
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

void Emitter::each_column(const Stage& stage, const std::function<void(int32_t)>& body) {
  unroll();
  open("for (int e = 0; e < {}; ++e) {{", s_.vector);
  for (int32_t i : stage.reductions) body(reduction(i).node);
  close();
}

void Emitter::combine_in_order(const Stage& stage, const std::string& count, int depth,
                               const std::function<void()>& value, const std::string& rest,
                               const std::function<void()>& last) {
  for (int32_t i : stage.reductions)
    line("{} stack{}[{}][{}];", type(node(reduction(i).node).type), reduction(i).node, depth,
         s_.vector);
  open("for ({} k = 0; k < {}; ++k) {{", index_, count);
  value();
  line("int level = 0;");
  open("for (; k >> level & 1; ++level) {{");
  each_column(stage, [&](int32_t id) {
    line("r{}[e] = {};", id, combine(id, format("stack{}[level][e]", id), format("r{}[e]", id)));
  });
  close();
  each_column(stage, [&](int32_t id) { line("stack{}[level][e] = r{}[e];", id, id); });
  close();
  // What is left: the runs of the set bits of the number of chunks, the shortest and last one first.
  if (rest.empty()) {
    line("bool any = false;");
  } else {
    line("bool any = {};", rest);
    open("if (any) {{");
    last();
    close();
  }
  open("for (int level = 0; {} >> level; ++level) {{", count);
  line("if (!({} >> level & 1)) continue;", count);
  each_column(stage, [&](int32_t id) {
    line("r{}[e] = any ? {} : stack{}[level][e];", id,
         combine(id, format("stack{}[level][e]", id), format("r{}[e]", id)), id);
  });
  line("any = true;");
  close();
}

// r<node>[e] of each reduction of a stage.
void Emitter::column_stage(const Stage& stage) {
  const int v = s_.vector, last = k_.outer_rank - 1, lanes = stage.tree.lanes,
            chunk = stage.tree.chunk;
  for (int32_t i : stage.reductions)
    line("{} r{}[{}];", type(node(reduction(i).node).type), reduction(i).node, v);
  // A chunk, number `number`.
  const auto walk = [&](const std::string& number) {
    each_column(stage, [&](int32_t id) {
      line("r{}[e] = {};", id, identity(id));
      if (lanes > 1) line("for (int j = 0; j < {}; ++j) l{}[j][e] = {};", lanes, id, identity(id));
    });
    line("const {} begin = {} * {}, end = begin + {} < n{} ? begin + {} : n{};", index_, number,
         chunk, chunk, last, chunk, last);
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
        const std::string sum = lanes > 1 ? format("l{}[(o{} - begin) % {}][e]", id, last, lanes)
                                          : format("r{}[e]", id);
        line("{} = {};", sum, combine(id, sum, ref(node(id).arg[0])));
      }
    });
    close();
    if (lanes > 1)
      each_column(stage, [&](int32_t id) {
        open("for (int half = {}; half > 0; half /= 2)", lanes / 2);
        line("for (int j = 0; j < half; ++j) l{}[j][e] = {};", id,
             combine(id, format("l{}[j][e]", id), format("l{}[j + half][e]", id)));
        --depth_;
        line("r{}[e] = l{}[0][e];", id, id);
      });
  };
  if (s_.group > 1)
    for (int32_t i : stage.reductions)
      line("SHARED({}, m{}, {});", type(node(reduction(i).node).type), reduction(i).node,
           s_.threads * v);
  open("{{");
  if (lanes > 1)
    for (int32_t i : stage.reductions)
      line("{} l{}[{}][{}];", type(node(reduction(i).node).type), reduction(i).node, lanes, v);
  if (!s_.chunks) {
    walk("part");
    close();
  } else {
    line("const {} chunks = n{} > 0 ? (n{} + {}) / {} : 1;", index_, last, last, chunk - 1, chunk);
    if (s_.group == 1) {
      combine_in_order(stage, "chunks", 32, [&] { walk("k"); });
      close();
    } else {
      line("{} span = 1;", index_);
      line("while (span * {} < chunks) span *= 2;", s_.group);
      line("const {} before = run * span, left = chunks - before;", index_);
      line("const {} mine = left < span ? left : span;", index_);
      open("if (mine > 0) {{");
      combine_in_order(stage, "mine", 32, [&] { walk("(before + k)"); });
      const int across = s_.threads / s_.group;
      each_column(stage, [&](int32_t id) { line("m{}[THREAD * {} + e] = r{}[e];", id, v, id); });
      close();
      line("BARRIER();");
      line("const {} whole = chunks / span;", index_);
      const auto take = [&](const char* number) {
        each_column(stage, [&](int32_t id) {
          line("r{}[e] = m{}[({} * {} + lane) * {} + e];", id, id, number, across, v);
        });
      };
      open("{{");
      combine_in_order(stage, "whole", 8, [&] { take("k"); }, "whole * span < chunks",
                       [&] { take("whole"); });
      close();
      close();
    }
  }
  for (int32_t i : stage.reductions) columns_in_array_.insert(reduction(i).node);
}

}  // namespace corten::codegen::gpu
