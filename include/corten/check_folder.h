// What the files of a model folder say about each other.
#pragma once

#include <string>
#include <vector>

namespace corten {

/// Something in a model folder that contradicts something else in it.
struct FolderProblem {
  bool fatal = false;  ///< the model cannot be loaded as the files say; otherwise results may surprise
  std::string what;    ///< what contradicts what, in one line
  std::string fix;     ///< what to do about it, in one line
};

/// Compares config.json, generation_config.json, the names and shapes of the weights, tokenizer.json
/// and the chat template of a folder in Hugging Face layout: sizes of vocabularies, tied heads, ids
/// beyond the vocabulary, tokens that end a text or a turn, fields of rotary embeddings. Files that
/// are not there are not compared. Usage error if there is no config.json or a file is damaged.
std::vector<FolderProblem> check_model_folder(const std::string& folder);

}  // namespace corten
