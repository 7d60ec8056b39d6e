#include "gpu/steps.h"

#include <map>

#include "base/json.h"
#include "cuda/device_plan.h"
#include "models/presets.h"
#include "passes/pipeline.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"
#include "train/model_setup.h"

namespace corten::cuda::test {

ModelStep::ModelStep(const std::string& name, DType dtype) {
  Json config;
  if (name == "llama") {
    config = Json::object({{"model_type", "llama"},
                           {"hidden_size", 2048},
                           {"intermediate_size", 5632},
                           {"num_attention_heads", 32},
                           {"num_key_value_heads", 4},
                           {"num_hidden_layers", 3},
                           {"max_position_embeddings", 2048},
                           {"vocab_size", 32000}});
  } else {
    config = preset_config(name);
    config.set("n_layer", 3);
  }
  const runtime::NullDeviceScope no_values;
  model_ = build_model(config.dump(), "", 1);
  step_ = std::make_unique<TrainStep>(
      *model_,
      StepSettings{.batch = 8, .seq = 1024, .dtype = dtype, .optim = {.clip_grad_norm = 1.0}});
  step_->plan();
  graph_ = passes::run_pipeline(*runtime::inspect(step_->compiled()).recorded, {}, nullptr,
                                passes::Families::gpu);
  partition_ = std::make_unique<kernel::Partition>(kernel::partition(graph_, true));
  kernels_ = step_kernels(*partition_, true);
}

std::vector<codegen::gpu::KernelText> ModelStep::texts() const {
  return DevicePlan(graph_, true, true, kMaxSharedBytes).texts();
}

const ModelStep& model_step(const std::string& model, DType dtype) {
  static std::map<std::pair<std::string, DType>, std::unique_ptr<ModelStep>> made;
  std::unique_ptr<ModelStep>& place = made[{model, dtype}];
  if (!place) place = std::make_unique<ModelStep>(model, dtype);
  return *place;
}

}  // namespace corten::cuda::test
