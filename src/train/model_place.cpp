#include "train/model_place.h"

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "corten/check_folder.h"
#include "train/run_folder.h"

namespace corten {

std::string ModelPlace::tokenizer_folder() const {
  const bool own = !adapter.empty() && has_file(join_path(adapter, "tokenizer.json"));
  return own ? adapter : folder;
}

ModelPlace find_model(const std::string& model, const std::string& adapter) {
  ModelPlace place;
  place.folder = find_model_folder(model);
  if (!file_exists(join_path(place.folder, "config.json"))) {
    place.adapter = place.folder;
    place.folder = LoraConfig::from_pretrained(place.adapter).base_model_name_or_path;
    if (place.folder.empty() || !folder_exists(place.folder))
      usage_error(
          "{} holds an adapter for \"{}\", which is no folder here: give that model, and "
          "this one as its adapter",
          place.adapter, place.folder);
    place.folder = find_model_folder(place.folder);
  }
  if (adapter.empty()) return place;
  if (!place.adapter.empty())
    usage_error("{} is an adapter already; a second one, {}, is not supported", model, adapter);
  place.adapter = find_model_folder(adapter);
  if (!holds_adapter(place.adapter))
    usage_error("{} holds no adapter: there is no {}", place.adapter,
                join_path(place.adapter, "adapter_config.json"));
  return place;
}

std::vector<std::string> check_place(const ModelPlace& place) {
  std::vector<std::string> lines;
  for (const FolderProblem& problem : check_model_folder(place.folder)) {
    std::string line = format("{}: {}; {}", place.folder, problem.what, problem.fix);
    if (problem.fatal) usage_error("{}", line);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::unique_ptr<LoraModel> attach_adapter(nn::Module& model, const ModelPlace& place) {
  if (place.adapter.empty()) return nullptr;
  auto lora = std::make_unique<LoraModel>(model, LoraConfig::from_pretrained(place.adapter));
  lora->load_weights(place.adapter);
  return lora;
}

}  // namespace corten
