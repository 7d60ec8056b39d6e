#include "models/model_folder.h"

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "io/sharded.h"
#include "models/model_types.h"

namespace corten {

std::string_view config_dtype_name(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
}

Json read_config_json(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  if (!file_exists(path)) usage_error("{} holds no model: {}", folder, describe_absent(path));
  Json config = read_json_file(path);
  complete_model_type(config);
  return config;
}

std::string model_type_of(const Json& config, std::string_view source,
                          const std::vector<std::string>& known) {
  const Json* name = config.is_object() ? config.find("model_type") : nullptr;
  if (!name || name->is_null()) {
    if (const std::string_view type = type_of_architecture(first_architecture(config));
        !type.empty())
      return std::string(type);
    usage_error("{}: expected an object with a \"model_type\" (known: {})", source,
                fmt::join(known, ", "));
  }
  return name->as_string(format("{}: \"model_type\"", source));
}

void save_model(const std::string& folder, Json config, DType dtype, const StateDict& state,
                uint64_t max_shard_size) {
  create_folders(folder);
  config.erase("torch_dtype");  // the older key
  config.set("dtype", config_dtype_name(dtype));
  write_weights(folder, state, max_shard_size);
  write_file_atomic(join_path(folder, "config.json"), config.dump(2) + "\n");
}

}  // namespace corten
