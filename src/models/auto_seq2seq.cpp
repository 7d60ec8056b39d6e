#include "models/auto_seq2seq.h"

#include <algorithm>

#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "corten/safetensors.h"
#include "corten/seq2seq.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "models/stored_weights.h"
#include "models/t5/t5.h"

namespace corten {
namespace {

t5::Config read(const Json& json, std::string_view source) {
  const std::string wanted = model_type_of(json, source, seq2seq_model_types());
  if (wanted != "t5")
    wrong_model_type(wanted, "an encoder-decoder", source);
  return t5::read_config(json, source);
}

/// Whether "architectures" names an encoder alone.
bool names_encoder(const Json& json) {
  const Json* names = json.find("architectures");
  return names && names->is_array() && !names->elements().empty() &&
         names->elements()[0] == Json("T5EncoderModel");
}

/// A head in a file is one of its own where it differs from the token embedding or where the config
/// says so; otherwise both are one, whatever the config says, as in transformers.
bool is_tied(const t5::Config& config, const Safetensors& file) {
  const StoredTensor* head = file.find("lm_head.weight");
  const StoredTensor* shared = file.find("shared.weight");
  if (!head || !shared) return !head;
  return config.tie_word_embeddings && head->dtype == shared->dtype && head->dims == shared->dims &&
         std::ranges::equal(head->bytes, shared->bytes);
}

template <typename M, typename Make>
std::unique_ptr<M> from_folder(const std::string& folder, std::optional<DType> dtype, Make make) {
  const std::string path = join_path(folder, "config.json");
  const Json json = read_config_json(folder);
  const t5::Config config = read(json, path);
  const StoredWeights stored = stored_weights(folder);
  // An encoder alone may be of a config with a decoder.
  check_parameter_count(config.num_parameters(), stored, path, folder, 8);
  std::unique_ptr<M> model = make(config, json);
  if (const DType wanted = dtype.value_or(stored.dtype); wanted != DType::f32) model->to(wanted);
  model->load_weights(folder);
  load_generation_config(*model, folder);
  model->eval();
  return model;
}

}  // namespace

std::vector<std::string> seq2seq_model_types() {
  return {"t5"};
}

bool is_seq2seq_type(std::string_view model_type) {
  const std::vector<std::string> types = seq2seq_model_types();
  return std::ranges::find(types, model_type) != types.end();
}

Json seq2seq_defaults() {
  return t5::read_config(Json::object(), "defaults").json;
}

std::vector<std::string> seq2seq_field_names(std::string_view model_type) {
  if (!is_seq2seq_type(model_type)) return {};
  // Those without a default, and all others.
  std::vector<std::string> names = {"bos_token_id", "decoder_start_token_id",
                                    "scale_decoder_outputs"};
  const Json defaults = seq2seq_defaults();
  for (const auto& [key, value] : defaults.items()) names.push_back(key);
  return names;
}

Seq2SeqInfo seq2seq_info(const Json& config, std::string_view source) {
  const t5::Config c = read(config, source);
  return {.model_type = "t5", .vocab_size = c.vocab_size, .num_parameters = c.num_parameters()};
}

Json seq2seq_folder_config(const std::string& folder) {
  Json json = read_config_json(folder);
  const t5::Config config = read(json, join_path(folder, "config.json"));
  json.set("tie_word_embeddings", is_tied(config, Safetensors::open(folder)));
  json.set("scale_decoder_outputs", config.scales_outputs());
  return json;
}

std::unique_ptr<Seq2SeqLM> AutoModelForSeq2SeqLM::from_pretrained(const std::string& folder,
                                                                  std::optional<DType> dtype) {
  return from_folder<Seq2SeqLM>(folder, dtype, [&](const t5::Config& config, const Json&) {
    return t5::make_lm(config, is_tied(config, Safetensors::open(folder)));
  });
}
std::unique_ptr<Seq2SeqLM> AutoModelForSeq2SeqLM::from_config(std::string_view config_json,
                                                              std::string_view source) {
  const t5::Config config = read(parse_config(config_json, source), source);
  return t5::make_lm(config, config.tie_word_embeddings);
}

std::unique_ptr<Seq2SeqModel> AutoSeq2SeqModel::from_pretrained(const std::string& folder,
                                                                std::optional<DType> dtype) {
  return from_folder<Seq2SeqModel>(folder, dtype, [](const t5::Config& config, const Json& json) {
    return t5::make_model(config, names_encoder(json));
  });
}
std::unique_ptr<Seq2SeqModel> AutoSeq2SeqModel::from_config(std::string_view config_json,
                                                            std::string_view source) {
  const Json json = parse_config(config_json, source);
  return t5::make_model(read(json, source), names_encoder(json));
}

}  // namespace corten
