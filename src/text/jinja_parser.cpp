#include <algorithm>
#include <cstdlib>

#include "base/format.h"
#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace corten::jinja {
namespace {

constexpr int kMaxDepth = 200;  // of expressions and blocks

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Body run() {
    Body body = parse_body({});
    if (peek().kind != Token::End) fail("unexpected end of a block");
    return body;
  }

 private:
  // ---- tokens

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token next() {
    const Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  [[noreturn]] void fail(const std::string& what) const {
    usage_error("line {}: {}", peek().line, what);
  }
  static std::string shown(const Token& token) {
    switch (token.kind) {
      case Token::End: return "the end of the template";
      case Token::BlockEnd: return "%}";
      case Token::OutputEnd: return "}}";
      default: return format("\"{}\"", token.text);
    }
  }
  bool is(std::string_view symbol) const {
    return peek().kind == Token::Operator && peek().text == symbol;
  }
  bool is_name(std::string_view name) const {
    return peek().kind == Token::Name && peek().text == name;
  }
  bool take(std::string_view symbol) {
    if (!is(symbol)) return false;
    next();
    return true;
  }
  bool take_name(std::string_view name) {
    if (!is_name(name)) return false;
    next();
    return true;
  }
  void expect(std::string_view symbol) {
    if (!take(symbol)) fail(format("expected \"{}\", found {}", symbol, shown(peek())));
  }
  void expect_name(std::string_view name) {
    if (!take_name(name)) fail(format("expected \"{}\", found {}", name, shown(peek())));
  }
  void expect(Token::Kind kind) {
    if (peek().kind != kind)
      fail(format("expected {}, found {}", kind == Token::BlockEnd ? "%}" : "}}", shown(peek())));
    next();
  }
  std::string name() {
    if (peek().kind != Token::Name) fail(format("expected a name, found {}", shown(peek())));
    return next().text;
  }

  class Depth {
   public:
    explicit Depth(Parser& parser) : depth_(parser.depth_) {
      if (++depth_ > kMaxDepth) {
        --depth_;
        parser.fail(format("more than {} levels", kMaxDepth));
      }
    }
    ~Depth() { --depth_; }

   private:
    int& depth_;
  };

  // ---- statements

  // Up to a block with one of these names, whose begin has been taken then, but not the name.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    Body body;
    for (;;) {
      const Token token = peek();
      if (token.kind == Token::End) {
        if (ends.size() > 0) fail(format("expected {{% {} %}}", *(ends.end() - 1)));
        return body;
      }
      next();
      if (token.kind == Token::Text) {
        body.push_back(make(Statement::Text));
        body.back()->text = token.text;
      } else if (token.kind == Token::OutputBegin) {
        body.push_back(make(Statement::Output));
        body.back()->expressions.push_back(parse_tuple());
        expect(Token::OutputEnd);
      } else {
        for (std::string_view end : ends)
          if (is_name(end)) return body;
        body.push_back(parse_statement());
      }
    }
  }

  std::unique_ptr<Statement> make(Statement::Kind kind) const {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = peek().line;
    return statement;
  }

  Body parse_to_end(std::string_view end) {
    Body body = parse_body({end});
    next();
    expect(Token::BlockEnd);
    return body;
  }

  std::unique_ptr<Statement> parse_statement() {
    const std::string keyword = name();
    if (keyword == "if") return parse_if();
    if (keyword == "for") return parse_for();
    if (keyword == "set") return parse_set();
    if (keyword == "macro") return parse_macro();
    if (keyword == "call") return parse_call_block();
    if (keyword == "with") return parse_with();
    std::unique_ptr<Statement> statement;
    if (keyword == "filter") {
      statement = make(Statement::FilterBlock);
      statement->expressions.push_back(parse_filters(nullptr, true));
      expect(Token::BlockEnd);
      statement->bodies.push_back(parse_to_end("endfilter"));
      return statement;
    }
    if (keyword == "generation") {
      statement = make(Statement::Block);
      expect(Token::BlockEnd);
      statement->bodies.push_back(parse_to_end("endgeneration"));
      return statement;
    }
    if (keyword == "break" || keyword == "continue") {
      statement = make(keyword == "break" ? Statement::Break : Statement::Continue);
      expect(Token::BlockEnd);
      return statement;
    }
    fail(format("the tag \"{}\" is not supported or not expected here", keyword));
  }

