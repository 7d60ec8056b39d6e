// The forward pass over some queries of a head. Included after attention/rows.h.
//
// For every block of keys in ascending order: scores of a strip of queries, their running maximum and sum, weights,
// and the strip's results multiplied by exp(old maximum - new maximum) plus weights times values.
#pragma once

#include "attention/rows.h"

namespace corten::attention_detail {
namespace {

constexpr int64_t kKeys = 128;  // of a block; the only blocking on which the bits depend

// One query's scaled and masked scores, in place; their maximum.
inline float mask_scores(const AttentionArgs& a, int64_t query, int64_t k0, float* s, int64_t count) {
  const Simd::F scale = Simd::broadcast(a.scale), hidden = Simd::broadcast(-kInfinity);
  const MaskRow mask(a, query, k0);
  Simd::F most = hidden;
  int64_t j = 0;
  if (!a.mask)
    for (; j + kW <= count; j += kW) {
      const Simd::F x = Simd::mul(Simd::load(s + j), scale);
      Simd::store(s + j, x);
      most = Simd::max(most, x);
    }
  for (; j < count; j += kW) {
    const Simd::F x = mask.add_to(Simd::mul(Simd::load(s + j), scale), j, count - j);
    const Simd::F seen = Simd::select(mask.visible(j, count - j), x, hidden);
    Simd::store(s + j, seen);
    most = Simd::max(most, seen);
  }
  return Simd::maximum(most);
}

// Weights exp(score - maximum) in place, as what is multiplied with the values, and zeros up to `padded`. Returns their sum
// before dropout and rounding.
template <class U>
float weigh(const Head& head, int64_t query, int64_t k0, float maximum, float* s, int64_t count, int64_t padded) {
  const AttentionArgs& a = head.args;
  const Simd::F shift = Simd::broadcast(maximum);
  const Dropout dropout(head, query);
  const bool drops = a.p > 0, rounds = U::kPair == 1 && a.dtype == DType::bf16;
  const auto put = [&](int64_t j, Simd::F p) {
    if constexpr (U::kPair == 2)
      U::store(reinterpret_cast<uint16_t*>(s) + j, p);  // behind what is still to be read
    else
      Simd::store(s + j, rounds ? Simd::round_bf16(p) : p);
  };
  Simd::F sum = Simd::zero();
  int64_t j = 0;
  for (; j < count; j += kW) {  // behind the last key are scores of -infinity
    Simd::F p = exp(Simd::sub(Simd::load(s + j), shift));
    sum = Simd::add(sum, p);
    if (drops) p = Simd::select(dropout.dropped(k0 + j), Simd::zero(), p);
    put(j, p);
  }
  for (; j < padded; j += kW) put(j, Simd::zero());
  return Simd::sum(sum);
}

template <class U>
struct Forward {
  const Head& head;
  const AttentionArgs& a;
  const int64_t q0, q1, units, width;  // units of a row of q and k; columns of results
  float *q, *acc, *maximum, *sum, *k_rows, *k_across, *v, *scores;

  Forward(const Head& h, int64_t first, int64_t last, float* scratch)
      : head(h), a(h.args), q0(first), q1(last), units(row_units<U>(a.head_size)), width(round_up(a.head_size, kW)) {
    q = take(scratch, (q1 - q0) * units);
    acc = take(scratch, (q1 - q0) * width);
    maximum = take(scratch, q1 - q0);
    sum = take(scratch, q1 - q0);
    k_rows = take(scratch, kKeys * units);
    k_across = take(scratch, units * kKeys);
    v = take(scratch, kKeys * width);
    scores = take(scratch, kRows * kKeys);
  }
  static size_t bytes(const AttentionArgs& a, int64_t queries) {
    const int64_t units = row_units<U>(a.head_size), width = round_up(a.head_size, kW);
    return static_cast<size_t>(queries * (units + width + 2) + kKeys * (2 * units + width + kRows) + 8 * 16) * sizeof(float);
  }

