#include "ir/graph.h"

#include <atomic>
#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/format.h"
#include "base/hash.h"
#include "ir/placement.h"

namespace corten::ir {
namespace {

template <typename T>
Op leaf_op(std::string_view name, OpKind kind) {
  Op op;
  op.name = name;
  op.kind = kind;
  op.arity = 0;
  op.parse_attrs = [](std::string_view text) { return AttrsOf<T>::parse(text); };
  return op;
}

std::atomic<uint64_t> g_graph_id{0};

std::string digest(const Value& value) {
  // Constants are captured host data: contiguous by construction of tensors, or small views.
  std::string key = to_string(value.type()) + field_text(value->layout.strides) + field_text(value->layout.offset);
  return hex(hash128(key)) + hex(hash128(std::string_view(static_cast<const char*>(value->buffer->data()), value->buffer->bytes())));
}

}  // namespace

const Op kInputOp = leaf_op<InputAttrs>("input", OpKind::input);
const Op kConstantOp = leaf_op<ConstantAttrs>("constant", OpKind::constant);

Graph::Graph() : id_(++g_graph_id) {}

Values Graph::add(const Op& op, AttrsPtr attrs, const Values& inputs) {
  ValueRefs refs;
  refs.reserve(inputs.size());
  for (const Value& v : inputs) refs.push_back(ref(v));
  Values out;
  for (ValueRef r : append(op, std::move(attrs), std::move(refs), current_source(), phase)) out.push_back(value(r));
  return out;
}

ValueRefs Graph::append(const Op& op, AttrsPtr attrs, ValueRefs inputs, Source source, int32_t phase) {
  std::vector<Type> types;
  types.reserve(inputs.size());
  for (ValueRef r : inputs) types.push_back(type(r));
  std::vector<Type> results = infer_types(op, attrs, types);
  ValueRefs out(results.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = {static_cast<int32_t>(nodes_.size()), static_cast<int32_t>(i)};
  nodes_.push_back({&op, std::move(attrs), std::move(inputs), std::move(results), source, phase});
  return out;
}

ValueRefs Graph::append(const Node& like, ValueRefs inputs, Source source, int32_t phase) {
  ValueRefs out(like.types.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = {static_cast<int32_t>(nodes_.size()), static_cast<int32_t>(i)};
  nodes_.push_back({like.op, like.attrs, std::move(inputs), like.types, source, phase});
  return out;
}

Value Graph::input(Type type, std::string name, std::optional<Layout> layout) {
  ValueRef r{static_cast<int32_t>(nodes_.size()), 0};
  auto attrs = make_attrs(InputAttrs{static_cast<int64_t>(inputs_.size()), std::move(name)});
  nodes_.push_back({&kInputOp, std::move(attrs), {}, std::vector<Type>{std::move(type)}, {}, 0});
  inputs_.push_back(r);
  input_layouts_.push_back(std::move(layout));
  return value(r);
}

ValueRef Graph::ref(const Value& value) {
  if (!value.concrete()) {
    if (value->graph != id_)
      usage_error("a traced value ({}) was used outside of the trace that made it: return it from the traced function instead",
                  to_string(value.type()));
    return {value->node, value->output};
  }
  if (placement_of(value).kind == DeviceKind::cuda)
    internal_error("a tensor on {} ({}) became a constant of a graph", to_string(placement_of(value)), to_string(value.type()));
  auto found = captured_.find(&*value);
  if (found != captured_.end()) return found->second;
  ValueRef r{static_cast<int32_t>(nodes_.size()), 0};
  auto attrs = make_attrs(ConstantAttrs{static_cast<int64_t>(constants_.size()), digest(value)});
  nodes_.push_back({&kConstantOp, std::move(attrs), {}, std::vector<Type>{value.type()}, current_source(), 0});
  constants_.push_back(value);
  captured_[&*value] = r;
  return r;
}

Value Graph::value(ValueRef r) const {
  auto impl = std::make_shared<ValueImpl>();
  impl->type = type(r);
  impl->graph = id_;
  impl->node = r.node;
  impl->output = r.output;
  return Value(std::move(impl));
}

Graph Graph::header(ValueMap& map) const {
  Graph out;
  out.nodes_.reserve(nodes_.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const ValueRef r{static_cast<int32_t>(i), 0};
    out.nodes_.push_back(nodes_[inputs_[i].node]);
    out.inputs_.push_back(r);
    map[inputs_[i]] = r;
  }
  out.input_layouts_ = input_layouts_;
  for (size_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].op == &kConstantOp) {
      map[{static_cast<int32_t>(i), 0}] = {static_cast<int32_t>(out.nodes_.size()), 0};
      out.nodes_.push_back(nodes_[i]);
    }
  out.constants_ = constants_;
  return out;
}

std::string to_string(const Graph& graph) {
  // Values are numbered in order of definition; a node with several results defines consecutive numbers.
  std::map<ValueRef, int> number;
  std::string out = "graph {\n";
  int next = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    out += "  ";
    for (size_t k = 0; k < n.types.size(); ++k) {
      number[{static_cast<int32_t>(i), static_cast<int32_t>(k)}] = next;
      out += format("{}%{}: {}", k ? ", " : "", next++, to_string(n.types[k]));
    }
    out += format(" = {}{}(", n.op->name, n.attrs->text());
    for (size_t k = 0; k < n.inputs.size(); ++k) out += format("{}%{}", k ? ", " : "", number.at(n.inputs[k]));
    out += ")";
    if (n.phase) out += format(" phase {}", n.phase);
    if (n.source.file) out += format("  # {}", to_string(n.source));
    out += "\n";
  }
  out += "  return ";
  for (size_t k = 0; k < graph.outputs().size(); ++k) {
    const Output& o = graph.outputs()[k];
    out += format("{}%{}", k ? ", " : "", number.at(o.value));
    if (o.alias >= 0) out += format(" -> {}", o.alias);
  }
  return out + "\n}\n";
}

namespace {

/// Reads the text form. Each helper consumes what it names or raises a Usage error with the line.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph run() {
    expect("graph");
    expect("{");
    Graph graph;
    while (!accept("return")) node(graph);
    while (peek() == '%') {
      ValueRef value = operand();
      graph.output(value, accept("->") ? static_cast<int32_t>(std::stol(word())) : -1);
      if (!accept(",")) break;
    }
    expect("}");
    return graph;
  }

