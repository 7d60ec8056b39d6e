#include "gpu/cpu_device.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/format.h"
#include "base/float8.h"
#include "base/thread_pool.h"
#include "convolution/convolution.h"

namespace corten::cuda::test {

using codegen::gpu::KernelText;
using codegen::test::HostModule;

namespace {

template <typename T>
T* at(uint64_t address) {
  return reinterpret_cast<T*>(address);
}

int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

double element(ProductType type, uint64_t base, int64_t i) {
  switch (type) {
    case ProductType::bf16:
      return from_bf16(at<uint16_t>(base)[i]);
    case ProductType::f16:
      return from_f16(at<uint16_t>(base)[i]);
    case ProductType::f64:
      return at<double>(base)[i];
    case ProductType::e4m3:
      return from_e4m3(at<uint8_t>(base)[i]);
    case ProductType::e5m2:
      return from_e5m2(at<uint8_t>(base)[i]);
    default:
      return at<float>(base)[i];
  }
}

}  // namespace

CpuDevice::CpuDevice()
    : context_([] {
        static std::atomic<uint64_t> made = 0;
        return ++made;
      }()) {}

CpuDevice::~CpuDevice() {
  for (auto& [address, bytes] : memory_) std::free(at<void>(address));
}

MakeModules CpuDevice::modules() {
  return [this](std::span<const KernelText> kernels) {
    texts_.emplace_back(kernels.begin(), kernels.end());
    modules_.push_back(batched ? nullptr : HostModule::compile(texts_.back(), missing));
    return std::vector<std::string>{std::to_string(modules_.size() - 1)};
  };
}

Status CpuDevice::compile_pending() {
  std::vector<KernelText> pending;
  for (size_t m = 0; m < modules_.size(); ++m)
    if (!modules_[m]) pending.insert(pending.end(), texts_[m].begin(), texts_[m].end());
  const std::shared_ptr<HostModule> compiled = HostModule::compile(pending, missing, false);
  for (auto& m : modules_)
    if (!m) m = compiled;
  return compiled ? "" : missing;
}

Status CpuDevice::allocate(int64_t bytes, uint64_t& address) {
  if (allocated_bytes() + bytes > memory_bytes) return "the device is out of memory";
  void* p = std::aligned_alloc(256, static_cast<size_t>((bytes + 511) / 256 * 256));
  std::memset(p, 0xff, static_cast<size_t>(bytes));  // NaN
  address = reinterpret_cast<uint64_t>(p);
  memory_[address] = bytes;
  return "";
}
Status CpuDevice::release(uint64_t address) {
  if (Status s = synchronize(); !s.empty()) return s;
  if (!memory_.erase(address)) return "released what was not allocated";
  std::free(at<void>(address));
  return "";
}
Status CpuDevice::memory(int64_t& free, int64_t& total) {
  total = memory_bytes;
  free = total - allocated_bytes();
  return "";
}
Status CpuDevice::number(uint64_t handle, uint64_t count, const char* what, uint64_t& out) const {
  out = handle & 0xffffffff;
  if (handle >> 32 != context_) return format("{} of another device", what);
  return out == 0 || out > count ? format("no {}", what) : "";
}
Status CpuDevice::within(uint64_t address, int64_t bytes, const char* what) const {
  if (bytes <= 0) return "";
  auto block = memory_.upper_bound(address);
  if (block == memory_.begin()) return format("{}: no memory of this device", what);
  --block;
  const auto behind = static_cast<int64_t>(address - block->first) + bytes;
  return behind <= block->second ? "" : format("{}: no memory of this device", what);
}
Status CpuDevice::refuses() {
  if (!capturing_ || ++captured_ != fails_in_capture) return "";
  return broken_ = "operation not permitted when stream is capturing";
}

int64_t CpuDevice::allocated_bytes() const {
  int64_t bytes = 0;
  for (auto& [address, b] : memory_) bytes += b;
  return bytes;
}
Status CpuDevice::allocate_host(int64_t bytes, void*& address) {
  address = std::malloc(static_cast<size_t>(bytes));
  return "";
}
Status CpuDevice::release_host(void* address) {
  std::free(address);
  return "";
}

Status CpuDevice::work(std::string name, Work what) {
  if (Status s = refuses(); !s.empty()) return s;
  return later([this, name = std::move(name), what = std::move(what)]() -> Status {
    const int64_t start = now_ns();
    Status s = what();
    if (tracing_) traced_.push_back({name, start, now_ns()});
    return s;
  });
}
Status CpuDevice::later(Work what) {
  if (!capturing_) return ask(queue_, std::move(what));
  graphs_.back().push_back(std::move(what));
  return "";
}
Status CpuDevice::ask(Queue& queue, Work what) {
  if (!lazy) return what();
  queue.push_back(std::move(what));
  return "";
}
// Does the work of a queue, up to an event.
Status CpuDevice::drain(Queue& queue, const bool* until) {
  Status status;
  while (!queue.empty() && !(until && *until)) {
    const Work what = std::move(queue.front());
    queue.pop_front();
    if (Status s = what(); status.empty()) status = s;
  }
  return status;
}
Status CpuDevice::reach(uint64_t event) {
  Event& e = events_.at(event);
  return e.done ? "" : drain(*e.queue, &e.done);
}

Status CpuDevice::to_device(uint64_t to, const void* from, int64_t bytes) {
  if (capturing_) return broken_ = "a copy from the host in a captured graph";
  if (Status s = within(to, bytes, "copy from the host"); !s.empty()) return s;
  return later([=]() -> Status {
    std::memcpy(at<void>(to), from, static_cast<size_t>(bytes));
    return "";
  });
}
Status CpuDevice::to_host(void* to, uint64_t from, int64_t bytes) {
  if (capturing_) return broken_ = "a copy to the host in a captured graph";
  if (Status s = within(from, bytes, "copy to the host"); !s.empty()) return s;
  return later([=]() -> Status {
    std::memcpy(to, at<void>(from), static_cast<size_t>(bytes));
    return "";
  });
}
Status CpuDevice::prefetch(uint64_t to, const void* from, int64_t bytes) {
  if (capturing_) return broken_ = "a copy from the host in a captured graph";
  if (Status s = within(to, bytes, "prefetch"); !s.empty()) return s;
  return ask(prefetches_, [=]() -> Status {
    std::memcpy(at<void>(to), from, static_cast<size_t>(bytes));
    return "";
  });
}
Status CpuDevice::record(uint64_t event, Queue& queue) {
  uint64_t own = 0;
  if (Status s = number(event, newest_event_, "event", own); !s.empty()) return s;
  events_[event].done = false;
  events_[event].queue = &queue;
  return ask(queue, [=, this]() -> Status {
    events_[event].done = true;
    events_[event].at = std::chrono::steady_clock::now();
    return "";
  });
}
Status CpuDevice::record_prefetch(uint64_t event) {
  return record(event, prefetches_);
}
Status CpuDevice::wait_event(uint64_t event) {
  uint64_t own = 0;
  if (Status s = number(event, newest_event_, "event", own); !s.empty()) return s;
  return later([=, this] { return reach(event); });
}
Status CpuDevice::wait_host(uint64_t event) {
  uint64_t own = 0;
  if (Status s = number(event, newest_event_, "event", own); !s.empty()) return s;
  return reach(event);
}
Status CpuDevice::copy(uint64_t to, uint64_t from, int64_t bytes) {
  if (Status s = within(to, bytes, "copy"); !s.empty()) return s;
  if (Status s = within(from, bytes, "copy"); !s.empty()) return s;
  return work("copy", [=]() -> Status {
    std::memmove(at<void>(to), at<void>(from), static_cast<size_t>(bytes));
    return "";
  });
}
Status CpuDevice::fill(uint64_t address, uint8_t byte, int64_t bytes) {
  if (Status s = within(address, bytes, "fill"); !s.empty()) return s;
  return work("fill", [=]() -> Status {
    std::memset(at<void>(address), byte, static_cast<size_t>(bytes));
    return "";
  });
}
Status CpuDevice::synchronize() {
  if (capturing_) return "waiting in a captured graph";
  const Status first = drain(prefetches_), second = drain(queue_);
  return first.empty() ? second : first;
}

Status CpuDevice::load_module(const std::string& cubin, uint64_t& module) {
  const uint64_t number = std::stoull(cubin);
  if (number >= modules_.size()) return "a module of another device";
  module = own(number + 1);
  return modules_[number] || batched ? "" : missing;
}
Status CpuDevice::unload_module(uint64_t) {
  return "";
}
Status CpuDevice::find_function(uint64_t module, const std::string& name, uint64_t& function) {
  uint64_t m = 0;
  if (Status s = number(module, texts_.size(), "module", m); !s.empty()) return s;
  for (const KernelText& t : texts_[m - 1])
    if (t.name == name) {
      functions_.push_back({m - 1, t});
      function = own(functions_.size());
      return "";
    }
  return "no function " + name;
}

Status CpuDevice::launch(uint64_t function, int64_t blocks, int threads, void** arguments,
                         int shared_bytes) {
  uint64_t own = 0;
  if (Status s = number(function, functions_.size(), "function", own); !s.empty()) return s;
  const Function f = functions_[own - 1];
  if (threads != f.text.threads || blocks <= 0 || shared_bytes != f.text.shared_bytes)
    return format("a launch of {} blocks of {} threads with {} bytes of shared memory", blocks,
                  threads, shared_bytes);
  if (shared_bytes > properties.shared_bytes)
    return format("a launch with {} bytes of shared memory, more than a block has", shared_bytes);
  if (!f.text.grouped && f.text.words * 8 > 4096)
    return format("a launch with {} words of parameters", f.text.words);
  ++launches;
  // Arguments are copied when the launch is asked for.
  std::vector<int64_t> words;
  int64_t* table = nullptr;
  int count = 0;
  if (f.text.grouped) {
    std::memcpy(&table, arguments[0], 8);
    std::memcpy(&count, arguments[1], 4);
  } else {
    words.resize(static_cast<size_t>(f.text.words));
    std::memcpy(words.data(), arguments[0], words.size() * 8);
  }
  return work(f.text.name, [=, this]() -> Status {
    if (!modules_[f.module])
      if (Status s = compile_pending(); !s.empty()) return s;
    const HostModule& module = *modules_[f.module];
    std::vector<HostModule::Range> memory;
    for (auto& [address, bytes] : memory_) memory.push_back({at<void>(address), bytes});
    return f.text.grouped ? module.run_group(f.text, table, count, blocks, memory, tracked, 1)
                          : module.run(f.text, words.data(), blocks, memory, tracked, 1);
  });
}

Status CpuDevice::plan_product(const Product&, ProductPlan& plan) {
  ++planned_products;
  plan = {"cpu", 64};
  return "";
}
// One chain over ascending k, as the CPU's products in f32.
Status CpuDevice::run_product(const Product& p, const ProductPlan& plan,
                              const ProductAddresses& to_read) {
  if (plan.algorithm != "cpu") return "a plan of another device";
  if (p.batch > 65535) return format("a product of {} matrices", p.batch);
  const auto [a, b, c, bias, scale_a, scale_b, workspace] = to_read;
  const bool scaled = has_8_bits(p.type);
  if (scaled && (!properties.has_float8() || p.k % 16 || p.n % 16 || p.lda % 16 || p.ldb % 16 ||
                 p.transpose_a || !p.transpose_b || scale_a == 0 || scale_b == 0 ||
                 (p.type == ProductType::e5m2 && p.type_b == ProductType::e5m2)))
    return "a product of 8-bit floats that no tensor core makes";
  if (a % static_cast<uint64_t>(p.alignment) || b % static_cast<uint64_t>(p.alignment) ||
      c % static_cast<uint64_t>(p.alignment))
    return "operands are not aligned as was said";
  return work("a product", [=, a = a, b = b, c = c, bias = bias, scale_a = scale_a, scale_b = scale_b]() -> Status {
    const bool f64 = p.type == ProductType::f64;
    const ProductType out = scaled ? p.type_c : p.wide_result ? ProductType::f32 : p.type;
    for (int64_t batch = 0; batch < p.batch; ++batch)
      for (int64_t i = 0; i < p.m; ++i)
        for (int64_t j = 0; j < p.n; ++j) {
          const int64_t to = batch * p.stride_c + i * p.ldc + j;
          double wide = p.accumulate && f64 ? at<double>(c)[to] : 0;
          float sum = p.accumulate && !f64 ? at<float>(c)[to] : 0;
          for (int64_t k = 0; k < p.k; ++k) {
            const double x = element(
                p.type, a, batch * p.stride_a + (p.transpose_a ? k * p.lda + i : i * p.lda + k));
            const double y = element(
                scaled ? p.type_b : p.type, b, batch * p.stride_b + (p.transpose_b ? j * p.ldb + k : k * p.ldb + j));
            if (f64)
              wide = std::fma(x, y, wide);
            else
              sum = std::fma(static_cast<float>(x), static_cast<float>(y), sum);
          }
          if (scaled) sum *= at<float>(scale_a)[0] * at<float>(scale_b)[0];
          if (p.bias) sum += static_cast<float>(element(out, bias, j));
          if (f64)
            at<double>(c)[to] = wide;
          else if (out == ProductType::bf16)
            at<uint16_t>(c)[to] = to_bf16(sum);
          else if (out == ProductType::f16)
            at<uint16_t>(c)[to] = to_f16(sum);
          else
            at<float>(c)[to] = sum;
        }
    return "";
  });
}

// All of the workspace is taken, so that what else lies there is lost.
Status CpuDevice::plan_convolution(const Convolution&, int64_t max_workspace, ProductPlan& plan) {
  if (!no_convolutions.empty()) return no_convolutions;
  ++planned_convolutions;
  plan = {"cpu", max_workspace};
  return "";
}
// By the CPU's kernels, on operands that end where they do.
Status CpuDevice::run_convolution(const Convolution& c, const ProductPlan& plan, uint64_t a,
                                  uint64_t b, uint64_t to, uint64_t workspace) {
  using Kind = Convolution::Kind;
  if (plan.algorithm != "cpu") return "a plan of another device";
  if (a % 16 || b % 16 || to % 16 || workspace % 16) return "operands are not aligned as was said";
  const bool half = c.type == ProductType::bf16 || c.type == ProductType::f16;
  if (c.type == ProductType::f64 || (half && c.kind == Kind::weight_gradient))
    return "a convolution that was not to be asked for";
  ConvolutionArgs args;
  args.dtype = !half ? DType::f32 : c.type == ProductType::bf16 ? DType::bf16 : DType::f16;
  args.images = c.images;
  args.channels = c.channels;
  args.filters = c.filters;
  args.groups = c.groups;
  for (size_t d : {0u, 1u}) {
    args.size[d] = c.size[d];
    args.kernel[d] = c.kernel[d];
    args.stride[d] = c.stride[d];
    args.padding[d] = c.padding[d];
    args.dilation[d] = c.dilation[d];
    args.out[d] = c.out[d];
  }
  args.x_stride[2] = c.size[1];
  args.x_stride[1] = c.size[0] * c.size[1];
  args.x_stride[0] = c.channels * args.x_stride[1];
  return work("a convolution", [=, bytes = plan.workspace_bytes]() -> Status {
    std::memset(at<void>(workspace), 0xff, static_cast<size_t>(bytes));
    ThreadPool& pool = default_thread_pool();
    const int threads = pool.num_threads();
    const size_t own = c.kind == Kind::forward ? convolution_workspace_bytes(args, threads)
                       : c.kind == Kind::data_gradient
                           ? convolution_data_gradient_workspace_bytes(args, threads)
                           : convolution_weight_gradient_workspace_bytes(args, threads);
    std::vector<char> room(own + 64);
    char* scratch = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64) % 64;
    if (c.kind == Kind::forward)
      convolution(args, at<void>(a), at<void>(b), nullptr, at<void>(to), scratch, pool);
    else if (c.kind == Kind::data_gradient)
      convolution_data_gradient(args, at<void>(a), at<void>(b), at<void>(to), scratch, pool);
    else
      convolution_weight_gradient(args, at<void>(a), at<void>(b), at<float>(to), scratch, pool);
    return "";
  });
}

