// What a Tensor is: a cell that holds the current value, and the views that lead from the cell to this tensor.
#pragma once

#include <map>

#include "corten/tensor.h"
#include "ir/graph.h"

namespace corten {

/// Storage as users know it: the current value of all tensors that share it. Values themselves never change: writing gives
/// the cell a new one.
struct Cell {
  ir::Value value;
  ir::GradEdge leaf;      // set while it requires grad
  Tensor grad;
  uint64_t born_in = 0;   // the trace that made it, 0: none
  bool replaced = false;  // its module holds another one now: programs that have it as state are out of date
};
using CellPtr = std::shared_ptr<Cell>;

struct TensorImpl {
  CellPtr cell;
  std::vector<std::pair<const ir::Op*, ir::AttrsPtr>> views;
  bool detached = false;
  ir::Type type;
};

namespace runtime {

/// A function being recorded. State is every cell that existed before and is read or written.
class Trace {
 public:
  Trace();
  ~Trace();
  Trace(const Trace&) = delete;
  static Trace* active();  // of this thread

  struct State {
    CellPtr cell;
    ir::Value current;
    bool written = false;
  };
  ir::Graph graph;
  std::vector<State> states;              // state i is graph input i + arguments
  size_t arguments = 0;
  int32_t phases = 0;                     // regions that were run again so far
  ir::Value read(const CellPtr& cell);
  void write(const CellPtr& cell, ir::Value value);
  void set_grad(const CellPtr& cell, const Tensor& grad);

 private:
  State& state(const CellPtr& cell);
  std::map<const Cell*, size_t> index_;
  std::vector<std::pair<CellPtr, Tensor>> saved_grads_;
  Trace* previous_;
  ir::BuilderScope builder_;
};

/// While one lives in this thread, tensors may stand for values of a graph that no trace is recording: a custom op's
/// definition is being written into it.
class DefinitionScope {
 public:
  DefinitionScope();
  ~DefinitionScope();
  DefinitionScope(const DefinitionScope&) = delete;

 private:
  bool previous_;
};

Tensor wrap(ir::Value value);                              // a tensor with a cell of its own
ir::Value value_of(const Tensor& tensor);                  // the current value, through its views, with its edge
ir::Value take(Tensor tensor);                             // of a tensor that is not needed any more: assign() need not copy it
void assign(const Tensor& tensor, ir::Value value, const char* what);  // writes through the views
/// The value in memory; Usage error while it is only traced.
ir::Value concrete_value(const Tensor& tensor, const char* what, At at);
inline ir::Source source(At at) { return {at.file_name(), static_cast<int>(at.line()), ir::current_source().stage}; }

/// The same values on another device, differentiable. A number becomes storage of its own there.
ir::Value transfer(const ir::Value& value, ir::Placement placement);
/// A 0-d value for ops that run there: those of the CPU serve everywhere.
ir::Value number_for(const ir::Value& value, ir::Placement placement);

/// Remembered call ordinals and module path for random sites (random.cpp).
struct RandomState {
  std::string path;
  int64_t ordinal = 0, shard = 0;
};
RandomState& random_state();
/// The site of the next random op: module path, ordinal, shard.
int64_t next_site();
/// NaN checks of eager ops.
bool& eager_detects_anomaly();

}  // namespace runtime
}  // namespace corten
