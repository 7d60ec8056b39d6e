// The training configuration: what a config file may say, where each value came from.
//
// One table of fields (train/config_schema.cpp) generates the TOML reader, the environment
// variables, --set, the help text, the commented template and the JSON Schema.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "corten/dtype.h"

namespace corten {

/// The model to train: exactly one of `preset`, `path` and `model_type` is set.
struct ModelConfig {
  std::string preset;      ///< name of a built-in architecture (models/presets.h)
  std::string path;        ///< folder in Hugging Face layout: config.json and weights
  std::string model_type;  ///< architecture described by `fields` alone
  /// "random": fresh weights; "pretrained": those of `path`. Empty: pretrained if `path` is set.
  std::string init;
  /// "causal-lm": next tokens; "sequence-classification": the label of a text; "seq2seq-lm": the
  /// text that belongs to another. Empty: what models of the type do, the first or the last.
  std::string task;
  /// The Hugging Face config fields that were given, and those of the preset (without vocab_size
  /// and token ids, which the tokenizer decides), in the order of the schema. Merged over the
  /// config.json of `path`.
  Json fields = Json::object();
};

struct TokenizerConfig {
  std::string path;        ///< a tokenizer.json; empty: see vocab_size
  int64_t vocab_size = 0;  ///< > 0: train a byte-level BPE of this size from data.text
};

struct DataConfig {
  /// UTF-8 files; empty if `shards` is set. With labels (train/labelled_text.h) or pairs of source
  /// and target (train/text_pairs.h) for the tasks that need them.
  std::vector<std::string> text;
  std::string shards;                 ///< folder written by `corten data prepare`
  std::vector<std::string> val_text;  ///< validation files; empty: hold out val_fraction
  double val_fraction = 0.05;
  int64_t seq = 256;       ///< tokens per sequence
  int64_t target_seq = 0;  ///< of an encoder-decoder: tokens per target; 0: as many
};

struct TrainConfig {
  int64_t steps = 500;  ///< optimizer steps of the whole run; 0 if `epochs` is set
  double epochs = 0;    ///< passes over the training text; 0 if `steps` is set
  int64_t batch = 8;    ///< sequences per optimizer step, over all ranks
  int64_t virtual_shards = 1;  ///< micro-batches of batch / virtual_shards sequences
  DType dtype = DType::f32;    ///< compute type; master weights are always float32
  bool float8 = false;         ///< linear layers multiply 8-bit floats: corten/float8.h
  bool compile = true;
  std::string device = "cpu";  ///< "cpu", "cuda" or "null" (compiles and plans, runs nothing)
  int64_t threads = 0;         ///< CPU threads; 0: all
  int64_t seed = 1;
  int64_t log_every = 1;  ///< steps between lines of metrics.jsonl
  /// Steps between evaluations and between checkpoints; 0: at the end only.
  int64_t eval_every = 100, save_every = 100;
  int64_t eval_batches = 20;  ///< batches per evaluation; 0: the whole validation text
  int64_t keep_last = 2;      ///< checkpoints kept, besides the best one
  bool save_best = true;      ///< also keep the checkpoint with the lowest validation loss
  std::string out;            ///< run folder
  std::string memory_budget;  ///< bytes the step may use ("2GiB"); empty: all

  /// `memory_budget` in bytes; 0 if unlimited.
  uint64_t memory_budget_bytes() const;
};

struct OptimConfig {
  std::string name = "adamw";
  double lr = 6e-4;  ///< peak learning rate
  double min_lr = 6e-5;  ///< final learning rate; lr / 10 where nobody sets it
  int64_t warmup_steps = 50;
  std::string schedule = "cosine";  ///< "constant", "linear", "step" or "cosine"
  int64_t decay_steps = 0;          ///< step at which min_lr is reached; 0: the last one
  int64_t step_size = 0;            ///< "step": steps between decays
  double gamma = 0;                 ///< "step": factor of each decay
  std::array<double, 2> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_grad_norm = 1.0;  ///< 0: no clipping
};

/// Low-rank adapters (corten/lora.h), which are then all that is trained and stored.
struct LoraSection {
  int64_t r = 0;  ///< rank; 0: none, the whole model is trained
  double alpha = 16;
  double dropout = 0;
  /// Names of layers or their last parts; {"all-linear"}; empty: by the model's type.
  std::vector<std::string> target_modules;
};

struct Config {
  ModelConfig model;
  TokenizerConfig tokenizer;
  DataConfig data;
  TrainConfig train;
  OptimConfig optim;
  LoraSection lora;

