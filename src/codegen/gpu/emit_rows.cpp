// Reductions over rows.
//
// A chunk of the row's tree has 64 lanes: thread t of a warp accumulates lanes 2t and 2t + 1,
// shuffles combine them by halves. Chunks are neighbours' neighbours in the tree above: every warp
// takes an aligned run of a power of two of them and combines it as it goes; the runs of a block's
// warps meet in shared memory. Missing elements and chunks count as identities, which changes
// nothing.
#include <algorithm>

#include "codegen/gpu/emitter.h"

namespace corten::codegen::gpu {

using ir::Body;
using ir::ScalarNode;
using ir::ScalarOp;

namespace {

constexpr int kWarp = 32;
constexpr int kChunk = ir::kRowTree.chunk;
constexpr int kStoreSteps =
    4;  // pairs whose values are computed before the first of them is stored

bool any_order(const ScalarNode& n) {
  return n.op != ScalarOp::reduce_sum || !is_floating(n.type);
}

}  // namespace

void Emitter::emit_rows() {
  const int group = s_.group, rows = s_.threads / group, warps = std::max(1, group / kWarp);
  collective_ |= group > 1;
  line("const int thread = THREAD{};", rows > 1 ? format(" % {}", group) : "");
  if (warps > 1) {
    line("const int lane = thread % {}, warp = thread / {};", kWarp, kWarp);
  } else {
    line("const int lane = thread;");
  }
  const std::string count = outer_count(k_.outer_rank);
  if (rows > 1) {
    line("const {} number = ({})BLOCK * {} + THREAD / {};", index_, index_, rows, group);
    line("const bool active = number < {};", count);
    line("const {} row = active ? number : 0;", index_);
  } else {
    line("const {} row = BLOCK;", index_);
  }
  outer_point("row", k_.outer_rank);
  std::set<int> used = store_accesses();
  for (const Stage& stage : p_.stages) {
    used.merge(accesses_of(stage.uniform));
    used.merge(accesses_of(stage.varying));
  }
  place_accesses(used);
  for (const Stage& stage : p_.stages)
    for (int32_t id : stage.kept) line("{} k{}[{}];", type(node(id).type), id, 2 * s_.steps);
  for (const Stage& stage : p_.stages) {
    uniform_nodes(stage);
    gather_rows(stage.varying);
    if (&stage == &p_.stages.back())
      store_rows(stage);
    else
      reduce_stage(stage);
  }
}

void Emitter::reduce_stage(const Stage& stage) {
  std::vector<int32_t> in_lanes;
  std::vector<std::pair<ir::Tree, std::vector<int32_t>>> others;
  for (int32_t i : stage.reductions) {
    const ScalarNode& n = node(reduction(i).node);
    line("{} u{};", type(n.type), reduction(i).node);
    const ir::Tree tree = Body::tree(n);
    if (any_order(n) || tree == ir::kRowTree) {
      in_lanes.push_back(i);
      continue;
    }
    auto found =
        std::find_if(others.begin(), others.end(), [&](const auto& o) { return o.first == tree; });
    if (found == others.end()) found = others.insert(others.end(), {tree, {}});
    found->second.push_back(i);
  }
  if (!in_lanes.empty() || !stage.kept.empty()) reduce_in_lanes(stage, in_lanes);
  for (const auto& [tree, reductions] : others) reduce_in_chunks(stage, reductions, tree);
}

void Emitter::reduce_in_lanes(const Stage& stage, const std::vector<int32_t>& reductions) {
  const int warps = std::max(1, s_.group / kWarp), lanes = std::min(s_.group, kWarp);
  const bool looped = s_.steps == 0;
  open("{{");
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    line("{} x{};", type(node(id).type), id);
    if (looped && warps > 1) line("{} stack{}[32];", type(node(id).type), id);
  }
  if (looped) {
    line("const {} chunks = (inner + {}) / {};", index_, kChunk - 1, kChunk);
    line("{} run = 1;", index_);
    if (warps > 1) line("while (run * {} < chunks) run *= 2;", warps);
    open("for ({} k = 0; k < run; ++k) {{", index_);
  }
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    line("{} r{}[2] = {{{}, {}}};", type(node(id).type), id, identity(id), identity(id));
  }
  const int steps = looped ? kChunk / (2 * kWarp) : s_.steps;
  if (looped)
    unroll(stage.cost > 40 ? 1 : stage.cost > 10 ? 4 : 8);
  else
    unroll();
  open("for (int s = 0; s < {}; ++s) {{", steps);
  const std::string chunk = looped      ? (warps > 1 ? "(warp * run + k)" : "k")
                            : warps > 1 ? "warp"
                                        : "";
  line("const {} c = {}s * {} + 2 * lane;", index_,
       chunk.empty() ? "" : format("{} * {} + ", chunk, kChunk), 2 * lanes);
  kept_ = looped ? nullptr : &stage;
  elements(stage.varying, 2, s_.whole ? "" : "c + e < inner", true, [&] {
    for (int32_t i : reductions) {
      const int32_t id = reduction(i).node;
      line("r{}[e] = {};", id, combine(id, format("r{}[e]", id), ref(node(id).arg[0])));
    }
  });
  kept_ = nullptr;
  close();
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    if (lanes > 1) {
      unroll();
      open("for (int m = {}; m > 0; m /= 2) {{", lanes / 2);
      for (int e : {0, 1})
        line("r{}[{}] = {};", id, e,
             combine(id, format("r{}[{}]", id, e), format("SHUFFLE(r{}[{}], m)", id, e)));
      close();
    }
    line("x{} = {};", id, combine(id, format("r{}[0]", id), format("r{}[1]", id)));
    if (looped && warps > 1) {
      line("int l{} = 0;", id);
      line("for (; k >> l{} & 1; ++l{}) x{} = {};", id, id, id,
           combine(id, format("stack{}[l{}]", id, id), format("x{}", id)));
      line("stack{}[l{}] = x{};", id, id, id);
    }
  }
  if (looped) close();
  combine_warps(reductions);
  close();
}

