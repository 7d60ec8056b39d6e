#include "cuda/attention/texts.h"

namespace corten::cuda {

// A block has some queries of a head; tiles of keys and values stream by, the next one while this
// one is worked on. Blocks with the most keys to see come first.
std::string_view attention_forward_text() {
  return R"CUDA(
template <class S>
DEVICE void attention_forward(const Arguments& a, int block) {
  typedef typename S::P P;
  typedef typename S::Element T;
  constexpr int M = S::M, N = S::kStreamed / 8, kFragments = P::kDepth / 8;
  const int heads = (int)a.w[k_heads], queries = (int)a.w[k_queries], keys = (int)a.w[k_keys];
  const int head = block % heads, q0 = ((queries + S::kRows - 1) / S::kRows - 1 - block / heads) * S::kRows;
  const int row0 = q0 + THREAD / 32 * 16 * M;
  const Matrix<T> k = rows_of<T>(a, k_k, head, keys), v = rows_of<T>(a, k_v, head, keys);
  const int end = S::kCausal && q0 + S::kRows < keys ? q0 + S::kRows : keys;
  const auto load = [&](int k0) {
    const int at = S::kRowsBytes + k0 / S::kStreamed % 2 * 2 * S::kTileBytes;
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at, k, k0);
    load_tile<T, S::kThreads, S::kStreamed, P::kColumns_, P::kDepth, P::kRowBytes, S::kAligned>(at + S::kTileBytes, v, k0);
    commit_copies();
  };
  load(0);
  typename P::template Rows<M> rows;
  rows.template load<S::kThreads, S::kAligned>(0, rows_of<T>(a, k_q, head, queries), q0);
  commit_copies();

  const Hiding<S, false, N> hide(a, head);
  const Draws draws(a, head, S::kDrops);
  const float unit = hide.factor();
  float sum[M][kFragments][4], top[M][2], total[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      top[m][h] = -INFINITE_FLOAT;
      total[m][h] = 0;
#pragma unroll
      for (int n = 0; n < kFragments; ++n) sum[m][n][2 * h] = sum[m][n][2 * h + 1] = 0;
    }

#pragma unroll 1
  for (int k0 = 0; k0 < end; k0 += S::kStreamed) {
    wait_for_copies<0>();
    BARRIER();
    if (k0 + S::kStreamed < end) load(k0 + S::kStreamed);
    if (S::kCausal && k0 >= row0 + 16 * M) continue;  // none of this warp's queries sees these keys
    const int tile = S::kRowsBytes + k0 / S::kStreamed % 2 * 2 * S::kTileBytes;
    float s[M][N][4];
    P::multiply_rows(s, rows, tile, 0);
    hide(s, row0, k0);
    if (hide.hides_all(s)) continue;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = top[m][h];
#pragma unroll
        for (int n = 0; n < N; ++n) most = larger(most, larger(s[m][n][2 * h], s[m][n][2 * h + 1]));
        most = quad_max(most);
        const float base = most == -INFINITE_FLOAT ? 0.0f : most * unit, shrink = exp2_fast(fused(top[m][h], unit, -base));
        top[m][h] = most;
        float more = 0;
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            s[m][n][e] = exp2_fast(fused(s[m][n][e], unit, -base));
            more += s[m][n][e];
          }
        total[m][h] = fused(total[m][h], shrink, more);
#pragma unroll
        for (int n = 0; n < kFragments; ++n)
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) sum[m][n][e] *= shrink;
      }
      if (S::kDrops) {
        const uint32 kept = kept_bits<false, N>(draws, row0 + 16 * m, k0);
#pragma unroll
        for (int i = 0; i < 4 * N; ++i)
          if (!(kept >> i & 1)) s[m][i / 4][i % 4] = 0;
      }
    }
    P::add_product(sum, s, tile + S::kTileBytes, 0);
  }

  const float kept = f32((uint32)a.w[k_kept]);
  float factor[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float all = quad_sum(total[m][h]);
      const int row = row0 + 16 * m + 8 * h + THREAD % 32 / 4;
      factor[m][h] = all == 0 ? 0.0f : divide(kept, all);
      if (THREAD % 4 == 0 && row < queries)
        write((float*)a.w[k_lse] + (i64)head * queries + row, all == 0 ? -INFINITE_FLOAT : fused(top[m][h], unit, log2_fast(all)) * LN_2);
    }
  store_rows<S>(a, k_out, head, row0, queries, sum, factor);
}
)CUDA";
}

}  // namespace corten::cuda
