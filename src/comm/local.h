// Ranks that are threads of one process: a group without a network.
#pragma once

#include <memory>
#include <vector>

#include "comm/comm.h"

namespace corten::comm {

/// The ranks 0 .. size-1 of a group, each for a thread of its own; memory is the host's. Calls are
/// done when they return. Reductions are divided over the ranks and have the order of reduce.h.
///
/// Checked: every rank makes the same call (usage error in all of them, naming two that differ).
/// Resource error in all ranks if one does not arrive within `timeout_seconds`, or was destroyed:
/// it names the rank, and what it did last.
std::vector<std::unique_ptr<Comm>> make_local_group(int size, double timeout_seconds = 300);

}  // namespace corten::comm
