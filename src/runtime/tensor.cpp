// Tensor: cells, views, traces, differentiation.
#include "corten/tensor.h"

#include <cmath>
#include <cstring>

#include "base/format.h"
#include "base/thread_pool.h"
#include "base/float8.h"
#include "grad/differentiate.h"
#include "ops/functions.h"
#include "runtime/allocator.h"
#include "runtime/devices.h"
#include "runtime/eager_device.h"
#include "runtime/null_device.h"
#include "runtime/tensor_impl.h"

namespace corten {

using ir::Value;
using ir::Values;

namespace runtime {
namespace {

thread_local Trace* t_trace = nullptr;
thread_local bool t_defining = false;

[[noreturn]] void escaped(const ir::Type& type) {
  usage_error("a tensor ({}) made while a function was compiled is used outside of it: return it from the function instead", to_string(type));
}

}  // namespace

Trace::Trace() : previous_(t_trace), builder_(graph) {
  t_trace = this;
  graph.reserve(2048);
}
Trace::~Trace() {
  for (auto it = saved_grads_.rbegin(); it != saved_grads_.rend(); ++it) it->first->grad = it->second;
  t_trace = previous_;
}
Trace* Trace::active() { return t_trace; }

DefinitionScope::DefinitionScope() : previous_(t_defining) { t_defining = true; }
DefinitionScope::~DefinitionScope() { t_defining = previous_; }

Trace::State& Trace::state(const CellPtr& cell) {
  auto found = index_.find(cell.get());
  if (found != index_.end()) return states[found->second];
  index_[cell.get()] = states.size();
  Value input = graph.input(cell->value.type(), format("state{}", states.size()));
  states.push_back({cell, input, false});
  return states.back();
}
Value Trace::read(const CellPtr& cell) {
  if (!cell->value.concrete()) {
    if (cell->value->graph != graph.id()) escaped(cell->value.type());
    return cell->value;
  }
  if (cell->born_in == graph.id()) return cell->value;  // host data made while tracing: a constant
  return state(cell).current;
}
void Trace::write(const CellPtr& cell, Value value) {
  if (cell->born_in == graph.id()) {
    cell->value = std::move(value);
    return;
  }
  State& s = state(cell);
  s.current = value.concrete() ? graph.value(graph.ref(value)) : std::move(value);
  s.written = true;
}
void Trace::set_grad(const CellPtr& cell, const Tensor& grad) {
  bool known = false;
  for (auto& [saved, old] : saved_grads_) known |= saved == cell;
  if (!known) saved_grads_.emplace_back(cell, cell->grad);
  cell->grad = grad;
}

Tensor wrap(Value value) {
  auto impl = std::make_shared<TensorImpl>();
  impl->cell = std::make_shared<Cell>();
  impl->type = value.type();
  impl->cell->value = std::move(value);
  if (Trace* trace = Trace::active()) impl->cell->born_in = trace->graph.id();
  return Tensor(std::move(impl));
}

Value value_of(const Tensor& tensor) {
  if (!tensor.defined()) usage_error("an undefined tensor was used");
  const TensorImpl& impl = *tensor.impl();
  Trace* trace = Trace::active();
  const bool foreign = t_defining && !impl.cell->value.concrete();
  Value v = trace && !foreign ? trace->read(impl.cell) : impl.cell->value;
  if (!trace && !foreign && !v.concrete()) escaped(v.type());
  if (impl.detached) {
    if (v.requires_grad()) v = v.with_edge({});
  } else if (impl.cell->leaf && !v.requires_grad()) {
    v = v.with_edge(impl.cell->leaf);
  }
  for (auto& [op, attrs] : impl.views) v = ir::emit(*op, attrs, {v})[0];
  return v;
}

namespace {

/// The base with the part that a view shows replaced.
Value write_view(const ir::Op& op, const ir::AttrsPtr& attrs, const Value& base, const Value& part, const char* what) {
  auto field = [&](std::string_view name) {
    ir::Dims out;
    for (auto& [key, text] : ir::split_fields(attrs->text()))
      if (key == name) ir::field_parse(text, out);
    return out;
  };
  if (op.name == "reshape") return ops::reshape(part, base.dims());
  if (op.name == "permute") {
    ir::Dims axes = field("axes"), inverse(axes.size());
    for (size_t i = 0; i < axes.size(); ++i) inverse[axes[i]] = static_cast<int64_t>(i);
    return ops::permute(part, inverse);
  }
  if (op.name == "slice") {
    ir::Dims starts = field("starts"), sizes = field("sizes"), high(starts.size());
    Value inside;
    for (size_t d = 0; d < starts.size(); ++d) {
      high[d] = base.dims()[d] - starts[d] - sizes[d];
      if (starts[d] == 0 && high[d] == 0) continue;
      Value place = ops::iota(base.dims(), static_cast<int64_t>(d));
      Value in = ops::logical_and(ops::ge(place, ops::full_like(place, static_cast<double>(starts[d]))),
                                  ops::lt(place, ops::full_like(place, static_cast<double>(starts[d] + sizes[d]))));
      inside = inside ? ops::logical_and(inside, in) : in;
    }
    return inside ? ops::where(inside, ops::pad(part, starts, high, 0), base) : part;
  }
  usage_error("[{}] in-place write to an expanded tensor: several of its elements are one in memory; clone() it first", what);
}

}  // namespace

Value take(Tensor tensor) {
  Value value = value_of(tensor);
  tensor = {};
  return value;
}

void assign(const Tensor& tensor, Value value, const char* what) {
  const TensorImpl& impl = *tensor.impl();
  if (impl.cell->leaf && ir::grad_enabled() && !impl.detached)
    usage_error("[{}] in-place write to a leaf that requires grad ({}): use a NoGradGuard, or work on a copy", what, to_string(impl.type));
  const ir::Placement home = ir::placement_of(impl.cell->value);
  const ir::PlacementScope place(home);
  value = ops::expand(ops::cast(value, impl.type.dtype), impl.type.dims);
  Trace* trace = Trace::active();
  if (!trace) value = transfer(value, home);
  std::vector<Value> chain{trace ? trace->read(impl.cell) : impl.cell->value};
  for (auto& [op, attrs] : impl.views) chain.push_back(ir::emit(*op, attrs, {chain.back()})[0]);
  for (size_t i = impl.views.size(); i-- > 0;) value = write_view(*impl.views[i].first, impl.views[i].second, chain[i], value, what);
  if (!ir::grad_enabled() || impl.detached) value = value.with_edge({});
  if (trace) {
    trace->write(impl.cell, value);
    return;
  }
  // A value of its own: the new one must not be a view of somebody else's memory, nor strided.
  const bool plain = value->layout.offset == 0 && ir::is_contiguous(value->layout, value.dims()) && value->buffer.use_count() == 1 && value.use_count() == 1;
  impl.cell->value = plain ? value : ops::copy(value);
}

Value concrete_value(const Tensor& tensor, const char* what, At at) {
  if (Trace* trace = Trace::active()) {
    Value v = trace->read(tensor.impl() ? tensor.impl()->cell : (usage_error("[{}] the tensor is undefined", what), nullptr));
    if (!v.concrete())
      usage_error("[{}] a value was read while the function is being compiled, at {}: it does not exist yet; return the tensor instead", what,
                  ir::to_string(source(at)));
  }
  ir::GradScope no_grad(false);
  ir::BuilderScope eager(ir::eager_builder());
  Value v = value_of(tensor);
  if (on_null_device(v))
    usage_error("[{}] a tensor of the null device ({}) has no values, at {}", what, to_string(v.type()), ir::to_string(source(at)));
  if (const ir::Placement place = ir::placement_of(v); place.kind == ir::DeviceKind::cuda) return open_device(place).download(v);
  return ir::is_contiguous(v->layout, v.dims()) ? v : ops::copy(v);
}

Value number_for(const Value& value, ir::Placement placement) {
  return ir::placement_of(value).kind == ir::DeviceKind::cuda ? transfer(value, placement) : value;
}

Value transfer(const Value& value, ir::Placement placement) {
  const ir::Placement from = ir::placement_of(value);
  if (from == placement || !value.concrete() || on_null_device(value)) return value;
  if (from.kind == ir::DeviceKind::cpu && is_number(value)) {
    const ir::PlacementScope there(placement);
    return ops::copy(value);
  }
  Value out = move_to(value, placement);
  if (!ir::grad_enabled() || !value.requires_grad()) return out;
  auto node = std::make_shared<ir::TapeNode>();
  node->inputs = {value};
  node->outputs = {*out};
  node->ordinal = ir::make_leaf().node->ordinal;
  node->source = ir::current_source();
  node->rule = [from](const ir::Vjp& vjp) { return Values{transfer(vjp.grads[0], from)}; };
  return out.with_edge({node, 0});
}

}  // namespace runtime

using runtime::assign;
using runtime::value_of;
using runtime::wrap;

namespace {
std::string text(const ir::Type& type) { return ir::to_string(type); }
const TensorImpl& get(const Tensor& t) {
  if (!t.defined()) usage_error("an undefined tensor was used");
  return *t.impl();
}

/// Records view ops instead of executing them.
class ViewRecorder : public ir::Builder {
 public:
  ir::Values add(const ir::Op& op, ir::AttrsPtr attrs, const Values& inputs) override {
    ir::Type type = ir::infer_types(op, attrs, {inputs[0].type()})[0];
    steps.emplace_back(&op, std::move(attrs));
    return {ir::make_concrete(type, nullptr, {})};
  }
  std::vector<std::pair<const ir::Op*, ir::AttrsPtr>> steps;
};

template <typename F>
Tensor view_of(const Tensor& base, At at, F&& make) {
  const TensorImpl& from = get(base);
  ViewRecorder recorder;
  ir::SourceScope source(runtime::source(at));
  auto impl = std::make_shared<TensorImpl>(from);
  {
    ir::BuilderScope builder(recorder);
    ir::GradScope no_grad(false);
    impl->type = make(ir::make_concrete(from.type, nullptr, {})).type();
  }
  for (auto& step : recorder.steps) impl->views.push_back(std::move(step));
  return Tensor(std::move(impl));
}
}  // namespace

const Shape& Tensor::shape() const { return get(*this).type.dims; }
int64_t Tensor::size(int64_t axis) const { return shape()[ir::normalize_axis(axis, get(*this).type, "size")]; }
int64_t Tensor::dim() const { return get(*this).type.rank(); }
int64_t Tensor::numel() const { return get(*this).type.elements(); }
DType Tensor::dtype() const { return get(*this).type.dtype; }
Device Tensor::device() const { return runtime::device(ir::placement_of(get(*this).cell->value)); }

namespace {
template <typename To>
To element(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32: return static_cast<To>(static_cast<const float*>(data)[i]);
    case DType::f64: return static_cast<To>(static_cast<const double*>(data)[i]);
    case DType::bf16: return static_cast<To>(from_bf16(static_cast<const uint16_t*>(data)[i]));
    case DType::f16: return static_cast<To>(from_f16(static_cast<const uint16_t*>(data)[i]));
    case DType::i64: return static_cast<To>(static_cast<const int64_t*>(data)[i]);
    case DType::i32: return static_cast<To>(static_cast<const int32_t*>(data)[i]);
    case DType::u8: return static_cast<To>(static_cast<const uint8_t*>(data)[i]);
    case DType::boolean: return static_cast<To>(static_cast<const bool*>(data)[i]);
    case DType::f8_e4m3: return static_cast<To>(from_e4m3(static_cast<const uint8_t*>(data)[i]));
    case DType::f8_e5m2: return static_cast<To>(from_e5m2(static_cast<const uint8_t*>(data)[i]));
  }
  return To();
}
const void* start(const Value& v) {
  return static_cast<const char*>(v->buffer->data()) + v->layout.offset * static_cast<int64_t>(size_of(v.dtype()));
}
}  // namespace

