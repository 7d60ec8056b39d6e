// Attributes, methods, operators and functions.
#include <algorithm>
#include <cmath>
#include <ctime>
#include <memory>
#include <utility>

#include "base/format.h"
#include "text/jinja_builtins.h"
#include "text/letter_case.h"
#include "text/unicode.h"

namespace corten::jinja {
namespace {

constexpr size_t kMaxSize = size_t{1} << 24;  // of a text that an operator makes
constexpr size_t kMaxElements = size_t{1} << 20;  // of a list

[[noreturn]] void undefined_error(const Value& value) {
  usage_error("'{}' is undefined", value.undefined_name());
}

const std::string& text_argument(const Value& value, std::string_view method) {
  if (!value.is_string())
    usage_error("{}() expects a str, found {}", method, value.type_name());
  return value.string();
}

bool is_space_text(std::string_view c) {
  char32_t code;
  decode_valid_utf8(c.data(), code);
  return is_space(code) || (code >= 0x1C && code <= 0x1F);  // as Python's str.isspace()
}

std::string joined(const std::vector<std::string>& parts, size_t begin, size_t end) {
  std::string text;
  for (size_t i = begin; i < end; ++i) text += parts[i];
  return text;
}

std::string strip(const std::string& text, const Value* what, bool left, bool right) {
  const std::vector<std::string> parts = characters(text);
  const std::vector<std::string> set =
      what == nullptr || what->is_none() ? std::vector<std::string>()
                                         : characters(text_argument(*what, "strip"));
  const bool blanks = what == nullptr || what->is_none();
  const auto goes = [&](const std::string& c) {
    return blanks ? is_space_text(c) : std::find(set.begin(), set.end(), c) != set.end();
  };
  size_t begin = 0, end = parts.size();
  while (left && begin < end && goes(parts[begin])) ++begin;
  while (right && end > begin && goes(parts[end - 1])) --end;
  return joined(parts, begin, end);
}

Value split(const std::string& text, const Value* separator, int64_t most, bool from_right) {
  std::vector<Value> result;
  if (separator == nullptr || separator->is_none()) {
    const std::vector<std::string> parts = characters(text);
    std::vector<std::pair<size_t, size_t>> words;
    for (size_t i = 0; i < parts.size();) {
      while (i < parts.size() && is_space_text(parts[i])) ++i;
      const size_t begin = i;
      while (i < parts.size() && !is_space_text(parts[i])) ++i;
      if (begin < i) words.emplace_back(begin, i);
    }
    const size_t limit = most < 0 ? words.size() : static_cast<size_t>(most) + 1;
    if (words.size() > limit) {
      if (from_right) {
        words[words.size() - limit].first = words.front().first;
        words.erase(words.begin(), words.end() - static_cast<ptrdiff_t>(limit));
      } else {
        words[limit - 1].second = parts.size();
        words.resize(limit);
        if (limit == words.size() && most == 0) words[0].second = parts.size();
      }
    }
    for (const auto& [begin, end] : words) result.emplace_back(joined(parts, begin, end));
    return Value::list(std::move(result));
  }
  const std::string& by = text_argument(*separator, "split");
  if (by.empty()) usage_error("split(): empty separator");
  if (from_right) {
    size_t end = text.size();
    while (most != 0) {
      const size_t at = end >= by.size() ? text.rfind(by, end - by.size()) : std::string::npos;
      if (at == std::string::npos) break;
      result.emplace_back(text.substr(at + by.size(), end - at - by.size()));
      end = at;
      --most;
    }
    result.emplace_back(text.substr(0, end));
    std::reverse(result.begin(), result.end());
    return Value::list(std::move(result));
  }
  size_t begin = 0;
  for (size_t at; most != 0 && (at = text.find(by, begin)) != std::string::npos; --most) {
    result.emplace_back(text.substr(begin, at - begin));
    begin = at + by.size();
  }
  result.emplace_back(text.substr(begin));
  return Value::list(std::move(result));
}

Value split_lines(const std::string& text, bool keep) {
  std::vector<Value> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find_first_of("\n\r\v\f", begin);
    if (end == std::string::npos) end = text.size();
    size_t next = std::min(end + 1, text.size());
    if (end + 1 < text.size() && text[end] == '\r' && text[end + 1] == '\n') ++next;
    lines.emplace_back(text.substr(begin, (keep ? next : end) - begin));
    begin = next;
  }
  return Value::list(std::move(lines));
}

size_t character_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string replaced(const std::string& text, const std::string& what, const std::string& with,
                     int64_t most) {
  std::string out;
  if (what.empty()) {
    for (const std::string& c : characters(text)) out += (most-- != 0 ? with : "") + c;
    return most != 0 ? out + with : out;
  }
  size_t begin = 0;
  for (size_t at; most != 0 && (at = text.find(what, begin)) != std::string::npos; --most) {
    out.append(text, begin, at - begin);
    out += with;
    begin = at + what.size();
    if (out.size() > kMaxSize) usage_error("replace() gives more than {} bytes", kMaxSize);
  }
  return out.append(text, begin);
}

bool all_characters(const std::string& text, const auto& holds) {
  const UnicodeTable& table = unicode_table();
  char32_t c;
  for (size_t i = 0; i < text.size();) {
    i += decode_valid_utf8(text.data() + i, c);
    if (!holds(table.category(c))) return false;
  }
  return !text.empty();
}
bool is_letter(Category c) { return c <= Category::Lo; }
bool is_decimal(Category c) { return c == Category::Nd; }

std::string capitalized(const std::string& text) {
  const std::vector<std::string> parts = characters(text);
  if (parts.empty()) return "";
  return to_uppercase(parts[0]) + to_lowercase(joined(parts, 1, parts.size()));
}

std::string titled(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string& c : characters(text)) {
    const bool letter = all_characters(c, is_letter);
    out += letter && !inside ? to_uppercase(c) : to_lowercase(c);
    inside = letter;
  }
  return out;
}

