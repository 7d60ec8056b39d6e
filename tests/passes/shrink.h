// Makes failing random programs small enough to read.
#pragma once

#include <functional>

#include "passes/random_graph.h"

namespace corten::testing {

/// A smaller program on which `fails` still holds: outputs are dropped, then values in the middle become inputs with the
/// contents that the reference computes for them.
RandomGraph shrink(const RandomGraph& program, const std::function<bool(const RandomGraph&)>& fails);

}  // namespace corten::testing
