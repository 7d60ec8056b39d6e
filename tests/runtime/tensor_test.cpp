// Tensors: dtypes, views, in-place writes, gradients, errors.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "corten/corten.h"

namespace corten {
namespace {

using Floats = std::vector<float>;
Floats values(const Tensor& t) { return t.to_vector<float>(); }

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Usage);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}
#define EXPECT_ERROR(expression, text) EXPECT_NE(message([&] { (void)(expression); }).find(text), std::string::npos)

TEST(Tensor, DTypesOfLiteralsAndPromotion) {
  EXPECT_EQ(tensor({1, 2, 3}).dtype(), DType::i64);
  EXPECT_EQ(tensor({1.0, 2.0}).dtype(), DType::f32);
  EXPECT_EQ(tensor({true, false}).dtype(), DType::boolean);
  EXPECT_EQ((tensor({1, 2}) + tensor({1.0, 2.0})).dtype(), DType::f32);
  EXPECT_EQ((tensor({1, 2}) / tensor({2, 4})).dtype(), DType::f32);
  EXPECT_EQ((tensor({1, 2}) + 1.0).dtype(), DType::i64);
  EXPECT_EQ((tensor({1, 2}) + 1.5).dtype(), DType::f32);
  EXPECT_EQ((ones({2}, DType::bf16) + ones({2}, DType::f16)).dtype(), DType::f32);
  EXPECT_EQ((ones({2}, DType::bf16) + scalar(1.0)).dtype(), DType::bf16);  // 0-d does not promote its category
  EXPECT_EQ((tensor({1, 2}) + scalar(1.5)).dtype(), DType::f32);
  EXPECT_EQ(tensor({true, true}).sum().dtype(), DType::i64);
  EXPECT_EQ(tensor({true, true, false}).sum().item<int>(), 2);
}

TEST(Tensor, ViewsShareStorage) {
  Tensor x = zeros({2, 3});
  Tensor row = x[1], t = x.t(), flat = x.reshape({6});
  row.fill_(5);
  EXPECT_EQ(values(x), (Floats{0, 0, 0, 5, 5, 5}));
  EXPECT_EQ(values(t), (Floats{0, 5, 0, 5, 0, 5}));
  flat.slice(0, 0, 2).copy_(tensor({1.0, 2.0}));
  EXPECT_EQ(values(x), (Floats{1, 2, 0, 5, 5, 5}));
  t.mul_(2);
  EXPECT_EQ(values(row), (Floats{10, 10, 10}));
  x.select(1, 2).add_(tensor({7.0, 7.0}));
  EXPECT_EQ(values(flat), (Floats{2, 4, 7, 10, 10, 17}));
  EXPECT_EQ(values(x.clone().fill_(0)), Floats(6, 0.0f));
  EXPECT_EQ(values(x)[0], 2.0f);
}

TEST(Tensor, InPlaceKeepsWhatBackwardSaved) {
  Tensor x = tensor({1.0, 2.0, 3.0});
  x.set_requires_grad();
  Tensor y = x * 1.0;
  Tensor z = (y * y).sum();
  y.fill_(100);  // y's storage changes; the product saved its own value
  z.backward();
  EXPECT_EQ(values(x.grad()), (Floats{2, 4, 6}));
}

TEST(Tensor, InPlaceOnAResultIsDifferentiated) {
  Tensor x = tensor({1.0, 2.0});
  x.set_requires_grad();
  Tensor y = x * 3.0;
  y.mul_(y.detach());
  y[0].add_(10);
  (y * tensor({1.0, 10.0})).sum().backward();
  EXPECT_EQ(values(x.grad()), (Floats{9, 180}));
}

TEST(Tensor, GradientsAccumulateAndClear) {
  Tensor x = tensor({2.0});
  x.set_requires_grad();
  (x * x).sum().backward();
  Tensor first = x.grad();
  (x * x).sum().backward();
  EXPECT_EQ(values(x.grad()), Floats{8});
  EXPECT_EQ(values(first), Floats{8});  // the same storage, as in PyTorch
  x.zero_grad();
  EXPECT_FALSE(x.grad().defined());
  {
    NoGradGuard off;
    EXPECT_FALSE((x * x).requires_grad());
  }
  EXPECT_TRUE((x * x).requires_grad());
  EXPECT_FALSE((x * x).detach().requires_grad());
}

TEST(Tensor, SharedSubexpressionsAndSecondOrder) {
  Tensor x = tensor({0.5, -1.5});
  x.set_requires_grad();
  Tensor g = grad({(x * x * x).sum()}, {x}, {}, true)[0];
  EXPECT_EQ(values(g), (Floats{0.75f, 6.75f}));
  EXPECT_EQ(values(grad({g.sum()}, {x})[0]), (Floats{3, -9}));
}

