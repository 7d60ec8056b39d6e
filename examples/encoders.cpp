// Encoders: a small BERT learns to tell whether a sequence holds a token, is saved in Hugging Face
// layout and becomes the base of a masked language model.
#include <cstdio>

#include "corten/corten.h"

using namespace corten;

constexpr const char* kConfig = R"({
  "model_type": "bert", "vocab_size": 16, "hidden_size": 32, "intermediate_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32,
  "num_labels": 2
})";

/// Rows of ids 2 to 15 after a token 1 that collects the answer: is there a 7?
struct Examples {
  Tensor ids, labels;
};
Examples draw(int64_t rows, uint32_t& state) {
  constexpr int64_t kTokens = 12;
  std::vector<int64_t> ids, labels;
  for (int64_t row = 0; row < rows; ++row) {
    ids.push_back(1);
    int64_t found = 0;
    for (int64_t t = 1; t < kTokens; ++t) {
      state = state * 1664525 + 1013904223;
      const int64_t id = 2 + (state >> 16) % 14;
      ids.push_back(id);
      if (id == 7) found = 1;
    }
    labels.push_back(found);
  }
  return {from_vector(ids, {rows, kTokens}), from_vector(labels, {rows})};
}

int main() try {
  auto model = AutoModelForSequenceClassification::from_config(kConfig);
  model->initialize(/*seed=*/1);
  optim::AdamW optimizer(model->parameters(), {.lr = 3e-3});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss({.ids = in[0]}, in[1]);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  });
  uint32_t state = 1;
  for (int i = 0; i <= 150; ++i) {
    const Examples batch = draw(32, state);
    const Tensor loss = step({batch.ids, batch.labels})[0];
    if (i % 50 == 0) std::printf("step %3d  loss %.4f\n", i, loss.item());
  }
  model->save_pretrained("tiny-bert");  // transformers' from_pretrained() reads it

  auto trained = AutoModelForSequenceClassification::from_pretrained("tiny-bert");
  const Examples unseen = draw(256, state);
  const Tensor answers = argmax((*trained)({.ids = unseen.ids}), 1);
  std::printf("%.0f%% right\n", 100 * mean((answers == unseen.labels).to(DType::f32)).item());

  // The same encoder under another head, which starts anew.
  auto masked = AutoModelForMaskedLM::from_pretrained("tiny-bert");
  for (const std::string& name : masked->load_report().initialized)
    std::printf("new: %s\n", name.c_str());
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.kind() == ErrorKind::Usage ? 2 : 1;
}