  void run() {
    pack_rows<U>(row_of(a.q, a.dtype, q0), a.dtype, a.q.row_stride, q1 - q0, q1 - q0, a.head_size, q);
    for (int64_t i = 0; i < (q1 - q0) * width; i += kW) Simd::store(acc + i, Simd::zero());
    for (int64_t i = 0; i < q1 - q0; ++i) {
      maximum[i] = -kInfinity;
      sum[i] = 0;
    }
    const int64_t end = a.causal ? smaller(a.keys, q1) : a.keys;
    for (int64_t k0 = 0; k0 < end; k0 += kKeys) {
      if (hidden_block(a, k0, kKeys)) continue;
      const int64_t count = smaller(kKeys, a.keys - k0), padded = round_up(count, kW);
      pack_rows<U>(row_of(a.k, a.dtype, k0), a.dtype, a.k.row_stride, count, padded, a.head_size, k_rows);
      turn(k_rows, units, padded, units, k_across, kKeys);
      pack_across<U>(row_of(a.v, a.dtype, k0), a.dtype, a.v.row_stride, count, a.head_size, v);
      for (int64_t i = q0; i < q1; i += kRows) strip(i, smaller(kRows, q1 - i), k0);
    }
    for (int64_t i = q0; i < q1; ++i) finish(i);
  }

  void strip(int64_t i0, int64_t rows, int64_t k0) {
    const int64_t most = visible_keys(a, i0 + rows - 1, k0, kKeys);
    if (most <= 0) return;
    const int64_t padded = round_up(most, kW), r0 = i0 - q0;
    product<U, false>(rows, padded / kW, q + r0 * units, units, k_across, kKeys, ceil_div(a.head_size, U::kPair), scores, kKeys,
                      true);
    alignas(64) float shrink[16] = {}, higher[16];
    bool any = false, rescaled = false;
    for (int64_t r = 0; r < rows; ++r) {
      const float block = mask_scores(a, i0 + r, k0, scores + r * kKeys, visible_keys(a, i0 + r, k0, kKeys));
      const float old = maximum[r0 + r];
      higher[r] = old > block ? old : block;
      // Nothing seen yet: any finite maximum gives zero weights.
      shrink[r] = higher[r] == -kInfinity ? 0 : old - higher[r];
      any |= block != -kInfinity;
    }
    if (!any) return;
    for (int v0 = 0; v0 < kRows; v0 += kW) Simd::store(shrink + v0, exp(Simd::load(shrink + v0)));
    for (int64_t r = 0; r < rows; ++r) {
      const float shift = higher[r] == -kInfinity ? 0 : higher[r];
      maximum[r0 + r] = higher[r];
      rescaled |= shrink[r] != 1;
      float* row = scores + r * kKeys;
      const float part = weigh<U>(head, i0 + r, k0, shift, row, visible_keys(a, i0 + r, k0, kKeys), padded);
      sum[r0 + r] = sum[r0 + r] * shrink[r] + part;
    }
    product<U, false>(rows, width / kW, scores, kKeys, v, width, ceil_div(most, U::kPair), acc + r0 * width, width, false,
                      rescaled ? shrink : nullptr);
  }

  void finish(int64_t i) {
    const float total = sum[i - q0], kept = a.p < 1 ? 1 / (1 - a.p) : 0;
    const bool empty = total == 0;
    head.args.lse[i] = empty ? -kInfinity : maximum[i - q0] + log(total);
    const Simd::F factor = Simd::broadcast(empty ? 0 : kept / total);
    for (int64_t j = 0; j < a.head_size; j += kW) {
      // Keys that add nothing must not even turn a -0 into a +0: the sum with +0 makes them equal, and so does taking
      // what bf16 cannot hold as 0.
      Simd::F x = Simd::add(Simd::mul(Simd::load(acc + (i - q0) * width + j), factor), Simd::zero());
      if (a.dtype == DType::bf16) {
        const Simd::F least = Simd::broadcast(0x1p-126f);
        x = Simd::select(Simd::both(Simd::less(x, least), Simd::less(Simd::sub(Simd::zero(), least), x)), Simd::zero(), x);
      }
      store_from_float(row_of(a.out, a.dtype, i), a.dtype, j, x, a.head_size - j);
    }
  }
};

}  // namespace
}  // namespace corten::attention_detail
