// Level 1, the tensor graph: append-only SSA over typed values.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/small_vector.h"
#include "ir/op.h"

namespace corten::ir {

struct ValueRef {
  int32_t node = -1, output = 0;
  auto operator<=>(const ValueRef&) const = default;
};

/// Operands or results of a node: few.
using ValueRefs = SmallVector<ValueRef, 4>;

/// Types of a node's results. They do not change; copies of a node, which every pass makes, share them.
class Types {
 public:
  Types() = default;
  Types(std::vector<Type> types) : types_(std::make_shared<const std::vector<Type>>(std::move(types))) {}
  size_t size() const { return types_ ? types_->size() : 0; }
  const Type& operator[](size_t i) const { return (*types_)[i]; }
  const Type* begin() const { return types_ ? types_->data() : nullptr; }
  const Type* end() const { return begin() + size(); }
  bool operator==(const Types& o) const { return types_ == o.types_ || std::equal(begin(), end(), o.begin(), o.end()); }

 private:
  std::shared_ptr<const std::vector<Type>> types_;
};

struct Node {
  const Op* op = nullptr;
  AttrsPtr attrs;
  ValueRefs inputs;
  Types types;
  Source source;
  int32_t phase = 0;  // recomputed clones carry another phase, so that cse cannot merge them back
};

struct InputAttrs {
  int64_t index = 0;
  std::string name;
  CORTEN_FIELDS(index, name)
};
struct ConstantAttrs {
  int64_t index = 0;      // into Graph::constants
  std::string digest;     // of type and contents, so that two traces can be compared
  CORTEN_FIELDS(index, digest)
};
extern const Op kInputOp, kConstantOp;

/// A result of the graph. `alias` >= 0: a new value of the state passed as input `alias`, written to the same memory.
struct Output {
  ValueRef value;
  int32_t alias = -1;
};

/// Values of one graph by those of another.
class ValueMap {
 public:
  /// Entry of an old value; made if there is none.
  ValueRef& operator[](ValueRef old) {
    if (old.output > 0) return others_[old];
    if (static_cast<size_t>(old.node) >= first_.size()) first_.resize(static_cast<size_t>(old.node) + 1 + first_.size() / 2);
    return first_[old.node];
  }
  ValueRef at(ValueRef old) const { return old.output > 0 ? others_.at(old) : first_.at(old.node); }

 private:
  std::vector<ValueRef> first_;  // most nodes have one result
  std::map<ValueRef, ValueRef> others_;
};

/// A set of values of one graph.
class RefSet {
 public:
  bool count(ValueRef r) const {
    return r.output > 0 ? others_.count(r) > 0 : static_cast<size_t>(r.node) < first_.size() && first_[r.node];
  }
  void insert(ValueRef r) {
    if (r.output > 0) {
      others_.insert(r);
      return;
    }
    if (static_cast<size_t>(r.node) >= first_.size()) first_.resize(static_cast<size_t>(r.node) + 1 + first_.size() / 2);
    first_[r.node] = true;
  }
  /// False if it was not there.
  bool erase(ValueRef r) {
    if (!count(r)) return false;
    if (r.output > 0) others_.erase(r);
    else first_[r.node] = false;
    return true;
  }

 private:
  std::vector<char> first_;  // most nodes have one result
  std::set<ValueRef> others_;
};

/// Numbers from 0 on of values of one graph.
class RefIndex {
 public:
  /// -1 if there is none.
  int32_t operator[](ValueRef r) const {
    if (r.output > 0) {
      const auto found = others_.find(r);
      return found == others_.end() ? -1 : found->second;
    }
    return static_cast<size_t>(r.node) < first_.size() ? first_[r.node] : -1;
  }
  void set(ValueRef r, int32_t number) {
    if (r.output > 0) {
      others_[r] = number;
      return;
    }
    if (static_cast<size_t>(r.node) >= first_.size()) first_.resize(static_cast<size_t>(r.node) + 1 + first_.size() / 2, -1);
    first_[r.node] = number;
  }

 private:
  std::vector<int32_t> first_;
  std::map<ValueRef, int32_t> others_;
};

/// A tensor graph. As a Builder it appends what is emitted; concrete values that reach it become constants.
class Graph : public Builder {
 public:
  Graph();
  uint64_t id() const { return id_; }
  Values add(const Op& op, AttrsPtr attrs, const Values& inputs) override;
  /// Appends a node whose operands are already values of this graph.
  ValueRefs append(const Op& op, AttrsPtr attrs, ValueRefs inputs, Source source, int32_t phase = 0);
  /// The same node over other operands of the same types, whose results are not inferred again.
  ValueRefs append(const Node& like, ValueRefs inputs) { return append(like, std::move(inputs), like.source, like.phase); }
  ValueRefs append(const Node& like, ValueRefs inputs, Source source, int32_t phase);
  /// Adds an argument. `layout`: how the caller will pass it (default contiguous).
  Value input(Type type, std::string name = "", std::optional<Layout> layout = {});
  ValueRef ref(const Value& value);  // captures concrete values; Internal/Usage error for a foreign graph's value
  Value value(ValueRef ref) const;
  void output(const Value& value, int32_t alias = -1) { outputs_.push_back({ref(value), alias}); }
  void output(ValueRef value, int32_t alias = -1) { outputs_.push_back({value, alias}); }

  /// Makes room for so many nodes in all.
  void reserve(size_t nodes) { nodes_.reserve(nodes); }
  void set_output(size_t index, ValueRef value) { outputs_[index].value = value; }

  const std::vector<Node>& nodes() const { return nodes_; }
  const Node& node(ValueRef r) const { return nodes_[r.node]; }
  const Type& type(ValueRef r) const { return nodes_[r.node].types[r.output]; }
  const std::vector<ValueRef>& inputs() const { return inputs_; }
  const std::vector<std::optional<Layout>>& input_layouts() const { return input_layouts_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  const Values& constants() const { return constants_; }
  /// A graph with the same inputs, constants and no other nodes: the start of a rewriting pass. `map` receives the new
  /// references of the old inputs.
  Graph header(ValueMap& map) const;
  int32_t phase = 0;  // given to nodes added as a Builder

 private:
  uint64_t id_;
  std::vector<Node> nodes_;
  std::vector<ValueRef> inputs_;
  std::vector<std::optional<Layout>> input_layouts_;
  std::vector<Output> outputs_;
  Values constants_;
  std::map<const void*, ValueRef> captured_;
};

/// Text form; parse_graph(to_string(g)) gives an equal graph (constants are named by digest and not stored).
std::string to_string(const Graph& graph);
Graph parse_graph(std::string_view text);

/// Checks that operands precede their users, arities and inferred types. Internal error naming the node and `after`.
void verify(const Graph& graph, std::string_view after);

}  // namespace corten::ir
