// Merging the layers of a configuration and checking its values against each other.
#include "train/config.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "base/toml.h"
#include "models/auto_seq2seq.h"
#include "models/presets.h"
#include "train/model_setup.h"

namespace corten {
namespace {

std::vector<std::string> section_names() {
  std::vector<std::string> names;
  for (const ConfigField& field : config_fields())
    if (names.empty() || names.back() != field.section()) names.emplace_back(field.section());
  return names;
}

/// A did-you-mean for a key that does not exist: first in its own section, then in the others.
std::string suggest(std::string_view section, std::string_view name) {
  std::vector<std::string> in_section, everywhere;
  for (const ConfigField& field : config_fields()) {
    if (field.section() == section) in_section.emplace_back(field.name());
    if (field.name() == name) return format("; did you mean \"{}\"?", field.key);
    everywhere.push_back(field.key);
  }
  if (std::string text = did_you_mean(name, in_section); !text.empty()) return text;
  return did_you_mean(format("{}.{}", section, name), everywhere);
}

bool means_unset(const ConfigField& field, const Json& value) {
  return field.optional && (value.is_string() || value.is_array()) && value.empty();
}

/// Collects values layer by layer.
class Loader {
 public:
  /// `path` names the config file; empty if there is none.
  explicit Loader(std::string path) : path_(std::move(path)) {}

  void load_file(const std::string& text) {
    const TomlDocument document = parse_toml(text, path_);
    auto where = [&](const std::string& key) {
      auto line = document.lines.find(key);
      return line == document.lines.end() ? path_ : format("{}:{}", path_, line->second);
    };
    const std::vector<std::string> sections = section_names();
    for (const auto& [section, table] : document.root.items()) {
      if (std::find(sections.begin(), sections.end(), section) == sections.end()) {
        std::string hint = did_you_mean(section, sections);
        if (!table.is_object()) hint = suggest("", section);
        usage_error("{}: unknown {} {}{}", where(section), table.is_object() ? "section" : "key",
                    section, hint);
      }
      if (!table.is_object())
        usage_error("{}: {} must be a section ([{}]), is {}", where(section), section, section,
                    table.dump());
      for (const auto& [name, value] : table.items()) {
        const std::string key = format("{}.{}", section, name);
        const ConfigField* field = find_config_field(key);
        if (!field)
          usage_error("{}: unknown key {}{}", where(key), key, suggest(section, name));
        assign(*field, value, ConfigLayer::File, where(key));
      }
    }
  }

  void load_environment(const std::vector<std::pair<std::string, std::string>>& variables) {
    for (const auto& [name, text] : variables) {
      const ConfigField* match = nullptr;
      std::vector<std::string> known;
      for (const ConfigField& field : config_fields()) {
        known.push_back(field.env_name());
        if (known.back() == name) match = &field;
      }
      if (!match) usage_error("unknown environment variable {}{}", name, did_you_mean(name, known));
      assign_text(*match, text, ConfigLayer::Environment, name);
    }
  }

  void load_set(const std::string& text) {
    const std::string where = "--set " + text;
    const size_t equals = text.find('=');
    if (equals == std::string::npos)
      usage_error("{}: needs the form section.key=value", where);
    const std::string key(trim(std::string_view(text).substr(0, equals)));
    const ConfigField* field = find_config_field(key);
    if (!field) {
      const size_t dot = std::min(key.find('.'), key.size());
      usage_error("{}: unknown key {}{}", where, key,
                  dot == key.size() ? suggest("", key)
                                    : suggest(key.substr(0, dot), key.substr(dot + 1)));
    }
    assign_text(*field, std::string_view(text).substr(equals + 1), ConfigLayer::Set, where);
  }

  void load_flag(const ConfigFlag& flag) {
    const ConfigField* field = find_config_field(flag.key);
    CORTEN_CHECK(field != nullptr, "flag {} sets unknown key {}", flag.flag, flag.key);
    if (flag.value.is_string())
      assign_text(*field, flag.value.as_string(), ConfigLayer::Flag, flag.flag);
    else
      assign(*field, flag.value, ConfigLayer::Flag, flag.flag);
  }

