// Random programs on a device that is this CPU: the reference interpreter's bits, no two threads at
// one place.
//
// CORTEN_FUZZ_GRAPHS=n runs n programs (default 25); CORTEN_FUZZ_SEED=s starts at that one.
#include <gtest/gtest.h>

#include "base/env.h"
#include "base/format.h"
#include "gpu/cpu_device.h"
#include "passes/random_graph.h"

namespace corten::cuda::test {
namespace {

using corten::testing::RandomGraph;
using Bytes = std::vector<std::vector<std::byte>>;

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

Bytes run_on_device(const RandomGraph& p, CpuDevice& device, DeviceProgramInfo& info, int times) {
  DeviceProgram program(p.graph, device, device.modules());
  info = program.info();
  std::vector<uint64_t> inputs, outputs;
  const auto reserve = [&](size_t bytes) {
    uint64_t address = 0;
    raise(device.allocate(std::max<int64_t>(static_cast<int64_t>(bytes), 1), address));
    return address;
  };
  for (const auto& bytes : p.inputs) inputs.push_back(reserve(bytes.size()));
  for (size_t k = 0; k < program.outputs().size(); ++k)
    outputs.push_back(program.outputs()[k].alias < 0
                          ? reserve(static_cast<size_t>(program.output_types()[k].bytes()))
                          : 0);
  // Again from the same inputs, as a captured graph.
  for (int i = 0; i < times; ++i) {
    for (size_t k = 0; k < inputs.size(); ++k)
      if (!p.inputs[k].empty())
        raise(device.to_device(inputs[k], p.inputs[k].data(),
                               static_cast<int64_t>(p.inputs[k].size())));
    program.run(inputs, outputs);
  }
  program.check();
  Bytes out;
  for (size_t k = 0; k < program.outputs().size(); ++k) {
    const ir::Output& o = program.outputs()[k];
    std::vector<std::byte>& bytes =
        out.emplace_back(static_cast<size_t>(program.output_types()[k].bytes()));
    if (!bytes.empty())
      raise(device.to_host(bytes.data(),
                           o.alias < 0 ? outputs[k] : inputs[static_cast<size_t>(o.alias)],
                           static_cast<int64_t>(bytes.size())));
  }
  for (uint64_t a : inputs) device.release(a);
  for (uint64_t a : outputs)
    if (a) device.release(a);
  return out;
}

TEST(ProgramFuzz, HasTheReferencesBits) {
  const int64_t count = env_int("CORTEN_FUZZ_GRAPHS", 25), first = env_int("CORTEN_FUZZ_SEED", 1);
  int64_t compared = 0, grouped = 0, in_place = 0;
  for (int64_t seed = first; compared < count && seed < first + 20 * count; ++seed) {
    const RandomGraph p = corten::testing::random_graph(static_cast<uint64_t>(seed), 20);
    if (!p.exact_reference) continue;  // products in bf16 are in the device's order
    CpuDevice device;
    device.tracked = true;
    DeviceProgramInfo info;
    std::string why;
    try {
      const Bytes got = run_on_device(p, device, info, seed % 2 ? 1 : 3);
      if (!corten::testing::same_bits(p.graph, run_reference(p), got, why))
        ADD_FAILURE() << "seed " << seed << ": " << why << "\n" << to_string(p.graph);
      EXPECT_EQ(device.allocated_bytes(), 0) << "seed " << seed;
    } catch (const Error& e) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      // Operations of kernel families that are the CPU's alone so far.
      if (std::string(e.what()).find("on the GPU") != std::string::npos ||
          std::string(e.what()).find("for the GPU") != std::string::npos)
        continue;
      ADD_FAILURE() << "seed " << seed << ": " << e.what();
    }
    ++compared;
    grouped += info.groups < info.launches;
    for (const ir::Output& o : p.graph.outputs()) in_place += o.alias >= 0 && info.copies.empty();
  }
  EXPECT_EQ(compared, count);
  if (count >= 25) {
    EXPECT_GT(grouped, 0);
    EXPECT_GT(in_place, 0);
  }
}

}  // namespace
}  // namespace corten::cuda::test
