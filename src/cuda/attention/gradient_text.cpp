#include "cuda/attention/texts.h"

namespace corten::cuda {

// With P = exp(S - lse), K(P) what dropout keeps of it, divided by 1 - p, and dots = sum(g * out)
// of each query:
//   dv = K(P)^T g     dP = K(g v^T)     dS = P (dP - dots)     dk = scale dS^T q     dq = scale dS
//   k
// Every result has one block that sums it in order: blocks of keys for dk and dv, blocks of queries
// for dq, which costs seven products instead of five and needs neither atomics nor an order among
// blocks.
std::string_view attention_gradient_text() {
  return R"CUDA(
// Rows of `kLanes` lanes each.
template <class S, int kLanes>
DEVICE void attention_dots(const Arguments& a, int block) {
  typedef typename S::P P;
  typedef typename S::Element T;
  constexpr int kPack = 16 / (int)sizeof(T);
  const int queries = (int)a.w[k_queries];
  const i64 all = a.w[k_heads] * queries, row = (i64)block * (S::kThreads / kLanes) + THREAD / kLanes;
  float sum = 0;
  if (row < all) {
    const int head = (int)(row / queries), query = (int)(row % queries);
    const Matrix<T> g = rows_of<T>(a, k_g, head, queries), out = rows_of<T>(a, k_out, head, queries);
    const T *x = g.p + query * g.stride, *y = out.p + query * out.stride;
#pragma unroll
    for (int at = 0; at < P::kColumns_; at += kLanes * kPack) {
      const int column = at + THREAD % kLanes * kPack;
      if (S::kAligned) {
        T xs[kPack], ys[kPack];
        if (column < P::kColumns_) {
          read_pack(xs, x + column);
          read_pack(ys, y + column);
#pragma unroll
          for (int e = 0; e < kPack; ++e) sum = fused(P::number(xs[e]), P::number(ys[e]), sum);
        }
      } else {
        for (int e = 0; e < kPack && column + e < P::kColumns_; ++e)
          sum = fused(P::number(read(x + column + e)), P::number(read(y + column + e)), sum);
      }
    }
  }
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) sum += SHUFFLE(sum, mask);
  if (row < all && THREAD % kLanes == 0) write((float*)a.w[k_dots] + row, sum);
}

// What is subtracted from the exponents of a query, of its log of the sum of exp.
DEVICE float shift_of(float lse) { return lse == -INFINITE_FLOAT ? 0.0f : lse * LOG2_E; }

// A block has some keys; queries and gradients stream by, with the logs of the sums and the dots of the queries behind them.
template <class S>
DEVICE void attention_gradient_keys(const Arguments& a, int block) {
  typedef typename S::P P;
  typedef typename S::Element T;
  constexpr int M = S::M, N = S::kColumns / 8, kFragments = P::kDepth / 8;
  constexpr int kStage = 2 * S::kTileBytes + 2 * 4 * S::kStreamed, kStages = 2 * S::kRowsBytes;
  const int heads = (int)a.w[k_heads], queries = (int)a.w[k_queries], keys = (int)a.w[k_keys];
  const int head = block % heads, k0 = block / heads * S::kRows;  // with `causal`, most queries see the first keys
  const int row0 = k0 + THREAD / 32 * 16 * M, t = THREAD % 4;
  const Matrix<T> q = rows_of<T>(a, k_q, head, queries), g = rows_of<T>(a, k_g, head, queries);
  const float *lse = (const float*)a.w[k_lse] + (i64)head * queries, *dots = (const float*)a.w[k_dots] + (i64)head * queries;
  const auto load = [&](int q0) {
    const int at = kStages + q0 / S::kStreamed % 2 * kStage;
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at, q, q0);
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at + S::kTileBytes, g, q0);
    if (THREAD < S::kStreamed) {
      const bool valid = q0 + THREAD < queries;
      const int i = valid ? q0 + THREAD : 0;
      copy_async<4>(at + 2 * S::kTileBytes + 4 * THREAD, lse + i, valid);
      copy_async<4>(at + 2 * S::kTileBytes + 4 * (S::kStreamed + THREAD), dots + i, valid);
    }
    commit_copies();
  };
  const int begin = S::kCausal ? k0 / S::kStreamed * S::kStreamed : 0;
  typename P::template Rows<M> key_rows, value_rows;
  if (begin < queries) {
    load(begin);
    key_rows.template load<S::kThreads, S::kAligned>(0, rows_of<T>(a, k_k, head, keys), k0);
    value_rows.template load<S::kThreads, S::kAligned>(S::kRowsBytes, rows_of<T>(a, k_v, head, keys), k0);
    commit_copies();
  }
  const Hiding<S, true, N> hide(a, head);
  const Draws draws(a, head, S::kDrops);
  const float unit = hide.factor(), scale = f32((uint32)a.w[k_scale]), kept_factor = f32((uint32)a.w[k_kept]);
  float dk[M][kFragments][4], dv[M][kFragments][4];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int n = 0; n < kFragments; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) dk[m][n][e] = dv[m][n][e] = 0;

