// The text of the kernels of some ops, stored in corpus.cu: a change of the emitter shows what it
// changes. Written anew by tests/gpu/make_corpus.sh; binaries and kernel names are known by
// kGpuEmitterVersion, which is raised with it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "corten/corten.h"
#include "corten/optim.h"
#include "cuda/step_kernels.h"
#include "passes/pipeline.h"
#include "runtime/inspect.h"
#include "runtime/null_device.h"

namespace corten::cuda::test {
namespace {

Tensor of(Shape shape, DType dtype, bool gradient = false) {
  Tensor t = zeros(std::move(shape), dtype);
  if (gradient) t.set_requires_grad();
  return t;
}

std::string texts(const std::string& name,
                  const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& arguments,
                  passes::Families families = passes::Families::gpu) {
  CompiledFunction compiled = compile(function);
  compiled.plan(arguments);
  const ir::Graph graph = passes::run_pipeline(*runtime::inspect(compiled).recorded, {}, nullptr,
                                               families);
  const kernel::Partition partition = kernel::partition(graph, true);
  std::string out = "// ---- " + name + "\n";
  for (const codegen::gpu::KernelText& k : step_kernels(partition, true).texts)
    out += "\n" + k.text;
  return out + "\n";
}

std::string corpus() {
  const runtime::NullDeviceScope no_values;
  const DType f32 = DType::f32, bf16 = DType::bf16;
  std::string out;
  using Args = const std::vector<Tensor>&;
  const auto gradient = [](const Tensor& loss, std::vector<Tensor> of) {
    sum(loss).backward();
    std::vector<Tensor> out;
    for (const Tensor& t : of) out.push_back(t.grad());
    return out;
  };
  out += texts("gelu, bf16 vectors", [](Args in) { return std::vector<Tensor>{gelu(in[0])}; },
               {of({64, 3072}, bf16)});
  out += texts("add, odd rows", [](Args in) { return std::vector<Tensor>{in[0] + in[1]}; },
               {of({64, 37}, f32), of({37}, f32)});
  out +=
      texts("transpose", [](Args in) { return std::vector<Tensor>{in[0].transpose(0, 1) * 2.0}; },
            {of({64, 96}, f32)});
  out +=
      texts("softmax, short rows", [](Args in) { return std::vector<Tensor>{softmax(in[0], -1)}; },
            {of({64, 16}, f32)});
  out +=
      texts("softmax, rows in registers",
            [](Args in) { return std::vector<Tensor>{softmax(in[0], -1)}; }, {of({64, 768}, bf16)});
  out +=
      texts("softmax, rows of a block",
            [](Args in) { return std::vector<Tensor>{softmax(in[0], -1)}; }, {of({64, 4096}, f32)});
  out +=
      texts("softmax, long rows", [](Args in) { return std::vector<Tensor>{softmax(in[0], -1)}; },
            {of({64, 50257}, f32)});
  out += texts("layer norm and its gradient",
               [&](Args in) {
                 Tensor x = in[0].detach(), w = in[1].detach(), b = in[2].detach();
                 for (Tensor* t : {&x, &w, &b}) t->set_requires_grad();
                 return gradient(layer_norm(x, w, b) * in[3], {x, w, b});
               },
               {of({4096, 768}, f32), of({768}, f32), of({768}, f32), of({4096, 768}, f32)});
  out += texts("embedding and its gradient",
               [&](Args in) {
                 Tensor w = in[1].detach();
                 w.set_requires_grad();
                 return gradient(embedding(in[0], w) * in[2], {w});
               },
               {of({4, 100}, DType::i64), of({500, 768}, f32), of({4, 100, 768}, f32)});
  out += texts("gather along rows",
               [](Args in) { return std::vector<Tensor>{gather(in[0], 1, in[1])}; },
               {of({64, 100}, f32), of({64, 7}, DType::i64)});
  out += texts("scatter along rows",
               [](Args in) { return std::vector<Tensor>{scatter_add(in[0], 1, in[1], in[2])}; },
               {of({64, 100}, f32), of({64, 7}, DType::i64), of({64, 7}, f32)});
  out += texts("padding",
               [](Args in) {
                 return std::vector<Tensor>{pad(in[0], {0, 3}, {0, 5})};
               },
               {of({64, 100}, bf16)});
  out += texts("columns", [](Args in) { return std::vector<Tensor>{sum(in[0], {0})}; },
               {of({5000, 768}, bf16)});
  out += texts("8-bit operands of a layer's products",
               [&](Args in) {
                 Tensor x = in[0].detach(), w = in[1].detach();
                 for (Tensor* t : {&x, &w}) t->set_requires_grad();
                 return gradient(gelu(float8_linear(x, w)), {x, w});
               },
               {of({4096, 768}, bf16), of({3072, 768}, f32)}, passes::Families::gpu_float8);
  // Parameters of different sizes, one launch.
  std::vector<Tensor> parameters{of({768, 768}, f32, true), of({768}, f32, true),
                                 of({300, 768}, f32, true)};
  optim::AdamW optimizer(parameters, {});
  out += texts("AdamW",
               [&](Args in) {
                 for (size_t i = 0; i < parameters.size(); ++i) parameters[i].set_grad(in[i]);
                 optimizer.step();
                 return std::vector<Tensor>{};
               },
               {of({768, 768}, f32), of({768}, f32), of({300, 768}, f32)});
  return out;
}

TEST(Corpus, IsAsStored) {
  const std::string path = join_path(CORTEN_TEST_DATA, "corpus.cu"), now = corpus();
  if (std::getenv("CORTEN_WRITE_GOLDENS")) write_file_atomic(path, now);
  const std::string stored = read_file(path);
  if (stored == now) return;
  size_t at = 0;
  while (at < std::min(stored.size(), now.size()) && stored[at] == now[at]) ++at;
  const size_t begin = stored.rfind("// ---- ", at);
  FAIL() << "the emitter gives other text; see the difference that tests/gpu/make_corpus.sh makes. "
            "First in "
         << stored.substr(begin, stored.find('\n', begin) - begin) << ":\n"
         << now.substr(at > 200 ? at - 200 : 0, 400);
}

}  // namespace
}  // namespace corten::cuda::test