  /// Fills in the preset's fields below everything that was given, and values that follow from
  /// others.
  void derive() {
    Config& config = resolved_.config;
    if (!config.model.preset.empty()) {
      try {
        fill_model(preset_config(config.model.preset), {ConfigLayer::Preset, config.model.preset});
      } catch (const Error& error) {
        usage_error("{}: model.preset: {}", where("model.preset"), error.what());
      }
    } else if (!config.model.model_type.empty()) {
      fill_model(default_config(config.model.model_type), {ConfigLayer::Default, ""});
    }
    Json ordered = Json::object();
    for (const ConfigField& field : config_fields())
      if (const Json* value = config.model.fields.find(field.name()))
        if (field.section() == "model") ordered.set(field.name(), *value);
    config.model.fields = std::move(ordered);

    if (!resolved_.origins.contains("optim.min_lr") && resolved_.origins.contains("optim.lr")) {
      // A tenth, without the rounding of a binary division.
      config.optim.min_lr = std::strtod(format("{:.12g}", config.optim.lr / 10).c_str(), nullptr);
      resolved_.origins["optim.min_lr"] = {ConfigLayer::Default, "optim.lr / 10"};
    }
    if (config.train.out.empty()) {
      std::string stem = path_.empty() ? "run" : base_name(path_);
      if (size_t dot = stem.rfind('.'); dot != std::string::npos && dot > 0) stem.resize(dot);
      config.train.out = "runs/" + stem;
      resolved_.origins["train.out"] = {ConfigLayer::Default, "name of the config file"};
    }
    for (const ConfigField& field : config_fields())
      if (!field.get(config).is_null()) resolved_.origins.try_emplace(field.key);
  }

  void check_together() const;

  ResolvedConfig take() { return std::move(resolved_); }

 private:
  void assign_text(const ConfigField& field, std::string_view text, ConfigLayer layer,
                   const std::string& where) {
    Json value;
    try {
      value = field.from_text(text);
    } catch (const Error& error) {
      usage_error("{}: {}", where, error.what());
    }
    assign(field, value, layer, where);
  }
  void assign(const ConfigField& field, const Json& value, ConfigLayer layer, std::string where) {
    const bool unset = means_unset(field, value);
    if (!unset)
      if (std::string fault = field.check(value); !fault.empty())
        usage_error("{}: {} {}", where, field.key, fault);
    if (unset) {
      field.set(resolved_.config, Json());
      resolved_.origins.erase(field.key);
      return;
    }
    for (const auto& group : config_exclusive_groups()) {
      if (std::find(group.begin(), group.end(), field.key) == group.end()) continue;
      for (const std::string& other : group) {
        if (other == field.key) continue;
        auto origin = resolved_.origins.find(other);
        if (origin != resolved_.origins.end() && origin->second.layer == layer)
          usage_error("{}: {} and {} ({}) exclude each other", where, field.key, other,
                      origin->second.where);
        find_config_field(other)->set(resolved_.config, Json());
        if (origin != resolved_.origins.end()) resolved_.origins.erase(origin);
      }
    }
    field.set(resolved_.config, value);
    resolved_.origins[field.key] = {layer, std::move(where)};
  }

  /// Sets the fields of a Hugging Face config that no layer has set, but for those that belong to
  /// the tokenizer.
  void fill_model(const Json& hf_config, const ConfigOrigin& origin) {
    for (const auto& [name, value] : hf_config.items()) {
      const ConfigField* field = find_config_field("model." + name);
      if (!field || name == "model_type" || name == "vocab_size" || name.ends_with("_token_id") ||
          resolved_.origins.contains(field->key))
        continue;
      field->set(resolved_.config, value);
      resolved_.origins[field->key] = origin;
    }
  }

