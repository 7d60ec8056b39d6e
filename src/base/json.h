// JSON values: parsing, building and printing. The same type carries parsed TOML (base/toml.h).
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace corten {

/// What a parsed text may contain beyond plain JSON.
struct JsonLimits {
  int max_depth = 256;                 ///< nested arrays and objects
  bool refuse_duplicate_keys = false;  ///< otherwise the last one wins, as in Python
};

/// A JSON value. Objects keep the order in which keys were inserted and find a key in O(1).
/// Integers are exact: int64, or uint64 above that; larger ones become doubles.
class Json {
 public:
  using Member = std::pair<std::string, Json>;

  Json() noexcept = default;
  Json(std::nullptr_t) noexcept {}
  template <std::same_as<bool> T>
  Json(T value) noexcept : value_(value) {}
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Json(T value) noexcept {
    if (std::in_range<int64_t>(value))
      value_ = static_cast<int64_t>(value);
    else
      value_ = static_cast<uint64_t>(value);
  }
  Json(double value) noexcept : value_(value) {}
  /// Keeps the shortest decimal that reads back as the same float: 0.1f is printed as 0.1.
  Json(float value) noexcept;
  Json(std::string value) noexcept : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  /// An array of anything that converts to Json.
  template <typename T>
  Json(const std::vector<T>& values) : Json(array()) {
    for (const auto& value : values) push_back(Json(static_cast<const T&>(value)));
  }

  Json(const Json& other);
  Json(Json&& other) noexcept = default;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept = default;
  ~Json();

  static Json array();
  static Json object();
  /// An object from {key, value} pairs.
  static Json object(std::initializer_list<Member> members);

  /// Parses one JSON document (UTF-8). Usage error "source:line:column: what is wrong".
  static Json parse(std::string_view text, std::string_view source_name, JsonLimits limits = {});

  /// Prints the value; indent < 0 gives one line without spaces. Doubles have the fewest digits
  /// that read back as the same double and always a '.' or an exponent; NaN and infinities become
  /// null; bytes that are no UTF-8 become U+FFFD.
  std::string dump(int indent = -1) const;

  bool is_null() const noexcept { return value_.index() == 0; }
  bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
  bool is_int() const noexcept;  ///< int64 or uint64
  bool is_double() const noexcept { return std::holds_alternative<double>(value_); }
  bool is_number() const noexcept { return is_int() || is_double(); }
  bool is_string() const noexcept { return std::holds_alternative<std::string>(value_); }
  bool is_array() const noexcept;
  bool is_object() const noexcept;
  /// "null", "bool", "integer", "number", "string", "array" or "object".
  std::string_view type_name() const noexcept;

  /// The value as a C++ type; Usage error "<what>: expected an integer, found string "abc""
  /// otherwise. as_double takes integers too; as_int and as_uint take integers in range only.
  bool as_bool(std::string_view what = "value") const;
  int64_t as_int(std::string_view what = "value") const;
  uint64_t as_uint(std::string_view what = "value") const;
  double as_double(std::string_view what = "value") const;
  const std::string& as_string(std::string_view what = "value") const;

  /// Members of an object in order; Usage error if it is none.
  const std::vector<Member>& items(std::string_view what = "value") const&;
  /// Elements of an array; Usage error if it is none.
  const std::vector<Json>& elements(std::string_view what = "value") const&;
  // `for (x : make_json().items())` would read a value that is gone.
  void items(std::string_view what = "value") && = delete;
  void elements(std::string_view what = "value") && = delete;
  std::vector<Json>& mutable_elements(std::string_view what = "value");
  /// Number of members, elements or bytes of the string; 0 for other types.
  size_t size() const noexcept;
  bool empty() const noexcept { return size() == 0; }

  /// The member `key`, or nullptr if there is none or this is no object.
  const Json* find(std::string_view key) const noexcept;
  Json* find(std::string_view key) noexcept;
  bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
  /// The member `key`; Usage error naming the key (with a did-you-mean) if there is none.
  const Json& at(std::string_view key) const;
  Json& at(std::string_view key);
  /// Element `index`; Usage error if out of range.
  const Json& at(size_t index) const;
  /// The member `key`, inserted as null if new. A null value becomes an object first; Usage error
  /// for other types.
  Json& operator[](std::string_view key);
  /// Inserts or replaces a member and returns *this, for chains.
  Json& set(std::string_view key, Json value);
  /// Removes a member; false if there was none.
  bool erase(std::string_view key);
  /// Appends to an array; a null value becomes an array first.
  Json& push_back(Json value);

  /// Same type and content; the order of members is not compared, and 1 differs from 1.0.
  friend bool operator==(const Json& a, const Json& b) noexcept;

 private:
  struct Array;
  struct Object;
  template <typename T>
  struct Box {  // owning pointer to an incomplete type with deep copies
    std::unique_ptr<T> pointer;
    Box() noexcept;
    explicit Box(std::unique_ptr<T> p) noexcept;
    Box(Box&&) noexcept;
    Box& operator=(Box&&) noexcept;
    Box(const Box& other);
    Box& operator=(const Box& other);
    ~Box();
  };
  class Builder;

  const Object* object_or_null() const noexcept;
  Object& make_object();
  [[noreturn]] void type_error(std::string_view what, std::string_view expected) const;
  void dump_to(std::string& out, int indent, int depth) const;

  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Box<Array>,
               Box<Object>>
      value_;
};

/// `text` as a JSON string with its quotes.
std::string json_quote(std::string_view text);

}  // namespace corten