bool has_any(const Value& affix, std::string_view method, const auto& holds) {
  if (!affix.is_tuple()) return holds(text_argument(affix, method));
  return std::any_of(affix.items().begin(), affix.items().end(),
                     [&](const Value& item) { return holds(text_argument(item, method)); });
}

Value call_text_method(const std::string& text, const std::string& name, const Arguments& a) {
  const auto needed = [&](size_t place, std::string_view argument) -> const Value& {
    const Value* value = a.find(place, argument);
    if (value == nullptr) usage_error("{}() lacks the argument {}", name, argument);
    return *value;
  };
  const auto count = [&](size_t place, std::string_view argument) {
    const Value* value = a.find(place, argument);
    if (value == nullptr) return int64_t{-1};
    if (!value->is_int()) usage_error("{}(): {} must be an int", name, argument);
    return value->integer();
  };
  const auto place_of = [&](size_t at) {
    return at == std::string::npos ? int64_t{-1}
                                   : static_cast<int64_t>(character_count(text.substr(0, at)));
  };
  if (name == "strip") return strip(text, a.find(0, "chars"), true, true);
  if (name == "lstrip") return strip(text, a.find(0, "chars"), true, false);
  if (name == "rstrip") return strip(text, a.find(0, "chars"), false, true);
  if (name == "split") return split(text, a.find(0, "sep"), count(1, "maxsplit"), false);
  if (name == "rsplit") return split(text, a.find(0, "sep"), count(1, "maxsplit"), true);
  if (name == "splitlines") {
    const Value* keep = a.find(0, "keepends");
    return split_lines(text, keep != nullptr && keep->truth());
  }
  if (name == "upper") return to_uppercase(text);
  if (name == "lower") return to_lowercase(text);
  if (name == "title") return titled(text);
  if (name == "capitalize") return capitalized(text);
  if (name == "startswith")
    return has_any(needed(0, "prefix"), name, [&](const std::string& p) { return text.starts_with(p); });
  if (name == "endswith")
    return has_any(needed(0, "suffix"), name, [&](const std::string& p) { return text.ends_with(p); });
  if (name == "removeprefix") {
    const std::string& prefix = text_argument(needed(0, "prefix"), name);
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
  }
  if (name == "removesuffix") {
    const std::string& suffix = text_argument(needed(0, "suffix"), name);
    return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
  }
  if (name == "replace")
    return replaced(text, text_argument(needed(0, "old"), name), text_argument(needed(1, "new"), name),
                    count(2, "count"));
  if (name == "find") return place_of(text.find(text_argument(needed(0, "sub"), name)));
  if (name == "rfind") return place_of(text.rfind(text_argument(needed(0, "sub"), name)));
  if (name == "index") {
    const size_t at = text.find(text_argument(needed(0, "sub"), name));
    if (at == std::string::npos) usage_error("index(): substring not found");
    return place_of(at);
  }
  if (name == "count") {
    const std::string& what = text_argument(needed(0, "sub"), name);
    if (what.empty()) return static_cast<int64_t>(character_count(text) + 1);
    int64_t found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size()))
      ++found;
    return found;
  }
  if (name == "join") {
    std::string out;
    bool first = true;
    for (const Value& item : needed(0, "iterable").elements()) {
      if (!first) out += text;
      first = false;
      out += text_argument(item, name);
    }
    return out;
  }
  if (name == "isdigit") return all_characters(text, is_decimal);
  if (name == "isalpha") return all_characters(text, is_letter);
  if (name == "isalnum")
    return all_characters(text, [](Category c) { return is_letter(c) || is_decimal(c); });
  if (name == "isspace") {
    const std::vector<std::string> parts = characters(text);
    return !parts.empty() && std::all_of(parts.begin(), parts.end(), is_space_text);
  }
  if (name == "isupper") return text == to_uppercase(text) && text != to_lowercase(text);
  if (name == "islower") return text == to_lowercase(text) && text != to_uppercase(text);
  if (name == "zfill" || name == "ljust" || name == "rjust" || name == "center") {
    const int64_t width = count(0, "width");
    if (width > static_cast<int64_t>(kMaxSize)) usage_error("{}(): the width {} is too large", name, width);
    const Value* fill = a.find(1, "fillchar");
    const auto size = static_cast<int64_t>(character_count(text));
    if (width <= size) return text;
    const auto filling = [&](int64_t n) {
      std::string out;
      for (int64_t i = 0; i < n; ++i)
        out += name == "zfill" ? "0" : fill == nullptr ? " " : text_argument(*fill, name);
      return out;
    };
    const int64_t missing = width - size;
    if (name == "ljust") return text + filling(missing);
    if (name == "rjust") return filling(missing) + text;
    if (name == "center") {
      const int64_t left = missing / 2 + (missing & width & 1);
      return filling(left) + text + filling(missing - left);
    }
    const bool sign = text.starts_with('-') || text.starts_with('+');
    return text.substr(0, sign) + filling(missing) + text.substr(sign);
  }
  return Value::undefined(name);
}

