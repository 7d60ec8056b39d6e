// The weights of a model folder: one file, or shards with an index, as huggingface_hub divides
// them.
#pragma once

#include <cstdint>
#include <string>

#include "corten/nn.h"

namespace corten {

/// Writes model.safetensors into `folder`; or, if the tensors take more than `max_shard_size`
/// bytes, model-00001-of-0000N.safetensors and so on, and model.safetensors.index.json as the last.
/// Tensors keep their order and fill one shard after the other; one that is larger than a shard may
/// be has a shard of its own. Each file is written atomically; other files of earlier weights are
/// removed when all is there. Usage error unless max_shard_size is positive.
void write_weights(const std::string& folder, const StateDict& state, uint64_t max_shard_size);

}  // namespace corten
