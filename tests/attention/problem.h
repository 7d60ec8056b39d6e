// A random attention for tests: operands with strides of their own, results between guard bytes, and the definition in
// double precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "base/half.h"

namespace corten::test {

inline double to_double(const void* p, int64_t i, DType dtype) {
  switch (dtype) {
    case DType::f32: return static_cast<const float*>(p)[i];
    case DType::bf16: return from_bf16(static_cast<const uint16_t*>(p)[i]);
    default: return from_f16(static_cast<const uint16_t*>(p)[i]);
  }
}
inline void from_double(void* p, int64_t i, DType dtype, double x) {
  switch (dtype) {
    case DType::f32: static_cast<float*>(p)[i] = static_cast<float>(x); break;
    case DType::bf16: static_cast<uint16_t*>(p)[i] = to_bf16(static_cast<float>(x)); break;
    default: static_cast<uint16_t*>(p)[i] = to_f16(static_cast<float>(x)); break;
  }
}

inline std::vector<Isa> isas() {
  std::vector<Isa> list;
  for (Isa isa : kIsas)
    if (isa <= best_isa(cpu_features())) list.push_back(isa);
  return list;
}

/// 64-byte aligned bytes between two guards.
class Guarded {
 public:
  explicit Guarded(size_t bytes = 0, uint8_t fill = 0xff) : bytes_(bytes), memory_(bytes + 4 * kGuard, 0xa5) {
    const auto at = reinterpret_cast<uintptr_t>(memory_.data());
    start_ = (at + kGuard + 63) / 64 * 64 - at;
    std::memset(data(), fill, bytes);
  }
  uint8_t* data() { return memory_.data() + start_; }
  const uint8_t* data() const { return memory_.data() + start_; }
  bool intact() const {
    for (size_t i = 0; i < memory_.size(); ++i)
      if ((i < start_ || i >= start_ + bytes_) && memory_[i] != 0xa5) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes_, start_;
  std::vector<uint8_t> memory_;
};

/// [batch][heads][rows][columns] in memory: tokens outside, the heads of a token side by side, then `gap` numbers.
struct Heads {
  int64_t batch, heads, rows, columns, row_stride, head_stride;
  DType dtype;
  Guarded bytes;
  Heads(int64_t b, int64_t h, int64_t r, int64_t c, DType d, int64_t gap)
      : batch(b), heads(h), rows(r), columns(c), row_stride(h * c + gap), head_stride(c), dtype(d),
        bytes(static_cast<size_t>(b * r * row_stride) * size_of(d)) {}
  void randomize(std::mt19937& rng) {
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < batch * rows * row_stride; ++i) from_double(bytes.data(), i, dtype, normal(rng));
  }
  /// All heads are the first one.
  void share_heads() { head_stride = 0; }
  int64_t index(int64_t b, int64_t h, int64_t i, int64_t j) const { return (b * rows + i) * row_stride + h * head_stride + j; }
  double at(int64_t b, int64_t h, int64_t i, int64_t j) const { return to_double(bytes.data(), index(b, h, i, j), dtype); }
  AttentionTensor tensor() { return {bytes.data(), {0, rows * row_stride, head_stride}, row_stride}; }
  bool intact() const { return bytes.intact(); }
};

enum class Mask { none, boolean, keys, additive, shared };  // keys: bool [B, 1, 1, S]; shared: f32 [T, S]

struct Shape {
  int64_t batch = 1, heads = 1, queries = 1, keys = 1, size = 1;
};

/// ir::philox, word 0, in plain integers (Salmon et al., 2011), and the uniform number from it.
inline float uniform(int64_t seed, int64_t step, int64_t site, uint64_t index) {
  uint32_t c[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(step),
                   static_cast<uint32_t>(site)};
  uint32_t k[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
                              static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9, k[1] += 0xBB67AE85;
  }
  return static_cast<float>(c[0] >> 8) * 0x1p-24f;
}

struct Problem {
  Shape shape;
  DType dtype;
  bool causal;
  Mask mask;
  float p;
  Heads q, k, v, g, out, dq, dk, dv;
  Guarded lse, mask_bytes;
  AttentionArgs args;

