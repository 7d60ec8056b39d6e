// chunk: what follows a wide product row by row, in pieces of rows, so that the wide values never exist whole.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "ops/functions.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

namespace corten::passes {
namespace {

using ir::Dims;
using ir::Graph;
using ir::Node;
using ir::OpKind;
using ir::Value;
using ir::ValueRef;

constexpr int64_t kGrain = 64;  // rows of a piece: whole register blocks, and whole steps of k where rows are summed over

/// How many leading dimensions make up the rows of a value, or nothing if none do.
std::optional<size_t> row_dims(const Dims& dims, int64_t rows) {
  int64_t count = 1;
  for (size_t d = 0; d < dims.size(); ++d) {
    count *= dims[d];
    if (count == rows) return d + 1;
    if (count > rows) break;
  }
  return std::nullopt;
}

/// The nodes between a wide product and what is no longer wide, and how to write them for some of the rows.
class Region {
 public:
  /// `elements`: of the first result of each node.
  Region(const Graph& graph, const std::vector<int64_t>& elements, int32_t product)
      : graph_(graph), elements_(elements), product_(product), rows_(graph.nodes()[product].types[0].dims[0]), width_(graph.nodes()[product].types[0].dims[1]) {}

  /// Collects the nodes; false if the rows of some are not independent, or a wide value is needed whole.
  bool collect() {
    const int32_t count = size();
    std::vector<bool> below(count), above(count), wide(count);
    // Below: depends on the product. Wide: as large as the product, without a sum over rows in between.
    below[product_] = wide[product_] = true;
    for (int32_t i = product_ + 1; i < count; ++i)
      for (ValueRef r : at(i).inputs)
        if (below[r.node]) {
          below[i] = true;
          wide[i] = wide[i] || elements_[i] == rows_ * width_;
        }
    // Inside: wide, a reader of something wide, or on a path back to something wide.
    std::vector<bool> reads(count);
    for (int32_t i = 0; i < count; ++i)
      for (ValueRef r : at(i).inputs) reads[i] = reads[i] || wide[r.node];
    for (int32_t i = count; i-- > 0;) {
      above[i] = above[i] || wide[i] || reads[i];
      if (above[i])
        for (ValueRef r : at(i).inputs) above[r.node] = true;
    }
    for (int32_t i = product_; i < count; ++i) {
      if (!below[i] || !above[i]) continue;
      if (!understood(i)) return false;
      inside_.insert(inside_.end(), i);
    }
    // Nothing wide leaves.
    for (int32_t i = 0; i < count; ++i)
      if (!inside_.count(i))
        for (ValueRef r : at(i).inputs)
          if (inside_.count(r.node)) {
            if (wide[r.node]) return false;
            leaving_.insert(r.node);
          }
    for (const ir::Output& o : graph_.outputs())
      if (inside_.count(o.value.node)) {
        if (wide[o.value.node]) return false;
        leaving_.insert(o.value.node);
      }
    return true;
  }

  /// `settled`, nodes that need not be looked at again, becomes that of the new graph.
  Graph rewrite(int64_t piece, std::vector<bool>& settled) {
    ir::ValueMap map;
    Graph out = graph_.header(map);
    std::vector<bool> before(size());  // what the region reads
    for (int32_t i = size(); i-- > 0;)
      if (inside_.count(i) || before[i])
        for (ValueRef r : at(i).inputs)
          if (!inside_.count(r.node)) before[r.node] = true;
    const auto carry = [&](int32_t i) {
      const Node& n = at(i);
      if (n.op == &ir::kInputOp || n.op == &ir::kConstantOp) return;
      ir::ValueRefs in;
      for (ValueRef r : n.inputs) in.push_back(map.at(r));
      const auto results = out.append(*n.op, n.attrs, in, n.source, n.phase);
      for (size_t k = 0; k < results.size(); ++k) map[{i, static_cast<int32_t>(k)}] = results[k];
    };
    for (int32_t i = 0; i < size(); ++i)
      if (before[i]) carry(i);
    pieces(out, map, piece);
    for (int32_t i = 0; i < size(); ++i)
      if (!before[i] && !inside_.count(i)) carry(i);
    for (const ir::Output& o : graph_.outputs()) out.output(map.at(o.value), o.alias);
    std::vector<bool> now(out.nodes().size());
    for (int32_t i = 0; i < size(); ++i)
      if (settled[i] && !inside_.count(i)) now[map.at({i, 0}).node] = true;
    settled = std::move(now);
    return out;
  }

