#include "train/labelled_text.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/format.h"
#include "base/strings.h"
#include "corten/data.h"

namespace corten {
namespace {

constexpr int64_t kMaxClasses = 1 << 20;

/// A label that is a number from 0 on.
std::optional<int64_t> as_number(std::string_view label) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), value);
  if (error != std::errc() || end != label.data() + label.size() || value < 0) return {};
  return value;
}

void read_json_line(std::string_view line, const std::string& place, LabelledText& out) {
  const Json json = Json::parse(line, place);
  for (const char* key : {"text", "label"})
    if (!json.is_object() || !json.contains(key))
      usage_error("{}: expected an object with \"text\" and \"label\"", place);
  const Json& label = json.at("label");
  out.texts.push_back(json.at("text").as_string(format("{}: \"text\"", place)));
  out.labels.push_back(label.is_int() ? std::to_string(label.as_int())
                                      : label.as_string(format("{}: \"label\"", place)));
}

/// Columns of a file of tab-separated values.
class Columns {
 public:
  void read(std::string_view line, const std::string& place, bool first, LabelledText& out) {
    const size_t tab = line.find('\t');
    if (tab == line.npos || line.find('\t', tab + 1) != line.npos)
      usage_error("{}: expected a text, a tab and a label", place);
    const std::string_view a = line.substr(0, tab), b = line.substr(tab + 1);
    if (first && ((a == "text" && b == "label") || (a == "label" && b == "text"))) {
      label_first_ = a == "label";
      return;
    }
    out.texts.emplace_back(label_first_ ? b : a);
    out.labels.emplace_back(label_first_ ? a : b);
  }

 private:
  bool label_first_ = false;
};

}  // namespace

LabelledText read_labelled_text(const std::vector<std::string>& files) {
  LabelledText out;
  for (const std::string& file : files) {
    const bool json = file.ends_with(".jsonl");
    if (!json && !file.ends_with(".tsv"))
      usage_error("{}: texts with labels are .jsonl or .tsv files", file);
    const std::string content = read_text_file(file);
    Columns columns;
    size_t number = 0;
    for (size_t begin = 0; begin < content.size();) {
      const size_t end = std::min(content.find('\n', begin), content.size());
      std::string_view line = std::string_view(content).substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      begin = end + 1;
      const std::string place = format("{}:{}", file, ++number);
      if (line.empty()) continue;
      if (json)
        read_json_line(line, place, out);
      else
        columns.read(line, place, number == 1, out);
      if (out.labels.size() > out.places.size()) {
        if (out.labels.back().empty()) usage_error("{}: the label is empty", place);
        out.places.push_back(place);
      }
    }
  }
  if (out.texts.empty()) usage_error("{}: there is no text", fmt::join(files, ", "));
  return out;
}

std::vector<std::string> class_names(const std::vector<std::string>& labels, const Json& config) {
  const std::set<std::string> distinct(labels.begin(), labels.end());
  std::vector<std::string> names;
  if (const Json* known = config.find("id2label"); known && known->is_object()) {
    for (size_t i = 0; i < known->size(); ++i)
      if (const Json* name = known->find(std::to_string(i)); name && name->is_string())
        names.push_back(name->as_string());
    const bool numbers = std::ranges::all_of(distinct, [&](const std::string& label) {
      const auto number = as_number(label);
      return number && *number < std::ssize(names);
    });
    const bool words = std::ranges::all_of(distinct, [&](const std::string& label) {
      return std::ranges::find(names, label) != names.end();
    });
    if (names.size() >= 2 && (numbers || words)) return names;
    names.clear();
  }
  int64_t most = -1;
  bool numbers = true;
  for (const std::string& label : distinct) {
    const auto number = as_number(label);
    numbers = numbers && number && *number < kMaxClasses;
    if (numbers) most = std::max(most, *number);
  }
  if (numbers)
    for (int64_t i = 0; i <= most; ++i) names.push_back(format("LABEL_{}", i));
  else
    names.assign(distinct.begin(), distinct.end());
  if (names.size() < 2)
    usage_error("all texts have the label \"{}\": there is nothing to tell apart",
                *distinct.begin());
  return names;
}

std::vector<int64_t> classes_of(const LabelledText& text, const std::vector<std::string>& names) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < text.labels.size(); ++i) {
    const std::string& label = text.labels[i];
    const auto found = std::ranges::find(names, label);
    if (found != names.end()) {
      out.push_back(found - names.begin());
      continue;
    }
    const auto number = as_number(label);
    if (!number || *number >= std::ssize(names))
      usage_error("{}: the label \"{}\" is none of the {} classes{}", text.places[i], label,
                  names.size(), did_you_mean(label, names));
    out.push_back(*number);
  }
  return out;
}

}  // namespace corten
