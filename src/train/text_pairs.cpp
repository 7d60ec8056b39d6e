#include "train/text_pairs.h"

#include <utility>

#include "train/paired_lines.h"

namespace corten {

TextPairs read_text_pairs(const std::vector<std::string>& files) {
  PairedLines lines = read_paired_lines(files, {.first = "source",
                                                .second = "target",
                                                .other_first = "text",
                                                .files = "pairs of source and target"});
  return {std::move(lines.first), std::move(lines.second), std::move(lines.places)};
}

}  // namespace corten