 private:
  void node(Graph& graph) {
    std::vector<Type> types;
    std::vector<std::string> names;
    do {
      names.push_back(word());
      expect(":");
      types.push_back(parse_type(word()));
    } while (accept(","));
    expect("=");
    skip();
    size_t end = text_.find_first_of("({", at_);
    if (end == text_.npos) fail("an op with operands");
    std::string_view op_name = text_.substr(at_, end - at_);
    at_ = end;
    std::string attrs_text;
    if (peek() == '{') {
      bool quoted = false;
      size_t close = at_;
      for (; close < text_.size() && (quoted || text_[close] != '}'); ++close) {
        if (quoted && text_[close] == '\\') ++close;
        else if (text_[close] == '"') quoted = !quoted;
      }
      if (close == text_.size()) fail("}");
      attrs_text = text_.substr(at_, close + 1 - at_);
      at_ = close + 1;
    }
    expect("(");
    ValueRefs inputs;
    while (!accept(")")) {
      inputs.push_back(operand());
      accept(",");
    }
    int32_t phase = accept("phase") ? static_cast<int32_t>(std::stol(word())) : 0;
    if (accept("#")) at_ = std::min(text_.find('\n', at_), text_.size());
    if (op_name == kInputOp.name) {
      ids_[names[0]] = graph.ref(graph.input(types.at(0), get<InputAttrs>(AttrsOf<InputAttrs>::parse(attrs_text)).name));
      return;
    }
    const Op* op = find_op(op_name);
    if (!op) usage_error("line {}: unknown op \"{}\"", line(), op_name);
    auto refs = graph.append(*op, op->parse_attrs(attrs_text), inputs, {}, phase);
    if (refs.size() != types.size()) fail("as many results as the op has");
    for (size_t i = 0; i < refs.size(); ++i) {
      if (graph.type(refs[i]) != types[i])
        usage_error("line {}: {} is {}, but the text says {}", line(), names[i], to_string(graph.type(refs[i])), to_string(types[i]));
      ids_[names[i]] = refs[i];
    }
  }
  ValueRef operand() {
    std::string name = word();
    auto found = ids_.find(name);
    if (found == ids_.end()) usage_error("line {}: {} is used before its definition", line(), name);
    return found->second;
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail(token);
  }
  std::string word() {
    skip();
    size_t start = at_;
    int depth = 0;
    while (at_ < text_.size() && (depth || !std::strchr(" \n,:()=", text_[at_]))) {
      depth += text_[at_] == '[' ? 1 : text_[at_] == ']' ? -1 : 0;
      ++at_;
    }
    if (start == at_) fail("a name");
    return std::string(text_.substr(start, at_ - start));
  }
  int64_t line() const { return 1 + std::count(text_.begin(), text_.begin() + at_, '\n'); }
  [[noreturn]] void fail(std::string_view wanted) {
    usage_error("line {}: expected \"{}\" before \"{}\"", line(), wanted, text_.substr(at_, 20));
  }

