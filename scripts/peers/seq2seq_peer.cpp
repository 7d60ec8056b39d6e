// The C++ side of compare_t5.py.
//   seq2seq_peer save lm|base FOLDER OUT [BYTES]   loads a model and writes it again, in shards of
//                                                  so many bytes
//   seq2seq_peer gradients FOLDER INPUTS OUT       safetensors files: input_ids, attention_mask,
//                                                  labels and, if there, decoder_input_ids; to
//                                                  logits, loss and grad.NAME of every parameter
//   seq2seq_peer generate FOLDER CONFIG INPUTS     a generation_config.json, and one line of ids
//                                                  for each input; prints the new ones
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "corten/seq2seq.h"
#include "io/tensor_bytes.h"

using namespace corten;

namespace {

void save(const std::string& task, const std::string& folder, const std::string& out,
          uint64_t max_shard_size) {
  if (task == "base")
    AutoSeq2SeqModel::from_pretrained(folder)->save_pretrained(out, max_shard_size);
  else
    AutoModelForSeq2SeqLM::from_pretrained(folder)->save_pretrained(out, max_shard_size);
}

void gradients(const std::string& folder, const std::string& inputs, const std::string& out) {
  const auto model = AutoModelForSeq2SeqLM::from_pretrained(folder);
  const StateDict state = read_state(inputs);
  const auto find = [&](const char* name) {
    const Tensor* found = find_tensor(state, name);
    return found ? *found : Tensor();
  };
  Seq2SeqInput input{.ids = find("input_ids"),
                     .attention_mask = find("attention_mask"),
                     .decoder_ids = find("decoder_input_ids"),
                     .decoder_attention_mask = find("decoder_attention_mask")};
  if (!input.decoder_ids.defined()) input.decoder_ids = model->shift_right(find("labels"));
  const Tensor loss = model->loss(input, find("labels"));
  loss.backward();
  StateDict results = {{"loss", loss.detach()}, {"logits", (*model)(input).detach()}};
  for (const auto& [name, parameter] : model->named_parameters())
    if (parameter.grad().defined()) results.emplace_back("grad." + name, parameter.grad());
  write_state(out, results);
}

void write_texts(const std::string& folder, const std::string& config, const std::string& inputs) {
  const auto model = AutoModelForSeq2SeqLM::from_pretrained(folder);
  std::stringstream json;
  json << std::ifstream(config).rdbuf();
  std::vector<std::vector<int64_t>> prompts;
  std::ifstream file(inputs);
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line);
    prompts.emplace_back();
    for (int64_t id; numbers >> id;) prompts.back().push_back(id);
  }
  const GenerationOptions options = GenerationConfig::from_json(json.str(), config).options(1);
  for (const auto& ids : generate(*model, prompts, options).ids) {
    for (int64_t id : ids) std::printf("%lld ", static_cast<long long>(id));
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> a(argv + 1, argv + argc);
  if ((a.size() == 4 || a.size() == 5) && a[0] == "save")
    save(a[1], a[2], a[3], a.size() == 5 ? std::stoull(a[4]) : kMaxShardSize);
  else if (a.size() == 4 && a[0] == "gradients")
    gradients(a[1], a[2], a[3]);
  else if (a.size() == 4 && a[0] == "generate")
    write_texts(a[1], a[2], a[3]);
  else
    throw std::runtime_error("usage: see the top of seq2seq_peer.cpp");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
