#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/strings.h"

namespace corten {

struct Json::Array {
  std::vector<Json> elements;
};

// Members in order; above kSmall members a table of open addressing maps hashes to positions.
struct Json::Object {
  static constexpr size_t kSmall = 8;
  std::vector<Member> members;
  std::vector<uint32_t> table;  // position + 1, 0 = free; a power of two, at most half full

  static size_t hash(std::string_view key) noexcept { return std::hash<std::string_view>()(key); }

  void put(size_t position) noexcept {
    const size_t mask = table.size() - 1;
    size_t slot = hash(members[position].first) & mask;
    while (table[slot] != 0) slot = (slot + 1) & mask;
    table[slot] = static_cast<uint32_t>(position + 1);
  }
  void rebuild() {
    table.clear();
    if (members.size() <= kSmall) return;
    size_t capacity = 4 * kSmall;
    while (capacity < members.size() * 4) capacity *= 2;
    table.assign(capacity, 0);
    for (size_t i = 0; i < members.size(); ++i) put(i);
  }
  Json* find(std::string_view key) noexcept {
    if (table.empty()) {
      for (Member& member : members)
        if (member.first == key) return &member.second;
      return nullptr;
    }
    const size_t mask = table.size() - 1;
    for (size_t slot = hash(key) & mask; table[slot] != 0; slot = (slot + 1) & mask) {
      Member& member = members[table[slot] - 1];
      if (member.first == key) return &member.second;
    }
    return nullptr;
  }
  Json& append(std::string key) {
    members.emplace_back(std::move(key), Json());
    if (members.size() > kSmall) {
      if (members.size() * 2 > table.size())
        rebuild();
      else
        put(members.size() - 1);
    }
    return members.back().second;
  }
};

template <typename T>
Json::Box<T>::Box() noexcept = default;
template <typename T>
Json::Box<T>::Box(std::unique_ptr<T> p) noexcept : pointer(std::move(p)) {}
template <typename T>
Json::Box<T>::Box(Box&&) noexcept = default;
template <typename T>
Json::Box<T>& Json::Box<T>::operator=(Box&&) noexcept = default;
template <typename T>
Json::Box<T>::Box(const Box& other)
    : pointer(other.pointer ? std::make_unique<T>(*other.pointer) : nullptr) {}
template <typename T>
Json::Box<T>& Json::Box<T>::operator=(const Box& other) {
  if (this != &other) *this = Box(other);
  return *this;
}
template <typename T>
Json::Box<T>::~Box() = default;
template struct Json::Box<Json::Array>;
template struct Json::Box<Json::Object>;

Json::Json(const Json& other) = default;
Json& Json::operator=(const Json& other) = default;
Json::~Json() = default;

Json::Json(float value) noexcept : value_(static_cast<double>(value)) {
  if (!std::isfinite(value)) return;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double shortest = 0;
  std::from_chars(text, end, shortest);
  if (static_cast<float>(shortest) == value) value_ = shortest;
}

Json Json::array() {
  Json json;
  json.value_ = Box<Array>(std::make_unique<Array>());
  return json;
}
Json Json::object() {
  Json json;
  json.value_ = Box<Object>(std::make_unique<Object>());
  return json;
}
Json Json::object(std::initializer_list<Member> members) {
  Json json = object();
  for (const Member& member : members) json.set(member.first, member.second);
  return json;
}

// ---- access

bool Json::is_int() const noexcept {
  return std::holds_alternative<int64_t>(value_) || std::holds_alternative<uint64_t>(value_);
}
bool Json::is_array() const noexcept {
  return std::holds_alternative<Box<Array>>(value_);
}
bool Json::is_object() const noexcept {
  return std::holds_alternative<Box<Object>>(value_);
}

std::string_view Json::type_name() const noexcept {
  constexpr std::string_view kNames[] = {"null",   "bool",   "integer", "integer",
                                         "number", "string", "array",   "object"};
  return kNames[value_.index()];
}

void Json::type_error(std::string_view what, std::string_view expected) const {
  std::string found(type_name());
  if (!is_null() && !is_array() && !is_object()) {
    std::string text = dump();
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    found += " " + text;
  }
  usage_error("{}: expected {}, found {}", what, expected, found);
}

bool Json::as_bool(std::string_view what) const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  type_error(what, "a bool");
}
int64_t Json::as_int(std::string_view what) const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  type_error(what, is_int() ? "an integer below 2^63" : "an integer");
}
uint64_t Json::as_uint(std::string_view what) const {
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return *value;
  const int64_t* value = std::get_if<int64_t>(&value_);
  if (value != nullptr && *value >= 0) return static_cast<uint64_t>(*value);
  type_error(what, "an integer >= 0");
}
double Json::as_double(std::string_view what) const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return static_cast<double>(*value);
  type_error(what, "a number");
}
const std::string& Json::as_string(std::string_view what) const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  type_error(what, "a string");
}
const std::vector<Json::Member>& Json::items(std::string_view what) const& {
  if (const Object* object = object_or_null()) return object->members;
  type_error(what, "an object");
}
const std::vector<Json>& Json::elements(std::string_view what) const& {
  if (const auto* box = std::get_if<Box<Array>>(&value_)) return box->pointer->elements;
  type_error(what, "an array");
}
std::vector<Json>& Json::mutable_elements(std::string_view what) {
  return const_cast<std::vector<Json>&>(std::as_const(*this).elements(what));
}

