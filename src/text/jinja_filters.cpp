// Filters and tests.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "base/format.h"
#include "text/jinja_builtins.h"
#include "text/letter_case.h"
#include "text/unicode.h"

namespace corten::jinja {
namespace {

constexpr size_t kMaxWidth = 1 << 20;

Value call_method(const std::string& text, const char* name, const Arguments& arguments = {}) {
  return attribute_of(Value(text), name).callable()(arguments);
}

bool flag(const Arguments& a, size_t place, const char* name, bool fallback) {
  const Value* value = a.find(place, name);
  return value == nullptr ? fallback : value->truth();
}

int64_t whole_number(const Arguments& a, size_t place, const char* name, int64_t fallback) {
  const Value* value = a.find(place, name);
  if (value == nullptr) return fallback;
  if (!value->is_int() && !value->is_bool())
    usage_error("{} must be an int, not {}", name, value->type_name());
  return value->integer();
}

// A path as map(attribute=...) and sort(attribute=...) take it: "a.b", "0" or a number.
Value along(Value value, const Value& path, const Value* fallback = nullptr) {
  std::vector<Value> steps;
  if (path.is_int()) {
    steps.push_back(path);
  } else {
    const std::string text = path.str();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('.', begin), text.size());
      const std::string part = text.substr(begin, end - begin);
      if (!part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
          part.size() < 18)
        steps.emplace_back(static_cast<int64_t>(std::atoll(part.c_str())));
      else
        steps.emplace_back(part);
      begin = end + 1;
    }
  }
  for (const Value& step : steps) {
    value = item_of(value, step);
    if (value.is_undefined() && fallback != nullptr) return *fallback;
  }
  return value;
}

// Texts in lower case, in lists too, as sort and unique compare them.
Value folded(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value(to_lowercase(value.string())) : value;
}

std::vector<Value> sorted(std::vector<Value> items, const Arguments& a, size_t first_place) {
  const bool reverse = flag(a, first_place, "reverse", false);
  const bool sensitive = flag(a, first_place + 1, "case_sensitive", false);
  const Value* attribute = a.find(first_place + 2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = item;
    if (attribute != nullptr && !attribute->is_none()) key = along(item, *attribute);
    keyed.emplace_back(folded(key, sensitive), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? Value::less(y.first, x.first) : Value::less(x.first, y.first);
  });
  items.clear();
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

std::string indented(const std::string& text, const Arguments& a) {
  const Value* width = a.find(0, "width");
  std::string indent(4, ' ');
  if (width != nullptr && width->is_string()) {
    indent = width->string();
  } else if (width != nullptr) {
    const int64_t count = whole_number(a, 0, "width", 4);
    if (count > static_cast<int64_t>(kMaxWidth)) usage_error("indent: the width {} is too large", count);
    indent.assign(static_cast<size_t>(std::max<int64_t>(count, 0)), ' ');
  }
  const bool first = flag(a, 1, "first", false), blank = flag(a, 2, "blank", false);
  std::string out = first ? indent : "";
  size_t begin = 0;
  for (bool first_line = true; begin <= text.size(); first_line = false) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (!first_line) {
      out += '\n';
      if (blank || !line.empty()) out += indent;
    }
    out += line;
    begin = end + 1;
  }
  return out;
}

