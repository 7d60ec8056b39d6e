// The backward pass over a head, or over some of its keys or queries. Included after attention/rows.h.
//
// With the weights P = exp(S - lse) computed again, K(P) what dropout keeps of them, divided by 1 - p, and the rows of g
// (the gradient of the results):
//   dv = K(P)^T g     dP = K(g v^T)     dS = P (dP - sum(g * out))     dk = scale dS^T q     dq = scale dS k
// (Dao, 2023). Blocks of queries and keys are as large as the caches like; accumulators are carried across them.
#pragma once

#include "attention/rows.h"

namespace corten::attention_detail {
namespace {

constexpr int64_t kGradientQueries = 96, kGradientKeys = 64;  // multiples of kRows or pairs, and of vectors

template <class U>
struct Gradient {
  static constexpr bool kPairs = U::kPair == 2;
  const Head& head;
  const AttentionArgs& a;
  const int64_t units, width;
  // Packed blocks; those that are the same for floats share memory.
  float *k_rows, *k_across, *k_sum, *v_across, *q, *q_sum, *g, *g_sum;
  // Weights and dS with units along the queries, dS with units along the keys; a strip of scores and of dP.
  float *weights, *ds, *ds_rows, *strip_s, *strip_dp;
  float *dk, *dv, *dq;  // accumulators
  int64_t k0 = 0, keys = 0, q0 = 0, queries = 0;  // the blocks at hand

  Gradient(const Head& h, Part part, float* scratch)
      : head(h), a(h.args), units(row_units<U>(a.head_size)), width(round_up(a.head_size, kW)) {
    k_rows = take(scratch, kGradientKeys * units);
    k_across = take(scratch, units * kGradientKeys);
    v_across = take(scratch, units * kGradientKeys);
    q = take(scratch, kGradientQueries * units);
    g = take(scratch, kGradientQueries * units);
    weights = take(scratch, kGradientQueries / U::kPair * kGradientKeys);
    ds = take(scratch, kGradientQueries / U::kPair * kGradientKeys);
    dk = take(scratch, kGradientKeys * width);
    dv = take(scratch, kGradientKeys * width);
    k_sum = k_rows, q_sum = q, g_sum = g, ds_rows = ds, strip_s = strip_dp = nullptr;
    if (kPairs) {
      k_sum = take(scratch, kGradientKeys / 2 * width);
      q_sum = take(scratch, kGradientQueries / 2 * width);
      g_sum = take(scratch, kGradientQueries / 2 * width);
      ds_rows = take(scratch, kGradientQueries * kGradientKeys / 2);
      strip_s = take(scratch, kRows * kGradientKeys);
      strip_dp = take(scratch, kRows * kGradientKeys);
    }
    dq = take(scratch, part == Part::all ? a.queries * width : kGradientQueries * width);
  }
  static size_t bytes(const AttentionArgs& a, Part part) {
    const int64_t units = row_units<U>(a.head_size), width = round_up(a.head_size, kW);
    int64_t floats = kGradientKeys * (3 * units + 2 * width) + kGradientQueries * (2 * units + 2 * kGradientKeys);
    if (kPairs)
      floats += kGradientKeys / 2 * width + kGradientQueries * width + kGradientQueries * kGradientKeys / 2 +
                2 * kRows * kGradientKeys;
    floats += (part == Part::all ? a.queries : kGradientQueries) * width;
    return static_cast<size_t>(floats + 20 * 16) * sizeof(float);
  }

  void load_keys(int64_t first) {
    k0 = first;
    keys = smaller(kGradientKeys, a.keys - k0);
    const int64_t padded = round_up(keys, kW);
    pack_rows<U>(row_of(a.v, a.dtype, k0), a.dtype, a.v.row_stride, keys, padded, a.head_size, k_rows);
    turn(k_rows, units, padded, units, v_across, kGradientKeys);
    pack_rows<U>(row_of(a.k, a.dtype, k0), a.dtype, a.k.row_stride, keys, padded, a.head_size, k_rows);
    turn(k_rows, units, padded, units, k_across, kGradientKeys);
    if (kPairs) pack_across<U>(row_of(a.k, a.dtype, k0), a.dtype, a.k.row_stride, keys, a.head_size, k_sum);
  }
  void load_queries(int64_t first) {
    q0 = first;
    queries = smaller(kGradientQueries, a.queries - q0);
    pack_rows<U>(row_of(a.q, a.dtype, q0), a.dtype, a.q.row_stride, queries, queries, a.head_size, q);
    pack_rows<U>(row_of(a.g, a.dtype, q0), a.dtype, a.g.row_stride, queries, queries, a.head_size, g);
    if (!kPairs) return;
    pack_across<U>(row_of(a.q, a.dtype, q0), a.dtype, a.q.row_stride, queries, a.head_size, q_sum);
    pack_across<U>(row_of(a.g, a.dtype, q0), a.dtype, a.g.row_stride, queries, a.head_size, g_sum);
  }

