// From a configuration to a model with its first weights.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "corten/models.h"
#include "train/config.h"
#include "train/run_data.h"

namespace corten {

/// Usage error for a field (of [model]) that models of this type do not have; `where` gives the
/// place of a key, or the key itself.
void check_model_fields(const Json& fields, const std::string& model_type,
                        const std::function<std::string(const std::string& key)>& where);

/// The config.json of the model that `config` asks for, with the vocabulary and end token of the
/// tokenizer (vocab_size 0: unknown; end_of_text -1: none) where the configuration leaves them
/// open. Usage error if the model's vocabulary is smaller than the tokenizer's, its positions fewer
/// than data.seq, or the vocabulary is known from neither.
std::string model_config_json(const Config& config, int64_t vocab_size, int64_t end_of_text);

/// The same of an encoder-decoder, whose special tokens are the tokenizer's, too, where neither the
/// configuration nor weights decide: its end of text, and its padding, which outputs begin with.
std::string seq2seq_config_json(const Config& config, const TokenizerInfo& tokenizer);

/// generation_config.json of `folder`, with the special tokens of `config_json` where these are not
/// those of the folder's config.json; null if there is none.
Json pretrained_generation_config(const std::string& config_json, const std::string& folder);
/// Gives `model`, a decoder or an encoder-decoder of `config_json`, the weights of `folder` and what
/// the folder says of generating.
template <typename Model>
void load_pretrained(Model& model, const std::string& config_json, const std::string& folder) {
  model.load_weights(folder);
  if (const Json generation = pretrained_generation_config(config_json, folder);
      !generation.is_null())
    model.set_generation_config_json(generation.dump(), folder + "/generation_config.json");
}

/// The model of a config.json with fresh weights (a function of `seed`), or with those of
/// `weights`, a folder in Hugging Face layout, if that is not empty.
std::unique_ptr<CausalLM> build_model(const std::string& config_json, const std::string& weights,
                                      int64_t seed);

/// Parameters of the model of a config.json, without building it.
int64_t count_parameters(const std::string& config_json);

/// Resource error unless there is memory for what training keeps of the model of a config.json. That
/// of a classifier is not counted.
void require_training_memory(const std::string& config_json, const Config& config);

/// Resource error unless this process can get `bytes` more memory with some to spare. `what` names
/// who asks: "training state", ...; `hint` says what would make it fit.
void require_memory(uint64_t bytes, const std::string& what, const std::string& hint);

}  // namespace corten
