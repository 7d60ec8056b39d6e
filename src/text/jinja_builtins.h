// What templates can call: filters, tests, methods and functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace corten::jinja {

/// input | name(arguments). Usage error for an unknown name and values that it does not take.
Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments);
/// input is name(arguments).
bool apply_test(std::string_view name, const Value& input, const Arguments& arguments);

/// The attribute of a value: a member or a method; undefined if there is none.
Value attribute_of(const Value& value, const std::string& name);
/// value[key].
Value item_of(const Value& value, const Value& key);

/// A binary operator: + - * / // % ** ~.
Value calculate(std::string_view symbol, const Value& left, const Value& right);
/// Whether `value` is in `container`.
bool is_in(const Value& value, const Value& container);

/// range, dict, namespace, joiner, cycler, raise_exception and strftime_now.
Dict global_functions();

}  // namespace corten::jinja