// Python's % formatting: %s, %r, %d, %i, %f, %x, %% with flags, width and precision.
std::string formatted(const std::string& text, const Arguments& a) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    std::string spec;
    for (++i; i < text.size() && std::string_view("-+ 0#.123456789").find(text[i]) != std::string_view::npos; ++i)
      spec += text[i];
    if (i == text.size()) usage_error("format: an incomplete format");
    if (text[i] == '%') {
      out += '%';
      continue;
    }
    if (next >= a.positional.size()) usage_error("format: not enough arguments");
    const Value& value = a.positional[next++];
    if (spec.size() > 8) usage_error("format: %{} is not supported", spec);
    const bool left = spec.find('-') != std::string::npos, zero = !left && spec.starts_with('0');
    const bool plus = spec.find('+') != std::string::npos;
    std::string digits = spec.substr(std::min(spec.find_first_not_of("-+ 0#"), spec.size()));
    const size_t point = digits.find('.');
    const int precision = point == std::string::npos ? -1 : std::atoi(digits.c_str() + point + 1);
    const int width = std::atoi(digits.c_str());
    std::string part;
    switch (text[i]) {
      case 's': part = value.str(); break;
      case 'r': part = value.repr(); break;
      case 'd':
      case 'i':
      case 'x':
      case 'X':
      case 'f':
        if (!value.is_number()) usage_error("format: %{} needs a number, not {}", text[i], value.type_name());
        if (text[i] == 'f')
          part = format("{:.{}f}", value.number(), precision < 0 ? 6 : std::min(precision, 100));
        else if (text[i] == 'd' || text[i] == 'i')
          part = format("{}", value.is_float() ? static_cast<int64_t>(value.number()) : value.integer());
        else if (value.is_float())
          usage_error("format: %{} needs an integer", text[i]);
        else
          part = text[i] == 'x' ? format("{:x}", value.integer()) : format("{:X}", value.integer());
        if (plus && !part.starts_with('-')) part.insert(0, 1, '+');
        break;
      default: usage_error("format: %{} is not supported", text[i]);
    }
    if ((text[i] == 's' || text[i] == 'r') && precision >= 0) {
      std::string cut;
      for (const std::string& c : characters(part))
        if (cut.size() < part.size() && characters(cut).size() < static_cast<size_t>(precision)) cut += c;
      part = cut;
    }
    const size_t size = characters(part).size();
    const size_t missing = static_cast<size_t>(width) > size ? static_cast<size_t>(width) - size : 0;
    if (left)
      part.append(missing, ' ');
    else
      part.insert(zero && part.starts_with('-') ? 1 : 0, missing, zero ? '0' : ' ');
    out += part;
  }
  return out;
}

double rounded(double value, int64_t precision, const std::string& method) {
  if (precision > 300 || precision < -300) return value;
  if (method == "common") {  // Python rounds the decimal digits of the exact value, halves to even
    if (precision >= 0) return std::strtod(format("{:.{}f}", value, precision).c_str(), nullptr);
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(value / scale) * scale;
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return (method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) / scale;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string to_json(const Value& input, const Arguments& a) {
  const Value* indent = a.find(1, "indent");
  int width = -1;
  if (indent != nullptr && !indent->is_none()) {
    const int64_t count = whole_number(a, 1, "indent", 0);
    if (count > 1000) usage_error("tojson: the indent {} is too large", count);
    width = static_cast<int>(std::max<int64_t>(count, 0));
  }
  std::string item = width < 0 ? ", " : ",", key = ": ";
  if (const Value* separators = a.find(2, "separators");
      separators != nullptr && !separators->is_none()) {
    const std::vector<Value> both = separators->elements();
    if (both.size() != 2) usage_error("tojson: separators must be two texts");
    item = both[0].str();
    key = both[1].str();
  }
  std::string out;
  input.dump(out, width, flag(a, 3, "sort_keys", false), item, key);
  if (!flag(a, 0, "ensure_ascii", false)) return out;
  std::string ascii;
  char32_t c;
  for (size_t i = 0; i < out.size();) {
    i += decode_valid_utf8(out.data() + i, c);
    if (c < 0x80) {
      ascii += static_cast<char>(c);
    } else if (c < 0x10000) {
      ascii += format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const auto bits = static_cast<uint32_t>(c - 0x10000);
      ascii += format("\\u{:04x}\\u{:04x}", 0xD800 + (bits >> 10), 0xDC00 + (bits & 0x3FF));
    }
  }
  return ascii;
}

Arguments without_first(const Arguments& a, size_t count) {
  Arguments rest = a;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<ptrdiff_t>(std::min(count, a.positional.size())));
  return rest;
}

// select, reject, selectattr and rejectattr.
Value chosen(const std::vector<Value>& items, const Arguments& a, bool by_attribute, bool keep) {
  size_t place = 0;
  const Value* attribute = nullptr;
  if (by_attribute) {
    attribute = a.find(place++, "attribute");
    if (attribute == nullptr) usage_error("selectattr and rejectattr need an attribute");
  }
  const Value* test = a.find(place, "test");
  const Arguments rest = without_first(a, place + 1);
  std::vector<Value> result;
  for (const Value& item : items) {
    const Value value = attribute == nullptr ? item : along(item, *attribute);
    const bool holds = test == nullptr ? value.truth() : apply_test(test->str(), value, rest);
    if (holds == keep) result.push_back(item);
  }
  return Value::list(std::move(result));
}

Value mapped(const std::vector<Value>& items, const Arguments& a) {
  std::vector<Value> result;
  if (a.positional.empty()) {
    const Value* attribute = a.find(0, "attribute");
    if (attribute == nullptr) usage_error("map needs a filter or an attribute");
    const Value* fallback = a.find(1, "default");
    for (const Value& item : items) result.push_back(along(item, *attribute, fallback));
  } else {
    const Arguments rest = without_first(a, 1);
    for (const Value& item : items)
      result.push_back(apply_filter(a.positional[0].str(), item, rest));
  }
  return Value::list(std::move(result));
}

Value slices(const std::vector<Value>& items, size_t count, const Value* fill, bool batch) {
  if (count == 0) usage_error("batch and slice need a number above 0");
  std::vector<Value> result;
  if (batch) {
    for (size_t i = 0; i < items.size(); i += count) {
      const size_t end = std::min(i + count, items.size());
      std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(i),
                              items.begin() + static_cast<ptrdiff_t>(end));
      if (fill != nullptr && !fill->is_none() && count <= kMaxWidth) part.resize(count, *fill);
      result.push_back(Value::list(std::move(part)));
    }
    return Value::list(std::move(result));
  }
  if (count > kMaxWidth) usage_error("slice: {} parts are too many", count);
  size_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = items.size() / count + (i < items.size() % count);
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(offset),
                            items.begin() + static_cast<ptrdiff_t>(offset + size));
    offset += size;
    if (fill != nullptr && !fill->is_none() && i >= items.size() % count && items.size() % count != 0)
      part.push_back(*fill);
    result.push_back(Value::list(std::move(part)));
  }
  return Value::list(std::move(result));
}

