// Measured memory bandwidth, the yardstick for everything that is not a matrix product.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "ir/value.h"

namespace corten {

/// Bytes per second that the pool's threads together read from memory: the best of several passes
/// over a buffer larger than the caches, for at least `seconds`.
double measure_read_bandwidth(ThreadPool& pool, double seconds = 0.3);

/// The same for measurements in between others.
class ReadBandwidth {
 public:
  /// Reads a buffer larger than the caches.
  explicit ReadBandwidth(ThreadPool& pool);
  /// Bytes read per second, in one pass.
  double measure();

 private:
  ThreadPool& pool_;
  ir::BufferPtr buffer_;  // of huge pages, as the weights are
};

/// Copies memory past the caches, again and again, as fast as the pool's threads can: what a kernel that reads and writes is
/// measured against.
class CopyBandwidth {
 public:
  /// Copies between two buffers larger than the caches.
  explicit CopyBandwidth(ThreadPool& pool);
  /// Bytes read and written per second, in one pass.
  double measure();

 private:
  ThreadPool& pool_;
  std::vector<char> from_, to_;
};

}  // namespace corten
