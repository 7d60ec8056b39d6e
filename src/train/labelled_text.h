// Texts with labels, for training classifiers.
// Lines of .jsonl or .tsv files (train/paired_lines.h): "text" and "label", which is a word or a
// whole number from 0 on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace corten {

struct LabelledText {
  std::vector<std::string> texts, labels;
  std::vector<std::string> places;  ///< "reviews.tsv:12", for messages
};
/// All lines of the files, in order. Usage error with file and line for what is no such line.
LabelledText read_labelled_text(const std::vector<std::string>& files);

/// The names of the classes by number, from the labels of the training text: those of `config`'s
/// id2label if it has all of them; words in alphabetical order; LABEL_0, ... for numbers. Usage
/// error for fewer than two classes.
std::vector<std::string> class_names(const std::vector<std::string>& labels, const Json& config);
/// The class of each label. Usage error with its place for a label that is none.
std::vector<int64_t> classes_of(const LabelledText& text, const std::vector<std::string>& names);

}  // namespace corten