Value grouped(const std::vector<Value>& items, const Arguments& a) {
  const Value* attribute = a.find(0, "attribute");
  if (attribute == nullptr) usage_error("groupby needs an attribute");
  Arguments order;
  order.named.emplace_back("attribute", *attribute);
  std::vector<Value> groups;
  std::vector<Value> group;
  Value key;
  const auto close = [&] {
    if (!group.empty()) groups.push_back(Value::list({key, Value::list(std::move(group))}, true));
    group.clear();
  };
  for (const Value& item : sorted(items, order, 0)) {
    Value now = along(item, *attribute);
    if (!group.empty() && !(folded(now, false) == folded(key, false))) close();
    if (group.empty()) key = now;
    group.push_back(item);
  }
  close();
  return Value::list(std::move(groups));
}

using Filter = Value (*)(const Value&, const Arguments&);

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"abs", [](const Value& v, const Arguments&) -> Value {
         if (v.is_float()) return std::fabs(v.number());
         if (!v.is_number()) usage_error("abs: '{}' is no number", v.type_name());
         return v.integer() < 0 ? calculate("-", Value(int64_t{0}), v) : Value(v.integer());
       }},
      {"attr", [](const Value& v, const Arguments& a) {
         const Value* name = a.find(0, "name");
         if (name == nullptr) usage_error("attr needs a name");
         return attribute_of(v, name->str());
       }},
      {"batch", [](const Value& v, const Arguments& a) {
         return slices(v.elements(), static_cast<size_t>(std::max<int64_t>(0, whole_number(a, 0, "linecount", 0))),
                       a.find(1, "fill_with"), true);
       }},
      {"slice", [](const Value& v, const Arguments& a) {
         return slices(v.elements(), static_cast<size_t>(std::max<int64_t>(0, whole_number(a, 0, "slices", 0))),
                       a.find(1, "fill_with"), false);
       }},
      {"capitalize", [](const Value& v, const Arguments&) { return call_method(v.str(), "capitalize"); }},
      {"center", [](const Value& v, const Arguments& a) {
         Arguments width;
         width.positional.emplace_back(whole_number(a, 0, "width", 80));
         return call_method(v.str(), "center", width);
       }},
      {"default", [](const Value& v, const Arguments& a) {
         const Value* fallback = a.find(0, "default_value");
         const bool missing = v.is_undefined() || (flag(a, 1, "boolean", false) && !v.truth());
         return missing ? (fallback == nullptr ? Value("") : *fallback) : v;
       }},
      {"dictsort", [](const Value& v, const Arguments& a) {
         if (!v.is_dict()) usage_error("dictsort: '{}' is no dict", v.type_name());
         std::vector<Value> items;
         for (const auto& [key, value] : v.members().items())
           items.push_back(Value::list({key, value}, true));
         const Value* by = a.find(1, "by");
         Arguments order;
         order.named.emplace_back("case_sensitive", Value(flag(a, 0, "case_sensitive", false)));
         order.named.emplace_back("reverse", Value(flag(a, 2, "reverse", false)));
         order.named.emplace_back("attribute",
                                  Value(int64_t{by != nullptr && by->str() == "value"}));
         return Value::list(sorted(std::move(items), order, 9));
       }},
      {"escape", [](const Value& v, const Arguments&) -> Value { return escaped(v.str()); }},
      {"first", [](const Value& v, const Arguments&) {
         const std::vector<Value> items = v.elements();
         return items.empty() ? Value::undefined("first") : items.front();
       }},
      {"last", [](const Value& v, const Arguments&) {
         const std::vector<Value> items = v.elements();
         return items.empty() ? Value::undefined("last") : items.back();
       }},
      {"float", [](const Value& v, const Arguments& a) -> Value {
         if (v.is_number()) return v.number();
         if (v.is_string()) {
           const std::string text = call_method(v.string(), "strip").string();
           char* end = nullptr;
           const double value = std::strtod(text.c_str(), &end);
           if (!text.empty() && *end == 0) return value;
         }
         const Value* fallback = a.find(0, "default");
         return fallback == nullptr ? Value(0.0) : *fallback;
       }},
      {"int", [](const Value& v, const Arguments& a) -> Value {
         const Value* fallback = a.find(0, "default");
         const int64_t base = whole_number(a, 1, "base", 10);
         if (v.is_int() || v.is_bool()) return v.integer();
         double value = NAN;
         if (v.is_float()) value = v.number();
         if (v.is_string()) {
           const std::string text = call_method(v.string(), "strip").string();
           char* end = nullptr;
           errno = 0;
           const long long whole = std::strtoll(text.c_str(), &end, static_cast<int>(std::clamp<int64_t>(base, 2, 36)));
           if (!text.empty() && *end == 0 && errno == 0) return static_cast<int64_t>(whole);
           value = std::strtod(text.c_str(), &end);
           if (text.empty() || *end != 0) value = NAN;
         }
         if (std::fabs(value) < 9e18) return static_cast<int64_t>(value);
         return fallback == nullptr ? Value(int64_t{0}) : *fallback;
       }},
      {"format", [](const Value& v, const Arguments& a) -> Value { return formatted(v.str(), a); }},
      {"groupby", [](const Value& v, const Arguments& a) { return grouped(v.elements(), a); }},
      {"indent", [](const Value& v, const Arguments& a) -> Value { return indented(v.str(), a); }},
      {"items", [](const Value& v, const Arguments&) {
         if (v.is_undefined()) return Value::list({});
         if (!v.is_dict()) usage_error("items: '{}' is no dict", v.type_name());
         return attribute_of(v, "items").callable()({});
       }},
      {"join", [](const Value& v, const Arguments& a) -> Value {
         const Value* separator = a.find(0, "d");
         const Value* attribute = a.find(1, "attribute");
         std::string out;
         bool first = true;
         for (const Value& item : v.elements()) {
           if (!first && separator != nullptr) out += separator->str();
           first = false;
           out += (attribute == nullptr ? item : along(item, *attribute)).str();
         }
         return out;
       }},
      {"length", [](const Value& v, const Arguments&) -> Value {
         if (v.is_string()) return static_cast<int64_t>(characters(v.string()).size());
         if (v.is_list()) return static_cast<int64_t>(v.items().size());
         if (v.is_dict()) return static_cast<int64_t>(v.members().items().size());
         if (v.is_undefined()) return int64_t{0};
         usage_error("object of type '{}' has no length", v.type_name());
       }},
      {"list", [](const Value& v, const Arguments&) { return Value::list(v.elements()); }},
      {"lower", [](const Value& v, const Arguments&) -> Value { return to_lowercase(v.str()); }},
      {"upper", [](const Value& v, const Arguments&) -> Value { return to_uppercase(v.str()); }},
      {"title", [](const Value& v, const Arguments&) -> Value {
         // Words are what lies between white space, hyphens and brackets.
         std::string out;
         std::string word;
         const auto close = [&] {
           out += call_method(word, "capitalize").string();
           word.clear();
         };
         for (const std::string& c : characters(v.str())) {
           char32_t code;
           decode_valid_utf8(c.data(), code);
           if (is_space(code) || c == "-" || c == "(" || c == "{" || c == "[" || c == "<") {
             close();
             out += c;
           } else {
             word += c;
           }
         }
         close();
         return out;
       }},
      {"map", [](const Value& v, const Arguments& a) { return mapped(v.elements(), a); }},
      {"select", [](const Value& v, const Arguments& a) { return chosen(v.elements(), a, false, true); }},
      {"reject", [](const Value& v, const Arguments& a) { return chosen(v.elements(), a, false, false); }},
      {"selectattr", [](const Value& v, const Arguments& a) { return chosen(v.elements(), a, true, true); }},
      {"rejectattr", [](const Value& v, const Arguments& a) { return chosen(v.elements(), a, true, false); }},
      {"max", [](const Value& v, const Arguments& a) {
         // The first of equals, as Python's max() gives.
         Arguments order{{}, a.named};
         order.named.emplace_back("reverse", Value(true));
         const std::vector<Value> items = sorted(v.elements(), order, 9);
         return items.empty() ? Value::undefined("max") : items.front();
       }},
      {"min", [](const Value& v, const Arguments& a) {
         const std::vector<Value> items = sorted(v.elements(), Arguments{{}, a.named}, 9);
         return items.empty() ? Value::undefined("min") : items.front();
       }},
      {"replace", [](const Value& v, const Arguments& a) {
         Arguments texts;
         for (const auto& [place, name] : {std::pair<size_t, const char*>{0, "old"}, {1, "new"}}) {
           const Value* text = a.find(place, name);
           if (text == nullptr) usage_error("replace needs two texts");
           texts.positional.emplace_back(text->str());
         }
         if (const Value* count = a.find(2, "count"); count != nullptr && !count->is_none())
           texts.positional.push_back(*count);
         return call_method(v.str(), "replace", texts);
       }},
      {"reverse", [](const Value& v, const Arguments&) -> Value {
         std::vector<Value> items = v.elements();
         std::reverse(items.begin(), items.end());
         if (!v.is_string()) return Value::list(std::move(items));
         std::string text;
         for (const Value& item : items) text += item.string();
         return text;
       }},
      {"round", [](const Value& v, const Arguments& a) -> Value {
         if (!v.is_number()) usage_error("round: '{}' is no number", v.type_name());
         const Value* method = a.find(1, "method");
         const std::string how = method == nullptr ? "common" : method->str();
         if (how != "common" && how != "ceil" && how != "floor")
           usage_error("round: the method must be common, ceil or floor");
         const int64_t precision = whole_number(a, 0, "precision", 0);
         const double result = rounded(v.number(), precision, how);
         if (v.is_float() || how != "common") return result;
         return precision >= 0 ? v.integer() : static_cast<int64_t>(result);  // stays an integer
       }},
      {"safe", [](const Value& v, const Arguments&) -> Value { return v.str(); }},
      {"sort", [](const Value& v, const Arguments& a) { return Value::list(sorted(v.elements(), a, 0)); }},
      {"string", [](const Value& v, const Arguments&) -> Value { return v.str(); }},
      {"sum", [](const Value& v, const Arguments& a) {
         const Value* attribute = a.find(0, "attribute");
         const Value* start = a.find(1, "start");
         Value total = start == nullptr ? Value(int64_t{0}) : *start;
         for (const Value& item : v.elements())
           total = calculate("+", total,
                             attribute == nullptr || attribute->is_none() ? item : along(item, *attribute));
         return total;
       }},
      {"tojson", [](const Value& v, const Arguments& a) -> Value { return to_json(v, a); }},
      {"trim", [](const Value& v, const Arguments& a) {
         Arguments set;
         if (const Value* chars = a.find(0, "chars")) set.positional.push_back(*chars);
         return call_method(v.str(), "strip", set);
       }},
      {"unique", [](const Value& v, const Arguments& a) {
         const bool sensitive = flag(a, 0, "case_sensitive", false);
         const Value* attribute = a.find(1, "attribute");
         std::vector<Value> seen, result;
         for (const Value& item : v.elements()) {
           Value key = folded(attribute == nullptr ? item : along(item, *attribute), sensitive);
           if (std::find(seen.begin(), seen.end(), key) != seen.end()) continue;
           seen.push_back(std::move(key));
           result.push_back(item);
         }
         return Value::list(std::move(result));
       }},
      {"wordcount", [](const Value& v, const Arguments&) -> Value {
         return static_cast<int64_t>(call_method(v.str(), "split").items().size());
       }},
  };
  return table;
}

