// Loads and stores: guards, gathered places, strides, element types, masks, streaming.
//
// Memory that a lane or a row may not touch is never touched: lanes outside the row and lanes whose
// guard fails are masked. An index out of range is reported through KernelFault; a load then reads
// index 0, a store is left out.
#include "base/format.h"
#include "codegen/emitter.h"

namespace corten::codegen {

using ir::Access;
using ir::InnerStride;
using ir::ScalarNode;
using ir::ScalarOp;
using ir::Store;
using ir::StoreMode;

llvm::Type* Emitter::memory_type(DType dtype, int lanes) {
  switch (dtype) {
    case DType::bf16:
    case DType::f16:
      return with_lanes(b_.getInt16Ty(), lanes);
    case DType::u8:
    case DType::boolean:
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return with_lanes(b_.getInt8Ty(), lanes);
    default:
      return type(dtype, lanes);
  }
}

Value* Emitter::from_memory(DType dtype, Value* raw, int lanes) {
  switch (dtype) {
    case DType::bf16: {
      llvm::Type* words = with_lanes(b_.getInt32Ty(), lanes);
      return b_.CreateBitCast(b_.CreateShl(b_.CreateZExt(raw, words), 16), type(DType::f32, lanes));
    }
    case DType::f16:
      return b_.CreateFPExt(b_.CreateBitCast(raw, with_lanes(b_.getHalfTy(), lanes)),
                            type(DType::f32, lanes));
    case DType::u8:
      return b_.CreateZExt(raw, type(DType::i32, lanes));
    case DType::boolean:
      return b_.CreateICmpNE(raw, llvm::Constant::getNullValue(raw->getType()));
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return from_float8(dtype, raw, lanes);
    default:
      return raw;
  }
}

Value* Emitter::to_memory(DType dtype, Value* x, int lanes) {
  switch (dtype) {
    case DType::bf16:
      return bf16_bits(x, lanes);
    case DType::f16:
      return b_.CreateBitCast(b_.CreateFPTrunc(x, with_lanes(b_.getHalfTy(), lanes)),
                              memory_type(dtype, lanes));
    case DType::u8:
      return b_.CreateTrunc(x, memory_type(dtype, lanes));
    case DType::boolean:
      return b_.CreateZExt(x, memory_type(dtype, lanes));
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return float8_bits(dtype, x, lanes);
    default:
      return x;
  }
}

// A node as elements of an operand. Storing a value that was just rounded to bf16 or to 8 bits is one
// conversion, not two.
Value* Emitter::memory_value(DType dtype, Row& row, Lanes* lanes, int32_t id) {
  if (!lanes) return to_memory(dtype, scalar(row, id), 1);
  if (lanes->bits[id] && lanes->bits[id]->getType() == memory_type(dtype, kLanes)) return lanes->bits[id];
  return to_memory(dtype, vector(row, *lanes, id), kLanes);
}

Value* Emitter::active_mask(Row& row, Lanes& lanes, int access) {
  const Row::Place& place = row.places[access];
  const AccessArguments& arguments = access_[access];
  const int inner = k_.outer_rank;
  if (!(k_.accesses[access].guards >> inner & 1)) {
    if (!place.open) return lanes.mask;
    Value* open = splat(place.open);
    return lanes.mask ? b_.CreateAnd(open, lanes.mask) : open;
  }
  const auto bound = [&](Value* x) {
    x = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, b_.CreateSub(x, lanes.c), i64(0));
    return b_.CreateTrunc(b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, x, i64(kLanes)),
                          b_.getInt32Ty());
  };
  Value *lo = bound(arguments.lo[inner]), *hi = bound(arguments.hi[inner]);
  if (place.open) hi = b_.CreateSelect(place.open, hi, i32(0));
  Value* mask =
      b_.CreateAnd(b_.CreateICmpSGE(iota32(), splat(lo)), b_.CreateICmpSLT(iota32(), splat(hi)));
  return lanes.mask ? b_.CreateAnd(mask, lanes.mask) : mask;
}