  // Scores and dP of one query become weights (what dropout keeps of them, not yet divided) and dS.
  void weigh(int64_t i, float* s, float* dp, int64_t padded) const {
    const int64_t count = visible_keys(a, i, k0, keys);
    const MaskRow mask(a, i, k0);
    const Dropout dropout(head, i);
    const Simd::F scale = Simd::broadcast(a.scale), zero = Simd::zero();
    // All scores of a query that sees nothing are -infinity.
    const Simd::F lse = Simd::broadcast(a.lse[i] == -kInfinity ? 0 : a.lse[i]), dot = Simd::broadcast(head.dots[i]);
    const Simd::F kept = Simd::broadcast(a.p < 1 ? 1 / (1 - a.p) : 0);
    int64_t j = 0;
    if (!a.mask && !(a.p > 0))
      for (; j + kW <= count; j += kW) {
        const Simd::F p = exp(Simd::sub(Simd::mul(Simd::load(s + j), scale), lse));
        Simd::store(s + j, p);
        Simd::store(dp + j, Simd::mul(p, Simd::sub(Simd::load(dp + j), dot)));
      }
    for (; j < count; j += kW) {
      const Simd::F x = mask.add_to(Simd::mul(Simd::load(s + j), scale), j, count - j);
      const Simd::M seen = mask.visible(j, count - j);
      const Simd::F p = Simd::select(seen, exp(Simd::sub(x, lse)), zero);
      Simd::F left = p, d = Simd::load(dp + j);
      if (a.p > 0) {
        const Simd::M dropped = dropout.dropped(k0 + j);
        left = Simd::select(dropped, zero, p);
        d = Simd::select(dropped, zero, Simd::mul(d, kept));
      }
      Simd::store(s + j, left);
      Simd::store(dp + j, Simd::select(seen, Simd::mul(p, Simd::sub(d, dot)), zero));
    }
    for (; j < padded; j += kW) {
      Simd::store(s + j, zero);
      Simd::store(dp + j, zero);
    }
  }

  // weights, ds and ds_rows of the blocks at hand.
  void weigh_block() {
    const int64_t padded = round_up(keys, kW), depth = ceil_div(a.head_size, U::kPair);
    for (int64_t i = 0; i < queries; i += kRows) {
      const int64_t rows = smaller(kRows, queries - i);
      float* s = kPairs ? strip_s : weights + i * kGradientKeys;
      float* dp = kPairs ? strip_dp : ds + i * kGradientKeys;
      const int64_t most = larger(0, visible_keys(a, q0 + i + rows - 1, k0, keys));
      const int64_t vectors = ceil_div(most, kW);
      product<U, false>(rows, vectors, q + i * units, units, k_across, kGradientKeys, depth, s, kGradientKeys, true);
      product<U, false>(rows, vectors, g + i * units, units, v_across, kGradientKeys, depth, dp, kGradientKeys, true);
      for (int64_t r = 0; r < rows; ++r) weigh(q0 + i + r, s + r * kGradientKeys, dp + r * kGradientKeys, padded);
      if constexpr (kPairs) {
        for (int64_t r = 0; r < rows; r += 2) {
          const int64_t at = (i + r) / 2 * kGradientKeys;
          const bool last = r + 1 == rows;
          const auto next = [&](const float* p) { return last ? Simd::zero() : Simd::load(p + kGradientKeys); };
          auto* row = reinterpret_cast<uint16_t*>(ds_rows) + (i + r) * kGradientKeys;
          for (int64_t j = 0; j < padded; j += kW) {
            const float *p = s + r * kGradientKeys + j, *d = dp + r * kGradientKeys + j;
            Simd::store(weights + at + j, U::round(Simd::load(p), next(p)));
            Simd::store(ds + at + j, U::round(Simd::load(d), next(d)));
            U::store(row + j, Simd::load(d));
            if (!last) U::store(row + kGradientKeys + j, next(d));
          }
        }
      } else if (a.dtype == DType::bf16) {
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < padded; j += kW)
            for (float* p : {s + r * kGradientKeys + j, dp + r * kGradientKeys + j})
              Simd::store(p, Simd::round_bf16(Simd::load(p)));
      }
    }
  }

