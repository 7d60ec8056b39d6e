// corten config init|check|explain|schema
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "cli/config_args.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "models/presets.h"

namespace corten::cli {
namespace {

int run_init(const Args& args) {
  std::string path, preset = "gpt2-mini";
  std::vector<std::string> sets, text;
  bool force = false, json = false;
  ArgParser parser("config init", "Writes a commented configuration with every key.");
  parser.positional("FILE", path, "file to write; stdout if left out", false);
  parser.choice("--preset", preset, "architecture to start from", preset_names());
  parser.option("--text", text, "text file to train on; may be repeated");
  parser.option("--set", sets, "value of a key: --set train.steps=10; may be repeated");
  parser.flag("--force", force, "replace FILE if it exists");
  parser.flag("--json", json, "print one JSON document");
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  ConfigInputs inputs;
  inputs.path = path;
  inputs.text = format("model.preset = \"{}\"\ntokenizer.vocab_size = 4096\ndata.text = [\"book.txt\"]\n",
                       preset);
  inputs.sets = sets;
  if (!text.empty()) inputs.flags.push_back({"data.text", text, "--text"});
  ResolvedConfig resolved = load_config(inputs);
  // A preset's own fields stay with the preset.
  for (const auto& [key, origin] : resolved.origins)
    if (origin.layer == ConfigLayer::Preset) find_config_field(key)->set(resolved.config, Json());
  const std::string toml =
      "# Configuration of a Corten training run: corten train " +
      (path.empty() ? std::string("FILE") : path) +
      "\n# Commented keys are not set. Paths are relative to the working directory.\n\n" +
      config_to_toml(resolved.config, true);
  if (path.empty()) {
    if (json)
      print_json(Json::object({{"toml", toml}}));
    else
      print_text(toml);
    return kOk;
  }
  if (path_exists(path) && !force)
    usage_error("{} exists already; --force replaces it", path);
  write_file_atomic(path, toml);
  if (json)
    print_json(Json::object({{"path", path}}));
  else
    print_note(format("wrote {}; next: corten config check {}", path, path));
  return kOk;
}

int run_check(const Args& args) {
  ConfigArgs config;
  ArgParser parser("config check", "Checks a configuration, and that the files it names exist.");
  config.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  const ResolvedConfig resolved = load_config(config.inputs());
  check_config_paths(resolved);
  if (config.common.json)
    print_json(Json::object({{"ok", true}, {"config", config_to_json(resolved.config)}}));
  else
    print_text(format("{}: ok\n", config.path));
  return kOk;
}

int run_explain(const Args& args) {
  ConfigArgs config;
  std::string only;
  ArgParser parser("config explain", "Prints every value and where it came from.");
  config.add_to(parser);
  parser.positional("KEY", only, "only this key, with its description", false);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (!only.empty() && !find_config_field(only)) {
    std::vector<std::string> keys;
    for (const ConfigField& field : config_fields()) keys.push_back(field.key);
    usage_error("unknown key {}{}", only, did_you_mean(only, keys));
  }
  const ResolvedConfig resolved = load_config(config.inputs());
  Json document = Json::object();
  for (const ConfigField& field : config_fields()) {
    if (!only.empty() && field.key != only) continue;
    const Json value = field.get(resolved.config);
    auto origin = resolved.origins.find(field.key);
    const ConfigOrigin from = origin == resolved.origins.end() ? ConfigOrigin() : origin->second;
    if (config.common.json) {
      document.set(field.key, Json::object({{"value", value},
                                            {"from", to_string(from.layer)},
                                            {"where", from.where},
                                            {"help", field.help}}));
      continue;
    }
    if (value.is_null() && only.empty()) continue;
    const std::string shown = value.is_null() ? "(not set)" : value.dump();
    const bool named = from.layer != ConfigLayer::File && from.layer != ConfigLayer::Environment &&
                       from.layer != ConfigLayer::Set;
    std::string place = named ? std::string(to_string(from.layer)) : from.where;
    if (named && !from.where.empty()) place += format(" ({})", from.where);
    print_text(format("{:<28} {:<24} {}\n", field.key, shown, place));
    if (!only.empty()) print_text(format("  {}\n  {}\n", field.help, field.env_name()));
  }
  if (config.common.json) print_json(document);
  return kOk;
}

int run_schema(const Args& args) {
  bool json = false;
  ArgParser parser("config schema", "Prints the JSON Schema of configuration files, for editors.");
  parser.flag("--json", json, "on one line");
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  print_text(config_json_schema().dump(json ? -1 : 2) + "\n");
  return kOk;
}

}  // namespace

int run_config(const Args& args) {
  static const std::vector<Verb> kSubVerbs = {
      {"init", "write a commented configuration", run_init},
      {"check", "check a configuration", run_check},
      {"explain", "say where each value came from", run_explain},
      {"schema", "print the JSON Schema of configuration files", run_schema},
  };
  return run_sub_verb("config", "Training configurations.", kSubVerbs, args);
}

}  // namespace corten::cli
