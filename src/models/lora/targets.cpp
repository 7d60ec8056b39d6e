#include "models/lora/targets.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace corten::lora {
namespace {

constexpr std::string_view kAllLinear = "all-linear";

Regex whole(const std::string& pattern, std::string_view what) {
  return Regex(format("\\A(?:{})\\z", pattern), std::string(what));
}
/// A pattern for the last parts of a name.
Regex ending(const std::string& pattern, std::string_view what) {
  return whole(format("(?:.*\\.)?(?:{})", pattern), what);
}
bool matches_whole(const Regex& regex, std::string_view name) {
  Regex::Matcher matcher(regex, name);
  size_t begin = 0, end = 0;
  return matcher.next(begin, end);
}
bool is_or_ends(std::string_view name, std::string_view part) {
  return name == part || (name.ends_with(part) && name.size() > part.size() &&
                          name[name.size() - part.size() - 1] == '.');
}
bool names_any(const std::vector<std::string>& parts, std::string_view name) {
  return std::ranges::any_of(parts, [&](const auto& part) { return is_or_ends(name, part); });
}

/// The first number among the parts of a name, after at least two others, which is a layer's: that
/// after `layers`, if given.
std::optional<int64_t> layer_of(std::string_view name, const std::vector<Regex>& layers) {
  size_t parts = 0;
  for (size_t begin = 0; begin < name.size(); ++parts) {
    const size_t end = std::min(name.find('.', begin), name.size());
    int64_t number = 0;
    const auto [last, error] = std::from_chars(name.data() + begin, name.data() + end, number);
    const bool is_number = error == std::errc() && last == name.data() + end && end < name.size();
    if (is_number && layers.empty() && parts >= 2) return number;
    if (is_number && begin > 0 && std::ranges::any_of(layers, [&](const Regex& regex) {
          return matches_whole(regex, name.substr(0, begin - 1));
        }))
      return number;
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace

Targets::Targets(const LoraConfig& config, nn::Module& base) : config_(config) {
  if (!config.has_targets())
    usage_error("[lora] target_modules are missing: which layers of {} get an adapter?",
                base.type_name());
  if (config.target_modules.empty() && config.target_pattern != kAllLinear)
    target_ = std::make_unique<Regex>(whole(config.target_pattern, "target_modules"));
  if (!config.exclude_pattern.empty())
    exclude_ = std::make_unique<Regex>(whole(config.exclude_pattern, "exclude_modules"));
  for (const std::string& pattern : config.layers_pattern)
    layers_.push_back(ending(pattern, "layers_pattern"));
  for (const auto& [pattern, rank] : config.rank_pattern)
    ranks_.push_back(ending(pattern, "rank_pattern"));
  for (const auto& [pattern, alpha] : config.alpha_pattern)
    alphas_.push_back(ending(pattern, "alpha_pattern"));
}

bool Targets::is_in_layers(std::string_view name) const {
  if (config_.layers_to_transform.empty()) return true;
  const std::optional<int64_t> layer = layer_of(name, layers_);
  return layer && std::ranges::find(config_.layers_to_transform, *layer) !=
                      config_.layers_to_transform.end();
}

bool Targets::matches(std::string_view name, bool is_linear) const {
  if (name.empty()) return false;
  if (exclude_ ? matches_whole(*exclude_, name) : names_any(config_.exclude_modules, name))
    return false;
  // What is trained as a whole, or a part of it, needs no adapter.
  for (std::string_view part = name; !part.empty();) {
    if (names_any(config_.modules_to_save, part)) return false;
    const size_t dot = part.rfind('.');
    part = dot == part.npos ? "" : part.substr(0, dot);
  }
  if (target_) return matches_whole(*target_, name);
  if (config_.target_modules.empty())
    return is_linear && name != "lm_head" &&
           !(config_.task_type == "SEQ_CLS" && (name == "classifier" || name == "score"));
  // A full name needs no layer.
  if (std::ranges::find(config_.target_modules, name) != config_.target_modules.end()) return true;
  return names_any(config_.target_modules, name) && is_in_layers(name);
}

bool Targets::is_saved(std::string_view name) const {
  return std::ranges::any_of(config_.modules_to_save,
                             [&](const std::string& part) { return name.ends_with(part); });
}

int64_t Targets::rank(std::string_view name) const {
  for (size_t i = 0; i < ranks_.size(); ++i)
    if (matches_whole(ranks_[i], name)) return config_.rank_pattern[i].second;
  return config_.r;
}

double Targets::alpha(std::string_view name) const {
  for (size_t i = 0; i < alphas_.size(); ++i)
    if (matches_whole(alphas_[i], name)) return config_.alpha_pattern[i].second;
  return config_.lora_alpha;
}

std::string Targets::description() const {
  return config_.target_modules.empty()
             ? format("\"{}\"", config_.target_pattern)
             : format("\"{}\"", fmt::join(config_.target_modules, "\", \""));
}

}  // namespace corten::lora
