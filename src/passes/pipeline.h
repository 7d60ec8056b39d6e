// The pipeline: which passes run, in which order.
#pragma once

#include <set>
#include <string>

#include "ir/graph.h"

namespace corten::passes {

struct PassRecord {
  std::string_view name;
  double ms = 0;
  size_t nodes_before = 0, nodes_after = 0;
  bool skipped = false;
};

/// Whose kernel families claim products and composites.
enum class Families : uint8_t {
  cpu,
  gpu,
  gpu_float8  ///< with tensor cores for 8-bit floats
};

/// Passes switched off by name: from CORTEN_DISABLE=fuse,cse,... (read at each compilation). Usage error for unknown names
/// and for passes that are part of the program's meaning.
std::set<std::string, std::less<>> disabled_passes();
/// Names of the passes that may be switched off; none of them changes a bit of any result.
const std::vector<std::string_view>& optional_passes();

/// Runs the graph passes. Verifies after each in debug builds and when CORTEN_VERIFY is set; CORTEN_DUMP=after:NAME (or
/// after:all) prints the graph to standard error where the pass changed it.
ir::Graph run_pipeline(const ir::Graph& graph, const std::set<std::string, std::less<>>& disabled, std::vector<PassRecord>* records,
                       Families families = Families::cpu);

}  // namespace corten::passes
