// Files whose lines are pairs of texts.
//
//   .jsonl   a JSON object on each line: {"text": "...", "label": "good"}; other keys are ignored
//   .tsv     text, a tab, label on each line; a first line of these two words, in either order,
//            says which column is which
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corten {

/// What a pair consists of.
struct PairNames {
  std::string_view first, second;  ///< keys, and words of a .tsv file's first line: "text", "label"
  std::string_view other_first;    ///< a second name of the first, or ""
  std::string_view files;          ///< "texts with labels", for messages
  bool integers = false;           ///< the second may be an integer of JSON
};

struct PairedLines {
  std::vector<std::string> first, second;
  std::vector<std::string> places;  ///< "reviews.tsv:12", for messages
};
/// All lines of the files, in order; empty ones are skipped. Usage error with file and line for what
/// is no such line, and if there is none.
PairedLines read_paired_lines(const std::vector<std::string>& files, const PairNames& names);

}  // namespace corten