  std::unique_ptr<Statement> parse_if() {
    auto statement = make(Statement::If);
    statement->expressions.push_back(parse_tuple());
    expect(Token::BlockEnd);
    for (;;) {
      statement->bodies.push_back(parse_body({"elif", "else", "endif"}));
      const std::string keyword = name();
      if (keyword == "elif") statement->expressions.push_back(parse_tuple());
      expect(Token::BlockEnd);
      if (keyword == "endif") return statement;
      if (keyword == "else") {
        statement->bodies.push_back(parse_to_end("endif"));
        return statement;
      }
    }
  }

  Target parse_target(bool with_attribute) {
    Target target;
    const bool bracket = take("(");
    target.names.push_back(name());
    if (with_attribute && !bracket && take(".")) {
      target.attribute = name();
      return target;
    }
    while (take(",")) {
      target.tuple = true;
      if (peek().kind != Token::Name || is_name("in")) break;
      target.names.push_back(name());
    }
    if (bracket) expect(")");
    return target;
  }

  std::unique_ptr<Statement> parse_for() {
    auto statement = make(Statement::For);
    statement->target = parse_target(false);
    expect_name("in");
    statement->expressions.push_back(parse_tuple(false));
    statement->expressions.push_back(take_name("if") ? parse_expression() : nullptr);
    if (is_name("recursive")) fail("recursive loops are not supported");
    expect(Token::BlockEnd);
    statement->bodies.push_back(parse_body({"else", "endfor"}));
    if (take_name("else")) {
      expect(Token::BlockEnd);
      statement->bodies.push_back(parse_to_end("endfor"));
    } else {
      next();
      expect(Token::BlockEnd);
    }
    return statement;
  }

  std::unique_ptr<Statement> parse_set() {
    auto statement = make(Statement::Set);
    statement->target = parse_target(true);
    if (take("=")) {
      statement->expressions.push_back(parse_tuple());
      expect(Token::BlockEnd);
      return statement;
    }
    statement->kind = Statement::SetBlock;
    statement->expressions.push_back(is("|") ? parse_filters(nullptr, false) : nullptr);
    expect(Token::BlockEnd);
    statement->bodies.push_back(parse_to_end("endset"));
    return statement;
  }

  void parse_parameters(Statement& statement) {
    expect("(");
    while (!take(")")) {
      if (!statement.parameters.empty()) {
        expect(",");
        if (take(")")) break;
      }
      std::string parameter = name();
      statement.parameters.emplace_back(std::move(parameter),
                                        take("=") ? parse_expression() : nullptr);
    }
  }

  std::unique_ptr<Statement> parse_macro() {
    auto statement = make(Statement::Macro);
    statement->text = name();
    parse_parameters(*statement);
    expect(Token::BlockEnd);
    statement->bodies.push_back(parse_to_end("endmacro"));
    return statement;
  }

  std::unique_ptr<Statement> parse_call_block() {
    auto statement = make(Statement::CallBlock);
    if (is("(")) parse_parameters(*statement);
    statement->expressions.push_back(parse_expression());
    if (statement->expressions[0]->kind != Expression::Call) fail("expected a call");
    expect(Token::BlockEnd);
    statement->bodies.push_back(parse_to_end("endcall"));
    return statement;
  }

  std::unique_ptr<Statement> parse_with() {
    auto statement = make(Statement::With);
    while (peek().kind != Token::BlockEnd) {
      if (!statement->parameters.empty()) expect(",");
      std::string variable = name();
      expect("=");
      statement->parameters.emplace_back(std::move(variable), parse_expression());
    }
    expect(Token::BlockEnd);
    statement->bodies.push_back(parse_to_end("endwith"));
    return statement;
  }

  // ---- expressions

  ExpressionPtr make(Expression::Kind kind) const {
    auto expression = std::make_unique<Expression>();
    expression->kind = kind;
    expression->line = peek().line;
    return expression;
  }
  template <typename... Operands>
  ExpressionPtr make(Expression::Kind kind, std::string text, Operands... operands) const {
    ExpressionPtr expression = make(kind);
    expression->text = std::move(text);
    (expression->operands.push_back(std::move(operands)), ...);
    return expression;
  }

  bool at_tuple_end() const {
    return peek().kind == Token::OutputEnd || peek().kind == Token::BlockEnd || is(")") ||
           is_name("in") || is_name("if") || is_name("recursive");
  }

