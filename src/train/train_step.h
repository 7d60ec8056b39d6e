// One optimizer step of a model, and its evaluation: the functions that are compiled, or
// run op by op, with all their state.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "corten/amp.h"
#include "corten/compile.h"
#include "corten/lora.h"
#include "corten/models.h"
#include "corten/optim.h"
#include "train/config.h"

namespace corten::cuda {
class DevicePlan;
}
namespace corten::runtime {
class DeviceFunction;
class DeviceState;
}  // namespace corten::runtime

namespace corten {

struct StepSettings {
  int64_t batch = 0, seq = 0;  ///< sequences per step, tokens per sequence
  int64_t target_seq = 0;      ///< targets per sequence; 0: as many as tokens
  int64_t virtual_shards = 1;  ///< micro-batches of batch / virtual_shards sequences
  DType dtype = DType::f32;    ///< compute type; the model's weights are f32
  bool float8 = false;         ///< convert_to_float8_training() of the model
  bool compile = true;
  bool detect_anomaly = false;
  int64_t memory_budget = 0;  ///< bytes the compiled step may use; 0: no limit
  OptimConfig optim;
  /// Adapters, which alone are trained then; without targets those of the model's type.
  std::optional<LoraConfig> lora = {};
  int64_t lora_seed = 0;
  /// Plans are of programs for a CUDA device, which need not be here.
  bool cuda = false;
  bool float8_cores = true;  ///< whether that device multiplies 8-bit floats

  int64_t targets_per_row() const { return target_seq > 0 ? target_seq : seq; }
};

constexpr int64_t kIgnoredTarget = -100;  ///< of what is no target

/// What a model is trained to do. Both functions take a micro-batch: ids [rows, seq] and targets
/// [rows, targets_per_row], of which those of kIgnoredTarget do not count.
struct Objective {
  nn::Module* model = nullptr;
  std::string model_type;  ///< of its config.json
  /// Sum of the losses, in nats.
  std::function<Tensor(const Tensor& ids, const Tensor& targets)> loss;
  /// For evaluation: that sum and, where answers are right or wrong, the number of right ones.
  std::function<std::vector<Tensor>(const Tensor& ids, const Tensor& targets)> evaluation;
};
/// The cross entropy of next tokens. `model` must outlive it.
Objective next_tokens(CausalLM& model);

struct StepResult {
  float loss = 0;       ///< mean over the step's targets, nats
  float grad_norm = 0;  ///< before clipping
  /// f16: the scaled gradients overflowed, so that weights and moments are as they were.
  bool skipped = false;
  float loss_scale = 1;          ///< of this step
  int64_t skipped_steps = 0;     ///< so far
  int64_t skipped_in_a_row = 0;  ///< up to this step
};

/// AdamW on an objective.
///
/// The batch is cut into V virtual shards of whole sequences. Each one's loss is its sum over
/// targets times 1 / (targets of the step); losses and gradients of the shards are added by
/// for_shards().
///
/// f16 keeps gradients in range by a GradScaler with its default constants.
class TrainStep {
 public:
  /// The model must outlive this and hold f32 weights. Nothing is compiled yet.
  TrainStep(const Objective& objective, const StepSettings& settings);
  TrainStep(CausalLM& model, const StepSettings& settings)
      : TrainStep(next_tokens(model), settings) {}
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  /// Token ids [batch, seq] and targets [batch, targets_per_row] of a step, to be filled before
  /// run().
  std::span<int64_t> ids() { return ids_; }
  std::span<int64_t> targets() { return targets_; }
  StepResult run(double lr);
  /// The same in two parts. A device makes the step in between: ids() and targets() may be filled for
  /// the next one, and that may be begun too. Steps end in the order in which they began.
  void begin(double lr);
  StepResult end();
  /// Whether begin() returns before the step is made.
  bool overlaps() const { return device_step_ != nullptr; }

  /// Sequences in one call of evaluate().
  int64_t eval_rows() const noexcept { return settings_.batch / settings_.virtual_shards; }
  /// Of eval_rows() sequences; the loss is a sum. Changes no state.
  struct Evaluation {
    double loss = 0;  ///< sum, in nats
    std::optional<int64_t> right;
  };
  Evaluation evaluate(std::span<const int64_t> ids, std::span<const int64_t> targets);

  /// Compiles the step for its sizes and plans its memory, without running it: of the device's
  /// program, if there is one. Usage error if settings.compile is false.
  const ProgramInfo& plan();
  /// The same for evaluate().
  const ProgramInfo& plan_evaluation();
  const CompiledFunction& compiled_evaluation() const { return *compiled_eval_; }
  /// Of the compiled step, after its plan() or run().
  const CompiledFunction& compiled() const { return *compiled_step_; }
  const ProgramInfo& info() const { return info_; }
  /// The device's programs, after their plan() or run(); null on the CPU.
  const cuda::DevicePlan* device_plan() const;
  const cuda::DevicePlan* device_evaluation() const;
  /// Of the device's products: what they take, or may take if there is no device.
  int64_t device_workspace_bytes() const;
  /// Bytes of the step's program: state, arguments, results and everything in between; as planned,
  /// and as really touched so far. 0 if nothing was compiled.
  uint64_t planned_bytes() const;
  uint64_t touched_bytes() const;
  double compile_ms() const;

  /// Everything but the weights that the next step depends on: moments and step of the optimizer,
  /// random generator, loss scale. The tensors are those in use.
  StateDict state() const;
  /// What the optimizer changes, by name.
  const StateDict& trained() const { return trained_; }
  /// The adapters; null if there are none.
  LoraModel* lora() { return lora_.get(); }

  /// Steps and evaluations are executed by a device from now on, and their state stays there until it is fetched. Usage error
  /// if settings.compile is false.
  void use_device(std::unique_ptr<runtime::DeviceState> device);
  /// The step on the device; null without one.
  runtime::DeviceFunction* on_device() { return device_step_.get(); }
  /// Gives weights and state() the values that the device has. Nothing without a device.
  void fetch();

 private:
  std::vector<Tensor> step(const std::vector<Tensor>& in);
  std::vector<Tensor> evaluation(const std::vector<Tensor>& in);
  std::vector<Tensor> arguments(double lr);
  std::vector<Tensor> evaluation_arguments();
  struct Begun;  // a step that has not ended
  std::vector<Tensor> call(CompiledFunction* compiled, runtime::DeviceFunction* on_device, const Function& eager,
                           const std::vector<Tensor>& in);

  Objective objective_;
  StepSettings settings_;
  std::unique_ptr<LoraModel> lora_;
  StateDict trained_;
  std::vector<Tensor> params_;
  optim::AdamW optimizer_;
  GradScaler scaler_;  // enabled for f16
  std::vector<int64_t> ids_, targets_, eval_ids_, eval_targets_;
  std::unique_ptr<CompiledFunction> compiled_step_, compiled_eval_;
  std::unique_ptr<runtime::DeviceState> device_;
  std::unique_ptr<runtime::DeviceFunction> device_step_, device_eval_;
  std::unique_ptr<cuda::DevicePlan> step_plan_, eval_plan_;  // without a device
  ProgramInfo info_, eval_info_;
  std::vector<Begun> begun_;
  bool planned_ = false;
};

/// The schedule that a configuration describes, for a run of `steps` steps.
optim::LrSchedule make_schedule(const OptimConfig& config, int64_t steps);

}  // namespace corten
