// Modules: trees of parameters, buffers and submodules, as torch.nn.
//
//   struct Mlp : nn::Module {
//     nn::Linear up{64, 256}, down{256, 64};
//     Mlp() { register_module("up", up), register_module("down", down); }
//     Tensor forward(const Tensor& x) override { return down(gelu(up(x))); }
//   };
//   Mlp mlp;
//   mlp.initialize(/*seed=*/1);
//   Tensor y = mlp(x);
//
// Members are registered by reference, so modules are neither copied nor moved. Parameters get
// their values when names are known: by initialize(), or load_state_dict(). Calling a module that
// has no values yet is a Usage error.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/init.h"
#include "corten/ops.h"
#include "corten/quantize.h"
#include "corten/tensor.h"

namespace corten {

/// Tensors by name, in order.
using StateDict = std::vector<std::pair<std::string, Tensor>>;
/// The tensor called `name`, or nullptr.
const Tensor* find_tensor(const StateDict& state, std::string_view name);

}  // namespace corten

namespace corten::nn {

class Module {
 public:
  /// Called with the module and what goes into it; may replace the inputs.
  using PreHook = std::function<void(Module&, std::vector<Tensor>& inputs)>;
  /// Called with what went in and what came out; may replace the output.
  using Hook = std::function<void(Module&, const std::vector<Tensor>& inputs, Tensor& output)>;
  using NamedModules = std::vector<std::pair<std::string, Module*>>;

  Module() = default;
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// What the module computes, for modules of one operand; others declare their own operator() and
  /// call run().
  virtual Tensor forward(const Tensor& x);
  /// forward() with hooks; random numbers drawn in it are named by the module's path.
  Tensor operator()(const Tensor& x) {
    return run({x}, [this](const std::vector<Tensor>& in) { return forward(in[0]); });
  }

  /// The class's name without namespaces.
  virtual std::string type_name() const;
  /// What to_string() shows between the parentheses: "in=64, out=256".
  virtual std::string extra_repr() const { return {}; }
  /// The tree as PyTorch prints it.
  std::string to_string() const;

  // ---- The tree. Names of parts are joined by "."; the module itself is "".
  /// A parameter (module) that is registered at several places is listed once, under its first
  /// name.
  StateDict named_parameters(bool recurse = true) const;
  std::vector<Tensor> parameters(bool recurse = true) const;
  StateDict named_buffers(bool recurse = true) const;
  NamedModules named_modules();
  NamedModules children() const { return children_; }
  /// The submodule at a path. Usage error with a did-you-mean if there is none.
  Module& get_submodule(std::string_view path);
  /// Elements of all parameters.
  int64_t num_parameters() const;
  /// Calls f with every submodule, children first, and then with this module.
  void apply(const std::function<void(Module&)>& f);

  // ---- Modes
  /// Dropout is on in training, which is the initial mode.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }
  void requires_grad_(bool on);
  void zero_grad();
  /// Converts floating-point parameters and buffers, but for quantised weights. Members refer to new tensors afterwards:
  /// optimizers and compiled functions made before keep the old ones.
  void to(DType dtype);
  /// Moves parameters, buffers and gradients. The tensors stay the same, so that optimizers keep theirs; their own state is made
  /// where the parameters lie: move a module first. Compiled functions follow. Usage error for quantised weights.
  void to(const Device& device);
  void cuda(int index = 0) { to(Device(DeviceType::cuda, index)); }
  void cpu() { to(Device()); }

  // ---- Values
  /// Gives every parameter its initial values, a function of (seed, full name, element).
  void initialize(int64_t seed);
  /// Declares the present values as final, for code that writes them on its own.
  void mark_initialized();
  /// Parameters and persistent buffers (shared ones under each of their names). The tensors are
  /// those of the module.
  StateDict state_dict() const;
  struct LoadResult {
    std::vector<std::string> missing, unexpected;
  };
  /// Copies values into the module's tensors, converting dtypes. Usage error listing missing and
  /// unexpected names (unless not `strict`) and all differing shapes; then nothing was changed.
  LoadResult load_state_dict(const StateDict& state, bool strict = true);

