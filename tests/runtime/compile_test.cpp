// compile(): state, guards, donation, plans.
#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "corten/corten.h"
#include "runtime/allocator.h"

namespace corten {
namespace {

using Tensors = std::vector<Tensor>;

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// A small network with dropout, clipping by norm and plain gradient descent: everything a step has.
struct Net {
  Tensor w1 = normal_init({16, 32}, 0, 0.3, 1, "w1"), w2 = normal_init({32, 8}, 0, 0.3, 1, "w2"), norm = ones({32});
  Net() {
    for (Tensor* p : {&w1, &w2, &norm}) p->set_requires_grad();
  }
  Tensors operator()(const Tensors& in) {
    for (Tensor* p : {&w1, &w2, &norm}) p->zero_grad();
    Tensor h = rms_norm(conv1d_linear(in[0], w1), norm);
    Tensor loss = cross_entropy(conv1d_linear(dropout(gelu(h), 0.2), w2), in[1]);
    loss.backward();
    NoGradGuard no_grad;
    for (Tensor* p : {&w1, &w2, &norm}) p->copy_(*p - p->grad() * in[2]);
    advance_generator();
    return {loss};
  }
};

std::vector<double> losses(bool compiled, int threads, DType dtype = DType::f32, const char* disabled = nullptr) {
  default_thread_pool().set_num_threads(threads);
  if (disabled) setenv("CORTEN_DISABLE", disabled, 1);
  manual_seed(5);
  Net net;
  auto step = [&](const Tensors& in) {
    Autocast autocast(dtype);
    return net(in);
  };
  CompiledFunction program = compile(step);
  std::vector<double> out;
  for (int i = 0; i < 6; ++i) {
    Tensors in{normal_init({64, 16}, 0, 1, i, "x"), (arange(64) * 7.0).to(DType::i64), scalar(0.1 + 0.01 * i)};
    in[1] = remainder_trunc(in[1], full({64}, 8, DType::i64));
    out.push_back((compiled ? program(in) : step(in))[0].item<double>());
  }
  unsetenv("CORTEN_DISABLE");
  default_thread_pool().set_num_threads(2);
  return out;
}

TEST(Compile, SameBitsAsEagerForAnyThreadsAndPasses) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    std::vector<double> eager = losses(false, 1, dtype);
    EXPECT_LT(eager.back(), eager.front());
    for (int threads : {1, 2, 3, 7}) EXPECT_EQ(losses(true, threads, dtype), eager) << threads << " threads";
    for (const char* off : {"fold", "cse", "dce", "schedule", "fuse", "plan", "fold,cse,dce,schedule,fuse,plan"})
      EXPECT_EQ(losses(true, 2, dtype, off), eager) << "without " << off;
  }
}

TEST(Compile, ChangedNumbersAreAnErrorWithTheirLine) {
  double number = 1;
  CompiledFunction f = compile([&](const Tensors& in) { return Tensors{softmax(in[0] * number, -1)}; });
  Tensor x = ones({4});
  f({x});
  number = 2;
  std::string text = message([&] { f({x}); });
  EXPECT_NE(text.find("value=1"), std::string::npos) << text;
  EXPECT_NE(text.find("value=2"), std::string::npos) << text;
}

TEST(Compile, ArgumentsAndStateDoNotRecompile) {
  Tensor state = zeros({3});
  int traces = 0;
  CompiledFunction f = compile([&](const Tensors& in) {
    ++traces;
    state.copy_(state + in[0]);
    return Tensors{state * 2.0};
  });
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(f({full({3}, i)})[0].to_vector<float>()[0], i * (i + 1));
  EXPECT_EQ(traces, 2);
  EXPECT_EQ(state.to_vector<float>()[0], 15.0f);
  EXPECT_TRUE(f.info().copies.empty());
  state.fill_(0);  // programs bind state by cell
  EXPECT_EQ(f({full({3}, 1)})[0].to_vector<float>()[0], 2.0f);
}

TEST(Compile, ReadingAValueOrLeakingOneIsAnError) {
  Tensor leaked;
  Tensor x = ones({2});
  CompiledFunction reads = compile([&](const Tensors& in) { return Tensors{in[0] * in[0].sum().item<double>()}; });
  EXPECT_NE(message([&] { reads({x}); }).find("does not exist yet"), std::string::npos);
  CompiledFunction leaks = compile([&](const Tensors& in) {
    leaked = in[0] + 1.0;
    return Tensors{leaked};
  });
  leaks({x});
  EXPECT_NE(message([&] { leaked.to_vector<float>(); }).find("return it from the function"), std::string::npos);
}

