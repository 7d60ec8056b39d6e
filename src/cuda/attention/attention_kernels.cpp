#include "cuda/attention/attention_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "base/format.h"
#include "cuda/attention/texts.h"
#include "cuda/attention/words.h"
#include "passes/passes.h"

namespace corten::cuda {

using codegen::gpu::KernelText;

namespace {

enum class Kind : uint8_t { forward, dots, keys, queries };

// How a kernel is laid out: rows of 16 `tiles` per warp stay, tiles of `streamed` rows go by and
// are worked on `columns` at a time.
struct Layout {
  int tiles, warps, streamed, columns;
};

// Every tile of shared memory that a warp reads serves 16 `tiles` rows: two where registers allow.
// The larger head sizes have the sums of a block in registers, so that their chunks are small. The
// best comes first: gradients in f32, whose blocks keep their own rows in shared memory too, have
// others for devices that have less of it.
std::vector<Layout> layouts_of(Kind kind, DType dtype, int64_t size) {
  if (dtype == DType::f32) {
    if (kind == Kind::forward) return {{1, 4, 32, 32}};
    return {{1, 4, 32, 16}, {1, 4, 16, 16}, {1, 2, 16, 16}};
  }
  const bool large = size > 64;
  switch (kind) {
    case Kind::forward:
      return {large ? Layout{1, 8, 64, 64} : Layout{2, 4, 64, 64}};
    case Kind::queries:
      return {large ? Layout{1, 8, 64, 32} : Layout{2, 4, 64, 32}};
    default:
      return {large ? Layout{1, 8, 64, 16} : Layout{2, 4, 64, 16}};
  }
}

// Bytes of shared memory of a block, as in the texts.
int64_t shared_bytes(Kind kind, DType dtype, int64_t size, const Layout& l) {
  const int64_t bytes = dtype == DType::f32 ? 4 : 2, unit = dtype == DType::f32 ? 8 : 16;
  const int64_t row_bytes = (size + unit - 1) / unit * unit * bytes + 16;
  const int64_t tiles = 4 * l.streamed * row_bytes,
                own = dtype == DType::f32 ? 16 * l.tiles * l.warps * row_bytes : 0;
  switch (kind) {
    case Kind::forward:
      return tiles + own;
    case Kind::dots:
      return 0;
    case Kind::keys:
      return tiles + 2 * own + 4 * l.streamed * 4;
    case Kind::queries:
      return tiles + 2 * own;
  }
  return 0;
}

std::string_view library() {
  static const std::string text = std::string(tile_text()) + std::string(attention_rows_text()) +
                                  std::string(attention_forward_text()) +
                                  std::string(attention_gradient_text());
  return text;
}

int64_t ceil_div(int64_t x, int64_t y) {
  return (x + y - 1) / y;
}
int64_t heads(const AttentionArgs& a) {
  return a.batch[0] * a.batch[1] * a.batch[2];
}
int64_t element_bytes(const AttentionArgs& a) {
  return a.dtype == DType::f32 ? 4 : 2;
}

// Whether 16 bytes of every row can be read and written at once.
bool is_aligned(const AttentionArgs& a, bool gradient) {
  const int64_t size = element_bytes(a), unit = 16 / size;
  if (a.head_size % unit) return false;
  const auto fits = [&](const AttentionTensor& t) {
    const auto strides = std::span(t.batch_stride);
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.row_stride % unit == 0 &&
           std::all_of(strides.begin(), strides.end(), [&](int64_t s) { return s % unit == 0; });
  };
  bool all = fits(a.q) && fits(a.k) && fits(a.v) && fits(a.out);
  if (gradient) all = all && fits(a.g) && fits(a.dq) && fits(a.dk) && fits(a.dv);
  return all;
}

AttentionKernel make(Kind kind, const AttentionArgs& a, bool aligned, int shared_limit) {
  const std::vector<Layout> layouts = layouts_of(kind, a.dtype, a.head_size);
  const auto fitting = std::find_if(layouts.begin(), layouts.end(), [&](const Layout& l) {
    return shared_bytes(kind, a.dtype, a.head_size, l) <= shared_limit;
  });
  if (fitting == layouts.end())
    usage_error(
        "attention of head size {} in {} needs {} bytes of shared memory per block, the device has "
        "{}",
        a.head_size, name(a.dtype), shared_bytes(kind, a.dtype, a.head_size, layouts.back()),
        shared_limit);
  const Layout l = *fitting;
  const int mask = !a.mask ? 0 : a.mask_dtype == DType::boolean ? 1 : 2;
  const bool plain = kind == Kind::dots;  // neither masks nor dropout
  const std::string policy = a.dtype == DType::f32
                                 ? format("Floats<{}>", a.head_size)
                                 : format("Halves<{}, {}>", a.dtype == DType::bf16, a.head_size);
  const std::string shape =
      format("Shape<{}, {}, {}, {}, {}, {}, {}, {}, {}>", policy, l.tiles, l.warps, l.streamed,
             l.columns, a.causal && !plain, plain ? 0 : mask, a.p > 0 && !plain, aligned);
  static constexpr const char* kNames[] = {"forward", "dots", "gradient_keys", "gradient_queries"};
  const char* what = kNames[static_cast<int>(kind)];
  AttentionKernel out;
  KernelText& t = out.text;
  t.name = format("attention_{}_{}_{}", what, name(a.dtype), a.head_size);
  if (!plain)
    t.name += format("{}{}{}", a.causal ? "_causal" : "",
                     mask == 0   ? ""
                     : mask == 1 ? "_bool_mask"
                                 : "_float_mask",
                     a.p > 0 ? "_dropout" : "");
  if (!aligned) t.name += "_unaligned";
  if (fitting != layouts.begin()) t.name += format("_{}x{}", l.warps, l.streamed);
  t.threads = 32 * l.warps;
  t.words = kAttentionWords;
  t.collective = true;
  t.library = library();
  const int64_t rows = 16 * l.tiles * l.warps;
  std::string call = format("attention_{}<{}>", what, shape);
  switch (kind) {
    case Kind::forward:
      out.blocks = heads(a) * ceil_div(a.queries, rows);
      break;
    case Kind::dots: {
      const int64_t packs = ceil_div(a.head_size * element_bytes(a), 16);
      const auto lanes = std::min<int64_t>(32, std::bit_ceil(static_cast<uint64_t>(packs)));
      call = format("attention_dots<{}, {}>", shape, lanes);
      out.blocks = ceil_div(heads(a) * a.queries, t.threads / lanes);
      break;
    }
    case Kind::keys:
      out.blocks = heads(a) * ceil_div(a.keys, rows);
      break;
    case Kind::queries:
      out.blocks = heads(a) * ceil_div(a.queries, rows);
      break;
  }
  t.shared_bytes = static_cast<int>(shared_bytes(kind, a.dtype, a.head_size, l));
  t.text = format("KERNEL({}, {}, {}) {{\n  {}(a, BLOCK);\n}}\n", t.name, t.threads, t.words, call);
  return out;
}

}  // namespace

std::vector<AttentionKernel> attention_kernels(const AttentionArgs& a, bool gradient,
                                               int shared_limit) {
  if (a.head_size < 1 || a.head_size > passes::kMaxGpuHeadSize || a.keys < 1 ||
      std::max(a.queries, a.keys) >= int64_t{1} << 31)
    internal_error("attention of {} queries, {} keys and head size {} on the GPU", a.queries,
                   a.keys, a.head_size);
  const bool aligned = is_aligned(a, gradient);
  std::vector<AttentionKernel> out;
  for (const Kind kind : {Kind::forward, Kind::dots, Kind::keys, Kind::queries})
    if ((kind == Kind::forward) != gradient) out.push_back(make(kind, a, aligned, shared_limit));
  return out;
}

int64_t attention_workspace_bytes(const AttentionArgs& a, bool gradient) {
  return gradient ? heads(a) * a.queries * 4 : 0;
}

std::vector<int64_t> attention_words(const AttentionArgs& a, const DropoutState& dropout,
                                     uint64_t workspace) {
  std::vector<int64_t> w(kAttentionWords, 0);
  const auto address = [](const void* p) {
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p));
  };
  const auto set = [&](int at, const void* p, const int64_t* batch, int64_t row) {
    w[static_cast<size_t>(at)] = address(p);
    std::copy_n(batch, 3, w.begin() + at + 1);
    w[static_cast<size_t>(at) + 4] = row;
  };
