// The emitter's state. Internal to emit*.cpp.
//
// Values are scalars of a row (one per outer point) or vectors of kLanes elements of the row. A
// node that does not vary with c is emitted once per row as a scalar, and spread over a vector
// before the loop that uses it.
#pragma once

#include <functional>
#include <vector>

#include "codegen/emit.h"
#include "codegen/llvm.h"

namespace corten::codegen {

using llvm::Value;

class Emitter {
 public:
  Emitter(const Plan& plan, const Target& target, llvm::Module& module, const std::string& symbol);
  void run();

 private:
  /// An outer point and what is known there.
  struct Row {
    /// Where an access is at c = 0.
    struct Place {
      Value* offset = nullptr;   // elements
      Value* address = nullptr;  // base address plus offset, of accesses with an operand
      Value* open =
          nullptr;  // i1: the guards of the outer dimensions hold; null without such guards
      Value* aligned = nullptr;  // i1: streaming stores are possible
    };
    std::vector<Value*> outer;
    std::vector<Value*> scalar, splat;  // by node
    std::vector<Place> places;          // by access
  };
  /// kLanes elements of a row.
  struct Lanes {
    Value* c = nullptr;         // of the first one
    Value* mask = nullptr;      // <kLanes x i1> of those inside the row; null: all
    Value* count = nullptr;     // how many they are
    std::vector<Value*> value;  // by node
    std::vector<Value*> bits;   // by node: what round_* nodes are in memory
  };
  struct Streamed {
    Value *address, *value, *aligned;
  };
  using Values = std::vector<Value*>;

  // emit.cpp: the function and the loops of the forms
  void load_arguments();
  void emit_invariants();
  void emit_rows();
  void begin_row(Row& row, Values outer);
  void begin_stage(Row& row, const Stage& stage);
  void evaluate(Row& row, std::vector<Lanes>& group, const Stage& stage);
  void evaluate_node(Row& row, Lanes& lanes, int32_t node);
  void place_access(Row& row, int access);
  static int interleaved(int cost);
  void row_stage(Row& row, const Stage& stage);
  Values first_point(Value* item, int dims);
  Values next_point(const Values& point, int dims);

  // emit_columns.cpp: reductions over the last outer dimension
  void emit_columns();
  void column_stage(const Values& point, Value* lo, Value* hi, const Stage& stage);
  void column_rows(const Values& point, Value* lo, Value* hi, Value* chunk_begin,
                   const Stage& stage, int block);
  Value* tile_address(const Reduction& r, Value* lane, Value* c);

  // emit_loops.cpp: control flow
  /// for (i = begin; i < end; i += step) carried = body(i, carried); gives the last carried values.
  Values loop(Value* begin, Value* end, Value* step, Values carried,
              const std::function<void(Value* i, Values& carried)>& body);
  void if_then(Value* condition, const std::function<void()>& body, bool unlikely = false);
  /// Calls body for [begin, end) in vectors, `unroll` at a time as far as they go.
  void for_lanes(Value* begin, Value* end, int unroll, bool may_mask,
                 const std::function<void(std::vector<Lanes>&)>& body);
  Values masked_loop(Value* begin, Value* end, int vectors, Values carried,
                     const std::function<void(std::vector<Lanes>&, Values&)>& body);
  Value* whole_groups(Value* begin, Value* end, int64_t step);
  Lanes make_lanes(Value* c);

  // emit_reduce.cpp: reductions over rows
  void reduce_row(Row& row, const Stage& stage);
  void accumulate_chunk(Row& row, const Stage& stage, Value* begin, Value* end,
                        const std::vector<const Reduction*>& mine,
                        std::vector<Values>& accumulators);
  Value* combine(ir::ScalarOp reduce, Value* a, Value* b, DType type);
  static bool uses_keys(const ir::ScalarNode& reduce);
  llvm::Type* accumulator_type(const ir::ScalarNode& reduce, int lanes);
  Value* flip_negative(Value* bits);
  Value* to_accumulator(const ir::ScalarNode& reduce, Value* x);
  Value* from_accumulator(const ir::ScalarNode& reduce, Value* x);
  Value* accumulate(const ir::ScalarNode& reduce, Value* a, Value* b);
  Value* combine_lanes(const ir::ScalarNode& reduce, Values accumulators);
  llvm::Constant* identity(ir::ScalarOp reduce, DType type, int lanes);