// Trees of other lanes and chunks: a lane takes a whole chunk, 32 chunks of neighbours are combined
// by shuffles.
void Emitter::reduce_in_chunks(const Stage& stage, const std::vector<int32_t>& reductions,
                               ir::Tree tree) {
  const int warps = std::max(1, s_.group / kWarp);
  CORTEN_CHECK(s_.group >= kWarp && s_.steps == 0, "a tree of {} lanes over rows of {} threads",
               tree.lanes, s_.group);
  open("{{");
  line("const {} chunks = (inner + {}) / {};", index_, tree.chunk - 1, tree.chunk);
  line("{} run = 1;", index_);
  line("while (run * {} < chunks) run *= 2;", warps * kWarp);
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    line("{} x{}, stack{}[32];", type(node(id).type), id, id);
  }
  open("for ({} k = 0; k < run; ++k) {{", index_);
  line("const {} chunk = ({}k) * {} + lane;", index_, warps > 1 ? "warp * run + " : "", kWarp);
  for (int32_t i : reductions) line("x{} = {};", reduction(i).node, identity(reduction(i).node));
  open("if (chunk < chunks) {{");
  line("const {} begin = chunk * {}, end = begin + {} < inner ? begin + {} : inner;", index_,
       tree.chunk, tree.chunk, tree.chunk);
  if (tree.lanes > 1)
    for (int32_t i : reductions) {
      const int32_t id = reduction(i).node;
      line("{} r{}[{}];", type(node(id).type), id, tree.lanes);
      line("for (int j = 0; j < {}; ++j) r{}[j] = {};", tree.lanes, id, identity(id));
    }
  open("for ({} c = begin; c < end; ++c) {{", index_);
  elements(stage.varying, 1, "", false, [&] {
    for (int32_t i : reductions) {
      const int32_t id = reduction(i).node;
      const std::string sum =
          tree.lanes > 1 ? format("r{}[(c - begin) % {}]", id, tree.lanes) : format("x{}", id);
      line("{} = {};", sum, combine(id, sum, ref(node(id).arg[0])));
    }
  });
  close();
  if (tree.lanes > 1)
    for (int32_t i : reductions) {
      const int32_t id = reduction(i).node;
      open("for (int half = {}; half > 0; half /= 2)", tree.lanes / 2);
      line("for (int j = 0; j < half; ++j) r{}[j] = {};", id,
           combine(id, format("r{}[j]", id), format("r{}[j + half]", id)));
      --depth_;
      line("x{} = r{}[0];", id, id);
    }
  close();
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    unroll();
    line("for (int m = 1; m < {}; m *= 2) x{} = {};", kWarp, id,
         combine(id, format("x{}", id), format("SHUFFLE(x{}, m)", id)));
    line("int l{} = 0;", id);
    line("for (; k >> l{} & 1; ++l{}) x{} = {};", id, id, id,
         combine(id, format("stack{}[l{}]", id, id), format("x{}", id)));
    line("stack{}[l{}] = x{};", id, id, id);
  }
  close();
  combine_warps(reductions);
  close();
}

