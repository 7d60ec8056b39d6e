#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "base/cpu.h"
#include "base/file.h"
#include "base/format.h"
#include "base/process.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "corten/random.h"
#include "cuda/load.h"
#include "models/model_folder.h"
#include "runtime/allocator.h"
#include "runtime/device_function.h"
#include "runtime/null_device.h"
#include "train/checkpoint.h"
#include "train/device_peak.h"
#include "train/examples.h"
#include "train/model_setup.h"
#include "train/result_json.h"
#include "train/run_data.h"
#include "train/run_folder.h"
#include "train/run_header.h"
#include "train/train_step.h"
#include "train/trained_model.h"

namespace corten {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kMemoryHint =
    "lower train.batch or data.seq, raise train.virtual_shards, or choose a smaller model";
constexpr double kSmallestScale = 1e-4;  // an f16 run that scales further down will not recover
constexpr int64_t kOverflowStorm = 20;   // skipped steps in a row that are worth a warning

/// One call of train().
class Trainer {
 public:
  Trainer(const ResolvedConfig& resolved, const TrainOptions& options,
          const TrainCallbacks& callbacks)
      : config_(resolved.config),
        options_(options),
        callbacks_(callbacks),
        run_(resolved.config.train.out),
        task_(task_of(resolved.config)) {}

  TrainResult execute();

 private:
  // ---- Setting up
  void check_device() const;
  RunDataCallbacks data_callbacks() const;
  TrainResult plan_only();
  /// Creates the run folder and everything in it, up to the model.
  void start();
  /// Opens the run folder; the result of a finished run.
  std::optional<TrainResult> open();
  void check_same_config() const;
  void check_header(const Json& header) const;
  void load_newest_checkpoint();
  void make_model(const std::string& config_json, const std::string& weights);
  void build(const std::string& config_json, const std::string& weights);
  /// The config.json of the model that the run begins with.
  std::string new_model_config();
  void make_step(bool compile);
  void check_memory();
  void open_datasets(const std::string& folder);
  int64_t total_steps() const;

  // ---- Running
  void loop();
  bool eval_due() const;
  bool save_due() const;
  /// Begins the next step, and ends the one before it if a device makes them.
  void take_step();
  /// Ends the step that has begun, if there is one, and reports it.
  void settle();
  /// Whether something is due behind this step that needs it to have ended.
  bool is_boundary(int64_t step) const;
  void report_step(const StepResult& step, double lr, double seconds);
  bool check_finite(const StepResult& step, double lr);
  /// False if it was abandoned because a stop was asked for.
  bool evaluate();
  void save();
  TrainResult finish();

  StopSignal stop_requested() const {
    return callbacks_.should_stop ? callbacks_.should_stop() : StopSignal::None;
  }
  void message(const std::string& text) const {
    if (callbacks_.on_message) callbacks_.on_message(text);
  }

  const Config& config_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  RunFolder run_;
  const Task task_;
  TrainResult result_;

