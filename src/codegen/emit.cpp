#include "codegen/emit.h"

#include <cstddef>

#include "base/format.h"
#include "codegen/emitter.h"
#include "codegen/support.h"

namespace corten::codegen {

using ir::Access;
using ir::InnerStride;
using ir::KernelForm;
using ir::ScalarNode;
using ir::ScalarOp;

Emitter::Emitter(const Plan& plan, const Target& target, llvm::Module& module,
                 const std::string& symbol)
    : p_(plan),
      k_(plan.kernel),
      target_(target),
      module_(module),
      context_(module.getContext()),
      b_(context_) {
  auto* t = llvm::FunctionType::get(b_.getVoidTy(), {b_.getPtrTy()}, false);
  function_ = llvm::Function::Create(t, llvm::Function::ExternalLinkage, symbol, module);
  function_->setDoesNotThrow();
  function_->addFnAttr("prefer-vector-width", target.avx512() ? "512" : "256");
  function_->addFnAttr("min-legal-vector-width", target.avx512() ? "512" : "256");
  function_->addParamAttr(0, llvm::Attribute::NoAlias);
  function_->addParamAttr(0, llvm::Attribute::ReadOnly);
  entry_ = block("entry");
}

void Emitter::run() {
  b_.SetInsertPoint(entry_);
  load_arguments();
  emit_invariants();
  if (k_.form == KernelForm::columns)
    emit_columns();
  else
    emit_rows();
  if (streams_) b_.CreateIntrinsic(llvm::Intrinsic::x86_sse_sfence, {}, {});
  b_.CreateRetVoid();
}

void Emitter::load_arguments() {
  Value* call = function_->getArg(0);
  llvm::Type *word = b_.getInt64Ty(), *pointer = b_.getPtrTy();
  inner_ = field(call, offsetof(Call, inner), word);
  chunks_ = field(call, offsetof(Call, chunks), word);
  begin_ = field(call, offsetof(Call, begin), word);
  end_ = field(call, offsetof(Call, end), word);
  c0_ = field(call, offsetof(Call, c0), word);
  c1_ = field(call, offsetof(Call, c1), word);
  scratch_ = field(call, offsetof(Call, scratch), pointer);
  fault_ = field(call, offsetof(Call, fault), pointer);
  row_length_ = b_.CreateAnd(b_.CreateAdd(inner_, i64(63)), i64(-64));
  zero_ = local(word);
  b_.CreateStore(i64(0), zero_);
  Value* outer = field(call, offsetof(Call, outer), pointer);
  for (int d = 0; d < k_.outer_rank; ++d)
    extent_.push_back(field(outer, sizeof(int64_t) * static_cast<size_t>(d), word));
  Value* params = field(call, offsetof(Call, params), pointer);
  for (size_t i = 0; i < k_.params.size(); ++i) {
    Value* bits = field(params, sizeof(int64_t) * i, word);
    switch (k_.params[i]) {
      case DType::f32:
        bits = b_.CreateBitCast(b_.CreateTrunc(bits, b_.getInt32Ty()), b_.getFloatTy());
        break;
      case DType::f64:
        bits = b_.CreateBitCast(bits, b_.getDoubleTy());
        break;
      case DType::i32:
        bits = b_.CreateTrunc(bits, b_.getInt32Ty());
        break;
      case DType::boolean:
        bits = b_.CreateICmpNE(bits, i64(0));
        break;
      default:
        break;
    }
    params_.push_back(bits);
  }
  Value* pointers = field(call, offsetof(Call, pointers), pointer);
  Values bases;
  for (size_t i = 0; i < k_.operands.size(); ++i)
    bases.push_back(field(pointers, sizeof(void*) * i, pointer));
  Value* accesses = field(call, offsetof(Call, accesses), pointer);
  using A = ir::Launch::Access;
  for (size_t i = 0; i < k_.accesses.size(); ++i) {
    const Access& a = k_.accesses[i];
    AccessArguments& x = access_.emplace_back();
    const auto get = [&](size_t offset) { return field(accesses, i * sizeof(A) + offset, word); };
    const auto get_one = [&](size_t array, int d) {
      return get(array + sizeof(int64_t) * static_cast<size_t>(d));
    };
    x.offset = get(offsetof(A, offset));
    if (a.inner == InnerStride::any) {
      x.inner_stride = get(offsetof(A, inner_stride));
      x.lane_strides = b_.CreateMul(iota64(), splat(x.inner_stride));
    }
    if (a.index >= 0) {
      x.index_stride = get(offsetof(A, index_stride));
      x.index_bound = get(offsetof(A, index_bound));
    }
    for (int d = 0; d <= k_.outer_rank; ++d) {
      if (d < k_.outer_rank) x.strides[d] = get_one(offsetof(A, strides), d);
      if (a.guards >> d & 1) {
        x.lo[d] = get_one(offsetof(A, lo), d);
        x.hi[d] = get_one(offsetof(A, hi), d);
      }
    }
    if (a.operand >= 0) x.base = bases[static_cast<size_t>(a.operand)];
  }
}

// Nodes that depend on parameters and constants only.
void Emitter::emit_invariants() {
  invariant_.assign(k_.body.nodes().size(), nullptr);
  std::vector<char> used(invariant_.size(), 0);
  for (const Stage& stage : p_.stages)
    for (int32_t id : stage.uniform)
      if (p_.invariant[id]) used[id] = 1;
  for (size_t id = 0; id < used.size(); ++id) {
    if (!used[id]) continue;
    const ScalarNode& n = node(static_cast<int32_t>(id));
    const auto arg = [&](int i) { return n.arg[i] >= 0 ? invariant_[n.arg[i]] : nullptr; };
    if (n.op == ScalarOp::param)
      invariant_[id] = params_[static_cast<size_t>(n.imm)];
    else if (const auto rounded = ir::rounded_type(n.op))
      invariant_[id] = from_memory(*rounded, to_memory(*rounded, arg(0), 1), 1);
    else
      invariant_[id] =
          op(n, n.arg[0] >= 0 ? node(n.arg[0]).type : n.type, arg(0), arg(1), arg(2), 1);
  }
}

void Emitter::begin_row(Row& row, Values outer) {
  row.outer = std::move(outer);
  row.scalar.assign(k_.body.nodes().size(), nullptr);
  row.splat.assign(k_.body.nodes().size(), nullptr);
  row.places.assign(k_.accesses.size(), {});
}

Value* Emitter::vector(Row& row, Lanes& lanes, int32_t id) {
  if (p_.varies[id]) return lanes.value[id];
  if (row.splat[id]) return row.splat[id];
  return splat(row.scalar[id]);
}

// What a stage's loop needs and does not vary in it: scalars, places of accesses, scalars spread
// over vectors.
void Emitter::begin_stage(Row& row, const Stage& stage) {
  for (int32_t id : stage.uniform) {
    const ScalarNode& n = node(id);
    const auto arg = [&](int i) { return n.arg[i] >= 0 ? row.scalar[n.arg[i]] : nullptr; };
    if (p_.invariant[id]) {
      row.scalar[id] = invariant_[id];
    } else if (n.op == ScalarOp::load || n.op == ScalarOp::index) {
      place_access(row, static_cast<int>(n.imm));
      row.scalar[id] = load_scalar(row, n);
    } else if (const auto rounded = ir::rounded_type(n.op)) {
      row.scalar[id] = from_memory(*rounded, to_memory(*rounded, arg(0), 1), 1);
    } else {
      row.scalar[id] =
          op(n, n.arg[0] >= 0 ? node(n.arg[0]).type : n.type, arg(0), arg(1), arg(2), 1);
    }
  }
  const auto spread = [&](int32_t id) {
    if (id < 0 || p_.varies[id] || row.splat[id]) return;
    const ScalarNode& n = node(id);
    row.splat[id] = n.op == ScalarOp::constant ? constant(n, kLanes) : splat(row.scalar[id]);
  };
  for (int32_t id : stage.varying) {
    const ScalarNode& n = node(id);
    if (n.op == ScalarOp::load || n.op == ScalarOp::index)
      place_access(row, static_cast<int>(n.imm));
    if (n.op == ScalarOp::reduce_sum || n.op == ScalarOp::reduce_max ||
        n.op == ScalarOp::reduce_min)
      continue;
    for (int32_t arg : n.arg) spread(arg);
  }
  for (int32_t r : stage.reductions)
    spread(node(p_.reductions[static_cast<size_t>(r)].node).arg[0]);
  if (&stage != &p_.stages.back()) return;
  for (const ir::Store& s : k_.stores) place_access(row, s.access);
  for (int32_t s : p_.loop_stores) {
    const ir::Store& store = k_.stores[static_cast<size_t>(s)];
    spread(store.node);
    const Access& a = k_.accesses[store.access];
    if (!store.streaming || a.inner != InnerStride::one || store.mode != ir::StoreMode::set)
      continue;
    const auto bytes = static_cast<int64_t>(size_of(k_.operands[a.operand].dtype));
    Value* first =
        b_.CreateAdd(b_.CreatePtrToInt(row.places[store.access].address, b_.getInt64Ty()),
                     b_.CreateMul(c0_, i64(bytes)));
    row.places[store.access].aligned = b_.CreateICmpEQ(b_.CreateAnd(first, i64(63)), i64(0));
    streams_ = true;
  }
}

// The nodes of a stage for a group of vectors, node by node: a chain of dependent operations of one
// vector is far longer than what a processor looks ahead, so the vectors' chains are interleaved.
// Values that later stages need go to scratch rows.
void Emitter::evaluate(Row& row, std::vector<Lanes>& group, const Stage& stage) {
  for (int32_t id : stage.restored)
    for (Lanes& lanes : group) lanes.value[id] = restore(lanes, id);
  for (int32_t id : stage.varying)
    for (Lanes& lanes : group) evaluate_node(row, lanes, id);
  for (int32_t id : stage.kept)
    for (Lanes& lanes : group) keep(lanes, lanes.value[id], node(id).type, p_.row[id]);
  if (k_.form == KernelForm::columns) return;
  for (int32_t i : stage.reductions) {
    const Reduction& r = p_.reductions[static_cast<size_t>(i)];
    if (r.in_lanes) continue;
    const int32_t id = node(r.node).arg[0];
    for (Lanes& lanes : group) keep(lanes, vector(row, lanes, id), node(r.node).type, r.row);
  }
}

void Emitter::evaluate_node(Row& row, Lanes& lanes, int32_t id) {
  const ScalarNode& n = node(id);
  const auto arg = [&](int i) { return n.arg[i] >= 0 ? vector(row, lanes, n.arg[i]) : nullptr; };
  switch (n.op) {
    case ScalarOp::load:
    case ScalarOp::index:
      lanes.value[id] = load_lanes(row, lanes, n);
      break;
    case ScalarOp::reduce_sum:
    case ScalarOp::reduce_max:
    case ScalarOp::reduce_min:
      for (const Reduction& r : p_.reductions)
        if (r.node == id)
          lanes.value[id] = b_.CreateLoad(type(n.type, kLanes), tile_address(r, i64(0), lanes.c));
      break;
    case ScalarOp::round_bf16:
    case ScalarOp::round_f16:
    case ScalarOp::round_e4m3:
    case ScalarOp::round_e5m2: {
      const DType rounded = *ir::rounded_type(n.op);
      lanes.bits[id] = to_memory(rounded, arg(0), kLanes);
      lanes.value[id] = from_memory(rounded, lanes.bits[id], kLanes);
      break;
    }
    default:
      lanes.value[id] =
          op(n, n.arg[0] >= 0 ? node(n.arg[0]).type : n.type, arg(0), arg(1), arg(2), kLanes);
  }
}

// What the first stage of the next row will read, while the last stage of this one computes: memory
// is idle between the first stages of two rows otherwise.
void Emitter::prefetch_row(Row& row, const Lanes& lanes) {
  if (k_.form != KernelForm::rows || p_.stages.size() < 2 || k_.outer_rank == 0) return;
  for (int32_t id : p_.stages.front().varying) {
    const ScalarNode& n = node(id);
    if (n.op != ScalarOp::load) continue;
    const auto access = static_cast<size_t>(n.imm);
    const Access& a = k_.accesses[access];
    if (a.inner != InnerStride::one || a.index >= 0) continue;
    Value* next = b_.CreateAdd(lanes.c, access_[access].strides[k_.outer_rank - 1]);
    Value* address = at(memory_type(k_.operands[a.operand].dtype, 1), row.places[access].address, next);
    // A read that stays in L2.
    b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {address->getType()}, {address, i32(0), i32(2), i32(1)});
  }
}

