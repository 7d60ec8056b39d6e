// What makes a compiled function compile again, and what does not; what is said about it.
#include <gtest/gtest.h>

#include <set>

#include "base/format.h"
#include "codegen/cpu.h"
#include "corten/corten.h"

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

/// A training step of a layer with dropout under AdamW.
struct Step {
  nn::Linear layer{8, 4};
  std::unique_ptr<optim::AdamW> optimizer;
  std::unique_ptr<CompiledFunction> compiled;
  int traces = 0;

  Step() {
    manual_seed(1);
    layer.initialize(3);
    optimizer = std::make_unique<optim::AdamW>(layer.parameters());
    compiled = std::make_unique<CompiledFunction>(compile([this](const Tensors& in) {
      ++traces;
      Tensor loss = cross_entropy(dropout(layer(in[0]), 0.1), in[1]);
      loss.backward();
      optimizer->set_lr(in[2]);
      optimizer->step();
      optimizer->zero_grad();
      return Tensors{loss};
    }));
  }
  double run(int i, int64_t rows = 16) {
    const Tensor x = normal_init({rows, 8}, 0, 1, i, "x"), y = remainder_trunc(arange(rows) * (i + 1.0), full({rows}, 4, DType::i64));
    return (*compiled)({x, y, scalar(1e-3 * (i + 1))})[0].item<double>();
  }
};

TEST(Guards, NumbersOfAStepDoNotCompile) {
  Step step;
  step.run(0);
  step.run(1);  // traced again, to compare
  ASSERT_EQ(step.traces, 2);
  const codegen::CompileStats before = codegen::compile_stats();
  std::set<double> losses;
  for (int i = 2; i < 10; ++i) {
    if (i == 5) manual_seed(77);
    if (i == 7) step.layer.initialize(12);
    losses.insert(step.run(i));
  }
  EXPECT_EQ(losses.size(), 8u);
  EXPECT_EQ(step.traces, 2);
  EXPECT_EQ(step.compiled->compilations().size(), 1u);
  EXPECT_EQ(codegen::compile_stats().compiled, before.compiled);
}

TEST(Guards, NewSizesNeedNoNewKernels) {
  Step step;
  for (int64_t rows : {16, 32, 48}) {
    step.run(0, rows);
    step.run(1, rows);
  }
  const auto records = step.compiled->compilations();
  ASSERT_EQ(records.size(), 3u);
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_EQ(records[i].kernels_compiled + records[i].kernels_from_disk, 0);
    EXPECT_NE(records[i].reason.find("argument 0: f32["), std::string::npos) << records[i].reason;
  }
}

// Twenty programs where sixteen are kept: those used last stay, and what is forgotten gives the same bits again.
TEST(Guards, ProgramsAreForgottenInOrderOfUse) {
  Tensor state = zeros({});
  int traces = 0;
  CompiledFunction f = compile([&](const Tensors& in) {
    ++traces;
    state.add_(1.0);
    return Tensors{softmax(in[0], -1).sum() + state * 0.0};
  });
  auto run = [&](int64_t n) { return f({normal_init({n}, 0, 1, n, "x")})[0].item<double>(); };
  std::vector<double> first;
  for (int64_t n = 1; n <= 20; ++n) {
    first.push_back(run(n));
    run(1);  // stays in use
  }
  const int before = traces;
  EXPECT_EQ(run(1), first[0]);
  EXPECT_EQ(run(20), first[19]);
  EXPECT_EQ(traces, before + 1) << "the second call of one of them is compared, nothing else is traced";
  EXPECT_EQ(run(2), first[1]);
  EXPECT_EQ(traces, before + 2);
  EXPECT_NE(f.compilations().back().reason.find("forgotten"), std::string::npos);
  EXPECT_EQ(state.item<int>(), 43);
}

TEST(Guards, ScopesAroundTheCall) {
  const Tensor w = normal_init({16, 16}, 0, 1, 1, "w"), x = normal_init({16, 16}, 0, 1, 1, "x");
  CompiledFunction f = compile([&](const Tensors& in) { return Tensors{matmul(in[0], w) + rand({16, 16})}; });
  auto eager = [&] { return (matmul(x, w) + rand({16, 16})).to_vector<float>(); };
  auto compare = [&](const char* what) {
    for (int i = 0; i < 3; ++i) {
      manual_seed(1);
      const std::vector<float> expected = eager();
      manual_seed(1);
      EXPECT_EQ(f({x})[0].to_vector<float>(), expected) << what << ", call " << i;
    }
  };
  compare("plain");
  {
    const Autocast autocast(DType::bf16);
    compare("in Autocast");
    EXPECT_EQ(f.compilations().back().reason, "Autocast around the call: none became bf16");
  }
  compare("after Autocast");
  {
    const RandomScope scope("layer");
    compare("in RandomScope");
    EXPECT_EQ(f.compilations().back().reason, "RandomScope around the call: none became \"layer\", shard 0");
  }
  {
    NoGradGuard no_grad;
    compare("in NoGradGuard");
    EXPECT_NE(f.compilations().back().reason.find("the call is inside a NoGradGuard"), std::string::npos) << f.compilations().back().reason;
  }
  compare("outside");
  EXPECT_EQ(f.compilations().size(), 4u);
}

