#include "gpu/run_step.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/half.h"
#include "codegen/gpu/arguments.h"
#include "kernel/interpret.h"
#include "kernel_problem.h"

namespace corten::cuda::test {

using codegen::gpu::KernelText;
using codegen::test::Problem;

namespace {

// What a launch may cost the interpreter; extents that the text does not depend on are cut down to
// it.
constexpr int64_t kMaxPoints = 16384;

void shrink(const ir::Kernel& kernel, const codegen::gpu::Schedule& schedule, ir::Launch& launch) {
  const auto points = [&] {
    int64_t n = std::max<int64_t>(launch.inner, 1);
    for (int d = 0; d < kernel.outer_rank; ++d) n *= launch.outer[d];
    return n;
  };
  const bool columns = kernel.form == ir::KernelForm::columns;
  const bool rows = schedule.shape == codegen::gpu::Shape::rows;
  // Rows stay whole; of columns, and of points, some are enough.
  if (!rows && launch.inner > 512) launch.inner = 512;
  for (int d = 0; d < kernel.outer_rank && points() > kMaxPoints; ++d) {
    if (columns && d == kernel.outer_rank - 1) continue;
    const int64_t others = points() / std::max<int64_t>(launch.outer[d], 1);
    launch.outer[d] =
        std::max<int64_t>(1, std::min(launch.outer[d], kMaxPoints / std::max<int64_t>(others, 1)));
  }
  if (columns && launch.chunks > 1) {  // several chunks, the last one not whole
    int64_t& reduced = launch.outer[kernel.outer_rank - 1];
    int32_t chunk = 0;
    for (const ir::ScalarNode& n : kernel.body.nodes())
      if (n.op == ir::ScalarOp::reduce_sum) chunk = ir::Body::tree(n).chunk;
    if (chunk > 0) {
      reduced = std::min<int64_t>(reduced, 2 * chunk + 5);
      launch.chunks = (reduced + chunk - 1) / chunk;
    }
  }
  for (ir::Launch::Access& a : launch.accesses)
    a.index_bound = std::min<int64_t>(a.index_bound, 40);
}

Problem make_problem(const ir::Kernel& kernel, const codegen::gpu::Schedule& schedule,
                     ir::Launch launch, std::mt19937_64& random) {
  shrink(kernel, schedule, launch);
  Problem p{kernel, launch, {}};
  std::vector<int64_t> elements(kernel.operands.size(), 1);
  int64_t bound = 40;
  for (size_t i = 0; i < kernel.accesses.size(); ++i) {
    const ir::Access& a = kernel.accesses[i];
    const ir::Launch::Access& at = launch.accesses[i];
    if (a.index >= 0) bound = std::min(bound, at.index_bound);
    if (a.operand < 0) continue;
    int64_t last = std::max<int64_t>(at.offset, 0);
    for (int d = 0; d < kernel.outer_rank; ++d)
      last += std::max<int64_t>(0, at.strides[d] * (launch.outer[d] - 1));
    last += std::max<int64_t>(0, (a.inner == ir::InnerStride::zero  ? 0
                                  : a.inner == ir::InnerStride::one ? 1
                                                                    : at.inner_stride) *
                                     (launch.inner - 1));
    if (a.index >= 0) last += at.index_stride * (at.index_bound - 1);
    elements[static_cast<size_t>(a.operand)] =
        std::max(elements[static_cast<size_t>(a.operand)], last + 1);
  }
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const DType dtype = kernel.operands[i].dtype;
    std::string bytes(static_cast<size_t>(elements[i]) * size_of(dtype), '\0');
    for (int64_t k = 0; k < elements[i]; ++k) {
      char* to = bytes.data() + static_cast<size_t>(k) * size_of(dtype);
      // Mostly positive: roots of variances are numbers.
      const double x =
          (0.05 + static_cast<double>(random() % 4096) / 1024) * (random() % 16 ? 1 : -1);
      const auto f = static_cast<float>(x);
      const auto whole =
          static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(bound, 1)));
      switch (dtype) {
        case DType::f32:
          std::memcpy(to, &f, 4);
          break;
        case DType::f64:
          std::memcpy(to, &x, 8);
          break;
        case DType::bf16:
        case DType::f16: {
          const uint16_t h = dtype == DType::bf16 ? to_bf16(f) : to_f16(f);
          std::memcpy(to, &h, 2);
          break;
        }
        case DType::boolean:
          *to = static_cast<char>(random() % 2);
          break;
        default:
          std::memcpy(to, &whole, size_of(dtype));
      }
    }
    p.operands.push_back(std::move(bytes));
  }
  return p;
}

}  // namespace

