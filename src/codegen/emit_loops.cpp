// Control flow: loops, branches, vectors of a row, and the small helpers that every part of the
// emitter uses.
#include "base/format.h"
#include "codegen/emitter.h"

namespace corten::codegen {

Emitter::Values Emitter::loop(Value* begin, Value* end, Value* step, Values carried,
                              const std::function<void(Value*, Values&)>& body) {
  llvm::BasicBlock *before = b_.GetInsertBlock(), *head = block("loop"), *exit = block("done");
  b_.CreateCondBr(b_.CreateICmpSLT(begin, end), head, exit);
  b_.SetInsertPoint(head);
  llvm::PHINode* i = b_.CreatePHI(begin->getType(), 2);
  i->addIncoming(begin, before);
  std::vector<llvm::PHINode*> phis;
  Values values;
  for (Value* v : carried) {
    phis.push_back(b_.CreatePHI(v->getType(), 2));
    phis.back()->addIncoming(v, before);
    values.push_back(phis.back());
  }
  body(i, values);
  Value* next = b_.CreateAdd(i, step, "", true, true);
  llvm::BasicBlock* last = b_.GetInsertBlock();
  b_.CreateCondBr(b_.CreateICmpSLT(next, end), head, exit);
  i->addIncoming(next, last);
  for (size_t k = 0; k < phis.size(); ++k) phis[k]->addIncoming(values[k], last);
  b_.SetInsertPoint(exit);
  Values results;
  for (size_t k = 0; k < phis.size(); ++k) {
    llvm::PHINode* result = b_.CreatePHI(carried[k]->getType(), 2);
    result->addIncoming(carried[k], before);
    result->addIncoming(values[k], last);
    results.push_back(result);
  }
  return results;
}

void Emitter::if_then(Value* condition, const std::function<void()>& body, bool unlikely) {
  llvm::BasicBlock *then = block("then"), *after = block("after");
  llvm::MDNode* weights =
      unlikely ? llvm::MDBuilder(context_).createBranchWeights(1, 1 << 20) : nullptr;
  b_.CreateCondBr(condition, then, after, weights);
  b_.SetInsertPoint(then);
  body();
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
}

Emitter::Lanes Emitter::make_lanes(Value* c) {
  Lanes lanes;
  lanes.c = c;
  lanes.value.assign(k_.body.nodes().size(), nullptr);
  lanes.bits.assign(k_.body.nodes().size(), nullptr);
  return lanes;
}

// The number of elements in [begin, end) in whole groups of `step`, a power of two.
Value* Emitter::whole_groups(Value* begin, Value* end, int64_t step) {
  return b_.CreateAnd(b_.CreateSub(end, begin), i64(-step));
}

// AVX-512: one copy of the body serves whole groups and the rest, under masks that are loop
// invariants. Half the code to compile for one instruction per mask.
Emitter::Values Emitter::masked_loop(
    Value* begin, Value* end, int vectors, Values carried,
    const std::function<void(std::vector<Lanes>&, Values&)>& body) {
  const int64_t step = int64_t{kLanes} * vectors;
  Value* full_end = b_.CreateAdd(begin, whole_groups(begin, end, step));
  Value* rounds = b_.CreateSelect(b_.CreateICmpSLT(full_end, end), i64(2), i64(1));
  return loop(i64(0), rounds, i64(1), std::move(carried), [&](Value* round, Values& outer) {
    Value* rest = b_.CreateICmpEQ(round, i64(1));
    Value* first = b_.CreateSelect(rest, full_end, begin);
    Value* last = b_.CreateSelect(rest, end, full_end);
    Value* count = b_.CreateSelect(rest, b_.CreateSub(end, full_end), i64(step));
    Values masks;
    for (int v = 0; v < vectors; ++v)
      masks.push_back(prefix_mask(b_.CreateSub(count, i64(v * kLanes))));
    outer = loop(first, last, i64(step), outer, [&](Value* c, Values& inner) {
      std::vector<Lanes> group;
      for (int v = 0; v < vectors; ++v) {
        group.push_back(make_lanes(v ? b_.CreateAdd(c, i64(v * kLanes), "", true, true) : c));
        group.back().mask = masks[static_cast<size_t>(v)];
      }
      body(group, inner);
    });
  });
}

// AVX2 has no mask registers, and small bodies gain from unrolling: whole groups first, then single
// vectors under a mask.
void Emitter::for_lanes(Value* begin, Value* end, int unroll, bool may_mask,
                        const std::function<void(std::vector<Lanes>&)>& body) {
  if (target_.avx512() && unroll == 1 && may_mask) {
    masked_loop(begin, end, 1, {}, [&](std::vector<Lanes>& group, Values&) { body(group); });
    return;
  }
  const int64_t step = int64_t{kLanes} * unroll;
  Value* full_end = b_.CreateAdd(begin, whole_groups(begin, end, step));
  loop(begin, full_end, i64(step), {}, [&](Value* c, Values&) {
    std::vector<Lanes> group;
    for (int u = 0; u < unroll; ++u)
      group.push_back(make_lanes(u ? b_.CreateAdd(c, i64(u * kLanes), "", true, true) : c));
    body(group);
  });
  loop(full_end, end, i64(kLanes), {}, [&](Value* c, Values&) {
    std::vector<Lanes> group;
    group.push_back(make_lanes(c));
    group.back().count =
        b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateSub(end, c), i64(kLanes));
    group.back().mask = prefix_mask(group.back().count);
    body(group);
  });
}

Value* Emitter::iota64() {
  llvm::SmallVector<llvm::Constant*, kLanes> lanes;
  for (int i = 0; i < kLanes; ++i) lanes.push_back(b_.getInt64(static_cast<uint64_t>(i)));
  return llvm::ConstantVector::get(lanes);
}

Value* Emitter::iota32() {
  llvm::SmallVector<llvm::Constant*, kLanes> lanes;
  for (int i = 0; i < kLanes; ++i) lanes.push_back(b_.getInt32(static_cast<uint32_t>(i)));
  return llvm::ConstantVector::get(lanes);
}

Value* Emitter::prefix_mask(Value* count) {
  return b_.CreateICmpSLT(iota32(), splat(b_.CreateTrunc(count, b_.getInt32Ty())));
}

Value* Emitter::field(Value* base, size_t byte_offset, llvm::Type* t) {
  Value* p = b_.CreateGEP(b_.getInt8Ty(), base, i64(static_cast<int64_t>(byte_offset)));
  llvm::LoadInst* x = b_.CreateLoad(t, p);
  x->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context_, {}));
  return x;
}

Value* Emitter::local(llvm::Type* t, Value* count) {
  llvm::IRBuilder<>::InsertPointGuard guard(b_);
  b_.SetInsertPoint(entry_, entry_->begin());
  llvm::AllocaInst* memory = b_.CreateAlloca(t, count);
  memory->setAlignment(llvm::Align(64));
  return memory;
}

Value* Emitter::call_support(const char* name, llvm::Type* result, llvm::ArrayRef<Value*> args) {
  llvm::SmallVector<llvm::Type*, 8> types;
  for (Value* a : args) types.push_back(a->getType());
  llvm::FunctionCallee f =
      module_.getOrInsertFunction(name, llvm::FunctionType::get(result, types, false));
  llvm::CallInst* call = b_.CreateCall(f, args);
  call->setDoesNotThrow();
  return call;
}

}  // namespace corten::codegen
