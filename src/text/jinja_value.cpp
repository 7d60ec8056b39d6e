#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/format.h"
#include "text/unicode.h"

namespace corten::jinja {

// ---- Dict and Arguments

const Value* Dict::find(const Value& key) const {
  for (const auto& [known, value] : items_)
    if (known == key) return &value;
  return nullptr;
}
const Value* Dict::member(std::string_view key) const {
  for (const auto& [known, value] : items_)
    if (known.is_string() && known.string() == key) return &value;
  return nullptr;
}
void Dict::set(Value key, Value value) {
  for (auto& [known, old] : items_) {
    if (!(known == key)) continue;
    old = std::move(value);
    return;
  }
  items_.emplace_back(std::move(key), std::move(value));
}

const Value* Arguments::find(size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [known, value] : named)
    if (known == name) return &value;
  return nullptr;
}

// ---- Value

Value Value::list(std::vector<Value> items, bool tuple) {
  return Value(Data(std::make_shared<const List>(List{std::move(items), tuple})));
}
Value Value::dict(Dict members) {
  return Value(Data(std::make_shared<const Dict>(std::move(members))));
}
Value Value::name_space(Dict members) {
  return Value(Data(std::make_shared<Namespace>(Namespace{std::move(members)})));
}
Value Value::function(Function function) {
  return Value(Data(std::make_shared<const Function>(std::move(function))));
}

Value Value::from_json(const Json& json) {
  if (json.is_null()) return none();
  if (json.is_bool()) return json.as_bool();
  if (json.is_double()) return json.as_double();
  if (json.is_string()) return json.as_string();
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& element : json.elements()) items.push_back(from_json(element));
    return list(std::move(items));
  }
  if (json.is_object()) {
    Dict members;
    for (const auto& [key, value] : json.items()) members.items().emplace_back(key, from_json(value));
    return dict(std::move(members));
  }
  const uint64_t large = static_cast<uint64_t>(INT64_MAX);
  if (json.as_double() > static_cast<double>(large))
    usage_error("the number {} is too large for a chat template", json.dump());
  return json.as_int();
}

bool Value::is_list() const noexcept {
  return std::holds_alternative<std::shared_ptr<const List>>(data_);
}
bool Value::is_tuple() const noexcept {
  return is_list() && std::get<std::shared_ptr<const List>>(data_)->tuple;
}
bool Value::is_dict() const noexcept {
  return std::holds_alternative<std::shared_ptr<const Dict>>(data_);
}
bool Value::is_namespace() const noexcept {
  return std::holds_alternative<std::shared_ptr<Namespace>>(data_);
}
bool Value::is_function() const noexcept {
  return std::holds_alternative<std::shared_ptr<const Function>>(data_);
}
const std::vector<Value>& Value::items() const {
  return std::get<std::shared_ptr<const List>>(data_)->items;
}
const Dict& Value::members() const {
  if (is_namespace()) return std::get<std::shared_ptr<Namespace>>(data_)->members;
  return *std::get<std::shared_ptr<const Dict>>(data_);
}
Dict& Value::shared_members() const {
  return std::get<std::shared_ptr<Namespace>>(data_)->members;
}
const Function& Value::callable() const {
  return *std::get<std::shared_ptr<const Function>>(data_);
}
int64_t Value::integer() const {
  return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_);
}
double Value::number() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}

bool Value::truth() const noexcept {
  if (is_bool()) return std::get<bool>(data_);
  if (is_int()) return std::get<int64_t>(data_) != 0;
  if (is_float()) return std::get<double>(data_) != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return !members().items().empty();
  return !is_undefined() && !is_none();
}

std::string_view Value::type_name() const noexcept {
  if (is_undefined()) return "undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return is_tuple() ? "tuple" : "list";
  if (is_dict()) return "dict";
  return is_namespace() ? "namespace" : "function";
}

namespace {

// The fewest digits that read back the same, laid out as Python's repr() does.
std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = format("{:e}", value);
  for (int digits = 0; digits < 18; ++digits) {
    text = format("{:.{}e}", value, digits);
    if (std::strtod(text.c_str(), nullptr) == value) break;
  }
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) {
    std::string mantissa = text.substr(0, e);
    const int size = std::abs(exponent);
    return format("{}e{}{:02d}", mantissa, exponent < 0 ? '-' : '+', size);
  }
  const auto digits = static_cast<int>(e) - (value < 0 || std::signbit(value) ? 1 : 0);
  const int significant = digits > 1 ? digits - 1 : 1;  // without the point
  return format("{:.{}f}", value, std::max(1, significant - 1 - exponent));
}

