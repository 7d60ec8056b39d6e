#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/models.h"
#include "corten/safetensors.h"
#include "models/layers/placement.h"
#include "models/model_folder.h"
#include "models/quantize_model.h"
#include "models/stored_weights.h"
#include "models/token_ids.h"
#include "nn/state.h"

namespace corten {
namespace {

constexpr std::string_view kHeadWeight = "lm_head.weight";

}  // namespace

void CausalLM::check_ids(const Tensor& ids, int64_t longest) const {
  if (ids.dim() != 2 || is_floating(ids.dtype()) || ids.size(1) < 1)
    usage_error("[{}] token ids must be integers [batch, tokens], got {}", type_name(),
                nn::type_text(ids));
  if (ids.size(1) > longest)
    usage_error("[{}] {} tokens exceed the {} positions of the model", type_name(), ids.size(1),
                longest);
}
void CausalLM::check_mask(const Tensor& ids, const Tensor& attention_mask) const {
  if (attention_mask.shape() != ids.shape())
    usage_error("[{}] the attention mask {} does not fit the ids {}", type_name(),
                nn::type_text(attention_mask), nn::type_text(ids));
}

Tensor CausalLM::operator()(const Tensor& ids, const Tensor& attention_mask) {
  check_ids(ids, longest_input());
  std::vector<Tensor> inputs{ids};
  if (attention_mask.defined()) {
    check_mask(ids, attention_mask);
    inputs.push_back(attention_mask);
  }
  return run(std::move(inputs), [this](const std::vector<Tensor>& in) {
    return forward_logits(in[0], in.size() > 1 ? in[1] : Tensor());
  });
}

Tensor CausalLM::loss(const Tensor& ids, const Tensor& targets, Reduction reduction) {
  return cross_entropy((*this)(ids), targets, reduction);
}

Tensor CausalLM::loss(const Tensor& ids, const Tensor& labels, const Tensor& attention_mask) {
  if (labels.shape() != ids.shape() || is_floating(labels.dtype()))
    usage_error("[{}] labels {} do not fit the ids {}", type_name(), nn::type_text(labels),
                nn::type_text(ids));
  const Tensor logits = (*this)(ids, attention_mask);
  // Nothing is known of what follows the last token.
  const int64_t B = ids.size(0), T = ids.size(1);
  const Tensor next =
      concat({labels.slice(1, 1, T).to(DType::i64), full({B, 1}, -100, DType::i64)}, 1);
  return cross_entropy(logits, next);
}

KvCache CausalLM::make_cache(int64_t batch, int64_t length, bool padded) {
  if (batch < 1 || length < 1 || length > max_positions())
    usage_error("[{}] a cache for {} sequences of {} positions is not possible: the model has {}",
                type_name(), batch, length, max_positions());
  const CacheShape shape = cache_shape();
  KvCache cache;
  cache.batch = batch;
  cache.length = length;
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    for (std::vector<Tensor>* side : {&cache.keys, &cache.values})
      side->push_back(zeros({batch, shape.heads, length, shape.head_size}, dtype()));
  if (padded) {
    cache.visible = ones({batch, length}, DType::boolean);
    cache.shift = zeros({batch}, DType::i64);
  }
  return cache;
}

Tensor CausalLM::prefill(const Tensor& ids, KvCache& cache, const Tensor& attention_mask) {
  check_ids(ids, max_positions());
  if (ids.size(0) != cache.batch || ids.size(1) > cache.length)
    usage_error("[{}] ids {} do not fit a cache for {} sequences of {} positions", type_name(),
                nn::type_text(ids), cache.batch, cache.length);
  if (attention_mask.defined() != cache.visible.defined())
    usage_error("[{}] {} for a cache made with padded = {}", type_name(),
                attention_mask.defined() ? "an attention mask" : "no attention mask",
                cache.visible.defined());
  NoGradGuard no_grad;
  std::vector<Tensor> inputs{ids};
  if (attention_mask.defined()) {
    check_mask(ids, attention_mask);
    inputs.push_back(attention_mask);
    layers::remember_padding(attention_mask, cache);
  }
  return run(std::move(inputs), [&](const std::vector<Tensor>& in) {
    return forward_prefill(in[0], in.size() > 1 ? in[1] : Tensor(), cache);
  });
}

Tensor CausalLM::decode(const Tensor& ids, const Tensor& position, KvCache& cache) {
  check_ids(ids, max_positions());
  if (ids.size(0) != cache.batch || ids.size(1) != 1 || position.dim() != 0 ||
      position.dtype() != DType::i64)
    usage_error("[{}] decoding needs ids [{}, 1] and a position i64[], got {} and {}", type_name(),
                cache.batch, nn::type_text(ids), nn::type_text(position));
  NoGradGuard no_grad;
  return run({ids},
             [&](const std::vector<Tensor>& in) { return forward_decode(in[0], position, cache); });
}

Tensor CausalLM::extend(const Tensor& ids, const Tensor& position, KvCache& cache) {
  check_ids(ids, max_positions());
  if (ids.size(0) != cache.batch || ids.size(1) > cache.length || cache.visible.defined() ||
      position.dim() != 0 || position.dtype() != DType::i64)
    usage_error(
        "[{}] going on needs ids [{}, up to {}] without padding and a position i64[], got "
        "{} and {}",
        type_name(), cache.batch, cache.length, nn::type_text(ids), nn::type_text(position));
  NoGradGuard no_grad;
  return run({ids},
             [&](const std::vector<Tensor>& in) { return forward_extend(in[0], position, cache); });
}

Tensor CausalLM::forward_extend(const Tensor&, const Tensor&, KvCache&) {
  internal_error("[{}] extend() is not there, as can_extend() says", type_name());
}

void CausalLM::set_generation_config_json(std::string_view json, std::string_view source) {
  const Json config = parse_config(json, source);
  if (!config.is_object())
    usage_error("{}: expected an object, found {}", source, config.type_name());
  const Json* eos = config.find("eos_token_id");
  if (eos && !eos->is_null())
    set_eos_token_ids(token_ids(*eos, format("{}: \"eos_token_id\"", source)));
  generation_config_json_ = config.dump();
}

DType CausalLM::dtype() const {
  for (const Tensor& parameter : parameters()) return parameter.dtype();
  return DType::f32;
}

std::string CausalLM::map_weight_name(std::string_view stored) const {
  return std::string(stored);
}

void CausalLM::check_weights(const Safetensors&, std::string_view) const {}

void CausalLM::load_weights(const std::string& folder, int64_t seed) {
  if (!folder_exists(folder)) usage_error("there is no folder {}", folder);
  const Safetensors file = Safetensors::open(folder);
  check_weights(file, folder);
  LoadReport report;
  report.initialized = copy_weights(
      type_name(), folder, file, state_dict(),
      [this](std::string_view stored) { return map_weight_name(stored); }, this,
      [](std::string_view name) { return name == kHeadWeight; });
  if (!report.initialized.empty()) get_submodule("lm_head").initialize(seed);
  for (const StoredTensor& tensor : file.tensors())
    if (is_other_head(tensor.name)) report.unused.push_back(tensor.name);
  mark_initialized();
  report_ = std::move(report);
}

void CausalLM::save_pretrained(const std::string& folder, uint64_t max_shard_size) const {
  Json config = Json::parse(config_json(), "config.json");
  config.erase("quantization_config");
  config.set("dtype", config_dtype_name(dtype()));  // in front of what is new, so that a model that was loaded is written as it was
  if (quantization()) config.set("quantization_config", quantization_config(*quantization()));
  save_model(folder, config, dtype(), state_dict(), max_shard_size);

  Json generation = Json::parse(generation_config_json(), "generation_config.json");
  if (generation.empty()) {
    generation.set("_from_model_config", true);
    if (const Json* bos = config.find("bos_token_id"); bos && !bos->is_null())
      generation.set("bos_token_id", *bos);
  }
  if (eos_token_ids().empty())
    generation.erase("eos_token_id");
  else if (const Json* eos = generation.find("eos_token_id");
           !eos || token_ids(*eos, "eos_token_id") != eos_token_ids())
    generation.set("eos_token_id", token_ids_json(eos_token_ids()));
  write_file_atomic(join_path(folder, "generation_config.json"), generation.dump(2) + "\n");
}

}  // namespace corten