  /// The place to name in a message about `key`.
  std::string where(std::string_view key) const {
    auto origin = resolved_.origins.find(key);
    if (origin == resolved_.origins.end() || origin->second.layer == ConfigLayer::Default)
      return place();
    if (origin->second.layer == ConfigLayer::Preset)
      return format("preset {}", origin->second.where);
    return origin->second.where;
  }
  /// The one of two keys that was set in the later layer: the likely culprit.
  std::string_view later(std::string_view a, std::string_view b) const {
    auto layer = [&](std::string_view key) {
      auto origin = resolved_.origins.find(key);
      return origin == resolved_.origins.end() ? ConfigLayer::Default : origin->second.layer;
    };
    return layer(b) > layer(a) ? b : a;
  }

  /// The place of something that is missing.
  std::string place() const { return path_.empty() ? "config" : path_; }

  std::string path_;
  ResolvedConfig resolved_;
};

void Loader::check_together() const {
  const auto& [model, tokenizer, data, train, optim, lora] = resolved_.config;
  if (model.preset.empty() && model.path.empty() && model.model_type.empty())
    usage_error("{}: [model] needs one of preset (\"gpt2\", ...), path and model_type", place());
  if (model.init == "pretrained" && model.path.empty())
    usage_error("{}: model.init = \"pretrained\" needs model.path, a folder with weights",
                where("model.init"));
  if (lora.r > 0 && (model.path.empty() || model.init == "random"))
    usage_error("{}: lora.r = {} needs model.path, a folder with the weights that adapters are for",
                where("lora.r"), lora.r);
  if (resolved_.config.is_classification()) {
    if (model.path.empty())
      usage_error(
          "{}: model.task = \"{}\" needs model.path, the folder of an encoder "
          "or a decoder",
          where("model.task"), model.task);
    if (!data.shards.empty())
      usage_error("{}: data.shards hold no labels: set data.text", where("data.shards"));
    if (tokenizer.vocab_size > 0)
      usage_error(
          "{}: a classifier's model brings its tokenizer, tokenizer.vocab_size makes another",
          where("tokenizer.vocab_size"));
  }
  if (resolved_.config.names_seq2seq() || is_seq2seq_type(model.model_type)) {
    if (!data.shards.empty())
      usage_error("{}: data.shards hold no pairs of source and target: set data.text",
                  where("data.shards"));
  } else if (data.target_seq > 0 && model.path.empty()) {
    usage_error("{}: data.target_seq = {} is for encoder-decoders", where("data.target_seq"),
                data.target_seq);
  }
  if (tokenizer.vocab_size > 0 && !model.path.empty() && model.init != "random")
    usage_error("{}: tokenizer.vocab_size makes another tokenizer than the one that the weights of "
                "model.path know: leave it out, or set model.init = \"random\"",
                where("tokenizer.vocab_size"));
  if (!model.model_type.empty())
    check_model_fields(model.fields, model.model_type,
                       [&](const std::string& key) { return where(key); });
  auto field = [&](const char* name) -> int64_t {
    const Json* value = model.fields.find(name);
    return value ? value->as_int(name) : 0;
  };
  if (int64_t width = field("n_embd"), heads = field("n_head");
      width > 0 && heads > 0 && width % heads != 0)
    usage_error("{}: model.n_embd = {} is no multiple of model.n_head = {}",
                where(later("model.n_embd", "model.n_head")), width, heads);
  for (const char* name : {"n_positions", "max_position_embeddings"}) {
    const std::string key = format("model.{}", name);
    if (int64_t positions = field(name); positions > 0 && data.seq > positions)
      usage_error("{}: data.seq = {} exceeds {} = {}", where(later("data.seq", key)), data.seq, key,
                  positions);
  }

  if (data.text.empty() && data.shards.empty())
    usage_error("{}: [data] needs one of text (a list of files) and shards (a folder)", place());
  if (tokenizer.vocab_size > 0 && data.text.empty())
    usage_error("{}: tokenizer.vocab_size trains a tokenizer from data.text, which is not set",
                where("tokenizer.vocab_size"));
  if (!data.text.empty() && tokenizer.path.empty() && tokenizer.vocab_size == 0 &&
      model.path.empty())
    usage_error("{}: [tokenizer] needs one of path and vocab_size", place());
  if (int64_t vocab = field("vocab_size"); vocab > 0 && vocab < tokenizer.vocab_size)
    usage_error("{}: model.vocab_size = {} is smaller than tokenizer.vocab_size = {}",
                where(later("model.vocab_size", "tokenizer.vocab_size")), vocab,
                tokenizer.vocab_size);

  if (train.batch % train.virtual_shards != 0)
    usage_error("{}: train.batch = {} is no multiple of train.virtual_shards = {}",
                where(later("train.batch", "train.virtual_shards")), train.batch,
                train.virtual_shards);
  if (!train.memory_budget.empty()) {
    try {
      train.memory_budget_bytes();
    } catch (const Error& error) {
      usage_error("{}: {}", where("train.memory_budget"), error.what());
    }
  }
  if (optim.min_lr > optim.lr && optim.schedule != "constant")
    usage_error("{}: optim.min_lr = {} exceeds optim.lr = {}",
                where(later("optim.min_lr", "optim.lr")), optim.min_lr, optim.lr);
  if (optim.decay_steps > 0 && optim.decay_steps <= optim.warmup_steps)
    usage_error("{}: optim.decay_steps = {} must exceed optim.warmup_steps = {}",
                where(later("optim.decay_steps", "optim.warmup_steps")), optim.decay_steps,
                optim.warmup_steps);
  if (optim.schedule == "step" && (optim.step_size == 0 || optim.gamma == 0))
    usage_error("{}: optim.schedule = \"step\" needs optim.step_size and optim.gamma",
                where("optim.schedule"));
}

}  // namespace

uint64_t TrainConfig::memory_budget_bytes() const {
  return memory_budget.empty() ? 0 : parse_bytes(memory_budget, "train.memory_budget");
}

std::string_view to_string(ConfigLayer layer) noexcept {
  switch (layer) {
    case ConfigLayer::Default: return "default";
    case ConfigLayer::Preset: return "preset";
    case ConfigLayer::File: return "file";
    case ConfigLayer::Environment: return "environment";
    case ConfigLayer::Set: return "--set";
    case ConfigLayer::Flag: return "flag";
  }
  return "default";
}

std::vector<std::pair<std::string, std::string>> config_environment() {
  std::vector<std::string> prefixes;
  for (const ConfigField& field : config_fields())
    prefixes.push_back(field.env_name().substr(0, 7 + field.section().size() + 1));
  std::vector<std::pair<std::string, std::string>> variables;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals + 1 == text.size()) continue;
    const std::string_view name = text.substr(0, equals);
    if (std::any_of(prefixes.begin(), prefixes.end(),
                    [&](const std::string& prefix) { return name.starts_with(prefix); }))
      variables.emplace_back(name, text.substr(equals + 1));
  }
  std::sort(variables.begin(), variables.end());
  return variables;
}

