// Any folder in Hugging Face layout: what it holds, whether its files agree, and what the model says.
//
//   ./auto_classes            makes a small Qwen3 with a tokenizer, then reads it as any folder
//   ./auto_classes FOLDER [PROMPT]
#include <cstdio>

#include "corten/corten.h"

using namespace corten;

void make(const std::string& folder) {
  auto model = AutoModelForCausalLM::from_config(R"({
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 300, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 64, "tie_word_embeddings": true, "eos_token_id": 0})");
  model->initialize(/*seed=*/1);
  model->save_pretrained(folder);
  const std::string_view text = "the cat sat on the mat and the dog sat on the log";
  Tokenizer::train({&text, 1}, {.vocab_size = 270}).save_pretrained(folder);
}

int main(int argc, char** argv) try {
  const std::string folder = argc > 1 ? argv[1] : "tiny-qwen3", prompt = argc > 2 ? argv[2] : "the cat";
  if (argc <= 1) make(folder);

  const AutoConfig config = AutoConfig::from_pretrained(folder);
  std::printf("%s, vocab_size %s\n", config.model_type().c_str(), config.field("vocab_size").value_or("?").c_str());
  for (const FolderProblem& problem : check_model_folder(folder))
    std::printf("%s; %s\n", problem.what.c_str(), problem.fix.c_str());

  const Tokenizer tokenizer = AutoTokenizer::from_pretrained(folder);
  auto model = AutoModelForCausalLM::from_pretrained(folder);
  std::vector<int64_t> ids;
  for (int32_t id : tokenizer.encode_ids(prompt)) ids.push_back(id);
  const Generation out = generate(*model, {ids}, {.max_new_tokens = 8, .sampling = {.temperature = 0}});
  std::printf("%s", prompt.c_str());
  Tokenizer::StreamDecoder text = tokenizer.stream_decoder();
  for (int64_t id : out.ids[0]) std::printf("%s", text.push(static_cast<int32_t>(id)).c_str());
  std::printf("%s\n", text.finish().c_str());

  // The same folder without the head that continues text, and with a fresh one that judges texts.
  const Tensor tokens = from_vector(ids, {1, static_cast<int64_t>(ids.size())});
  auto body = AutoModel::from_pretrained(folder);
  const Tensor states = (*body)({.ids = tokens}).last_hidden_state;
  std::printf("%s: states of %lld numbers\n", body->type_name().c_str(),
              static_cast<long long>(states.size(2)));
  auto judge = AutoModelForSequenceClassification::from_pretrained(folder, {.num_labels = 3});
  const Tensor logits = (*judge)({.ids = tokens});
  for (const std::string& name : judge->load_report().initialized)
    std::printf("%s drawn anew: %lld logits\n", name.c_str(),
                static_cast<long long>(logits.size(1)));
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return error.kind() == ErrorKind::Usage ? 2 : 1;
}