template <typename T>
T Tensor::item(At at) const {
  if (numel() != 1) usage_error("[item] {} has {} elements, not one", text(get(*this).type), numel());
  Value v = runtime::concrete_value(*this, "item", at);
  return element<T>(start(v), v.dtype(), 0);
}
template <typename T>
std::vector<T> Tensor::to_vector(At at) const {
  get(*this);
  Value v = runtime::concrete_value(*this, "to_vector", at);
  std::vector<T> out(numel());
  if constexpr (!std::is_same_v<T, bool>) {
    const bool same = (std::is_same_v<T, float> && v.dtype() == DType::f32) || (std::is_same_v<T, double> && v.dtype() == DType::f64) ||
                      (std::is_same_v<T, int64_t> && v.dtype() == DType::i64) || (std::is_same_v<T, int32_t> && v.dtype() == DType::i32);
    if (same) {
      if (!out.empty()) std::memcpy(out.data(), start(v), out.size() * sizeof(T));
      return out;
    }
  }
  for (int64_t i = 0; i < numel(); ++i) out[i] = element<T>(start(v), v.dtype(), i);
  return out;
}
#define CORTEN_INSTANTIATE(T) template T Tensor::item<T>(At) const;
CORTEN_INSTANTIATE(double) CORTEN_INSTANTIATE(float) CORTEN_INSTANTIATE(int64_t) CORTEN_INSTANTIATE(int) CORTEN_INSTANTIATE(bool)
#undef CORTEN_INSTANTIATE
#define CORTEN_INSTANTIATE(T) template std::vector<T> Tensor::to_vector<T>(At) const;
CORTEN_INSTANTIATE(double) CORTEN_INSTANTIATE(float) CORTEN_INSTANTIATE(int64_t) CORTEN_INSTANTIATE(int32_t) CORTEN_INSTANTIATE(uint8_t)
CORTEN_INSTANTIATE(uint16_t) CORTEN_INSTANTIATE(uint32_t) CORTEN_INSTANTIATE(bool)
#undef CORTEN_INSTANTIATE

