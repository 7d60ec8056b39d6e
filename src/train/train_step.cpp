#include "train/train_step.h"

#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "base/json.h"
#include "corten/ops.h"
#include "corten/random.h"
#include "runtime/device_function.h"
#include "runtime/device_report.h"

namespace corten {
namespace {

/// A tensor over a buffer that lives as long as the step.
Tensor wrap(std::vector<int64_t>& values, Shape shape) {
  return from_memory(values.data(), std::move(shape), DType::i64, nullptr);
}

optim::AdamWOptions adamw_options(const OptimConfig& config) {
  return {.lr = config.lr, .betas = config.betas, .eps = config.eps};
}

/// Eager anomaly detection for a scope.
class AnomalyScope {
 public:
  explicit AnomalyScope(bool enabled) : enabled_(enabled) {
    if (enabled_) set_detect_anomaly(true);
  }
  ~AnomalyScope() {
    if (enabled_) set_detect_anomaly(false);
  }
  AnomalyScope(const AnomalyScope&) = delete;

 private:
  bool enabled_;
};

std::unique_ptr<LoraModel> make_lora(const Objective& objective, const StepSettings& settings) {
  if (!settings.lora) return nullptr;
  LoraConfig config = *settings.lora;
  if (!config.has_targets()) config.set_default_targets(objective.model_type);
  return std::make_unique<LoraModel>(*objective.model, config, settings.lora_seed);
}

std::vector<Tensor> tensors_of(const StateDict& state) {
  std::vector<Tensor> out;
  for (const auto& [name, tensor] : state) out.push_back(tensor);
  return out;
}

}  // namespace

Objective next_tokens(CausalLM& model) {
  const Json config = Json::parse(model.config_json(), "config.json");
  const auto loss = [&model](const Tensor& ids, const Tensor& targets) {
    return model.loss(ids, targets, Reduction::sum);
  };
  return {.model = &model,
          .model_type = config.at("model_type").as_string("model_type"),
          .loss = loss,
          .evaluation = [loss](const Tensor& ids,
                               const Tensor& targets) { return std::vector{loss(ids, targets)}; }};
}

struct TrainStep::Begun {
  runtime::DeviceFunction::Call call;  // on a device
  std::vector<Tensor> results;         // elsewhere
};

TrainStep::TrainStep(const Objective& objective, const StepSettings& settings)
    : objective_(objective),
      settings_(settings),
      lora_(make_lora(objective, settings)),
      trained_(lora_ ? lora_->trainable_parameters() : objective.model->named_parameters()),
      params_(tensors_of(trained_)),
      optimizer_(optim::weight_decay_groups(trained_, settings.optim.weight_decay),
                 adamw_options(settings.optim)),
      scaler_({.enabled = settings.dtype == DType::f16}) {
  if (settings.float8 && nn::convert_to_float8_training(*objective.model) == 0)
    usage_error("train.float8: the model has no linear layers whose sizes are multiples of 16");
  ids_.resize(static_cast<size_t>(settings.batch * settings.seq));
  targets_.resize(static_cast<size_t>(settings.batch * settings.targets_per_row()));
  eval_ids_.resize(static_cast<size_t>(eval_rows() * settings.seq));
  eval_targets_.resize(static_cast<size_t>(eval_rows() * settings.targets_per_row()));
  if (!settings.compile) return;
  compiled_step_ = std::make_unique<CompiledFunction>(
      compile([this](const std::vector<Tensor>& in) { return step(in); },
              {.memory_budget = settings.memory_budget}));
  compiled_eval_ = std::make_unique<CompiledFunction>(
      compile([this](const std::vector<Tensor>& in) { return evaluation(in); },
              {.memory_budget = settings.memory_budget}));
  if (settings.detect_anomaly) compiled_step_->detect_anomaly(true);
}

TrainStep::~TrainStep() = default;

std::vector<Tensor> TrainStep::step(const std::vector<Tensor>& in) {
  const Tensor &ids = in[0], &targets = in[1], &lr = in[2], &inverse_count = in[3];
  const int64_t rows = eval_rows();
  objective_.model->train();
  std::vector<Tensor> sums = for_shards(settings_.virtual_shards, [&](int64_t shard) {
    Tensor loss;
    {
      const Autocast autocast(settings_.dtype, settings_.dtype != DType::f32);
      loss = objective_.loss(ids.slice(0, shard * rows, (shard + 1) * rows),
                             targets.slice(0, shard * rows, (shard + 1) * rows)) *
             inverse_count;
    }
    std::vector<Tensor> results = grad({scaler_.scale(loss)}, params_);
    for (size_t i = 0; i < results.size(); ++i)
      if (!results[i].defined()) results[i] = zeros_like(params_[i]);
    results.insert(results.begin(), loss.detach());
    return results;
  });

  for (size_t i = 0; i < params_.size(); ++i) params_[i].set_grad(sums[i + 1]);
  scaler_.unscale_(optimizer_);
  const double limit = settings_.optim.clip_grad_norm;
  const Tensor norm =
      limit > 0 ? optim::clip_grad_norm_(params_, limit) : optim::grad_norm(params_);
  optimizer_.set_lr(lr);
  scaler_.step(optimizer_);
  optimizer_.zero_grad();
  if (!scaler_.is_enabled()) return {sums[0], norm};
  const Tensor used_scale = scaler_.scale_tensor().clone();
  scaler_.update();
  return {sums[0], norm, used_scale, scaler_.skipped_steps_tensor().clone(),
          scaler_.skipped_in_a_row_tensor().clone()};
}

std::vector<Tensor> TrainStep::evaluation(const std::vector<Tensor>& in) {
  const NoGradGuard no_grad;
  const Autocast autocast(settings_.dtype, settings_.dtype != DType::f32);
  objective_.model->eval();
  return objective_.evaluation(in[0], in[1]);
}

std::vector<Tensor> TrainStep::arguments(double lr) {
  const auto count = std::ssize(targets_) - std::ranges::count(targets_, kIgnoredTarget);
  return {wrap(ids_, {settings_.batch, settings_.seq}),
          wrap(targets_, {settings_.batch, settings_.targets_per_row()}), scalar(lr),
          scalar(1.0 / static_cast<double>(std::max<int64_t>(count, 1)))};
}

std::vector<Tensor> TrainStep::evaluation_arguments() {
  return {wrap(eval_ids_, {eval_rows(), settings_.seq}),
          wrap(eval_targets_, {eval_rows(), settings_.targets_per_row()})};
}

void TrainStep::use_device(std::unique_ptr<runtime::DeviceState> device) {
  if (!compiled_step_) usage_error("a device executes compiled steps only (train.compile = true)");
  if (settings_.detect_anomaly) usage_error("anomalies are looked for on the CPU only (--device cpu)");
  device_ = std::move(device);
  device_step_ = std::make_unique<runtime::DeviceFunction>(*compiled_step_, *device_);
  device_eval_ = std::make_unique<runtime::DeviceFunction>(*compiled_eval_, *device_);
}

void TrainStep::fetch() {
  if (device_) device_->fetch();
}

std::vector<Tensor> TrainStep::call(CompiledFunction* compiled, runtime::DeviceFunction* on_device,
                                    const Function& eager, const std::vector<Tensor>& in) {
  if (on_device) return (*on_device)(in);
  if (compiled) return (*compiled)(in);
  const AnomalyScope anomaly(settings_.detect_anomaly);
  return eager(in);
}

StepResult TrainStep::run(double lr) {
  begin(lr);
  return end();
}

void TrainStep::begin(double lr) {
  Begun begun;
  if (device_step_)
    begun.call = device_step_->begin(arguments(lr));
  else
    begun.results = call(
        compiled_step_.get(), nullptr,
        [this](const std::vector<Tensor>& in) { return step(in); }, arguments(lr));
  begun_.push_back(std::move(begun));
  if (planned_ || !settings_.compile) return;
  planned_ = true;
  info_ = compiled_step_->info();
  if (const cuda::DevicePlan* plan = device_plan()) info_ = runtime::device_info(info_, *plan);
}

StepResult TrainStep::end() {
  Begun begun = std::move(begun_.front());
  begun_.erase(begun_.begin());
  const std::vector<Tensor> out =
      device_step_ ? device_step_->end(begun.call) : std::move(begun.results);
  StepResult result;
  result.loss = out[0].item<float>();
  result.grad_norm = out[1].item<float>();
  if (settings_.dtype == DType::f16) {
    result.loss_scale = out[2].item<float>();
    result.skipped_steps = out[3].item<int64_t>();
    result.skipped_in_a_row = out[4].item<int64_t>();
    result.skipped = result.skipped_in_a_row > 0;
  }
  return result;
}

TrainStep::Evaluation TrainStep::evaluate(std::span<const int64_t> ids,
                                          std::span<const int64_t> targets) {
  std::copy(ids.begin(), ids.end(), eval_ids_.begin());
  std::copy(targets.begin(), targets.end(), eval_targets_.begin());
  const std::vector<Tensor> out =
      call(compiled_eval_.get(), device_eval_.get(),
           [this](const std::vector<Tensor>& in) { return evaluation(in); },
           evaluation_arguments());
  Evaluation result{out[0].item<double>(), {}};
  if (out.size() > 1) result.right = out[1].item<int64_t>();
  return result;
}

const ProgramInfo& TrainStep::plan() {
  if (!compiled_step_) usage_error("a step that runs op by op has no plan (train.compile = false)");
  info_ = compiled_step_->plan(arguments(settings_.optim.lr));
  planned_ = true;
  if (device_step_)
    device_step_->plan(arguments(settings_.optim.lr));
  else if (settings_.cuda)
    step_plan_ = runtime::plan_without_device(runtime::inspect(*compiled_step_), settings_.float8_cores);
  if (const cuda::DevicePlan* plan = device_plan()) info_ = runtime::device_info(info_, *plan);
  return info_;
}

const ProgramInfo& TrainStep::plan_evaluation() {
  if (!compiled_eval_) usage_error("a step that runs op by op has no plan (train.compile = false)");
  const std::vector<Tensor> in = evaluation_arguments();
  eval_info_ = compiled_eval_->plan(in);
  if (device_eval_)
    device_eval_->plan(in);
  else if (settings_.cuda)
    eval_plan_ = runtime::plan_without_device(runtime::inspect(*compiled_eval_), settings_.float8_cores);
  if (const cuda::DevicePlan* plan = device_evaluation())
    eval_info_ = runtime::device_info(eval_info_, *plan);
  return eval_info_;
}

const cuda::DevicePlan* TrainStep::device_plan() const {
  return device_step_ ? device_step_->device_plan() : step_plan_.get();
}
const cuda::DevicePlan* TrainStep::device_evaluation() const {
  return device_eval_ ? device_eval_->device_plan() : eval_plan_.get();
}
int64_t TrainStep::device_workspace_bytes() const {
  if (device_step_ && device_plan()) return device_step_->info().workspace_bytes;
  return step_plan_ ? cuda::kMaxWorkspace : 0;
}

uint64_t TrainStep::planned_bytes() const {
  if (!planned_) return 0;
  return static_cast<uint64_t>(info_.state_bytes + info_.argument_bytes + info_.output_bytes +
                               info_.arena_bytes + device_workspace_bytes());
}

uint64_t TrainStep::touched_bytes() const {
  if (!planned_) return 0;
  if (device_step_) return planned_bytes();  // one allocation each, made before the first step
  return static_cast<uint64_t>(info_.state_bytes + info_.argument_bytes + info_.output_bytes +
                               compiled_step_->touched_arena_bytes());
}

double TrainStep::compile_ms() const {
  if (!planned_) return 0;
  const ProgramInfo& info = compiled_step_->info();
  const double on_device = device_step_ ? device_step_->info().make_ms : 0;
  return info.trace_ms + info.passes_ms + info.compile_ms + on_device;
}

StateDict TrainStep::state() const {
  StateDict state;
  for (const auto& [name, tensor] : optimizer_.state_dict())
    state.emplace_back("optimizer." + name, tensor);
  const Generator& generator = default_generator();
  state.emplace_back("generator.seed", generator.seed);
  state.emplace_back("generator.step", generator.step);
  for (const auto& [name, tensor] : scaler_.state_dict())
    state.emplace_back("loss_scale." + name, tensor);
  return state;
}

optim::LrSchedule make_schedule(const OptimConfig& config, int64_t steps) {
  optim::LrSchedule schedule;
  using Kind = optim::LrSchedule::Kind;
  schedule.kind = config.schedule == "constant" ? Kind::constant
                  : config.schedule == "linear" ? Kind::linear
                  : config.schedule == "step"   ? Kind::step
                                                : Kind::cosine;
  schedule.lr = config.lr;
  schedule.min_lr = config.min_lr;
  schedule.warmup_steps = config.warmup_steps;
  schedule.decay_steps = config.decay_steps > 0 ? config.decay_steps : steps;
  if (config.step_size > 0) schedule.step_size = config.step_size;
  if (config.gamma > 0) schedule.gamma = config.gamma;
  return schedule;
}

}  // namespace corten