Status CpuDevice::begin_capture() {
  if (!no_capture.empty()) return no_capture;
  if (capturing_) return "a capture within a capture";
  graphs_.emplace_back();
  capturing_ = true;
  captured_ = 0;
  broken_.clear();
  return "";
}
Status CpuDevice::end_capture(uint64_t& graph) {
  if (!capturing_) return "the end of no capture";
  capturing_ = false;
  graph = broken_.empty() ? own(graphs_.size()) : 0;
  return broken_;
}
Status CpuDevice::launch_graph(uint64_t graph) {
  uint64_t index = 0;
  if (Status s = number(graph, graphs_.size(), "graph", index); !s.empty()) return s;
  ++graph_launches;
  return later([=, this]() -> Status {
    for (const Work& what : graphs_[index - 1])
      if (Status s = what(); !s.empty()) return s;
    return "";
  });
}
Status CpuDevice::release_graph(uint64_t graph) {
  uint64_t index = 0;
  if (Status s = number(graph, graphs_.size(), "graph", index); !s.empty()) return s;
  Status status = synchronize();
  graphs_[index - 1].clear();
  return status;
}
Status CpuDevice::create_event(uint64_t& event, bool timed) {
  event = own(++newest_event_);
  events_[event].timed = timed;
  return "";
}
Status CpuDevice::record_event(uint64_t event) {
  if (capturing_) return "an event in a captured graph";
  return record(event, queue_);
}
Status CpuDevice::milliseconds(uint64_t from, uint64_t to, float& ms) {
  uint64_t own = 0;
  for (const uint64_t event : {from, to}) {
    if (Status s = number(event, newest_event_, "event", own); !s.empty()) return s;
    if (!events_.at(event).timed) return "the time of an event without one";
  }
  if (Status s = reach(to); !s.empty()) return s;
  ms = std::chrono::duration<float, std::milli>(events_[to].at - events_[from].at).count();
  return "";
}
Status CpuDevice::release_event(uint64_t event) {
  if (Status s = synchronize(); !s.empty()) return s;
  return events_.erase(event) ? "" : "released an event that does not exist";
}
Status CpuDevice::begin_trace() {
  if (!no_trace.empty()) return no_trace;
  if (Status s = synchronize(); !s.empty()) return s;
  tracing_ = true;
  traced_.clear();
  return "";
}
Status CpuDevice::end_trace(std::vector<TracedWork>& work) {
  Status status = synchronize();
  tracing_ = false;
  work = std::move(traced_);
  return status;
}

}  // namespace corten::cuda::test
