// Reading the components of a tokenizer.json file: members with their errors.
#pragma once

#include <string>
#include <string_view>

#include "base/format.h"
#include "base/json.h"

namespace corten {

/// A member, or nullptr if it is missing or null.
inline const Json* find_member(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

/// A member that must be there. Usage error "<where>: there is no "key"".
inline const Json& need_member(const Json& json, std::string_view key, const std::string& where) {
  const Json* value = find_member(json, key);
  if (value == nullptr) usage_error("{}: there is no \"{}\"", where, key);
  return *value;
}

inline bool flag_member(const Json& json, std::string_view key, bool fallback,
                        const std::string& where) {
  const Json* value = find_member(json, key);
  return value == nullptr ? fallback : value->as_bool(format("{}: \"{}\"", where, key));
}

inline const std::string& string_member(const Json& json, std::string_view key,
                                        const std::string& where) {
  return need_member(json, key, where).as_string(format("{}: \"{}\"", where, key));
}

/// A number of something, 0 to 2^31 - 1.
inline size_t count_member(const Json& json, std::string_view key, const std::string& where) {
  const int64_t value = need_member(json, key, where).as_int(format("{}: \"{}\"", where, key));
  if (value < 0 || value > INT32_MAX)
    usage_error("{}: \"{}\" is {}, which is out of range", where, key, value);
  return static_cast<size_t>(value);
}

inline int32_t token_id_of(const Json& json, const std::string& where) {
  const int64_t id = json.as_int(where);
  if (id < 0 || id > INT32_MAX) usage_error("{}: the id {} is out of range", where, id);
  return static_cast<int32_t>(id);
}

/// The "type" of a component.
inline const std::string& type_of(const Json& json, const std::string& where) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", where, json.type_name());
  const Json* type = json.find("type");
  if (type == nullptr) usage_error("{}: there is no \"type\"", where);
  return type->as_string(where + ": \"type\"");
}

}  // namespace corten
