// Measured memory bandwidth, the yardstick for everything that is not a matrix product.
#pragma once

#include "base/thread_pool.h"

namespace corten {

/// Bytes per second that the pool's threads together read from memory: the best of several passes
/// over a buffer larger than the caches, for at least `seconds`.
double measure_read_bandwidth(ThreadPool& pool, double seconds = 0.3);

}  // namespace corten