bool Tensor::requires_grad() const {
  const TensorImpl& impl = get(*this);
  if (impl.detached) return false;
  if (impl.cell->leaf) return true;
  runtime::Trace* trace = runtime::Trace::active();
  return (trace ? trace->read(impl.cell) : impl.cell->value).requires_grad();
}
bool Tensor::is_leaf() const {
  const TensorImpl& impl = get(*this);
  return (impl.cell->leaf && impl.views.empty()) || !requires_grad();
}
Tensor& Tensor::set_requires_grad(bool value) {
  const TensorImpl& impl = get(*this);
  if (value && !is_floating(impl.type.dtype)) usage_error("[set_requires_grad] {} is not floating-point", text(impl.type));
  if (value && impl.detached) {
    // A leaf of its own that starts from the present values.
    const Tensor own = wrap(value_of(*this));
    impl_->cell = own.impl()->cell;
    impl_->views.clear();
    impl_->detached = false;
  }
  if (!impl.views.empty()) usage_error("[set_requires_grad] a view is not a leaf; set it on the tensor that it shows");
  if (!value) {
    impl.cell->leaf = {};
    impl.cell->value = impl.cell->value.with_edge({});
    return *this;
  }
  if (!impl.cell->leaf) {
    if (requires_grad()) usage_error("[set_requires_grad] the result of an operation is not a leaf");
    impl.cell->leaf = ir::make_leaf(impl.cell);
  }
  return *this;
}
Tensor Tensor::grad() const { return get(*this).cell->grad; }
void Tensor::set_grad(const Tensor& grad) {
  if (grad.defined() && grad.shape() != shape())
    usage_error("[set_grad] the gradient {} does not have the shape of {}", text(get(grad).type), text(get(*this).type));
  const TensorImpl& impl = get(*this);
  if (runtime::Trace* trace = runtime::Trace::active()) trace->set_grad(impl.cell, grad);
  else impl.cell->grad = grad;
}
void Tensor::zero_grad() { set_grad({}); }

