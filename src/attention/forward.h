// The forward pass over some queries of a head. Included after attention/rows.h.
//
// For every block of keys in ascending order: scores of a strip of queries, their running maximum and sum, weights,
// and the strip's results multiplied by 2^(old maximum - new maximum) plus weights times values.
#pragma once

#include "attention/rows.h"

namespace corten::attention_detail {
namespace {

constexpr int64_t kKeys = 128;  // of a block; the only blocking on which the bits depend

template <class U>
struct Forward {
  static constexpr int64_t kStride = kKeys + kW;  // of scores: rows that start in different sets of the L1 cache
  const Head& head;
  const AttentionArgs& a;
  const Exponents exponents;
  const int64_t q0, q1, units, width, acc_stride;
  float *q, *k_rows, *k_across, *v, *scores, *most, *acc, *maximum;

  Forward(const Head& h, int64_t first, int64_t last, float* scratch)
      : head(h), a(h.args), exponents(a), q0(first), q1(last), units(row_units<U>(a.head_size)), width(round_up(a.head_size, kW)),
        acc_stride(width + kW) {
    q = take(scratch, (q1 - q0) * units);
    k_rows = take(scratch, kKeys * units);
    k_across = take(scratch, units * kKeys);
    v = take(scratch, kKeys / U::kPair * panels_width(a.head_size));
    scores = take(scratch, kRows * kStride);
    most = take(scratch, kW * kW);
    acc = take(scratch, (q1 - q0) * acc_stride);  // of each query: results, and lanes of the sum of weights
    maximum = take(scratch, q1 - q0);             // of the exponents
  }
  static size_t bytes(const AttentionArgs& a, int64_t queries) {
    const int64_t units = row_units<U>(a.head_size), width = round_up(a.head_size, kW);
    const int64_t floats = queries * (units + width + kW + 1) + kKeys * (2 * units + panels_width(a.head_size) / U::kPair) +
                           kRows * kStride + kW * kW;
    return static_cast<size_t>(floats + 8 * 16) * sizeof(float);
  }

  void run() {
    pack_rows<U>(row_of(a.q, a.dtype, q0), a.dtype, a.q.row_stride, q1 - q0, q1 - q0, a.head_size, q);
    take_sign<U>(a, q, (q1 - q0) * units);
    for (int64_t i = 0; i < (q1 - q0) * acc_stride; i += kW) Simd::store(acc + i, Simd::zero());
    for (int64_t i = 0; i < q1 - q0; ++i) maximum[i] = -kInfinity;
    const int64_t end = a.causal ? smaller(a.keys, q1) : a.keys, step = strip_rows(q1 - q0, 1);
    const int64_t fetched = ceil_div(kKeys, ceil_div(q1 - q0, step));
    for (int64_t k0 = 0; k0 < end; k0 += kKeys) {
      if (hidden_block(a, k0, kKeys)) continue;
      const int64_t count = smaller(kKeys, a.keys - k0), padded = round_up(count, kW);
      pack_rows<U>(row_of(a.k, a.dtype, k0), a.dtype, a.k.row_stride, count, padded, a.head_size, k_rows);
      turn(k_rows, padded, units, k_across);
      pack_across<U>(row_of(a.v, a.dtype, k0), a.dtype, a.v.row_stride, count, a.head_size, kKeys / U::kPair, v);
      Ahead next_k, next_v;
      next_k.start(a.k, a.dtype, k0 + kKeys, smaller(kKeys, end - k0 - kKeys), a.head_size);
      next_v.start(a.v, a.dtype, k0 + kKeys, smaller(kKeys, end - k0 - kKeys), a.head_size);
      for (int64_t i = q0; i < q1; i += step) {
        next_k.fetch(fetched);
        next_v.fetch(fetched);
        strip(i, smaller(step, q1 - i), k0);
      }
    }
    for (int64_t i = q0; i < q1; ++i) finish(i);
  }

  void strip(int64_t i0, int64_t rows, int64_t k0) {
    const int64_t visible = visible_keys(a, i0 + rows - 1, k0, kKeys);
    if (visible <= 0) return;
    const int64_t r0 = i0 - q0, depth = ceil_div(a.head_size, U::kPair);
    // Keys that all of these queries see.
    const int64_t plain = a.mask ? 0 : larger(0, visible_keys(a, i0, k0, kKeys)) / kCols * kCols;
    for (int64_t r = 0; r < kW; ++r) Simd::store(most + r * kW, Simd::broadcast(-kInfinity));
    const float* const strip_q = q + r0 * units;
    const int64_t panel = units * kCols;
    product<U, false>(rows, plain / kW, strip_q, units, k_across, panel, depth, scores, kStride, true, nullptr, most);
    if (plain < visible) {
      product<U, false>(rows, ceil_div(visible - plain, kW), strip_q, units, k_across + plain * units, panel, depth,
                        scores + plain, kStride, true);
      for (int64_t r = 0; r < rows; ++r)
        mask_scores(i0 + r, k0, scores + r * kStride, plain, visible_keys(a, i0 + r, k0, kKeys), most + r * kW);
    }
    alignas(64) float shrink[kW], shift[kW];
    if (!raise(maximum + r0, rows, shrink, shift)) return;
    const bool rescaled = Simd::any(Simd::differs(Simd::load(shrink), Simd::broadcast(1)));
    const auto each = [&](auto&& run) {
      for (int64_t r = 0; r < rows; ++r)
        run(i0 + r, k0, shift[r], shrink[r], scores + r * kStride, visible_keys(a, i0 + r, k0, kKeys), round_up(visible, kW),
            acc + (r0 + r) * acc_stride + width);
    };
    if (a.p > 0)
      each([&](auto... x) { weigh<true>(x...); });
    else
      each([&](auto... x) { weigh<false>(x...); });
    product<U, false>(rows, width / kW, scores, kStride, v, kKeys / U::kPair * kCols, ceil_div(visible, U::kPair),
                      acc + r0 * acc_stride, acc_stride, false, rescaled ? shrink : nullptr);
  }

