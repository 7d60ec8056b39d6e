// What the weight files of a folder hold, before a model is made for them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"
#include "corten/nn.h"
#include "corten/safetensors.h"

namespace corten {

struct StoredWeights {
  DType dtype = DType::f32;  ///< the widest floating type of more than 8 bits, else f32
  int64_t elements = 0;
};
/// Of the .safetensors files in `folder`.
StoredWeights stored_weights(const std::string& folder);
/// Usage error if the config `path` describes more than `times` the parameters that the files hold, before
/// the model takes the memory.
void check_parameter_count(int64_t parameters, const StoredWeights& stored, const std::string& path,
                           const std::string& folder, int64_t times = 2);

/// Whether a file's tensor is of a head beside the one that continues text: a classifier's, or
/// GPT2DoubleHeadsModel's second.
bool is_other_head(std::string_view stored);

/// Copies the tensors of `file` into those of `state` that `map` names ("": to leave out). Usage
/// error "[what] folder: ..." listing missing, unexpected and misshapen ones; then nothing was
/// changed. Float weights of quantised layers of `quantised` are quantised. Tensors that `may_lack`
/// accepts may be missing: they stay as they are, and their names are the result.
std::vector<std::string> copy_weights(
    std::string_view what, const std::string& folder, const Safetensors& file,
    const StateDict& state, const std::function<std::string(std::string_view stored)>& map,
    nn::Module* quantised = nullptr,
    const std::function<bool(std::string_view name)>& may_lack = {});

}  // namespace corten
