// Texts and what is to be written for them, for training encoder-decoders.
//
// Lines of .jsonl or .tsv files (train/paired_lines.h): "source" (or "text") and "target".
#pragma once

#include <string>
#include <vector>

namespace corten {

struct TextPairs {
  std::vector<std::string> sources, targets;
  std::vector<std::string> places;  ///< "pairs.tsv:12", for messages
};
/// All lines of the files, in order. Usage error with file and line for what is no such line.
TextPairs read_text_pairs(const std::vector<std::string>& files);

}  // namespace corten