// Where an access is in this row: computed once, before the loops.
void Emitter::place_access(Row& row, int access) {
  Row::Place& place = row.places[access];
  if (place.offset) return;
  const Access& a = k_.accesses[access];
  const AccessArguments& arguments = access_[access];
  Value* offset = arguments.offset;
  for (int d = 0; d < k_.outer_rank; ++d) {
    offset = b_.CreateAdd(offset, b_.CreateMul(row.outer[d], arguments.strides[d]));
    if (a.guards >> d & 1) {
      Value* inside = b_.CreateAnd(b_.CreateICmpSGE(row.outer[d], arguments.lo[d]),
                                   b_.CreateICmpSLT(row.outer[d], arguments.hi[d]));
      place.open = place.open ? b_.CreateAnd(place.open, inside) : inside;
    }
  }
  place.offset = offset;
  if (a.operand < 0) return;
  if (a.index >= 0 && !p_.varies[a.index]) {
    Value* index = scalar(row, a.index);
    Value* inside = b_.CreateICmpULT(index, arguments.index_bound);
    Value* bad = b_.CreateNot(inside);
    if (place.open) bad = b_.CreateAnd(bad, place.open);
    if_then(
        bad, [&] { call_support("corten_fault", b_.getVoidTy(), {fault_, i64(access), index}); },
        true);
    index = b_.CreateSelect(inside, index, i64(0));
    place.offset = b_.CreateAdd(offset, b_.CreateMul(index, arguments.index_stride));
    if (k_.operands[a.operand].written)
      place.open = place.open ? b_.CreateAnd(place.open, inside) : inside;
  }
  place.address = at(memory_type(k_.operands[a.operand].dtype, 1), arguments.base, place.offset);
}

// For every lane in `mask` (null: all): body(number of the lane), in ascending order.
void Emitter::for_active_lanes(Value* mask, const std::function<void(Value*)>& body) {
  Value* bits = mask ? b_.CreateBitCast(mask, b_.getInt16Ty()) : nullptr;
  loop(i64(0), i64(kLanes), i64(1), {}, [&](Value* lane, Values&) {
    if (!bits) return body(lane);
    Value* shifted = b_.CreateLShr(bits, b_.CreateTrunc(lane, b_.getInt16Ty()));
    if_then(b_.CreateTrunc(shifted, b_.getInt1Ty()), [&] { body(lane); });
  });
}

// Elements of memory type; lanes outside the mask are zero.
Value* Emitter::masked_load(DType dtype, Value* address, Value* mask, Value* count) {
  llvm::Type* t = memory_type(dtype, kLanes);
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  const llvm::Align alignment(static_cast<uint64_t>(bytes));
  if (!mask) return b_.CreateAlignedLoad(t, address, alignment);
  llvm::Constant* zero = llvm::Constant::getNullValue(t);
  if (target_.avx512() || bytes >= 4) return b_.CreateMaskedLoad(t, address, alignment, mask, zero);
  // AVX2 has no masked moves of small elements.
  Value* buffer = local(t);
  b_.CreateStore(zero, buffer);
  if (count)
    b_.CreateMemCpy(buffer, alignment, address, alignment, b_.CreateMul(count, i64(bytes)));
  else
    call_support(
        "corten_masked_copy", b_.getVoidTy(),
        {buffer, address, b_.CreateZExt(b_.CreateBitCast(mask, b_.getInt16Ty()), b_.getInt32Ty()),
         i32(bytes)});
  return b_.CreateLoad(t, buffer);
}

void Emitter::masked_store(DType dtype, Value* address, Value* mask, Value* count, Value* value) {
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  const llvm::Align alignment(static_cast<uint64_t>(bytes));
  if (!mask) {
    b_.CreateAlignedStore(value, address, alignment);
    return;
  }
  if (target_.avx512() || bytes >= 4) {
    b_.CreateMaskedStore(value, address, alignment, mask);
    return;
  }
  Value* buffer = local(value->getType());
  b_.CreateStore(value, buffer);
  if (count)
    b_.CreateMemCpy(address, alignment, buffer, alignment, b_.CreateMul(count, i64(bytes)));
  else
    call_support(
        "corten_masked_copy", b_.getVoidTy(),
        {address, buffer, b_.CreateZExt(b_.CreateBitCast(mask, b_.getInt16Ty()), b_.getInt32Ty()),
         i32(bytes)});
}

