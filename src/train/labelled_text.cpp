#include "train/labelled_text.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/format.h"
#include "base/strings.h"
#include "train/paired_lines.h"

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

}  // namespace

LabelledText read_labelled_text(const std::vector<std::string>& files) {
  PairedLines lines = read_paired_lines(files, {.first = "text",
                                                .second = "label",
                                                .other_first = "",
                                                .files = "texts with labels",
                                                .integers = true});
  for (size_t i = 0; i < lines.second.size(); ++i)
    if (lines.second[i].empty()) usage_error("{}: the label is empty", lines.places[i]);
  return {std::move(lines.first), std::move(lines.second), std::move(lines.places)};
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