TEST(Compile, StateKeepsValuesThatOthersHold) {
  Tensor state = ones({4}), x = ones({4});
  x.set_requires_grad();
  Tensor product = x * state;  // saves state's value for backward
  CompiledFunction f = compile([&](const Tensors&) {
    state.copy_(state * 5.0);
    return Tensors{};
  });
  f({});
  f({});
  product.sum().backward();
  EXPECT_EQ(x.grad().to_vector<float>(), std::vector<float>(4, 1.0f));
  EXPECT_EQ(state.to_vector<float>(), std::vector<float>(4, 25.0f));
}

TEST(Compile, RefusedDonationsAreReportedAndRight) {
  Tensor a = tensor({1.0, 2.0, 3.0}), b = tensor({4.0, 5.0, 6.0});
  CompiledFunction swap = compile([&](const Tensors&) {
    Tensor old = a * 1.0;
    a.copy_(b);
    b.copy_(old);
    return Tensors{};
  });
  swap({});
  EXPECT_EQ(a.to_vector<float>(), (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{1, 2, 3}));
  Tensor s = ones({3, 3});
  CompiledFunction mixed = compile([&](const Tensors&) {
    s.copy_(matmul(s, s) + s.t());
    return Tensors{};
  });
  mixed({});
  EXPECT_EQ(s.to_vector<float>(), std::vector<float>(9, 4.0f));
  ASSERT_EQ(mixed.info().copies.size(), 1u);
}

TEST(Compile, ScatterIntoStateIsInPlace) {
  Tensor cache = zeros({4, 8});
  CompiledFunction put = compile([&](const Tensors& in) {
    cache.copy_(scatter(cache, 0, in[0].reshape({1, 1}).expand({1, 8}), in[1]));
    return Tensors{cache.sum()};
  });
  for (int i = 0; i < 4; ++i) EXPECT_EQ(put({scalar(i, DType::i64), full({1, 8}, i + 1)})[0].item<int>(), 4 * (i + 1) * (i + 2));
  EXPECT_TRUE(put.info().copies.empty());
}

TEST(Compile, PlannedArenaIsWhatIsTouched) {
  Tensor w = normal_init({512, 512}, 0, 0.02, 1, "w");
  CompiledFunction f = compile([&](const Tensors& in) {
    Tensor h = in[0];
    for (int i = 0; i < 4; ++i) h = gelu(matmul(h, w)) + h;
    return Tensors{h.sum()};
  });
  Tensor x = ones({1024, 512});
  const ProgramInfo& info = f.plan({x});
  EXPECT_GE(info.arena_bytes, info.arena_lower_bound);
  EXPECT_LE(info.arena_bytes, info.arena_lower_bound * 1.2);
  EXPECT_EQ(info.state_bytes, w.numel() * 4);
  f({x});
  EXPECT_LE(f.touched_arena_bytes(), info.arena_bytes);
  EXPECT_GE(f.touched_arena_bytes(), info.arena_lower_bound * 9 / 10);
}

TEST(Compile, AnomalyNamesTheOp) {
  CompiledFunction f = compile([](const Tensors& in) { return Tensors{log(in[0]).sum()}; });
  f.detect_anomaly(true);
  std::string text = message([&] { f({full({4}, -1)}); });
  EXPECT_NE(text.find("first NaN"), std::string::npos) << text;
  EXPECT_NE(text.find("log"), std::string::npos) << text;
}

TEST(Compile, IndexOutOfRangeIsAnError) {
  Tensor table = ones({5, 2});
  CompiledFunction f = compile([&](const Tensors& in) { return Tensors{embedding(in[0], table).sum()}; });
  EXPECT_NE(message([&] { f({tensor({0, 5})}); }).find("index 5 is out of range 0..4"), std::string::npos);
  EXPECT_EQ(f({tensor({0, 4})})[0].item<int>(), 4);
}

TEST(Shards, SumsByTheCanonicalTree) {
  // ((0+1)+(2+3)) + (4+5) + 6: the left part is the largest power of two below n.
  std::vector<float> x{1e8f, 1.0f, -1e8f, 3.0f, 0.5f, 7.0f, 11.0f};
  float want = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + x[6]);
  Tensor sum = for_shards(7, [&](int64_t v) { return Tensors{scalar(x[v])}; })[0];
  EXPECT_EQ(sum.item<float>(), want);
  EXPECT_THROW(for_shards(0, [](int64_t) { return Tensors{}; }), Error);
}

TEST(Memory, AskingForTooMuchSaysHowMuch) {
  std::string text = message([] { zeros({int64_t{1} << 40}); });
  EXPECT_NE(text.find("4.00 TiB"), std::string::npos) << text;
  EXPECT_NE(text.find("available"), std::string::npos) << text;
}

}  // namespace
}  // namespace corten