// Element offsets of the lanes of an access that is not contiguous. With an index that varies with
// c, `mask` loses the lanes whose index is out of range (of which one is reported) if the access is
// a store; a load reads index 0 there.
Value* Emitter::lane_offsets(Row& row, Lanes& lanes, int access, Value*& mask) {
  const Access& a = k_.accesses[access];
  const AccessArguments& arguments = access_[access];
  Value* start = row.places[access].offset;
  Value* offsets = nullptr;
  switch (a.inner) {
    case InnerStride::zero:
      offsets = splat(start);
      break;
    case InnerStride::one:
      offsets = b_.CreateAdd(splat(b_.CreateAdd(start, lanes.c)), iota64());
      break;
    case InnerStride::any:
      start = b_.CreateAdd(start, b_.CreateMul(lanes.c, arguments.inner_stride));
      offsets = b_.CreateAdd(splat(start), arguments.lane_strides);
      break;
  }
  if (a.operand < 0 || a.index < 0 || !p_.varies[a.index]) return offsets;
  Value* index = vector(row, lanes, a.index);
  Value* outside = b_.CreateICmpUGE(index, splat(arguments.index_bound));
  if (mask) outside = b_.CreateAnd(outside, mask);
  Value* bits = b_.CreateBitCast(outside, b_.getInt16Ty());
  if_then(
      b_.CreateICmpNE(bits, b_.getInt16(0)),
      [&] {
        Value* first = b_.CreateBinaryIntrinsic(llvm::Intrinsic::cttz, bits, b_.getFalse());
        call_support("corten_fault", b_.getVoidTy(),
                     {fault_, i64(access), b_.CreateExtractElement(index, first)});
      },
      true);
  index = b_.CreateSelect(outside, llvm::Constant::getNullValue(index->getType()), index);
  if (k_.operands[a.operand].written) {
    Value* inside = b_.CreateNot(outside);
    mask = mask ? b_.CreateAnd(mask, inside) : inside;
  }
  return b_.CreateAdd(offsets, b_.CreateMul(index, splat(arguments.index_stride)));
}

Value* Emitter::gather(DType dtype, int access, Value* offsets, Value* mask) {
  llvm::Type *element = memory_type(dtype, 1), *t = memory_type(dtype, kLanes);
  const llvm::Align alignment(size_of(dtype));
  Value* base = access_[access].base;
  if (target_.avx512() && size_of(dtype) >= 4) {
    Value* all = llvm::Constant::getAllOnesValue(with_lanes(b_.getInt1Ty(), kLanes));
    return b_.CreateMaskedGather(t, at(element, base, offsets), alignment, mask ? mask : all,
                                 llvm::Constant::getNullValue(t));
  }
  if (!mask) {
    Value* x = llvm::PoisonValue::get(t);
    for (uint64_t lane = 0; lane < kLanes; ++lane) {
      Value* p = at(element, base, b_.CreateExtractElement(offsets, lane));
      x = b_.CreateInsertElement(x, b_.CreateAlignedLoad(element, p, alignment), lane);
    }
    return x;
  }
  Value *places = local(offsets->getType()), *buffer = local(t);
  b_.CreateStore(offsets, places);
  b_.CreateStore(llvm::Constant::getNullValue(t), buffer);
  for_active_lanes(mask, [&](Value* lane) {
    Value* offset = b_.CreateLoad(b_.getInt64Ty(), at(b_.getInt64Ty(), places, lane));
    Value* x = b_.CreateAlignedLoad(element, at(element, base, offset), alignment);
    b_.CreateStore(x, at(element, buffer, lane));
  });
  return b_.CreateLoad(t, buffer);
}