  // emit_memory.cpp: loads and stores
  Value* load_scalar(Row& row, const ir::ScalarNode& node);
  Value* load_lanes(Row& row, Lanes& lanes, const ir::ScalarNode& node);
  void store_scalar(Row& row, const ir::Store& store);
  void store_lanes(Row& row, Lanes& lanes, const ir::Store& store, std::vector<Streamed>& streamed);
  void prefetch_row(Row& row, const Lanes& lanes);
  void store_streamed(const std::vector<Streamed>& streamed);
  void keep(Lanes& lanes, Value* value, DType dtype, int scratch_row);
  Value* restore(Lanes& lanes, int32_t node);
  Value* active_mask(Row& row, Lanes& lanes, int access);
  Value* lane_offsets(Row& row, Lanes& lanes, int access, Value*& mask);
  void for_active_lanes(Value* mask, const std::function<void(Value* lane)>& body);
  Value* gather(DType dtype, int access, Value* offsets, Value* mask);
  void scatter(DType dtype, int access, Value* offsets, Value* mask, Value* value);
  Value* masked_load(DType dtype, Value* address, Value* mask, Value* count);
  void masked_store(DType dtype, Value* address, Value* mask, Value* count, Value* value);
  Value* from_memory(DType dtype, Value* raw, int lanes);
  Value* to_memory(DType dtype, Value* value, int lanes);
  Value* memory_value(DType dtype, Row& row, Lanes* lanes, int32_t node);
  Value* scratch_address(int scratch_row, DType dtype, Value* c);

  // emit_ops.cpp: one scalar operation on `lanes` elements
  Value* op(const ir::ScalarNode& node, DType arg_type, Value* a, Value* b, Value* c, int lanes);
  Value* float_op(const ir::ScalarNode& node, Value* a, Value* b, Value* c, int lanes);
  Value* int_op(const ir::ScalarNode& node, Value* a, Value* b, int lanes);
  Value* compare(ir::ScalarOp op, DType type, Value* a, Value* b);
  Value* convert(DType to, DType from, Value* x, int lanes);
  Value* extremum(bool maximum, Value* a, Value* b);
  Value* library_call(ir::ScalarOp op, Value* x, int lanes);
  Value* bf16_bits(Value* x, int lanes);
  struct Float8;
  static const Float8& float8(DType dtype);
  Value* float8_bits(DType dtype, Value* x, int lanes);
  Value* from_float8(DType dtype, Value* raw, int lanes);
  Value* scaled(Value* x, Value* n, int lanes);
  Value* constant(const ir::ScalarNode& node, int lanes);

  // helpers
  llvm::Type* type(DType dtype, int lanes);         // of values
  llvm::Type* memory_type(DType dtype, int lanes);  // of elements in memory
  llvm::Type* with_lanes(llvm::Type* t, int lanes);
  Value* scalar(Row& row, int32_t node) const { return row.scalar[node]; }
  Value* vector(Row& row, Lanes& lanes, int32_t node);
  Value* i64(int64_t x) { return b_.getInt64(static_cast<uint64_t>(x)); }
  Value* i32(int64_t x) { return b_.getInt32(static_cast<uint32_t>(x)); }
  Value* splat(Value* x) { return b_.CreateVectorSplat(kLanes, x); }
  Value* iota64();
  Value* iota32();
  Value* prefix_mask(Value* count);
  Value* field(Value* base, size_t byte_offset, llvm::Type* t);
  Value* access_field(int access, size_t byte_offset);
  Value* at(llvm::Type* element, Value* base, Value* index) {
    return b_.CreateGEP(element, base, index);
  }
  Value* local(llvm::Type* t,
               Value* count = nullptr);  // memory on the stack, for the whole function
  Value* call_support(const char* name, llvm::Type* result, llvm::ArrayRef<Value*> args);
  llvm::BasicBlock* block(const char* name) {
    return llvm::BasicBlock::Create(context_, name, function_);
  }
  const ir::ScalarNode& node(int32_t id) const { return k_.body.node(id); }

  const Plan& p_;
  const ir::Kernel& k_;
  Target target_;
  llvm::Module& module_;
  llvm::LLVMContext& context_;
  llvm::IRBuilder<> b_;
  llvm::Function* function_ = nullptr;
  llvm::BasicBlock* entry_ = nullptr;  // arguments, invariant nodes and stack memory
  bool streams_ = false;

  struct AccessArguments {
    Value *offset = nullptr, *inner_stride = nullptr, *index_stride = nullptr,
          *index_bound = nullptr, *base = nullptr;
    Value *strides[ir::kMaxOuter] = {}, *lo[ir::kMaxOuter + 1] = {}, *hi[ir::kMaxOuter + 1] = {};
    Value* lane_strides = nullptr;  // <kLanes x i64>: lane * inner_stride
  };
  std::vector<AccessArguments> access_;
  Values extent_, invariant_, params_;  // by outer dimension, by node, by parameter
  Value *inner_ = nullptr, *chunks_ = nullptr, *begin_ = nullptr, *end_ = nullptr, *c0_ = nullptr,
        *c1_ = nullptr;
  Value *scratch_ = nullptr, *fault_ = nullptr, *row_length_ = nullptr, *zero_ = nullptr;
  Value *tile_begin_ = nullptr, *tile_end_ = nullptr;  // columns form: the current tile
};

}  // namespace corten::codegen
