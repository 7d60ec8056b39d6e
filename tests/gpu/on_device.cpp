#include "gpu/on_device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "corten/float8.h"
#include "corten/models.h"
#include "gpu/samples.h"
#include "ops/cases.h"

namespace corten::testing {

using cuda::test::numbers;
using cuda::test::tokens;

std::string bits(const Tensor& t) {
  std::vector<double> v = t.to_vector<double>();
  for (double& x : v)
    if (std::isnan(x)) x = std::nan("");
  return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(double));
}
void ops_have_the_cpus_bits() {
  struct Done {
    const Case* c;
    DType dtype;
    std::vector<Tensor> got, want;  // the value, then gradients
  };
  const auto run = [](const Case& c, DType dtype, const Device& place) {
    std::vector<Tensor> x, out;
    for (size_t i = 0; i < c.operands.size(); ++i) {
      x.push_back(operand(c, i, dtype).to(place));
      if (c.differentiable && dtype == DType::f32 && c.operands[i].classes == 0)
        x.back().set_requires_grad();
    }
    out.push_back(c.run(x));
    if (!c.differentiable || dtype != DType::f32) return out;
    const Tensor weights = numbers(out[0].shape(), 77).to(out[0].dtype()).to(place);
    (out[0] * weights).sum().backward();
    for (const Tensor& t : x)
      if (t.grad().defined()) out.push_back(t.grad());
    return out;
  };
  std::vector<Done> all;
  size_t without = 0;
  for (const Case& c : cases()) {
    if (c.name == "attention_bool_mask") continue;  // has an operand of the CPU
    const bool image = c.name.find("conv") == 0 || c.name.find("pool") != std::string::npos;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && (!c.low_precision || image)) continue;
      Done d{&c, dtype, {}, {}};
      try {
        d.got = run(c, dtype, "cuda");
      } catch (const Error& e) {
        const std::string why = e.what();
        EXPECT_TRUE(why.find("has no implementation for the GPU") != why.npos ||
                    why.starts_with("no cuDNN"))
            << c.name << ": " << why;
        ++without;
        continue;
      }
      d.want = run(c, dtype, "cpu");
      all.push_back(std::move(d));
    }
  }
  EXPECT_LE(without, 30u);
  for (const Done& d : all) {
    const std::string what = d.c->name + " " + std::string(name(d.dtype));
    ASSERT_EQ(d.got.size(), d.want.size()) << what;
    for (size_t i = 0; i < d.got.size(); ++i) {
      EXPECT_TRUE(d.got[i].is_cuda()) << what << ", result " << i;
      EXPECT_EQ(d.got[i].dtype(), d.want[i].dtype()) << what << ", result " << i;
      // Products and attention are the family's.
      const bool family = d.c->name.find("matmul") == 0 ||
                          d.c->name.find("linear") != std::string::npos ||
                          d.c->name.find("attention") == 0 || d.c->name.find("conv") == 0;
      if (!family) {
        EXPECT_EQ(bits(d.got[i]), bits(d.want[i])) << what << ", result " << i;
        continue;
      }
      const std::vector<double> got = d.got[i].to_vector<double>(),
                                want = d.want[i].to_vector<double>();
      const double unit = d.dtype == DType::bf16 ? 0.03 : 1e-5;
      for (size_t k = 0; k < got.size(); ++k)
        ASSERT_NEAR(got[k], want[k], unit * (1 + std::abs(want[k]))) << what << ", result " << i;
    }
  }
}

namespace {

struct TinyGpt2 {
  std::unique_ptr<CausalLM> model =
      make_gpt2({.vocab_size = 61, .n_positions = 16, .n_embd = 32, .n_layer = 2, .n_head = 4});
  std::unique_ptr<optim::AdamW> optimizer;
  explicit TinyGpt2(const Device& place) {
    manual_seed(3);
    model->initialize(1);
    model->to(place);
    optimizer = std::make_unique<optim::AdamW>(optim::weight_decay_groups(*model, 0.1),
                                               optim::AdamWOptions{.lr = 1e-2});
  }
  std::vector<Tensor> step(const std::vector<Tensor>& in) {
    const Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    const Tensor norm = optim::clip_grad_norm_(model->parameters(), 1.0);
    optimizer->step();
    optimizer->zero_grad();
    return {loss.detach(), norm};
  }
};

}  // namespace

void gpt2_trains_op_by_op_as_compiled() {
  const auto train = [](const Device& place, bool compiled) {
    TinyGpt2 gpt2(place);
    for (const Tensor& p : gpt2.model->parameters()) EXPECT_EQ(p.device(), place);
    Function step = [&](const std::vector<Tensor>& in) { return gpt2.step(in); };
    CompiledFunction program = compile(step);
    std::vector<Tensor> out;
    for (uint64_t i = 0; i < 3; ++i) {
      const std::vector<Tensor> in{tokens({2, 13}, i, 61).to(place),
                                   tokens({2, 13}, i + 5, 61).to(place)};
      for (const Tensor& t : compiled ? program(in) : step(in)) {
        EXPECT_EQ(t.device(), place);
        out.push_back(t);
      }
    }
    EXPECT_EQ(gpt2.optimizer->steps_taken(), 3);
    for (const Tensor& p : gpt2.model->parameters()) {
      EXPECT_EQ(p.device(), place);
      out.push_back(p.clone());
    }
    return out;
  };
  const auto cpu = train("cpu", false), eager = train("cuda", false),
             compiled = train("cuda", true);
  for (size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_EQ(bits(eager[i]), bits(compiled[i])) << i;
    const std::vector<double> a = eager[i].to_vector<double>(), b = cpu[i].to_vector<double>();
    for (size_t k = 0; k < a.size(); ++k) ASSERT_NEAR(a[k], b[k], 2e-4 * (1 + std::abs(b[k]))) << i;
  }
  manual_seed(4);
  EXPECT_EQ(rand({2}).device(), Device())
      << "the generator may be on the device, numbers of the CPU are its own";
}

void float8_has_the_cpus_bits() {
  std::vector<uint16_t> every(1 << 16);
  std::iota(every.begin(), every.end(), uint16_t{0});
  const Tensor x = from_bytes(every.data(), {1 << 16}, DType::bf16);
  for (const DType dtype : {DType::f8_e4m3, DType::f8_e5m2})
    for (const double scale : {1.0, 1.0 / 3}) {
      const auto convert = [&](const Tensor& of) { return (of.to(DType::f32) * scale).to(dtype); };
      EXPECT_EQ(bits(convert(x.to("cuda"))), bits(convert(x))) << name(dtype);
    }
  const Tensor a = numbers({48, 96}, 1), w = numbers({64, 96}, 2), bias = numbers({64}, 3);
  const auto layer = [&](const Device& place) {
    Tensor in = a.to(DType::bf16).to(place).detach(), weight = w.to(place).detach();
    in.set_requires_grad();
    weight.set_requires_grad();
    const Tensor y = float8_linear(in, weight, bias.to(place));
    square(y.to(DType::f32)).sum().backward();
    return std::vector{y, in.grad(), weight.grad()};
  };
  const auto cpu = layer("cpu"), device = layer("cuda");
  for (size_t i = 0; i < cpu.size(); ++i) {
    const auto want = cpu[i].to_vector<double>(), got = device[i].to_vector<double>();
    double scale = 0;
    for (const double v : want) scale = std::max(scale, std::fabs(v));
    // One step of bf16, and of the gradient's 8 bits where that rounds to the other side.
    for (size_t k = 0; k < want.size(); ++k) ASSERT_NEAR(got[k], want[k], 0.02 * scale) << i;
  }
}

}  // namespace corten::testing
