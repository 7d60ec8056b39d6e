#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "corten/corten.h"
#include "corten/optim.h"
#include "io/tensor_bytes.h"

namespace corten {
namespace {

using optim::LrSchedule;
using optim::ParamGroup;

const StateDict& golden() {
  static const StateDict state = read_state(CORTEN_TEST_DATA "/golden.safetensors");
  return state;
}
const Tensor& golden(const std::string& name) {
  const Tensor* found = find_tensor(golden(), name);
  if (!found) throw std::runtime_error("no golden " + name);
  return *found;
}

void expect_close(const Tensor& a, const Tensor& b, double tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], tolerance) << "element " << i;
}
void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.to_vector<double>(), b.to_vector<double>());
}
template <typename F>
std::string usage_message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

Tensor parameter(const std::string& name) {
  return golden("start." + name).clone().set_requires_grad();
}
std::vector<ParamGroup> groups(const Tensor& w, const Tensor& b, double weight_decay) {
  return {{{{"w", w}}, weight_decay}, {{{"b", b}}, 0}};
}

struct Case {
  const char* name;
  std::function<std::unique_ptr<optim::Optimizer>(const Tensor& w, const Tensor& b)> make;
};
const Case kCases[] = {
    {"adamw",
     [](const Tensor& w, const Tensor& b) {
       return std::make_unique<optim::AdamW>(groups(w, b, 0.1),
                                             optim::AdamWOptions{.lr = 0.01, .betas = {0.9, 0.95}});
     }},
    {"adamw_eps",
     [](const Tensor& w, const Tensor& b) {
       return std::make_unique<optim::AdamW>(
           groups(w, b, 0), optim::AdamWOptions{.lr = 0.1, .betas = {0.8, 0.999}, .eps = 1e-2});
     }},
    {"sgd",
     [](const Tensor& w, const Tensor& b) {
       return std::make_unique<optim::SGD>(groups(w, b, 0.01), optim::SGDOptions{.lr = 0.05});
     }},
    {"momentum",
     [](const Tensor& w, const Tensor& b) {
       return std::make_unique<optim::SGD>(
           groups(w, b, 0.01), optim::SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.2});
     }},
    {"nesterov",
     [](const Tensor& w, const Tensor& b) {
       return std::make_unique<optim::SGD>(
           groups(w, b, 0), optim::SGDOptions{.lr = 0.05, .momentum = 0.8, .nesterov = true});
     }},
};

TEST(Optimizer, TwentyStepsAsTorch) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    Tensor w = parameter("w"), b = parameter("b");
    auto optimizer = c.make(w, b);
    for (int step = 0; step < 20; ++step) {
      if (step == 10) optimizer->set_lr(optimizer->lr() * 0.5);
      w.set_grad(golden("grads.w")[step]);
      b.set_grad(golden("grads.b")[step]);
      optimizer->step();
      const std::string prefix = std::string(c.name) + "." + std::to_string(step) + ".";
      expect_close(w, golden(prefix + "w"), 2e-6);
      expect_close(b, golden(prefix + "b"), 2e-6);
    }
    EXPECT_EQ(optimizer->steps_taken(), 20);
    optimizer->zero_grad();
    EXPECT_FALSE(w.grad().defined());
  }
}

// Learning rate and step are state: one program serves all steps, with the bits of eager mode.
TEST(Optimizer, CompiledEqualsEager) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    Tensor w1 = parameter("w"), b1 = parameter("b"), w2 = parameter("w"), b2 = parameter("b");
    auto eager = c.make(w1, b1), compiled = c.make(w2, b2);
    auto step = compile([&](const std::vector<Tensor>& in) {
      w2.set_grad(in[0]), b2.set_grad(in[1]);
      compiled->set_lr(in[2]);
      compiled->step();
      compiled->zero_grad();
      return std::vector<Tensor>{};
    });
    for (int i = 0; i < 8; ++i) {
      const Tensor gw = golden("grads.w")[i].clone(), gb = golden("grads.b")[i].clone();
      const double lr = 0.01 * (i + 1);
      eager->set_lr(lr);
      w1.set_grad(gw), b1.set_grad(gb);
      eager->step();
      step({gw, gb, scalar(lr)});
      expect_same(w1, w2);
      expect_same(b1, b2);
    }
    for (const auto& [name, tensor] : eager->state_dict())
      expect_same(tensor, *find_tensor(compiled->state_dict(), name));
  }
}