Tensor Tensor::detach() const {
  auto impl = std::make_shared<TensorImpl>(get(*this));
  impl->detached = true;
  return Tensor(std::move(impl));
}

void Tensor::backward(const Tensor& gradient, bool create_graph, At at) const {
  ir::SourceScope source(runtime::source(at));
  Value out = value_of(*this);
  if (!out.requires_grad()) usage_error("[backward] {} does not depend on anything that requires grad", text(out.type()));
  Value seed;
  if (gradient.defined()) {
    seed = value_of(gradient);
    if (seed.dims() != out.dims()) usage_error("[backward] the gradient {} does not have the shape of {}", text(seed.type()), text(out.type()));
    seed = ops::cast(seed, out.dtype());
  } else {
    if (numel() != 1) usage_error("[backward] {} is not a single number: give the gradient to start from", text(out.type()));
    seed = ops::full(out.dims(), out.dtype(), 1);
  }
  std::vector<ir::GradEdge> leaves = autodiff::leaves({out});
  Values grads = autodiff::gradients({out}, {seed}, leaves, create_graph);
  for (size_t i = 0; i < leaves.size(); ++i) {
    auto cell = std::static_pointer_cast<Cell>(leaves[i].node->owner.lock());
    if (!cell || !grads[i]) continue;
    auto impl = std::make_shared<TensorImpl>();
    impl->cell = cell;
    impl->type = cell->value.type();
    Tensor leaf(std::move(impl)), old = leaf.grad();
    ir::GradScope recording(create_graph);
    if (!runtime::Trace::active()) grads[i] = runtime::transfer(grads[i], ir::placement_of(cell->value));
    if (!old.defined()) leaf.set_grad(wrap(grads[i]));
    else if (create_graph) leaf.set_grad(wrap(ops::add(value_of(old), grads[i])));
    else assign(old, ops::add(value_of(old), grads[i]), "backward");
  }
}

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& grad_outputs, bool create_graph) {
  Values outs, seeds;
  for (size_t i = 0; i < outputs.size(); ++i) {
    outs.push_back(value_of(outputs[i]));
    bool given = i < grad_outputs.size() && grad_outputs[i].defined();
    if (!given && outputs[i].numel() != 1)
      usage_error("[grad] output {} ({}) is not a single number: give the gradient to start from", i, text(outs.back().type()));
    seeds.push_back(given ? value_of(grad_outputs[i]) : ops::full(outs.back().dims(), outs.back().dtype(), 1));
  }
  std::vector<ir::GradEdge> wrt;
  for (const Tensor& input : inputs) {
    Value v = value_of(input);
    if (!v.requires_grad()) usage_error("[grad] an input ({}) does not require grad", text(v.type()));
    wrt.push_back(v->edge);
  }
  std::vector<Tensor> out;
  for (const Value& g : autodiff::gradients(outs, seeds, wrt, create_graph)) out.push_back(g ? wrap(g) : Tensor());
  return out;
}

