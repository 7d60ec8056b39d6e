#include "train/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "base/format.h"
#include "base/hash.h"
#include "corten/safetensors.h"
#include "io/tensor_bytes.h"

namespace corten {
namespace {

constexpr const char* kStateJson = "training_state.json";
constexpr const char* kStateTensors = "training_state.safetensors";
constexpr const char* kLosses = "losses";

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

std::optional<double> optional_double(const Json& value, const char* what) {
  if (value.is_null()) return std::nullopt;
  return value.as_double(what);
}

void save_state_tensors(const std::string& path, const TrainState& state,
                        const StateDict& tensors) {
  std::vector<StoredTensor> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back({name, std::string(safetensors_name(tensor.dtype())), tensor.shape(), {}});
  entries.push_back({kLosses, "F32", {static_cast<int64_t>(state.losses.size())}, {}});
  TensorBytes bytes;
  write_safetensors(path, entries, {{"format", "corten"}},
                    [&](const StoredTensor& entry) -> std::span<const std::byte> {
                      if (entry.name == kLosses) return std::as_bytes(std::span(state.losses));
                      bytes = TensorBytes(*find_tensor(tensors, entry.name));
                      return bytes.span();
                    });
}

Json file_record(const std::string& path) {
  Hasher hasher;
  uint64_t size = 0;
  read_pieces(path, [&](std::span<const std::byte> piece) {
    hasher.update(piece);
    size += piece.size();
  });
  return Json::object({{"bytes", size}, {"xxh3", hex(hasher.digest128())}});
}

/// The content of training_state.json, after checking its own hash.
Json read_training_state(const std::string& folder) {
  const std::string path = join_path(folder, kStateJson);
  const Json document = Json::parse(read_file(path, 1 << 20), path);
  try {
    const Json& state = document.at("state");
    if (hex(hash128(state.dump())) != document.at("xxh3").as_string("xxh3"))
      usage_error("its content does not match its hash");
    return state;
  } catch (const Error& error) {
    usage_error("{} is damaged: {}", path, error.what());
  }
}

}  // namespace

std::string save_checkpoint(const RunFolder& run, const TrainState& state, const StateDict& tensors,
                            const std::function<void(const std::string& folder)>& save_model) {
  const std::string partial = join_path(run.checkpoints(), format(".partial-{}", state.step));
  const std::string folder = run.checkpoint(state.step);
  remove_folder(partial);
  try {
    create_folders(partial);
    save_model(partial);
    if (folder_exists(run.tokenizer())) copy_tokenizer_files(run.tokenizer(), partial);
    save_state_tensors(join_path(partial, kStateTensors), state, tensors);
    Json files = Json::object();
    for (const std::string& name : list_folder(partial))
      files.set(name, file_record(join_path(partial, name)));
    const Json content = Json::object({{"format", "corten-training-state"},
                                       {"version", 1},
                                       {"step", state.step},
                                       {"tokens", state.tokens},
                                       {"eval_step", state.eval_step},
                                       {"val_loss", optional_json(state.val_loss)},
                                       {"best_step", state.best_step},
                                       {"best_val_loss", optional_json(state.best_val_loss)},
                                       {"val_accuracy", optional_json(state.val_accuracy)},
                                       {"files", std::move(files)}});
    const std::string hash = hex(hash128(content.dump()));
    write_file_atomic(join_path(partial, kStateJson),
                      Json::object({{"state", content}, {"xxh3", hash}}).dump(2) + "\n");
    replace_folder_atomic(partial, folder);
  } catch (const Error& error) {
    try {
      remove_folder(partial);
    } catch (const Error&) {  // the first error is the one to report
    }
    if (error.kind() != ErrorKind::Resource) throw;
    const std::vector<int64_t> steps = run.checkpoint_steps();
    resource_error("the checkpoint of step {} was not written: {}; {}", state.step, error.what(),
                   steps.empty() ? "there is no earlier one"
                                 : format("that of step {} is intact", steps.back()));
  }
  return folder;
}

void verify_checkpoint(const std::string& folder) {
  const Json state = read_training_state(folder);
  for (const auto& [name, record] : state.at("files").items("files")) {
    const std::string path = join_path(folder, name);
    if (!file_exists(path)) usage_error("{} is missing", path);
    const uint64_t bytes = record.at("bytes").as_uint("bytes");
    if (file_size(path) != bytes)
      usage_error("{} is damaged: it holds {} bytes instead of {}", path, file_size(path), bytes);
    if (file_record(path) != record)
      usage_error("{} is damaged: its content does not match its hash", path);
  }
}

TrainState load_checkpoint(const std::string& folder,
                           const std::function<void(const std::string& folder)>& load_model,
                           const StateDict& tensors) {
  const Json json = read_training_state(folder);
  const std::string path = join_path(folder, kStateTensors);
  const Safetensors file = Safetensors::open(path);
  TrainState state;
  state.step = json.at("step").as_int("step");
  state.tokens = json.at("tokens").as_int("tokens");
  state.eval_step = json.at("eval_step").as_int("eval_step");
  state.val_loss = optional_double(json.at("val_loss"), "val_loss");
  state.best_step = json.at("best_step").as_int("best_step");
  state.best_val_loss = optional_double(json.at("best_val_loss"), "best_val_loss");
  if (const Json* accuracy = json.find("val_accuracy"))
    state.val_accuracy = optional_double(*accuracy, "val_accuracy");

  const StoredTensor& losses = file.at(kLosses);
  if (losses.dtype != "F32" || losses.dims != Shape{state.step})
    usage_error("{}: losses are {}[{}], not F32[{}]", path, losses.dtype,
                fmt::join(losses.dims, ","), state.step);
  state.losses.resize(static_cast<size_t>(state.step));
  if (!state.losses.empty())
    std::memcpy(state.losses.data(), losses.bytes.data(), losses.bytes.size());

  if (file.tensors().size() != tensors.size() + 1)
    usage_error("{} holds {} tensors, expected {}", path, file.tensors().size(),
                tensors.size() + 1);
  for (const auto& [name, tensor] : tensors) {
    const StoredTensor& stored = file.at(name);
    if (stored.dtype != safetensors_name(tensor.dtype()) || stored.dims != tensor.shape())
      usage_error("{}: {} is {}[{}], expected {}[{}]", path, name, stored.dtype,
                  fmt::join(stored.dims, ","), safetensors_name(tensor.dtype()),
                  fmt::join(tensor.shape(), ","));
  }
  load_model(folder);
  const NoGradGuard no_grad;
  for (auto [name, tensor] : tensors) {
    const StoredTensor& stored = file.at(name);
    tensor.copy_(from_bytes(stored.bytes.data(), tensor.shape(), tensor.dtype()));
  }
  return state;
}

void publish_model(const RunFolder& run, const std::string& checkpoint) {
  namespace fs = std::filesystem;
  const std::string partial = join_path(run.root(), ".partial-model");
  remove_folder(partial);
  create_folders(partial);
  for (const std::string& name : list_folder(checkpoint)) {
    if (name == kStateJson || name == kStateTensors) continue;
    const std::string from = join_path(checkpoint, name), to = join_path(partial, name);
    std::error_code error;
    if (name.ends_with(".safetensors")) fs::create_hard_link(from, to, error);
    if (!fs::exists(to)) fs::copy_file(from, to, error);
    if (error) {
      remove_folder(partial);
      resource_error("cannot write {}: {}", to, error.message());
    }
  }
  replace_folder_atomic(partial, run.model());
}

}  // namespace corten
