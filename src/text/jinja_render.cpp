#include "text/jinja_render.h"

#include <algorithm>
#include <memory>

#include "base/format.h"
#include "corten/error.h"
#include "text/jinja_builtins.h"

namespace corten::jinja {
namespace {

constexpr size_t kMaxSteps = 2'000'000;
constexpr size_t kMaxOutput = size_t{1} << 28;
constexpr int kMaxCalls = 100;  // of macros in macros

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables;
  bool captured = false;  // a macro was defined in it

  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent)
      for (const auto& [known, value] : scope->variables)
        if (known == name) return &value;
    return nullptr;
  }
  void set(const std::string& name, Value value) {
    for (auto& [known, old] : variables) {
      if (known != name) continue;
      old = std::move(value);
      return;
    }
    variables.emplace_back(name, std::move(value));
  }
};

enum class Flow { Normal, Break, Continue };

class Renderer {
 public:
  explicit Renderer(const Dict& variables) {
    for (const Dict& dict : {global_functions(), variables})
      for (const auto& [name, value] : dict.items()) globals_.set(name.string(), value);
  }
  ~Renderer() {
    // Macros refer to scopes that hold them.
    globals_.variables.clear();
    for (const auto& scope : kept_) scope->variables.clear();
  }

  std::string run(const Body& body) {
    std::string out;
    Inner top(*this, globals_);
    if (run(body, *top, out) != Flow::Normal) usage_error("break or continue outside of a loop");
    return out;
  }

 private:
  // A scope within another.
  class Inner {
   public:
    Inner(Renderer& renderer, Scope& parent)
        : renderer_(renderer), scope_(std::make_unique<Scope>()) {
      scope_->parent = &parent;
    }
    ~Inner() {
      if (scope_->captured) renderer_.kept_.push_back(std::move(scope_));
    }
    Scope& operator*() const { return *scope_; }
    Scope* operator->() const { return scope_.get(); }

   private:
    Renderer& renderer_;
    std::unique_ptr<Scope> scope_;
  };

  void step() {
    if (++steps_ > kMaxSteps) usage_error("the template takes more than {} steps", kMaxSteps);
  }

  // ---- statements

  Flow run(const Body& body, Scope& scope, std::string& out) {
    for (const auto& statement : body) {
      step();
      Flow flow = Flow::Normal;
      try {
        flow = run(*statement, scope, out);
      } catch (const Error& error) {  // errors name the innermost line
        const std::string text = error.what();
        if (error.kind() != ErrorKind::Usage || text.starts_with("line ")) throw;
        usage_error("line {}: {}", statement->line, text);
      }
      if (flow != Flow::Normal) return flow;
      if (out.size() > kMaxOutput) usage_error("the template gives more than {} bytes", kMaxOutput);
    }
    return Flow::Normal;
  }