  TokenizerInfo tokenizer_;
  std::string model_config_;
  std::vector<std::string> class_names_;  // of a classifier
  std::optional<TrainingData> data_;
  std::optional<TrainedModel> model_;
  std::unique_ptr<cuda::Device> device_;  // of train.device = "cuda"
  StepSettings settings_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<RunLock> lock_;
  std::unique_ptr<MetricsLog> metrics_;
  optim::LrSchedule schedule_;
  TrainState state_;
  int64_t steps_ = 0;        // of the whole run
  int64_t saved_step_ = -1;  // of the newest checkpoint
  uint64_t resident_before_model_ = 0;
  struct BegunStep {
    double lr = 0;
    int64_t tokens = 0;
    Clock::time_point start;
  };
  std::optional<BegunStep> begun_;  // a step that has not ended
  Clock::time_point last_end_;
  double seconds_per_step_ = 0;  // running mean
  int64_t skipped_steps_ = 0;
};

void Trainer::check_device() const {
  if (config_.train.device == "cuda" && !options_.plan_only && !options_.cuda_device)
    if (const std::string missing = cuda::missing_device(); !missing.empty())
      resource_error("train.device = \"cuda\": {}", missing);
}

RunDataCallbacks Trainer::data_callbacks() const {
  return {.message = callbacks_.on_message,
          .stop = [this] { return stop_requested() != StopSignal::None; }};
}

void Trainer::make_model(const std::string& config_json, const std::string& weights) {
  model_config_ = config_json;
  require_training_memory(config_json, config_);
  resident_before_model_ = resident_bytes();
  runtime::reset_peak_memory_stats();
  build(config_json, weights);
  if (data_ && data_->max_token >= model_->vocab_size())
    usage_error("the data holds token {}, but the model's vocabulary has {} entries",
                data_->max_token, model_->vocab_size());
  manual_seed(config_.train.seed);
}

void Trainer::build(const std::string& config_json, const std::string& weights) {
  std::vector<std::string> drawn;
  model_.emplace(task_, config_json, weights, config_.train.seed, drawn);
  if (!drawn.empty()) message(format("new weights: {}", fmt::join(drawn, ", ")));
  if (!drawn.empty() && task_ == Task::causal_lm && config_.lora.r > 0 &&
      std::ranges::find(config_.lora.target_modules, "lm_head") ==
          config_.lora.target_modules.end())
    usage_error(
        "{} holds no {}, and an adapter does not store a head that is drawn anew: add \"lm_head\" "
        "to lora.target_modules, or train without lora.r first",
        weights, fmt::join(drawn, ", "));
  if (config_.data.seq > model_->max_positions())
    usage_error("data.seq = {} exceeds the model's {} positions", config_.data.seq,
                model_->max_positions());
}

std::string Trainer::new_model_config() {
  return initial_model_config(config_, task_, tokenizer_, class_names_);
}

void Trainer::make_step(bool compile) {
  settings_ = step_settings(config_, task_);
  settings_.compile = compile;
  settings_.detect_anomaly = options_.detect_anomaly;
  step_ = std::make_unique<TrainStep>(model_->objective(), settings_);
  if (config_.train.device != "cuda" || options_.plan_only) return;
  if (options_.cuda_device) return step_->use_device(options_.cuda_device());
  if (!device_) device_ = cuda::open_device(0);
  step_->use_device(std::make_unique<runtime::DeviceState>(*device_));
}

void Trainer::check_memory() {
  const uint64_t budget = config_.train.memory_budget_bytes();
  if (!config_.train.compile) {
    if (budget > 0)
      usage_error("train.memory_budget needs train.compile = true: without it nothing is planned");
    return;
  }
  const ProgramInfo& info = step_->plan();
  const uint64_t planned = step_->planned_bytes();
  result_.planned_peak_bytes = planned;
  const std::string parts = format(
      "{} of weights and optimizer state, {} for gradients and activations, {} of batches "
      "and results",
      format_bytes(static_cast<uint64_t>(info.state_bytes)),
      format_bytes(static_cast<uint64_t>(info.arena_bytes)),
      format_bytes(static_cast<uint64_t>(info.argument_bytes + info.output_bytes)));
  if (budget > 0 && planned > budget)
    resource_error("the step needs at least {} ({} bytes: {}), but train.memory_budget is {} ({} bytes): {}",
                   format_bytes(planned), planned, parts, format_bytes(budget), budget,
                   kMemoryHint);
  message(format("the step needs {}: {}", format_bytes(planned), parts));
  if (step_->overlaps()) return;  // what it takes there was allocated with the plan
  // Weights and moments exist already, as far as they have been touched.
  const uint64_t resident = resident_bytes();
  const uint64_t present = resident - std::min(resident, resident_before_model_);
  require_memory(planned - std::min({planned, present, static_cast<uint64_t>(info.state_bytes)}),
                 "the training step", kMemoryHint);
}

int64_t Trainer::total_steps() const {
  if (config_.train.steps > 0) return config_.train.steps;
  const double sequences = config_.train.epochs * static_cast<double>(data_->train->size());
  return std::max<int64_t>(
      1, std::llround(std::ceil(sequences / static_cast<double>(config_.train.batch))));
}

void Trainer::open_datasets(const std::string& folder) {
  data_.emplace(open_examples(config_, task_, tokenizer_, class_names_, folder));
  steps_ = total_steps();
  schedule_ = make_schedule(config_.optim, steps_);
  const auto examples = static_cast<double>(data_->train->size());
  message(format("data: {} ({:.2f} epochs in {} steps), {} for validation", data_->summary,
                 static_cast<double>(steps_ * config_.train.batch) / examples, steps_,
                 data_->validation ? data_->validation->size() : 0));
}

TrainResult Trainer::plan_only() {
  tokenizer_ = make_tokenizer(config_, "", data_callbacks());
  class_names_ = read_class_names(config_, task_);
  // Types are enough, so that models are planned that do not fit this machine.
  const runtime::NullDeviceScope no_values;
  build(new_model_config(), "");
  make_step(true);
  const ProgramInfo& info = step_->plan();
  result_.planned_peak_bytes = step_->planned_bytes();
  int64_t parameter_bytes = 0;
  StateDict parameters = step_->trained();
  if (step_->lora())
    for (const auto& entry : model_->module().named_parameters())
      if (!find_tensor(parameters, entry.first)) parameters.push_back(entry);
  for (const auto& [name, parameter] : parameters)
    parameter_bytes += parameter.numel() * static_cast<int64_t>(size_of(parameter.dtype()));
  int64_t trained = 0;
  for (const auto& [name, parameter] : step_->trained()) trained += parameter.numel();
  const uint64_t budget = config_.train.memory_budget_bytes();
  result_.plan = Json::object(
      {{"peak_bytes", result_.planned_peak_bytes},
       {"owners", Json::object({{"parameters", parameter_bytes},
                                {"optimizer", info.state_bytes - parameter_bytes},
                                {"activations_and_gradients", info.arena_bytes},
                                {"workspace", step_->device_workspace_bytes()},
                                {"batches", info.argument_bytes},
                                {"results", info.output_bytes}})},
       {"arena_lower_bound", info.arena_lower_bound},
       {"parameters", model_->module().num_parameters()},
       {"trained_parameters", trained},
       {"flops_per_step", 3 * model_->forward_flops(config_.train.batch, settings_)},
       {"bytes_moved_per_step", info.bytes_moved},
       {"kernels", info.kernels},
       {"matrix_products", info.gemms},
       {"compile_ms", step_->compile_ms()},
       {"memory_budget", budget > 0 ? Json(budget) : Json()},
       {"fits", (budget == 0 || result_.planned_peak_bytes <= budget)}});
  return std::move(result_);
}

void Trainer::start() {
  RunSetup setup(run_);
  const RunFolder& staging = setup.staging();
  lock_ = std::make_unique<RunLock>(run_);
  tokenizer_ = make_tokenizer(config_, staging.tokenizer(), data_callbacks());
  class_names_ = read_class_names(config_, task_);
  const std::string model_config = new_model_config();
  if (task_ == Task::causal_lm)
    prepare_data(config_, tokenizer_, staging.data(), data_callbacks());
  open_datasets(staging.data());
  make_model(model_config, initial_weights(config_));
  make_step(config_.train.compile);
  check_memory();
  write_file_atomic(staging.config(), config_to_toml(config_, false));
  setup.commit(run_header_json(config_, {.tokenizer_hash = tokenizer_.hash,
                                         .train_fingerprint = data_->train_fingerprint,
                                         .validation_fingerprint = data_->validation_fingerprint,
                                         .model_config = model_config_,
                                         .parameters = model_->module().num_parameters(),
                                         .steps = steps_}));
  metrics_ = std::make_unique<MetricsLog>(run_.metrics(), 0);
}

void Trainer::check_same_config() const {
  ConfigInputs stored;
  stored.path = run_.config();
  const ResolvedConfig before = load_config(stored);
  std::string list;
  for (const auto& [key, was, is] : compare_configs(before.config, config_))
    list += format("{}{} was {}, is {}", list.empty() ? "" : "; ", key,
                   was.is_null() ? "not set" : was.dump(), is.is_null() ? "not set" : is.dump());
  if (!list.empty())
    usage_error(
        "the run in {} cannot be resumed with another configuration: {}; take these changes back, or "
        "start a new run from its weights: another train.out, and --set model.path={}",
        run_.root(), list, run_.model());
}

void Trainer::check_header(const Json& header) const {
  const Json& hashes = header.at("hashes");
  auto check = [&](const char* name, const char* what, const std::string& now) {
    if (const std::string& was = hashes.at(name).as_string(name); was != now)
      usage_error("{} of the run in {} changed: hash {} is now {}", what, run_.root(), was, now);
  };
  check("tokenizer", "the tokenizer", tokenizer_.hash);
  check("data", "the training data", data_->train_fingerprint);
  check("validation", "the validation data", data_->validation_fingerprint);
  const Json now = certificate_json(config_);
  if (header.at("certificate") != now)
    message(
        format("this run was made under the certificate {}, this machine gives {}: losses may "
               "differ in their last bits",
               header.at("certificate").dump(), now.dump()));
}

std::optional<TrainResult> Trainer::open() {
  lock_ = std::make_unique<RunLock>(run_);
  run_.clean_up();
  check_same_config();
  if (file_exists(run_.result())) {
    message(format("the run in {} is finished", run_.root()));
    TrainResult result =
        train_result_from_json(Json::parse(read_file(run_.result()), run_.result()), run_.result());
    result.run = run_.root();
    result.model_dir = run_.model();
    if (const std::vector<int64_t> steps = run_.checkpoint_steps(); !steps.empty())
      result.checkpoint = run_.checkpoint(steps.back());
    return result;
  }
  recover_folder(run_.model());
  const Json header = Json::parse(read_file(run_.header()), run_.header());
  tokenizer_ = open_tokenizer(run_.tokenizer());
  class_names_ = read_class_names(config_, task_);
  open_datasets(run_.data());
  check_header(header);
  load_newest_checkpoint();
  check_memory();
  metrics_ = std::make_unique<MetricsLog>(run_.metrics(), state_.step);
  return std::nullopt;
}

void Trainer::load_newest_checkpoint() {
  std::vector<int64_t> candidates = run_.checkpoint_steps();
  if (candidates.empty()) {
    message(format("the run in {} has no checkpoint: starting at step 0", run_.root()));
    make_model(new_model_config(), initial_weights(config_));
    make_step(config_.train.compile);
    return;
  }
  std::string fault;
  for (; !candidates.empty(); candidates.pop_back()) {
    const std::string folder = run_.checkpoint(candidates.back());
    try {
      verify_checkpoint(folder);
      break;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Usage) throw;
      if (fault.empty()) fault = error.what();
      message(format("checkpoint skipped: {}", error.what()));
    }
  }
  if (candidates.empty())
    usage_error("no checkpoint of the run in {} is whole: {}", run_.root(), fault);
  const std::string folder = run_.checkpoint(candidates.back());
  // A checkpoint of adapters holds nothing of the model that they are for.
  if (config_.lora.r > 0)
    make_model(new_model_config(), initial_weights(config_));
  else
    make_model(read_file(join_path(folder, "config.json"), 16 << 20), "");
  make_step(config_.train.compile);
  state_ = load_checkpoint(
      folder,
      [this](const std::string& from) {
        if (step_->lora())
          step_->lora()->load_weights(from);
        else
          model_->load_weights(from);
      },
      step_->state());
  saved_step_ = state_.step;
  result_.checkpoint = folder;
  message(format("resuming after step {} of {}", state_.step, steps_));
}

