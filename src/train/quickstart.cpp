#include "train/quickstart.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <vector>

#include "base/cpu.h"
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "train/generate.h"
#include "train/run_data.h"
#include "train/run_folder.h"

namespace corten {
namespace {

// Sizes and steps such that training takes two to three minutes on two cores of a server processor.
// Steps are fixed, not timed, so that a run can be repeated to the bit.
constexpr int64_t kVocabulary = 4096, kSequence = 128, kBatch = 16;
constexpr int64_t kLayers = 4, kWidth = 320, kHeads = 5;
constexpr int64_t kStepsF32 = 300, kStepsBf16 = 600;
constexpr int64_t kEvaluations = 5;  // during the run
constexpr int64_t kSampleTokens = 80;

std::string config_toml(const QuickstartOptions& options, const std::string& text, DType dtype,
                        const std::string& out) {
  const int64_t steps = options.steps.value_or(dtype == DType::f32 ? kStepsF32 : kStepsBf16);
  const int64_t every = std::max<int64_t>(1, (steps + kEvaluations - 1) / kEvaluations);
  std::string toml;
  toml += format("[model]\nmodel_type = \"gpt2\"\nn_layer = {}\nn_embd = {}\nn_head = {}\n",
                 kLayers, kWidth, kHeads);
  // The model sees every sentence about once: dropout would only slow it down.
  toml += format("n_positions = {}\nresid_pdrop = 0\nembd_pdrop = 0\nattn_pdrop = 0\n", kSequence);
  toml += format("[tokenizer]\nvocab_size = {}\n", kVocabulary);
  toml +=
      format("[data]\ntext = [{}]\nval_fraction = 0.05\nseq = {}\n", json_quote(text), kSequence);
  toml += format("[train]\nsteps = {}\nbatch = {}\ndtype = \"{}\"\ncompile = {}\ndevice = \"{}\"\n",
                 steps, kBatch, name(dtype), options.compile, options.device);
  toml +=
      format("threads = {}\nseed = {}\nout = {}\n", options.threads, options.seed, json_quote(out));
  toml +=
      format("eval_every = {}\neval_batches = 20\nsave_every = {}\nkeep_last = 1\n", every, every);
  toml += "[optim]\nlr = 2e-3\nmin_lr = 2e-4\nweight_decay = 0.1\n";
  toml += format("warmup_steps = {}\n", std::min<int64_t>(40, steps / 10));
  return toml;
}

/// A run folder under runs/ that does not exist yet.
std::string free_run_folder() {
  std::string out = "runs/quickstart";
  for (int i = 2; path_exists(out); ++i) out = format("runs/quickstart-{}", i);
  return out;
}

/// Entropy in nats of the distribution of single tokens among the targets of `data`.
double unigram_entropy(const TokenDataset& data) {
  std::map<int64_t, int64_t> counts;
  const auto rows = static_cast<int64_t>(data.windows());
  const auto room = static_cast<size_t>(data.seq());
  std::vector<int64_t> ids(room), targets(room);
  for (int64_t row = 0; row < rows; ++row) {
    data.fill(0, rows, row, row + 1, ids, targets);
    for (int64_t token : targets) ++counts[token];
  }
  const double total = static_cast<double>(rows * data.seq());
  double entropy = 0;
  for (const auto& [token, count] : counts) {
    const double p = static_cast<double>(count) / total;
    entropy -= p * std::log(p);
  }
  return entropy;
}

/// The first words of a text: something that a model of it can go on from.
std::string first_words(const std::string& path) {
  std::string text = read_file(path);
  text.resize(std::min<size_t>(text.size(), 256));
  std::string words;
  for (const std::string& word : split(std::string(trim(text)), ' ')) {
    if (word.empty()) continue;
    if (!words.empty() && words.size() + word.size() > 24) break;
    words += (words.empty() ? "" : " ") + word;
  }
  if (const size_t bad = find_invalid_utf8(words); bad != std::string::npos) words.resize(bad);
  return words;
}

}  // namespace

std::string quickstart_text() {
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  const std::string folder = parent_path(program);
  const std::string places[] = {join_path(parent_path(folder), "corpus/kjv.txt"),
                                join_path(parent_path(folder), "share/corten/kjv.txt"),
                                "build/corpus/kjv.txt"};
  for (const std::string& place : places)
    if (file_exists(place)) return place;
  usage_error(
      "no text to train on (looked for {}): ./run setup makes build/corpus/kjv.txt; or give "
      "one with --text FILE",
      fmt::join(places, ", "));
}

QuickstartResult quickstart(const QuickstartOptions& options, const TrainCallbacks& callbacks) {
  const bool own_text = !options.text.empty();
  const std::string text = own_text ? options.text : quickstart_text();
  const std::string out = options.out.empty() ? free_run_folder() : options.out;
  const DType dtype = options.dtype.value_or(cpu_isa() >= Isa::avx512bf16 ? DType::bf16 : DType::f32);
  ConfigInputs inputs;
  inputs.path = "quickstart";
  inputs.text = config_toml(options, text, dtype, out);
  const ResolvedConfig config = load_config(inputs);
  check_config_paths(config);

  QuickstartResult result;
  TrainCallbacks hooked = callbacks;
  hooked.on_eval = [&](const EvalInfo& info) {
    if (info.step == 0) result.val_loss_before = info.loss;
    if (callbacks.on_eval) callbacks.on_eval(info);
  };
  TrainOptions train_options;
  train_options.eval_first = true;
  result.train = train(config, train_options, hooked);
  const RunFolder run(out);
  if (!run.holds_run()) return result;  // planned only, or stopped before it began
  const RunData data = open_data(config.config, open_tokenizer(run.tokenizer()), run.data());
  if (data.validation) result.unigram_entropy = unigram_entropy(*data.validation);
  result.prompt = own_text ? first_words(text) : "And God said";
  if (result.train.steps == 0 || !result.train.failure.empty() ||
      result.train.stopped != StopSignal::None)
    return result;
  GenerateOptions generate;
  generate.model.model = result.train.model_dir;
  generate.model.device = options.device;
  generate.model.threads = options.threads;
  generate.prompts = {result.prompt};
  generate.settings.max_new_tokens = kSampleTokens;
  generate.settings.temperature = 0.8;
  generate.settings.top_k = 50;
  generate.seed = options.seed;
  result.sample = generate_text(generate).sequences[0].text;
  return result;
}

}  // namespace corten
