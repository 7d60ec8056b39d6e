#include "codegen/gpu/emit.h"

#include <algorithm>
#include <set>

#include "base/hash.h"
#include "codegen/compile.h"
#include "codegen/gpu/emitter.h"
#include "codegen/gpu/prelude.h"

namespace corten::codegen::gpu {

using ir::Kernel;

namespace {

// Values that a thread keeps in registers between stages: its share of the register file with four
// blocks of four warps or more on a multiprocessor.
constexpr int kKeptRegisters = 96;

KeepPolicy keep_policy(const Schedule& s) {
  KeepPolicy keep;
  keep.above = 2;
  keep.load_cost = 16;
  keep.rows =
      s.shape == Shape::rows && s.steps > 0 ? std::max(1, kKeptRegisters / (2 * s.steps)) : 0;
  return keep;
}

}  // namespace

Emitter::Emitter(const Kernel& kernel, const Schedule& schedule, std::string name)
    : s_(schedule),
      p_(make_plan(kernel, keep_policy(schedule))),
      k_(p_.kernel),
      args_(kernel),
      name_(std::move(name)),
      index_(schedule.wide ? "i64" : "int") {
  pack_.assign(k_.body.nodes().size(), 0);
}

void Emitter::load_arguments() {
  for (int d = 0; d < k_.outer_rank; ++d)
    line("const {} n{} = ({})a.w[{}];", index_, d, index_, args_.outer(d));
  line("const {} inner = ({})a.w[{}];", index_, index_, args_.inner());
  for (size_t i = 0; i < k_.params.size(); ++i) {
    const std::string word = format("a.w[{}]", args_.param(static_cast<int>(i)));
    switch (k_.params[i]) {
      case DType::f32:
        line("const float q{} = f32((uint32){});", i, word);
        break;
      case DType::f64:
        line("const double q{} = f64((uint64){});", i, word);
        break;
      case DType::boolean:
        line("const bool q{} = {} != 0;", i, word);
        break;
      default:
        line("const {} q{} = ({}){};", type(k_.params[i]), i, type(k_.params[i]), word);
    }
  }
}

// A thread takes `vector` elements of a row; the first of a row's threads stores what does not
// vary.
void Emitter::emit_points() {
  const int v = s_.vector;
  if (v == 1)
    line("const {} columns = inner > 0 ? inner : 1;", index_);
  else
    line("const {} columns = inner / {};", index_, v);
  line("const {} t = ({})BLOCK * {} + THREAD;", index_, index_, s_.threads);
  line("if (t >= {} * columns) return;", outer_count(k_.outer_rank));
  if (k_.outer_rank == 0) {
    line("const {} c = t{};", index_, v == 1 ? "" : format(" * {}", v));
  } else {
    if (index_ == "int")
      line("const int row = quotient(t{}, a.w[{}]);", v == 1 ? "" : format(" * {}", v),
           args_.inner_quotient());
    else
      line("const i64 row = (i64)((uint64)t / (uint64)columns);");
    line("const {} c = (t - row * columns){};", index_, v == 1 ? "" : format(" * {}", v));
    outer_point("row", k_.outer_rank);
  }
  const Stage& stage = p_.stages.back();
  std::set<int> used = accesses_of(stage.varying);
  used.merge(accesses_of(stage.uniform));
  used.merge(store_accesses());
  place_accesses(used);
  uniform_nodes(stage);
  gather_rows(stage.varying);
  if (!p_.row_stores.empty()) {
    open("if (c == 0) {{");
    for (int32_t s : p_.row_stores) row_store(k_.stores[static_cast<size_t>(s)]);
    close();
  }
  if (p_.loop_stores.empty()) return;
  for (int32_t s : p_.loop_stores) {
    const ir::Store& store = k_.stores[static_cast<size_t>(s)];
    line(
        "{} y{}[{}];",
        memory_type(
            k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
                .dtype),
        s, v);
  }
  // With vectors every thread's elements lie in the row.
  const std::string inside = v > 1 ? "" : "c < inner";
  elements(stage.varying, v, inside, true, [&] {
    for (int32_t s : p_.loop_stores) {
      const ir::Store& store = k_.stores[static_cast<size_t>(s)];
      const DType dtype =
          k_.operands[static_cast<size_t>(k_.accesses[static_cast<size_t>(store.access)].operand)]
              .dtype;
      line("y{}[e] = {};", s, to_memory(dtype, store.node));
    }
  });
  for (int32_t s : p_.loop_stores) store_elements(s, v, "", inside, true);
}

KernelText Emitter::run() {
  out_ = format("// {}\n", gpu::to_string(s_));
  open("{}KERNEL({}, {}, {}) {{", s_.grouped ? "GROUP_" : "", name_, s_.threads, args_.words());
  load_arguments();
  switch (s_.shape) {
    case Shape::points:
      emit_points();
      break;
    case Shape::rows:
      emit_rows();
      break;
    case Shape::columns:
      emit_columns();
      break;
    case Shape::scatter:
      emit_scatter();
      break;
    case Shape::walk:
      emit_walk();
      break;
  }
  close();
  return {std::move(name_), std::move(out_), s_.threads, args_.words(), s_.grouped, collective_};
}

KernelText emit(const Kernel& kernel, const Schedule& s) {
  const Hash128 structure = structure_hash(kernel);
  Hasher hasher;
  hasher.update_value(structure.high).update_value(structure.low).update_value(kGpuEmitterVersion);
  hasher.update_value(static_cast<int>(s.shape))
      .update_value(s.threads)
      .update_value(s.vector)
      .update_value(s.group);
  hasher.update_value(s.steps)
      .update_value(static_cast<int>(s.whole))
      .update_value(static_cast<int>(s.chunks));
  hasher.update_value(s.own);
  hasher.update_value(static_cast<int>(s.wide)).update_value(static_cast<int>(s.grouped));
  for (bool aligned : s.aligned) hasher.update_value(static_cast<int>(aligned));
  return Emitter(kernel, s, "k_" + hex(hasher.digest64())).run();
}

std::string module_text(std::span<const KernelText> kernels) {
  std::string out(prelude());
  std::set<std::string_view> known;
  for (const KernelText& k : kernels)
    if (!k.library.empty() && known.insert(k.library).second) out += k.library;
  for (const KernelText& k : kernels)
    if (known.insert(k.name).second) out += "\n" + k.text;
  return out;
}

}  // namespace corten::codegen::gpu
