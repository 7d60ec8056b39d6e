#include "corten/seq2seq.h"

#include <algorithm>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/safetensors.h"
#include "models/model_folder.h"
#include "models/stored_weights.h"
#include "models/token_ids.h"
#include "nn/state.h"

namespace corten {
namespace {

void check_ids(std::string_view model, std::string_view what, const Tensor& ids) {
  if (!ids.defined() || ids.dim() != 2 || is_floating(ids.dtype()) || ids.size(1) < 1)
    usage_error("[{}] {} must be integers [batch, tokens], got {}", model, what,
                ids.defined() ? nn::type_text(ids) : "nothing");
}
void check_mask(std::string_view model, std::string_view what, const Tensor& mask,
                const Tensor& ids) {
  if (mask.defined() && mask.shape() != ids.shape())
    usage_error("[{}] the {} {} does not fit the ids {}", model, what, nn::type_text(mask),
                nn::type_text(ids));
}

}  // namespace

void Seq2SeqModel::check_input(const Seq2SeqInput& input) const {
  if (!has_decoder()) usage_error("[{}] has no decoder", type_name());
  check_ids(type_name(), "the input's ids", input.ids);
  check_ids(type_name(), "the decoder's ids", input.decoder_ids);
  check_mask(type_name(), "attention mask", input.attention_mask, input.ids);
  check_mask(type_name(), "decoder's attention mask", input.decoder_attention_mask,
             input.decoder_ids);
  if (input.ids.size(0) != input.decoder_ids.size(0))
    usage_error("[{}] ids {} and the decoder's ids {} are of different batches", type_name(),
                nn::type_text(input.ids), nn::type_text(input.decoder_ids));
}

Tensor Seq2SeqModel::encode(const Tensor& ids, const Tensor& attention_mask) {
  check_ids(type_name(), "the input's ids", ids);
  check_mask(type_name(), "attention mask", attention_mask, ids);
  return run({ids},
             [&](const std::vector<Tensor>& in) { return forward_encoder(in[0], attention_mask); });
}

Tensor Seq2SeqModel::hidden_states(const Seq2SeqInput& input) {
  check_input(input);
  return run({input.ids, input.decoder_ids}, [&](const std::vector<Tensor>& in) {
    Seq2SeqInput replaced = input;
    replaced.ids = in[0];
    replaced.decoder_ids = in[1];
    return forward_hidden(replaced);
  });
}

DType Seq2SeqModel::dtype() const {
  for (const Tensor& parameter : parameters()) return parameter.dtype();
  return DType::f32;
}

void Seq2SeqModel::set_generation_config_json(std::string_view text, std::string_view source) {
  const Json json = parse_config(text, source);
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  token_ids(json.contains("eos_token_id") ? json.at("eos_token_id") : Json(),
            format("{}: \"eos_token_id\"", source));
  if (const Json* start = json.find("decoder_start_token_id"); start && !start->is_null())
    start->as_int(format("{}: \"decoder_start_token_id\"", source));
  generation_config_json_ = json.dump();
}

void Seq2SeqModel::load_weights(const std::string& folder) {
  if (!folder_exists(folder)) usage_error("there is no folder {}", folder);
  const Safetensors file = Safetensors::open(folder);
  check_weights(file, folder);
  copy_weights(type_name(), folder, file, state_dict(),
               [&](std::string_view stored) { return map_weight_name(stored, file); });
  mark_initialized();
}

void Seq2SeqModel::save_pretrained(const std::string& folder, uint64_t max_shard_size) const {
  const Json config = Json::parse(config_json(), "config.json");
  save_model(folder, config, dtype(), state_dict(), max_shard_size);
  Json generation = Json::parse(generation_config_json(), "generation_config.json");
  if (generation.empty()) {
    generation.set("_from_model_config", true);
    for (std::string_view key :
         {"bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id"})
      if (const Json* value = config.find(key); value && !value->is_null())
        generation.set(key, *value);
  }
  write_file_atomic(join_path(folder, "generation_config.json"), generation.dump(2) + "\n");
}

Tensor Seq2SeqLM::operator()(const Seq2SeqInput& input) {
  check_input(input);
  return run({input.ids, input.decoder_ids}, [&](const std::vector<Tensor>& in) {
    Seq2SeqInput replaced = input;
    replaced.ids = in[0];
    replaced.decoder_ids = in[1];
    return forward_logits(replaced);
  });
}

Tensor Seq2SeqLM::shift_right(const Tensor& labels) const {
  check_ids(type_name(), "labels", labels);
  const auto start = decoder_start_token_id();
  const auto padding = pad_token_id();
  if (!start || !padding)
    usage_error("[{}] labels need \"{}\" in config.json, from which the decoder's ids are made",
                type_name(), start ? "pad_token_id" : "decoder_start_token_id");
  const int64_t B = labels.size(0), T = labels.size(1);
  const Tensor before = full({B, 1}, static_cast<double>(*start), labels.dtype());
  const Tensor ids = T == 1 ? before : concat({before, labels.slice(1, 0, T - 1)}, 1);
  return where(ids == -100.0, scalar(static_cast<double>(*padding), labels.dtype()), ids);
}

Tensor Seq2SeqLM::loss(const Seq2SeqInput& input, const Tensor& labels, Reduction reduction) {
  Seq2SeqInput full = input;
  if (!full.decoder_ids.defined()) full.decoder_ids = shift_right(labels);
  if (labels.shape() != full.decoder_ids.shape())
    usage_error("[{}] labels {} do not fit the decoder's ids {}", type_name(),
                nn::type_text(labels), nn::type_text(full.decoder_ids));
  return cross_entropy((*this)(full), labels, reduction);
}

std::vector<int64_t> Seq2SeqLM::eos_token_ids() const {
  const Json json = Json::parse(generation_config_json(), "generation_config.json");
  const Json* eos = json.find("eos_token_id");
  return eos && !eos->is_null() ? token_ids(*eos, "eos_token_id") : default_eos_token_ids();
}

std::optional<int64_t> Seq2SeqLM::decoder_start_token_id() const {
  const Json json = Json::parse(generation_config_json(), "generation_config.json");
  const Json* start = json.find("decoder_start_token_id");
  if (start && !start->is_null()) return start->as_int("decoder_start_token_id");
  return default_decoder_start_token_id();
}

Seq2SeqCache Seq2SeqLM::make_cache(int64_t batch, int64_t length, int64_t inputs,
                                   int64_t input_tokens) {
  if (batch < 1 || length < 1 || inputs < 1 || input_tokens < 1 || batch % inputs != 0)
    usage_error(
        "[{}] a cache for {} sequences of {} positions and {} inputs of {} tokens is not "
        "possible",
        type_name(), batch, length, inputs, input_tokens);
  const CacheShape shape = cache_shape();
  Seq2SeqCache cache;
  cache.own.batch = batch;
  cache.own.length = length;
  cache.inputs = inputs;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    for (std::vector<Tensor>* side : {&cache.own.keys, &cache.own.values})
      side->push_back(zeros({batch, shape.heads, length, shape.head_size}, dtype()));
    for (std::vector<Tensor>* side : {&cache.cross_keys, &cache.cross_values})
      side->push_back(zeros({inputs, shape.heads, input_tokens, shape.head_size}, dtype()));
  }
  cache.visible = ones({inputs, input_tokens}, DType::boolean);
  return cache;
}

