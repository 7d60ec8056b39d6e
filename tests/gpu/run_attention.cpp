#include "gpu/run_attention.h"

#include "base/format.h"
#include "cuda/attention/attention_kernels.h"

namespace corten::cuda::test {

using codegen::gpu::KernelText;
using corten::test::Heads;
using corten::test::Mask;
using corten::test::Reference;

std::vector<KernelText> attention_texts(AttentionProblem& x, int shared_limit) {
  // Operands are put at multiples of 16 bytes, as these are.
  const AttentionArgs args = x.bound();
  std::vector<KernelText> out;
  for (const bool gradient : {false, true})
    for (AttentionKernel& k : attention_kernels(args, gradient, shared_limit)) out.push_back(std::move(k.text));
  return out;
}

std::string run_attention(Runner& runner, AttentionProblem& x, int shared_limit) {
  AttentionArgs a = x.bound();
  const auto put = [&](const void* p, int64_t bytes) {
    return runner.put({static_cast<const char*>(p), static_cast<size_t>(bytes)});
  };
  const auto bytes_of = [](const Heads& h) {
    return h.batch * h.rows * h.row_stride * static_cast<int64_t>(size_of(h.dtype));
  };
  const std::pair<Heads*, AttentionTensor*> tensors[] = {
      {&x.q, &a.q},     {&x.k, &a.k},   {&x.v, &a.v},   {&x.g, &a.g},
      {&x.out, &a.out}, {&x.dq, &a.dq}, {&x.dk, &a.dk}, {&x.dv, &a.dv}};
  for (auto& [heads, tensor] : tensors)
    tensor->data = reinterpret_cast<void*>(put(heads->bytes.data(), bytes_of(*heads)));
  const int64_t logs = x.shape.batch * x.shape.heads * x.shape.queries * 4;
  const uint64_t lse = put(x.lse.data(), logs);
  a.lse = reinterpret_cast<float*>(lse);
  if (x.mask != Mask::none) {
    int64_t bytes = (x.mask == Mask::keys ? x.shape.batch : x.shape.queries) * x.shape.keys;
    if (x.mask == Mask::boolean || x.mask == Mask::additive) bytes *= x.shape.batch * x.shape.heads;
    if (x.args.mask_dtype == DType::f32) bytes *= 4;
    a.mask = reinterpret_cast<const void*>(put(x.mask_bytes.data(), bytes));
  }
  DropoutState dropout;
  if (x.p > 0) {
    dropout.seed = reinterpret_cast<const void*>(put(&x.args.seed, 8));
    dropout.step = reinterpret_cast<const void*>(put(&x.args.step, 8));
  }
  const int64_t workspace_bytes = attention_workspace_bytes(a, true);
  const uint64_t workspace =
      put(std::string(static_cast<size_t>(workspace_bytes), '\xff').data(), workspace_bytes);
  const std::vector<int64_t> words = attention_words(a, dropout, workspace);
  for (const bool gradient : {false, true})
    for (const AttentionKernel& k : attention_kernels(a, gradient, shared_limit))
      if (std::string error = runner.run(k.text, words, 1, k.blocks, 1); !error.empty())
        return format("{}, {}: {}", k.text.name, x.text(), error);
  for (auto& [heads, tensor] : tensors) {
    const std::string bytes =
        runner.get(reinterpret_cast<uint64_t>(tensor->data), static_cast<size_t>(bytes_of(*heads)));
    std::memcpy(heads->bytes.data(), bytes.data(), bytes.size());
  }
  const std::string bytes = runner.get(lse, static_cast<size_t>(logs));
  std::memcpy(x.lse.data(), bytes.data(), bytes.size());
  return "";
}

namespace {

std::string difference(const Heads& got, int64_t b, int64_t h, const std::vector<double>& want,
                       double tolerance, const char* what) {
  double size = 0.5;  // of what is summed, where the sum itself cancels
  for (double x : want) size = std::max(size, std::abs(x));
  for (int64_t i = 0; i < got.rows; ++i)
    for (int64_t d = 0; d < got.columns; ++d) {
      const double x = got.at(b, h, i, d), y = want[static_cast<size_t>(i * got.columns + d)];
      if (!(std::abs(x - y) <= tolerance * (std::abs(y) + size)))
        return format("{} of head {},{} at {},{}: {} instead of {}", what, b, h, i, d, x, y);
    }
  return "";
}

}  // namespace

std::string attention_difference(const AttentionProblem& x) {
  // Weights and dS are rounded to the operands' type before they are multiplied, and the gradient
  // reads rounded results: 8 bits of bf16, 11 of f16.
  const double unit = x.dtype == DType::f32 ? 0x1p-18 : x.dtype == DType::f16 ? 0x1p-9 : 0x1p-6;
  for (int64_t b = 0; b < x.shape.batch; ++b)
    for (int64_t h = 0; h < x.shape.heads; ++h) {
      const Reference r(x, b, h);
      for (const std::string& text :
           {difference(x.out, b, h, r.out, unit, "out"), difference(x.dv, b, h, r.dv, unit, "dv"),
            difference(x.dq, b, h, r.dq, unit, "dq"), difference(x.dk, b, h, r.dk, unit, "dk")})
        if (!text.empty()) return x.text() + ": " + text;
      const float* lse =
          reinterpret_cast<const float*>(x.lse.data()) + (b * x.shape.heads + h) * x.shape.queries;
      for (int64_t i = 0; i < x.shape.queries; ++i) {
        const double want = r.lse[static_cast<size_t>(i)], got = static_cast<double>(lse[i]);
        if (std::isinf(want) ? got != want : !(std::abs(got - want) <= 1e-5 * (1 + std::abs(want))))
          return format("{}: lse of head {},{} at {}: {} instead of {}", x.text(), b, h, i, got,
                        want);
      }
    }
  return "";
}

std::vector<std::unique_ptr<AttentionProblem>> attention_samples() {
  std::vector<std::unique_ptr<AttentionProblem>> out;
  const auto add = [&](corten::test::Shape sizes, DType dtype, bool causal, Mask mask = Mask::none,
                       float p = 0, int64_t gap = 3) -> AttentionProblem& {
    return *out.emplace_back(
        std::make_unique<AttentionProblem>(sizes, dtype, causal, mask, p, 1, gap));
  };
  constexpr DType bf16 = DType::bf16, f32 = DType::f32;
  // Neither rows nor keys fill tiles; one more key or row than a tile has; more keys than queries
  // and fewer; head sizes that fill fragments and that do not.
  for (const bool causal : {false, true})
    for (const DType dtype : {bf16, f32}) add({1, 2, 70, 70, 64}, dtype, causal, Mask::none, 0, 0);
  add({1, 1, 70, 70, 64}, DType::f16, true, Mask::none, 0, 0);
  add({1, 1, 130, 31, 80}, bf16, true, Mask::none, 0, 8);
  add({1, 1, 65, 129, 96}, bf16, false, Mask::none, 0, 0);
  add({1, 1, 65, 66, 128}, bf16, true, Mask::none, 0, 0);
  add({1, 1, 1, 1, 1}, bf16, true);
  add({1, 3, 7, 9, 17}, f32, true);
  // The others share their kernels.
  constexpr int64_t kSize = 16;
  for (const DType dtype : {bf16, f32}) {
    add({2, 1, 33, 150, kSize}, dtype, false);
    for (const Mask mask : {Mask::boolean, Mask::keys, Mask::additive, Mask::shared})
      add({2, 2, 37, 70, kSize}, dtype, mask == Mask::keys, mask);
    // A window of 20 keys; padding on the left that leaves nothing to see for the first queries.
    AttentionProblem& window = add({1, 1, 150, 150, kSize}, dtype, false, Mask::boolean);
    for (int64_t i = 0; i < 150; ++i)
      for (int64_t j = 0; j < 150; ++j)
        window.mask_bytes.data()[i * 150 + j] = j <= i && j > i - 20;
    AttentionProblem& padded = add({2, 1, 90, 90, kSize}, dtype, true, Mask::keys);
    for (int64_t j = 0; j < 90; ++j) {
      padded.mask_bytes.data()[j] = j >= 70;
      padded.mask_bytes.data()[90 + j] = 1;
    }
    for (const Mask mask : {Mask::none, Mask::additive})
      for (const float scale : {-0.4f, 0.0f, 1.0f})
        add({1, 1, 20, 40, kSize}, dtype, false, mask).args.scale = scale;
    for (const float p : {0.1f, 0.5f}) add({2, 2, 40, 75, kSize}, dtype, true, Mask::none, p);
    // Four heads of queries share one of keys and values, which lie there once.
    for (const int64_t gap : {0, 3}) {
      AttentionProblem& grouped = add({2, 4, 40, 70, kSize}, dtype, true, Mask::none, 0, gap);
      for (Heads* h : {&grouped.k, &grouped.v}) h->share_heads();
    }
  }
  return out;
}

}  // namespace corten::cuda::test