#pragma unroll 1
  for (int q0 = begin; q0 < queries; q0 += S::kStreamed) {
    wait_for_copies<0>();
    BARRIER();
    if (q0 + S::kStreamed < queries) load(q0 + S::kStreamed);
    const int tile = kStages + q0 / S::kStreamed % 2 * kStage;
#pragma unroll 1
    for (int chunk = 0; chunk < S::kStreamed; chunk += S::kColumns) {
      if (S::kCausal && q0 + chunk + S::kColumns <= row0) continue;  // none of these queries sees this warp's keys
      float p[M][N][4], ds[M][N][4];
      P::multiply_rows(p, key_rows, tile, chunk);
      hide(p, row0, q0 + chunk);
      if (hide.hides_all(p)) continue;
      P::multiply_rows(ds, value_rows, tile + S::kTileBytes, chunk);
      uint32 kept[M];
#pragma unroll
      for (int m = 0; m < M; ++m)
        kept[m] = S::kDrops ? kept_bits<true, N>(draws, row0 + 16 * m, q0 + chunk) : 0;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const int at = tile + 2 * S::kTileBytes + 4 * (chunk + 8 * n + 2 * t);
        float shift[2], dot[2];
        read_shared(shift, at);
        read_shared(dot, at + 4 * S::kStreamed);
        shift[0] = shift_of(shift[0]), shift[1] = shift_of(shift[1]);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float x = exp2_fast(fused(p[m][n][e], unit, -shift[e % 2]));
            const bool drop = S::kDrops && !(kept[m] >> (4 * n + e) & 1);
            const float dp = drop ? 0.0f : S::kDrops ? ds[m][n][e] * kept_factor : ds[m][n][e];
            ds[m][n][e] = x * (dp - dot[e % 2]);
            p[m][n][e] = drop ? 0.0f : x;
          }
      }
      P::add_product(dv, p, tile + S::kTileBytes, chunk);
      P::add_product(dk, ds, tile, chunk);
    }
  }
  float scales[M][2], kept_factors[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) scales[m][h] = scale, kept_factors[m][h] = kept_factor;
  store_rows<S>(a, k_dk, head, row0, keys, dk, scales);
  store_rows<S>(a, k_dv, head, row0, keys, dv, kept_factors);
}

// A block has some queries; keys and values stream by.
template <class S>
DEVICE void attention_gradient_queries(const Arguments& a, int block) {
  typedef typename S::P P;
  typedef typename S::Element T;
  constexpr int M = S::M, N = S::kColumns / 8, kFragments = P::kDepth / 8, kStages = 2 * S::kRowsBytes;
  const int heads = (int)a.w[k_heads], queries = (int)a.w[k_queries], keys = (int)a.w[k_keys];
  const int head = block % heads, q0 = ((queries + S::kRows - 1) / S::kRows - 1 - block / heads) * S::kRows;
  const int row0 = q0 + THREAD / 32 * 16 * M;
  const Matrix<T> k = rows_of<T>(a, k_k, head, keys), v = rows_of<T>(a, k_v, head, keys);
  const int end = S::kCausal && q0 + S::kRows < keys ? q0 + S::kRows : keys;
  const auto load = [&](int k0) {
    const int at = kStages + k0 / S::kStreamed % 2 * 2 * S::kTileBytes;
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at, k, k0);
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at + S::kTileBytes, v, k0);
    commit_copies();
  };
  load(0);
  typename P::template Rows<M> query_rows, g_rows;
  query_rows.template load<S::kThreads, S::kAligned>(0, rows_of<T>(a, k_q, head, queries), q0);
  g_rows.template load<S::kThreads, S::kAligned>(S::kRowsBytes, rows_of<T>(a, k_g, head, queries), q0);
  commit_copies();

  const Hiding<S, false, N> hide(a, head);
  const Draws draws(a, head, S::kDrops);
  const float unit = hide.factor(), scale = f32((uint32)a.w[k_scale]), kept_factor = f32((uint32)a.w[k_kept]);
  float dq[M][kFragments][4], shift[M][2], dot[M][2], scales[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + 16 * m + 8 * h + THREAD % 32 / 4;
      const i64 at = (i64)head * queries + row;
      shift[m][h] = row < queries ? shift_of(read((const float*)a.w[k_lse] + at)) : 0.0f;
      dot[m][h] = row < queries ? read((const float*)a.w[k_dots] + at) : 0.0f;
      scales[m][h] = scale;
#pragma unroll
      for (int n = 0; n < kFragments; ++n) dq[m][n][2 * h] = dq[m][n][2 * h + 1] = 0;
    }

#pragma unroll 1
  for (int k0 = 0; k0 < end; k0 += S::kStreamed) {
    wait_for_copies<0>();
    BARRIER();
    if (k0 + S::kStreamed < end) load(k0 + S::kStreamed);
    const int tile = kStages + k0 / S::kStreamed % 2 * 2 * S::kTileBytes;
#pragma unroll 1
    for (int chunk = 0; chunk < S::kStreamed; chunk += S::kColumns) {
      if ((S::kCausal && k0 + chunk >= row0 + 16 * M) || k0 + chunk >= keys) continue;
      float p[M][N][4], ds[M][N][4];
      P::multiply_rows(p, query_rows, tile, chunk);
      hide(p, row0, k0 + chunk);
      if (hide.hides_all(p)) continue;
      P::multiply_rows(ds, g_rows, tile + S::kTileBytes, chunk);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const uint32 kept = S::kDrops ? kept_bits<false, N>(draws, row0 + 16 * m, k0 + chunk) : 0;
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float x = exp2_fast(fused(p[m][n][e], unit, -shift[m][e / 2]));
            const bool drop = S::kDrops && !(kept >> (4 * n + e) & 1);
            const float dp = drop ? 0.0f : S::kDrops ? ds[m][n][e] * kept_factor : ds[m][n][e];
            ds[m][n][e] = x * (dp - dot[m][e / 2]);
          }
      }
      P::add_product(dq, ds, tile, chunk);
    }
  }
  store_rows<S>(a, k_dq, head, row0, queries, dq, scales);
}
)CUDA";
}

}  // namespace corten::cuda
