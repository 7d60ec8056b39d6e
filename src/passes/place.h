// Places: where each value of a graph lies in memory, once views cost nothing.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace corten::passes {

/// A value is the elements of `root` (the value that owns storage, or a virtual one such as iota) found at `layout`.
struct Place {
  ir::ValueRef root;
  ir::Layout layout;
};

/// Places of all results of a graph. `materialized` graphs have a place for everything; before, missing ones are empty
/// (and so is all that depends on them).
class Places {
 public:
  /// Adds the places of node `i`, whose operands were added before. False if a view cannot be expressed.
  bool add(const ir::Graph& graph, int32_t i);
  const Place& operator[](ir::ValueRef r) const { return places_[r.node][r.output]; }
  const std::vector<Place>& of(int32_t node) const { return places_[node]; }

 private:
  std::vector<std::vector<Place>> places_;
};

/// Where the elements of a view of `mid` are in what `mid` itself is computed from: `outer` describes the view over
/// dimensions `dims` in terms of mid's row-major elements, `inner` describes an operand over mid's dimensions. Nothing if
/// strides cannot express it.
std::optional<ir::Layout> compose(const ir::Dims& dims, const ir::Layout& outer, const ir::Dims& mid, const ir::Layout& inner);

}  // namespace corten::passes
