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

constexpr int64_t kGradientQueries = 128, kGradientKeys = 128;  // multiples of vectors, pairs and panels
constexpr int64_t kFetched = 2;  // rows of the next keys per strip of queries

// sum(g * out) of each query.
inline void sum_dots(const Head& head, int64_t q0, int64_t q1) {
  const AttentionArgs& a = head.args;
  for (int64_t i = q0; i < q1; ++i) {
    const void *g = row_of(a.g, a.dtype, i), *out = row_of(a.out, a.dtype, i);
    prefetch_row(row_of(a.g, a.dtype, i + kAhead), a.head_size * (a.dtype == DType::f32 ? 4 : 2));
    prefetch_row(row_of(a.out, a.dtype, i + kAhead), a.head_size * (a.dtype == DType::f32 ? 4 : 2));
    Simd::F sum = Simd::zero();
    for (int64_t j = 0; j < a.head_size; j += kW)
      sum = Simd::fma(load_as_float(g, a.dtype, j, a.head_size - j), load_as_float(out, a.dtype, j, a.head_size - j), sum);
    head.dots[i] = Simd::sum(sum);
  }
}

template <class U>
struct Gradient {
  static constexpr bool kPairs = U::kPair == 2;
  static constexpr int64_t kStride = kGradientKeys + kW;  // of rows of scores, which start in different sets of the L1 cache
  const Head& head;
  const AttentionArgs& a;
  const Exponents exponents;
  const int64_t units, width;
  // Of a whole head, queries stay packed: their rows lie far apart, and are read for every block of keys.
  const bool whole;
  int64_t packed = 0;
  Ahead next_k, next_v, next_q, next_g, next_out;
  // Packed blocks: as rows, turned, and with units along the rows, which for floats are those of `rows` in panels.
  float *rows, *k_across, *v_across, *k_sum, *q_rows, *q_sum, *g_rows, *g_sum;
  // Weights and dS with units along the queries, dS with units along the keys; a strip of scores and of dP.
  float *weights, *ds, *ds_rows, *strip_s, *strip_dp;
  float *dk, *dv, *dq;  // accumulators
  int64_t k0 = 0, keys = 0, q0 = 0, queries = 0;  // the blocks at hand
  const float *q = nullptr, *g = nullptr;         // the rows of this block

  Gradient(const Head& h, Part part, float* scratch)
      : head(h), a(h.args), exponents(a), units(row_units<U>(a.head_size)), width(round_up(a.head_size, kW)),
        whole(part == Part::all) {
    const int64_t panels = panels_width(a.head_size);
    rows = take(scratch, kGradientKeys * units);
    k_across = take(scratch, units * kGradientKeys);
    v_across = take(scratch, units * kGradientKeys);
    k_sum = take(scratch, kGradientKeys / U::kPair * panels);
    q_rows = take(scratch, (part == Part::all ? a.queries : kGradientQueries) * units);
    g_rows = take(scratch, (part == Part::all ? a.queries : kGradientQueries) * units);
    q_sum = take(scratch, kGradientQueries / U::kPair * panels);
    g_sum = take(scratch, kGradientQueries / U::kPair * panels);
    weights = take(scratch, kGradientQueries / U::kPair * kStride);
    ds = take(scratch, kGradientQueries / U::kPair * kStride);
    dk = take(scratch, kGradientKeys * width);
    dv = take(scratch, kGradientKeys * width);
    ds_rows = ds, strip_s = strip_dp = nullptr;
    if (kPairs) {
      ds_rows = take(scratch, kGradientQueries * kStride / 2);
      strip_s = take(scratch, kRows * kStride);
      strip_dp = take(scratch, kRows * kStride);
    }
    dq = take(scratch, part == Part::all ? a.queries * width : kGradientQueries * width);
  }
  static size_t bytes(const AttentionArgs& a, Part part) {
    const int64_t units = row_units<U>(a.head_size), width = round_up(a.head_size, kW), panels = panels_width(a.head_size);
    const int64_t rows = part == Part::all ? a.queries : kGradientQueries;  // of queries that are kept
    int64_t floats = kGradientKeys * (3 * units + panels / U::kPair + 2 * width) +
                     kGradientQueries * 2 * (panels / U::kPair + kStride / U::kPair) + rows * (2 * units + width);
    if (kPairs) floats += kGradientQueries * kStride / 2 + 2 * kRows * kStride;
    return static_cast<size_t>(floats + 20 * 16) * sizeof(float);
  }

