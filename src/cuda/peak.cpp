#include "cuda/peak.h"

#include <algorithm>
#include <vector>

#include "base/format.h"
#include "base/half.h"

namespace corten::cuda {
namespace {

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

}  // namespace

double measure_peak_flops(Device& device, DType dtype, double seconds) {
  constexpr int64_t kSize = 8192;
  Product p{.type = dtype == DType::bf16  ? ProductType::bf16
                    : dtype == DType::f16 ? ProductType::f16
                                          : ProductType::f32,
            .m = kSize,
            .n = kSize,
            .k = kSize,
            .lda = kSize,
            .ldb = kSize,
            .ldc = kSize};
  const auto bytes = static_cast<int64_t>(size_of(dtype)) * kSize * kSize;
  // Random numbers: products of zeros take less power, and are faster.
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  uint64_t state = 1;
  for (int64_t i = 0; i < kSize * kSize; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const float x = static_cast<float>(state >> 40) / 8388608.0f - 1.0f;
    if (dtype == DType::f32)
      floats.push_back(x);
    else
      halves.push_back(dtype == DType::bf16 ? to_bf16(x) : to_f16(x));
  }
  const void* numbers =
      dtype == DType::f32 ? static_cast<const void*>(floats.data()) : halves.data();
  uint64_t memory[4] = {}, events[2] = {};  // a, b, c, workspace
  double best = 0;
  Status status;
  const auto keep = [&](const Status& s) {
    if (status.empty()) status = s;
    return status.empty();
  };
  ProductPlan plan;
  keep(device.plan_product(p, plan));
  for (int i = 0; i < 4 && status.empty(); ++i)
    keep(device.allocate(i < 3 ? bytes : std::max<int64_t>(plan.workspace_bytes, 1), memory[i]));
  for (int i = 0; i < 2 && status.empty(); ++i) keep(device.to_device(memory[i], numbers, bytes));
  for (uint64_t& e : events)
    if (status.empty()) keep(device.create_event(e));
  double spent = 0;
  while (status.empty() && spent < seconds) {
    float ms = 0;
    if (keep(device.record_event(events[0])) &&
        keep(device.run_product(p, plan,
                                {.a = memory[0], .b = memory[1], .c = memory[2], .workspace = memory[3]})) &&
        keep(device.record_event(events[1])) &&
        keep(device.milliseconds(events[0], events[1], ms)) && ms > 0) {
      best = std::max(best, 2.0 * kSize * kSize * kSize / (static_cast<double>(ms) * 1e-3));
      spent += static_cast<double>(ms) * 1e-3;
    } else {
      break;
    }
  }
  for (uint64_t e : events)
    if (e) device.release_event(e);
  for (uint64_t m : memory)
    if (m) device.release(m);
  raise(status);
  return best;
}

double measure_copy_bandwidth(Device& device, int runs) {
  int64_t free = 0, total = 0;
  raise(device.memory(free, total));
  const int64_t bytes = std::min(16 * device.info().l2_bytes, free / 4) / 256 * 256;
  uint64_t memory[2] = {}, events[2] = {};
  std::vector<double> seconds;
  Status status;
  const auto keep = [&](const Status& s) {
    if (status.empty()) status = s;
    return status.empty();
  };
  for (uint64_t& m : memory)
    if (status.empty()) keep(device.allocate(bytes, m));
  if (status.empty()) keep(device.fill(memory[0], 0x5a, bytes));
  for (uint64_t& e : events)
    if (status.empty()) keep(device.create_event(e));
  for (int i = 0; i < runs + 1 && status.empty(); ++i) {
    float ms = 0;
    if (keep(device.record_event(events[0])) && keep(device.copy(memory[1], memory[0], bytes)) &&
        keep(device.record_event(events[1])) && keep(device.milliseconds(events[0], events[1], ms)) &&
        i > 0)  // the first one touches fresh memory
      seconds.push_back(std::max(static_cast<double>(ms), 1e-6) * 1e-3);
  }
  for (uint64_t e : events)
    if (e) device.release_event(e);
  for (uint64_t m : memory)
    if (m) device.release(m);
  raise(status);
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return 2.0 * static_cast<double>(bytes) / seconds[static_cast<size_t>(runs) / 2];
}

}  // namespace corten::cuda