 private:
  int32_t size() const { return static_cast<int32_t>(graph_.nodes().size()); }
  const Node& at(int32_t i) const { return graph_.nodes()[i]; }
  bool inside(ValueRef r) const { return inside_.count(r.node) > 0; }
  const Dims& dims(ValueRef r) const { return graph_.type(r).dims; }
  bool turned(const Node& n) const { return n.op->name == "permute"; }
  /// A product that sums over the rows: of a turned value of the region with rows of another.
  bool sums_rows(const Node& n) const { return n.op->name == "gemm" && inside(n.inputs[0]) && turned(graph_.node(n.inputs[0])); }

  bool understood(int32_t i) const {
    const Node& n = at(i);
    if (i == product_) return true;
    if (n.types.size() != 1 || n.phase != at(product_).phase) return false;
    if (turned(n)) {  // of a matrix, for products that sum over the rows
      if (n.types[0].dims != Dims{width_, rows_} || !inside(n.inputs[0])) return false;
      for (int32_t user = i + 1; user < size(); ++user)
        for (size_t k = 0; k < at(user).inputs.size(); ++k)
          if (at(user).inputs[k].node == i && (k != 0 || at(user).op->name != "gemm")) return false;
      return true;
    }
    if (sums_rows(n)) {
      const DType wide = compute_type(graph_.type(n.inputs[0]).dtype);
      return n.inputs.size() == 2 && n.types[0].dtype == wide && dims(n.inputs[1]).size() == 2;
    }
    const auto own = row_dims(n.types[0].dims, rows_);
    if (!own) return false;
    for (ValueRef r : n.inputs)
      if (inside(r) && (turned(graph_.node(r)) || !row_dims(dims(r), rows_))) return false;
    switch (n.op->kind) {
      case OpKind::elementwise: return true;
      case OpKind::reduce: return ir::attribute<int64_t>(n.attrs, "axis") >= static_cast<int64_t>(*own);
      case OpKind::library:
        if (n.op->name != "gemm" || n.types[0].dims.size() != 2 || !inside(n.inputs[0])) return false;
        return std::none_of(n.inputs.begin() + 1, n.inputs.end(), [&](ValueRef r) { return inside(r); });
      case OpKind::view:
        if (n.op->name == "reshape") return true;
        return n.op->name == "expand" && row_dims(dims(n.inputs[0]), rows_) == own;
      default: return false;
    }
  }

  /// Dimensions of the piece of a value: its rows in one dimension.
  Dims piece_dims(const Dims& dims, int64_t rows) const {
    Dims out{rows};
    out.insert(out.end(), dims.begin() + static_cast<int64_t>(*row_dims(dims, rows_)), dims.end());
    return out;
  }

  void pieces(Graph& out, ir::ValueMap& map, int64_t piece) {
    std::map<int32_t, std::vector<ValueRef>> parts;  // of what leaves
    for (int64_t start = 0; start < rows_; start += piece) {
      const int64_t rows = std::min(piece, rows_ - start);
      std::map<ValueRef, ValueRef> local;
      for (int32_t i : inside_) {
        const Node& n = at(i);
        out.phase = n.phase;
        ir::BuilderScope builder(out);
        ir::GradScope no_grad(false);
        ir::SourceScope source(n.source);
        Value result = write(out, n, map, local, start, rows);
        if (sums_rows(n)) map[{i, 0}] = out.ref(result);
        else local[{i, 0}] = out.ref(result);
        if (leaving_.count(i) && !sums_rows(n)) parts[i].push_back(out.ref(result));
      }
    }
    for (auto& [i, list] : parts) {
      const Node& n = at(i);
      out.phase = n.phase;
      ir::BuilderScope builder(out);
      ir::GradScope no_grad(false);
      ir::SourceScope source(n.source);
      ir::Values values;
      for (ValueRef r : list) values.push_back(out.value(r));
      map[{i, 0}] = out.ref(ops::reshape(ops::concat(values, 0), n.types[0].dims));
    }
  }

