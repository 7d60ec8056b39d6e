#include <gtest/gtest.h>

#include <memory>

#include "corten/corten.h"
#include "corten/nn.h"

namespace corten {
namespace {

using Names = std::vector<std::string>;

Names names(const StateDict& state) {
  Names out;
  for (const auto& [name, tensor] : state) out.push_back(name);
  return out;
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
void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

struct Mlp : nn::Module {
  nn::Linear up{3, 4}, down{4, 3};
  nn::Dropout dropout{0.5};
  Mlp() {
    register_module("up", up);
    register_module("down", down);
    register_module("dropout", dropout);
  }
  Tensor forward(const Tensor& x) override { return dropout(down(gelu(up(x)))); }
};

struct Net : nn::Module {
  nn::Embedding words{7, 3};
  nn::ModuleList<Mlp> layers;
  nn::LayerNorm norm{3};
  nn::Linear head{3, 7, false};
  Tensor counter, scratch;
  Net() {
    register_module("words", words);
    register_module("layers", layers);
    register_module("norm", norm);
    register_module("head", head);
    layers.emplace();
    layers.emplace();
    head.weight = words.weight;  // tied
    register_buffer("counter", counter, scalar(3, DType::i64));
    register_buffer("scratch", scratch, zeros({2}), /*persistent=*/false);
  }
  Tensor forward(const Tensor& ids) override {
    Tensor x = words(ids);
    for (size_t i = 0; i < layers.size(); ++i) x = x + layers[i](x);
    return head(norm(x));
  }
};

TEST(Module, NamesAreDottedAndSharedOnesListedOnce) {
  Net net;
  EXPECT_EQ(names(net.named_parameters()),
            (Names{"words.weight", "layers.0.up.weight", "layers.0.up.bias", "layers.0.down.weight",
                   "layers.0.down.bias", "layers.1.up.weight", "layers.1.up.bias",
                   "layers.1.down.weight", "layers.1.down.bias", "norm.weight", "norm.bias"}));
  EXPECT_TRUE(net.named_parameters(false).empty());
  EXPECT_EQ(names(net.named_buffers()), (Names{"counter", "scratch"}));
  // 7*3 words, 2 * (3*4 + 4 + 4*3 + 3) layers, 3 + 3 norm
  EXPECT_EQ(net.num_parameters(), 21 + 2 * 31 + 6);
  const Names state = names(net.state_dict());
  EXPECT_EQ(state.size(), 13u);  // the tied weight under both names, the persistent buffer
  EXPECT_NE(std::find(state.begin(), state.end(), "head.weight"), state.end());
  EXPECT_EQ(std::find(state.begin(), state.end(), "scratch"), state.end());
  Names modules;
  for (const auto& [name, module] : net.named_modules()) modules.push_back(name);
  EXPECT_EQ(modules, (Names{"", "words", "layers", "layers.0", "layers.0.up", "layers.0.down",
                            "layers.0.dropout", "layers.1", "layers.1.up", "layers.1.down",
                            "layers.1.dropout", "norm", "head"}));
  EXPECT_EQ(&net.get_submodule("layers.1.down"), &net.layers[1].down);
  EXPECT_EQ(&net.get_submodule(""), &net);
  expect_contains(usage_message([&] { net.get_submodule("layers.1.dwon"); }),
                  "did you mean \"down\"");
}

TEST(Module, AMemberRegisteredTwiceIsListedOnce) {
  struct Twice : nn::Module {
    nn::Linear a{2, 2};
    Twice() { register_module("a", a), register_module("b", a); }
  } twice;
  EXPECT_EQ(names(twice.named_parameters()), (Names{"a.weight", "a.bias"}));
  EXPECT_EQ(twice.state_dict().size(), 4u);
  EXPECT_EQ(twice.named_modules().size(), 2u);
}

TEST(Module, RefusesBadNames) {
  struct Bad : nn::Module {
    nn::ReLU a;
    explicit Bad(std::string name) { register_module("a", a), register_module(name, a); }
  };
  expect_contains(usage_message([] { Bad bad("a"); }), "taken");
  expect_contains(usage_message([] { Bad bad(""); }), "empty");
  expect_contains(usage_message([] { Bad bad("x.y"); }), "\".\"");
}

TEST(Module, PrintsAsATree) {
  Net net;
  EXPECT_EQ(net.to_string(),
            "Net(\n"
            "  (words): Embedding(7, 3)\n"
            "  (layers): ModuleList(\n"
            "    (0-1): 2 x Mlp(\n"
            "      (up): Linear(in=3, out=4, bias=true)\n"
            "      (down): Linear(in=4, out=3, bias=true)\n"
            "      (dropout): Dropout(p=0.5)\n"
            "    )\n"
            "  )\n"
            "  (norm): LayerNorm(3, eps=1e-05)\n"
            "  (head): Linear(in=3, out=7, bias=false)\n"
            ")");
}

TEST(Module, ModesReachEveryPart) {
  Net net;
  EXPECT_TRUE(net.layers[1].dropout.is_training());
  net.eval();
  for (const auto& [name, module] : net.named_modules()) EXPECT_FALSE(module->is_training());
  net.train();
  EXPECT_TRUE(net.layers[1].dropout.is_training());
  net.requires_grad_(false);
  for (const Tensor& p : net.parameters()) EXPECT_FALSE(p.requires_grad());
  net.requires_grad_(true);
  net.initialize(1);
  net(tensor({1, 2})).sum().backward();
  EXPECT_TRUE(net.words.weight.grad().defined());
  net.zero_grad();
  EXPECT_FALSE(net.words.weight.grad().defined());
  int visited = 0;
  Names order;
  net.apply([&](nn::Module& m) { ++visited, order.push_back(m.type_name()); });
  EXPECT_EQ(visited, 13);
  EXPECT_EQ(order.back(), "Net");
}

TEST(Module, NeedsValuesBeforeItRuns) {
  Net net;
  expect_contains(usage_message([&] { net(tensor({1, 2})); }), "\"words.weight\" of Embedding");
  net.initialize(1);
  net(tensor({1, 2}));
}

TEST(Module, LoadsAStateOrSaysWhatDiffers) {
  Net a, b;
  a.initialize(1);
  b.initialize(2);
  a.eval(), b.eval();
  const Tensor ids = tensor({1, 2, 6});
  EXPECT_NE(a(ids).to_vector<float>(), b(ids).to_vector<float>());
  b.load_state_dict(a.state_dict());
  EXPECT_EQ(a(ids).to_vector<float>(), b(ids).to_vector<float>());
  // Values were copied: the models stay apart.
  {
    NoGradGuard no_grad;
    a.words.weight.zero_();
  }
  EXPECT_NE(a(ids).to_vector<float>(), b(ids).to_vector<float>());

  StateDict state;
  for (auto& [name, tensor] : a.state_dict())
    if (name != "norm.bias" && name != "layers.1.up.weight") state.emplace_back(name, tensor);
  state.emplace_back("norm.extra", ones({1}));
  const std::vector<float> before = b(ids).to_vector<float>();
  const std::string text = usage_message([&] { b.load_state_dict(state); });
  expect_contains(text, "Net: missing: layers.1.up.weight, norm.bias; unexpected: norm.extra");
  EXPECT_EQ(b(ids).to_vector<float>(), before);
  const auto result = b.load_state_dict(state, /*strict=*/false);
  EXPECT_EQ(result.missing, (Names{"layers.1.up.weight", "norm.bias"}));
  EXPECT_EQ(result.unexpected, (Names{"norm.extra"}));
  EXPECT_NE(b(ids).to_vector<float>(), before);

  StateDict misshapen = a.state_dict();
  for (auto& [name, tensor] : misshapen)
    if (name == "norm.weight") tensor = ones({4});
  for (bool strict : {true, false})
    expect_contains(usage_message([&] { b.load_state_dict(misshapen, strict); }),
                    "different shapes: norm.weight is f32[3] here and f32[4] there");
}

TEST(Module, LoadConvertsTypes) {
  nn::Linear a(2, 2), b(2, 2);
  a.initialize(1);
  StateDict half;
  for (auto& [name, tensor] : a.state_dict()) half.emplace_back(name, tensor.to(DType::bf16));
  b.load_state_dict(half);
  EXPECT_EQ(b.weight.dtype(), DType::f32);
  EXPECT_EQ(b.weight.to_vector<float>(), a.weight.to(DType::bf16).to_vector<float>());
}

TEST(Module, ConvertsItsTensorsAndKeepsThemShared) {
  Net net;
  net.initialize(1);
  net.to(DType::bf16);
  EXPECT_EQ(net.words.weight.dtype(), DType::bf16);
  EXPECT_EQ(net.words.weight.impl(), net.head.weight.impl());
  EXPECT_EQ(net.counter.dtype(), DType::i64);
  EXPECT_TRUE(net.words.weight.requires_grad());
  EXPECT_EQ(net(tensor({1, 2})).dtype(), DType::bf16);
  expect_contains(usage_message([&] { net.to(DType::i64); }), "i64");
}

TEST(Module, HooksSeeAndReplace) {
  nn::Linear linear(2, 2);
  linear.initialize(3);
  const Tensor x = tensor({1.0, 2.0});
  const std::vector<float> plain = linear(x).to_vector<float>();
  Names order;
  const int64_t pre =
      linear.register_forward_pre_hook([&](nn::Module& m, std::vector<Tensor>& inputs) {
        order.push_back("pre " + m.type_name());
        inputs[0] = inputs[0] * 2.0;
      });
  const int64_t post = linear.register_forward_hook(
      [&](nn::Module&, const std::vector<Tensor>& inputs, Tensor& output) {
        order.push_back("post");
        EXPECT_EQ(inputs[0].to_vector<float>(), (std::vector<float>{2, 4}));
        output = output + 1.0;
      });
  const std::vector<float> hooked = linear(x).to_vector<float>();
  EXPECT_EQ(order, (Names{"pre Linear", "post"}));
  linear.remove_hook(pre);
  linear.remove_hook(post);
  EXPECT_EQ(linear(x).to_vector<float>(), plain);
  EXPECT_EQ(order.size(), 2u);
  EXPECT_EQ(hooked, (linear(x * 2.0) + 1.0).to_vector<float>());
}

TEST(Module, NoForwardIsAnError) {
  nn::ModuleList<nn::Linear> list;
  expect_contains(usage_message([&] { list(ones({1})); }), "ModuleList has no forward()");
}

TEST(Module, PartsMayBeDestroyedInAnyOrder) {
  struct Holder : nn::Module {
    explicit Holder(nn::Module& child) { register_module("child", child); }
  };
  auto child = std::make_unique<nn::Linear>(2, 2);
  auto first = std::make_unique<Holder>(*child), second = std::make_unique<Holder>(*child);
  first.reset();
  EXPECT_EQ(second->named_parameters().size(), 2u);
  child.reset();
  EXPECT_TRUE(second->named_parameters().empty());
}

// ---- Random numbers are named by the module's path.

std::vector<float> mask(nn::Module& module) {
  manual_seed(4);
  return module(ones({64})).to_vector<float>();
}

TEST(RandomPath, DiffersBetweenModulesAndNotBetweenRuns) {
  struct Two : nn::Module {
    nn::ModuleList<nn::Dropout> list;
    bool second = false;
    Two() { register_module("list", list), list.emplace(0.5), list.emplace(0.5); }
    Tensor forward(const Tensor& x) override { return list[second](x); }
  } two;
  const auto first = mask(two);
  EXPECT_EQ(mask(two), first);
  two.second = true;
  EXPECT_NE(mask(two), first);
  // The path counts, with containers that are never called, and the scopes of callers.
  two.second = false;
  manual_seed(4);
  {
    RandomScope scope("list.0");
    EXPECT_EQ(dropout(ones({64}), 0.5).to_vector<float>(), first);
  }
  manual_seed(4);
  EXPECT_EQ(two.list[0](ones({64})).to_vector<float>(), first);
  two.eval();
  EXPECT_EQ(mask(two), std::vector<float>(64, 1));
}

TEST(RandomPath, AfterAnErrorTheNextCallIsUnharmed) {
  struct Throws : nn::Module {
    nn::Dropout drop{0.5};
    bool fail = false;
    Throws() { register_module("drop", drop); }
    Tensor forward(const Tensor& x) override {
      if (fail) throw Error(ErrorKind::Usage, "on purpose");
      return drop(x);
    }
  } module;
  const auto first = mask(module);
  module.fail = true;
  EXPECT_THROW(module(ones({64})), Error);
  module.fail = false;
  EXPECT_EQ(mask(module), first);
}

}  // namespace
}  // namespace corten