  // ---- Hooks, called in the order of registration around operator(). The result serves to remove
  // the hook.
  int64_t register_forward_pre_hook(PreHook hook);
  int64_t register_forward_hook(Hook hook);
  void remove_hook(int64_t id);

 protected:
  /// Makes `member` an f32 parameter of `shape` that initialize() fills.
  void register_parameter(std::string name, Tensor& member, Shape shape,
                          init::Initializer initializer);
  /// The same for a tensor with values (or an undefined one: no parameter); initialize() leaves it
  /// alone.
  void register_parameter(std::string name, Tensor& member);
  /// A tensor that is state but no parameter; part of state_dict() if persistent.
  void register_buffer(std::string name, Tensor& member, Tensor value, bool persistent = true);
  /// `child` must live as long as this module or be a member of it. Usage error for a name that is
  /// taken or holds a ".".
  void register_module(std::string name, Module& child);

  /// Runs `body` as this module's forward: hooks and path as with operator().
  Tensor run(std::vector<Tensor> inputs,
             const std::function<Tensor(const std::vector<Tensor>&)>& body);

 private:
  struct Parameter {
    std::string name;
    Tensor* tensor;
    init::Initializer initializer;
    bool ready;
  };
  struct Buffer {
    std::string name;
    Tensor* tensor;
    bool persistent;
  };
  class Scope;

  void check_name(const std::string& name) const;
  std::string path_below(const Module* ancestor) const;
  /// Calls f(prefix, module) for the tree in order, this one first; a shared module under each of
  /// its names.
  void walk(const std::string& prefix,
            const std::function<void(const std::string&, const Module&)>& f) const;
  void collect_modules(const std::string& prefix, NamedModules& out);

  std::vector<Parameter> parameters_;
  std::vector<Buffer> buffers_;
  NamedModules children_;
  std::vector<std::pair<Module*, std::string>> parents_;
  std::vector<std::pair<int64_t, PreHook>> pre_hooks_;
  std::vector<std::pair<int64_t, Hook>> hooks_;
  int64_t next_hook_ = 0;
  bool training_ = true;
};

/// Modules with a matrix of weights that may be kept as int8 or int4 instead, for inference.
class Quantizable : public Module {
 public:
  /// Replaces `weight`, which is undefined from then on, by its quantised form: buffers "weight_packed" and "weight_scale"; or, not
  /// `keep_values`, by zeros, for load_state_dict() and quantize_from(). Usage error if it is quantised already.
  void quantize(const Quantization& how, bool keep_values = true);
  bool is_quantized() const { return quantized_.defined(); }
  const QuantizedTensor& quantized() const { return quantized_; }
  /// Of the float weight, quantised or not.
  Shape weight_shape() const;
  /// Quantises values of weight_shape(), row-major, into the buffers.
  void quantize_from(const void* data, DType dtype);
  Tensor weight;

 protected:
  /// `in_out`: the weight is [in, out].
  explicit Quantizable(bool in_out) : in_out_(in_out) {}
  /// Of the weight if it were not quantised: that of the module's other values.
  DType weight_dtype() const { return dtype_; }

