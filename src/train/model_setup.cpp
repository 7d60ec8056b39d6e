#include "train/model_setup.h"

#include "base/file.h"
#include "base/format.h"
#include "base/process.h"
#include "base/strings.h"
#include "models/presets.h"
#include "runtime/allocator.h"

namespace corten {
namespace {

int64_t integer_field(const Json& config, const char* name, int64_t fallback) {
  const Json* value = config.find(name);
  return value && !value->is_null() ? value->as_int(name) : fallback;
}

}  // namespace

std::string model_config_json(const Config& config, int64_t vocab_size, int64_t end_of_text) {
  const ModelConfig& model = config.model;
  Json json = Json::object();
  if (!model.path.empty()) {
    const std::string file = join_path(model.path, "config.json");
    json = Json::parse(read_file(file, 16 << 20), file);
  } else if (!model.preset.empty()) {
    json = preset_config(model.preset);
    json.erase("vocab_size");  // of the published checkpoint
  } else {
    json.set("model_type", model.model_type);
  }
  for (const auto& [name, value] : model.fields.items()) json.set(name, value);

  const bool given = json.contains("vocab_size");
  const std::string origin = model.path.empty() ? "model" : model.path;
  if (!given && vocab_size > 0) json.set("vocab_size", vocab_size);
  if (!given && vocab_size == 0)
    usage_error("the vocabulary size is unknown: set tokenizer.path or model.vocab_size");
  const int64_t vocab = integer_field(json, "vocab_size", 0);
  if (vocab < vocab_size)
    usage_error("{}: vocab_size = {} is smaller than the tokenizer's {}", origin, vocab,
                vocab_size);
  const int64_t positions = integer_field(json, "n_positions", GPT2Config().n_positions);
  if (config.data.seq > positions)
    usage_error("data.seq = {} exceeds the model's n_positions = {}", config.data.seq, positions);
  for (const char* name : {"bos_token_id", "eos_token_id"}) {
    if (model.fields.contains(name) || (!model.path.empty() && model.init != "random")) continue;
    json.set(name, end_of_text >= 0 ? Json(end_of_text) : Json());
  }
  return json.dump(2);
}

std::unique_ptr<CausalLM> build_model(const std::string& config_json, const std::string& weights,
                                      int64_t seed) {
  std::unique_ptr<CausalLM> model = make_model(config_json);
  if (weights.empty())
    model->initialize(seed);
  else
    model->load_weights(weights);
  return model;
}

int64_t count_parameters(const std::string& config_json) {
  const GPT2Config c = GPT2Config::from_json(config_json);
  const int64_t width = c.n_embd, inner = c.inner();
  // c_attn, c_proj and the MLP's two projections with their biases, and two norms.
  const int64_t block =
      4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width;
  const int64_t head = c.tie_word_embeddings ? 0 : c.vocab_size * width;
  return (c.vocab_size + c.n_positions) * width + c.n_layer * block + 2 * width + head;
}

void require_memory(uint64_t bytes, const std::string& what, const std::string& hint) {
  // The code itself, the tokenizer and the allocator need some as well.
  const uint64_t margin = (uint64_t{32} << 20) + bytes / 32;
  uint64_t available = available_memory_bytes();
  available -= std::min(available, static_cast<uint64_t>(runtime::untouched_memory()));
  if (bytes + margin <= available) return;
  resource_error("{} needs {} ({} bytes) and {} to spare, but only {} of memory are available: {}",
                 what, format_bytes(bytes), bytes, format_bytes(margin), format_bytes(available),
                 hint);
}

}  // namespace corten
