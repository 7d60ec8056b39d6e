// Encoder-decoders by the model_type of their config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace corten {

bool is_seq2seq_type(std::string_view model_type);
/// The fields of config.json that models of the type have a use for; empty if it is none.
std::vector<std::string> seq2seq_field_names(std::string_view model_type);
/// The config with every field at its default.
Json seq2seq_defaults();

/// What training must know of a config.json before there is a model.
struct Seq2SeqInfo {
  std::string model_type;
  int64_t vocab_size = 0, num_parameters = 0;
};
Seq2SeqInfo seq2seq_info(const Json& config, std::string_view source);

/// The config.json of a folder, made to say itself what its weights decide: whether the head is tied
/// and states are scaled before it.
Json seq2seq_folder_config(const std::string& folder);

}  // namespace corten