  void load_keys(int64_t first) {
    k0 = first;
    keys = smaller(kGradientKeys, a.keys - k0);
    next_k.start(a.k, a.dtype, k0 + keys, smaller(kGradientKeys, a.keys - k0 - keys), a.head_size);
    next_v.start(a.v, a.dtype, k0 + keys, smaller(kGradientKeys, a.keys - k0 - keys), a.head_size);
    const int64_t padded = round_up(keys, kW);
    pack_rows<U>(row_of(a.v, a.dtype, k0), a.dtype, a.v.row_stride, keys, padded, a.head_size, rows);
    turn(rows, padded, units, v_across);
    pack_rows<U>(row_of(a.k, a.dtype, k0), a.dtype, a.k.row_stride, keys, padded, a.head_size, rows);
    turn(rows, padded, units, k_across);
    pack_across<U>(rows, kPacked<U>, units * U::kPair, keys, a.head_size, kGradientKeys / U::kPair, k_sum);
  }
  void load_queries(int64_t first) {
    constexpr int64_t kDepth = kGradientQueries / U::kPair;
    q0 = first;
    queries = smaller(kGradientQueries, a.queries - q0);
    q = q_rows, g = g_rows;
    if (whole) {
      q += q0 * units, g += q0 * units;
      const int64_t end = q0 + queries;
      if (packed < end) {
        pack_queries(packed, end - packed, packed);
        sum_dots(head, packed, end);
        packed = end;
        next_q.start(a.q, a.dtype, end, smaller(kGradientQueries, a.queries - end), a.head_size);
        next_g.start(a.g, a.dtype, end, smaller(kGradientQueries, a.queries - end), a.head_size);
        next_out.start(a.out, a.dtype, end, smaller(kGradientQueries, a.queries - end), a.head_size);
      }
    } else {
      pack_queries(q0, queries, 0);
    }
    pack_across<U>(q, kPacked<U>, units * U::kPair, queries, a.head_size, kDepth, q_sum);
    pack_across<U>(g, kPacked<U>, units * U::kPair, queries, a.head_size, kDepth, g_sum);
  }
  void pack_queries(int64_t first, int64_t count, int64_t to) {
    pack_rows<U>(row_of(a.q, a.dtype, first), a.dtype, a.q.row_stride, count, count, a.head_size, q_rows + to * units);
    take_sign<U>(a, q_rows + to * units, count * units);
    pack_rows<U>(row_of(a.g, a.dtype, first), a.dtype, a.g.row_stride, count, count, a.head_size, g_rows + to * units);
  }

  // What all keys of a query have in common.
  struct Query {
    Simd::F lse, dot;  // minus the log to base 2
    Dropout dropout;
    // All scores of a query that sees nothing are -infinity.
    Query(const Head& head, int64_t i)
        : lse(Simd::broadcast(head.args.lse[i] == -kInfinity ? 0 : -head.args.lse[i] * kLog2E)),
          dot(Simd::broadcast(head.dots[i])), dropout(head, i) {}
  };
  struct Pair {
    Simd::F weight, ds;
  };
  // The weight, as far as dropout keeps it and not yet divided, and dS of a vector of scores and dP.
  template <bool kDrops>
  [[gnu::always_inline]] Pair weigh(const Query& query, Simd::F score, Simd::F dp, Simd::M dropped = {}) const {
    const Simd::F p = exp2<U>(Simd::fma(score, Simd::broadcast(exponents.unit), query.lse)), zero = Simd::zero();
    if constexpr (!kDrops) return {p, Simd::mul(p, Simd::sub(dp, query.dot))};
    const Simd::F d = Simd::select(dropped, zero, Simd::mul(dp, Simd::broadcast(a.p < 1 ? 1 / (1 - a.p) : 0)));
    return {Simd::select(dropped, zero, p), Simd::mul(p, Simd::sub(d, query.dot))};
  }
  // Which of N vectors from key j of the block on.
  template <bool kDrops, int N>
  [[gnu::always_inline]] void drop(const Query& query, int64_t j, Simd::M* dropped) const {
    if constexpr (kDrops) query.dropout.template dropped<N>(k0 + j, dropped);
  }