  // Without brackets: "a, b" is a tuple. `conditional`: a may be "x if y else z".
  ExpressionPtr parse_tuple(bool conditional = true) {
    const auto element = [&] { return conditional ? parse_expression() : parse_or(); };
    ExpressionPtr first = element();
    if (!is(",")) return first;
    ExpressionPtr tuple = make(Expression::Tuple);
    tuple->operands.push_back(std::move(first));
    while (take(",")) {
      if (at_tuple_end()) break;
      tuple->operands.push_back(element());
    }
    return tuple;
  }

  ExpressionPtr parse_expression() {
    const Depth depth(*this);
    ExpressionPtr value = parse_or();
    while (take_name("if")) {
      ExpressionPtr condition = parse_or();
      ExpressionPtr otherwise = take_name("else") ? parse_expression() : nullptr;
      value = make(Expression::IfElse, "", std::move(value), std::move(condition),
                   std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr parse_or() {
    ExpressionPtr left = parse_and();
    while (take_name("or")) {
      ExpressionPtr right = parse_and();
      left = make(Expression::Binary, "or", std::move(left), std::move(right));
    }
    return left;
  }
  ExpressionPtr parse_and() {
    ExpressionPtr left = parse_not();
    while (take_name("and")) {
      ExpressionPtr right = parse_not();
      left = make(Expression::Binary, "and", std::move(left), std::move(right));
    }
    return left;
  }
  ExpressionPtr parse_not() {
    const Depth depth(*this);
    if (take_name("not")) return make(Expression::Not, "", parse_not());
    return parse_compare();
  }

  ExpressionPtr parse_compare() {
    ExpressionPtr first = parse_sum();
    ExpressionPtr compare;
    for (;;) {
      std::string symbol;
      for (const char* candidate : {"==", "!=", ">=", "<=", ">", "<"})
        if (symbol.empty() && take(candidate)) symbol = candidate;
      if (symbol.empty() && take_name("in")) symbol = "in";
      if (symbol.empty() && is_name("not") && peek(1).kind == Token::Name && peek(1).text == "in") {
        next();
        next();
        symbol = "not in";
      }
      if (symbol.empty()) return compare ? std::move(compare) : std::move(first);
      if (!compare) compare = make(Expression::Compare, "", std::move(first));
      compare->operators.push_back(std::move(symbol));
      compare->operands.push_back(parse_sum());
    }
  }

  template <typename Operand>
  ExpressionPtr parse_binary(std::initializer_list<std::string_view> symbols, Operand&& operand) {
    ExpressionPtr left = operand();
    for (;;) {
      const auto found = std::find_if(symbols.begin(), symbols.end(),
                                      [&](std::string_view symbol) { return is(symbol); });
      if (found == symbols.end()) return left;
      next();
      ExpressionPtr right = operand();
      left = make(Expression::Binary, std::string(*found), std::move(left), std::move(right));
    }
  }
  ExpressionPtr parse_sum() {
    return parse_binary({"+", "-"}, [&] { return parse_concatenation(); });
  }
  ExpressionPtr parse_concatenation() {
    return parse_binary({"~"}, [&] { return parse_product(); });
  }
  ExpressionPtr parse_product() {
    return parse_binary({"*", "/", "//", "%"}, [&] { return parse_power(); });
  }
  ExpressionPtr parse_power() {
    return parse_binary({"**"}, [&] { return parse_unary(true); });
  }

  ExpressionPtr parse_unary(bool filters) {
    const Depth depth(*this);
    ExpressionPtr value;
    if (take("-"))
      value = make(Expression::Negative, "", parse_unary(false));
    else if (take("+"))
      value = make(Expression::Positive, "", parse_unary(false));
    else
      value = parse_primary();
    value = parse_postfix(std::move(value));
    return filters ? parse_filters(std::move(value), false) : std::move(value);
  }

  ExpressionPtr literal(Value value) const {
    ExpressionPtr expression = make(Expression::Literal);
    expression->value = std::move(value);
    return expression;
  }

  ExpressionPtr parse_primary() {
    const Token token = peek();
    if (token.kind == Token::Name) {
      next();
      if (token.text == "true" || token.text == "True") return literal(true);
      if (token.text == "false" || token.text == "False") return literal(false);
      if (token.text == "none" || token.text == "None") return literal(Value::none());
      return make(Expression::Name, token.text);
    }
    if (token.kind == Token::String) {
      std::string text;
      while (peek().kind == Token::String) text += next().text;
      return literal(std::move(text));
    }
    if (token.kind == Token::Int) {
      if (token.text.size() > 18) fail(format("the number {} is too large", token.text));
      next();
      return literal(static_cast<int64_t>(std::strtoll(token.text.c_str(), nullptr, 10)));
    }
    if (token.kind == Token::Float) {
      next();
      return literal(std::strtod(token.text.c_str(), nullptr));
    }
    if (take("(")) {
      if (take(")")) return make(Expression::Tuple);
      ExpressionPtr value = parse_tuple();
      expect(")");
      return value;
    }
    if (take("[")) {
      ExpressionPtr list = make(Expression::List);
      while (!take("]")) {
        if (!list->operands.empty()) {
          expect(",");
          if (take("]")) break;
        }
        list->operands.push_back(parse_expression());
      }
      return list;
    }
    if (take("{")) {
      ExpressionPtr dict = make(Expression::Dict);
      while (!take("}")) {
        if (!dict->operands.empty()) {
          expect(",");
          if (take("}")) break;
        }
        dict->operands.push_back(parse_expression());
        expect(":");
        dict->operands.push_back(parse_expression());
      }
      return dict;
    }
    fail(format("expected an expression, found {}", shown(token)));
  }

  ExpressionPtr parse_postfix(ExpressionPtr value) {
    for (int links = 0;; ++links) {
      if (links > kMaxDepth) fail("too many attributes and calls in a row");
      if (take(".")) {
        if (peek().kind == Token::Int)
          value = make(Expression::Item, "", std::move(value), parse_primary());
        else
          value = make(Expression::Attribute, name(), std::move(value));
      } else if (take("[")) {
        value = parse_subscript(std::move(value));
      } else if (is("(")) {
        ExpressionPtr call = make(Expression::Call, "", std::move(value));
        call->arguments = parse_arguments();
        value = std::move(call);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr parse_subscript(ExpressionPtr value) {
    ExpressionPtr parts[3];
    bool slice = false;
    for (int i = 0; i < 3; ++i) {
      if (!is(":") && !is("]")) parts[i] = parse_expression();
      if (!take(":")) break;
      slice = true;
    }
    expect("]");
    if (slice)
      return make(Expression::Slice, "", std::move(value), std::move(parts[0]),
                  std::move(parts[1]), std::move(parts[2]));
    if (!parts[0]) fail("an empty subscript");
    return make(Expression::Item, "", std::move(value), std::move(parts[0]));
  }

  CallArguments parse_arguments() {
    CallArguments arguments;
    expect("(");
    bool first = true;
    while (!take(")")) {
      if (!first) {
        expect(",");
        if (take(")")) break;
      }
      first = false;
      if (is("*") || is("**")) fail("unpacked arguments are not supported");
      if (peek().kind == Token::Name && peek(1).kind == Token::Operator && peek(1).text == "=") {
        std::string parameter = name();
        next();
        arguments.named.emplace_back(std::move(parameter), parse_expression());
      } else {
        if (!arguments.named.empty()) fail("an argument without a name after one with a name");
        arguments.positional.push_back(parse_expression());
      }
    }
    return arguments;
  }

  std::string dotted_name() {
    std::string text = name();
    while (take(".")) text += "." + name();
    return text;
  }

  // Filters, tests and calls behind a value. `bare`: begins with the name of a filter.
  ExpressionPtr parse_filters(ExpressionPtr value, bool bare) {
    for (int links = 0;; ++links) {
      if (links > kMaxDepth) fail("too many filters in a row");
      if (bare || take("|")) {
        bare = false;
        ExpressionPtr filter = make(Expression::Filter, dotted_name(), std::move(value));
        if (is("(")) filter->arguments = parse_arguments();
        value = std::move(filter);
      } else if (value && is_name("is")) {
        next();
        const bool negated = take_name("not");
        ExpressionPtr test = make(Expression::Test, dotted_name(), std::move(value));
        if (is("(")) {
          test->arguments = parse_arguments();
        } else if (begins_test_argument()) {
          test->arguments.positional.push_back(parse_postfix(parse_primary()));
        }
        value = negated ? make(Expression::Not, "", std::move(test)) : std::move(test);
      } else if (value && is("(")) {
        ExpressionPtr call = make(Expression::Call, "", std::move(value));
        call->arguments = parse_arguments();
        value = std::move(call);
      } else {
        return value;
      }
    }
  }

  bool begins_test_argument() const {
    const Token& token = peek();
    if (token.kind == Token::Name)
      return token.text != "else" && token.text != "or" && token.text != "and" &&
             token.text != "is" && token.text != "if" && token.text != "in" && token.text != "not";
    return token.kind == Token::String || token.kind == Token::Int || token.kind == Token::Float ||
           is("[") || is("{");
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Body parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace corten::jinja
