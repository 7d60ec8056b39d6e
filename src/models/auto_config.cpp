#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/auto.h"
#include "models/model_folder.h"
#include "models/model_types.h"

namespace corten {

AutoConfig AutoConfig::from_json(std::string_view text, std::string_view source) {
  Json json = parse_config(text, source);
  complete_model_type(json);
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  AutoConfig config;
  config.json_ = text;
  if (const Json* type = json.find("model_type"))
    config.model_type_ = type->as_string(format("{}: \"model_type\"", source));
  if (config.model_type_.empty()) usage_error("{}: there is no \"model_type\"", source);
  if (const Json* names = json.find("architectures"); names && names->is_array())
    for (const Json& name : names->elements())
      config.architectures_.push_back(name.as_string(format("{}: \"architectures\"", source)));
  return config;
}

AutoConfig AutoConfig::from_pretrained(const std::string& folder) {
  return from_json(read_config_json(folder).dump(), folder + "/config.json");
}

void AutoConfig::save_pretrained(const std::string& folder) const {
  create_folders(folder);
  write_file_atomic(join_path(folder, "config.json"),
                    Json::parse(json_, "config.json").dump(2) + "\n");
}

std::optional<std::string> AutoConfig::field(std::string_view name) const {
  const Json json = Json::parse(json_, "config.json");
  const Json* found = json.find(name);
  return found ? std::optional(found->dump()) : std::nullopt;
}

}  // namespace corten