TEST(Optimizer, ResumesFromItsState) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    Tensor w = parameter("w"), b = parameter("b");
    auto first = c.make(w, b);
    auto run = [&](optim::Optimizer& optimizer, Tensor& pw, Tensor& pb, int from, int to) {
      for (int i = from; i < to; ++i) {
        pw.set_grad(golden("grads.w")[i]), pb.set_grad(golden("grads.b")[i]);
        optimizer.step();
      }
    };
    run(*first, w, b, 0, 5);
    Tensor w2 = w.detach().clone().set_requires_grad(), b2 = b.detach().clone().set_requires_grad();
    auto second = c.make(w2, b2);
    StateDict saved;
    for (auto& [name, tensor] : first->state_dict()) saved.emplace_back(name, tensor.clone());
    run(*first, w, b, 5, 9);
    second->load_state_dict(saved);
    EXPECT_EQ(second->steps_taken(), 5);
    run(*second, w2, b2, 5, 9);
    expect_same(w, w2);
    expect_same(b, b2);
  }
}

TEST(Optimizer, EndsTheGeneratorsStep) {
  Tensor w = parameter("w");
  optim::SGD sgd(std::vector<Tensor>{w});
  manual_seed(5);
  const auto first = rand({3}).to_vector<float>();
  sgd.step();
  EXPECT_EQ(default_generator().step.item<int64_t>(), 1);
  EXPECT_NE(rand({3}).to_vector<float>(), first);
  manual_seed(5);
  EXPECT_EQ(rand({3}).to_vector<float>(), first);
}

TEST(Optimizer, SkipsParametersWithoutGradient) {
  Tensor w = parameter("w"), b = parameter("b");
  optim::AdamW adamw(groups(w, b, 0.1));
  w.set_grad(golden("grads.w")[0]);
  adamw.step();
  expect_same(b, golden("start.b"));
  EXPECT_NE(w.to_vector<float>(), golden("start.w").to_vector<float>());
}

TEST(Optimizer, GroupsScaleTheLearningRate) {
  Tensor a = ones({2}).set_requires_grad(), b = ones({2}).set_requires_grad();
  optim::SGD sgd({ParamGroup{{{"a", a}}}, ParamGroup{{{"b", b}}, 0, 0.5}},
                 optim::SGDOptions{.lr = 0.5});
  a.set_grad(ones({2})), b.set_grad(ones({2}));
  sgd.step();
  EXPECT_EQ(a.to_vector<double>(), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(b.to_vector<double>(), (std::vector<double>{0.75, 0.75}));
}

struct Net : nn::Module {
  nn::Linear in{3, 4}, out{4, 2};
  nn::LayerNorm norm{4};
  Net() { register_module("in", in), register_module("norm", norm), register_module("out", out); }
};

TEST(WeightDecayGroups, LeaveOutBiasesAndNorms) {
  Net net;
  net.out.weight.set_requires_grad(false);
  const auto groups = optim::weight_decay_groups(net, 0.3);
  ASSERT_EQ(groups.size(), 2u);
  ASSERT_EQ(groups[0].params.size(), 1u);
  EXPECT_EQ(groups[0].params[0].first, "in.weight");
  EXPECT_EQ(groups[0].weight_decay, 0.3);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : groups[1].params) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"in.bias", "norm.weight", "norm.bias", "out.bias"}));
  EXPECT_EQ(groups[1].weight_decay, 0);
}

TEST(Clip, AsTorch) {
  for (const char* max_norm : {"1", "100"}) {
    SCOPED_TRACE(max_norm);
    Tensor w = parameter("w"), b = parameter("b"), unused = parameter("b");
    w.set_grad(golden("grads.w")[0]), b.set_grad(golden("grads.b")[0]);
    const Tensor norm = optim::clip_grad_norm_({w, unused, b}, std::stod(max_norm));
    const std::string prefix = std::string("clip.") + max_norm + ".";
    EXPECT_NEAR(norm.item(), golden(prefix + "norm").item(), 1e-6);
    expect_close(w.grad(), golden(prefix + "w"), 1e-7);
    expect_close(b.grad(), golden(prefix + "b"), 1e-7);
    EXPECT_FALSE(unused.grad().defined());
  }
  EXPECT_EQ(optim::clip_grad_norm_({parameter("w")}, 1.0).item(), 0);
}

