#include <limits>

#include "base/format.h"
#include "corten/amp.h"
#include "ir/value.h"
#include "nn/state.h"
#include "runtime/tensor_impl.h"
#include "runtime/tensor_ops.h"

namespace corten {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_scale(double scale) {
  if (!(scale > 0 && scale < kInfinity)) usage_error("[GradScaler] the scale {} is not a positive number", scale);
}
void check_growth(double factor) {
  if (!(factor > 1)) usage_error("[GradScaler] the growth factor {} must be above 1", factor);
}
void check_backoff(double factor) {
  if (!(factor > 0 && factor < 1)) usage_error("[GradScaler] the backoff factor {} must lie between 0 and 1", factor);
}
void check_interval(int64_t steps) {
  if (steps < 1) usage_error("[GradScaler] the growth interval {} must be at least 1", steps);
}

uint64_t current_trace() {
  const runtime::Trace* trace = runtime::Trace::active();
  return trace ? trace->graph.id() : 0;
}

/// A tensor that keeps today's value of `x`: values never change, so nothing is copied.
Tensor snapshot(const Tensor& x) { return runtime::wrap(runtime::value_of(x)); }

}  // namespace

GradScaler::GradScaler(GradScalerOptions options) : enabled_(options.enabled) {
  check_scale(options.init_scale);
  check_growth(options.growth_factor);
  check_backoff(options.backoff_factor);
  check_interval(options.growth_interval);
  scale_ = scalar(options.init_scale);
  growth_factor_ = scalar(options.growth_factor);
  backoff_factor_ = scalar(options.backoff_factor);
  growth_interval_ = scalar(static_cast<double>(options.growth_interval), DType::i64);
  growth_tracker_ = scalar(0, DType::i64);
  skipped_ = scalar(0, DType::i64);
  skipped_in_a_row_ = scalar(0, DType::i64);
}

Tensor GradScaler::scale(const Tensor& loss) const { return enabled_ ? loss * scale_ : loss; }

GradScaler::Stage* GradScaler::stage(const optim::Optimizer& optimizer) {
  const auto found = stages_.find(&optimizer);
  if (found == stages_.end()) return nullptr;
  if (found->second.trace == current_trace()) return &found->second;
  stages_.erase(found);  // of a recording that was given up
  return nullptr;
}

void GradScaler::unscale_(optim::Optimizer& optimizer) {
  if (!enabled_) return;
  if (const Stage* known = stage(optimizer))
    usage_error("[GradScaler] unscale_() after {} of the same optimizer: call update() in between", known->stepped ? "step()" : "unscale_()");
  const NoGradGuard no_grad;
  const Tensor inverse = 1.0 / scale_;
  std::vector<Tensor> gradients;
  const ir::StageScope made(ir::Stage::accumulate);  // whom the new ones belong to in reports of memory
  for (Tensor parameter : optimizer.parameters()) {
    const Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (gradient.dtype() == DType::f16)
      usage_error("[GradScaler] the gradient {} is f16: keep f32 parameters and compute in f16 by Autocast", nn::type_text(gradient));
    gradients.push_back(gradient * inverse);
    parameter.set_grad(gradients.back());
  }
  if (gradients.empty()) usage_error("[GradScaler] no parameter of the optimizer has a gradient: call backward() on scale(loss) first");
  // NaN compares false.
  stages_[&optimizer] = {current_trace(), logical_not(global_norm(gradients) < kInfinity), false};
}

void GradScaler::step(optim::Optimizer& optimizer) {
  if (!enabled_) return optimizer.step();
  if (!stage(optimizer)) unscale_(optimizer);
  Stage& now = *stage(optimizer);
  if (now.stepped) usage_error("[GradScaler] step() twice on one optimizer: call update() in between");
  const NoGradGuard no_grad;
  std::vector<std::pair<Tensor, Tensor>> kept;
  for (const Tensor& parameter : optimizer.parameters())
    if (parameter.grad().defined()) kept.emplace_back(parameter, snapshot(parameter));
  for (const auto& [name, tensor] : optimizer.state_dict())
    if (name != "lr") kept.emplace_back(tensor, snapshot(tensor));
  optimizer.step();
  for (auto& [tensor, before] : kept) tensor.copy_(where(now.found_inf, before, tensor));
  now.stepped = true;
}

Tensor GradScaler::found_inf(const optim::Optimizer& optimizer) const {
  const auto found = stages_.find(&optimizer);
  if (found == stages_.end() || found->second.trace != current_trace())
    usage_error("[GradScaler] the gradients of this optimizer were not unscaled since the last update()");
  return found->second.found_inf;
}

void GradScaler::update() {
  if (!enabled_) return;
  const NoGradGuard no_grad;
  Tensor skip;
  for (const auto& [optimizer, met] : stages_)
    if (met.trace == current_trace()) skip = skip.defined() ? logical_or(skip, met.found_inf) : met.found_inf;
  stages_.clear();
  if (!skip.defined()) usage_error("[GradScaler] update() without a step() or unscale_() since the last one");
  const Tensor good = growth_tracker_ + 1, full = good >= growth_interval_;
  const Tensor larger = scale_ * growth_factor_;
  const Tensor grown = where(logical_and(full, larger < kInfinity), larger, scale_);
  scale_.copy_(where(skip, scale_ * backoff_factor_, grown));
  growth_tracker_.copy_(where(logical_or(skip, full), zeros_like(good), good));
  skipped_.add_(skip.to(DType::i64));
  skipped_in_a_row_.copy_(where(skip, skipped_in_a_row_ + 1, zeros_like(good)));
}

void GradScaler::update(double new_scale) {
  check_scale(new_scale);
  stages_.clear();
  if (enabled_) scale_.fill_(new_scale);
}

double GradScaler::get_scale() const { return enabled_ ? scale_.item<double>() : 1.0; }
double GradScaler::get_growth_factor() const { return growth_factor_.item<double>(); }
double GradScaler::get_backoff_factor() const { return backoff_factor_.item<double>(); }
int64_t GradScaler::get_growth_interval() const { return growth_interval_.item<int64_t>(); }
int64_t GradScaler::get_skipped_steps() const { return skipped_.item<int64_t>(); }
int64_t GradScaler::get_skipped_in_a_row() const { return skipped_in_a_row_.item<int64_t>(); }
void GradScaler::set_growth_factor(double factor) {
  check_growth(factor);
  growth_factor_.fill_(factor);
}
void GradScaler::set_backoff_factor(double factor) {
  check_backoff(factor);
  backoff_factor_.fill_(factor);
}
void GradScaler::set_growth_interval(int64_t steps) {
  check_interval(steps);
  growth_interval_.fill_(static_cast<double>(steps));
}

StateDict GradScaler::state_dict() const {
  if (!enabled_) return {};
  return {{"scale", scale_},
          {"growth_factor", growth_factor_},
          {"backoff_factor", backoff_factor_},
          {"growth_interval", growth_interval_},
          {"_growth_tracker", growth_tracker_},
          {"_skipped_steps", skipped_},
          {"_skipped_in_a_row", skipped_in_a_row_}};
}

void GradScaler::load_state_dict(const StateDict& state) {
  const StateDict mine = state_dict();
  nn::check_states("GradScaler", "state", nn::compare_states(mine, state));
  nn::copy_state(mine, state);
}

}  // namespace corten