  // Keys open .. of one query, in place, hidden ones as zeros: as far as a register tile of the products may reach.
  template <bool kDrops>
  void weigh_masked(int64_t i, float* s, float* dp, int64_t open, int64_t end) const {
    const int64_t count = visible_keys(a, i, k0, keys);
    const MaskRow mask(a, i, k0);
    const Query query(head, i);
    int64_t j = open;
    for (; j < count; j += kW) {
      const Simd::F score = exponents.masked(mask, Simd::load(s + j), j, count - j);
      const Simd::M seen = mask.visible(j, count - j);
      Simd::M dropped = {};
      drop<kDrops, 1>(query, j, &dropped);
      const Pair x = weigh<kDrops>(query, score, Simd::load(dp + j), dropped);
      Simd::store(s + j, x.weight);  // 0 for -infinity
      Simd::store(dp + j, Simd::select(seen, x.ds, Simd::zero()));
    }
    for (; j < end; j += kW) {
      Simd::store(s + j, Simd::zero());
      Simd::store(dp + j, Simd::zero());
    }
  }
  // The first `open` keys of one query, in place, none of them hidden.
  template <bool kDrops>
  void weigh_open(int64_t i, float* s, float* dp, int64_t open) const {
    const Query query(head, i);
    for (int64_t j = 0; j < open; j += kCols) {
      Simd::M dropped[2] = {};
      drop<kDrops, 2>(query, j, dropped);
      const Pair x = weigh<kDrops>(query, Simd::load(s + j), Simd::load(dp + j), dropped[0]);
      const Pair y = weigh<kDrops>(query, Simd::load(s + j + kW), Simd::load(dp + j + kW), dropped[1]);
      Simd::store(s + j, x.weight);
      Simd::store(dp + j, x.ds);
      Simd::store(s + j + kW, y.weight);
      Simd::store(dp + j + kW, y.ds);
    }
  }

  // weights, ds and ds_rows of the blocks at hand.
  template <bool kDrops>
  void weigh_block() {
    const int64_t padded = round_up(keys, kW), depth = ceil_div(a.head_size, U::kPair), panel = units * kCols;
    const int64_t step = strip_rows(queries, U::kPair);
    for (int64_t i = 0; i < queries; i += step) {
      const int64_t count = smaller(step, queries - i);
      for (Ahead* next : {&next_q, &next_g, &next_out}) next->fetch(step);
      for (Ahead* next : {&next_k, &next_v}) next->fetch(kFetched);
      float* s = kPairs ? strip_s : weights + i * kStride;
      float* dp = kPairs ? strip_dp : ds + i * kStride;
      const int64_t most = larger(0, visible_keys(a, q0 + i + count - 1, k0, keys)), vectors = ceil_div(most, kW);
      product<U, false>(count, vectors, q + i * units, units, k_across, panel, depth, s, kStride, true);
      product<U, false>(count, vectors, g + i * units, units, v_across, panel, depth, dp, kStride, true);
      // Keys that all of these queries see, and those up to which hidden ones are read.
      const int64_t open = a.mask ? 0 : larger(0, visible_keys(a, q0 + i, k0, keys)) / kCols * kCols;
      const int64_t end = smaller(padded, round_up(most + kRows + U::kPair, kW));
      if constexpr (kPairs) {
        for (int64_t r = 0; r < count; r += 2) {
          const bool last = r + 1 == count;
          if (!last) round_open<kDrops>(i, r, open);
          const int64_t from = last ? 0 : open;
          for (int64_t m = r; m < smaller(r + 2, count); ++m)
            weigh_masked<kDrops>(q0 + i + m, s + m * kStride, dp + m * kStride, from, end);
          round(i, r, last, from, end);
        }
      } else {
        for (int64_t r = 0; r < count; ++r) {
          weigh_open<kDrops>(q0 + i + r, s + r * kStride, dp + r * kStride, open);
          weigh_masked<kDrops>(q0 + i + r, s + r * kStride, dp + r * kStride, open, end);
          if (a.dtype == DType::bf16)
            for (int64_t j = r * kStride; j < r * kStride + end; j += kW) {
              Simd::store(s + j, Simd::round_bf16(Simd::load(s + j)));
              Simd::store(dp + j, Simd::round_bf16(Simd::load(dp + j)));
            }
        }
      }
    }
  }
  void weigh_blocks() { a.p > 0 ? weigh_block<true>() : weigh_block<false>(); }
  // Keys from .. end of rows r and r + 1 of the strip at query i of the block, rounded into weights, ds and ds_rows.
  void round(int64_t i, int64_t r, bool last, int64_t from, int64_t end) {
    const int64_t at = (i + r) / 2 * kStride;
    const auto next = [&](const float* p) { return last ? Simd::zero() : Simd::load(p + kStride); };
    auto* row = reinterpret_cast<uint16_t*>(ds_rows) + (i + r) * kStride;
    for (int64_t j = from; j < end; j += kW) {
      const float *p = strip_s + r * kStride + j, *d = strip_dp + r * kStride + j;
      Simd::store(weights + at + j, U::round(Simd::load(p), next(p)));
      Simd::store(ds + at + j, U::round(Simd::load(d), next(d)));
      U::store(row + j, Simd::load(d));
      if (!last) U::store(row + kStride + j, next(d));
    }
  }
  // The first `open` keys of both rows, none of them hidden, from scores and dP.
  template <bool kDrops>
  void round_open(int64_t i, int64_t r, int64_t open) {
    const Query low(head, q0 + i + r), high(head, q0 + i + r + 1);
    const int64_t at = (i + r) / 2 * kStride;
    auto* row = reinterpret_cast<uint16_t*>(ds_rows) + (i + r) * kStride;
    for (int64_t j = 0; j < open; j += kCols) {
      const float *p = strip_s + r * kStride + j, *d = strip_dp + r * kStride + j;
      Simd::M drop_a[2] = {}, drop_b[2] = {};
      drop<kDrops, 2>(low, j, drop_a);
      drop<kDrops, 2>(high, j, drop_b);
      const Pair a0 = weigh<kDrops>(low, Simd::load(p), Simd::load(d), drop_a[0]);
      const Pair b0 = weigh<kDrops>(high, Simd::load(p + kStride), Simd::load(d + kStride), drop_b[0]);
      Simd::store(weights + at + j, U::round(a0.weight, b0.weight));
      Simd::store(ds + at + j, U::round(a0.ds, b0.ds));
      const Pair a1 = weigh<kDrops>(low, Simd::load(p + kW), Simd::load(d + kW), drop_a[1]);
      const Pair b1 = weigh<kDrops>(high, Simd::load(p + kStride + kW), Simd::load(d + kStride + kW), drop_b[1]);
      Simd::store(weights + at + j + kW, U::round(a1.weight, b1.weight));
      Simd::store(ds + at + j + kW, U::round(a1.ds, b1.ds));
      U::store(row + j, a0.ds, a1.ds);
      U::store(row + kStride + j, b0.ds, b1.ds);
    }
  }