// How many vectors a loop works on at a time: short bodies for fewer branches, long chains of
// dependent operations for more of them in flight; registers and the time to compile set the end.
int Emitter::interleaved(int cost) {
  return cost <= 3 ? 4 : cost <= 10 ? 2 : cost <= 32 ? 4 : cost <= 100 ? 2 : 1;
}

void Emitter::row_stage(Row& row, const Stage& stage) {
  begin_stage(row, stage);
  if (&stage != &p_.stages.back()) return reduce_row(row, stage);
  if (!p_.loop_stores.empty()) {
    const int unroll = interleaved(stage.cost);
    for_lanes(c0_, c1_, k_.form == KernelForm::scatter ? 1 : unroll, !streams_,
              [&](std::vector<Lanes>& group) {
                for (const Lanes& lanes : group) prefetch_row(row, lanes);
                evaluate(row, group, stage);
                std::vector<Streamed> streamed;
                for (Lanes& lanes : group)
                  for (int32_t s : p_.loop_stores)
                    store_lanes(row, lanes, k_.stores[static_cast<size_t>(s)], streamed);
                store_streamed(streamed);
              });
  }
  for (int32_t s : p_.row_stores) store_scalar(row, k_.stores[static_cast<size_t>(s)]);
}

// Coordinates of an item in the first `dims` outer dimensions.
Emitter::Values Emitter::first_point(Value* item, int dims) {
  Values point(static_cast<size_t>(dims));
  Value* rest = item;
  for (int d = dims - 1; d >= 0; --d) {
    const auto i = static_cast<size_t>(d);
    if (d == 0) {
      point[i] = rest;
      break;
    }
    point[i] = b_.CreateURem(rest, extent_[i]);
    rest = b_.CreateUDiv(rest, extent_[i]);
  }
  return point;
}

