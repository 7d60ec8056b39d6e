// Regions that run again for their gradients: the same bits, less memory.
#include "corten/checkpoint.h"

#include <gtest/gtest.h>

#include "corten/corten.h"

namespace corten {
namespace {

struct Weights {
  Tensor a = normal_init({64, 256}, 0, 0.1, 1, "a").set_requires_grad(true);
  Tensor b = normal_init({256, 64}, 0, 0.1, 1, "b").set_requires_grad(true);
  std::vector<Tensor> all() const { return {a, b}; }
};

/// A block with dropout, whose weights are captured.
Tensor block(const Weights& w, const Tensor& x) {
  const RandomScope name("block");
  return x + dropout(matmul(gelu(matmul(x, w.a)), w.b), 0.25);
}

constexpr int kBlocks = 4;
/// Loss and gradients of input and weights.
std::vector<Tensor> step(const Weights& w, const Tensor& x, bool again) {
  Tensor leaf = x.detach();
  leaf.set_requires_grad(true);
  Tensor h = leaf;
  for (int i = 0; i < kBlocks; ++i)
    h = again ? checkpoint([&w](const Tensor& in) { return block(w, in); }, h) : block(w, h);
  const Tensor loss = mean(h * h);
  std::vector<Tensor> out = grad({loss}, {leaf, w.a, w.b});
  out.push_back(loss.detach());
  return out;
}

void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].to_vector<float>(), b[i].to_vector<float>()) << i;
}

Tensor input() { return normal_init({512, 64}, 0, 1, 2, "x"); }

TEST(Checkpoint, SameBitsOpByOp) {
  const Weights w;
  manual_seed(3);
  const std::vector<Tensor> plain = step(w, input(), false);
  manual_seed(3);
  expect_same(plain, step(w, input(), true));
}

TEST(Checkpoint, SameBitsCompiledInLessMemory) {
  const Weights w;
  manual_seed(3);
  CompiledFunction plain = compile([&](const std::vector<Tensor>& in) { return step(w, in[0], false); });
  CompiledFunction again = compile([&](const std::vector<Tensor>& in) { return step(w, in[0], true); });
  const std::vector<Tensor> expected = plain({input()});
  manual_seed(3);
  expect_same(expected, again({input()}));
  manual_seed(3);
  expect_same(expected, step(w, input(), true));
  EXPECT_GT(again.info().recomputed, 0);
  EXPECT_LT(again.info().arena_bytes, plain.info().arena_bytes * 3 / 4);
}

TEST(Checkpoint, EagerMemory) {
  const Weights w;
  auto peak = [&](bool again) {
    memory_allocated();
    reset_peak_memory_stats();
    const int64_t before = memory_allocated();
    step(w, input(), again);
    return max_memory_allocated() - before;
  };
  EXPECT_LT(peak(true), peak(false) * 3 / 4);
}

TEST(Checkpoint, KeepsTheAutocastScope) {
  const Weights w;
  auto run = [&](bool again) {
    manual_seed(3);
    Tensor leaf = input();
    leaf.set_requires_grad(true);
    Tensor loss;
    {
      const Autocast autocast(DType::bf16);
      auto region = [&w](const Tensor& in) { return block(w, in); };
      loss = sum(again ? checkpoint(region, leaf) : region(leaf));
    }
    return grad({loss}, {leaf, w.a, w.b});
  };
  expect_same(run(false), run(true));
}

TEST(Checkpoint, Nests) {
  const Weights w;
  auto run = [&](bool again) {
    manual_seed(3);
    Tensor leaf = input();
    leaf.set_requires_grad(true);
    auto inner = [&w](const Tensor& in) { return block(w, in); };
    auto outer = [&](const Tensor& in) { return again ? checkpoint(inner, checkpoint(inner, in)) : inner(inner(in)); };
    return grad({sum(again ? checkpoint(outer, leaf) : outer(leaf))}, {leaf, w.a});
  };
  expect_same(run(false), run(true));
}

// A captured value that itself depends on a parameter: its gradient goes on outside, once.
TEST(Checkpoint, CapturedValuesInTheMiddle) {
  const Weights w;
  auto run = [&](bool again) {
    const Tensor x = input(), scale = sum(w.a * w.a);
    auto region = [&](const Tensor& in) { return matmul(in, w.a) * scale; };
    Tensor leaf = x.detach();
    leaf.set_requires_grad(true);
    return grad({sum(again ? checkpoint(region, leaf) : region(leaf))}, {leaf, w.b, w.a});
  };
  const std::vector<Tensor> a = run(false), b = run(true);
  EXPECT_EQ(a[0].to_vector<float>(), b[0].to_vector<float>());
  EXPECT_FALSE(a[1].defined());
  EXPECT_FALSE(b[1].defined());
  EXPECT_LT(abs(a[2] - b[2]).amax().item<float>(), 1e-4 * abs(a[2]).amax().item<float>());
}

TEST(Checkpoint, WithoutGradientsItIsACall) {
  const NoGradGuard no_grad;
  int calls = 0;
  const Tensor y = checkpoint([&](const Tensor& x) { ++calls; return x + x; }, ones({2}));
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{2, 2}));
  EXPECT_EQ(calls, 1);
}

template <typename F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Checkpoint, Refuses) {
  int calls = 0;
  Tensor x = ones({2});
  x.set_requires_grad(true);
  auto changes = [&](const Tensor& in) { return ++calls == 1 ? in * 2.0 : (in * 2.0).reshape({2, 1}); };
  EXPECT_NE(message([&] { sum(checkpoint(changes, x)).backward(); }).find("when it runs again"), std::string::npos);
  const Tensor y = checkpoint([](const Tensor& in) { return in * in; }, x);
  EXPECT_NE(message([&] { grad({sum(y)}, {x}, {}, true); }).find("gradients of gradients"), std::string::npos);
}

}  // namespace
}  // namespace corten
