// The columns form: reductions over the last outer dimension, for tiles of columns.
//
// Memory is read row by row in runs of a tile's width; the accumulators of a tile stay in the L1
// cache. Several rows are taken at a time, so that an accumulator is read and written once for all
// of them; each column still adds its rows one after the other.
#include "base/format.h"
#include "codegen/emitter.h"
#include "codegen/support.h"

namespace corten::codegen {

using ir::ScalarNode;

namespace {

// Above this many instructions per vector one row is taken at a time.
constexpr int kRowBlock = 4, kBlockRowsBelow = 24;

}  // namespace

/// Place of the accumulator `lane` of a reduction for column `c` of the tile that starts at
/// tile_begin_.
Value* Emitter::tile_address(const Reduction& r, Value* lane, Value* c) {
  const DType dtype = node(r.node).type;
  Value* base = at(b_.getInt8Ty(), scratch_, i64(r.tile));
  Value* column = b_.CreateSub(c, tile_begin_);
  return at(type(dtype, 1), base, b_.CreateAdd(b_.CreateMul(lane, i64(kColumnTile)), column));
}

// Rows [lo, hi) of a chunk, `block` at a time, added to the tile's accumulators.
void Emitter::column_rows(const Values& point, Value* lo, Value* hi, Value* chunk_begin,
                          const Stage& stage, int block) {
  loop(lo, hi, i64(block), {}, [&](Value* first, Values&) {
    std::vector<Row> rows(static_cast<size_t>(block));
    for (int i = 0; i < block; ++i) {
      Values outer = point;
      outer.push_back(b_.CreateAdd(first, i64(i)));
      begin_row(rows[static_cast<size_t>(i)], outer);
      begin_stage(rows[static_cast<size_t>(i)], stage);
    }
    Value* lane = b_.CreateAnd(b_.CreateSub(first, chunk_begin), i64(stage.tree.lanes - 1));
    for_lanes(tile_begin_, tile_end_, 1, true, [&](std::vector<Lanes>& group) {
      for (Lanes& lanes : group) {
        Values places, sums;
        for (int32_t i : stage.reductions) {
          const Reduction& r = p_.reductions[static_cast<size_t>(i)];
          places.push_back(tile_address(r, lane, lanes.c));
          sums.push_back(b_.CreateLoad(type(node(r.node).type, kLanes), places.back()));
        }
        for (Row& row : rows) {
          std::vector<Lanes> mine{lanes};
          evaluate(row, mine, stage);
          for (size_t i = 0; i < sums.size(); ++i) {
            const ScalarNode& n =
                node(p_.reductions[static_cast<size_t>(stage.reductions[i])].node);
            sums[i] = combine(n.op, sums[i], vector(row, mine[0], n.arg[0]), n.type);
          }
        }
        for (size_t i = 0; i < sums.size(); ++i) b_.CreateStore(sums[i], places[i]);
      }
    });
  });
}

// The reductions of a stage over rows [lo, hi) of the reduced dimension: their results replace the
// tile's accumulators.
void Emitter::column_stage(const Values& point, Value* lo, Value* hi, const Stage& stage) {
  const int64_t lanes = stage.tree.lanes;
  Value *one = i64(1), *chunk = i64(stage.tree.chunk),
        *count = b_.CreateSub(tile_end_, tile_begin_);
  Value* stack = at(b_.getInt8Ty(), scratch_, i64(p_.scratch.tile_bytes));
  int64_t level_bytes = 0;
  for (int32_t i : stage.reductions)
    level_bytes +=
        static_cast<int64_t>(size_of(node(p_.reductions[static_cast<size_t>(i)].node).type)) *
        kColumnTile;
  const auto each =
      [&](const std::function<void(const Reduction&, Value* tile, Value* stack, Value* code)>& f) {
        int64_t offset = 0;
        for (int32_t i : stage.reductions) {
          const Reduction& r = p_.reductions[static_cast<size_t>(i)];
          const ScalarNode& n = node(r.node);
          f(r, tile_address(r, i64(0), tile_begin_), at(b_.getInt8Ty(), stack, i64(offset)),
            i32(combine_code(n.op, n.type)));
          offset += static_cast<int64_t>(size_of(n.type)) * kColumnTile;
        }
      };
  Value* rows = b_.CreateSub(hi, lo);
  Value* chunks = b_.CreateSDiv(b_.CreateAdd(rows, i64(stage.tree.chunk - 1)), chunk);
  chunks = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, chunks, one);
  Value* several = b_.CreateICmpSGT(chunks, one);
  loop(i64(0), chunks, one, {}, [&](Value* k, Values&) {
    Value* begin = b_.CreateAdd(lo, b_.CreateMul(k, chunk));
    Value* end = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateAdd(begin, chunk), hi);
    each([&](const Reduction& r, Value*, Value*, Value*) {
      const ScalarNode& n = node(r.node);
      loop(i64(0), i64(lanes), one, {}, [&](Value* lane, Values&) {
        loop(tile_begin_, tile_end_, i64(kLanes), {}, [&](Value* c, Values&) {
          b_.CreateStore(identity(n.op, n.type, kLanes), tile_address(r, lane, c));
        });
      });
    });
    const int block = lanes == 1 && stage.cost < kBlockRowsBelow ? kRowBlock : 1;
    Value* whole = begin;
    if (block > 1) {
      whole = b_.CreateAdd(begin, b_.CreateAnd(b_.CreateSub(end, begin), i64(-block)));
      column_rows(point, begin, whole, begin, stage, block);
    }
    column_rows(point, whole, end, begin, stage, 1);
    if (lanes > 1)
      each([&](const Reduction&, Value* tile, Value*, Value* code) {
        call_support("corten_tree_lanes", b_.getVoidTy(),
                     {tile, i64(kColumnTile), i64(lanes), count, code});
      });
    if_then(several, [&] {
      each([&](const Reduction&, Value* tile, Value* levels, Value* code) {
        call_support("corten_tree_push", b_.getVoidTy(),
                     {levels, i64(level_bytes), k, tile, count, code});
      });
    });
  });
  if_then(several, [&] {
    each([&](const Reduction&, Value* tile, Value* levels, Value* code) {
      call_support("corten_tree_finish", b_.getVoidTy(),
                   {levels, i64(level_bytes), chunks, tile, count, code});
    });
  });
}