  void add_keys() {
    for (int64_t j = 0; j < keys; j += kRows) {
      // Queries before the first of these keys do not see them.
      const int64_t skip = (a.causal ? larger(0, k0 + j - q0) : 0) / U::kPair;
      const int64_t depth = ceil_div(queries, U::kPair) - skip, rows = smaller(kRows, keys - j);
      if (depth <= 0) continue;
      const int64_t from = skip * kGradientKeys + j;
      product<U, true>(rows, width / kW, weights + from, kGradientKeys, g_sum + skip * width, width, depth, dv + j * width, width,
                       false);
      product<U, true>(rows, width / kW, ds + from, kGradientKeys, q_sum + skip * width, width, depth, dk + j * width, width,
                       false);
    }
  }
  void add_queries(float* to) {
    for (int64_t i = 0; i < queries; i += kRows) {
      const int64_t rows = smaller(kRows, queries - i);
      const int64_t most = visible_keys(a, q0 + i + rows - 1, k0, keys);
      if (most <= 0) continue;
      product<U, false>(rows, width / kW, ds_rows + i * (kGradientKeys / U::kPair), kGradientKeys / U::kPair, k_sum, width,
                        ceil_div(most, U::kPair), to + i * width, width, false);
    }
  }

  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; i += kW) Simd::store(p + i, Simd::zero());
  }
  void write(const AttentionTensor& to, int64_t first, int64_t rows, const float* from, float factor) {
    const Simd::F f = Simd::broadcast(factor);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < a.head_size; j += kW)
        store_from_float(row_of(to, a.dtype, first + i), a.dtype, j, Simd::mul(Simd::load(from + i * width + j), f),
                         a.head_size - j);
  }

  void run_keys(int64_t first, int64_t last, bool with_queries) {
    for (int64_t k = first; k < last; k += kGradientKeys) {
      load_keys(k);
      clear(dk, kGradientKeys * width);
      clear(dv, kGradientKeys * width);
      const int64_t from = a.causal ? k / kGradientQueries * kGradientQueries : 0;
      if (!hidden_block(a, k0, kGradientKeys))
        for (int64_t i = from; i < a.queries; i += kGradientQueries) {
          load_queries(i);
          weigh_block();
          add_keys();
          if (with_queries) add_queries(dq + i * width);
        }
      write(a.dk, k0, keys, dk, a.scale);
      write(a.dv, k0, keys, dv, a.p > 0 ? (a.p < 1 ? 1 / (1 - a.p) : 0) : 1);
    }
  }
  void run_queries(int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i += kGradientQueries) {
      load_queries(i);
      clear(dq, kGradientQueries * width);
      const int64_t end = a.causal ? smaller(a.keys, i + queries) : a.keys;
      for (int64_t k = 0; k < end; k += kGradientKeys) {
        if (hidden_block(a, k, kGradientKeys)) continue;
        load_keys(k);
        weigh_block();
        add_queries(dq);
      }
      write(a.dq, i, queries, dq, a.scale);
    }
  }
  void run(Part part, int64_t first, int64_t last) {
    if (part == Part::queries) return run_queries(first, last);
    if (part == Part::keys) return run_keys(first, last, false);
    clear(dq, a.queries * width);
    run_keys(0, a.keys, true);
    write(a.dq, 0, a.queries, dq, a.scale);
  }
};

// sum(g * out) of each query.
inline void sum_dots(const Head& head, int64_t q0, int64_t q1) {
  const AttentionArgs& a = head.args;
  for (int64_t i = q0; i < q1; ++i) {
    const void *g = row_of(a.g, a.dtype, i), *out = row_of(a.out, a.dtype, i);
    Simd::F sum = Simd::zero();
    for (int64_t j = 0; j < a.head_size; j += kW)
      sum = Simd::fma(load_as_float(g, a.dtype, j, a.head_size - j), load_as_float(out, a.dtype, j, a.head_size - j), sum);
    head.dots[i] = Simd::sum(sum);
  }
}

}  // namespace
}  // namespace corten::attention_detail
