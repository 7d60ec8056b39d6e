// NCCL, loaded when the first group is made.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cuda/collectives.h"

#if __has_include(<nccl.h>)
#include <nccl.h>
#define CORTEN_HAS_NCCL 1
#else
#define CORTEN_HAS_NCCL 0
#endif

namespace corten::cuda {

/// A stream as seen from here.
struct CommStream {
  void* handle = nullptr;                      ///< CUstream
  std::function<Status(bool& done)> finished;  ///< whether all of its work is done; does not wait
  std::function<Status()> enter;  ///< makes its context the calling thread's; may be empty
};

/// Hexadecimal digits.
Status new_group_id(std::string& id);
Status join_group(const GroupPlace& place, CommStream stream, std::unique_ptr<Collectives>& out);

#if CORTEN_HAS_NCCL

#define CORTEN_NCCL_FUNCTIONS(X)                                                              \
  X(ncclGetVersion)                                                                           \
  X(ncclGetUniqueId) X(ncclCommInitRankConfig) X(ncclCommFinalize) X(ncclCommDestroy)         \
      X(ncclCommAbort) X(ncclGetErrorString) X(ncclGetLastError) X(ncclCommGetAsyncError)     \
          X(ncclAllReduce) X(ncclAllGather) X(ncclReduceScatter) X(ncclBroadcast) X(ncclSend) \
              X(ncclRecv) X(ncclGroupStart) X(ncclGroupEnd)

struct Nccl {
#define CORTEN_X(name) decltype(&::name) name##_ = nullptr;
  CORTEN_NCCL_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  Status missing;  ///< "" if it was loaded
};
/// The library of this machine.
const Nccl& nccl();

/// The same by any functions of NCCL's interface.
Status new_group_id(const Nccl& nccl, std::string& id);
Status join_group(const Nccl& nccl, const GroupPlace& place, CommStream stream,
                  std::unique_ptr<Collectives>& out);

#endif

}  // namespace corten::cuda
