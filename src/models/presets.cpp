#include "models/presets.h"

#include <cstdint>

#include "base/format.h"
#include "base/strings.h"

namespace corten {
namespace {

struct Gpt2Preset {
  const char* name;
  int64_t n_layer, n_head, n_embd, n_positions;
};
// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", table 2; heads as in
// the published checkpoints. distilgpt2: Sanh et al. 2019. gpt2-mini trains on a laptop.
constexpr Gpt2Preset kGpt2[] = {{"gpt2", 12, 12, 768, 1024},
                                {"gpt2-medium", 24, 16, 1024, 1024},
                                {"gpt2-large", 36, 20, 1280, 1024},
                                {"gpt2-xl", 48, 25, 1600, 1024},
                                {"distilgpt2", 6, 12, 768, 1024},
                                {"gpt2-mini", 4, 4, 256, 256}};

// The config.json of published decoders, less what has the default of its model_type. llama-mini and
// qwen3-mini train on a laptop.
struct DecoderPreset {
  const char* name;
  const char* config;
};
constexpr DecoderPreset kDecoders[] = {
    {"llama-mini", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 256,
        "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true, "rope_theta": 10000.0})"},
    {"qwen3-mini", R"({"model_type": "qwen3", "vocab_size": 32000, "hidden_size": 256,
        "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 256,
        "tie_word_embeddings": true, "rope_theta": 1000000.0})"},
    {"tinyllama-1.1b", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048,
        "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5})"},
    {"llama-1.1b", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048,
        "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5})"},
    {"llama-2-7b", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096,
        "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5})"},
    {"llama-3.1-8b", R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}})"},
    {"llama-3.2-1b", R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 2048,
        "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})"},
    {"mistral-7b", R"({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
        "sliding_window": 4096})"},
    {"qwen2.5-0.5b", R"({"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896,
        "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "max_position_embeddings": 32768, "tie_word_embeddings": true,
        "rope_theta": 1000000.0})"},
    {"qwen3-0.6b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
        "tie_word_embeddings": true, "rope_theta": 1000000.0})"},
    {"gemma-2-2b", R"({"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304,
        "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
        "sliding_window": 4096, "query_pre_attn_scalar": 256})"},
};

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Gpt2Preset& preset : kGpt2) names.emplace_back(preset.name);
  for (const DecoderPreset& preset : kDecoders) names.emplace_back(preset.name);
  return names;
}

Json preset_config(std::string_view name) {
  for (const Gpt2Preset& preset : kGpt2)
    if (preset.name == name)
      return Json::object({{"model_type", "gpt2"},
                           {"vocab_size", 50257},
                           {"n_positions", preset.n_positions},
                           {"n_embd", preset.n_embd},
                           {"n_layer", preset.n_layer},
                           {"n_head", preset.n_head}});
  for (const DecoderPreset& preset : kDecoders)
    if (preset.name == name) return Json::parse(preset.config, preset.name);
  usage_error("unknown model preset \"{}\"{} (known: {})", name, did_you_mean(name, preset_names()),
              fmt::join(preset_names(), ", "));
}

Json default_config(std::string_view model_type) {
  if (model_type == "gpt2") return preset_config("gpt2");
  return Json::object({{"model_type", model_type}});
}

}  // namespace corten
