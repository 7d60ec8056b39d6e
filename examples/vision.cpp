// Image models: a small ResNet learns to tell rows of stripes from columns of stripes, is saved in
// Hugging Face layout and read again; a vision transformer is made from a config.
#include <cstdio>

#include "corten/corten.h"

using namespace corten;

constexpr const char* kConfig = R"({
  "model_type": "resnet", "num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 16],
  "depths": [1, 1], "layer_type": "basic", "num_labels": 2
})";

/// Noisy stripes along rows (class 0) or columns (class 1).
struct Examples {
  Tensor pixels, labels;
};
Examples draw(int64_t images, uint32_t& state) {
  constexpr int64_t kSize = 16;
  std::vector<float> pixels;
  std::vector<int64_t> labels;
  const auto random = [&] { return (state = state * 1664525 + 1013904223) >> 16; };
  for (int64_t i = 0; i < images; ++i) {
    const int64_t label = random() % 2, shift = random() % 4;
    labels.push_back(label);
    for (int64_t row = 0; row < kSize; ++row)
      for (int64_t column = 0; column < kSize; ++column) {
        const int64_t place = (label == 0 ? row : column) + shift;
        const float noise = static_cast<float>(random() % 1000) / 500 - 1;
        pixels.push_back((place / 2 % 2 == 0 ? 1.0f : -1.0f) + noise);
      }
  }
  return {from_vector(pixels, {images, 1, kSize, kSize}), from_vector(labels, {images})};
}

int main() try {
  auto model = AutoModelForImageClassification::from_config(kConfig);
  model->initialize(/*seed=*/1);
  optim::SGD optimizer(model->parameters(), {.lr = 0.05, .momentum = 0.9});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss(in[0], in[1]);  // batch norms keep their statistics as they go
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  });
  uint32_t state = 1;
  for (int i = 0; i <= 60; ++i) {
    const Examples batch = draw(32, state);
    const Tensor loss = step({batch.pixels, batch.labels})[0];
    if (i % 20 == 0) std::printf("step %2d  loss %.4f\n", i, loss.item());
  }
  model->save_pretrained("tiny-resnet");  // transformers' from_pretrained() reads it

  auto trained = AutoModelForImageClassification::from_pretrained("tiny-resnet");
  const Examples unseen = draw(256, state);
  const Tensor answers = argmax((*trained)(unseen.pixels), 1);
  std::printf("%.0f%% right\n", 100 * mean((answers == unseen.labels).to(DType::f32)).item());

  auto vit = AutoImageModel::from_config(R"({
    "model_type": "vit", "num_channels": 1, "image_size": 16, "patch_size": 4, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64})");
  vit->initialize(/*seed=*/1);
  vit->eval();
  const ImageModelOutput out = (*vit)(unseen.pixels);
  std::printf("%lld images of %lld tokens\n", static_cast<long long>(out.last_hidden_state.size(0)),
              static_cast<long long>(out.last_hidden_state.size(1)));
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.kind() == ErrorKind::Usage ? 2 : 1;
}