bool is_text_method(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "upper", "lower", "title",
      "capitalize", "startswith", "endswith", "removeprefix", "removesuffix", "replace", "find",
      "rfind", "index", "count", "join", "isdigit", "isalpha", "isalnum", "isspace", "isupper",
      "islower", "zfill", "ljust", "rjust", "center"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

Value dict_method(const Value& dict, const std::string& name) {
  const auto list_of = [dict](auto&& make) {
    return Value::function([dict, make](const Arguments&) {
      std::vector<Value> items;
      for (const auto& [key, value] : dict.members().items()) items.push_back(make(key, value));
      return Value::list(std::move(items));
    });
  };
  if (name == "keys") return list_of([](const Value& key, const Value&) { return key; });
  if (name == "values") return list_of([](const Value&, const Value& value) { return value; });
  if (name == "items")
    return list_of([](const Value& key, const Value& value) { return Value::list({key, value}, true); });
  if (name == "copy") return Value::function([dict](const Arguments&) { return dict; });
  if (name == "get")
    return Value::function([dict](const Arguments& a) {
      const Value* key = a.find(0, "key");
      if (key == nullptr) usage_error("get() lacks the argument key");
      if (const Value* found = dict.members().find(*key)) return *found;
      const Value* fallback = a.find(1, "default");
      return fallback == nullptr ? Value::none() : *fallback;
    });
  return Value::undefined(name);
}

Value list_method(const Value& list, const std::string& name) {
  if (name != "index" && name != "count") return Value::undefined(name);
  const bool counting = name == "count";
  return Value::function([list, counting](const Arguments& a) -> Value {
    const Value* wanted = a.find(0, "value");
    if (wanted == nullptr) usage_error("index() and count() need a value");
    const std::vector<Value>& items = list.items();
    if (counting) return static_cast<int64_t>(std::count(items.begin(), items.end(), *wanted));
    const auto found = std::find(items.begin(), items.end(), *wanted);
    if (found == items.end()) usage_error("{} is not in list", wanted->repr());
    return static_cast<int64_t>(found - items.begin());
  });
}

Value calculate_integers(std::string_view symbol, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (symbol == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (symbol == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (symbol == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (symbol == "**" && b >= 0) {
    result = a == -1 && b % 2 == 0 ? 1 : b == 0 ? 1 : a;
    if (a != 0 && a != 1 && a != -1)
      for (int64_t i = 1; i < b && !overflow; ++i)
        overflow = __builtin_mul_overflow(result, a, &result);
  } else if (b == -1 && symbol == "//") {
    overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
  }
  if (overflow) usage_error("{} {} {} is out of range", a, symbol, b);
  if (symbol == "+" || symbol == "-" || symbol == "*" || (symbol == "**" && b >= 0)) return result;
  if (symbol == "**") return std::pow(static_cast<double>(a), static_cast<double>(b));
  if (b == 0) usage_error("division by zero");
  if (symbol == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) return result;  // 0 is the rest of any number
  const bool inexact = a % b != 0 && (a < 0) != (b < 0);
  if (symbol == "//") return a / b - inexact;
  return a % b + (inexact ? b : 0);
}

Value calculate_floats(std::string_view symbol, double a, double b) {
  if (symbol == "+") return a + b;
  if (symbol == "-") return a - b;
  if (symbol == "*") return a * b;
  if (symbol == "**") return std::pow(a, b);
  if (b == 0) usage_error("division by zero");
  if (symbol == "/") return a / b;
  if (symbol == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value repeated(const Value& value, int64_t times) {
  const size_t size = value.is_string() ? value.string().size() : value.items().size();
  times = size == 0 ? 0 : std::max<int64_t>(times, 0);
  if (size > 0 && static_cast<size_t>(times) > (value.is_string() ? kMaxSize : kMaxElements) / size)
    usage_error("a value of {} elements times {} is too large", size, times);
  if (value.is_string()) {
    std::string text;
    for (int64_t i = 0; i < times; ++i) text += value.string();
    return text;
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < times; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return Value::list(std::move(items), value.is_tuple());
}

}  // namespace

Value attribute_of(const Value& value, const std::string& name) {
  if (value.is_undefined()) undefined_error(value);
  if (value.is_namespace()) {
    const Value* found = value.members().member(name);
    return found == nullptr ? Value::undefined(name) : *found;
  }
  if (value.is_dict()) {
    Value method = dict_method(value, name);
    if (!method.is_undefined()) return method;
    const Value* found = value.members().member(name);
    return found == nullptr ? method : *found;
  }
  if (value.is_list()) return list_method(value, name);
  if (value.is_string() && is_text_method(name)) {
    const std::string text = value.string();
    return Value::function(
        [text, name](const Arguments& arguments) { return call_text_method(text, name, arguments); });
  }
  return Value::undefined(name);
}

Value item_of(const Value& value, const Value& key) {
  if (value.is_undefined()) undefined_error(value);
  if (value.is_dict() || value.is_namespace()) {
    if (const Value* found = value.members().find(key)) return *found;
    return key.is_string() ? attribute_of(value, key.string()) : Value::undefined(key.str());
  }
  if ((value.is_list() || value.is_string()) && (key.is_int() || key.is_bool())) {
    const std::vector<Value> items = value.is_string() ? value.elements() : std::vector<Value>();
    const std::vector<Value>& all = value.is_string() ? items : value.items();
    int64_t index = key.integer();
    if (index < 0) index += static_cast<int64_t>(all.size());
    if (index < 0 || index >= static_cast<int64_t>(all.size())) return Value::undefined(key.str());
    return all[static_cast<size_t>(index)];
  }
  return key.is_string() ? attribute_of(value, key.string()) : Value::undefined(key.str());
}

Value calculate(std::string_view symbol, const Value& left, const Value& right) {
  if (symbol == "~") {
    std::string text = left.str() + right.str();
    if (text.size() > kMaxSize) usage_error("a text is longer than {} bytes", kMaxSize);
    return text;
  }
  if (left.is_undefined()) undefined_error(left);
  if (right.is_undefined()) undefined_error(right);
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float())
      return calculate_floats(symbol, left.number(), right.number());
    return calculate_integers(symbol, left.integer(), right.integer());
  }
  if (symbol == "+" && left.is_string() && right.is_string()) {
    if (left.string().size() + right.string().size() > kMaxSize)
      usage_error("a text is longer than {} bytes", kMaxSize);
    return left.string() + right.string();
  }
  if (symbol == "+" && left.is_list() && right.is_list() && left.is_tuple() == right.is_tuple()) {
    std::vector<Value> items = left.items();
    items.insert(items.end(), right.items().begin(), right.items().end());
    if (items.size() > kMaxElements) usage_error("a list is longer than {} elements", kMaxElements);
    return Value::list(std::move(items), left.is_tuple());
  }
  const auto whole = [](const Value& v) { return v.is_int() || v.is_bool(); };
  if (symbol == "*" && (left.is_string() || left.is_list()) && whole(right))
    return repeated(left, right.integer());
  if (symbol == "*" && (right.is_string() || right.is_list()) && whole(left))
    return repeated(right, left.integer());
  if (symbol == "%" && left.is_string()) {
    Arguments arguments;
    if (right.is_tuple())
      arguments.positional = right.items();
    else
      arguments.positional.push_back(right);
    return apply_filter("format", left, arguments);
  }
  usage_error("unsupported operand types for {}: '{}' and '{}'", symbol, left.type_name(),
              right.type_name());
}

bool is_in(const Value& value, const Value& container) {
  if (container.is_string()) {
    if (!value.is_string())
      usage_error("'in <string>' requires a string, not {}", value.type_name());
    return container.string().find(value.string()) != std::string::npos;
  }
  if (container.is_dict()) return container.members().find(value) != nullptr;
  const std::vector<Value> items = container.elements();
  return std::find(items.begin(), items.end(), value) != items.end();
}

Dict global_functions() {
  Dict functions;
  const auto add = [&](const char* name, Function function) {
    functions.set(name, Value::function(std::move(function)));
  };
  add("range", [](const Arguments& a) {
    int64_t numbers[3] = {0, 0, 1};
    const size_t count = a.positional.size();
    if (count == 0 || count > 3) usage_error("range() takes 1 to 3 numbers, not {}", count);
    for (size_t i = 0; i < count; ++i) {
      if (!a.positional[i].is_int() && !a.positional[i].is_bool())
        usage_error("range(): '{}' is no integer", a.positional[i].type_name());
      numbers[count == 1 ? 1 : i] = a.positional[i].integer();
    }
    const int64_t end = numbers[1], step = numbers[2];
    if (step == 0) usage_error("range(): the step must not be 0");
    std::vector<Value> items;
    for (int64_t i = numbers[0]; step > 0 ? i < end : i > end;) {
      items.emplace_back(i);
      if (items.size() > 100000) usage_error("range() of more than 100000 numbers");
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return Value::list(std::move(items));
  });
  const auto members = [](const Arguments& a) {
    Dict dict;
    for (const Value& from : a.positional) {
      if (!from.is_dict()) usage_error("'{}' is no dict", from.type_name());
      for (const auto& [key, value] : from.members().items()) dict.set(key, value);
    }
    for (const auto& [key, value] : a.named) dict.set(key, value);
    return dict;
  };
  add("dict", [members](const Arguments& a) { return Value::dict(members(a)); });
  add("namespace", [members](const Arguments& a) { return Value::name_space(members(a)); });
  add("joiner", [](const Arguments& a) {
    const Value* separator = a.find(0, "sep");
    const std::string text = separator == nullptr ? ", " : separator->str();
    const auto used = std::make_shared<bool>(false);
    return Value::function([text, used](const Arguments&) -> Value {
      return std::exchange(*used, true) ? text : std::string();
    });
  });
  add("cycler", [](const Arguments& a) {
    if (a.positional.empty()) usage_error("cycler() needs at least one value");
    const auto place = std::make_shared<size_t>(0);
    Dict dict;
    dict.set("next", Value::function([items = a.positional, place](const Arguments&) {
               return items[(*place)++ % items.size()];
             }));
    dict.set("reset", Value::function([place](const Arguments&) {
               *place = 0;
               return Value::none();
             }));
    return Value::name_space(std::move(dict));
  });
  add("raise_exception", [](const Arguments& a) -> Value {
    std::string text = a.positional.empty() ? "" : a.positional[0].str();
    std::replace(text.begin(), text.end(), '\n', ' ');  // errors are one line
    usage_error("the template says: {}", text);
  });
  add("strftime_now", [](const Arguments& a) -> Value {
    if (a.positional.empty() || !a.positional[0].is_string())
      usage_error("strftime_now() needs a format");
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char text[512];
    const size_t size = std::strftime(text, sizeof(text), a.positional[0].string().c_str(), &local);
    return std::string(text, size);
  });
  return functions;
}

}  // namespace corten::jinja
