// Checkpoints: a model folder in Hugging Face layout, plus what training needs to go on from there
// to the bit.
//
//   config.json, generation_config.json, model.safetensors, tokenizer.json
//   training_state.safetensors   optimizer moments, generator, loss scale, losses so far
//   training_state.json          step, evaluations, size and hash of every other file
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "corten/models.h"
#include "train/run_folder.h"

namespace corten {

/// Progress of a run, as far as it is no tensor.
struct TrainState {
  int64_t step = 0;           ///< optimizer steps taken
  int64_t tokens = 0;         ///< tokens that they saw
  std::vector<float> losses;  ///< of steps 1 .. step
  int64_t eval_step = -1;     ///< step of the last evaluation; -1: none yet
  std::optional<double> val_loss;
  int64_t best_step = -1;  ///< step of the lowest validation loss; -1: none yet
  std::optional<double> best_val_loss;
  std::optional<double> val_accuracy;  ///< of the last evaluation, of classifiers
};

/// Writes checkpoints/step-N of the run, whole or not at all, whatever happens. `save_model` writes
/// the model's files, `tensors` are the training state besides the weights; the files of the run's
/// tokenizer are copied beside the model. Returns the folder. Resource error if the disk is full;
/// older checkpoints are intact then.
std::string save_checkpoint(const RunFolder& run, const TrainState& state, const StateDict& tensors,
                            const std::function<void(const std::string& folder)>& save_model);

/// Checks every file of a checkpoint against its recorded size and hash. Usage error naming the
/// file that is missing or damaged.
void verify_checkpoint(const std::string& folder);

/// Reads a checkpoint: `load_model` takes over its weights; its tensors go into those of `tensors`.
/// Usage error if names or shapes differ; then `tensors` are unchanged.
TrainState load_checkpoint(const std::string& folder,
                           const std::function<void(const std::string& folder)>& load_model,
                           const StateDict& tensors);

/// Makes the model folder of a run from a checkpoint of it, replacing an older one in one step. The
/// weights' file is shared with the checkpoint where the file system can.
void publish_model(const RunFolder& run, const std::string& checkpoint);

}  // namespace corten