  void add_keys() {
    constexpr int64_t kPanel = kGradientQueries / U::kPair * kCols;
    const int64_t step = strip_rows(keys, 1);
    for (int64_t j = 0; j < keys; j += step) {
      // Queries before the first of these keys do not see them.
      const int64_t skip = (a.causal ? larger(0, k0 + j - q0) : 0) / U::kPair;
      const int64_t depth = ceil_div(queries, U::kPair) - skip, count = smaller(step, keys - j);
      if (depth <= 0) continue;
      const int64_t from = skip * kStride + j;
      const auto add = [&](const float* of, const float* sum, float* to) {
        product<U, true>(count, width / kW, of + from, kStride, sum + skip * kCols, kPanel, depth, to + j * width, width, false);
      };
      add(weights, g_sum, dv);
      add(ds, q_sum, dk);
    }
  }
  void add_queries(float* to) {
    const int64_t step = strip_rows(queries, 1);
    for (int64_t i = 0; i < queries; i += step) {
      const int64_t count = smaller(step, queries - i);
      const int64_t visible = visible_keys(a, q0 + i + count - 1, k0, keys);
      if (visible <= 0) continue;
      product<U, false>(count, width / kW, ds_rows + i * (kStride / U::kPair), kStride / U::kPair, k_sum,
                        kGradientKeys / U::kPair * kCols, ceil_div(visible, U::kPair), to + i * width, width, false);
    }
  }

  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; i += kW) Simd::store(p + i, Simd::zero());
  }
  void write(const AttentionTensor& to, int64_t first, int64_t rows, const float* from, float factor) {
    const Simd::F f = Simd::broadcast(factor);
    for (int64_t i = 0; i < rows; ++i) {
      prefetch_row(row_of(to, a.dtype, first + i + 2 * kAhead), a.head_size * (a.dtype == DType::f32 ? 4 : 2));
      for (int64_t j = 0; j < a.head_size; j += kW)
        store_from_float(row_of(to, a.dtype, first + i), a.dtype, j, Simd::mul(Simd::load(from + i * width + j), f),
                         a.head_size - j);
    }
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
          weigh_blocks();
          add_keys();
          if (with_queries) add_queries(dq + i * width);
        }
      write(a.dk, k0, keys, dk, __builtin_fabsf(a.scale));  // the queries have its sign
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
        weigh_blocks();
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

}  // namespace
}  // namespace corten::attention_detail