  Problem(Shape s, DType d, bool is_causal, Mask m = Mask::none, float dropout = 0, unsigned seed = 1, int64_t gap = 3)
      : shape(s), dtype(d), causal(is_causal), mask(m), p(dropout),
        q(s.batch, s.heads, s.queries, s.size, d, gap), k(s.batch, s.heads, s.keys, s.size, d, gap),
        v(s.batch, s.heads, s.keys, s.size, d, 2 * gap), g(s.batch, s.heads, s.queries, s.size, d, gap),
        out(s.batch, s.heads, s.queries, s.size, d, 0), dq(s.batch, s.heads, s.queries, s.size, d, 0),
        dk(s.batch, s.heads, s.keys, s.size, d, 0), dv(s.batch, s.heads, s.keys, s.size, d, 0),
        lse(static_cast<size_t>(s.batch * s.heads * s.queries) * 4) {
    std::mt19937 rng(seed);
    for (Heads* h : {&q, &k, &v, &g}) h->randomize(rng);
    args.dtype = d;
    args.batch[1] = s.batch, args.batch[2] = s.heads;
    args.queries = s.queries, args.keys = s.keys, args.head_size = s.size;
    args.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.size)));
    args.causal = causal;
    args.p = p;
    args.seed = 0x1234567890abcdef, args.step = 7, args.site = 0x9e3779b1;
    make_mask(rng);
  }
  /// Points args at this object's memory.
  AttentionArgs bound() {
    AttentionArgs a = args;
    a.q = q.tensor(), a.k = k.tensor(), a.v = v.tensor(), a.g = g.tensor(), a.out = out.tensor();
    a.dq = dq.tensor(), a.dk = dk.tensor(), a.dv = dv.tensor();
    a.lse = reinterpret_cast<float*>(lse.data());
    if (mask != Mask::none) a.mask = mask_bytes.data();
    return a;
  }
  /// False if anything but the results was written.
  bool run(ThreadPool& pool, Isa isa, bool gradient = true) {
    const AttentionArgs a = bound();
    Guarded workspace(attention_workspace_bytes(a, pool.num_threads(), isa));
    attention(a, workspace.data(), pool, isa);
    bool intact = workspace.intact() && out.intact() && lse.intact();
    if (!gradient) return intact;
    Guarded more(attention_gradient_workspace_bytes(a, pool.num_threads(), isa));
    attention_gradient(a, more.data(), pool, isa);
    return intact && more.intact() && dq.intact() && dk.intact() && dv.intact();
  }
  /// All results as bytes.
  std::string bits() const {
    std::string all;
    for (const Heads* h : {&out, &dq, &dk, &dv})
      all.append(reinterpret_cast<const char*>(h->bytes.data()),
                 static_cast<size_t>(h->batch * h->rows * h->row_stride) * size_of(dtype));
    return all.append(reinterpret_cast<const char*>(lse.data()), static_cast<size_t>(shape.batch * shape.heads * shape.queries) * 4);
  }

  /// What is added to a score; -infinity: hidden.
  double bias(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const double hidden = -std::numeric_limits<double>::infinity();
    if (causal && j > i) return hidden;
    const auto* bytes = mask_bytes.data();
    const auto* floats = reinterpret_cast<const float*>(mask_bytes.data());
    switch (mask) {
      case Mask::none: return 0;
      case Mask::keys: return bytes[b * shape.keys + j] ? 0 : hidden;
      case Mask::boolean: return bytes[((b * shape.heads + h) * shape.queries + i) * shape.keys + j] ? 0 : hidden;
      case Mask::additive: return floats[((b * shape.heads + h) * shape.queries + i) * shape.keys + j];
      case Mask::shared: return floats[i * shape.keys + j];
    }
    return 0;
  }

  std::string text() const {
    return std::string(name(dtype)) + " " + std::to_string(shape.batch) + "x" + std::to_string(shape.heads) + "x" +
           std::to_string(shape.queries) + "x" + std::to_string(shape.keys) + "x" + std::to_string(shape.size) +
           (causal ? " causal" : "") + " mask " + std::to_string(static_cast<int>(mask)) + " p " + std::to_string(p);
  }

 private:
  void make_mask(std::mt19937& rng) {
    const int64_t full = shape.batch * shape.heads * shape.queries * shape.keys;
    if (mask == Mask::boolean || mask == Mask::keys) {
      const int64_t count = mask == Mask::keys ? shape.batch * shape.keys : full;
      mask_bytes = Guarded(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) mask_bytes.data()[i] = rng() % 3 != 0;
      // One query that sees nothing.
      if (mask == Mask::boolean) std::memset(mask_bytes.data(), 0, static_cast<size_t>(shape.keys));
      args.mask_dtype = DType::boolean;
    } else if (mask != Mask::none) {
      const int64_t count = mask == Mask::shared ? shape.queries * shape.keys : full;
      mask_bytes = Guarded(static_cast<size_t>(count) * 4);
      std::normal_distribution<float> normal;
      for (int64_t i = 0; i < count; ++i)
        reinterpret_cast<float*>(mask_bytes.data())[i] = rng() % 4 ? normal(rng) : -std::numeric_limits<float>::infinity();
      args.mask_dtype = DType::f32;
    }
    args.mask_query_stride = mask == Mask::keys ? 0 : shape.keys;
    if (mask == Mask::keys) args.mask_batch_stride[1] = shape.keys;
    if (mask == Mask::boolean || mask == Mask::additive) {
      args.mask_batch_stride[2] = shape.queries * shape.keys;
      args.mask_batch_stride[1] = shape.heads * args.mask_batch_stride[2];
    }
  }
};

