// Architectures by their config.json: LLaMA, Mistral, Qwen2, Qwen3 and Gemma 2 as well as GPT-2.
//
//   ./decoders            makes, trains a little, saves and continues a small LLaMA
//   ./decoders FOLDER     says what a folder of transformers holds and continues two prompts
#include <cstdio>

#include "corten/corten.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "corten/optim.h"

using namespace corten;

// The fields of Hugging Face's config.json; what is left out has its default there.
constexpr const char* kConfig = R"({
  "model_type": "llama", "vocab_size": 32, "hidden_size": 32, "intermediate_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "max_position_embeddings": 64, "tie_word_embeddings": true,
  "rope_parameters": {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 4.0,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
})";

void make(const std::string& folder) {
  const ModelInfo info = model_info(kConfig);
  std::printf("%s with %lld parameters\n", info.architecture.c_str(),
              static_cast<long long>(info.num_parameters));
  auto model = make_model(kConfig);
  model->initialize(/*seed=*/1);
  optim::AdamW optimizer(model->parameters(), {.lr = 1e-2});
  CompiledFunction step = compile([&](const std::vector<Tensor>& in) {
    Tensor loss = model->loss(in[0], in[1]);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss.detach()};
  });
  const Tensor tokens = remainder_trunc(arange(4 * 17) * 3.0, full({1}, 32, DType::i64))
                            .reshape({4, 17});  // each token is three more than the one before
  for (int i = 0; i < 40; ++i) {
    const Tensor loss = step({tokens.slice(1, 0, 16), tokens.slice(1, 1, 17)})[0];
    if (i % 13 == 0) std::printf("step %2d  loss %.4f\n", i, loss.item());
  }
  model->save_pretrained(folder);  // transformers' from_pretrained() reads it
}

int main(int argc, char** argv) try {
  const std::string folder = argc > 1 ? argv[1] : "tiny-llama";
  if (argc <= 1) make(folder);

  auto model = load_model(folder);
  std::printf("%s, %lld parameters, %s\n", model->type_name().c_str(),
              static_cast<long long>(model->num_parameters()), name(model->dtype()).data());
  // Prompts of unequal length are padded at the left.
  const Generation out = generate(*model, {{1, 4, 7, 10}, {20, 23}},
                                  {.max_new_tokens = 8, .sampling = {.temperature = 0}});
  for (const auto& ids : out.ids) {
    for (int64_t id : ids) std::printf("%lld ", static_cast<long long>(id));
    std::printf("\n");
  }
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.kind() == ErrorKind::Usage ? 2 : 1;
}