void Seq2SeqLM::prefill(const Tensor& ids, const Tensor& attention_mask, Seq2SeqCache& cache) {
  check_ids(type_name(), "the input's ids", ids);
  check_mask(type_name(), "attention mask", attention_mask, ids);
  if (ids.shape() != cache.visible.shape())
    usage_error("[{}] ids {} do not fit a cache for {}", type_name(), nn::type_text(ids),
                nn::type_text(cache.visible));
  const NoGradGuard no_grad;
  run({ids}, [&](const std::vector<Tensor>& in) {
    forward_prefill(in[0], attention_mask, cache);
    return in[0];
  });
}

Tensor Seq2SeqLM::decode(const Tensor& ids, const Tensor& position, Seq2SeqCache& cache) {
  check_ids(type_name(), "the decoder's ids", ids);
  if (ids.size(0) != cache.own.batch || ids.size(1) != 1 || position.dim() != 0 ||
      position.dtype() != DType::i64)
    usage_error("[{}] decoding needs ids [{}, 1] and a position i64[], got {} and {}", type_name(),
                cache.own.batch, nn::type_text(ids), nn::type_text(position));
  const NoGradGuard no_grad;
  return run({ids},
             [&](const std::vector<Tensor>& in) { return forward_decode(in[0], position, cache); });
}

}  // namespace corten
