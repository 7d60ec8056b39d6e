// Automatic mixed precision: the loss scale of f16 training. The scope that computes in 16 bits is Autocast (corten/ops.h).
//
//   GradScaler scaler;
//   auto step = compile([&](const std::vector<Tensor>& in) {
//     Tensor loss;
//     {
//       Autocast autocast(DType::f16);
//       loss = cross_entropy(model(in[0]), in[1]);
//     }
//     scaler.scale(loss).backward();
//     scaler.unscale_(optimizer);  // only where something is to see the gradients, such as clipping
//     optim::clip_grad_norm_(model.parameters(), 1.0);
//     scaler.step(optimizer);      // changes nothing if a gradient overflowed
//     scaler.update();
//     optimizer.zero_grad();
//     return std::vector{loss};
//   });
//
// Nothing is read on the host: whether a step counts is a tensor, so that a scaler works the same eagerly and inside a
// compiled function, and no decision of its compiles anything.
#pragma once

#include <map>

#include "corten/optim.h"

namespace corten {

struct GradScalerOptions {
  double init_scale = 65536;
  double growth_factor = 2, backoff_factor = 0.5;
  int64_t growth_interval = 2000;  ///< steps without an overflow after which the scale grows
  bool enabled = true;             ///< false: every function passes through
};

/// A dynamic loss scale (Micikevicius et al., 2018), as torch.amp.GradScaler: losses are multiplied by the scale, so that
/// their gradients do not flush to zero in f16, and gradients divided by it before they are used. A step whose gradients
/// are not finite is skipped and the scale multiplied by backoff_factor; after growth_interval steps in a row that were not
/// it is multiplied by growth_factor.
class GradScaler {
 public:
  explicit GradScaler(GradScalerOptions options = {});

  /// loss * scale.
  Tensor scale(const Tensor& loss) const;
  /// Divides the gradients of the optimizer's parameters by the scale and notes whether all are finite (whether their
  /// norm is, in f32). Usage error if called twice between two update(), if no parameter has a gradient, and for f16
  /// gradients, which have no room for what the scale keeps.
  void unscale_(optim::Optimizer& optimizer);
  /// optimizer.step(), after unscale_() unless that was called. If a gradient is not finite, parameters, moments and the
  /// count of steps keep their values; the random generator advances all the same.
  void step(optim::Optimizer& optimizer);
  /// Ends the step: adapts the scale to what the optimizers met. Usage error if none was unscaled.
  void update();
  /// Sets the scale instead.
  void update(double new_scale);

  /// bool 0-d: did `optimizer` meet a gradient that is not finite? Between unscale_() and update().
  Tensor found_inf(const optim::Optimizer& optimizer) const;

  // The numbers. Reading one is a Usage error while a function is being compiled; the tensors may be read there. Setting
  // one takes effect at the next step, compiled or not.
  double get_scale() const;
  double get_growth_factor() const;
  double get_backoff_factor() const;
  int64_t get_growth_interval() const;
  void set_growth_factor(double factor);
  void set_backoff_factor(double factor);
  void set_growth_interval(int64_t steps);
  bool is_enabled() const { return enabled_; }
  /// Steps skipped so far, and in a row until now.
  int64_t get_skipped_steps() const;
  int64_t get_skipped_in_a_row() const;
  const Tensor& scale_tensor() const { return scale_; }                    ///< f32 0-d
  const Tensor& skipped_steps_tensor() const { return skipped_; }          ///< i64 0-d
  const Tensor& skipped_in_a_row_tensor() const { return skipped_in_a_row_; }  ///< i64 0-d

  /// "scale", "growth_factor", "backoff_factor" (f32 0-d), "growth_interval", "_growth_tracker" as PyTorch's, and
  /// "_skipped_steps", "_skipped_in_a_row" (i64 0-d). The tensors are those of the scaler. Empty if not enabled.
  StateDict state_dict() const;
  /// Usage error listing missing and unexpected names; then nothing was changed.
  void load_state_dict(const StateDict& state);

 private:
  struct Stage {
    uint64_t trace = 0;  // the recording that it belongs to; 0: eager
    Tensor found_inf;
    bool stepped = false;
  };
  Stage* stage(const optim::Optimizer& optimizer);

  bool enabled_;
  Tensor scale_, growth_factor_, backoff_factor_, growth_interval_, growth_tracker_, skipped_, skipped_in_a_row_;
  std::map<const optim::Optimizer*, Stage> stages_;  // optimizers unscaled since the last update()
};

}  // namespace corten
