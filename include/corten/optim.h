// Optimizers, gradient clipping and learning-rate schedules.
//
//   optim::AdamW optimizer(optim::weight_decay_groups(model, 0.1), {.lr = 3e-4});
//   loss.backward();
//   optim::clip_grad_norm_(model.parameters(), 1.0);
//   optimizer.step();
//   optimizer.zero_grad();
//
// Learning rate, step number and moments are tensors made by the constructor, so that compiled
// training steps read and write them as state and a new learning rate compiles nothing.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "corten/nn.h"
#include "corten/tensor.h"

namespace corten::optim {

/// Parameters with settings of their own.
struct ParamGroup {
  StateDict params = {};  ///< by name; the names become those of the optimizer's state
  double weight_decay = 0;
  double lr_scale = 1;  ///< the group's learning rate is lr * lr_scale
};
/// Two groups of the parameters that require grad: those with two axes and more decay, biases and
/// norms (fewer axes) do not, as GPT-3 and nanoGPT do it.
std::vector<ParamGroup> weight_decay_groups(const nn::Module& module, double weight_decay);
/// The same of parameters by name.
std::vector<ParamGroup> weight_decay_groups(const StateDict& params, double weight_decay);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient, and ends the step of the random generator
  /// (advance_generator()).
  void step();
  /// Gradients of all parameters become undefined.
  void zero_grad();
  /// Takes effect at the next step(). Inside a compiled function use the tensor form.
  void set_lr(double lr);
  /// f32 0-d, such as an argument of a compiled function.
  void set_lr(const Tensor& lr);
  double lr() const;            ///< Usage error while a function is being compiled
  int64_t steps_taken() const;  ///< Usage error while a function is being compiled
  std::vector<Tensor> parameters() const;
  const std::vector<ParamGroup>& groups() const { return groups_; }

  /// "step" (i64 0-d), "lr" (f32 0-d) and each moment as "<moment>.<parameter>". The tensors are
  /// those of the optimizer.
  StateDict state_dict() const;
  /// Copies values in. Usage error listing missing and unexpected names and differing shapes; then
  /// nothing was changed.
  void load_state_dict(const StateDict& state);

 protected:
  Optimizer(std::vector<ParamGroup> groups, double lr);
  /// One zero tensor like each parameter (f32 for 16-bit ones), listed in state_dict() as
  /// "<name>.<parameter>".
  std::vector<Tensor> make_moments(const std::string& name);
  /// Updates parameter `index` (counted over all groups); lr is the group's, `step` counts from 1.
  virtual void update(size_t index, Tensor& parameter, const Tensor& gradient, const Tensor& lr,
                      const Tensor& step, double weight_decay) = 0;

 private:
  std::vector<ParamGroup> groups_;
  Tensor lr_, step_;
  StateDict moments_;
};

struct AdamWOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;  ///< where no groups are given
};
/// Loshchilov and Hutter (2019), as torch.optim.AdamW: with g the gradient and t the step from 1,
///   p <- p (1 - lr wd);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
///   p <- p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
class AdamW : public Optimizer {
 public:
  explicit AdamW(const nn::Module& module, AdamWOptions options = {});
  explicit AdamW(const std::vector<Tensor>& params, AdamWOptions options = {});
  explicit AdamW(std::vector<ParamGroup> groups, AdamWOptions options = {});

 protected:
  void update(size_t index, Tensor& parameter, const Tensor& gradient, const Tensor& lr,
              const Tensor& step, double weight_decay) override;

 private:
  AdamWOptions options_;
  std::vector<Tensor> exp_avg_, exp_avg_sq_;
};

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0, dampening = 0;
  double weight_decay = 0;  ///< where no groups are given
  bool nesterov = false;    ///< needs momentum and no dampening
};
/// As torch.optim.SGD: g <- g + wd p; b <- momentum b + (1 - dampening) g (b = g at the first
/// step); p <- p - lr b, or p - lr (g + momentum b) with Nesterov's momentum.
class SGD : public Optimizer {
 public:
  explicit SGD(const nn::Module& module, SGDOptions options = {});
  explicit SGD(const std::vector<Tensor>& params, SGDOptions options = {});
  explicit SGD(std::vector<ParamGroup> groups, SGDOptions options = {});

 protected:
  void update(size_t index, Tensor& parameter, const Tensor& gradient, const Tensor& lr,
              const Tensor& step, double weight_decay) override;

 private:
  SGDOptions options_;
  std::vector<Tensor> momentum_buffer_;
};

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm (the result, f32 0-d) is
/// that of all gradients together. Nothing is read on the host. Parameters without gradient are
/// skipped.
Tensor clip_grad_norm_(const std::vector<Tensor>& params, double max_norm);
/// The norm alone.
Tensor grad_norm(const std::vector<Tensor>& params);

/// A learning rate as a pure function of the number of steps taken before (0 at the first step).
///
/// During the first W = warmup_steps steps every kind gives lr (s + 1) / (W + 1) (nanoGPT). After
/// that, with x = (s - W) / (decay_steps - W) limited to at most 1:
///   constant  lr
///   linear    min_lr + (lr - min_lr) (1 - x)
///   cosine    min_lr + (lr - min_lr) (1 + cos(pi x)) / 2       (nanoGPT; torch CosineAnnealingLR
///   for W = 0) step      max(min_lr, lr gamma^floor((s - W) / step_size))  (torch StepLR for W =
///   0, min_lr = 0)
struct LrSchedule {
  enum class Kind { constant, linear, cosine, step };
  Kind kind = Kind::constant;
  double lr = 1e-3, min_lr = 0;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;  ///< linear, cosine: the step from which on the rate is min_lr
  int64_t step_size = 1;    ///< step
  double gamma = 0.1;       ///< step

  double at(int64_t step) const;
};

}  // namespace corten::optim
