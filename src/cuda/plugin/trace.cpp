#include "cuda/plugin/trace.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "cuda/plugin/driver.h"
#include "cuda/plugin/library.h"

#if __has_include(<cupti.h>)
#include <cupti.h>

namespace corten::cuda {
namespace {

#if CUPTI_API_VERSION >= 130000
using KernelRecord = CUpti_ActivityKernel10;
#else
using KernelRecord = CUpti_ActivityKernel9;
#endif

struct Cupti {
  Library library{library_names("libcupti", driver().version)};
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next = nullptr;
  decltype(&cuptiGetResultString) text = nullptr;
  std::string missing;

  Cupti() {
    if (!library) {
      missing =
          "no CUPTI: libcupti.so.13 or .12 was not found; install the CUDA toolkit (package "
          "cuda-cupti) or set CUDA_HOME or CORTEN_CUDA_LIBRARIES to where it is";
      return;
    }
    const bool all = library.find(register_callbacks, "cuptiActivityRegisterCallbacks") &&
                     library.find(enable, "cuptiActivityEnable") &&
                     library.find(disable, "cuptiActivityDisable") &&
                     library.find(flush, "cuptiActivityFlushAll") &&
                     library.find(next, "cuptiActivityGetNextRecord") &&
                     library.find(text, "cuptiGetResultString");
    if (!all) missing = library.path() + " lacks functions of CUPTI; install a newer CUDA toolkit";
  }
  Status check(CUptiResult result, const char* what) const {
    if (result == CUPTI_SUCCESS) return "";
    const char* name = nullptr;
    text(result, &name);
    return std::string(what) + ": " + (name ? name : "error " + std::to_string(result));
  }
};

Cupti& cupti() {
  static auto* instance = new Cupti;
  return *instance;
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};
constexpr size_t kBufferBytes = size_t{8} << 20;

// Buffers come back on a thread of CUPTI's.
std::mutex mutex;
std::vector<TracedWork> records;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* most) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer ? kBufferBytes : 0;
  *most = 0;  // as many records as fit
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t filled) {
  const std::scoped_lock lock(mutex);
  CUpti_Activity* at = nullptr;
  const auto keep = [](const char* name, uint64_t start, uint64_t end) {
    if (end > start)  // both are 0 of what was lost
      records.push_back({name ? name : "", static_cast<int64_t>(start), static_cast<int64_t>(end)});
  };
  while (buffer && cupti().next(buffer, filled, &at) == CUPTI_SUCCESS) {
    if (at->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* k = reinterpret_cast<const KernelRecord*>(at);
      keep(k->name, k->start, k->end);
    } else if (at->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* k = reinterpret_cast<const CUpti_ActivityMemcpy6*>(at);
      keep("copy", k->start, k->end);
    } else if (at->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* k = reinterpret_cast<const CUpti_ActivityMemset4*>(at);
      keep("fill", k->start, k->end);
    }
  }
  std::free(buffer);
}

}  // namespace

Status start_trace() {
  Cupti& c = cupti();
  if (!c.missing.empty()) return c.missing;
  Status status = c.check(c.register_callbacks(give_buffer, take_buffer),
                          "cuptiActivityRegisterCallbacks");
  {
    const std::scoped_lock lock(mutex);
    records.clear();
  }
  for (CUpti_ActivityKind kind : kKinds)
    if (status.empty()) status = c.check(c.enable(kind), "cuptiActivityEnable");
  return status;
}

Status stop_trace(std::vector<TracedWork>& work) {
  Cupti& c = cupti();
  if (!c.missing.empty()) return c.missing;
  Status status = c.check(c.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "cuptiActivityFlushAll");
  for (CUpti_ActivityKind kind : kKinds)
    if (Status s = c.check(c.disable(kind), "cuptiActivityDisable"); status.empty()) status = s;
  const std::scoped_lock lock(mutex);
  work = std::move(records);
  records.clear();
  std::stable_sort(work.begin(), work.end(), [](const TracedWork& a, const TracedWork& b) {
    return a.start_ns < b.start_ns;
  });
  return status;
}

}  // namespace corten::cuda

#else

namespace corten::cuda {

Status start_trace() {
  return "built without CUPTI: cupti.h of the CUDA toolkit was not found";
}
Status stop_trace(std::vector<TracedWork>&) {
  return start_trace();
}

}  // namespace corten::cuda

#endif