  Flow run(const Statement& s, Scope& scope, std::string& out) {
    switch (s.kind) {
      case Statement::Text:
        out += s.text;
        return Flow::Normal;
      case Statement::Output:
        out += evaluate(*s.expressions[0], scope).str();
        return Flow::Normal;
      case Statement::If:
        for (size_t i = 0; i < s.expressions.size(); ++i)
          if (evaluate(*s.expressions[i], scope).truth()) return run(s.bodies[i], scope, out);
        if (s.bodies.size() > s.expressions.size()) return run(s.bodies.back(), scope, out);
        return Flow::Normal;
      case Statement::For:
        return run_for(s, scope, out);
      case Statement::Set:
        assign(s.target, evaluate(*s.expressions[0], scope), scope);
        return Flow::Normal;
      case Statement::SetBlock: {
        Inner inner(*this, scope);
        std::string text;
        const Flow flow = run(s.bodies[0], *inner, text);
        Value value(std::move(text));
        if (s.expressions[0]) value = filtered(*s.expressions[0], value, scope);
        assign(s.target, std::move(value), scope);
        return flow;
      }
      case Statement::FilterBlock: {
        Inner inner(*this, scope);
        std::string text;
        const Flow flow = run(s.bodies[0], *inner, text);
        out += filtered(*s.expressions[0], Value(std::move(text)), scope).str();
        return flow;
      }
      case Statement::Macro:
        for (Scope* outer = &scope; outer != nullptr; outer = outer->parent) outer->captured = true;
        scope.set(s.text, macro(s, scope, s.text));
        return Flow::Normal;
      case Statement::CallBlock: {
        for (Scope* outer = &scope; outer != nullptr; outer = outer->parent) outer->captured = true;
        const Expression& call = *s.expressions[0];
        Arguments arguments = evaluate(call.arguments, scope);
        arguments.named.emplace_back("caller", macro(s, scope, "caller"));
        out += this->call(evaluate(*call.operands[0], scope), arguments).str();
        return Flow::Normal;
      }
      case Statement::With: {
        Inner inner(*this, scope);
        for (const auto& [name, value] : s.parameters) inner->set(name, evaluate(*value, scope));
        return run(s.bodies[0], *inner, out);
      }
      case Statement::Block: {
        Inner inner(*this, scope);
        return run(s.bodies[0], *inner, out);
      }
      case Statement::Break:
        return Flow::Break;
      case Statement::Continue:
        return Flow::Continue;
    }
    return Flow::Normal;
  }

  void assign(const Target& target, Value value, Scope& scope) {
    if (!target.attribute.empty()) {
      const Value* object = scope.find(target.names[0]);
      if (object == nullptr || !object->is_namespace())
        usage_error("cannot assign an attribute of {}, which is no namespace", target.names[0]);
      object->shared_members().set(target.attribute, std::move(value));
    } else if (!target.tuple) {
      scope.set(target.names[0], std::move(value));
    } else {
      const std::vector<Value> parts = value.elements();
      if (parts.size() != target.names.size())
        usage_error("{} values for {} names", parts.size(), target.names.size());
      for (size_t i = 0; i < parts.size(); ++i) scope.set(target.names[i], parts[i]);
    }
  }