// ---- Views

Tensor Tensor::reshape(Shape shape, At at) const {
  return view_of(*this, at, [&](Value x) { return ops::reshape(x, std::move(shape)); });
}
Tensor Tensor::flatten(int64_t first, int64_t last) const {
  const ir::Type& type = get(*this).type;
  if (dim() == 0) return reshape({1});
  first = ir::normalize_axis(first, type, "flatten");
  last = ir::normalize_axis(last, type, "flatten");
  Shape out(shape().begin(), shape().begin() + first);
  int64_t n = 1;
  for (int64_t i = first; i <= last; ++i) n *= shape()[i];
  out.push_back(n);
  out.insert(out.end(), shape().begin() + last + 1, shape().end());
  return reshape(std::move(out));
}
Tensor Tensor::unsqueeze(int64_t axis) const {
  int64_t place = axis < 0 ? axis + dim() + 1 : axis;
  if (place < 0 || place > dim()) usage_error("[unsqueeze] axis {} is out of range for {}", axis, text(get(*this).type));
  Shape out = shape();
  out.insert(out.begin() + place, 1);
  return reshape(std::move(out));
}
Tensor Tensor::squeeze(int64_t axis) const {
  axis = ir::normalize_axis(axis, get(*this).type, "squeeze");
  Shape out = shape();
  if (out[axis] == 1) out.erase(out.begin() + axis);
  return reshape(std::move(out));
}
Tensor Tensor::permute(std::vector<int64_t> axes, At at) const {
  return view_of(*this, at, [&](Value x) { return ops::permute(x, std::move(axes)); });
}
Tensor Tensor::transpose(int64_t a, int64_t b) const {
  return view_of(*this, At::current(), [&](Value x) { return ops::transpose(x, a, b); });
}
Tensor Tensor::expand(Shape shape, At at) const {
  return view_of(*this, at, [&](Value x) { return ops::expand(x, shape); });
}
Tensor Tensor::slice(int64_t axis, int64_t start, int64_t stop, At at) const {
  axis = ir::normalize_axis(axis, get(*this).type, "slice");
  int64_t n = shape()[axis];
  auto clip = [n](int64_t i) { return std::min(std::max<int64_t>(i < 0 ? i + n : i, 0), n); };
  start = clip(start);
  stop = std::max(clip(stop), start);
  return view_of(*this, at, [&](Value x) { return ops::slice_axis(x, axis, start, stop - start); });
}
Tensor Tensor::select(int64_t axis, int64_t index) const {
  axis = ir::normalize_axis(axis, get(*this).type, "select");
  int64_t n = shape()[axis], place = index < 0 ? index + n : index;
  if (place < 0 || place >= n) usage_error("[select] index {} is out of range for axis {} of {}", index, axis, text(get(*this).type));
  return slice(axis, place, place + 1).squeeze(axis);
}
std::vector<Tensor> Tensor::split(int64_t size, int64_t axis) const {
  axis = ir::normalize_axis(axis, get(*this).type, "split");
  if (size <= 0) usage_error("[split] pieces of size {}", size);
  std::vector<Tensor> out;
  for (int64_t at = 0; at < shape()[axis]; at += size) out.push_back(slice(axis, at, at + size));
  return out;
}