  /// Node `n` for rows [start, start + rows).
  Value write(Graph& out, const Node& n, const ir::ValueMap& map, std::map<ValueRef, ValueRef>& local, int64_t start,
              int64_t rows) {
    // An operand over dimensions of the node's own kind: a piece of the region, or rows of something outside.
    const auto operand = [&](ValueRef r) {
      if (auto found = local.find(r); found != local.end()) return out.value(found->second);
      Value made = outside(out, r, map, start, rows);
      local[r] = out.ref(made);
      return made;
    };
    if (n.op->name == "gemm") {
      const DType dtype = n.types[0].dtype;
      const Value a = operand(n.inputs[0]);
      if (!sums_rows(n)) {
        const Value bias = n.inputs.size() > 2 ? out.value(map.at(n.inputs[2])) : Value();
        return ops::gemm(a, out.value(map.at(n.inputs[1])), bias, dtype);
      }
      const Value b = operand(n.inputs[1]);
      const ValueRef self{static_cast<int32_t>(&n - graph_.nodes().data()), 0};
      if (start == 0) return ops::gemm(a, b, Value(), dtype);
      return ops::gemm_continue(a, b, out.value(map.at(self)));
    }
    if (turned(n)) return ops::transpose(operand(n.inputs[0]), 0, 1);
    const Dims own = piece_dims(n.types[0].dims, rows);
    if (n.op->name == "reshape") return ops::reshape(operand(n.inputs[0]), own);
    if (n.op->name == "expand") return ops::expand(operand(n.inputs[0]), own);
    ir::AttrsPtr attrs = n.attrs;
    if (n.op->kind == OpKind::reduce) {
      const int64_t axis = ir::attribute<int64_t>(attrs, "axis") - static_cast<int64_t>(*row_dims(dims(n.inputs[0]), rows_)) + 1;
      attrs = n.op->parse_attrs(ir::replace_field(attrs, "axis", ir::field_text(axis)));
    }
    ir::Values in;
    for (ValueRef r : n.inputs) in.push_back(operand(r));
    return ir::emit(*n.op, attrs, in)[0];
  }

  /// Rows of a value from outside; constants and indices are made anew.
  Value outside(Graph& out, ValueRef r, const ir::ValueMap& map, int64_t start, int64_t rows) {
    const Node& n = graph_.node(r);
    const Dims own = piece_dims(dims(r), rows);
    if (n.op->kind == OpKind::full) return ops::full(own, n.types[0].dtype, ir::attribute<double>(n.attrs, "value"));
    const auto leading = static_cast<int64_t>(*row_dims(dims(r), rows_));
    if (n.op->kind == OpKind::iota) {
      Dims strides = ir::attribute<Dims>(n.attrs, "strides");
      if (std::all_of(strides.begin(), strides.begin() + leading, [](int64_t s) { return s == 0; })) {
        strides.erase(strides.begin() + 1, strides.begin() + leading);
        const std::string text = "{dims=" + ir::field_text(own) + ", strides=" + ir::field_text(strides) + "}";
        return ir::emit(*n.op, n.op->parse_attrs(text), {})[0];
      }
    }
    if (n.op->name == "expand") {
      const Dims& from = dims(n.inputs[0]);
      if (row_dims(from, rows_) == row_dims(dims(r), rows_))  // the same rows, wider
        return ops::expand(outside(out, n.inputs[0], map, start, rows), own);
      if (std::all_of(from.begin(), from.begin() + leading, [](int64_t d) { return d == 1; })) {  // the same for all rows
        Dims one{1};
        one.insert(one.end(), from.begin() + leading, from.end());
        return ops::expand(ops::reshape(out.value(map.at(n.inputs[0])), one), own);
      }
    }
    if (n.op->kind == OpKind::elementwise && n.types[0].elements() == rows_ * width_) {
      // Made in pieces too: the comparison of classes and targets.
      ir::Values in;
      for (ValueRef operand : n.inputs) in.push_back(outside(out, operand, map, start, rows));
      return ir::emit(*n.op, n.attrs, in)[0];
    }
    Dims flat = own;
    flat[0] = rows_;
    return ops::slice_axis(ops::reshape(out.value(map.at(r)), flat), 0, start, rows);
  }

  const Graph& graph_;
  const std::vector<int64_t>& elements_;
  const int32_t product_;
  const int64_t rows_, width_;
  std::set<int32_t> inside_, leaving_;
};

}  // namespace

Graph chunk_rows(const Graph& graph, int64_t limit) {
  Graph current = graph;
  std::vector<int64_t> elements;
  const auto count_elements = [&] {
    elements.clear();
    for (const Node& n : current.nodes()) elements.push_back(n.types[0].elements());
  };
  count_elements();
  std::vector<bool> settled(current.nodes().size());  // products that stay whole
  for (int32_t i = 0; i < static_cast<int32_t>(current.nodes().size()); ++i) {
    const Node& n = current.nodes()[i];
    if (settled[i] || n.op->name != "gemm" || n.types[0].dims.size() != 2 || n.types[0].bytes() <= limit) continue;
    const int64_t rows = n.types[0].dims[0];
    const int64_t piece = std::max(limit / (n.types[0].bytes() / rows) / kGrain * kGrain, kGrain);
    if (piece >= rows) continue;
    // Equal pieces, as far as the grain allows.
    const int64_t count = (rows + piece - 1) / piece, even = ((rows + count - 1) / count + kGrain - 1) / kGrain * kGrain;
    Region region(current, elements, i);
    settled[i] = true;
    if (!region.collect()) continue;
    current = region.rewrite(even, settled);
    count_elements();
    i = -1;
  }
  return current;
}

}  // namespace corten::passes
