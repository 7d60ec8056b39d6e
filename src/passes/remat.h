// Rematerialisation: values that nothing reads for a while are let go and computed again for their later readers.
//
// An exact pass: a value computed again has the same bits. It comes last, on the materialized graph, because it decides by a
// plan of that graph: what is stored, when each buffer is read, and what lives at the peak. The choices form one sequence that
// does not depend on a budget; a budget takes the first prefix whose plan keeps to it, so that the peak is monotone in it.
#pragma once

#include <map>
#include <vector>

#include "passes/place.h"

namespace corten::passes {

/// What a plan of a materialized graph says about time and memory. Time counts steps.
struct Timeline {
  enum class Held : uint8_t {
    stored,    ///< in memory: a buffer, an argument or a constant
    inner,     ///< computed within a kernel and never stored
    anywhere,  ///< a view, or what each reader computes for itself
  };
  struct Buffer {
    ir::ValueRef root;
    int64_t bytes = 0;
    std::vector<int32_t> touches;  ///< steps that write or read it, ascending; the first one makes it
  };
  int32_t steps = 0;
  std::vector<Held> held;         ///< of each node's results
  std::vector<int32_t> step_of;   ///< the step that computes a node, or -1
  std::vector<double> flops;      ///< of products, per step
  std::vector<double> bytes;      ///< read and written, per step
  std::vector<Buffer> buffers;    ///< of values; scratch lives for one step and does not matter
  std::map<ir::ValueRef, int32_t> overwritten;  ///< roots whose memory a step writes again
  const Places* places = nullptr;
};

/// The results of `node` are let go after their last reader up to step `after`, and computed again for the next one.
struct Recomputation {
  int32_t node = -1;
  int32_t after = 0;
  double cost = 0;    ///< share of the time of all steps, with those before it; by bytes moved and FLOPs
  int64_t peak = 0;   ///< most bytes alive at one step then, as far as the timeline tells
};

/// Ever lower peaks: repeatedly, at the step where most bytes are alive, the node whose absence saves most bytes for the time
/// that computing it again takes. Ends where nothing at the peak can be computed from what is there, or at `most_cost`.
std::vector<Recomputation> order_recomputations(const ir::Graph& graph, const Timeline& timeline, double most_cost);

/// The graph that computes these nodes again. Clones carry a phase of their own.
ir::Graph recompute(const ir::Graph& graph, const Timeline& timeline, const std::vector<Recomputation>& choices);

}  // namespace corten::passes
