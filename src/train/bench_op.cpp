// corten bench op: one op, compiled, on random operands.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>

#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "corten/compile.h"
#include "corten/ops.h"
#include "corten/random.h"
#include "gemm/peak.h"
#include "train/bandwidth.h"
#include "train/bench.h"

namespace corten {
namespace {

using Clock = std::chrono::steady_clock;
using Operands = std::vector<Tensor>;

struct BenchedOp {
  const char* name;
  size_t operands;  ///< shapes to be given
  Tensor (*apply)(const Operands&);
};

/// Weight and bias of a norm over the last axis of x.
Tensor ones_of(const Tensor& x) {
  return ones({x.size(-1)}, x.dtype());
}

/// The gradient of an op's first operand, from the gradient of its result: the second operand.
template <typename F>
Tensor gradient_of(const Operands& x, F&& op) {
  Tensor leaf = x[0].detach().set_requires_grad();
  op(leaf).backward(x[1]);
  return leaf.grad();
}

const BenchedOp kOps[] = {
    {"add", 2, [](const Operands& x) { return x[0] + x[1]; }},
    {"sub", 2, [](const Operands& x) { return x[0] - x[1]; }},
    {"mul", 2, [](const Operands& x) { return x[0] * x[1]; }},
    {"div", 2, [](const Operands& x) { return x[0] / x[1]; }},
    {"maximum", 2, [](const Operands& x) { return maximum(x[0], x[1]); }},
    {"exp", 1, [](const Operands& x) { return exp(x[0]); }},
    {"log", 1, [](const Operands& x) { return log(abs(x[0])); }},
    {"tanh", 1, [](const Operands& x) { return tanh(x[0]); }},
    {"erf", 1, [](const Operands& x) { return erf(x[0]); }},
    {"sin", 1, [](const Operands& x) { return sin(x[0]); }},
    {"cos", 1, [](const Operands& x) { return cos(x[0]); }},
    {"sqrt", 1, [](const Operands& x) { return sqrt(abs(x[0])); }},
    {"relu", 1, [](const Operands& x) { return relu(x[0]); }},
    {"gelu", 1, [](const Operands& x) { return gelu(x[0]); }},
    {"gelu_tanh", 1, [](const Operands& x) { return gelu(x[0], true); }},
    {"silu", 1, [](const Operands& x) { return silu(x[0]); }},
    {"sigmoid", 1, [](const Operands& x) { return sigmoid(x[0]); }},
    {"softmax", 1, [](const Operands& x) { return softmax(x[0], -1); }},
    {"log_softmax", 1, [](const Operands& x) { return log_softmax(x[0], -1); }},
    {"logsumexp", 1, [](const Operands& x) { return logsumexp(x[0], -1); }},
    {"sum", 1, [](const Operands& x) { return sum(x[0], {-1}); }},
    {"mean", 1, [](const Operands& x) { return mean(x[0], {-1}); }},
    {"max", 1, [](const Operands& x) { return amax(x[0], {-1}); }},
    {"argmax", 1, [](const Operands& x) { return argmax(x[0], -1); }},
    {"layer_norm", 1,
     [](const Operands& x) { return layer_norm(x[0], ones_of(x[0]), ones_of(x[0])); }},
    {"rms_norm", 1, [](const Operands& x) { return rms_norm(x[0], ones_of(x[0])); }},
    {"gelu_grad", 2,
     [](const Operands& x) { return gradient_of(x, [](const Tensor& t) { return gelu(t); }); }},
    {"gelu_tanh_grad", 2,
     [](const Operands& x) { return gradient_of(x, [](const Tensor& t) { return gelu(t, true); }); }},
    {"softmax_grad", 2,
     [](const Operands& x) { return gradient_of(x, [](const Tensor& t) { return softmax(t, -1); }); }},
    {"layer_norm_grad", 2,
     [](const Operands& x) {
       return gradient_of(x, [](const Tensor& t) { return layer_norm(t, ones_of(t), ones_of(t)); });
     }},
    {"dropout", 1, [](const Operands& x) { return dropout(x[0], 0.1); }},
    {"transpose", 1, [](const Operands& x) { return x[0].t().clone(); }},
    {"matmul", 2, [](const Operands& x) { return matmul(x[0], x[1]); }},
    {"linear", 2, [](const Operands& x) { return linear(x[0], x[1]); }},
    {"scaled_dot_product_attention", 3,
     [](const Operands& x) {
       return scaled_dot_product_attention(x[0], x[1], x[2], {}, {.causal = true});
     }},
};

const BenchedOp& find_benched_op(const std::string& name) {
  std::vector<std::string> names;
  for (const BenchedOp& op : kOps) {
    if (op.name == name) return op;
    names.emplace_back(op.name);
  }
  usage_error("unknown op \"{}\"{} (known: {})", name, did_you_mean(name, names),
              fmt::join(names, ", "));
}

/// "4x8" -> {4, 8}.
Shape parse_shape(const std::string& text) {
  Shape shape;
  for (const std::string& part : split(text, 'x')) {
    int64_t size = 0;
    auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (part.empty() || error != std::errc() || stop != part.data() + part.size() || size < 0)
      usage_error("\"{}\" is no shape; expected sizes such as 1024x768", text);
    shape.push_back(size);
  }
  return shape;
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double tensor_bytes(const Tensor& tensor) {
  return static_cast<double>(tensor.numel()) * static_cast<double>(size_of(tensor.dtype()));
}

}  // namespace

BenchOpResult bench_op(const BenchOpOptions& options) {
  if (options.device != "cpu")
    usage_error("measurements need device \"cpu\", not \"{}\"", options.device);
  ThreadPool& pool = default_thread_pool();
  pool.set_num_threads(static_cast<int>(options.threads));
  const BenchedOp& op = find_benched_op(options.op);
  if (options.shapes.size() != op.operands && options.shapes.size() != 1)
    usage_error("{} takes {} operands, {} shapes are given", op.name, op.operands,
                options.shapes.size());
  manual_seed(options.seed);
  Operands operands;
  for (size_t i = 0; i < op.operands; ++i)
    operands.push_back(
        randn(parse_shape(options.shapes[options.shapes.size() == 1 ? 0 : i])).to(options.dtype));

  CompiledFunction function = compile([&](const Operands& in) { return Operands{op.apply(in)}; });
  Tensor result;
  for (int i = 0; i < 3; ++i) result = function(operands)[0];
  double bytes = tensor_bytes(result);
  for (const Tensor& operand : operands) bytes += tensor_bytes(operand);
  // Copies in between: a shared machine slows both down, and their ratio stays.
  CopyBandwidth copy(pool);
  copy.measure();
  BenchOpResult r;
  std::vector<double> times, fractions;
  const Clock::time_point start = Clock::now();
  constexpr size_t kFewest = 7;
  constexpr double kSeconds = 0.7;
  while (times.size() < kFewest ||
         std::chrono::duration<double>(Clock::now() - start).count() < kSeconds) {
    const Clock::time_point begin = Clock::now();
    result = function(operands)[0];
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    const double rate = copy.measure();
    r.copy_gbytes_per_s = std::max(r.copy_gbytes_per_s, rate * 1e-9);
    fractions.push_back(bytes / (times.back() * 1e-3) / rate);
  }

  r.ms_min = *std::min_element(times.begin(), times.end());
  r.ms_median = median(times);
  r.bandwidth_fraction = median(fractions);
  const double flops = function.info().flops;
  const double seconds = r.ms_median * 1e-3;
  r.gbytes_per_s = bytes / seconds * 1e-9;
  r.gflops_per_s = flops / seconds * 1e-9;
  r.floor_ms = 1e3 * bytes / measure_read_bandwidth(pool);
  if (flops > 0)
    r.floor_ms = std::max(r.floor_ms,
                          1e3 * flops / measure_peak_flops(options.dtype, pool.num_threads(), 1.0));
  return r;
}

}  // namespace corten
