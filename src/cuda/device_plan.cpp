#include "cuda/device_plan.h"

#include <algorithm>
#include <chrono>

#include "base/format.h"
#include "cuda/product_biases.h"
#include "kernel/timeline.h"

namespace corten::cuda {

using ir::Node;
using ir::ValueRef;
using kernel::Storage;

namespace {

// Whether a kernel reads an element of `read` only where it writes the same one of `write`.
bool element_wise(const kernel::LoweredKernel& k, const ir::Launch& launch, ValueRef read,
                  ValueRef write) {
  if (k.kernel.form != ir::KernelForm::rows) return false;
  for (const ir::ScalarNode& n : k.kernel.body.nodes())
    if (n.op == ir::ScalarOp::reduce_sum || n.op == ir::ScalarOp::reduce_max ||
        n.op == ir::ScalarOp::reduce_min)
      return false;
  const ir::Launch::Access* store = nullptr;
  for (const ir::Store& s : k.kernel.stores)
    if (k.operands[static_cast<size_t>(k.kernel.accesses[static_cast<size_t>(s.access)].operand)] ==
        Storage{write})
      store = &launch.accesses[static_cast<size_t>(s.access)];
  for (size_t a = 0; a < k.kernel.accesses.size(); ++a) {
    const ir::Access& access = k.kernel.accesses[a];
    if (access.operand < 0 || k.operands[static_cast<size_t>(access.operand)] != Storage{read})
      continue;
    const ir::Launch::Access& load = launch.accesses[a];
    if (!store || access.guards || access.index >= 0 || load.offset != store->offset ||
        load.inner_stride != store->inner_stride ||
        !std::equal(load.strides, load.strides + ir::kMaxOuter, store->strides))
      return false;
  }
  return true;
}

}  // namespace

ir::Type storage_type(const ir::Graph& graph, const Storage& s) {
  return s.partial ? kernel::partial_type(graph, s.root.node) : graph.type(s.root);
}

std::string describe(const ir::Graph& graph, ValueRef r) {
  const Node& n = graph.node(r);
  const std::string at = ir::to_string(n.source);
  return format("[{}] {}{}", n.op->name, to_string(n.types[static_cast<size_t>(r.output)]),
                at.empty() ? "" : ", at " + at);
}

DevicePlan::DevicePlan(ir::Graph g, bool fuse, bool reuse, int shared_limit)
    : Planned(std::move(g)),
      partition_(kernel::partition(graph, fuse)),
      kernels_(step_kernels(partition_, fuse)) {
  plan_attention(shared_limit);
  plan_convolutions();
  plan_products();
  touch();
  assign_outputs();
  assign_slots();
  plan = passes::plan_memory(intervals, reuse);
  describe();
}

DevicePlan::Touched DevicePlan::touched_by(const kernel::LoweredKernel& k) const {
  Touched out;
  // What is written may be read as well (scatters).
  for (size_t i = 0; i < k.operands.size(); ++i)
    (k.kernel.operands[i].written ? out.written : out.read).insert(k.operands[i]);
  return out;
}

DevicePlan::Touched DevicePlan::touched_by_library(int32_t step) const {
  Touched out;
  const int32_t index = partition_.steps[static_cast<size_t>(step)].members[0];
  const Node& n = graph.nodes()[static_cast<size_t>(index)];
  for (ValueRef r : n.inputs) out.read.insert({partition_.places[r].root});
  for (size_t k = 0; k < n.types.size(); ++k)
    out.written.insert({partition_.places.of(index)[k].root});
  return out;
}

int64_t DevicePlan::bytes(const Touched& t) const {
  int64_t sum = 0;
  for (const Storage& s : t.read) sum += storage_type(graph, s).bytes();
  for (const Storage& s : t.written) sum += storage_type(graph, s).bytes();
  return sum;
}

double DevicePlan::flops_of(int32_t library) const {
  if (const auto attention = attention_.find(library); attention != attention_.end())
    return attention->second.step.flops();
  if (const auto convolution = convolutions_.find(library); convolution != convolutions_.end())
    return convolution->second.flops();
  const auto found = products_.find(library);
  if (found == products_.end()) return 0;
  const Product& p = found->second.product;
  double matrices = 0;
  for (const ProductCalls::Call& call : found->second.calls)
    matrices += static_cast<double>(call.batch);
  return 2.0 * matrices * static_cast<double>(p.m) * static_cast<double>(p.n) *
         static_cast<double>(p.k);
}

void DevicePlan::plan_attention(int shared_limit) {
  texts_ = kernels_.texts;
  for (auto& [index, step] : attention_steps(partition_, shared_limit)) {
    std::vector<int32_t> texts;
    for (const AttentionKernel& k : step.kernels()) {
      const auto known =
          std::find_if(texts_.begin(), texts_.end(),
                       [&](const codegen::gpu::KernelText& t) { return t.name == k.text.name; });
      texts.push_back(static_cast<int32_t>(known - texts_.begin()));
      if (known == texts_.end()) texts_.push_back(k.text);
    }
    attention_.emplace(index, PlannedAttention{std::move(step), std::move(texts)});
  }
}

void DevicePlan::plan_convolutions() {
  for (const GpuStep& step : kernels_.steps) {
    if (step.library < 0) continue;
    const int32_t node = partition_.steps[static_cast<size_t>(step.library)].members[0];
    if (auto found = planned_convolution(graph, graph.nodes()[static_cast<size_t>(node)]))
      convolutions_.emplace(step.library, std::move(*found));
  }
}

void DevicePlan::plan_products() {
  for (const GpuStep& step : kernels_.steps) {
    if (step.library < 0 || attention_.count(step.library) || convolutions_.count(step.library))
      continue;
    const Node& n = graph.nodes()[static_cast<size_t>(
        partition_.steps[static_cast<size_t>(step.library)].members[0])];
    const bool sums = n.op->name == "gemm_continue";
    const bool biased = n.op->name == "gemm" && n.inputs.size() == 3;
    const bool scaled = n.op->name == "scaled_matmul";
    if (!sums && !biased && !scaled && (n.op->name != "gemm" || n.inputs.size() != 2))
      usage_error("[{}] has no implementation for the GPU", n.op->name);
    const passes::Place &a = partition_.places[n.inputs[0]], &b = partition_.places[n.inputs[1]];
    ProductCalls calls =
        product_calls(n, graph.type(n.inputs[0]), a.layout, graph.type(n.inputs[1]), b.layout);
    calls.product.accumulate = sums;
    calls.product.bias = biased;
    const auto start = [&](size_t input) {
      return partition_.places[n.inputs[input]].layout.offset *
             static_cast<int64_t>(size_of(graph.type(n.inputs[input]).dtype));
    };
    if (biased) calls.bias = start(2);
    if (scaled) {
      calls.scale_a = start(2);
      calls.scale_b = start(3);
    }
    products_.emplace(step.library, std::move(calls));
  }
}

// Storage that each step reads and writes.
void DevicePlan::touch() {
  touched_.resize(kernels_.steps.size());
  for (size_t s = 0; s < kernels_.steps.size(); ++s) {
    const GpuStep& step = kernels_.steps[s];
    Touched& t = touched_[s];
    if (step.library >= 0) {
      t = touched_by_library(step.library);
    } else {
      for (const GpuLaunch& l : step.launches) {
        Touched one = touched_by(kernels_.kernels[static_cast<size_t>(l.kernel)]);
        t.read.merge(one.read);
        t.written.merge(one.written);
      }
    }
    for (const Storage& w : t.written)
      if (!w.partial) first_writer_.emplace(w.root, static_cast<int32_t>(s));
    for (const Storage& r : t.read) last_reader_[r.root] = static_cast<int32_t>(s);
  }
}

// Why new state cannot be written over the old; "" if it can.
std::string DevicePlan::refusal(int32_t input, ValueRef root) const {
  const ValueRef old = graph.inputs()[static_cast<size_t>(input)];
  const auto written = first_writer_.find(root);
  if (written == first_writer_.end()) return "no step writes it";
  if (const auto read = last_reader_.find(old); read != last_reader_.end()) {
    if (read->second > written->second) return "the old value is read later";
    if (read->second == written->second) {
      const GpuStep& step = kernels_.steps[static_cast<size_t>(written->second)];
      if (step.library >= 0) return "a library step reads it while writing";
      for (const GpuLaunch& l : step.launches)
        if (!element_wise(kernels_.kernels[static_cast<size_t>(l.kernel)], l.launch, old, root)) {
          const kernel::LoweredKernel& k = kernels_.kernels[static_cast<size_t>(l.kernel)];
          const bool reads =
              std::find(k.operands.begin(), k.operands.end(), Storage{old}) != k.operands.end();
          if (reads) return "its writer reads other elements too";
        }
    }
  }
  const auto& layout = graph.input_layouts()[static_cast<size_t>(input)];
  if (layout && !ir::is_contiguous(*layout, graph.type(old).dims)) return "its layout is strided";
  return "";
}

void DevicePlan::assign_outputs() {
  for (size_t k = 0; k < graph.outputs().size(); ++k) {
    const ir::Output& o = graph.outputs()[k];
    const ValueRef root = partition_.places[o.value].root;
    if (o.alias < 0) {
      slots_[{root}] = {Slot::Kind::output, static_cast<int32_t>(k)};
      continue;
    }
    if (root == graph.inputs()[static_cast<size_t>(o.alias)])
      continue;  // written in place by a scatter
    const std::string why = refusal(o.alias, root);
    if (why.empty()) {
      slots_[{root}] = {Slot::Kind::input, o.alias};
    } else {
      info_.copies.push_back(
          format("state {} ({}) is copied: {}", o.alias, to_string(graph.type(root)), why));
      copies_.push_back({root, o.alias, graph.type(root).bytes()});
    }
  }
}

void DevicePlan::assign_slots() {
  const auto step_count = static_cast<int32_t>(kernels_.steps.size());
  const auto use = [&](const Storage& s, int32_t step) {
    auto found = slots_.find(s);
    if (found == slots_.end()) {
      const Node& n = graph.node(s.root);
      Slot fresh;
      if (n.op == &ir::kInputOp) {
        fresh = {Slot::Kind::input, static_cast<int32_t>(ir::get<ir::InputAttrs>(n.attrs).index)};
      } else if (n.op == &ir::kConstantOp) {
        fresh = {Slot::Kind::constant,
                 static_cast<int32_t>(ir::get<ir::ConstantAttrs>(n.attrs).index)};
      } else {
        intervals.push_back({std::max<int64_t>(storage_type(graph, s).bytes(), 1), step, step});
        fresh = {Slot::Kind::arena, static_cast<int32_t>(intervals.size()) - 1};
      }
      found = slots_.emplace(s, fresh).first;
    }
    if (found->second.kind == Slot::Kind::arena)
      intervals[static_cast<size_t>(found->second.index)].last = step;
  };
  for (int32_t s = 0; s < step_count; ++s) {
    for (const Storage& r : touched_[static_cast<size_t>(s)].read) use(r, s);
    for (const Storage& w : touched_[static_cast<size_t>(s)].written) use(w, s);
    const auto reserve = [&](int64_t bytes, int32_t& workspace) {
      if (bytes <= 0) return;
      workspace = static_cast<int32_t>(intervals.size());
      intervals.push_back({bytes, s, s});
    };
    const int32_t library = kernels_.steps[static_cast<size_t>(s)].library;
    if (const auto found = attention_.find(library); found != attention_.end())
      reserve(found->second.step.workspace_bytes(), found->second.workspace);
    if (const auto found = convolutions_.find(library); found != convolutions_.end())
      reserve(found->second.max_workspace, found->second.workspace);
  }
  for (const StateCopy& c : copies_) use({c.root}, step_count);
}

const Slot* DevicePlan::slot(const Storage& s) const {
  const auto found = slots_.find(s);
  return found == slots_.end() ? nullptr : &found->second;
}

std::vector<Storage> DevicePlan::contents() const {
  std::vector<Storage> out(intervals.size());
  for (const auto& [storage, slot] : slots_)
    if (slot.kind == Slot::Kind::arena) out[static_cast<size_t>(slot.index)] = storage;
  return out;
}

std::vector<int32_t> DevicePlan::members(const GpuStep& step) const {
  if (step.library >= 0) return partition_.steps[static_cast<size_t>(step.library)].members;
  std::set<int32_t> nodes;
  for (const GpuLaunch& l : step.launches) {
    const int32_t of = kernels_.steps_of[static_cast<size_t>(l.kernel)];
    const std::vector<int32_t>& list = partition_.steps[static_cast<size_t>(of)].members;
    nodes.insert(list.begin(), list.end());
  }
  return {nodes.begin(), nodes.end()};
}
double DevicePlan::flops(const GpuStep& step) const {
  return step.library >= 0 ? flops_of(step.library) : 0;
}
int64_t DevicePlan::bytes_moved(const GpuStep& step) const {
  return bytes(touched_[static_cast<size_t>(&step - kernels_.steps.data())]);
}

void DevicePlan::describe() {
  info_.arena_bytes = plan.bytes;
  info_.arena_lower_bound = plan.lower_bound;
  info_.launches = kernels_.launches();
  info_.groups = kernels_.groups();
  info_.texts = texts_.size();
  info_.products = products_.size();
  info_.attentions = attention_.size();
  info_.convolutions = convolutions_.size();
  for (const GpuStep& step : kernels_.steps) {
    info_.bytes_moved += bytes_moved(step);
    if (step.library < 0) continue;
    const int32_t node = partition_.steps[static_cast<size_t>(step.library)].members[0];
    const bool again = graph.nodes()[static_cast<size_t>(node)].phase != 0;
    (again ? info_.recomputed_flops : info_.flops) += flops(step);
  }
  for (const kernel::Step& step : partition_.steps)
    for (int32_t node : step.members)
      info_.recomputed += graph.nodes()[static_cast<size_t>(node)].phase != 0;
}

passes::Timeline DevicePlan::timeline() const {
  std::vector<kernel::TimelineStep> steps;
  const auto add = [&](int32_t index, Touched touched, double flops) {
    steps.push_back({.steps = {&partition_.steps[static_cast<size_t>(index)]},
                     .read = {touched.read.begin(), touched.read.end()},
                     .written = {touched.written.begin(), touched.written.end()},
                     .bytes = static_cast<double>(bytes(touched)),
                     .flops = flops});
  };
  // Before launches were joined: in order of creation.
  size_t next = 0;
  for (size_t s = 0; s < partition_.steps.size(); ++s) {
    const auto index = static_cast<int32_t>(s);
    if (partition_.steps[s].library) add(index, touched_by_library(index), flops_of(index));
    for (; next < kernels_.kernels.size() && kernels_.steps_of[next] == index; ++next)
      add(index, touched_by(kernels_.kernels[next]), 0);
  }
  std::map<ValueRef, kernel::ArenaBuffer> arena;
  for (const auto& [storage, slot] : slots_)
    if (slot.kind == Slot::Kind::arena && !storage.partial)
      arena[storage.root].bytes = intervals[static_cast<size_t>(slot.index)].bytes;
  for (const StateCopy& c : copies_)
    if (const auto found = arena.find(c.root); found != arena.end()) found->second.to_end = true;
  return kernel::timeline(partition_, steps, arena);
}

std::unique_ptr<DevicePlan> plan_for_device(const ir::Graph& recorded, bool has_float8,
                                            int64_t arena_budget, int shared_limit) {
  using Clock = std::chrono::steady_clock;
  const auto ms_since = [](Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  const Clock::time_point begin = Clock::now();
  const auto disabled = passes::disabled_passes();
  const auto plan = [&](ir::Graph graph) {
    return std::make_unique<DevicePlan>(std::move(graph), !disabled.count("fuse"),
                                        !disabled.count("plan"), shared_limit);
  };
  std::vector<passes::PassRecord> records;
  ir::Graph graph = passes::run_pipeline(
      recorded, disabled, &records,
      has_float8 ? passes::Families::gpu_float8 : passes::Families::gpu);
  if (!disabled.count("fuse"))
    if (auto with_biases = absorb_biases(graph)) graph = std::move(*with_biases);
  std::unique_ptr<DevicePlan> out = plan(std::move(graph));
  if (!disabled.count("remat")) {
    const Clock::time_point start = Clock::now();
    const size_t nodes = out->graph.nodes().size();
    out = passes::rematerialise<DevicePlan>(std::move(out), arena_budget, plan);
    records.push_back({"remat", ms_since(start), nodes, out->graph.nodes().size(), false});
  }
  out->passes = std::move(records);
  out->plan_ms = ms_since(begin);
  return out;
}

int64_t bytes_besides_arena(const ir::Graph& recorded, int64_t workspace_bytes) {
  int64_t bytes = workspace_bytes;
  for (const ValueRef input : recorded.inputs()) bytes += recorded.type(input).bytes();
  for (const ir::Output& o : recorded.outputs())
    if (o.alias < 0) bytes += recorded.type(o.value).bytes();
  return bytes;
}

}  // namespace corten::cuda