bool Trainer::eval_due() const {
  if (!data_->validation || state_.eval_step == state_.step) return false;
  if (state_.step == 0) return options_.eval_first;
  return state_.step == steps_ ||
         (config_.train.eval_every > 0 && state_.step % config_.train.eval_every == 0);
}

bool Trainer::save_due() const {
  if (state_.step == 0 || saved_step_ == state_.step) return false;
  return state_.step == steps_ ||
         (config_.train.save_every > 0 && state_.step % config_.train.save_every == 0) ||
         (config_.train.save_best && state_.best_step == state_.step);
}

void Trainer::save() {
  step_->fetch();
  result_.checkpoint =
      save_checkpoint(run_, state_, step_->state(), [this](const std::string& folder) {
        if (step_->lora())
          step_->lora()->save_pretrained(folder);
        else
          model_->save_pretrained(folder);
      });
  saved_step_ = state_.step;
  run_.prune_checkpoints(config_.train.keep_last, config_.train.save_best ? state_.best_step : -1);
}

bool Trainer::evaluate() {
  const Examples& data = *data_->validation;
  const int64_t rows = step_->eval_rows(), seq = config_.data.seq,
                per_row = settings_.targets_per_row();
  auto sequences = static_cast<int64_t>(data.size());
  if (config_.train.eval_batches > 0)
    sequences = std::min(sequences, config_.train.eval_batches * config_.train.batch);
  std::vector<int64_t> ids(static_cast<size_t>(rows * seq)),
      targets(static_cast<size_t>(rows * per_row));
  double sum = 0;
  int64_t count = 0;  // of targets
  std::optional<int64_t> right;
  for (int64_t first = 0; first < sequences; first += rows) {
    if (first > 0 && stop_requested() != StopSignal::None) return false;
    const int64_t last = std::min(first + rows, sequences);
    const int64_t used = (last - first) * seq, used_targets = (last - first) * per_row;
    data.fill(0, sequences, first, last, std::span(ids).first(static_cast<size_t>(used)),
              std::span(targets).first(static_cast<size_t>(used_targets)));
    std::fill(ids.begin() + used, ids.end(), 0);
    std::fill(targets.begin() + used_targets, targets.end(), kIgnoredTarget);
    count += std::ssize(targets) - std::ranges::count(targets, kIgnoredTarget);
    const TrainStep::Evaluation one = step_->evaluate(ids, targets);
    sum += one.loss;
    if (one.right) right = right.value_or(0) + *one.right;
  }
  EvalInfo info;
  info.step = state_.eval_step = state_.step;
  info.loss = sum / static_cast<double>(count);
  if (right) info.accuracy = static_cast<double>(*right) / static_cast<double>(sequences);
  state_.val_loss = info.loss;
  state_.val_accuracy = info.accuracy;
  info.best = !state_.best_val_loss || info.loss < *state_.best_val_loss;
  if (info.best) {
    state_.best_val_loss = info.loss;
    state_.best_step = state_.step;
  }
  Json line = Json::object({{"step", info.step}, {"val_loss", info.loss}, {"best", info.best}});
  if (info.accuracy) line.set("val_accuracy", *info.accuracy);
  metrics_->write(line);
  if (callbacks_.on_eval) callbacks_.on_eval(info);
  return true;
}