TEST(Tensor, ErrorsNameShapesAndReasons) {
  Tensor a = zeros({2, 3}), b = zeros({4});
  EXPECT_ERROR(a + b, "[2,3]");
  EXPECT_ERROR(a + b, "[4]");
  EXPECT_ERROR(softmax(a, 3), "axis 3 is out of range for f32[2,3] (rank 2)");
  EXPECT_ERROR(a.reshape({4}), "f32[2,3]");
  EXPECT_ERROR(matmul(a, a), "[matmul]");
  EXPECT_ERROR(linear(a, b), "[linear]");
  EXPECT_ERROR(a.item(), "6 elements");
  EXPECT_ERROR(a.select(0, 5), "index 5");
  EXPECT_ERROR(embedding(tensor({1, 9}), zeros({5, 2})), "index 9 is out of range 0..4");
  EXPECT_ERROR(cross_entropy(a, b), "[cross_entropy]");
  const Tensor logits = ones({2, 3});
  EXPECT_ERROR(cross_entropy(logits, tensor({0, 3})), "the target 3 is none of 3 classes");
  EXPECT_ERROR(cross_entropy(logits, tensor({-1, 0})), "the target -1 is none of 3 classes");
  EXPECT_FLOAT_EQ(cross_entropy(logits, tensor({-100, 0})).item<float>(), std::log(3.0f));
  CompiledFunction compiled = compile([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{cross_entropy(in[0], in[1], Reduction::none)};
  });
  const std::vector<float> losses = compiled({ones({3, 3}), tensor({3, -100, 2})})[0].to_vector<float>();
  EXPECT_TRUE(std::isnan(losses[0]));
  EXPECT_EQ(losses[1], 0);
  EXPECT_FLOAT_EQ(losses[2], std::log(3.0f));
  EXPECT_ERROR(a.backward(), "requires grad");
  EXPECT_ERROR(tensor({1}).set_requires_grad(), "floating");
  EXPECT_ERROR(Tensor().shape(), "undefined");
  EXPECT_ERROR(a.expand({4, 2, 3}).fill_(1), "expanded");
  EXPECT_ERROR(dropout(a, 1.5), "1.5");
  Tensor leaf = ones({2});
  leaf.set_requires_grad();
  EXPECT_ERROR(leaf.add_(1), "leaf");
  EXPECT_ERROR((leaf * 2.0).backward(), "not a single number");
}

TEST(Tensor, Printing) {
  std::ostringstream out;
  out << tensor({{1.5, -2.0}, {0.25, 100.0}}) << tensor({1, 20}) << tensor({true, false}) << scalar(3);
  EXPECT_EQ(out.str(),
            "tensor([[  1.5000,  -2.0000],\n        [  0.2500, 100.0000]])tensor([ 1, 20])tensor([ True, False])tensor(3.)");
  EXPECT_NE(zeros({2000}).to_string().find("..."), std::string::npos);
  EXPECT_NE(ones({1}, DType::bf16).to_string().find("dtype=bf16"), std::string::npos);
}

TEST(Random, KeyedBySeedStepSiteAndShard) {
  manual_seed(3);
  Tensor a = rand({100}), b = rand({100});
  EXPECT_NE(values(a), values(b));  // another ordinal
  manual_seed(3);
  EXPECT_EQ(values(rand({100})), values(a));
  advance_generator();
  Tensor next = rand({100});
  EXPECT_NE(values(next), values(a));
  manual_seed(3);
  {
    ShardScope shard(1);
    EXPECT_NE(values(rand({100})), values(a));
  }
  manual_seed(3);
  {
    RandomScope scope("layer");
    EXPECT_NE(values(rand({100})), values(a));
  }
  // A longer tensor begins with the same numbers: they are keyed by element.
  manual_seed(3);
  Floats longer = values(rand({150}));
  EXPECT_EQ(Floats(longer.begin(), longer.begin() + 100), values(a));
  Floats n = values(normal_init({20000}, 1.0, 2.0, 7, "w"));
  double mean = 0, square = 0;
  for (float v : n) mean += v / n.size(), square += v * v / n.size();
  EXPECT_NEAR(mean, 1.0, 0.06);
  EXPECT_NEAR(square - mean * mean, 4.0, 0.15);
}

TEST(Autocast, ProductsInLowPrecisionGradientsInFull) {
  Tensor x = randn({8, 16}), w = randn({4, 16});
  w.set_requires_grad();
  {
    Autocast scope(DType::bf16);
    EXPECT_EQ(linear(x, w).dtype(), DType::bf16);
    linear(x, w).to(DType::f32).sum().backward();
  }
  EXPECT_EQ(linear(x, w).dtype(), DType::f32);
  EXPECT_EQ(w.grad().dtype(), DType::f32);
}

TEST(Autograd, DetachedTensorsBecomeLeaves) {
  Tensor x = tensor({1.0, 2.0}).set_requires_grad();
  Tensor y = (x * 3.0).detach().set_requires_grad(), view = (x * 2.0).slice(0, 1, 2).detach().set_requires_grad();
  EXPECT_TRUE(y.is_leaf());
  (y * y).sum().backward();
  (view * 5.0).sum().backward();
  EXPECT_EQ(values(y.grad()), (Floats{6, 12}));
  EXPECT_EQ(values(view.grad()), (Floats{5}));
  EXPECT_FALSE(x.grad().defined());
}

}  // namespace
}  // namespace corten
