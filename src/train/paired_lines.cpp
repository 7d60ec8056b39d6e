#include "train/paired_lines.h"

#include "base/format.h"
#include "base/json.h"
#include "corten/data.h"

namespace corten {
namespace {

class Reader {
 public:
  explicit Reader(const PairNames& names) : names_(names) {}

  void read_file(const std::string& file) {
    const bool json = file.ends_with(".jsonl");
    if (!json && !file.ends_with(".tsv"))
      usage_error("{}: {} are .jsonl or .tsv files", file, names_.files);
    const std::string content = read_text_file(file);
    second_first_ = false;
    size_t number = 0;
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = std::min(content.find('\n', begin), content.size());
      std::string_view line = std::string_view(content).substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      begin = end + 1;
      const std::string place = format("{}:{}", file, ++number);
      if (line.empty()) continue;
      if (json)
        read_json(line, place);
      else
        read_columns(line, place, number == 1);
    }
  }
  PairedLines take() { return std::move(out_); }

 private:
  void read_json(std::string_view line, const std::string& place) {
    const Json json = Json::parse(line, place);
    const bool is_object = json.is_object();
    std::string_view key = names_.first;
    if (is_object && !json.contains(key) && json.contains(names_.other_first))
      key = names_.other_first;
    if (!is_object || !json.contains(key) || !json.contains(names_.second))
      usage_error("{}: expected an object with \"{}\" and \"{}\"", place, names_.first,
                  names_.second);
    const Json& second = json.at(names_.second);
    add(json.at(key).as_string(format("{}: \"{}\"", place, key)),
        names_.integers && second.is_int()
            ? std::to_string(second.as_int())
            : second.as_string(format("{}: \"{}\"", place, names_.second)),
        place);
  }

  void read_columns(std::string_view line, const std::string& place, bool is_first) {
    const size_t tab = line.find('\t');
    if (tab == line.npos || line.find('\t', tab + 1) != line.npos)
      usage_error("{}: expected a {}, a tab and a {}", place, names_.first, names_.second);
    const std::string_view a = line.substr(0, tab), b = line.substr(tab + 1);
    if (is_first && ((is_first_name(a) && b == names_.second) ||
                     (a == names_.second && is_first_name(b)))) {
      second_first_ = a == names_.second;
      return;
    }
    add(std::string(second_first_ ? b : a), std::string(second_first_ ? a : b), place);
  }

  bool is_first_name(std::string_view word) const {
    return !word.empty() && (word == names_.first || word == names_.other_first);
  }
  void add(std::string first, std::string second, const std::string& place) {
    out_.first.push_back(std::move(first));
    out_.second.push_back(std::move(second));
    out_.places.push_back(place);
  }

  const PairNames& names_;
  bool second_first_ = false;  // of a .tsv file's columns
  PairedLines out_;
};

}  // namespace

PairedLines read_paired_lines(const std::vector<std::string>& files, const PairNames& names) {
  Reader reader(names);
  for (const std::string& file : files) reader.read_file(file);
  PairedLines out = reader.take();
  if (out.first.empty()) usage_error("{}: there is no {}", fmt::join(files, ", "), names.first);
  return out;
}

}  // namespace corten