bool Trainer::check_finite(const StepResult& step, double lr) {
  const int64_t number = state_.step + 1;
  const char* hint = options_.detect_anomaly ? "" : "; --detect-anomaly names the first op";
  if (!std::isfinite(step.loss))
    result_.failure = format("the loss of step {} is {} (learning rate {}, gradient norm {}){}",
                             number, step.loss, lr, step.grad_norm, hint);
  else if (config_.train.dtype == DType::f16 && step.loss_scale < kSmallestScale)
    result_.failure = format(
        "the gradients of step {} still overflow f16 at the loss scale {} (loss {}, learning "
        "rate {}): lower optim.lr, or train in bf16",
        number, step.loss_scale, step.loss, lr);
  else if (!std::isfinite(step.grad_norm) && !step.skipped)
    result_.failure = format("the gradient norm of step {} is {} (loss {}, learning rate {}){}",
                             number, step.grad_norm, step.loss, lr, hint);
  return result_.failure.empty();
}

void Trainer::report_step(const StepResult& step, double lr, double seconds) {
  seconds_per_step_ = seconds_per_step_ == 0 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  StepInfo info;
  info.step = state_.step;
  info.steps = steps_;
  info.loss = step.loss;
  info.lr = lr;
  info.grad_norm = step.grad_norm;
  info.tokens_per_s = static_cast<double>(config_.train.batch * config_.data.seq) / seconds;
  const double flops = 3 * model_->forward_flops(config_.train.batch, settings_);
  if (auto peak = flops == 0 ? std::nullopt
                             : theoretical_peak_flops(cpu_info().model, config_.train.dtype,
                                                      default_thread_pool().num_threads()))
    info.mfu = flops / seconds / *peak;
  info.eta_s = seconds_per_step_ * static_cast<double>(steps_ - state_.step);
  if (state_.step % config_.train.log_every == 0 || state_.step == steps_) {
    Json line = Json::object({{"step", info.step},
                              {"loss", step.loss},
                              {"lr", info.lr},
                              {"grad_norm", step.grad_norm},
                              {"tokens", state_.tokens},
                              {"step_ms", seconds * 1e3},
                              {"tokens_per_s", info.tokens_per_s}});
    if (info.mfu) line.set("mfu", *info.mfu);
    if (config_.train.dtype == DType::f16)
      line.set("loss_scale", step.loss_scale)
          .set("skipped", step.skipped)
          .set("skipped_steps", step.skipped_steps);
    metrics_->write(line);
  }
  if (callbacks_.on_step) callbacks_.on_step(info);
  skipped_steps_ = step.skipped_steps;
  if (step.skipped_in_a_row == kOverflowStorm)
    message(
        format("{} steps in a row were skipped because gradients overflow f16, and the loss scale "
               "is down at {}: train in bf16, lower optim.lr, or look for the overflow with "
               "--detect-anomaly",
               kOverflowStorm, step.loss_scale));
}

