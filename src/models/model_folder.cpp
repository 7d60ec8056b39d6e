#include "models/model_folder.h"

#include "base/file.h"
#include "base/format.h"
#include "io/tensor_bytes.h"

namespace corten {

std::string_view config_dtype_name(DType dtype) {
  return dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
}

Json read_config_json(const std::string& folder) {
  constexpr uint64_t kMaxConfigBytes = 16 << 20;
  const std::string path = join_path(folder, "config.json");
  if (!file_exists(path)) usage_error("{} holds no model: there is no {}", folder, path);
  return Json::parse(read_file(path, kMaxConfigBytes), path);
}

void save_model(const std::string& folder, Json config, DType dtype, const StateDict& state) {
  create_folders(folder);
  config.erase("torch_dtype");  // the older key
  config.set("dtype", config_dtype_name(dtype));
  write_state(join_path(folder, "model.safetensors"), state, {{"format", "pt"}});
  write_file_atomic(join_path(folder, "config.json"), config.dump(2) + "\n");
}

}  // namespace corten