std::string_view plain_name(std::string_view name) {
  if (name == "d") return "default";
  if (name == "e") return "escape";
  return name == "count" ? "length" : name;
}

}  // namespace

Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments) {
  const auto found = filters().find(plain_name(name));
  if (found == filters().end()) usage_error("the filter \"{}\" is not supported", name);
  return found->second(input, arguments);
}

bool apply_test(std::string_view name, const Value& v, const Arguments& a) {
  const auto other = [&]() -> const Value& {
    if (a.positional.empty()) usage_error("the test \"{}\" needs a value", name);
    return a.positional[0];
  };
  const auto whole = [&] {
    if (!v.is_int() && !v.is_bool()) usage_error("{}: '{}' is no integer", name, v.type_name());
    return v.integer();
  };
  const auto comparable = [&] {
    if (v.is_undefined()) usage_error("'{}' is undefined", v.undefined_name());
  };
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.truth();
  if (name == "false") return v.is_bool() && !v.truth();
  if (name == "integer") return v.is_int();
  if (name == "float") return v.is_float();
  if (name == "number") return v.is_number();
  if (name == "string") return v.is_string();
  if (name == "mapping") return v.is_dict();
  if (name == "sequence") return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined();
  if (name == "iterable") return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined();
  if (name == "callable") return v.is_function();
  if (name == "sameas")
    return v == other() && v.type_name() == other().type_name();
  if (name == "odd") return whole() % 2 != 0;
  if (name == "even") return whole() % 2 == 0;
  if (name == "divisibleby") return !calculate("%", v, other()).truth();
  if (name == "lower") return call_method(v.str(), "islower").truth();
  if (name == "upper") return call_method(v.str(), "isupper").truth();
  if (name == "in") return is_in(v, other());
  if (name == "filter") return v.is_string() && filters().contains(plain_name(v.string()));
  if (name == "escaped") return false;
  if (name == "eq" || name == "equalto" || name == "==") return v == other();
  if (name == "ne" || name == "!=") return !(v == other());
  if (name == "lt" || name == "lessthan" || name == "<") {
    comparable();
    return Value::less(v, other());
  }
  if (name == "gt" || name == "greaterthan" || name == ">") {
    comparable();
    return Value::less(other(), v);
  }
  if (name == "le" || name == "<=") {
    comparable();
    return Value::less(v, other()) || v == other();
  }
  if (name == "ge" || name == ">=") {
    comparable();
    return Value::less(other(), v) || v == other();
  }
  usage_error("the test \"{}\" is not supported", name);
}

}  // namespace corten::jinja