// Stores in ascending order of the lanes: the last of several to one place stays.
void Emitter::scatter(DType dtype, int access, Value* offsets, Value* mask, Value* value) {
  llvm::Type* element = memory_type(dtype, 1);
  const llvm::Align alignment(size_of(dtype));
  Value* base = access_[access].base;
  if (target_.avx512() && size_of(dtype) >= 4) {
    b_.CreateMaskedScatter(value, at(element, base, offsets), alignment, mask);
    return;
  }
  Value *places = local(offsets->getType()), *buffer = local(value->getType());
  b_.CreateStore(offsets, places);
  b_.CreateStore(value, buffer);
  for_active_lanes(mask, [&](Value* lane) {
    Value* offset = b_.CreateLoad(b_.getInt64Ty(), at(b_.getInt64Ty(), places, lane));
    b_.CreateAlignedStore(b_.CreateLoad(element, at(element, buffer, lane)),
                          at(element, base, offset), alignment);
  });
}

// A load that does not vary with c. Where the row's guards fail it reads a zero in the kernel's own
// memory.
Value* Emitter::load_scalar(Row& row, const ScalarNode& n) {
  const int access = static_cast<int>(n.imm);
  const Row::Place& place = row.places[access];
  if (n.op == ScalarOp::index) return place.offset;
  const DType dtype = k_.operands[k_.accesses[access].operand].dtype;
  Value* address = place.open ? b_.CreateSelect(place.open, place.address, zero_) : place.address;
  Value* raw = b_.CreateAlignedLoad(memory_type(dtype, 1), address, llvm::Align(size_of(dtype)));
  Value* x = from_memory(dtype, raw, 1);
  return place.open && n.arg[0] >= 0 ? b_.CreateSelect(place.open, x, scalar(row, n.arg[0])) : x;
}

Value* Emitter::load_lanes(Row& row, Lanes& lanes, const ScalarNode& n) {
  const int access = static_cast<int>(n.imm);
  const Access& a = k_.accesses[access];
  if (n.op == ScalarOp::index) {
    Value* mask = nullptr;
    return lane_offsets(row, lanes, access, mask);
  }
  const DType dtype = k_.operands[a.operand].dtype;
  Value* mask = active_mask(row, lanes, access);
  Value* raw;
  if (a.inner == InnerStride::one && (a.index < 0 || !p_.varies[a.index])) {
    Value* address = at(memory_type(dtype, 1), row.places[access].address, lanes.c);
    raw = masked_load(dtype, address, mask, mask == lanes.mask ? lanes.count : nullptr);
  } else {
    raw = gather(dtype, access, lane_offsets(row, lanes, access, mask), mask);
  }
  Value* x = from_memory(dtype, raw, kLanes);
  return a.guards ? b_.CreateSelect(mask, x, vector(row, lanes, n.arg[0])) : x;
}

void Emitter::store_scalar(Row& row, const Store& store) {
  const Row::Place& place = row.places[store.access];
  const DType dtype = k_.operands[k_.accesses[store.access].operand].dtype;
  const auto write = [&] {
    b_.CreateAlignedStore(memory_value(dtype, row, nullptr, store.node), place.address,
                          llvm::Align(size_of(dtype)));
  };
  if (place.open)
    if_then(place.open, write);
  else
    write();
}

