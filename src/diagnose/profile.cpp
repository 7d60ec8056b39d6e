#include "diagnose/profile.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/format.h"
#include "base/process.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "corten/random.h"
#include "cuda/load.h"
#include "runtime/allocator.h"
#include "runtime/device_function.h"
#include "runtime/tensor_impl.h"
#include "train/examples.h"
#include "train/model_setup.h"
#include "train/trained_model.h"

namespace corten {
namespace {

using runtime::RangeScope;

constexpr int64_t kWarmUp = 2;  // the steps that are traced

/// A folder for tokens that goes with its owner.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "corten-profile-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) resource_error("cannot make a folder {}", pattern);
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// What memory holds now, by owner. Tensors that are neither weights nor the optimizer's are told apart by the op and the
/// line that made them.
StepMemory memory_now(int64_t step, const nn::Module& model, const TrainStep& train) {
  StepMemory out{step, {}};
  std::map<std::string, int64_t> others;
  std::map<const void*, std::string> known;
  auto know = [&](const StateDict& state, const char* owner) {
    for (const auto& [name, tensor] : state) known[tensor.impl()->cell->value->buffer->data()] = owner;
  };
  know(train.state(), "optimizer");
  know(model.named_buffers(), "buffers");
  know(model.named_parameters(), "parameters");
  know(train.trained(), "parameters");
  for (const runtime::LiveBlock& block : runtime::live_blocks()) {
    auto found = known.find(block.address);
    if (found != known.end()) {
      others[found->second] += block.bytes;
      continue;
    }
    if (block.label == "arena") {
      others["arena"] += block.bytes;
      continue;
    }
    const std::string at = ir::to_string(block.source);
    others[format("tensor {}{}{}", block.label.empty() ? "data" : block.label, at.empty() ? "" : ", ", at)] += block.bytes;
  }
  for (auto& [owner, bytes] : others) out.owners.emplace_back(owner, bytes);
  if (train.device_plan()) out.owners.emplace_back("device", static_cast<int64_t>(train.planned_bytes()));
  out.owners.emplace_back("cached blocks", memory_reserved() - memory_allocated());
  out.owners.emplace_back("resident", static_cast<int64_t>(resident_bytes()));
  return out;
}

}  // namespace

std::vector<Growth> growth_report(const std::vector<StepMemory>& memory) {
  if (memory.size() < 2) return {};
  std::map<std::string, std::vector<int64_t>> series;
  for (size_t i = 0; i < memory.size(); ++i)
    for (const auto& [owner, bytes] : memory[i].owners) {
      auto& s = series[owner];
      s.resize(memory.size());
      s[i] = bytes;
    }
  std::vector<Growth> out;
  for (const auto& [owner, s] : series) {
    Growth g{owner, s.front(), s.back()};
    for (size_t i = 1; i < s.size(); ++i) g.steps_that_grew += s[i] > s[i - 1];
    // A cache that fills once is no leak; resident memory is the sum of all and of what the system does.
    g.leak = g.last > g.first && 2 * g.steps_that_grew > static_cast<int64_t>(s.size() - 1) && owner != "resident" && owner != "cached blocks" &&
             memory.size() > 2;
    out.push_back(std::move(g));
  }
  std::stable_sort(out.begin(), out.end(), [](const Growth& a, const Growth& b) { return a.last - a.first > b.last - b.first; });
  return out;
}

ProfileResult profile_training(const Config& config, const ProfileOptions& options) {
  if (options.steps < 1) usage_error("a profile of {} steps", options.steps);
  const bool cuda = config.train.device == "cuda";
  if (config.train.device != "cpu" && !cuda)
    usage_error("profiles need train.device = \"cpu\" or \"cuda\", not \"{}\"", config.train.device);
  if (cuda && !config.train.compile) usage_error("a CUDA device executes compiled steps only (train.compile = true)");
  std::unique_ptr<cuda::Device> device;
  if (cuda && !options.cuda_device) {
    if (const std::string missing = cuda::missing_device(); !missing.empty()) resource_error("train.device = \"cuda\": {}", missing);
    device = cuda::open_device(0);
  }
  default_thread_pool().set_num_threads(static_cast<int>(config.train.threads));
  const Task task = task_of(config);
  ScratchFolder folder;
  const RunDataCallbacks callbacks{.message = options.message};
  const TokenizerInfo tokenizer = make_tokenizer(config, "", callbacks);
  const std::vector<std::string> class_names = read_class_names(config, task);
  if (task == Task::causal_lm) prepare_data(config, tokenizer, folder.path(), callbacks);
  const TrainingData data = open_examples(config, task, tokenizer, class_names, folder.path());
  const std::string json = initial_model_config(config, task, tokenizer, class_names);
  require_training_memory(json, config);
  std::vector<std::string> drawn;
  const TrainedModel model(task, json, initial_weights(config), config.train.seed, drawn);
  manual_seed(config.train.seed);
  const StepSettings settings = step_settings(config, task);
  TrainStep step(model.objective(), settings);
  if (cuda) step.use_device(device ? std::make_unique<runtime::DeviceState>(*device) : options.cuda_device());
  const optim::LrSchedule schedule = make_schedule(config.optim, std::max<int64_t>(config.train.steps, 1));

  auto load = [&](int64_t index) {
    data.train->fill(static_cast<uint64_t>(index), config.train.batch, 0, config.train.batch, step.ids(), step.targets());
  };
  if (!settings.compile) record_memory_history(true);
  if (options.message) options.message("warming up");
  for (int64_t i = 0; i < kWarmUp; ++i) {
    load(i);
    step.run(schedule.at(i));
  }
  ProfileResult result;
  {
    runtime::Recorder recorder;
    for (int64_t i = kWarmUp; i < kWarmUp + options.steps; ++i) {
      {
        RangeScope whole(format("ProfilerStep#{}", i), "user_annotation");
        {
          RangeScope loading("data_loading", "user_annotation");
          load(i);
        }
        RangeScope training("train_step", "user_annotation");
        result.losses.push_back(step.run(schedule.at(i)).loss);
      }
      result.memory.push_back(memory_now(i, model.module(), step));
      for (auto it = recorder.ranges().rbegin(); it != recorder.ranges().rend(); ++it)
        if (it->parent < 0) {
          result.step_ms.push_back(static_cast<double>(it->end_ns - it->start_ns) / 1e6);
          break;
        }
      if (options.on_step) options.on_step(i - kWarmUp + 1, result.step_ms.back());
    }
    result.ranges = recorder.ranges();
  }
  for (const runtime::RecordedRange& r : result.ranges)
    if (r.name == "data_loading") result.data_ms += static_cast<double>(r.end_ns - r.start_ns) / 1e6;
  // Steps count as one row, whatever their number.
  std::vector<runtime::RecordedRange> named = result.ranges;
  for (runtime::RecordedRange& r : named)
    if (r.name.starts_with("ProfilerStep#")) r.name = "ProfilerStep*";
  result.averages = key_averages(named);
  result.growth = growth_report(result.memory);
  if (settings.compile) {
    result.plan = plan_of(model, step, settings);
    // The times of the last step, kernel by kernel.
    std::vector<double> seconds;
    for (const runtime::RecordedRange& r : result.ranges)
      if (std::string_view(r.category) == (cuda ? "kernel" : "cpu_op")) seconds.push_back(static_cast<double>(r.end_ns - r.start_ns) / 1e9);
    const size_t kernels = result.plan->report.steps.size();
    if (seconds.size() > kernels) seconds.erase(seconds.begin(), seconds.end() - static_cast<int64_t>(kernels));
    result.snapshot = memory_timeline(*result.plan, seconds);
  } else {
    result.snapshot = memory_snapshot();
    record_memory_history(false);
  }
  return result;
}

Json to_json(const ProfileResult& result) {
  Json growth = Json::array(), memory = Json::array();
  for (const Growth& g : result.growth)
    growth.push_back(Json::object({{"owner", g.owner},
                                   {"first", g.first},
                                   {"last", g.last},
                                   {"growth", g.last - g.first},
                                   {"steps_that_grew", g.steps_that_grew},
                                   {"leak", g.leak}}));
  for (const StepMemory& m : result.memory) {
    Json owners = Json::object();
    for (const auto& [owner, bytes] : m.owners) owners.set(owner, bytes);
    memory.push_back(Json::object({{"step", m.step}, {"owners", owners}}));
  }
  std::vector<double> sorted = result.step_ms;
  std::sort(sorted.begin(), sorted.end());
  return Json::object({{"steps", result.step_ms.size()},
                       {"step_ms", Json::object({{"median", sorted[sorted.size() / 2]}, {"min", sorted.front()}, {"max", sorted.back()}})},
                       {"data_ms", result.data_ms},
                       {"losses", result.losses},
                       {"key_averages", to_json(result.averages)},
                       {"memory", memory},
                       {"growth", growth}});
}

}  // namespace corten