std::string string_repr(const std::string& text) {
  const bool use_double = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = use_double ? '"' : '\'';
  std::string out(1, quote);
  char32_t c;
  for (size_t i = 0, length; i < text.size(); i += length) {
    length = decode_valid_utf8(text.data() + i, c);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F || (c >= 0x80 && c < 0xA1) || c == 0xAD) {
      out += format("\\x{:02x}", static_cast<uint32_t>(c));
    } else {
      out += text.substr(i, length);
    }
  }
  return out += quote;
}

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += format("\\u{:04x}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  return out += '"';
}

}  // namespace

std::string Value::str() const {
  if (is_undefined()) return "";
  if (is_string()) return string();
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return std::get<bool>(data_) ? "True" : "False";
  if (is_int()) return format("{}", std::get<int64_t>(data_));
  if (is_float()) return float_repr(std::get<double>(data_));
  if (is_string()) return string_repr(string());
  std::string out;
  if (is_list()) {
    for (const Value& item : items()) out += (out.empty() ? "" : ", ") + item.repr();
    if (is_tuple()) return items().size() == 1 ? "(" + out + ",)" : "(" + out + ")";
    return "[" + out + "]";
  }
  if (is_dict()) {
    for (const auto& [key, value] : members().items())
      out += (out.empty() ? "" : ", ") + key.repr() + ": " + value.repr();
    return "{" + out + "}";
  }
  return format("<{}>", type_name());
}

std::vector<Value> Value::elements() const {
  if (is_list()) return items();
  std::vector<Value> result;
  if (is_dict()) {
    for (const auto& [key, value] : members().items()) result.push_back(key);
  } else if (is_string()) {
    for (std::string& c : characters(string())) result.emplace_back(std::move(c));
  } else if (!is_undefined()) {
    usage_error("'{}' object is not iterable", type_name());
  }
  return result;
}

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.number() == b.number();
    return a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) return a.is_tuple() == b.is_tuple() && a.items() == b.items();
  if (a.is_dict() && b.is_dict()) {
    if (a.members().items().size() != b.members().items().size()) return false;
    for (const auto& [key, value] : a.members().items()) {
      const Value* other = b.members().find(key);
      if (other == nullptr || !(value == *other)) return false;
    }
    return true;
  }
  if (a.is_none() || a.is_undefined()) return a.data_.index() == b.data_.index();
  if (a.is_namespace() && b.is_namespace()) return &a.shared_members() == &b.shared_members();
  return a.is_function() && b.is_function() && &a.callable() == &b.callable();
}

bool Value::less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.number() < b.number();
    return a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() < b.string();  // UTF-8 keeps the order
  if (a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple())
    return std::lexicographical_compare(a.items().begin(), a.items().end(), b.items().begin(),
                                        b.items().end(), less);
  usage_error("'<' not supported between instances of '{}' and '{}'", a.type_name(),
              b.type_name());
}

void Value::dump(std::string& out, int indent, bool sort_keys, std::string_view item_separator,
                 std::string_view key_separator, int depth) const {
  const auto new_line = [&](int level) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
  };
  const auto nested = [&](const Value& value) {
    value.dump(out, indent, sort_keys, item_separator, key_separator, depth + 1);
  };
  if (is_none()) {
    out += "null";
  } else if (is_bool()) {
    out += truth() ? "true" : "false";
  } else if (is_int()) {
    out += repr();
  } else if (is_float()) {
    const double value = number();
    out += std::isnan(value) ? "NaN" : std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity")
                                                         : repr();
  } else if (is_string()) {
    out += json_string(string());
  } else if (is_list()) {
    out += '[';
    for (size_t i = 0; i < items().size(); ++i) {
      if (i > 0) out += item_separator;
      new_line(depth + 1);
      nested(items()[i]);
    }
    if (!items().empty()) new_line(depth);
    out += ']';
  } else if (is_dict()) {
    std::vector<std::pair<Value, Value>> entries = members().items();
    if (sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += item_separator;
      new_line(depth + 1);
      const Value& key = entries[i].first;
      if (key.is_string()) {
        out += json_string(key.string());
      } else {
        std::string text;
        key.dump(text, -1, false, ", ", ": ");
        out += json_string(text);
      }
      out += key_separator;
      nested(entries[i].second);
    }
    if (!entries.empty()) new_line(depth);
    out += '}';
  } else {
    usage_error("a value of type {} has no JSON form", type_name());
  }
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> result;
  char32_t c;
  for (size_t i = 0, length; i < text.size(); i += length) {
    length = decode_valid_utf8(text.data() + i, c);
    result.emplace_back(text.substr(i, length));
  }
  return result;
}

}  // namespace corten::jinja
