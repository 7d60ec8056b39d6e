#include "runtime/tile_kernels.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/library_step.h"

namespace corten::runtime {

using ir::Node;
using ir::ValueRef;
using kernel::Storage;

std::vector<Storage> touched(const kernel::Partition& partition, const Lowered& step, bool written) {
  std::vector<Storage> out;
  if (step.library()) {
    const int32_t node = step.step->members[0];
    if (written) {
      for (const passes::Place& place : partition.places.of(node))
        if (step.stores_result) out.push_back({place.root});
    } else {
      for (ValueRef r : partition.graph->nodes()[node].inputs) out.push_back({partition.places[r].root});
    }
  }
  for (size_t i = 0; i < step.kernel.operands.size(); ++i) {
    if (step.library() && step.kernel.operands[i] == Storage{{step.step->members[0], 0}}) continue;  // the tiles
    // A scatter reads what it writes.
    const bool writes = step.kernel.kernel.operands[i].written;
    if (writes == written || (!written && step.step->form == ir::KernelForm::scatter)) out.push_back(step.kernel.operands[i]);
  }
  return out;
}

namespace {

class Attacher {
 public:
  Attacher(const kernel::Partition& partition, std::vector<Lowered>& steps, int64_t least)
      : p_(partition), graph_(*partition.graph), steps_(steps), least_(least) {
    for (size_t s = 0; s < steps.size(); ++s) {
      for (const Storage& w : touched(p_, steps[s], true)) writers_[w].push_back(static_cast<int32_t>(s));
      for (const Storage& r : touched(p_, steps[s], false)) readers_[r].insert(static_cast<int32_t>(s));
    }
    for (const ir::Output& o : graph_.outputs()) {
      outputs_.insert(p_.places[o.value].root);
      if (o.alias >= 0) states_.insert(p_.places[o.value].root);
    }
  }

  void run() {
    std::vector<bool> gone(steps_.size());
    for (size_t k = 0; k < steps_.size(); ++k) gone[k] = attach(static_cast<int32_t>(k));
    std::vector<Lowered> left;
    for (size_t k = 0; k < steps_.size(); ++k)
      if (!gone[k]) left.push_back(std::move(steps_[k]));
    steps_ = std::move(left);
  }

 private:
  bool attach(int32_t k) {
    const Lowered& step = steps_[k];
    if (step.library() || step.kernel.operands.size() > kMaxTileOperands) return false;
    const kernel::Step& s = *step.step;
    if (s.form != ir::KernelForm::rows || s.row_bound || s.frozen || s.chunked || s.finish || s.domain.empty()) return false;
    // The product is the last operand to be made.
    int32_t product = -1, before = -1;
    for (const Storage& r : touched(p_, step, false)) {
      if (r.partial) return false;
      const auto made = writers_.find(r);
      if (made == writers_.end()) {
        if (states_.count(r.root)) return false;  // the old value, in its place
        continue;
      }
      if (made->second.size() > 1) return false;
      const int32_t writer = made->second[0];
      before = std::max(before, std::min(writer, product));
      product = std::max(product, writer);
    }
    if (product < 0 || before == product || !tileable(product, s)) return false;
    const Storage result{{steps_[product].step->members[0], 0}};
    int64_t written = 0;
    for (const Storage& w : touched(p_, step, true)) {
      if (w.partial || states_.count(w.root) || writers_.at(w).size() > 1) return false;
      written += graph_.type(w.root).bytes();
    }
    const bool stored = outputs_.count(result.root) || readers_.at(result).size() > 1;
    // What the kernel writes lives longer: in place of the result, or not across other products.
    bool beside = true;
    for (int32_t i = product + 1; i < k; ++i) beside &= !steps_[i].library();
    if (!beside && (stored || written > graph_.type(result.root).bytes())) return false;

    // Rows of the product, not whatever is longer.
    kernel::Step by_rows = s;
    by_rows.row_bound = true;
    std::vector<kernel::LoweredKernel> lowered = kernel::lower(p_, by_rows);
    if (lowered.size() != 1 || lowered[0].launches.size() != 1 || !natural(lowered[0], result, s.domain.back())) return false;
    Lowered& owner = steps_[product];
    owner.kernel = std::move(lowered[0]);
    owner.stores_result = stored;
    owner.tile_step = step.step;
    return true;
  }

  /// Whether a step is a product whose rows are those of a kernel, and that has no kernel yet.
  bool tileable(int32_t step, const kernel::Step& kernel) const {
    const Lowered& l = steps_[step];
    if (!l.library() || l.takes_tiles()) return false;
    const Node& n = graph_.nodes()[l.step->members[0]];
    const ir::Type& type = n.types[0];
    return n.op->name == "gemm" && type.dtype != DType::f64 && type.bytes() >= least_ && type.elements() > 0 &&
           kernel.domain.back() == type.dims.back() && ir::product(kernel.domain) == type.elements();
  }

  /// Whether a kernel reads a product's result element by element, row by row, and nothing through indices.
  bool natural(const kernel::LoweredKernel& k, const Storage& result, int64_t columns) const {
    const ir::Launch& launch = k.launches[0];
    if (launch.inner != columns) return false;
    for (const ir::ScalarNode& n : k.kernel.body.nodes())
      if (n.op == ir::ScalarOp::reduce_sum || n.op == ir::ScalarOp::reduce_max || n.op == ir::ScalarOp::reduce_min) return false;
    for (const ir::Store& store : k.kernel.stores)
      if (k.kernel.accesses[store.access].inner != ir::InnerStride::one) return false;
    for (size_t a = 0; a < k.kernel.accesses.size(); ++a) {
      const ir::Access& access = k.kernel.accesses[a];
      if (access.guards || access.index >= 0) return false;
      if (access.operand < 0 || k.operands[access.operand] != result) continue;
      const ir::Launch::Access& run = launch.accesses[a];
      if (run.offset != 0 || run.inner_stride != 1) return false;
      int64_t stride = columns;
      for (int d = k.kernel.outer_rank; d-- > 0; stride *= launch.outer[d])
        if (run.strides[d] != stride) return false;
    }
    return true;
  }

  const kernel::Partition& p_;
  const ir::Graph& graph_;
  std::vector<Lowered>& steps_;
  const int64_t least_;
  std::map<Storage, std::vector<int32_t>> writers_;
  std::map<Storage, std::set<int32_t>> readers_;
  std::set<ValueRef> outputs_, states_;
};

}  // namespace

void attach_tile_kernels(const kernel::Partition& partition, std::vector<Lowered>& steps, int64_t least) {
  Attacher(partition, steps, least).run();
}

}  // namespace corten::runtime