  // Masks scores `from` .. `count` of a query, in place, and takes them into the lanes' maxima.
  void mask_scores(int64_t query, int64_t k0, float* s, int64_t from, int64_t count, float* lanes) const {
    const MaskRow mask(a, query, k0);
    Simd::F high = Simd::load(lanes);
    for (int64_t j = from; j < count; j += kW) {
      const Simd::F x = exponents.masked(mask, Simd::load(s + j), j, count - j);
      Simd::store(s + j, x);
      high = Simd::max(high, x);
    }
    Simd::store(lanes, high);
  }

  // The maxima of a strip's queries, before and with the block at hand: what is subtracted from exponents, and the factor of
  // what has been summed. False if no query sees a key of this block.
  bool raise(float* maxima, int64_t rows, float* shrink, float* shift) const {
    alignas(64) float turned[kW * kW];
    for (int64_t r = rows; r < kW; ++r) Simd::store(most + r * kW, Simd::broadcast(-kInfinity));
    Simd::transpose(most, kW, turned, kW);
    Simd::F high = Simd::load(turned);
    for (int i = 1; i < kW; ++i) high = Simd::max(high, Simd::load(turned + i * kW));
    const Simd::F least = Simd::broadcast(-kLargest), hidden = Simd::broadcast(-kInfinity), zero = Simd::zero();
    if (!Simd::any(Simd::differs(high, hidden))) return false;
    const Simd::F old = Simd::load(maxima, rows);
    high = Simd::select(Simd::less(high, least), hidden, Simd::mul(high, Simd::broadcast(exponents.unit)));
    high = Simd::max(old, high);
    const Simd::F base = Simd::select(Simd::less(high, least), zero, high);
    Simd::store(shift, base);
    Simd::store(shrink, Simd::select(Simd::less(old, least), zero, exp2<U>(Simd::sub(old, base))));
    Simd::store(maxima, high, rows);
    return true;
  }

  // Weights 2^(score * unit - shift) in place, as what is multiplied with the values, and zeros up to `padded`. Adds them,
  // before dropout and rounding, to the lanes of the sum.
  template <bool kDrops>
  void weigh(int64_t query, int64_t k0, float shift, float shrink, float* s, int64_t count, int64_t padded, float* lanes) const {
    const Simd::F unit = Simd::broadcast(exponents.unit), base = Simd::broadcast(-shift);
    const Dropout dropout(head, query);
    const bool rounds = U::kPair == 1 && a.dtype == DType::bf16;
    Simd::F sum = Simd::mul(Simd::load(lanes), Simd::broadcast(shrink));
    const auto weight = [&](int64_t j) { return exp2<U>(Simd::fma(Simd::load(s + j), unit, base)); };
    auto* out = reinterpret_cast<uint16_t*>(s);  // pairs lie behind what is still to be read
    int64_t j = 0;
    for (; j + kCols <= count; j += kCols) {
      Simd::F p = weight(j), next = weight(j + kW);
      sum = Simd::add(Simd::add(sum, p), next);
      if constexpr (kDrops) {
        Simd::M dropped[2];
        dropout.template dropped<2>(k0 + j, dropped);
        p = Simd::select(dropped[0], Simd::zero(), p);
        next = Simd::select(dropped[1], Simd::zero(), next);
      }
      if constexpr (U::kPair == 2) {
        U::store(out + j, p, next);
      } else {
        Simd::store(s + j, rounds ? Simd::round_bf16(p) : p);
        Simd::store(s + j + kW, rounds ? Simd::round_bf16(next) : next);
      }
    }
    for (; j < padded; j += kW) {
      Simd::F p = Simd::zero();
      if (j < count) {
        p = weight(j);  // behind the last key are scores of -infinity, or none
        sum = Simd::add(sum, p);
        if constexpr (kDrops) {
          Simd::M dropped;
          dropout.template dropped<1>(k0 + j, &dropped);
          p = Simd::select(dropped, Simd::zero(), p);
        }
      }
      if constexpr (U::kPair == 2)
        U::store(out + j, p);
      else
        Simd::store(s + j, rounds ? Simd::round_bf16(p) : p);
    }
    Simd::store(lanes, sum);
  }

  void finish(int64_t i) {
    const float* const row = acc + (i - q0) * acc_stride;
    prefetch_row(row_of(a.out, a.dtype, i + kAhead), a.head_size * (a.dtype == DType::f32 ? 4 : 2));
    const float total = Simd::sum(Simd::load(row + width)), kept = a.p < 1 ? 1 / (1 - a.p) : 0;
    const bool empty = total == 0;
    head.args.lse[i] = empty ? -kInfinity : __builtin_fmaf(maximum[i - q0], kLn2, log(total));
    const Simd::F factor = Simd::broadcast(empty ? 0 : kept / total);
    for (int64_t j = 0; j < a.head_size; j += kW) {
      // Keys that add nothing must not even turn a -0 into a +0: the sum with +0 makes them equal, and so does taking
      // what bf16 cannot hold as 0.
      Simd::F x = Simd::add(Simd::mul(Simd::load(row + j), factor), Simd::zero());
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