// ---- Conversions and in-place writes

Tensor Tensor::to(DType dtype) const { return dtype == this->dtype() ? *this : wrap(ops::cast(value_of(*this), dtype)); }
Tensor Tensor::to(const Device& device, At at) const {
  if (device == this->device()) return *this;
  ir::SourceScope source(runtime::source(at));
  if (runtime::Trace::active())
    usage_error("[to] a tensor on {} is moved to {} while a function is being compiled, at {}: it runs on one device; move the tensor before",
                this->device().to_string(), device.to_string(), ir::to_string(ir::current_source()));
  const Value value = value_of(*this);
  if (runtime::on_null_device(value)) usage_error("[to] a tensor of the null device ({}) has no values", text(value.type()));
  return wrap(runtime::transfer(value, runtime::placement(device)));
}
Tensor Tensor::clone() const { return wrap(ops::copy(value_of(*this))); }
Tensor Tensor::contiguous() const { return *this; }

Tensor& Tensor::copy_(const Tensor& from, At at) {
  ir::SourceScope source(runtime::source(at));
  get(*this);
  assign(*this, value_of(from), "copy_");
  return *this;
}
Tensor& Tensor::fill_(double value) {
  assign(*this, ops::full(shape(), dtype(), value), "fill_");
  return *this;
}
#define CORTEN_IN_PLACE(method, op)                                                                                        \
  Tensor& Tensor::method(const Tensor& other) {                                                                            \
    Value mine = value_of(*this), theirs = value_of(other);                                                              \
    if (promote(mine.dtype(), theirs.dtype()) != mine.dtype() && is_floating(theirs.dtype()) && !is_floating(mine.dtype())) \
      usage_error("[" #method "] the result of {} and {} does not fit {}", text(mine.type()), text(theirs.type()), \
                  corten::name(mine.dtype()));                                                                           \
    assign(*this, ops::op(mine, ops::cast(theirs, mine.dtype())), #method);                                                \
    return *this;                                                                                                        \
  }
CORTEN_IN_PLACE(add_, add) CORTEN_IN_PLACE(sub_, sub) CORTEN_IN_PLACE(mul_, mul) CORTEN_IN_PLACE(div_, div)
#undef CORTEN_IN_PLACE
Tensor& Tensor::add_(double other) {
  assign(*this, ops::add(value_of(*this), other), "add_");
  return *this;
}
Tensor& Tensor::mul_(double other) {
  assign(*this, ops::mul(value_of(*this), other), "mul_");
  return *this;
}

// ---- Creation

Tensor from_bytes(const void* data, Shape shape, DType dtype) {
  ir::Type type{dtype, std::move(shape)};
  for (int64_t d : type.dims)
    if (d < 0) usage_error("[from_bytes] {} is not a shape", ir::to_string(type.dims));
  ir::BufferPtr buffer = runtime::allocate(type.bytes());
  // Large ones by all threads: most of the time goes into pages that are touched for the first time.
  constexpr int64_t kPart = 8 << 20;
  const int64_t bytes = type.bytes(), parts = (bytes + kPart - 1) / kPart;
  const auto copy = [&](int64_t part, int) {
    std::memcpy(static_cast<char*>(buffer->data()) + part * kPart, static_cast<const char*>(data) + part * kPart,
                static_cast<size_t>(std::min(kPart, bytes - part * kPart)));
  };
  if (parts > 1) default_thread_pool().parallel_for(parts, copy);
  else if (bytes > 0) copy(0, 0);
  return wrap(ir::make_concrete(std::move(type), std::move(buffer)));
}
Tensor from_memory(void* data, Shape shape, DType dtype, std::shared_ptr<void> owner) {
  ir::Type type{dtype, std::move(shape)};
  auto buffer = std::make_shared<ir::Buffer>(data, type.bytes(), [owner](void*) {});
  return wrap(ir::make_concrete(std::move(type), std::move(buffer)));
}
namespace {
template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  else if constexpr (std::is_same_v<T, double>) return DType::f64;
  else if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
  else if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  else return DType::u8;
}
}  // namespace
template <typename T>
Tensor from_vector(const std::vector<T>& values, Shape shape) {
  if (ir::product(shape) != static_cast<int64_t>(values.size()))
    usage_error("[from_vector] {} values do not fill {}", values.size(), ir::to_string(shape));
  return from_bytes(values.data(), std::move(shape), dtype_of<T>());
}
template Tensor from_vector(const std::vector<float>&, Shape);
template Tensor from_vector(const std::vector<double>&, Shape);
template Tensor from_vector(const std::vector<int64_t>&, Shape);
template Tensor from_vector(const std::vector<int32_t>&, Shape);
template Tensor from_vector(const std::vector<uint8_t>&, Shape);

