// Scatters of programs: which coordinates threads have of their own, and with which bits.
#include <gtest/gtest.h>

#include "corten/conv.h"
#include "gpu/cpu_device.h"
#include "gpu/mirror.h"
#include "gpu/samples.h"
#include "runtime/inspect.h"

namespace corten::cuda::test {
namespace {

// The first lines of the kernels that scatter.
std::vector<std::string> scatters(const Function& function, const std::vector<Tensor>& arguments) {
  CompiledFunction compiled = compile(function);
  compiled.plan(arguments);
  const auto plan = plan_for_device(*runtime::inspect(compiled).recorded, true);
  std::vector<std::string> out;
  for (const codegen::gpu::KernelText& t : plan->texts()) {
    const std::string first = t.text.substr(0, t.text.find('\n'));
    if (first.starts_with("// walk") || first.starts_with("// scatter")) out.push_back(first);
  }
  return out;
}

void check(const Function& function, const std::vector<Tensor>& arguments,
           const std::vector<std::string>& schedules) {
  EXPECT_EQ(scatters(function, arguments), schedules);
  CpuDevice device;
  device.tracked = true;
  Comparison c;
  try {
    c = compare_with_cpu(
        function, [&](int) { return arguments; }, 2, device, device.modules());
  } catch (const Error&) {
    if (device.missing.empty()) throw;
    GTEST_SKIP() << device.missing;
  }
  EXPECT_TRUE(c.same_bits) << c.where;
}

// Indices meet often; what adds to a place does so in order.
TEST(Scatters, AlongEveryAxis) {
  const auto along = [](int64_t axis) {
    return [axis](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{scatter_add(in[0], axis, in[1], in[2])};
    };
  };
  const std::vector<Tensor> in{numbers({4, 5, 70}, 1), tokens({4, 5, 70}, 2, 4),
                               numbers({4, 5, 70}, 3)};
  // A thread has coordinates of the outer point (bits 0 and 1), columns (bit 6) or both.
  check(along(0), in, {"// walk, 64 threads, own 0x42"});
  check(along(1), in, {"// walk, 64 threads, own 0x41"});
  check(along(2), in, {"// walk, 64 threads, own 0x1"});
}

Tensor gradient(const Tensor& x, const std::function<Tensor(const Tensor&)>& f) {
  Tensor leaf = x.detach();
  leaf.set_requires_grad();
  const Tensor y = f(leaf);
  sum(y * y).backward();
  return leaf.grad();
}

// Planes of images are apart: a thread for each, or for each of their columns.
TEST(Scatters, GradientsOfPooling) {
  check(
      [](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{gradient(
            in[0], [](const Tensor& x) { return max_pool2d(x, 3, {.stride = 2, .padding = 1}); })};
      },
      {numbers({3, 4, 9, 8}, 1)}, {"// walk, 64 threads, own 0x1"});
  check(
      [](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{gradient(in[0], [](const Tensor& x) {
          return avg_pool2d(x, {3, 2}, {.stride = 2, .padding = 1});
        })};
      },
      {numbers({3, 4, 9, 8}, 1)},
      {"// walk, 64 threads, own 0x1", "// walk, 64 threads, own 0x41"});
}

// Rows of a table have no coordinate but the index and the column.
TEST(Scatters, GradientsOfTables) {
  check(
      [](const std::vector<Tensor>& in) {
        return std::vector<Tensor>{
            gradient(in[0], [&](const Tensor& w) { return embedding(in[1], w); })};
      },
      {numbers({11, 24}, 1), tokens({40}, 2, 11)}, {"// scatter, 256 threads"});
}

}  // namespace
}  // namespace corten::cuda::test