void Emitter::emit_columns() {
  const int dims = k_.outer_rank - 1;
  Value* extent = extent_.back();
  const int64_t chunk = p_.stages.front().tree.chunk;
  if_then(b_.CreateICmpSLT(begin_, end_), [&] {
    // Items are pairs of an outer point and a chunk, the chunk running faster.
    Value* split = b_.CreateICmpSGT(chunks_, i64(1));
    Value* parts = b_.CreateSelect(split, chunks_, i64(1));
    Values carried = first_point(b_.CreateUDiv(begin_, parts), dims);
    carried.push_back(b_.CreateURem(begin_, parts));
    loop(begin_, end_, i64(1), carried, [&](Value*, Values& now) {
      Value* k = now.back();
      const Values point(now.begin(), now.end() - 1);
      Value* lo = b_.CreateMul(k, i64(chunk));
      Value* part_end =
          b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateAdd(lo, i64(chunk)), extent);
      Value* hi = b_.CreateSelect(split, part_end, extent);
      loop(c0_, c1_, i64(kColumnTile), {}, [&](Value* c, Values&) {
        tile_begin_ = c;
        tile_end_ =
            b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateAdd(c, i64(kColumnTile)), c1_);
        for (const Stage& stage : p_.stages)
          if (&stage != &p_.stages.back()) column_stage(point, lo, hi, stage);
        const Stage& stores = p_.stages.back();
        Row row;
        Values outer = point;
        outer.push_back(k);
        begin_row(row, outer);
        begin_stage(row, stores);
        for_lanes(tile_begin_, tile_end_, 1, !streams_, [&](std::vector<Lanes>& group) {
          std::vector<Streamed> streamed;
          evaluate(row, group, stores);
          for (Lanes& lanes : group) {
            for (int32_t s : p_.loop_stores)
              store_lanes(row, lanes, k_.stores[static_cast<size_t>(s)], streamed);
          }
          store_streamed(streamed);
        });
      });
      // The next chunk, or the first one of the next point.
      Value* next = b_.CreateAdd(k, i64(1));
      Value* wraps = b_.CreateICmpEQ(next, parts);
      const Values after = next_point(point, dims);
      for (size_t d = 0; d < point.size(); ++d) now[d] = b_.CreateSelect(wraps, after[d], point[d]);
      now.back() = b_.CreateSelect(wraps, i64(0), next);
    });
  });
}

}  // namespace corten::codegen