namespace {
template <typename From, typename To>
Tensor listed(std::initializer_list<From> values, DType dtype) {
  std::vector<To> copy(values.begin(), values.end());
  return from_bytes(copy.data(), {static_cast<int64_t>(copy.size())}, dtype);
}
template <typename From, typename To>
Tensor table(std::initializer_list<std::initializer_list<From>> rows, DType dtype) {
  std::vector<To> all;
  size_t width = rows.size() ? rows.begin()->size() : 0;
  for (auto& row : rows) {
    if (row.size() != width) usage_error("[tensor] rows of {} and {} numbers", width, row.size());
    all.insert(all.end(), row.begin(), row.end());
  }
  return from_bytes(all.data(), {static_cast<int64_t>(rows.size()), static_cast<int64_t>(width)}, dtype);
}
}  // namespace
Tensor tensor(std::initializer_list<int> values) { return listed<int, int64_t>(values, DType::i64); }
Tensor tensor(std::initializer_list<int64_t> values) { return listed<int64_t, int64_t>(values, DType::i64); }
Tensor tensor(std::initializer_list<double> values) { return listed<double, float>(values, DType::f32); }
Tensor tensor(std::initializer_list<float> values) { return listed<float, float>(values, DType::f32); }
Tensor tensor(std::initializer_list<bool> values) { return listed<bool, uint8_t>(values, DType::boolean); }
Tensor tensor(std::initializer_list<std::initializer_list<double>> rows) { return table<double, float>(rows, DType::f32); }
Tensor tensor(std::initializer_list<std::initializer_list<int>> rows) { return table<int, int64_t>(rows, DType::i64); }
Tensor scalar(double value, DType dtype) {
  // Host data, not a `full` op: a number that changes from call to call does not change the program that reads it.
  switch (dtype) {
    case DType::f32: { float v = static_cast<float>(value); return from_bytes(&v, {}, dtype); }
    case DType::f64: return from_bytes(&value, {}, dtype);
    case DType::i64: { int64_t v = static_cast<int64_t>(value); return from_bytes(&v, {}, dtype); }
    case DType::i32: { int32_t v = static_cast<int32_t>(value); return from_bytes(&v, {}, dtype); }
    case DType::u8: { uint8_t v = static_cast<uint8_t>(value); return from_bytes(&v, {}, dtype); }
    case DType::boolean: { bool v = value != 0; return from_bytes(&v, {}, dtype); }
    case DType::bf16: { uint16_t v = to_bf16(static_cast<float>(value)); return from_bytes(&v, {}, dtype); }
    case DType::f16: { uint16_t v = to_f16(static_cast<float>(value)); return from_bytes(&v, {}, dtype); }
    case DType::f8_e4m3: { uint8_t v = to_e4m3(static_cast<float>(value)); return from_bytes(&v, {}, dtype); }
    case DType::f8_e5m2: { uint8_t v = to_e5m2(static_cast<float>(value)); return from_bytes(&v, {}, dtype); }
  }
  internal_error("unknown dtype");
}
Tensor full(Shape shape, double value, DType dtype, const Device& device) {
  Value v = ops::full(std::move(shape), dtype, value);
  // What is being compiled runs on one device.
  if (device.is_cuda() && v.concrete() && !runtime::on_null_device(v)) {
    const ir::Placement there = runtime::placement(device);
    return wrap(value == 0 && !std::signbit(value) ? runtime::open_device(there).zeros(v.type()) : runtime::transfer(v, there));
  }
  // Ops share one number among all elements; storage has an element each, and zeros take no memory before they are touched.
  if (v.concrete() && !runtime::on_null_device(v) && !ir::is_contiguous(v->layout, v.dims()))
    v = value == 0 && !std::signbit(value) ? ir::make_concrete(v.type(), runtime::allocate_zeros(v.type().bytes())) : ops::copy(v);
  return wrap(std::move(v));
}
Tensor zeros(Shape shape, DType dtype, const Device& device) { return full(std::move(shape), 0, dtype, device); }
Tensor ones(Shape shape, DType dtype, const Device& device) { return full(std::move(shape), 1, dtype, device); }
Tensor zeros_like(const Tensor& x) { return full(x.shape(), 0, x.dtype(), x.device()); }
Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype(), x.device()); }
Tensor arange(int64_t stop, const Device& device) { return arange(0, stop, 1, device); }
Tensor arange(int64_t start, int64_t stop, int64_t step, const Device& device) {
  if (step == 0) usage_error("[arange] a step of zero");
  const ir::PlacementScope place(runtime::placement(device));
  int64_t n = std::max<int64_t>(0, (stop - start + step - (step > 0 ? 1 : -1)) / step);
  Value i = ops::iota({n}, 0);
  if (step != 1) i = ops::mul(i, static_cast<double>(step));
  if (start != 0) i = ops::add(i, static_cast<double>(start));
  return wrap(step == 1 && start == 0 ? ops::copy(i) : i);
}

NoGradGuard::NoGradGuard() : previous_(ir::grad_enabled()) { ir::set_grad_enabled(false); }
NoGradGuard::~NoGradGuard() { ir::set_grad_enabled(previous_); }
bool is_grad_enabled() { return ir::grad_enabled(); }

}  // namespace corten