// x<node> of every warp to u<node> of all threads.
void Emitter::combine_warps(const std::vector<int32_t>& reductions) {
  const int warps = s_.group / kWarp;
  if (warps <= 1) {
    for (int32_t i : reductions) line("u{} = x{};", reduction(i).node, reduction(i).node);
    return;
  }
  if (reductions.empty()) return;
  for (int32_t i : reductions)
    line("SHARED({}, m{}, {});", type(node(reduction(i).node).type), reduction(i).node,
         s_.threads / kWarp);
  open("if (lane == 0) {{");
  for (int32_t i : reductions)
    line("m{}[THREAD / {}] = x{};", reduction(i).node, kWarp, reduction(i).node);
  close();
  line("BARRIER();");
  for (int32_t i : reductions) {
    const int32_t id = reduction(i).node;
    const std::string first =
        s_.threads > s_.group ? format("THREAD / {} * {} + ", s_.group, warps) : "";
    line("u{} = m{}[{}lane % {}];", id, id, first, warps);
    unroll();
    line("for (int m = 1; m < {}; m *= 2) u{} = {};", warps, id,
         combine(id, format("u{}", id), format("SHUFFLE(u{}, m)", id)));
  }
}

void Emitter::store_rows(const Stage& stage) {
  const bool several = s_.threads > s_.group;
  if (several) open("if (active) {{");
  if (!p_.row_stores.empty()) {
    open("if (thread == 0) {{");
    for (int32_t s : p_.row_stores) row_store(k_.stores[static_cast<size_t>(s)]);
    close();
  }
  if (!p_.loop_stores.empty()) {
    const bool looped = s_.steps == 0;
    const int warps = std::max(1, s_.group / kWarp), lanes = std::min(s_.group, kWarp);
    // Long bodies have enough independent work in a pair.
    const int together = stage.cost > 100 ? 1 : stage.cost > 40 ? 2 : kStoreSteps;
    const int steps = looped ? together : std::min(s_.steps, together);
    std::string c;
    if (looped) {
      open("for ({} first = 2 * thread; first < inner; first += {}) {{", index_,
           2 * s_.group * steps);
      c = format("first + s * {}", 2 * s_.group);
    } else {
      unroll();
      open("for (int step = 0; step < {}; step += {}) {{", s_.steps, steps);
      c = format("{}s * {} + 2 * lane", warps > 1 ? format("warp * {} + ", kChunk) : "", 2 * lanes);
    }
    const std::string inside = !looped && s_.whole ? "" : "c + e < inner";
    const std::string begin = looped ? "0" : "step";
    std::string condition = looped ? format("s < {}", steps) : format("s < step + {}", steps);
    if (!looped && s_.steps % steps) condition += format(" && s < {}", s_.steps);
    for (int32_t s : p_.loop_stores) {
      const ir::Store& store = k_.stores[static_cast<size_t>(s)];
      line("{} y{}[{}];",
           memory_type(k_.operands[static_cast<size_t>(
                                       k_.accesses[static_cast<size_t>(store.access)].operand)]
                           .dtype),
           s, 2 * steps);
    }
    const std::string place = looped ? "2 * s" : "2 * (s - step)";
    unroll();
    open("for (int s = {}; {}; ++s) {{", begin, condition);
    line("const {} c = {};", index_, c);
    kept_ = looped ? nullptr : &stage;
    elements(stage.varying, 2, inside, true, [&] {
      for (int32_t s : p_.loop_stores) {
        const ir::Store& store = k_.stores[static_cast<size_t>(s)];
        const DType dtype =
            k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
                .dtype;
        line("y{}[{} + e] = {};", s, place, to_memory(dtype, store.node));
      }
    });
    kept_ = nullptr;
    close();
    unroll();
    open("for (int s = {}; {}; ++s) {{", begin, condition);
    line("const {} c = {};", index_, c);
    for (int32_t s : p_.loop_stores) store_elements(s, 2, place, inside, true);
    close();
    close();
  }
  if (several) close();
}

}  // namespace corten::codegen::gpu
