// Autocast: which dtype each op has under it, what that means for weights and gradients; the precision of f32 products.
#include <gtest/gtest.h>

#include <functional>
#include <regex>

#include "corten/corten.h"

namespace corten {
namespace {

using Tensors = std::vector<Tensor>;

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "no error";
}
Tensor random(Shape shape, const char* name) { return normal_init(std::move(shape), 0, 1, 1, name); }

// The dtype of a result for f32 and for 16-bit operands: PyTorch's lists (torch.amp, "Autocast Op Reference"), with the
// reductions that PyTorch leaves to the operand's dtype in f32 too.
struct Rule {
  const char* name;
  Tensor (*make)(const Tensor& x);
  enum { low, f32, own } result;
};
const Rule kRules[] = {
    {"matmul", [](const Tensor& x) { return matmul(x, x.t()); }, Rule::low},
    {"linear", [](const Tensor& x) { return linear(x, ones({3, 8}), ones({3})); }, Rule::low},
    {"conv1d_linear", [](const Tensor& x) { return conv1d_linear(x, ones({8, 3})); }, Rule::low},
    {"attention", [](const Tensor& x) { return scaled_dot_product_attention(x, x, x); }, Rule::low},
    {"conv2d", [](const Tensor& x) { return conv2d(x.reshape({1, 1, 4, 8}), ones({2, 1, 3, 3}), ones({2})); }, Rule::low},
    {"conv1d", [](const Tensor& x) { return conv1d(x, ones({2, 4, 3})); }, Rule::low},
    {"exp", [](const Tensor& x) { return exp(x); }, Rule::f32},
    {"log", [](const Tensor& x) { return log(x * x + 1.0); }, Rule::f32},
    {"rsqrt", [](const Tensor& x) { return rsqrt(x * x + 1.0); }, Rule::f32},
    {"pow 2", [](const Tensor& x) { return pow(x, 2); }, Rule::f32},
    {"pow -1", [](const Tensor& x) { return pow(x * x + 1.0, -1); }, Rule::f32},
    {"pow 1.5", [](const Tensor& x) { return pow(x * x, 1.5); }, Rule::f32},
    {"sum", [](const Tensor& x) { return x.sum({0}); }, Rule::f32},
    {"mean", [](const Tensor& x) { return x.mean(); }, Rule::f32},
    {"logsumexp", [](const Tensor& x) { return logsumexp(x, -1); }, Rule::f32},
    {"softmax", [](const Tensor& x) { return softmax(x, -1); }, Rule::f32},
    {"log_softmax", [](const Tensor& x) { return log_softmax(x, 0); }, Rule::f32},
    {"layer_norm", [](const Tensor& x) { return layer_norm(x, ones({8}), zeros({8})); }, Rule::f32},
    {"rms_norm", [](const Tensor& x) { return rms_norm(x, ones({8})); }, Rule::f32},
    {"cross_entropy", [](const Tensor& x) { return cross_entropy(x, arange(4)); }, Rule::f32},
    {"add f32", [](const Tensor& x) { return x + ones({8}); }, Rule::f32},
    {"where f32", [](const Tensor& x) { return where(x > 0, x, ones({4, 8})); }, Rule::f32},
    {"concat f32", [](const Tensor& x) { return concat({x, ones({1, 8})}, 0); }, Rule::f32},
    {"stack f32", [](const Tensor& x) { return stack({x, ones({4, 8})}, 0); }, Rule::f32},
    {"scatter_add f32", [](const Tensor& x) { return scatter_add(x, 0, zeros({1, 8}, DType::i64), ones({1, 8})); }, Rule::f32},
    {"gelu", [](const Tensor& x) { return gelu(x); }, Rule::own},
    {"tanh", [](const Tensor& x) { return tanh(x); }, Rule::own},
    {"relu", [](const Tensor& x) { return relu(x); }, Rule::own},
    {"sqrt", [](const Tensor& x) { return sqrt(abs(x)); }, Rule::own},
    {"add", [](const Tensor& x) { return x + x; }, Rule::own},
    {"add number", [](const Tensor& x) { return x + 1.0; }, Rule::own},
    {"amax", [](const Tensor& x) { return amax(x); }, Rule::own},
    {"reshape", [](const Tensor& x) { return x.reshape({-1}); }, Rule::own},
    {"batch_norm", [](const Tensor& x) { return batch_norm(x, {}, {}, ones({8}), zeros({8}), {.training = true}); }, Rule::own},
    {"max_pool2d", [](const Tensor& x) { return max_pool2d(x.reshape({1, 1, 4, 8}), 2); }, Rule::own},
    {"avg_pool2d", [](const Tensor& x) { return avg_pool2d(x.reshape({1, 1, 4, 8}), 2); }, Rule::own},
};

TEST(Autocast, DTypes) {
  const Tensor x = random({4, 8}, "x");
  for (DType low : {DType::bf16, DType::f16})
    for (DType operand : {DType::f32, low}) {
      const Tensor in = x.to(operand);
      for (const Rule& rule : kRules) {
        Autocast autocast(low);
        const DType expected = rule.result == Rule::low ? low : rule.result == Rule::f32 ? DType::f32 : operand;
        EXPECT_EQ(name(rule.make(in).dtype()), name(expected)) << rule.name << " of " << name(operand) << " under " << name(low);
      }
    }
  // Outside, dtypes are those of the operands; f64 is left alone inside.
  EXPECT_EQ(softmax(x.to(DType::bf16), -1).dtype(), DType::bf16);
  Autocast autocast(DType::bf16);
  EXPECT_EQ(matmul(x.to(DType::f64), x.to(DType::f64).t()).dtype(), DType::f64);
  EXPECT_EQ(x.to(DType::f64).sum().dtype(), DType::f64);
}

TEST(Autocast, ScopesNest) {
  const Tensor x = random({4, 8}, "x");
  EXPECT_FALSE(is_autocast_enabled());
  EXPECT_EQ(get_autocast_dtype(), DType::f32);
  {
    Autocast outer(DType::bf16);
    EXPECT_EQ(get_autocast_dtype(), DType::bf16);
    {
      Autocast off(DType::bf16, false);
      EXPECT_FALSE(is_autocast_enabled());
      EXPECT_EQ(matmul(x, x.t()).dtype(), DType::f32);
    }
    Autocast inner(DType::f16);
    EXPECT_EQ(matmul(x, x.t()).dtype(), DType::f16);
  }
  EXPECT_FALSE(is_autocast_enabled());
  EXPECT_NE(message([] { Autocast bad(DType::f64); }).find("f64 is not a type to compute in"), std::string::npos);
}

// What is kept in f32 is not rounded to 16 bits at its end.
TEST(Autocast, WideResultsAreNotRounded) {
  const Tensor x = random({4, 300}, "x").to(DType::bf16);
  Tensor inside;
  {
    Autocast autocast(DType::bf16);
    inside = softmax(x, -1).sum({0});
  }
  EXPECT_EQ(inside.to_vector<float>(), softmax(x.to(DType::f32), -1).sum({0}).to_vector<float>());
}

// Gradients of f32 parameters are products accumulated and kept in f32, whichever function multiplies.
TEST(Autocast, GradientsOfMastersAreF32) {
  const Tensor x = random({16, 8}, "x");
  const Tensor lx = x.to(DType::bf16);
  for (int form = 0; form < 3; ++form) {
    Tensor w = random(form == 1 ? Shape{6, 8} : Shape{8, 6}, "w").set_requires_grad();
    Tensor y;
    {
      Autocast autocast(DType::bf16);
      y = form == 0 ? matmul(x, w) : form == 1 ? linear(x, w) : conv1d_linear(x, w);
    }
    EXPECT_EQ(y.dtype(), DType::bf16);
    const Tensor seed = random({16, 6}, "seed").to(DType::bf16);
    y.backward(seed);
    EXPECT_EQ(w.grad().dtype(), DType::f32);
    const Tensor expected = form == 1 ? matmul(seed.t(), lx, DType::f32) : matmul(lx.t(), seed, DType::f32);
    EXPECT_EQ(w.grad().to_vector<float>(), expected.to_vector<float>()) << "form " << form;
    EXPECT_NE(w.grad().to_vector<float>(), expected.to(DType::bf16).to_vector<float>()) << "the test does not tell";
  }
}

// A weight that is used in several products, forward, backward and in both micro-batches, is converted once per step.
TEST(Autocast, OneCastPerWeight) {
  Tensor w = (random({96, 96}, "w") * 0.1).detach().set_requires_grad();
  CompiledFunction step = compile([&](const Tensors& in) {
    return for_shards(2, [&](int64_t v) {
      Tensor loss;
      {
        Autocast autocast(DType::bf16);
        const Tensor x = in[0].slice(0, 8 * v, 8 * v + 8);
        loss = matmul(linear(tanh(linear(x, w)), w), w).to(DType::f32).mean();
      }
      return grad({loss}, {w});
    });
  });
  step({random({16, 96}, "x")});
  const std::string text = step.explain();
  const std::regex line("step +[0-9]+ +\\[cast\\] bf16\\[96,96\\]");
  EXPECT_EQ(std::distance(std::sregex_iterator(text.begin(), text.end(), line), std::sregex_iterator()), 1) << text;
}

struct PrecisionScope {
  explicit PrecisionScope(std::string_view precision) { set_float32_matmul_precision(precision); }
  ~PrecisionScope() { set_float32_matmul_precision("highest"); }
};

TEST(MatmulPrecision, Medium) {
  const Tensor x = random({20, 40}, "x"), bias = random({30}, "b");
  Tensor w = random({30, 40}, "w").set_requires_grad();
  auto step = [&](const Tensors& in) {
    Tensor y = linear(in[0], w, bias);
    return Tensors{y, grad({(y * y).sum()}, {w})[0]};
  };
  EXPECT_EQ(get_float32_matmul_precision(), "highest");
  CompiledFunction program = compile(step);
  const Tensors full = program({x});
  Tensors medium, eager;
  {
    PrecisionScope scope("medium");
    EXPECT_EQ(get_float32_matmul_precision(), "medium");
    eager = step({x});
    medium = program({x});
  }
  const Tensors again = program({x});
  auto low = [](const Tensor& t) { return t.detach().to(DType::bf16); };
  const Tensor y = matmul(low(x), low(w).t(), DType::f32) + bias;
  EXPECT_EQ(medium[0].dtype(), DType::f32);
  EXPECT_EQ(medium[0].to_vector<float>(), y.to_vector<float>());
  const Tensor g = y + y;
  EXPECT_EQ(medium[1].to_vector<float>(), matmul(low(g).t(), low(x), DType::f32).to_vector<float>());
  for (size_t i : {0, 1}) {
    EXPECT_EQ(eager[i].to_vector<float>(), medium[i].to_vector<float>());
    EXPECT_EQ(again[i].to_vector<float>(), full[i].to_vector<float>()) << "the setting must not stick to a program";
    EXPECT_NE(full[i].to_vector<float>(), medium[i].to_vector<float>());
  }
  {
    PrecisionScope scope("high");
    EXPECT_EQ(step({x})[0].to_vector<float>(), full[0].to_vector<float>());
  }
  EXPECT_NE(message([] { set_float32_matmul_precision("low"); }).find("use highest, high, medium"), std::string::npos);
}

}  // namespace
}  // namespace corten
