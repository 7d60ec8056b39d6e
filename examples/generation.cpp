// Loads a model folder in Hugging Face layout and continues a prompt of token ids.
//
//   ./generation                        a model that knows nothing
//   ./generation counting-gpt2 1 4 7    the one that training_loop.cpp trained
#include <cstdio>
#include <cstdlib>

#include "corten/corten.h"
#include "corten/generate.h"
#include "corten/models.h"

using namespace corten;

int main(int argc, char** argv) try {
  std::string folder = "tiny-gpt2";
  std::vector<int64_t> prompt = {1, 4, 7};
  if (argc > 1) {
    folder = argv[1];
    prompt.clear();
    for (int i = 2; i < argc; ++i) prompt.push_back(std::atoll(argv[i]));
  } else {  // a model that knows nothing yet
    auto fresh =
        make_gpt2({.vocab_size = 64, .n_positions = 32, .n_embd = 64, .n_layer = 2, .n_head = 4});
    fresh->initialize(/*seed=*/1);
    fresh->save_pretrained(folder);
  }

  auto model = load_model(folder);
  std::printf("%s, %lld parameters, %s\n", model->type_name().c_str(),
              static_cast<long long>(model->num_parameters()), name(model->dtype()).data());

  // Tokens arrive one by one; returning false would end the text.
  GenerationOptions options{.max_new_tokens = 16, .sampling = {.temperature = 0.8, .top_k = 10}};
  Generation out = generate(*model, {prompt}, options, [](int64_t, int64_t token) {
    std::printf("%lld ", static_cast<long long>(token));
    std::fflush(stdout);
    return true;
  });
  std::printf("\n%s after %zu tokens, %.0f tokens/s\n", to_string(out.reasons[0]),
              out.ids[0].size(), static_cast<double>(out.decode_steps) / out.decode_seconds);

  // Below generate(): logits of the next token from a session with a key-value cache.
  DecodeSession session(*model, /*batch=*/1, /*length=*/16);
  std::vector<float> logits = session.prefill({prompt[0]});
  logits =
      session.decode({sample_token(logits.data(), model->vocab_size(), {.temperature = 0}, 0)});
  std::printf("the cache holds %lld tokens, %lld bytes\n",
              static_cast<long long>(session.position()),
              static_cast<long long>(session.cache_bytes()));
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.kind() == ErrorKind::Usage ? 2 : 1;
}
