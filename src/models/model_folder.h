// Folders in Hugging Face layout, whatever the model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "corten/dtype.h"
#include "corten/nn.h"

namespace corten {

/// The name of a weights' type in configs: "float32".
std::string_view config_dtype_name(DType dtype);
/// config.json of `folder`. Usage error if there is none.
Json read_config_json(const std::string& folder);
/// Writes config.json, with the type of the weights, and the weights (io/sharded.h), each file
/// atomically, into `folder`, which is made if there is none.
void save_model(const std::string& folder, Json config, DType dtype, const StateDict& state,
                uint64_t max_shard_size);

}  // namespace corten