 private:
  friend class Module;
  bool in_out_;
  DType dtype_ = DType::f32;
  QuantizedTensor quantized_;
};

/// y = x weight^T + bias. weight [out, in], bias [out]; both start as U(-1/sqrt(in), 1/sqrt(in)),
/// as torch.nn.Linear.
class Linear : public Quantizable {
 public:
  Linear(int64_t in, int64_t out, bool with_bias = true);
  Linear(int64_t in, int64_t out, bool with_bias, init::Initializer weight_init,
         init::Initializer bias_init = init::zeros());
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor bias;
  bool float8 = false;  ///< multiplies by float8_linear(): convert_to_float8_training(), corten/float8.h
};

/// y = x weight + bias with weight [in, out], as GPT-2 stores it; weight starts as N(0, 0.02^2),
/// bias as 0.
class Conv1D : public Quantizable {
 public:
  Conv1D(int64_t in, int64_t out, init::Initializer weight_init = init::normal(0, 0.02));
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor bias;
  bool float8 = false;  ///< as Linear's
};

/// Rows of weight [count, dim] by integer ids [...]: [..., dim]; weight starts as N(0, 1). Quantised to 8 bits only.
class Embedding : public Quantizable {
 public:
  Embedding(int64_t count, int64_t dim, init::Initializer weight_init = init::normal(0, 1));
  Tensor forward(const Tensor& ids) override;
  /// x weight^T: the logits of models whose head is tied to the embedding.
  Tensor project(const Tensor& x) const;
  std::string extra_repr() const override;
};

/// Over the last axis, of size `dim`; weight starts as 1, bias as 0.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(int64_t dim, double eps = 1e-5, bool with_bias = true);
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor weight, bias;

 private:
  double eps_;
};

/// Zhang and Sennrich (2019), over the last axis; weight starts as 1.
class RMSNorm : public Module {
 public:
  explicit RMSNorm(int64_t dim, double eps = 1e-6);
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;
  Tensor weight;

 private:
  double eps_;
};

/// Zeroes elements with probability p in training and scales the others by 1 / (1 - p).
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;
  std::string extra_repr() const override;

 private:
  double p_;
};

class ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return relu(x); }
};
class GELU : public Module {
 public:
  explicit GELU(bool tanh_approximation = false) : tanh_approximation_(tanh_approximation) {}
  Tensor forward(const Tensor& x) override { return gelu(x, tanh_approximation_); }
  std::string extra_repr() const override;

 private:
  bool tanh_approximation_;
};
class SiLU : public Module {
 public:
  Tensor forward(const Tensor& x) override { return silu(x); }
};
class Sigmoid : public Module {
 public:
  Tensor forward(const Tensor& x) override { return sigmoid(x); }
};
class Tanh : public Module {
 public:
  Tensor forward(const Tensor& x) override { return tanh(x); }
};
class Identity : public Module {
 public:
  Tensor forward(const Tensor& x) override { return x; }
};

/// Owned modules called "0", "1", ..., one after the other.
class Sequential : public Module {
 public:
  /// Constructs a module at the end.
  template <typename M, typename... Args>
  M& emplace(Args&&... args) {
    return static_cast<M&>(add(std::make_unique<M>(std::forward<Args>(args)...)));
  }
  Module& add(std::unique_ptr<Module> module);
  size_t size() const { return modules_.size(); }
  Module& operator[](size_t index) { return *modules_.at(index); }
  using Module::operator();
  Tensor forward(const Tensor& x) override;

 private:
  std::vector<std::unique_ptr<Module>> modules_;
};

/// Owned modules of one class called "0", "1", ...; the caller decides how they are used.
template <typename M>
class ModuleList : public Module {
 public:
  template <typename... Args>
  M& emplace(Args&&... args) {
    modules_.push_back(std::make_unique<M>(std::forward<Args>(args)...));
    register_module(std::to_string(modules_.size() - 1), *modules_.back());
    return *modules_.back();
  }
  /// The same for a module that was made elsewhere.
  M& add(std::unique_ptr<M> module) {
    modules_.push_back(std::move(module));
    register_module(std::to_string(modules_.size() - 1), *modules_.back());
    return *modules_.back();
  }
  size_t size() const { return modules_.size(); }
  M& operator[](size_t index) { return *modules_.at(index); }
  std::string type_name() const override { return "ModuleList"; }

 private:
  std::vector<std::unique_ptr<M>> modules_;
};

/// Makes linear layers (Linear, Conv1D) multiply by float8_linear(); returns how many. Those that `filter`
/// refuses, given the full name, and those whose sizes are no multiples of 16 stay as they are. Without a filter the heads named
/// "lm_head", "score" and "classifier" stay too. Parameters, their names and files do not change.
int64_t convert_to_float8_training(
    Module& model, const std::function<bool(const std::string& name, const Module&)>& filter = {});

}  // namespace corten::nn