#define CORTEN_X(name) \
  if (k_##name != k_mask) set(k_##name, a.name.data, a.name.batch_stride, a.name.row_stride);
  CORTEN_X(q)
  CORTEN_X(k)
  CORTEN_X(v) CORTEN_X(out) CORTEN_X(g) CORTEN_X(dq) CORTEN_X(dk) CORTEN_X(dv)
#undef CORTEN_X
      if (a.mask) set(k_mask, a.mask, a.mask_batch_stride, a.mask_query_stride);
  const auto number = [](float x) { return static_cast<int64_t>(std::bit_cast<uint32_t>(x)); };
  constexpr float kLog2E = 0x1.715476p+0f;
  w[k_mask_key] = a.mask_key_stride;
  w[k_lse] = address(a.lse);
  w[k_dots] = static_cast<int64_t>(workspace);
  w[k_seed] = address(dropout.seed);
  w[k_step] = address(dropout.step);
  w[k_site] = static_cast<uint32_t>(a.site);
  w[k_batch1] = a.batch[1];
  w[k_batch2] = a.batch[2];
  w[k_heads] = heads(a);
  w[k_queries] = a.queries;
  w[k_keys] = a.keys;
  w[k_scale] = number(a.scale);
  w[k_unit] = number(a.scale == 0 ? 1 : std::fabs(a.scale) * kLog2E);
  w[k_sign] = number(a.scale > 0 ? 1.0f : a.scale < 0 ? -1.0f : 0.0f);
  w[k_limit] = static_cast<int64_t>(std::ceil(a.p * 0x1p24f));
  w[k_kept] = number(a.p == 0 ? 1 : a.p < 1 ? 1 / (1 - a.p) : 0);
  return w;
}

int resident_blocks(int threads, int registers, int shared_bytes, int major, int minor) {
  // CUDA C++ programming guide, technical specifications per compute capability.
  struct Limits {
    int threads, blocks, shared;  // shared: KiB
  };
  const int capability = major * 10 + minor;
  const Limits all = capability == 80   ? Limits{2048, 32, 164}
                     : capability == 86 ? Limits{1536, 16, 100}
                     : capability == 87 ? Limits{1536, 16, 164}
                     : major == 8       ? Limits{1536, 24, 100}
                     : major < 12       ? Limits{2048, 32, 228}
                                        : Limits{1536, 24, 100};
  const int warps = (threads + 31) / 32;
  const int registers_of_warp = (registers * 32 + 255) / 256 * 256;
  int blocks = std::min(all.threads / (32 * warps), all.blocks);
  if (registers > 0) blocks = std::min(blocks, 65536 / registers_of_warp / warps);
  return std::min(blocks, (all.shared << 10) / (shared_bytes + 1024));
}

}  // namespace corten::cuda