  std::string_view text_;
  size_t at_ = 0;
  std::unordered_map<std::string, ValueRef> ids_;
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser(text).run(); }

void verify(const Graph& graph, std::string_view after) {
  const auto& nodes = graph.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& n = nodes[i];
    std::vector<Type> types;
    for (ValueRef r : n.inputs) {
      if (r.node < 0 || r.node >= static_cast<int32_t>(i) || r.output < 0 ||
          r.output >= static_cast<int32_t>(nodes[r.node].types.size()))
        internal_error("after {}: node {} ({}) uses a value that is not defined before it", after, i, n.op->name);
      types.push_back(graph.type(r));
    }
    if (n.op == &kInputOp || n.op == &kConstantOp) continue;
    if (Types(infer_types(*n.op, n.attrs, types)) != n.types)
      internal_error("after {}: node {} ({}{}) does not have the types its op infers", after, i, n.op->name, n.attrs->text());
  }
  for (const Output& o : graph.outputs()) {
    if (o.value.node < 0 || o.value.node >= static_cast<int32_t>(nodes.size()))
      internal_error("after {}: an output is not a value of the graph", after);
    if (o.alias >= 0 && graph.type(o.value) != graph.type(graph.inputs().at(o.alias)))
      internal_error("after {}: output of type {} is written to state {} of type {}", after,
                     to_string(graph.type(o.value)), o.alias, to_string(graph.type(graph.inputs()[o.alias])));
  }
}

std::vector<Type> infer_types(const Op& op, const AttrsPtr& attrs, const std::vector<Type>& inputs) {
  if (op.arity >= 0 && static_cast<int>(inputs.size()) != op.arity)
    internal_error("[{}] takes {} operands, got {}", op.name, op.arity, inputs.size());
  if (op.infer) return op.infer(attrs, inputs);
  // A composite's types follow from its expansion; remembered, since every layer of a model asks the same.
  std::string key = format("{}{}", op.name, attrs->text());
  for (const Type& t : inputs) key += to_string(t);
  static std::mutex mutex;
  static std::unordered_map<std::string, std::vector<Type>> known;
  {
    std::lock_guard lock(mutex);
    if (auto it = known.find(key); it != known.end()) return it->second;
  }
  Graph scratch;
  Values values;
  for (const Type& t : inputs) values.push_back(scratch.input(t));
  BuilderScope builder(scratch);
  GradScope no_grad(false);
  std::vector<Type> types;
  for (const Value& v : op.expand(attrs, values)) types.push_back(v.type());
  std::lock_guard lock(mutex);
  if (known.size() > 65536) known.clear();
  return known[key] = std::move(types);
}

}  // namespace corten::ir