TEST(Clip, InsideACompiledStep) {
  Tensor w = parameter("w"), b = parameter("b");
  auto clip = compile([&](const std::vector<Tensor>& in) {
    w.set_grad(in[0]), b.set_grad(in[1]);
    Tensor norm = optim::clip_grad_norm_({w, b}, 1.0);
    return std::vector<Tensor>{norm, w.grad(), b.grad()};
  });
  for (int i = 0; i < 3; ++i) {
    const Tensor gw = golden("grads.w")[i].clone(), gb = golden("grads.b")[i].clone();
    const auto got = clip({gw, gb});
    w.set_grad(gw), b.set_grad(gb);
    expect_same(got[0], optim::clip_grad_norm_({w, b}, 1.0));
    expect_same(got[1], w.grad());
    expect_same(got[2], b.grad());
    w.zero_grad(), b.zero_grad();
  }
}

TEST(LrSchedule, AsTorch) {
  const auto check = [](const char* name, const LrSchedule& schedule) {
    const auto expected = golden(std::string("schedule.") + name).to_vector<double>();
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(schedule.at(static_cast<int64_t>(i)), expected[i], 1e-12) << name << i;
  };
  using Kind = LrSchedule::Kind;
  check("step", {.kind = Kind::step, .lr = 0.3, .step_size = 6, .gamma = 0.5});
  check("cosine", {.kind = Kind::cosine, .lr = 0.3, .min_lr = 0.03, .decay_steps = 20});
  check("linear", {.kind = Kind::linear, .lr = 0.3, .min_lr = 0.03, .decay_steps = 15});
}

TEST(LrSchedule, WarmsUpAndEnds) {
  for (auto kind : {LrSchedule::Kind::constant, LrSchedule::Kind::linear, LrSchedule::Kind::cosine,
                    LrSchedule::Kind::step}) {
    LrSchedule s{.kind = kind,
                 .lr = 1,
                 .min_lr = 0.1,
                 .warmup_steps = 4,
                 .decay_steps = 10,
                 .step_size = 3,
                 .gamma = 0.01};
    EXPECT_DOUBLE_EQ(s.at(0), 0.2);
    EXPECT_DOUBLE_EQ(s.at(3), 0.8);
    EXPECT_DOUBLE_EQ(s.at(4), 1);
    const double last = kind == LrSchedule::Kind::constant ? 1 : 0.1;
    for (int64_t step : {10, 11, 1000}) EXPECT_DOUBLE_EQ(s.at(step), last);
  }
  // nanoGPT's get_lr(7) with these settings: 0.1 + 0.9 (1 + cos(pi 3/6)) / 2.
  LrSchedule cosine{.kind = LrSchedule::Kind::cosine,
                    .lr = 1,
                    .min_lr = 0.1,
                    .warmup_steps = 4,
                    .decay_steps = 10};
  EXPECT_NEAR(cosine.at(7), 0.55, 1e-15);
  // All steps are warm-up, or there is none to decay over.
  LrSchedule none{.kind = LrSchedule::Kind::cosine, .lr = 1, .min_lr = 0.1};
  EXPECT_EQ(none.at(0), 0.1);
}

TEST(OptimErrors, NameWhatIsWrong) {
  Tensor w = parameter("w"), b = parameter("b");
  auto contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(usage_message([&] { optim::AdamW(std::vector<Tensor>{}); }), "no parameters");
  contains(usage_message([&] { optim::AdamW(std::vector<Tensor>{ones({2})}); }), "\"0\"");
  contains(usage_message([&] { optim::AdamW(std::vector<Tensor>{w, w}); }), "listed twice");
  contains(usage_message([&] { optim::AdamW({w}, {.lr = -1}); }), "-1");
  contains(usage_message([&] { optim::AdamW({w}, {.betas = {0.9, 1}}); }), "beta 1");
  contains(usage_message([&] { optim::SGD({w}, {.nesterov = true}); }), "Nesterov");
  contains(usage_message([&] { optim::clip_grad_norm_({w}, 0); }), "largest norm 0");
  optim::AdamW one({w}), two({w, b});
  const std::string text = usage_message([&] { one.load_state_dict(two.state_dict()); });
  contains(text, "unexpected: exp_avg.1, exp_avg_sq.1");
  contains(usage_message([&] { two.load_state_dict(one.state_dict()); }), "missing: exp_avg.1");
  optim::AdamW other({b});
  contains(usage_message([&] { other.load_state_dict(one.state_dict()); }),
           "exp_avg.0 is f32[4] here and f32[5,3] there");
}

}  // namespace
}  // namespace corten
