// Templates as trees.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace corten::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Expression {
  enum Kind {
    Literal,    // value
    Name,       // text
    List,       // operands
    Tuple,      // operands
    Dict,       // operands: key, value, key, value, ...
    Attribute,  // operands[0].text
    Item,       // operands[0][operands[1]]
    Slice,      // operands[0][operands[1] : operands[2] : operands[3]], any of these null
    Call,       // operands[0](arguments)
    Filter,     // operands[0] | text(arguments); in a filter block operands[0] is null
    Test,       // operands[0] is text(arguments)
    Not,
    Negative,
    Positive,
    Binary,   // operands[0] text operands[1]: + - * / // % ** ~ and or
    Compare,  // operands[0] operators[0] operands[1] operators[1] operands[2] ...
    IfElse,   // operands[0] if operands[1] else operands[2], the last one may be null
  };
  Kind kind;
  int line = 0;
  std::string text;
  Value value;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> operators;
  CallArguments arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What is assigned to: a name, names in a tuple, or an attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool tuple = false;
  std::string attribute;
};

struct Statement {
  enum Kind {
    Text,      // text
    Output,    // expressions[0]
    If,        // conditions in expressions, bodies; one more body for else
    For,       // target, expressions[0], filter expressions[1] or null; bodies: body, else
    Set,       // target, expressions[0]
    SetBlock,  // target, bodies[0]; expressions[0]: filters or null
    Macro,     // text, parameters, bodies[0]
    CallBlock, // expressions[0] is the call, parameters of the caller, bodies[0]
    FilterBlock,  // expressions[0], bodies[0]
    With,         // parameters with their values, bodies[0]
    Block,        // bodies[0]: {% generation %}
    Break,
    Continue,
  };
  Kind kind;
  int line = 0;
  std::string text;
  std::vector<ExpressionPtr> expressions;
  std::vector<Body> bodies;
  Target target;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with default values or null
};

/// Parses a template with trim_blocks and lstrip_blocks, as chat templates are meant. Usage error
/// "line N: what is wrong".
Body parse(std::string_view source);

}  // namespace corten::jinja
