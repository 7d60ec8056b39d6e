// Kernels on this CPU, with memory that ends where an operand does.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gpu/host_gpu.h"
#include "gpu/run_step.h"

namespace corten::cuda::test {

/// All accesses to memory are tracked.
class CpuRunner final : public Runner {
 public:
  explicit CpuRunner(const codegen::test::HostModule& module) : module_(module) {}
  uint64_t put(const std::string& bytes) override {
    // Next to nothing else: what lies behind an operand is nobody's.
    memory_.emplace_back(std::make_unique<char[]>(bytes.size() + 32));
    const uint64_t at = (reinterpret_cast<uint64_t>(memory_.back().get()) + 15) / 16 * 16;
    std::memcpy(reinterpret_cast<void*>(at), bytes.data(), bytes.size());
    ranges_.push_back({reinterpret_cast<const void*>(at), static_cast<int64_t>(bytes.size())});
    return at;
  }
  std::string get(uint64_t address, size_t bytes) override {
    return {reinterpret_cast<const char*>(address), bytes};
  }
  void clear() override {
    memory_.clear();
    ranges_.clear();
  }
  std::string run(const codegen::gpu::KernelText& text, const std::vector<int64_t>& words,
                  int launches, int64_t blocks, uint64_t seed) override {
    return text.grouped
               ? module_.run_group(text, words.data(), launches, blocks, ranges_, true, seed)
               : module_.run(text, words.data(), blocks, ranges_, true, seed);
  }

 private:
  const codegen::test::HostModule& module_;
  std::vector<std::unique_ptr<char[]>> memory_;
  std::vector<codegen::test::HostModule::Range> ranges_;
};

}  // namespace corten::cuda::test