  Flow run_for(const Statement& s, Scope& scope, std::string& out) {
    std::vector<Value> items = evaluate(*s.expressions[0], scope).elements();
    if (s.expressions[1]) {
      std::vector<Value> kept;
      for (Value& item : items) {
        step();
        Inner inner(*this, scope);
        assign(s.target, item, *inner);
        if (evaluate(*s.expressions[1], *inner).truth()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    const auto size = static_cast<int64_t>(items.size());
    const auto changed = std::make_shared<std::vector<Value>>();
    for (int64_t i = 0; i < size; ++i) {
      step();
      const auto at = [&](int64_t k, const char* name) {
        return k < 0 || k >= size ? Value::undefined(name) : items[static_cast<size_t>(k)];
      };
      Dict loop;
      auto& members = loop.items();
      members = {{"index", i + 1},          {"index0", i},
                 {"revindex", size - i},    {"revindex0", size - i - 1},
                 {"first", i == 0},         {"last", i + 1 == size},
                 {"length", size},          {"previtem", at(i - 1, "previtem")},
                 {"nextitem", at(i + 1, "nextitem")},
                 {"depth", int64_t{1}},     {"depth0", int64_t{0}}};  // of recursive loops
      members.emplace_back("cycle", Value::function([i](const Arguments& a) {
                             if (a.positional.empty()) usage_error("cycle() needs values");
                             return a.positional[static_cast<size_t>(i) % a.positional.size()];
                           }));
      members.emplace_back("changed", Value::function([changed](const Arguments& a) -> Value {
                             const bool same = !changed->empty() && *changed == a.positional;
                             *changed = a.positional;
                             return !same;
                           }));
      Inner inner(*this, scope);
      inner->set("loop", Value::name_space(std::move(loop)));
      assign(s.target, items[static_cast<size_t>(i)], *inner);
      if (run(s.bodies[0], *inner, out) == Flow::Break) break;
    }
    if (items.empty() && s.bodies.size() > 1) {
      Inner inner(*this, scope);
      return run(s.bodies[1], *inner, out);
    }
    return Flow::Normal;
  }

  Value macro(const Statement& s, Scope& scope, const std::string& name) {
    return Value::function([this, &s, &scope, name](const Arguments& arguments) -> Value {
      if (calls_ >= kMaxCalls) usage_error("more than {} macros call each other", kMaxCalls);
      ++calls_;
      struct Leave {
        int& calls;
        ~Leave() { --calls; }
      } leave{calls_};
      Inner inner(*this, scope);
      for (size_t i = 0; i < s.parameters.size(); ++i) {
        const auto& [parameter, fallback] = s.parameters[i];
        if (const Value* given = arguments.find(i, parameter))
          inner->set(parameter, *given);
        else
          inner->set(parameter,
                     fallback ? evaluate(*fallback, *inner) : Value::undefined(parameter));
      }
      std::vector<Value> more;
      for (size_t i = s.parameters.size(); i < arguments.positional.size(); ++i)
        more.push_back(arguments.positional[i]);
      Dict named;
      for (const auto& [key, value] : arguments.named) {
        const bool known = std::any_of(s.parameters.begin(), s.parameters.end(),
                                       [&](const auto& p) { return p.first == key; });
        if (key == "caller")
          inner->set(key, value);
        else if (!known)
          named.set(key, value);
      }
      inner->set("varargs", Value::list(std::move(more), true));
      inner->set("kwargs", Value::dict(std::move(named)));
      std::string out;
      if (run(s.bodies[0], *inner, out) != Flow::Normal)
        usage_error("break or continue outside of a loop in the macro {}", name);
      return out;
    });
  }

  // ---- expressions

  Arguments evaluate(const CallArguments& arguments, Scope& scope) {
    Arguments result;
    for (const ExpressionPtr& value : arguments.positional)
      result.positional.push_back(evaluate(*value, scope));
    for (const auto& [name, value] : arguments.named)
      result.named.emplace_back(name, evaluate(*value, scope));
    return result;
  }

  Value call(const Value& function, const Arguments& arguments) {
    step();
    if (function.is_undefined()) usage_error("'{}' is undefined", function.undefined_name());
    if (!function.is_function()) usage_error("'{}' object is not callable", function.type_name());
    return function.callable()(arguments);
  }

  // A chain of filters on a value that is not written before them.
  Value filtered(const Expression& e, const Value& input, Scope& scope) {
    Value value = e.operands[0] ? filtered(*e.operands[0], input, scope) : input;
    return apply_filter(e.text, value, evaluate(e.arguments, scope));
  }

  Value evaluate(const Expression& e, Scope& scope) {
    step();
    const auto operand = [&](size_t i) { return evaluate(*e.operands[i], scope); };
    switch (e.kind) {
      case Expression::Literal:
        return e.value;
      case Expression::Name: {
        const Value* found = scope.find(e.text);
        return found == nullptr ? Value::undefined(e.text) : *found;
      }
      case Expression::List:
      case Expression::Tuple: {
        std::vector<Value> items;
        for (size_t i = 0; i < e.operands.size(); ++i) items.push_back(operand(i));
        return Value::list(std::move(items), e.kind == Expression::Tuple);
      }
      case Expression::Dict: {
        Dict dict;
        for (size_t i = 0; i < e.operands.size(); i += 2) {
          Value key = operand(i);
          dict.set(std::move(key), operand(i + 1));
        }
        return Value::dict(std::move(dict));
      }
      case Expression::Attribute:
        return attribute_of(operand(0), e.text);
      case Expression::Item: {
        const Value object = operand(0);
        return item_of(object, operand(1));
      }
      case Expression::Slice:
        return slice(e, scope);
      case Expression::Call: {
        const Value function = operand(0);
        return call(function, evaluate(e.arguments, scope));
      }
      case Expression::Filter: {
        const Value input = operand(0);
        return apply_filter(e.text, input, evaluate(e.arguments, scope));
      }
      case Expression::Test: {
        const Value input = operand(0);
        return apply_test(e.text, input, evaluate(e.arguments, scope));
      }
      case Expression::Not:
        return !operand(0).truth();
      case Expression::Negative:
        return calculate("-", Value(int64_t{0}), operand(0));
      case Expression::Positive:
        return calculate("+", Value(int64_t{0}), operand(0));
      case Expression::Binary: {
        Value left = operand(0);
        if (e.text == "and") return left.truth() ? operand(1) : left;
        if (e.text == "or") return left.truth() ? left : operand(1);
        return calculate(e.text, left, operand(1));
      }
      case Expression::Compare: {
        Value left = operand(0);
        for (size_t i = 0; i < e.operators.size(); ++i) {
          Value right = operand(i + 1);
          if (!compare(e.operators[i], left, right)) return false;
          left = std::move(right);
        }
        return true;
      }
      case Expression::IfElse:
        if (operand(1).truth()) return operand(0);
        return e.operands[2] ? operand(2) : Value::undefined("the else of an if");
    }
    return Value();
  }

  static bool compare(const std::string& symbol, const Value& a, const Value& b) {
    if (symbol == "in") return is_in(a, b);
    if (symbol == "not in") return !is_in(a, b);
    Arguments arguments;
    arguments.positional.push_back(b);
    return apply_test(symbol, a, arguments);
  }

  Value slice(const Expression& e, Scope& scope) {
    const Value object = evaluate(*e.operands[0], scope);
    if (object.is_undefined()) usage_error("'{}' is undefined", object.undefined_name());
    if (!object.is_list() && !object.is_string())
      usage_error("'{}' object cannot be sliced", object.type_name());
    const std::vector<Value> items = object.elements();
    const auto size = static_cast<int64_t>(items.size());
    const auto bound = [&](size_t i, int64_t fallback, int64_t low, int64_t high) {
      if (!e.operands[i]) return fallback;
      const Value value = evaluate(*e.operands[i], scope);
      if (value.is_none()) return fallback;
      if (!value.is_int() && !value.is_bool())
        usage_error("slice indices must be integers, not '{}'", value.type_name());
      int64_t index = value.integer();
      if (index < 0) index = index < -size ? low : index + size;
      return std::clamp(index, low, high);
    };
    int64_t step = 1;
    if (e.operands[3]) {
      const Value value = evaluate(*e.operands[3], scope);
      if (!value.is_none()) {
        if (!value.is_int()) usage_error("the slice step must be an integer");
        step = value.integer();
      }
      if (step == 0) usage_error("the slice step must not be 0");
    }
    std::vector<Value> result;
    if (step > 0) {
      const int64_t begin = bound(1, 0, 0, size), end = bound(2, size, 0, size);
      for (int64_t i = begin; i < end; i += std::min(step, size + 1))
        result.push_back(items[static_cast<size_t>(i)]);
    } else {
      const int64_t begin = bound(1, size - 1, -1, size - 1), end = bound(2, -1, -1, size - 1);
      for (int64_t i = begin; i > end; i += std::max(step, -size - 1))
        result.push_back(items[static_cast<size_t>(i)]);
    }
    if (!object.is_string()) return Value::list(std::move(result), object.is_tuple());
    std::string text;
    for (const Value& c : result) text += c.string();
    return text;
  }

  Scope globals_;
  std::vector<std::unique_ptr<Scope>> kept_;
  size_t steps_ = 0;
  int calls_ = 0;
};

}  // namespace

std::string render(const Body& body, const Dict& variables) {
  return Renderer(variables).run(body);
}

}  // namespace corten::jinja