bool Trainer::is_boundary(int64_t step) const {
  const auto divides = [&](int64_t every) { return every > 0 && step % every == 0; };
  return step == steps_ || divides(config_.train.eval_every) || divides(config_.train.save_every);
}

void Trainer::take_step() {
  // Those that have begun come before it.
  const int64_t index = state_.step + (begun_ ? 1 : 0);
  const Clock::time_point start = Clock::now();
  data_->train->fill(static_cast<uint64_t>(index), config_.train.batch, 0, config_.train.batch,
                     step_->ids(), step_->targets());
  const double lr = schedule_.at(index);
  try {
    step_->begin(lr);
  } catch (const Error& error) {
    if (!options_.detect_anomaly || error.kind() != ErrorKind::Usage) throw;
    result_.failure = format("step {}: {}", index + 1, error.what());
    return;
  }
  const auto count = [](std::span<const int64_t> ids) {
    return std::ranges::count_if(ids, [](int64_t id) { return id >= 0; });
  };
  const int64_t written = task_ == Task::seq2seq_lm ? count(step_->targets()) : 0;
  const BegunStep next{lr, count(step_->ids()) + written, start};
  settle();
  if (!result_.failure.empty()) return;
  begun_ = next;
  if (!step_->overlaps() || is_boundary(index + 1)) settle();
}

