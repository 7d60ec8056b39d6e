// Values of the template language, with the meaning that they have in Python.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"

namespace corten::jinja {

class Value;

/// A dictionary in the order in which keys were inserted.
class Dict {
 public:
  std::vector<std::pair<Value, Value>>& items() noexcept { return items_; }
  const std::vector<std::pair<Value, Value>>& items() const noexcept { return items_; }
  const Value* find(const Value& key) const;
  const Value* member(std::string_view key) const;  ///< with a text as its key
  void set(Value key, Value value);

 private:
  std::vector<std::pair<Value, Value>> items_;
};

/// Arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// The argument with a place and a name; nullptr if it is not given.
  const Value* find(size_t place, std::string_view name) const;
};
using Function = std::function<Value(const Arguments&)>;

/// Lists, tuples and dictionaries do not change once they are made (the sandbox that runs chat
/// templates does not let them); a namespace is shared and does.
class Value {
 public:
  struct Undefined {
    std::string name;  ///< what was looked for
  };
  struct None {};
  struct List {
    std::vector<Value> items;
    bool tuple = false;
  };
  struct Namespace {
    Dict members;
  };

  Value() : data_(Undefined{}) {}
  static Value undefined(std::string name) { return Value(Data(Undefined{std::move(name)})); }
  static Value none() { return Value(Data(None{})); }
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  static Value list(std::vector<Value> items, bool tuple = false);
  static Value dict(Dict members);
  static Value name_space(Dict members);
  static Value function(Function function);
  static Value from_json(const Json& json);

  bool is_undefined() const noexcept { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const noexcept { return std::holds_alternative<None>(data_); }
  bool is_bool() const noexcept { return std::holds_alternative<bool>(data_); }
  bool is_int() const noexcept { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const noexcept { return std::holds_alternative<double>(data_); }
  bool is_number() const noexcept { return is_bool() || is_int() || is_float(); }
  bool is_string() const noexcept { return std::holds_alternative<std::string>(data_); }
  bool is_list() const noexcept;   ///< lists and tuples
  bool is_tuple() const noexcept;
  bool is_dict() const noexcept;
  bool is_namespace() const noexcept;
  bool is_function() const noexcept;

  const std::string& string() const { return std::get<std::string>(data_); }
  const std::vector<Value>& items() const;
  const Dict& members() const;  ///< of a dictionary or a namespace
  Dict& shared_members() const;  ///< of a namespace
  const Function& callable() const;
  int64_t integer() const;  ///< of a bool or an int
  double number() const;    ///< of any number
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }

  bool truth() const noexcept;
  /// "str", "int", "list", ... as Python's errors have it.
  std::string_view type_name() const noexcept;
  std::string str() const;   ///< Python's str()
  std::string repr() const;  ///< Python's repr()
  /// Elements as a for loop sees them: of lists, keys of dictionaries, characters of texts. Usage
  /// error for other values.
  std::vector<Value> elements() const;

  friend bool operator==(const Value& a, const Value& b);
  /// Python's <; Usage error for values without an order.
  static bool less(const Value& a, const Value& b);
  /// Python's json.dumps(ensure_ascii=False).
  void dump(std::string& out, int indent, bool sort_keys, std::string_view item_separator,
            std::string_view key_separator, int depth = 0) const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::string,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                            std::shared_ptr<Namespace>, std::shared_ptr<const Function>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

/// Characters of a text, one each.
std::vector<std::string> characters(std::string_view text);

}  // namespace corten::jinja
