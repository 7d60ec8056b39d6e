// The emitter's state. Internal to emit*.cpp.
//
// Names in the text: o0.. outer coordinates, c the column, p3 the address of access 3 at the outer
// point and column 0, g3 whether its outer guards hold, q0.. parameters, u7 the value of node 7
// once per row, v7 per element, x7 what a load read as a pack, k7 elements kept in registers for
// later stages.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/format.h"
#include "codegen/gpu/arguments.h"
#include "codegen/gpu/emit.h"
#include "codegen/plan.h"

namespace corten::codegen::gpu {

class Emitter {
 public:
  Emitter(const ir::Kernel& kernel, const Schedule& schedule, std::string name);
  KernelText run();

 private:
  // emit.cpp: the function
  void load_arguments();
  void emit_points();

  // emit_rows.cpp
  void emit_rows();
  void reduce_stage(const Stage& stage);
  void reduce_in_lanes(const Stage& stage, const std::vector<int32_t>& reductions);
  void reduce_in_chunks(const Stage& stage, const std::vector<int32_t>& reductions, ir::Tree tree);
  void combine_warps(const std::vector<int32_t>& reductions);
  void store_rows(const Stage& stage);

  // emit_columns.cpp
  void emit_columns();
  void column_stage(const Stage& stage);
  /// Combines `count` values by the canonical tree: `value` makes r<node> of number k. `rest`: the
  /// condition under which a shorter run stands behind them, that `last` makes r<node> of.
  void combine_in_order(const Stage& stage, const std::string& count, int depth,
                        const std::function<void()>& value, const std::string& rest = "",
                        const std::function<void()>& last = {});
  void each_column(const Stage& stage, const std::function<void(int32_t)>& body);

  // emit_scatter.cpp
  void emit_scatter();
  void emit_walk();

  // emit_elements.cpp: values, loads and stores
  /// Addresses and outer guards of accesses at the outer point, for the accesses that the nodes and
  /// stores use.
  void place_accesses(const std::set<int>& accesses);
  std::set<int> accesses_of(const std::vector<int32_t>& nodes) const;
  std::set<int> store_accesses() const;
  /// Defines the row's nodes of a stage.
  void uniform_nodes(const Stage& stage);
  /// Rows of gathered loads whose index does not vary.
  void gather_rows(const std::vector<int32_t>& nodes);
  /// Code for elements c .. c + count - 1: packs are read, then `use` is emitted in a loop over e
  /// with all nodes defined. `inside`: condition under which elements c + e exist, "" if all do.
  void elements(const std::vector<int32_t>& nodes, int count, const std::string& inside,
                bool packed, const std::function<void()>& use);
  void define(int32_t node);
  std::string load(int32_t node);
  bool reads_pack(int32_t node) const;
  std::string from_memory(DType dtype, const std::string& raw) const;
  std::string to_memory(DType dtype, int32_t node);
  static std::string stored(DType dtype, const std::string& value);
  std::string element_address(int access, const std::string& c) const;
  std::string inner_guard(int access, const std::string& c) const;
  /// Stores element `value` (in memory form) at column c.
  void store_element(const ir::Store& store, const std::string& c, const std::string& value);
  /// Stores `count` elements y<store>[first ..] at c ...
  void store_elements(int store, int count, const std::string& first, const std::string& inside,
                      bool packed);
  void row_store(const ir::Store& store);

  // emit_ops.cpp: scalar operations
  std::string ref(int32_t node) const;  ///< the expression that names a node's value
  std::string op(const ir::ScalarNode& node) const;
  std::string constant(const ir::ScalarNode& node) const;
  std::string combine(int32_t reduce, const std::string& a, const std::string& b) const;
  std::string identity(int32_t reduce) const;
  static std::string_view type(DType dtype);         // of values
  static std::string_view memory_type(DType dtype);  // of elements in memory

  // the text
  template <typename... Args>
  void line(fmt::format_string<Args...> text, Args&&... args) {
    out_.append(static_cast<size_t>(2 * depth_), ' ');
    fmt::format_to(std::back_inserter(out_), text, std::forward<Args>(args)...);
    out_ += '\n';
  }
  template <typename... Args>
  void open(fmt::format_string<Args...> text, Args&&... args) {
    line(text, std::forward<Args>(args)...);
    ++depth_;
  }
  void close() {
    --depth_;
    line("}}");
  }
  void unroll(int times = 0) {
    if (times)
      line("#pragma unroll {}", times);
    else
      line("#pragma unroll");
  }

  const ir::ScalarNode& node(int32_t id) const { return k_.body.node(id); }
  const Reduction& reduction(int32_t i) const { return p_.reductions[static_cast<size_t>(i)]; }
  /// Splits a linear number into the coordinates of the first `dims` outer dimensions.
  void outer_point(const std::string& linear, int dims);
  /// The number of points of the first `dims` outer dimensions.
  std::string outer_count(int dims) const;

  const Schedule s_;
  const Plan p_;
  const ir::Kernel& k_;
  const ArgumentLayout args_;
  std::string name_, out_, index_;  // index_: the type of coordinates
  int depth_ = 0;
  bool collective_ = false;
  std::set<int> gathers_;               // accesses whose rows are known in the current scope
  std::set<int32_t> defined_;           // nodes of the elements that are being emitted
  std::vector<char> pack_;              // by node: x<node> is defined
  std::set<int32_t> columns_in_array_;  // columns form: reduce results, r<node>[e]
  const Stage* kept_ = nullptr;  // the stage that keeps values while its elements are emitted
};

}  // namespace corten::codegen::gpu
