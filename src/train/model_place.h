// Where a command's model lies: a folder in Hugging Face layout, a run, or an adapter for one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "corten/lora.h"

namespace corten {

struct ModelPlace {
  std::string folder;   ///< holds config.json
  std::string adapter;  ///< holds adapter_config.json; "": none
  /// Holds the tokenizer: the adapter's folder if it has one.
  std::string tokenizer_folder() const;
};
/// Of `model`, a folder or run of a model, or of an adapter whose config names its model; with the
/// adapter in `adapter`, a folder or run, unless that is "". Usage error if there is nothing.
ModelPlace find_model(const std::string& model, const std::string& adapter = {});
/// What the files of the place's folder say against each other, a line each with what to do about it; see
/// check_model_folder(). Usage error with the first problem that keeps the model from being loaded.
std::vector<std::string> check_place(const ModelPlace& place);
/// Puts the place's adapter beside `model`; null if it has none.
std::unique_ptr<LoraModel> attach_adapter(nn::Module& model, const ModelPlace& place);

}  // namespace corten
