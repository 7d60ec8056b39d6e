#include "models/auto_model.h"

#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/strings.h"
#include "corten/encoders.h"
#include "corten/seq2seq.h"
#include "corten/vision.h"
#include "models/auto_seq2seq.h"
#include "models/gemma2/gemma2.h"
#include "models/gpt2/config.h"
#include "models/gpt2/gpt2.h"
#include "models/llama/llama.h"
#include "models/mistral/mistral.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "models/quantize_model.h"
#include "models/qwen2/qwen2.h"
#include "models/qwen3/qwen3.h"
#include "models/stored_weights.h"

namespace corten {
namespace {

struct ModelType {
  std::string_view name, architecture;
  std::unique_ptr<CausalLM> (*make)(const Json& config, std::string_view source);
  ModelInfo (*info)(const Json& config, std::string_view source);
  Json (*defaults)();  ///< every field
  layers::HeadlessDecoder (*headless)(const Json& config, std::string_view source);
};

template <const layers::DecoderFamily& kFamily>
ModelType decoder() {
  return {kFamily.model_type,
          kFamily.architecture,
          [](const Json& config, std::string_view source) -> std::unique_ptr<CausalLM> {
            return std::make_unique<layers::DecoderLM>(kFamily, kFamily.read(config, source));
          },
          [](const Json& json, std::string_view source) {
            const layers::DecoderConfig c = kFamily.read(json, source);
            return ModelInfo{.num_parameters = c.num_parameters(kFamily.norms_per_layer),
                             .vocab_size = c.vocab_size,
                             .max_positions = c.max_position_embeddings};
          },
          [] { return kFamily.read(Json::object(), "defaults").json; },
          [](const Json& config, std::string_view source) {
            return layers::headless_decoder(kFamily, kFamily.read(config, source));
          }};
}

/// The table of architectures: one line each.
const std::vector<ModelType>& types() {
  static const std::vector<ModelType> all = {
      {"gpt2", "GPT2LMHeadModel",
       [](const Json& config, std::string_view source) -> std::unique_ptr<CausalLM> {
         return std::make_unique<gpt2::LMHeadModel>(gpt2_config(config, source));
       },
       [](const Json& config, std::string_view source) {
         const GPT2Config c = gpt2_config(config, source);
         return ModelInfo{.num_parameters = c.num_parameters(),
                          .vocab_size = c.vocab_size,
                          .max_positions = c.n_positions};
       },
       [] { return gpt2_config_json(GPT2Config()); },
       [](const Json& config, std::string_view source) {
         return gpt2::headless_decoder(gpt2_config(config, source));
       }},
      decoder<llama::kFamily>(),
      decoder<mistral::kFamily>(),
      decoder<qwen2::kFamily>(),
      decoder<qwen3::kFamily>(),
      decoder<gemma2::kFamily>(),
  };
  return all;
}

const ModelType& model_type(const Json& config, std::string_view source) {
  const std::string wanted = model_type_of(config, source, model_types());
  for (const ModelType& type : types())
    if (type.name == wanted) return type;
  const std::vector<std::string> encoders = encoder_model_types();
  if (std::ranges::find(encoders, wanted) != encoders.end())
    usage_error("{}: model_type \"{}\" is an encoder, which continues no text (decoders: {})",
                source, wanted, fmt::join(model_types(), ", "));
  const std::vector<std::string> image_models = image_model_types();
  if (std::ranges::find(image_models, wanted) != image_models.end())
    usage_error("{}: model_type \"{}\" is an image model, not a decoder (decoders: {})", source,
                wanted, fmt::join(model_types(), ", "));
  const std::vector<std::string> seq2seq = seq2seq_model_types();
  if (std::ranges::find(seq2seq, wanted) != seq2seq.end())
    usage_error("{}: model_type \"{}\" is an encoder-decoder, not a decoder (decoders: {})", source,
                wanted, fmt::join(model_types(), ", "));
  unknown_model_type(wanted, source);
}

}  // namespace

std::vector<std::string> model_types() {
  std::vector<std::string> names;
  for (const ModelType& type : types()) names.emplace_back(type.name);
  return names;
}

ModelInfo model_info(const Json& config, std::string_view source) {
  const ModelType& type = model_type(config, source);
  ModelInfo info = type.info(config, source);
  info.model_type = type.name;
  info.architecture = type.architecture;
  return info;
}

Json decoder_defaults(std::string_view model_type) {
  for (const ModelType& type : types())
    if (type.name == model_type) return type.defaults();
  return {};
}

std::vector<std::string> config_field_names(std::string_view model_type) {
  std::vector<std::string> names = seq2seq_field_names(model_type);
  for (const ModelType& type : types())
    if (type.name == model_type) {
      const Json defaults = type.defaults();
      for (const auto& [key, value] : defaults.items()) names.push_back(key);
      // Left out where it is hidden_size / num_attention_heads.
      if (defaults.contains("num_key_value_heads") && !defaults.contains("head_dim"))
        names.emplace_back("head_dim");
    }
  return names;
}

ModelInfo model_info(std::string_view config_json, std::string_view source) {
  return model_info(parse_config(config_json, source), source);
}

std::unique_ptr<CausalLM> make_model(const Json& config, std::string_view source) {
  return model_type(config, source).make(config, source);
}

bool is_decoder_type(std::string_view model_type) {
  return std::ranges::find(types(), model_type, &ModelType::name) != types().end();
}

layers::HeadlessDecoder headless_decoder(const Json& config, std::string_view source) {
  return model_type(config, source).headless(config, source);
}

std::unique_ptr<CausalLM> make_model(std::string_view config_json, std::string_view source) {
  return make_model(parse_config(config_json, source), source);
}

namespace {

/// The dtype that the config of a model gives its weights, under its newer or its older key: files of quantised models have
/// scales of other types as well.
std::optional<DType> config_dtype(const Json& config) {
  for (const char* key : {"dtype", "torch_dtype"})
    if (const Json* value = config.find(key); value && value->is_string())
      for (DType dtype : {DType::f32, DType::bf16, DType::f16})
        if (const std::string& name = value->as_string(key);
            name == (dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16"))
          return dtype;
  return std::nullopt;
}

}  // namespace

std::unique_ptr<CausalLM> load_model(const std::string& folder, std::optional<DType> dtype) {
  return load_model(folder, LoadOptions{.dtype = dtype});
}

std::unique_ptr<CausalLM> load_model(const std::string& folder, const LoadOptions& options) {
  std::optional<Quantization> quantization = options.quantization();
  const std::string config = join_path(folder, "config.json");
  Json json = read_config_json(folder);
  const ModelType& type = model_type(json, config);
  StoredWeights stored = stored_weights(folder);
  const std::optional<Quantization> done = read_quantization_config(json, config);
  if (done && quantization)
    usage_error("{} is quantised to {} bits already: quantise the original instead", folder, done->bits);
  if (done) {
    quantization = done;
    stored.elements *= 8 / done->bits;  // of bytes
    stored.dtype = config_dtype(json).value_or(DType::bf16);
  }
  json.erase("quantization_config");  // the model's own fields remain
  check_parameter_count(type.info(json, config).num_parameters, stored, config, folder);
  std::unique_ptr<CausalLM> model = type.make(json, config);
  if (quantization) quantize_model(*model, *quantization, false);
  if (const DType wanted = options.dtype.value_or(stored.dtype); wanted != DType::f32) model->to(wanted);
  model->load_weights(folder);
  load_generation_config(*model, folder);
  model->eval();
  return model;
}

void copy_tokenizer_files(const std::string& from, const std::string& to) {
  create_folders(to);
  for (const char* file :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "vocab.json", "merges.txt"})
    if (const std::string path = join_path(from, file); has_file(path))
      write_file_atomic(join_path(to, file), read_file(path));
}

}  // namespace corten