  bool is_classification() const { return model.task == "sequence-classification"; }
  bool names_seq2seq() const { return model.task == "seq2seq-lm"; }
};

/// What set a value; a later layer overrides an earlier one.
enum class ConfigLayer { Default, Preset, File, Environment, Set, Flag };
/// "default", "preset", "file", "environment", "--set" or "flag".
std::string_view to_string(ConfigLayer layer) noexcept;

/// Where the value of one key came from.
struct ConfigOrigin {
  ConfigLayer layer = ConfigLayer::Default;
  std::string where;  ///< "demo.toml:12", "CORTEN_TRAIN_STEPS", "--set train.steps=10", "--seed"
};

/// One key of the configuration.
struct ConfigField {
  enum class Type { Integer, Number, Boolean, String, StringList, NumberPair };
  std::string key;  ///< "train.steps"
  Type type = Type::String;
  std::string help;     ///< one line, without a full stop
  std::string example;  ///< TOML value shown for a key that is not set
  double min = -std::numeric_limits<double>::infinity();  ///< inclusive, of every number
  double max = std::numeric_limits<double>::infinity();
  bool max_exclusive = false;
  std::vector<std::string> choices;  ///< of a string; empty: any
  bool optional = false;             ///< has a "not set" state, in which get() returns null
  /// False for what may differ between a run and its continuation: it changes no result.
  bool changes_result = true;
  std::function<Json(const Config&)> get;
  /// Stores a value that check() accepted; null unsets an optional one.
  std::function<void(Config&, const Json&)> set;

  std::string_view section() const { return std::string_view(key).substr(0, key.find('.')); }
  std::string_view name() const { return std::string_view(key).substr(key.find('.') + 1); }
  /// "CORTEN_TRAIN_STEPS".
  std::string env_name() const;
  /// What is wrong with `value` for this key ("must be at least 1, is 0"), or "".
  std::string check(const Json& value) const;
  /// The value written as `text` on a command line or in the environment; lists are
  /// comma-separated or in TOML syntax. Text that is no value of this type comes back as a string;
  /// Usage error for broken TOML after a leading [ or ".
  Json from_text(std::string_view text) const;
};

/// Every key, by section, in the order of the documentation.
const std::vector<ConfigField>& config_fields();
/// The field of `key`, or nullptr.
const ConfigField* find_config_field(std::string_view key);
/// Keys of which at most one may be set: setting one in a later layer unsets the others.
const std::vector<std::vector<std::string>>& config_exclusive_groups();

/// A value for one key from the command line.
struct ConfigFlag {
  std::string key;   ///< "train.seed"
  Json value;        ///< of the field's type, or its text
  std::string flag;  ///< "--seed", for messages
};

/// Everything that decides a configuration.
struct ConfigInputs {
  std::string path;  ///< TOML file; empty: none
  /// Used instead of reading `path`, which then only names the text in messages.
  std::optional<std::string> text;
  std::vector<std::pair<std::string, std::string>> environment;  ///< see config_environment()
  std::vector<std::string> sets;  ///< "train.steps=10"; later ones override earlier ones
  std::vector<ConfigFlag> flags;
};

/// The variables of this process whose names begin with CORTEN_ and a section.
std::vector<std::pair<std::string, std::string>> config_environment();

/// A configuration with every value decided and checked.
struct ResolvedConfig {
  Config config;
  std::map<std::string, ConfigOrigin, std::less<>> origins;  ///< of every key that has a value
};

/// Reads and merges all layers (default < preset < file < environment < --set < flag), derives what
/// was left open and checks values against each other. Opens no file but `path`. Usage error
/// "where: key ..." with the place of the culprit.
ResolvedConfig load_config(const ConfigInputs& inputs);
/// Checks that the files and folders that `resolved` names exist. Usage error as load_config().
void check_config_paths(const ResolvedConfig& resolved);

/// The configuration as TOML that load_config() reads back to the same values. With comments: every
/// key with its help, those that are not set commented out.
std::string config_to_toml(const Config& config, bool comments);
/// {"section": {"key": value}}, without keys that are not set.
Json config_to_json(const Config& config);
/// JSON Schema (draft 2020-12) of the config file.
Json config_json_schema();
/// One line per key: name, type, default, help; for `corten train --help`.
std::string config_help();

/// A key on which two configurations differ; null: not set.
struct ConfigDifference {
  std::string key;
  Json a, b;
};
/// Differing keys in schema order; without those that change no result unless `all`.
std::vector<ConfigDifference> compare_configs(const Config& a, const Config& b, bool all = false);

}  // namespace corten
