// Attributes of ops: plain structs whose equality, hash, text and parsing come from one field list.
//
//   struct ReduceAttrs { int64_t axis = 0; Tree tree; CORTEN_FIELDS(axis, tree) };
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "corten/dtype.h"
#include "ir/scalar.h"

namespace corten::ir {

/// Declares the field list of an attribute struct.
#define CORTEN_FIELDS(...)                                                                       \
  static constexpr const char* field_names() { return #__VA_ARGS__; }                            \
  template <typename Visitor>                                                                    \
  void visit(Visitor&& visitor) { ::corten::ir::visit_all(visitor, #__VA_ARGS__ __VA_OPT__(,) __VA_ARGS__); } \
  template <typename Visitor>                                                                    \
  void visit(Visitor&& visitor) const { ::corten::ir::visit_all(visitor, #__VA_ARGS__ __VA_OPT__(,) __VA_ARGS__); }

template <typename Visitor, typename... Fields>
void visit_all(Visitor& visitor, std::string_view names, Fields&... fields) {
  [[maybe_unused]] auto next = [&names] {
    size_t comma = names.find(',');
    std::string_view name = names.substr(0, comma);
    names.remove_prefix(comma == names.npos ? names.size() : comma + 1);
    while (!names.empty() && names[0] == ' ') names.remove_prefix(1);
    return name;
  };
  (visitor(next(), fields), ...);
}

// Field types that attributes may have: text, parsing (Usage error on bad text) and hash.
std::string field_text(int64_t value);
std::string field_text(double value);  // shortest text that parses back to the same bits
std::string field_text(bool value);
std::string field_text(DType value);
std::string field_text(const Tree& value);  // "64x1024"
std::string field_text(const std::vector<int64_t>& value);
std::string field_text(const std::vector<double>& value);
std::string field_text(const std::string& value);  // quoted
void field_parse(std::string_view text, int64_t& value);
void field_parse(std::string_view text, double& value);
void field_parse(std::string_view text, bool& value);
void field_parse(std::string_view text, DType& value);
void field_parse(std::string_view text, Tree& value);
void field_parse(std::string_view text, std::vector<int64_t>& value);
void field_parse(std::string_view text, std::vector<double>& value);
void field_parse(std::string_view text, std::string& value);

struct NoAttrs {
  CORTEN_FIELDS()
};

/// Type-erased, immutable attributes.
class Attrs {
 public:
  virtual ~Attrs() = default;
  /// "{axis=1, tree=64x1024}", or "" without fields.
  virtual const std::string& text() const = 0;
  virtual bool equals(const Attrs& other) const = 0;
  virtual size_t hash() const = 0;
};
using AttrsPtr = std::shared_ptr<const Attrs>;

size_t hash_text(std::string_view text);
/// Splits "{a=1, b=[2,3]}" into name/value pairs. Usage error if malformed.
std::vector<std::pair<std::string, std::string>> split_fields(std::string_view text);

[[noreturn]] void unknown_field(std::string_view name);

template <typename T>
class AttrsOf final : public Attrs {
 public:
  explicit AttrsOf(T value) : value_(std::move(value)), text_(make_text()), hash_(hash_text(text_)) {}
  const T& value() const { return value_; }
  const std::string& text() const override { return text_; }
  size_t hash() const override { return hash_; }
  // Equal text of the same type is equality: every field's text is exact.
  bool equals(const Attrs& other) const override {
    if (&other == this) return true;
    return typeid(other) == typeid(*this) && static_cast<const AttrsOf&>(other).text_ == text_;
  }
  static AttrsPtr parse(std::string_view text) {
    T value;
    for (auto& [field, field_value] : split_fields(text)) {
      bool found = false;
      value.visit([&](std::string_view name, auto& slot) {
        if (name == field) field_parse(field_value, slot), found = true;
      });
      if (!found) unknown_field(field);
    }
    return std::make_shared<AttrsOf>(std::move(value));
  }

 private:
  std::string make_text() const {
    std::string out;
    value_.visit([&](std::string_view name, const auto& value) {
      out += out.empty() ? "{" : ", ";
      out += std::string(name) + "=" + field_text(value);
    });
    return out.empty() ? out : out + "}";
  }
  T value_;
  std::string text_;
  size_t hash_;
};

/// The field `name` of attributes of any type; T{} if they have none.
template <typename T>
T attribute(const AttrsPtr& attrs, std::string_view name) {
  T value{};
  for (auto& [field, text] : split_fields(attrs->text()))
    if (field == name) field_parse(text, value);
  return value;
}
/// The text of attributes with one field replaced.
std::string replace_field(const AttrsPtr& attrs, std::string_view name, std::string_view text);

template <typename T>
AttrsPtr make_attrs(T value) {
  if constexpr (std::is_same_v<T, NoAttrs>) {
    static const AttrsPtr none = std::make_shared<AttrsOf<NoAttrs>>(value);
    return none;
  } else {
    return std::make_shared<AttrsOf<T>>(std::move(value));
  }
}
template <typename T>
const T& get(const AttrsPtr& attrs) {
  return static_cast<const AttrsOf<T>&>(*attrs).value();
}

}  // namespace corten::ir