TEST(Guards, FrozenParametersStay) {
  Step step;
  for (int i = 0; i < 3; ++i) step.run(i);
  step.layer.weight.set_requires_grad(false);
  const std::vector<float> weight = step.layer.weight.to_vector<float>(), bias = step.layer.bias.to_vector<float>();
  for (int i = 3; i < 6; ++i) step.run(i);
  EXPECT_EQ(step.layer.weight.to_vector<float>(), weight);
  EXPECT_NE(step.layer.bias.to_vector<float>(), bias);
  ASSERT_EQ(step.compiled->compilations().size(), 2u);
  const std::string reason = step.compiled->compilations().back().reason;
  EXPECT_NE(reason.find("(f32[4,8]) does not require grad now"), std::string::npos) << reason;
}

TEST(Guards, ConvertedModulesAreCompiledAgain) {
  nn::Linear layer(8, 4);
  layer.initialize(1);
  CompiledFunction f = compile([&](const Tensors& in) { return Tensors{layer(in[0].to(layer.weight.dtype()))}; });
  const Tensor x = normal_init({2, 8}, 0, 1, 1, "x");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(f({x})[0].dtype(), DType::f32);
  const Tensor old = layer.weight;
  layer.to(DType::bf16);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(f({x})[0].dtype(), DType::bf16);
  ASSERT_EQ(f.compilations().size(), 2u);
  EXPECT_NE(f.compilations().back().reason.find("was replaced by another tensor"), std::string::npos);
  // Who goes on with the old tensor compiles once.
  CompiledFunction g = compile([&](const Tensors& in) { return Tensors{in[0] + old.sum()}; });
  for (int i = 0; i < 4; ++i) g({x});
  EXPECT_EQ(g.compilations().size(), 1u);
}

TEST(Guards, SecondTracesMustAgree) {
  const Tensor x = ones({3}), other = ones({3});
  int calls = 0;
  auto second = [&](const std::function<Tensors(const Tensors&, bool)>& body) {
    calls = 0;
    CompiledFunction f = compile([&](const Tensors& in) { return body(in, calls++ == 0); });
    f({x});
    return message([&] { f({x}); });
  };
  EXPECT_NE(second([](const Tensors& in, bool first) { return first ? Tensors{in[0] + 1} : Tensors{in[0] + 1, in[0]}; }).find("results"),
            std::string::npos);
  EXPECT_NE(second([](const Tensors& in, bool first) { return Tensors{first ? exp(in[0]) : log(in[0])}; }).find("exp"), std::string::npos);
  const std::string longer = second([](const Tensors& in, bool first) { return Tensors{first ? in[0] * in[0] : in[0] * in[0] * in[0]}; });
  EXPECT_NE(longer.find("operations became"), std::string::npos) << longer;
  const Tensor a = ones({3}), b = ones({3});
  EXPECT_NE(second([&](const Tensors& in, bool first) { return Tensors{in[0] + (first ? a : b)}; }).find("other tensors are used as state"),
            std::string::npos);
  EXPECT_EQ(second([](const Tensors& in, bool) { return Tensors{in[0] + 1}; }), "no error");
}

// A function that fails while it is compiled leaves everything as it was, and can be compiled later.
TEST(Guards, FailedTracesLeaveNothing) {
  Tensor state = ones({2});
  state.set_requires_grad();
  bool fail = true;
  CompiledFunction f = compile([&](const Tensors& in) {
    Tensor loss = (in[0] * state).sum();
    loss.backward();
    NoGradGuard no_grad;
    state.copy_(state - state.grad());
    if (fail) usage_error("not now");
    state.zero_grad();
    return Tensors{loss};
  });
  EXPECT_NE(message([&] { f({ones({2})}); }).find("not now"), std::string::npos);
  EXPECT_EQ(state.to_vector<float>(), std::vector<float>(2, 1));
  EXPECT_FALSE(state.grad().defined());
  EXPECT_EQ((state + 1).to_vector<float>(), std::vector<float>(2, 2)) << "eager ops work";
  fail = false;
  EXPECT_EQ(f({ones({2})})[0].item<double>(), 2);
  EXPECT_EQ(state.to_vector<float>(), std::vector<float>(2, 0));
}

}  // namespace
}  // namespace corten
