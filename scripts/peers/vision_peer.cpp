// The C++ side of compare_vision.py.
//   vision_peer save base|classes FOLDER OUT      loads a model and writes it again
//   vision_peer step base|classes train|eval FOLDER DATA.safetensors OUT.safetensors
//                                                 logits (or last_hidden_state), loss, gradients and
//                                                 buffers of one step on pixel_values and labels
#include <cmath>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "corten/safetensors.h"
#include "corten/vision.h"
#include "io/tensor_bytes.h"

using namespace corten;

namespace {

/// What a model without a head is differentiated by: the sum of its states times cos(0), cos(1), ...
Tensor base_loss(const Tensor& states, const Tensor& pooled) {
  std::vector<double> weights(static_cast<size_t>(states.numel()));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::cos(static_cast<double>(i));
  return sum(states * from_vector(weights, states.shape()).to(DType::f32)) + sum(pooled);
}

void write(const std::string& path, const ImageModel& model, const Tensor& values,
           const Tensor& loss) {
  StateDict out = {{"values", values}, {"loss", loss}};
  for (const auto& [name, parameter] : model.named_parameters())
    if (parameter.grad().defined()) out.emplace_back("grad." + name, parameter.grad());
  for (const auto& [name, buffer] : model.named_buffers()) out.emplace_back("buffer." + name, buffer);
  write_state(path, out);
}

void step(bool base, bool training, const std::string& folder, const std::string& data,
          const std::string& path) {
  const StateDict in = read_state(data);
  const Tensor& pixels = *find_tensor(in, "pixel_values");
  if (base) {
    auto model = AutoImageModel::from_pretrained(folder);
    model->train(training);
    const ImageModelOutput out = (*model)(pixels);
    const Tensor loss = base_loss(out.last_hidden_state, out.pooler_output);
    loss.backward();
    write(path, *model, out.last_hidden_state, loss);
    return;
  }
  auto model = AutoModelForImageClassification::from_pretrained(folder);
  model->train(training);
  Tensor logits;
  model->register_forward_hook(
      [&](nn::Module&, const std::vector<Tensor>&, Tensor& output) { logits = output; });
  const Tensor loss = model->loss(pixels, *find_tensor(in, "labels"));
  loss.backward();
  write(path, *model, logits, loss);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "save" && arguments[1] == "base")
    AutoImageModel::from_pretrained(arguments[2])->save_pretrained(arguments[3]);
  else if (arguments.size() == 4 && arguments[0] == "save")
    AutoModelForImageClassification::from_pretrained(arguments[2])->save_pretrained(arguments[3]);
  else if (arguments.size() == 6 && arguments[0] == "step")
    step(arguments[1] == "base", arguments[2] == "train", arguments[3], arguments[4], arguments[5]);
  else
    throw std::runtime_error("usage: vision_peer save|step ... (see its source)");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