size_t Json::size() const noexcept {
  if (const Object* object = object_or_null()) return object->members.size();
  if (const auto* box = std::get_if<Box<Array>>(&value_)) return box->pointer->elements.size();
  if (const std::string* text = std::get_if<std::string>(&value_)) return text->size();
  return 0;
}

const Json::Object* Json::object_or_null() const noexcept {
  const auto* box = std::get_if<Box<Object>>(&value_);
  return box == nullptr ? nullptr : box->pointer.get();
}
Json::Object& Json::make_object() {
  if (is_null()) *this = object();
  if (const Object* object = object_or_null()) return const_cast<Object&>(*object);
  type_error("value", "an object");
}

Json* Json::find(std::string_view key) noexcept {
  auto* object = const_cast<Object*>(object_or_null());
  return object == nullptr ? nullptr : object->find(key);
}
const Json* Json::find(std::string_view key) const noexcept {
  return const_cast<Json*>(this)->find(key);
}
const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  std::vector<std::string> names;
  for (const Member& member : items(key)) names.push_back(member.first);
  usage_error("missing key \"{}\"{}", key, did_you_mean(key, names));
}
Json& Json::at(std::string_view key) {
  return const_cast<Json&>(std::as_const(*this).at(key));
}
const Json& Json::at(size_t index) const {
  const auto& values = elements();
  if (index >= values.size())
    usage_error("index {} is out of range for an array of {} elements", index, values.size());
  return values[index];
}
Json& Json::operator[](std::string_view key) {
  Object& object = make_object();
  if (Json* value = object.find(key)) return *value;
  return object.append(std::string(key));
}
Json& Json::set(std::string_view key, Json value) {
  (*this)[key] = std::move(value);
  return *this;
}
bool Json::erase(std::string_view key) {
  auto* object = const_cast<Object*>(object_or_null());
  if (object == nullptr) return false;
  auto& members = object->members;
  const auto it = std::find_if(members.begin(), members.end(),
                               [&](const Member& member) { return member.first == key; });
  if (it == members.end()) return false;
  members.erase(it);
  object->rebuild();
  return true;
}
Json& Json::push_back(Json value) {
  if (is_null()) *this = array();
  mutable_elements().push_back(std::move(value));
  return *this;
}

bool operator==(const Json& a, const Json& b) noexcept {
  if (a.value_.index() != b.value_.index()) return false;
  if (a.is_array()) return a.elements() == b.elements();
  if (!a.is_object())
    return std::visit(
        [&](const auto& left) {
          using T = std::decay_t<decltype(left)>;
          if constexpr (std::is_same_v<T, Json::Box<Json::Array>> ||
                        std::is_same_v<T, Json::Box<Json::Object>>)
            return false;
          else
            return left == std::get<T>(b.value_);
        },
        a.value_);
  if (a.size() != b.size()) return false;
  return std::all_of(a.items().begin(), a.items().end(), [&](const Json::Member& member) {
    const Json* other = b.find(member.first);
    return other != nullptr && *other == member.second;
  });
}

// ---- printing

namespace {

void quote_to(std::string& out, std::string_view text) {
  out += '"';
  size_t done = 0;
  for (;;) {
    const size_t bad = find_invalid_utf8(text.substr(done));
    const size_t end = bad == std::string_view::npos ? text.size() : done + bad;
    for (; done < end; ++done) {
      const char c = text[done];
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          if (static_cast<unsigned char>(c) < 0x20)
            out += format("\\u{:04x}", static_cast<unsigned>(c));
          else
            out += c;
      }
    }
    if (done == text.size()) break;
    out += "\xEF\xBF\xBD";  // U+FFFD
    ++done;
  }
  out += '"';
}