std::string run_step(Runner& runner, const StepKernels& kernels, const GpuStep& step,
                     uint64_t seed) {
  const KernelText& text = kernels.texts[static_cast<size_t>(step.text)];
  std::mt19937_64 random(seed);
  const size_t count = std::min<size_t>(step.launches.size(), 3);
  std::vector<Problem> problems;
  std::vector<std::vector<std::string>> want;
  std::vector<std::vector<uint64_t>> addresses;
  std::vector<int64_t> words, begins{0};
  runner.clear();
  const uint64_t fault = runner.put(std::string(sizeof(ir::KernelFault), '\0'));
  for (size_t i = 0; i < count; ++i) {
    // The first, one in the middle and the last.
    const GpuLaunch& l =
        step.launches[count == 1 ? 0 : i * (step.launches.size() - 1) / (count - 1)];
    problems.push_back(make_problem(kernels.kernels[static_cast<size_t>(l.kernel)].kernel,
                                    step.schedule, l.launch, random));
    const Problem& p = problems.back();
    std::vector<uint64_t>& own = addresses.emplace_back();
    for (const std::string& bytes : p.operands) own.push_back(runner.put(bytes));
    codegen::gpu::pack_arguments(p.kernel, p.launch, own, fault, words);
    begins.push_back(begins.back() + codegen::gpu::block_count(p.kernel, p.launch, step.schedule));
    Problem copy = p;
    std::vector<void*> pointers;
    for (std::string& bytes : copy.operands) pointers.push_back(bytes.data());
    interpret(copy.kernel, copy.launch, pointers.data(), ir::Precision::exact, nullptr);
    want.push_back(std::move(copy.operands));
  }
  const int64_t blocks = begins.back();
  if (text.grouped) words.insert(words.begin(), begins.begin(), begins.end());
  if (std::string error = runner.run(text, words, static_cast<int>(count), blocks, seed);
      !error.empty())
    return error;
  ir::KernelFault found;
  std::memcpy(&found, runner.get(fault, sizeof found).data(), sizeof found);
  if (found.flagged) return format("index {} of access {} is reported", found.value, found.access);
  for (size_t i = 0; i < count; ++i) {
    std::vector<std::string> got;
    for (size_t k = 0; k < problems[i].operands.size(); ++k)
      got.push_back(runner.get(addresses[i][k], problems[i].operands[k].size()));
    if (std::string text = codegen::test::difference(problems[i].kernel, want[i], got);
        !text.empty())
      return format("launch {}: {}", i, text);
  }
  return "";
}

std::string run_texts(Runner& runner, const StepKernels& kernels) {
  std::string out;
  std::vector<char> seen(kernels.texts.size(), 0);
  for (const GpuStep& step : kernels.steps) {
    if (step.library >= 0 || seen[static_cast<size_t>(step.text)]++) continue;
    if (std::string found = run_step(runner, kernels, step, static_cast<uint64_t>(step.text));
        !found.empty())
      out += found + "\n" + kernels.texts[static_cast<size_t>(step.text)].text;
  }
  if (std::count(seen.begin(), seen.end(), 0) > 0) out += "texts that no step uses";
  return out;
}

}  // namespace corten::cuda::test