void Trainer::settle() {
  if (!begun_) return;
  const BegunStep begun = *std::exchange(begun_, {});
  const StepResult step = step_->end();
  // A step that was begun while another was made is as long as the time between their ends.
  const Clock::time_point now = Clock::now();
  const double seconds =
      std::chrono::duration<double>(now - std::max(begun.start, last_end_)).count();
  last_end_ = now;
  if (!check_finite(step, begun.lr)) return;
  state_.step += 1;
  state_.tokens += begun.tokens;
  state_.losses.push_back(step.loss);
  if (result_.first_step == 0) result_.first_step = state_.step;
  report_step(step, begun.lr, seconds);
}

void Trainer::loop() {
  while (result_.failure.empty()) {
    const StopSignal stop = stop_requested();
    if (stop != StopSignal::None) {
      settle();
      if (!result_.failure.empty()) return;
      if (saved_step_ != state_.step) save();
      result_.stopped = stop;
      return;
    }
    if (eval_due() && !evaluate()) continue;
    if (save_due()) save();
    if (state_.step == steps_) return;
    take_step();
  }
}

TrainResult Trainer::finish() {
  result_.run = run_.root();
  result_.steps = state_.step;
  result_.tokens = state_.tokens;
  result_.losses = state_.losses;
  result_.train_loss = state_.losses.empty() ? 0 : state_.losses.back();
  result_.val_loss = state_.val_loss;
  result_.val_accuracy = state_.val_accuracy;
  result_.digest = losses_digest(state_.losses);
  result_.contract = kContract;
  result_.planned_peak_bytes = step_->planned_bytes();
  result_.peak_bytes = step_->touched_bytes();
  if (!config_.train.compile)
    result_.peak_bytes = static_cast<uint64_t>(runtime::memory_stats().peak_allocated_bytes);
  result_.model_dir = result_.checkpoint;
  if (!result_.failure.empty() || result_.stopped != StopSignal::None) return std::move(result_);
  publish_model(run_, result_.checkpoint);
  result_.model_dir = run_.model();
  write_file_atomic(run_.result(), to_json(result_).dump(2) + "\n");
  if (skipped_steps_ > 0)
    message(format("{} of {} steps were skipped because gradients overflowed f16", skipped_steps_,
                   state_.step));
  if (config_.train.save_best && state_.best_step >= 0 && state_.best_step != state_.step)
    message(format("the lowest validation loss was {:.4f} after step {}: {}", *state_.best_val_loss,
                   state_.best_step, run_.checkpoint(state_.best_step)));
  return std::move(result_);
}

TrainResult Trainer::execute() {
  check_device();
  default_thread_pool().set_num_threads(static_cast<int>(config_.train.threads));
  if (options_.plan_only || config_.train.device == "null") return plan_only();
  try {
    if (options_.resume && run_.holds_run()) {
      if (std::optional<TrainResult> finished = open()) return std::move(*finished);
    } else {
      if (options_.resume)
        message(format("there is no run in {} yet: starting at step 0", run_.root()));
      start();
    }
  } catch (const SetupStopped&) {
    result_.run = run_.root();
    result_.stopped = stop_requested();
    return std::move(result_);
  }
  loop();
  return finish();
}

}  // namespace

TrainResult train(const ResolvedConfig& config, const TrainOptions& options,
                  const TrainCallbacks& callbacks) {
  return Trainer(config, options, callbacks).execute();
}

}  // namespace corten