void Emitter::store_lanes(Row& row, Lanes& lanes, const Store& store,
                          std::vector<Streamed>& streamed) {
  const Access& a = k_.accesses[store.access];
  const DType dtype = k_.operands[a.operand].dtype;
  const ScalarNode sum{ScalarOp::add, ir::scalar_type(dtype)};
  const Row::Place& place = row.places[store.access];
  Value* mask = active_mask(row, lanes, store.access);
  if (a.inner == InnerStride::one && (a.index < 0 || !p_.varies[a.index])) {
    Value* address = at(memory_type(dtype, 1), place.address, lanes.c);
    Value* count = mask == lanes.mask ? lanes.count : nullptr;
    Value* x;
    if (store.mode == StoreMode::add) {
      Value* old = from_memory(dtype, masked_load(dtype, address, mask, count), kLanes);
      x = to_memory(dtype, op(sum, sum.type, old, vector(row, lanes, store.node), nullptr, kLanes),
                    kLanes);
    } else {
      x = memory_value(dtype, row, &lanes, store.node);
    }
    if (place.aligned && !mask)
      streamed.push_back({address, x, place.aligned});
    else
      masked_store(dtype, address, mask, count, x);
    return;
  }
  Value* offsets = lane_offsets(row, lanes, store.access, mask);
  if (store.mode == StoreMode::set)
    return scatter(
        dtype, store.access, offsets,
        mask ? mask : llvm::Constant::getAllOnesValue(with_lanes(b_.getInt1Ty(), kLanes)),
        memory_value(dtype, row, &lanes, store.node));
  // Several lanes may add to one place: one after the other.
  llvm::Type *element = memory_type(dtype, 1), *value_type = type(sum.type, 1);
  Value* x = vector(row, lanes, store.node);
  Value *places = local(offsets->getType()), *buffer = local(type(sum.type, kLanes));
  if (sum.type == DType::boolean) internal_error("a store that adds booleans");
  b_.CreateStore(offsets, places);
  b_.CreateStore(x, buffer);
  for_active_lanes(mask, [&](Value* lane) {
    Value* offset = b_.CreateLoad(b_.getInt64Ty(), at(b_.getInt64Ty(), places, lane));
    Value* address = at(element, access_[store.access].base, offset);
    const llvm::Align alignment(size_of(dtype));
    Value* old = from_memory(dtype, b_.CreateAlignedLoad(element, address, alignment), 1);
    Value* added = b_.CreateLoad(value_type, at(value_type, buffer, lane));
    b_.CreateAlignedStore(to_memory(dtype, op(sum, sum.type, old, added, nullptr, 1), 1), address,
                          alignment);
  });
}

// Full vectors of a streaming store: past the caches where the row is aligned to cache lines.
void Emitter::store_streamed(const std::vector<Streamed>& streamed) {
  if (streamed.empty()) return;
  llvm::BasicBlock *past = block("past_caches"), *through = block("through_caches"),
                   *after = block("after");
  Value* aligned = streamed[0].aligned;
  for (size_t i = 1; i < streamed.size(); ++i) aligned = b_.CreateAnd(aligned, streamed[i].aligned);
  b_.CreateCondBr(aligned, past, through);
  b_.SetInsertPoint(past);
  llvm::MDNode* one = llvm::MDNode::get(context_, llvm::ConstantAsMetadata::get(b_.getInt32(1)));
  for (const Streamed& s : streamed) {
    const uint64_t bytes = s.value->getType()->getPrimitiveSizeInBits().getFixedValue() / 8;
    llvm::StoreInst* store =
        b_.CreateAlignedStore(s.value, s.address, llvm::Align(std::min<uint64_t>(bytes, 64)));
    store->setMetadata(llvm::LLVMContext::MD_nontemporal, one);
  }
  b_.CreateBr(after);
  b_.SetInsertPoint(through);
  for (const Streamed& s : streamed)
    b_.CreateAlignedStore(s.value, s.address,
                          llvm::Align(s.value->getType()->getScalarSizeInBits() / 8));
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
}

Value* Emitter::scratch_address(int scratch_row, DType dtype, Value* c) {
  Value* row = at(b_.getInt8Ty(), scratch_,
                  b_.CreateMul(row_length_, i64(p_.row_offset[static_cast<size_t>(scratch_row)])));
  return at(memory_type(dtype, 1), row, c);
}

void Emitter::keep(Lanes& lanes, Value* value, DType dtype, int scratch_row) {
  // Scratch rows have room for whole vectors: no mask.
  b_.CreateAlignedStore(to_memory(dtype, value, kLanes),
                        scratch_address(scratch_row, dtype, lanes.c), llvm::Align(size_of(dtype)));
}

Value* Emitter::restore(Lanes& lanes, int32_t id) {
  const DType dtype = node(id).type;
  Value* raw =
      b_.CreateAlignedLoad(memory_type(dtype, kLanes), scratch_address(p_.row[id], dtype, lanes.c),
                           llvm::Align(size_of(dtype)));
  return from_memory(dtype, raw, kLanes);
}

}  // namespace corten::codegen
