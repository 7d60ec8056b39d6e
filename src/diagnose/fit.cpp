#include "diagnose/fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/format.h"
#include "base/strings.h"

namespace corten {
namespace {

/// Tries settings and keeps what came out.
class Search {
 public:
  Search(const StepPlan& plan, const FitRequest& request) : plan_(plan), request_(request) {}

  std::vector<WayToFit> run() {
    smaller_batch();
    const int64_t shards = more_shards(request_.settings, "more virtual shards", request_.machine);
    if (request_.settings.dtype == DType::f32) {
      StepSettings half = request_.settings;
      half.dtype = DType::bf16;
      const Machine machine = request_.machine_for ? request_.machine_for(DType::bf16) : request_.machine;
      add("bf16 compute", "train.dtype=bf16", half, machine, "other bits than f32; weights and moments stay f32");
      if (shards > request_.settings.virtual_shards) more_shards(half, "bf16 and more virtual shards", machine, "train.dtype=bf16");
    }
    rematerialise();
    not_yet();
    std::stable_sort(ways_.begin(), ways_.end(), [](const WayToFit& a, const WayToFit& b) {
      if (a.available != b.available) return a.available;
      if (a.fits != b.fits) return a.fits;
      return a.step_seconds.value_or(1e300) < b.step_seconds.value_or(1e300);
    });
    return std::move(ways_);
  }

 private:
  bool fits(int64_t bytes) const { return static_cast<double>(bytes) <= request_.limit_bytes; }
  /// Plans, each once.
  const StepPlan& planned(const StepSettings& settings) {
    const auto key = std::tuple(settings.batch, settings.virtual_shards, settings.dtype, settings.memory_budget);
    if (auto found = plans_.find(key); found != plans_.end()) return found->second;
    if (request_.message)
      request_.message(format("planning batch {}, {} virtual shards, {}", settings.batch, settings.virtual_shards, name(settings.dtype)));
    return plans_.emplace(key, plan_step(request_.model_config, settings, request_.task)).first->second;
  }
  void add(std::string name, std::string set, const StepPlan& plan, const Machine& machine, std::string cost) {
    ways_.push_back({std::move(name), std::move(set), true, fits(plan.peak_bytes), plan.peak_bytes, plan.predicted_seconds(machine), std::move(cost)});
  }
  void add(std::string name, std::string set, const StepSettings& settings, const Machine& machine, std::string cost) {
    add(std::move(name), std::move(set), planned(settings), machine, std::move(cost));
  }

  /// The largest batch that fits. Bytes grow linearly with the batch but for what the planner makes of it, so two plans show
  /// where to look and further ones make sure.
  void smaller_batch() {
    const int64_t unit = request_.settings.virtual_shards, now = request_.settings.batch;
    if (now <= unit) return;
    StepSettings settings = request_.settings;
    auto at = [&](int64_t batch) -> const StepPlan& {
      settings.batch = batch;
      return planned(settings);
    };
    auto report = [&](int64_t batch, const StepPlan& plan) {
      add("smaller batch", format("train.batch={}", batch), plan, request_.machine,
          format("{} instead of {} sequences per optimizer step", batch, now));
    };
    const StepPlan& smallest = at(unit);
    const double slope = static_cast<double>(plan_.peak_bytes - smallest.peak_bytes) / static_cast<double>(now - unit);
    bytes_per_sequence_ = slope * static_cast<double>(unit);  // only one shard's sequences are alive at a time
    if (!fits(smallest.peak_bytes)) return report(unit, smallest);
    const double room = request_.limit_bytes - static_cast<double>(smallest.peak_bytes);
    int64_t batch = slope > 0 ? unit + static_cast<int64_t>(room / slope) : now - unit;
    batch = std::clamp(batch / unit * unit, unit, now - unit);
    int64_t step = unit;  // of the way back when the line promised too much
    for (; batch > unit; batch -= std::min(step, batch - unit), step *= 2)
      if (fits(at(batch).peak_bytes)) break;
    while (batch + unit < now && fits(at(batch + unit).peak_bytes)) batch += unit;  // or too little
    report(batch, at(batch));
  }

  /// The fewest virtual shards that fit. Plans of many shards are large, so that the next count is planned only if what the
  /// arena loses per sequence promises that one fits. Returns how many were chosen.
  int64_t more_shards(StepSettings settings, const std::string& name, const Machine& machine, const std::string& also = "") {
    const int64_t batch = settings.batch, now = settings.virtual_shards;
    std::vector<int64_t> counts;
    for (int64_t v = now + 1; v <= batch; ++v)
      if (batch % v == 0 && v <= std::max<int64_t>(kMostShards, now)) counts.push_back(v);
    if (counts.empty()) return now;
    auto plan_with = [&](int64_t shards) -> const StepPlan& {
      settings.virtual_shards = shards;
      return planned(settings);
    };
    auto report = [&](int64_t shards, const StepPlan& plan, std::string more = "") {
      add(name, format("{}{}train.virtual_shards={}", also, also.empty() ? "" : " ", shards), plan, machine,
          format("{} micro-batches of {}; the same batch, other bits{}", shards, batch / shards, more));
      return shards;
    };
    const StepPlan& fewest = plan_with(counts[0]);
    if (fits(fewest.peak_bytes)) return report(counts[0], fewest);
    // What a micro-batch of one sequence less saves: activations and temporaries, as far as they are not weights.
    const double rows = static_cast<double>(batch / counts[0]);
    const double per_row = bytes_per_sequence_ > 0 ? bytes_per_sequence_ : static_cast<double>(fewest.owners[Owner::activation]) / rows;
    for (size_t i = 1; i < counts.size(); ++i) {
      const double promise = static_cast<double>(fewest.peak_bytes) - per_row * (rows - static_cast<double>(batch / counts[i]));
      if (promise * 0.97 > request_.limit_bytes) continue;
      if (const StepPlan& plan = plan_with(counts[i]); fits(plan.peak_bytes)) return report(counts[i], plan);
    }
    return report(counts[0], fewest, counts.size() > 1 ? "; more of them do not fit either" : "");
  }

