// Reductions over a row: the lanes of ir::Tree are vector lanes, chunks are combined by support
// functions.
#include <limits>

#include "base/format.h"
#include "codegen/emitter.h"
#include "codegen/support.h"

namespace corten::codegen {

using ir::Body;
using ir::ScalarNode;
using ir::ScalarOp;

llvm::Constant* Emitter::identity(ScalarOp reduce, DType dtype, int lanes) {
  llvm::Type* t = type(dtype, lanes);
  if (reduce == ScalarOp::reduce_sum) return llvm::Constant::getNullValue(t);
  const bool maximum = reduce == ScalarOp::reduce_max;
  if (t->isFPOrFPVectorTy()) return llvm::ConstantFP::getInfinity(t, maximum);
  const unsigned bits = t->getScalarSizeInBits();
  return llvm::ConstantInt::get(
      t, maximum ? llvm::APInt::getSignedMinValue(bits) : llvm::APInt::getSignedMaxValue(bits));
}

Value* Emitter::combine(ScalarOp reduce, Value* a, Value* b, DType dtype) {
  const ScalarOp op_of = reduce == ScalarOp::reduce_sum   ? ScalarOp::add
                         : reduce == ScalarOp::reduce_max ? ScalarOp::max
                                                          : ScalarOp::min;
  return op({op_of, dtype}, dtype, a, b, nullptr, kLanes);
}

// Floats are compared as integers in rows: a key orders them as maximum and minimum do (-0 below
// +0, NaN wins), so that one instruction combines two.
bool Emitter::uses_keys(const ScalarNode& reduce) {
  return reduce.op != ScalarOp::reduce_sum && is_floating(reduce.type);
}

llvm::Type* Emitter::accumulator_type(const ScalarNode& reduce, int lanes) {
  if (!uses_keys(reduce)) return type(reduce.type, lanes);
  return type(reduce.type == DType::f32 ? DType::i32 : DType::i64, lanes);
}

// Negative numbers have their magnitude inverted; the transformation is its own inverse.
Value* Emitter::flip_negative(Value* bits) {
  llvm::Type* t = bits->getType();
  const unsigned width = t->getScalarSizeInBits();
  Value* sign = b_.CreateAShr(bits, llvm::ConstantInt::get(t, width - 1));
  return b_.CreateXor(
      bits, b_.CreateAnd(sign, llvm::ConstantInt::get(t, llvm::APInt::getSignedMaxValue(width))));
}

Value* Emitter::to_accumulator(const ScalarNode& reduce, Value* x) {
  if (!uses_keys(reduce)) return x;
  const int lanes = x->getType()->isVectorTy() ? kLanes : 1;
  llvm::Type* t = accumulator_type(reduce, lanes);
  const unsigned width = t->getScalarSizeInBits();
  Value* nan = llvm::ConstantInt::get(t, reduce.op == ScalarOp::reduce_max
                                             ? llvm::APInt::getSignedMaxValue(width)
                                             : llvm::APInt::getSignedMinValue(width));
  return b_.CreateSelect(b_.CreateFCmpUNO(x, x), nan, flip_negative(b_.CreateBitCast(x, t)));
}

Value* Emitter::from_accumulator(const ScalarNode& reduce, Value* x) {
  return uses_keys(reduce) ? b_.CreateBitCast(flip_negative(x), type(reduce.type, 1)) : x;
}

Value* Emitter::accumulate(const ScalarNode& reduce, Value* a, Value* b) {
  if (!uses_keys(reduce)) return combine(reduce.op, a, b, reduce.type);
  return b_.CreateBinaryIntrinsic(
      reduce.op == ScalarOp::reduce_max ? llvm::Intrinsic::smax : llvm::Intrinsic::smin, a, b);
}

// Lane j of a chunk is lane j % kLanes of accumulator j / kLanes; halves are combined until one
// value is left.
Value* Emitter::combine_lanes(const ScalarNode& reduce, Values accumulators) {
  for (size_t half = accumulators.size() / 2; half >= 1; half /= 2)
    for (size_t i = 0; i < half; ++i)
      accumulators[i] = accumulate(reduce, accumulators[i], accumulators[i + half]);
  Value* x = accumulators[0];
  for (int half = kLanes / 2; half >= 1; half /= 2) {
    llvm::SmallVector<int, kLanes> low, high;
    for (int i = 0; i < half; ++i) {
      low.push_back(i);
      high.push_back(i + half);
    }
    x = accumulate(reduce, b_.CreateShuffleVector(x, low), b_.CreateShuffleVector(x, high));
  }
  return from_accumulator(reduce, b_.CreateExtractElement(x, uint64_t{0}));
}

namespace {

// Above this many instructions per vector the body is emitted once, with the accumulators in
// memory.
constexpr int kUnrollReductionsBelow = 10;

}  // namespace

// One chunk [begin, end) of the row. `accumulators` are by reduction, then by vector.
void Emitter::accumulate_chunk(Row& row, const Stage& stage, Value* begin, Value* end,
                               const std::vector<const Reduction*>& mine,
                               std::vector<Values>& accumulators) {
  const int vectors = stage.tree.lanes / kLanes;
  const auto element = [&](Lanes& lanes, const Reduction& r) {
    const ScalarNode& n = node(r.node);
    Value* x = to_accumulator(n, vector(row, lanes, n.arg[0]));
    return lanes.mask
               ? b_.CreateSelect(lanes.mask, x, to_accumulator(n, identity(n.op, n.type, kLanes)))
               : x;
  };
  const auto flat = [&] {
    Values all;
    for (const Values& a : accumulators) all.insert(all.end(), a.begin(), a.end());
    return all;
  };
  const auto unflatten = [&](const Values& all) {
    size_t i = 0;
    for (Values& a : accumulators)
      for (Value*& v : a) v = all[i++];
  };
  // The accumulators in memory, for vectors whose number is known at run time only.
  std::vector<Value*> memory;
  for (const Reduction* r : mine)
    memory.push_back(local(accumulator_type(node(r->node), kLanes),
                           b_.getInt32(static_cast<uint32_t>(vectors))));
  const auto each = [&](const std::function<void(Value * &accumulator, Value * place)>& f) {
    for (size_t k = 0; k < mine.size(); ++k)
      for (int v = 0; v < vectors; ++v)
        f(accumulators[k][static_cast<size_t>(v)],
          at(accumulator_type(node(mine[k]->node), kLanes), memory[k], i64(v)));
  };
  const auto spill = [&] { each([&](Value*& a, Value* p) { b_.CreateStore(a, p); }); };
  const auto reload = [&] {
    each([&](Value*& a, Value* p) { a = b_.CreateLoad(a->getType(), p); });
  };
  const auto add = [&](Lanes& lanes, size_t k, Value*& a) {
    a = accumulate(node(mine[k]->node), a, element(lanes, *mine[k]));
  };
  // Which accumulator a vector belongs to is known at run time only where one copy of the body
  // serves all of them.
  const auto add_in_memory = [&](std::vector<Lanes>& group) {
    evaluate(row, group, stage);
    static_assert(kLanes == 16);
    for (Lanes& lanes : group) {
      Value* slot = b_.CreateAnd(b_.CreateLShr(b_.CreateSub(lanes.c, begin), 4), i64(vectors - 1));
      for (size_t k = 0; k < mine.size(); ++k) {
        llvm::Type* t = accumulator_type(node(mine[k]->node), kLanes);
        Value* place = at(t, memory[k], slot);
        Value* a = b_.CreateLoad(t, place);
        add(lanes, k, a);
        b_.CreateStore(a, place);
      }
    }
  };
  const auto add_group = [&](std::vector<Lanes>& group, Values& carried) {
    unflatten(carried);
    evaluate(row, group, stage);
    for (int v = 0; v < vectors; ++v)
      for (size_t k = 0; k < mine.size(); ++k)
        add(group[static_cast<size_t>(v)], k, accumulators[k][static_cast<size_t>(v)]);
    carried = flat();
  };

  if (stage.cost >= kUnrollReductionsBelow) {
    spill();
    for_lanes(begin, end, std::min(2, interleaved(stage.cost)), true, add_in_memory);
    reload();
  } else if (target_.avx512()) {
    unflatten(masked_loop(begin, end, vectors, flat(), add_group));
  } else {
    Value* full_end = b_.CreateAdd(begin, whole_groups(begin, end, stage.tree.lanes));
    unflatten(loop(begin, full_end, i64(stage.tree.lanes), flat(), [&](Value* c, Values& carried) {
      std::vector<Lanes> group;
      for (int v = 0; v < vectors; ++v)
        group.push_back(make_lanes(b_.CreateAdd(c, i64(v * kLanes), "", true, true)));
      add_group(group, carried);
    }));
    spill();
    for_lanes(full_end, end, 1, true, add_in_memory);
    reload();
  }
}

// The loop of a stage with reductions, and their results.
void Emitter::reduce_row(Row& row, const Stage& stage) {
  std::vector<const Reduction*> in_lanes, in_rows;
  for (int32_t i : stage.reductions) {
    const Reduction& r = p_.reductions[static_cast<size_t>(i)];
    (r.in_lanes ? in_lanes : in_rows).push_back(&r);
  }
  if (in_lanes.empty()) {
    for_lanes(c0_, c1_, 1, true, [&](std::vector<Lanes>& group) {
      evaluate(row, group, stage);
    });
  } else {
    const int64_t chunk = stage.tree.chunk;
    const size_t vectors = static_cast<size_t>(stage.tree.lanes / kLanes);
    std::vector<Value*> stacks, results;
    for (const Reduction* r : in_lanes) {
      llvm::Type* t = type(node(r->node).type, 1);
      stacks.push_back(local(t, b_.getInt32(64)));
      results.push_back(local(t));
    }
    llvm::BasicBlock *from = b_.GetInsertBlock(), *head = block("chunk"),
                     *several = block("several"), *all = block("all"), *done = block("reduced");
    b_.CreateBr(head);
    b_.SetInsertPoint(head);
    llvm::PHINode* k = b_.CreatePHI(b_.getInt64Ty(), 2);
    k->addIncoming(i64(0), from);
    Value* begin = b_.CreateMul(k, i64(chunk));
    Value* end =
        b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateAdd(begin, i64(chunk)), c1_);
    std::vector<Values> accumulators;
    for (const Reduction* r : in_lanes)
      accumulators.emplace_back(
          vectors,
          to_accumulator(node(r->node), identity(node(r->node).op, node(r->node).type, kLanes)));
    accumulate_chunk(row, stage, begin, end, in_lanes, accumulators);
    Values sums;
    for (size_t i = 0; i < in_lanes.size(); ++i) {
      const ScalarNode& n = node(in_lanes[i]->node);
      sums.push_back(combine_lanes(n, accumulators[i]));
    }
    llvm::BasicBlock* single = b_.GetInsertBlock();
    b_.CreateCondBr(b_.CreateICmpSLE(c1_, i64(chunk)), done, several);
    b_.SetInsertPoint(several);
    Value* next = b_.CreateAdd(k, i64(1));
    const auto bytes = [&](size_t i) {
      return i64(static_cast<int64_t>(size_of(node(in_lanes[i]->node).type)));
    };
    const auto code = [&](size_t i) {
      return i32(combine_code(node(in_lanes[i]->node).op, node(in_lanes[i]->node).type));
    };
    for (size_t i = 0; i < in_lanes.size(); ++i) {
      b_.CreateStore(sums[i], results[i]);
      call_support("corten_tree_push", b_.getVoidTy(),
                   {stacks[i], bytes(i), k, results[i], i64(1), code(i)});
    }
    k->addIncoming(next, b_.GetInsertBlock());
    b_.CreateCondBr(b_.CreateICmpSLT(end, c1_), head, all);
    b_.SetInsertPoint(all);
    Values combined;
    for (size_t i = 0; i < in_lanes.size(); ++i) {
      call_support("corten_tree_finish", b_.getVoidTy(),
                   {stacks[i], bytes(i), next, results[i], i64(1), code(i)});
      combined.push_back(b_.CreateLoad(sums[i]->getType(), results[i]));
    }
    b_.CreateBr(done);
    b_.SetInsertPoint(done);
    for (size_t i = 0; i < in_lanes.size(); ++i) {
      llvm::PHINode* phi = b_.CreatePHI(sums[i]->getType(), 2);
      phi->addIncoming(sums[i], single);
      phi->addIncoming(combined[i], all);
      row.scalar[static_cast<size_t>(in_lanes[i]->node)] = phi;
    }
  }
  for (const Reduction* r : in_rows) {
    const ScalarNode& n = node(r->node);
    const ir::Tree tree = Body::tree(n);
    Value* result = local(type(n.type, 1));
    call_support("corten_tree_reduce", b_.getVoidTy(),
                 {scratch_address(r->row, n.type, i64(0)), c1_, i64(tree.lanes), i64(tree.chunk),
                  i32(combine_code(n.op, n.type)), result});
    row.scalar[static_cast<size_t>(r->node)] = b_.CreateLoad(type(n.type, 1), result);
  }
}

}  // namespace corten::codegen
