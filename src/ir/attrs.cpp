#include "ir/attrs.h"

#include <charconv>
#include <cmath>
#include <functional>

#include "base/format.h"

namespace corten::ir {

std::string field_text(int64_t value) { return std::to_string(value); }
std::string field_text(double value) { return format("{}", value); }
std::string field_text(bool value) { return value ? "true" : "false"; }
std::string field_text(DType value) { return std::string(name(value)); }
std::string field_text(const Tree& value) { return format("{}x{}", value.lanes, value.chunk); }
std::string field_text(const std::vector<int64_t>& value) { return format("[{}]", fmt::join(value, ",")); }
std::string field_text(const std::vector<double>& value) { return format("[{}]", fmt::join(value, ",")); }
std::string field_text(const std::string& value) {
  std::string out = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

namespace {

template <typename T>
void parse_number(std::string_view text, T& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    usage_error("\"{}\" is not a value of this attribute", text);
}

template <typename T>
void parse_list(std::string_view text, std::vector<T>& value) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') usage_error("\"{}\" is not a list", text);
  text = text.substr(1, text.size() - 2);
  value.clear();
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    T item{};
    parse_number(text.substr(0, comma), item);
    value.push_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
}

}  // namespace

void field_parse(std::string_view text, int64_t& value) { parse_number(text, value); }
void field_parse(std::string_view text, double& value) { parse_number(text, value); }
void field_parse(std::string_view text, bool& value) {
  if (text != "true" && text != "false") usage_error("\"{}\" is not true or false", text);
  value = text == "true";
}
void field_parse(std::string_view text, DType& value) { value = dtype_from_name(text); }
void field_parse(std::string_view text, Tree& value) {
  size_t x = text.find('x');
  if (x == text.npos) usage_error("\"{}\" is not a reduction tree such as 64x1024", text);
  parse_number(text.substr(0, x), value.lanes);
  parse_number(text.substr(x + 1), value.chunk);
}
void field_parse(std::string_view text, std::vector<int64_t>& value) { parse_list(text, value); }
void field_parse(std::string_view text, std::vector<double>& value) { parse_list(text, value); }
void field_parse(std::string_view text, std::string& value) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') usage_error("{} is not a quoted text", text);
  value.clear();
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '\\') ++i;
    value += text[i];
  }
}

void unknown_field(std::string_view name) { usage_error("unknown attribute \"{}\"", name); }

size_t hash_text(std::string_view text) { return std::hash<std::string_view>()(text); }

std::string replace_field(const AttrsPtr& attrs, std::string_view name, std::string_view value) {
  std::string out;
  for (auto& [field, text] : split_fields(attrs->text()))
    out += format("{}{}={}", out.empty() ? "{" : ", ", field, field == name ? value : text);
  return out + "}";
}

std::vector<std::pair<std::string, std::string>> split_fields(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  if (text.empty()) return out;
  if (text.front() != '{' || text.back() != '}') usage_error("\"{}\" is not an attribute list", text);
  text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    size_t equal = text.find('=');
    if (equal == text.npos) usage_error("\"{}\" has no =", text);
    size_t end = equal + 1;
    int depth = 0;
    bool quoted = false;
    for (; end < text.size() && (depth > 0 || quoted || text[end] != ','); ++end) {
      if (quoted && text[end] == '\\') {
        ++end;
        continue;
      }
      if (text[end] == '"') quoted = !quoted;
      if (!quoted && text[end] == '[') ++depth;
      if (!quoted && text[end] == ']') --depth;
    }
    out.emplace_back(text.substr(0, equal), text.substr(equal + 1, end - equal - 1));
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
  }
  return out;
}

}  // namespace corten::ir
