// Reading fields of config.json into a struct and writing them back: one visitor over the fields
// serves both.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"
#include "base/json.h"
#include "models/token_ids.h"

namespace corten {

/// Overwrites what the JSON holds; a field that is missing or null keeps its value, except that
/// null unsets what may be unset. Usage error "source: "key": ..." for wrong types.
class FieldReader {
 public:
  FieldReader(const Json& json, std::string_view source) : json_(json), source_(source) {}

  void operator()(std::string_view key, int64_t& value) {
    if (const Json* found = find(key)) value = found->as_int(what(key));
  }
  void operator()(std::string_view key, std::optional<int64_t>& value) {
    if (!json_.contains(key)) return;
    value.reset();
    if (const Json* found = find(key)) value = found->as_int(what(key));
  }
  void operator()(std::string_view key, double& value) {
    if (const Json* found = find(key)) value = found->as_double(what(key));
  }
  void operator()(std::string_view key, std::optional<double>& value) {
    if (!json_.contains(key)) return;
    value.reset();
    if (const Json* found = find(key)) value = found->as_double(what(key));
  }
  void operator()(std::string_view key, bool& value) {
    if (const Json* found = find(key)) value = found->as_bool(what(key));
  }
  void operator()(std::string_view key, std::string& value) {
    if (const Json* found = find(key)) value = found->as_string(what(key));
  }
  void operator()(std::string_view key, std::vector<int64_t>& value) {
    if (!json_.contains(key)) return;
    value = token_ids(json_.at(key), what(key));
  }

 private:
  const Json* find(std::string_view key) const {
    const Json* found = json_.find(key);
    return found && !found->is_null() ? found : nullptr;
  }
  std::string what(std::string_view key) const { return format("{}: \"{}\"", source_, key); }

  const Json& json_;
  std::string_view source_;
};

class FieldWriter {
 public:
  explicit FieldWriter(Json& json) : json_(json) {}
  template <typename T>
  void operator()(std::string_view key, const T& value) {
    json_.set(key, Json(value));
  }
  template <typename T>
  void operator()(std::string_view key, const std::optional<T>& value) {
    json_.set(key, value ? Json(*value) : Json());
  }
  void operator()(std::string_view key, const std::vector<int64_t>& value) {
    json_.set(key, token_ids_json(value));
  }

 private:
  Json& json_;
};

/// Usage error unless low <= value <= high.
inline void check_field(std::string_view source, std::string_view key, int64_t value, int64_t low,
                        int64_t high) {
  if (value < low || value > high)
    usage_error("{}: \"{}\" is {}, not between {} and {}", source, key, value, low, high);
}
inline void check_probability(std::string_view source, std::string_view key, double value) {
  if (!(value >= 0 && value <= 1))
    usage_error("{}: \"{}\" is {}, not between 0 and 1", source, key, value);
}
/// Usage error if one of `keys` is set (neither null, false nor empty).
inline void refuse_fields(const Json& json, std::string_view source,
                          std::initializer_list<std::string_view> keys, std::string_view models) {
  for (std::string_view key : keys)
    if (const Json* value = json.find(key);
        value && !value->is_null() && *value != Json(false) &&
        !((value->is_object() || value->is_array()) && value->empty()))
      usage_error("{}: \"{}\" is set, which {} models of Corten do not support", source, key,
                  models);
}

/// Usage error for the config of a quantised model, but where load_model() has taken that out.
inline void refuse_quantized(const Json& json, std::string_view source) {
  const Json* value = json.find("quantization_config");
  if (value && !value->is_null())
    usage_error(
        "{}: \"quantization_config\" is set: quantised weights can generate and be evaluated "
        "(load_model(), AutoModelForCausalLM), but not be trained, adapted or lose their head: "
        "start "
        "from the model that was quantised",
        source);
}

constexpr int64_t kManyTokens = int64_t{1} << 24;  ///< keeps all products of sizes below 2^63

}  // namespace corten