ResolvedConfig load_config(const ConfigInputs& inputs) {
  Loader loader(inputs.path);
  if (inputs.text)
    loader.load_file(*inputs.text);
  else if (!inputs.path.empty())
    loader.load_file(read_file(inputs.path, 16 << 20));
  loader.load_environment(inputs.environment);
  for (const std::string& set : inputs.sets) loader.load_set(set);
  for (const ConfigFlag& flag : inputs.flags) loader.load_flag(flag);
  loader.derive();
  loader.check_together();
  return loader.take();
}

void check_config_paths(const ResolvedConfig& resolved) {
  const Config& config = resolved.config;
  auto require = [&](const char* key, const std::string& path, bool folder) {
    if (path.empty() || (folder ? folder_exists(path) : file_exists(path))) return;
    auto origin = resolved.origins.find(key);
    usage_error("{}: {}: no {} \"{}\"",
                origin == resolved.origins.end() ? "config" : origin->second.where, key,
                folder ? "folder" : "file", path);
  };
  require("model.path", config.model.path, true);
  require("tokenizer.path", config.tokenizer.path, false);
  for (const std::string& path : config.data.text) require("data.text", path, false);
  for (const std::string& path : config.data.val_text) require("data.val_text", path, false);
  require("data.shards", config.data.shards, true);
}

}  // namespace corten
