#include "cuda/out_of_memory.h"

#include <algorithm>

#include "base/format.h"
#include "base/strings.h"

namespace corten::cuda {
namespace {

std::string text(int64_t bytes) {
  return format_bytes(static_cast<uint64_t>(std::max<int64_t>(bytes, 0)));
}

}  // namespace

void raise(const OutOfMemory& e) {
  const std::string asked = e.asked > 0 ? text(e.asked) + " were asked for" : "memory was asked for";
  resource_error("out of memory on {}: {}{}, {} of {} are free; {}{}{} ({})", e.device, asked,
                 e.what.empty() ? "" : " (" + e.what + ")", text(e.free), text(e.total), e.held,
                 e.held.empty() ? "" : "; ", fmt::join(e.advice, "; or "), e.status);
}

void raise(Device& device, const Status& status, const char* what, int64_t asked) {
  if (status.empty()) return;
  if (!is_out_of_memory(status)) resource_error("{}", status);
  OutOfMemory error{.device = device.info().name, .what = what, .asked = asked, .status = status};
  device.memory(error.free, error.total);
  if (asked > error.total && error.total > 0)
    error.advice.push_back("it is more than the device has: use one with more, or several");
  error.advice.push_back("lower the batch or the sequence length");
  error.advice.push_back("raise the virtual shards");
  error.advice.push_back("corten plan --device cuda lists what would make it fit");
  raise(error);
}

}  // namespace corten::cuda
