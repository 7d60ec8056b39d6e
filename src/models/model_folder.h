// Folders in Hugging Face layout, whatever the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/dtype.h"
#include "corten/nn.h"

namespace corten {

/// The name of a weights' type in configs: "float32".
std::string_view config_dtype_name(DType dtype);
/// config.json of `folder`, with the model_type of its architecture if it has none. Usage error if
/// there is no such file.
Json read_config_json(const std::string& folder);
/// The "model_type" of a config, or that of the first of its "architectures". Usage error "source: ..." naming the `known` ones if it has none.
std::string model_type_of(const Json& config, std::string_view source,
                          const std::vector<std::string>& known);
/// Gives `model`, a decoder or an encoder-decoder, the generation_config.json of `folder`, if there
/// is one.
template <typename Model>
void load_generation_config(Model& model, const std::string& folder) {
  const std::string path = join_path(folder, "generation_config.json");
  if (const std::optional<Json> config = read_optional_json(path))
    model.set_generation_config_json(config->dump(), path);
}
/// Writes config.json, with the type of the weights, and the weights (io/sharded.h), each file
/// atomically, into `folder`, which is made if there is none.
void save_model(const std::string& folder, Json config, DType dtype, const StateDict& state,
                uint64_t max_shard_size);

}  // namespace corten