  /// Activations only: weights, gradients and moments are no smaller for it.
  void rematerialise() {
    StepSettings settings = request_.settings;
    settings.memory_budget = static_cast<int64_t>(request_.limit_bytes);
    const StepPlan& plan = planned(settings);
    if (plan.peak_bytes >= plan_.peak_bytes) return;
    add("rematerialisation", format("train.memory_budget={}", std::max(plan.peak_bytes, settings.memory_budget)), plan, request_.machine,
        format("the same bits; {} values are computed again, {:.0f} % more FLOPs; activations only, states stay", plan.info.recomputed,
               100 * plan.info.recomputed_flops / std::max(plan.info.flops, 1.0)));
  }

  void not_yet() {
    const double seconds = plan_.predicted_seconds(request_.machine);
    using Parts = std::array<double, runtime::kOwners>;
    auto part = [](std::initializer_list<std::pair<Owner, double>> changes) {
      Parts parts;
      parts.fill(1);
      for (auto [owner, value] : changes) parts[static_cast<size_t>(owner)] = value;
      return parts;
    };
    auto computed_from = [&](const StepPlan& plan, std::string name, const Parts& parts, std::optional<double> time, std::string cost) {
      const int64_t bytes = plan.peak_with(parts);
      ways_.push_back({std::move(name), "", false, fits(bytes), bytes, time, std::move(cost)});
    };
    auto computed = [&](std::string name, const Parts& parts, std::optional<double> time, std::string cost) {
      computed_from(plan_, std::move(name), parts, time, std::move(cost));
    };
    // One byte for each moment of four, and a float32 scale for every block of 256 (Dettmers et al., 2022).
    computed("8-bit optimizer", part({{Owner::optimizer, (1 + 4 / 256.0) / 4}}), seconds,
             "moments of 8 bits: other losses, close to those of float32");
    computed("offload of the optimizer", part({{Owner::optimizer, 0}}), std::nullopt,
             format("{} over the bus per step", format_bytes(static_cast<uint64_t>(2 * plan_.most[Owner::optimizer]))));
    // Rajbhandari et al., 2020, section 7: volumes in units of the gradients.
    // Each rank has its part of the batch, and at least one sequence.
    StepSettings part_of_batch = request_.settings;
    part_of_batch.batch = std::max<int64_t>(1, request_.settings.batch / request_.ranks);
    part_of_batch.virtual_shards = std::max<int64_t>(1, request_.settings.virtual_shards / request_.ranks);
    if (part_of_batch.batch % part_of_batch.virtual_shards != 0) part_of_batch.virtual_shards = 1;
    const StepPlan& rank = planned(part_of_batch);
    const double n = static_cast<double>(request_.ranks), gradients = 4 * static_cast<double>(plan_.parameters);
    auto sharded = [&](std::string_view name, const Parts& parts, double volume) {
      computed_from(rank, format("{} over {} ranks", name, request_.ranks), parts, std::nullopt,
               format("{} sequences on each; {} sent by each rank per step", part_of_batch.batch, format_bytes(static_cast<uint64_t>(volume * gradients * (n - 1) / n))));
    };
    sharded("ZeRO-1 (optimizer)", part({{Owner::optimizer, 1 / n}}), 2);
    sharded("ZeRO-2 (and gradients)", part({{Owner::optimizer, 1 / n}, {Owner::gradient, 1 / n}}), 2);
    sharded("ZeRO-3, FSDP (and parameters)", part({{Owner::optimizer, 1 / n}, {Owner::gradient, 1 / n}, {Owner::parameter, 1 / n}}), 3);
  }

  static constexpr int64_t kMostShards = 64;  // beyond it graphs grow and memory hardly falls
  const StepPlan& plan_;
  const FitRequest& request_;
  std::map<std::tuple<int64_t, int64_t, DType, int64_t>, StepPlan> plans_;
  double bytes_per_sequence_ = 0;  // of a batch without virtual shards
  std::vector<WayToFit> ways_;
};

}  // namespace

std::vector<WayToFit> ways_to_fit(const StepPlan& plan, const FitRequest& request) { return Search(plan, request).run(); }

}  // namespace corten