// The point after `point` in row-major order.
Emitter::Values Emitter::next_point(const Values& point, int dims) {
  Values next(point);
  Value* carry = nullptr;
  for (int d = dims - 1; d >= 0; --d) {
    const auto i = static_cast<size_t>(d);
    Value* step = carry ? b_.CreateZExt(carry, b_.getInt64Ty()) : i64(1);
    next[i] = b_.CreateAdd(point[i], step);
    if (d == 0) break;
    carry = b_.CreateICmpEQ(next[i], extent_[i]);
    next[i] = b_.CreateSelect(carry, i64(0), next[i]);
  }
  return next;
}

void Emitter::emit_rows() {
  // Divisions only where there is work: extents may be 0.
  if_then(b_.CreateICmpSLT(begin_, end_), [&] {
    const Values start = first_point(begin_, k_.outer_rank);
    loop(begin_, end_, i64(1), start, [&](Value*, Values& carried) {
      const Values point = carried;
      Row row;
      begin_row(row, point);
      for (const Stage& stage : p_.stages) row_stage(row, stage);
      carried = next_point(point, k_.outer_rank);
    });
  });
}

std::unique_ptr<llvm::Module> emit(const Plan& plan, const Target& target,
                                   const std::string& symbol, llvm::LLVMContext& context) {
  auto module = std::make_unique<llvm::Module>("kernel", context);
  Emitter(plan, target, *module, symbol).run();
  return module;
}

Target target_for(Isa isa) {
  return {isa, isa >= Isa::avx512bf16};
}

}  // namespace corten::codegen