/// One head by the definition, in double.
struct Reference {
  int64_t T, S, D;
  std::vector<double> out, lse, dq, dk, dv;
  Reference(const Problem& x, int64_t b, int64_t h)
      : T(x.shape.queries), S(x.shape.keys), D(x.shape.size), out(T * D), lse(T), dq(T * D), dk(S * D), dv(S * D) {
    const double infinity = std::numeric_limits<double>::infinity(), scale = x.args.scale;
    std::vector<double> w(S), kept(S), dw(S);
    for (int64_t i = 0; i < T; ++i) {
      double most = -infinity, sum = 0;
      for (int64_t j = 0; j < S; ++j) {
        double s = 0;
        for (int64_t d = 0; d < D; ++d) s += x.q.at(b, h, i, d) * x.k.at(b, h, j, d);
        w[j] = s * scale + x.bias(b, h, i, j);
        most = std::max(most, w[j]);
      }
      for (int64_t j = 0; j < S; ++j) sum += w[j] = most == -infinity ? 0 : std::exp(w[j] - most);
      lse[i] = sum > 0 ? most + std::log(sum) : -infinity;
      double dot = 0;
      for (int64_t j = 0; j < S; ++j) {
        if (sum > 0) w[j] /= sum;
        kept[j] = 1;
        if (x.p > 0)
          kept[j] = uniform(x.args.seed, x.args.step, x.args.site, static_cast<uint64_t>(((b * x.shape.heads + h) * T + i) * S + j)) < x.p
                        ? 0 : 1 / (1 - static_cast<double>(x.p));
        dw[j] = 0;
        for (int64_t d = 0; d < D; ++d) {
          out[i * D + d] += w[j] * kept[j] * x.v.at(b, h, j, d);
          dv[j * D + d] += w[j] * kept[j] * x.g.at(b, h, i, d);
          dw[j] += x.g.at(b, h, i, d) * x.v.at(b, h, j, d);
        }
        dw[j] *= kept[j];
        dot += w[j] * dw[j];
      }
      for (int64_t j = 0; j < S; ++j)
        for (int64_t d = 0; d < D; ++d) {
          const double ds = w[j] * (dw[j] - dot) * scale;
          dq[i * D + d] += ds * x.k.at(b, h, j, d);
          dk[j * D + d] += ds * x.q.at(b, h, i, d);
        }
    }
  }
};

}  // namespace corten::test