void number_to(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char text[32];
  const char* end = std::to_chars(text, text + sizeof(text), value).ptr;
  const std::string_view digits(text, static_cast<size_t>(end - text));
  out += digits;
  if (digits.find_first_of(".e") == std::string_view::npos) out += ".0";
}

}  // namespace

std::string json_quote(std::string_view text) {
  std::string out;
  quote_to(out, text);
  return out;
}

void Json::dump_to(std::string& out, int indent, int depth) const {
  const auto new_line = [&](int level) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
  };
  if (is_null()) {
    out += "null";
  } else if (const bool* flag = std::get_if<bool>(&value_)) {
    out += *flag ? "true" : "false";
  } else if (const int64_t* integer = std::get_if<int64_t>(&value_)) {
    out += std::to_string(*integer);
  } else if (const uint64_t* large = std::get_if<uint64_t>(&value_)) {
    out += std::to_string(*large);
  } else if (const double* number = std::get_if<double>(&value_)) {
    number_to(out, *number);
  } else if (const std::string* text = std::get_if<std::string>(&value_)) {
    quote_to(out, *text);
  } else if (size() == 0) {
    out += is_array() ? "[]" : "{}";
  } else if (is_array()) {
    out += '[';
    bool first = true;
    for (const Json& element : elements()) {
      if (!first) out += ',';
      first = false;
      new_line(depth + 1);
      element.dump_to(out, indent, depth + 1);
    }
    new_line(depth);
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const Member& member : items()) {
      if (!first) out += ',';
      first = false;
      new_line(depth + 1);
      quote_to(out, member.first);
      out += indent < 0 ? ":" : ": ";
      member.second.dump_to(out, indent, depth + 1);
    }
    new_line(depth);
    out += '}';
  }
}

std::string Json::dump(int indent) const {
  std::string out;
  dump_to(out, indent, 0);
  return out;
}

// ---- parsing

// Receives the events of nlohmann's (non-recursive) parser.
class Json::Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view text, std::string_view source, JsonLimits limits)
      : text_(text), source_(source), limits_(limits) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_unsigned(uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    Object& object = stack_.back()->make_object();
    pending_ = object.find(name);
    if (pending_ == nullptr) {
      pending_ = &object.append(std::move(name));
    } else if (limits_.refuse_duplicate_keys) {
      usage_error("{}: duplicate key {}", source_, json_quote(name));
    } else {
      *pending_ = Json();
    }
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    // "[json.exception...] parse error at line 1, column 2: what is wrong": the place is ours.
    std::string_view what = error.what();
    const size_t column = what.find(", column ");
    const size_t colon = what.find(": ", column == std::string_view::npos ? 0 : column);
    const size_t bracket = what.find("] ");
    if (column != std::string_view::npos && colon != std::string_view::npos)
      what.remove_prefix(colon + 2);
    else if (bracket != std::string_view::npos)
      what.remove_prefix(bracket + 2);
    const auto [line, col] = line_and_column(text_, position == 0 ? 0 : position - 1);
    usage_error("{}:{}:{}: {}", source_, line, col, one_line(what));
  }

  Json take() { return std::move(root_); }

 private:
  Json& place(Json value) {
    if (stack_.empty()) return root_ = std::move(value);
    if (stack_.back()->is_array()) {
      auto& elements = stack_.back()->mutable_elements();
      elements.push_back(std::move(value));
      return elements.back();
    }
    return *pending_ = std::move(value);
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json container) {
    if (static_cast<int>(stack_.size()) >= limits_.max_depth)
      usage_error("{}: nested more than {} levels deep", source_, limits_.max_depth);
    stack_.push_back(&place(std::move(container)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_, source_;
  JsonLimits limits_;
  Json root_;
  // Containers being filled. Pointers stay valid: only the innermost container grows.
  std::vector<Json*> stack_;
  Json* pending_ = nullptr;  // where the value of the last key goes
};

Json Json::parse(std::string_view text, std::string_view source_name, JsonLimits limits) {
  // The lexer takes a NUL byte for the end of the text and would ignore what follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    const auto [line, column] = line_and_column(text, nul);
    usage_error("{}:{}:{}: a NUL byte", source_name, line, column);
  }
  Builder builder(text, source_name, limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    usage_error("{}: not a JSON document", source_name);
  return builder.take();
}

}  // namespace corten
