#include "ir/value.h"

#include <atomic>
#include <cstring>

#include "base/format.h"
#include "ir/op.h"

namespace corten::ir {
namespace {

thread_local Builder* t_builder = nullptr;
thread_local bool t_grad = true;
thread_local Source t_source;
std::atomic<uint64_t> g_ordinal{0};

}  // namespace

bool is_contiguous(const Layout& layout, const Dims& dims) {
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && layout.strides[i] != step) return false;
    step *= dims[i];
  }
  return true;
}

Value Value::with_edge(GradEdge edge) const {
  auto copy = std::make_shared<ValueImpl>(*impl_);
  copy->edge = std::move(edge);
  return Value(std::move(copy));
}

Value make_concrete(Type type, BufferPtr buffer, Layout layout) {
  auto impl = std::make_shared<ValueImpl>();
  impl->type = std::move(type);
  impl->buffer = std::move(buffer);
  impl->layout = std::move(layout);
  return Value(std::move(impl));
}

Value make_concrete(Type type, BufferPtr buffer) {
  Layout layout{0, contiguous_strides(type.dims)};
  return make_concrete(std::move(type), std::move(buffer), std::move(layout));
}

Value TapeNode::output(int32_t i, const std::shared_ptr<TapeNode>& self) const {
  auto copy = std::make_shared<ValueImpl>(outputs[i]);
  copy->edge = {self, i};
  return Value(std::move(copy));
}

GradEdge make_leaf(std::weak_ptr<void> owner) {
  auto node = std::make_shared<TapeNode>();
  node->owner = std::move(owner);
  node->ordinal = ++g_ordinal;
  return {std::move(node), 0};
}

Values emit(const Op& op, AttrsPtr attrs, const Values& inputs) {
  if (op.arity >= 0 && static_cast<int>(inputs.size()) != op.arity)
    internal_error("[{}] takes {} operands, got {}", op.name, op.arity, inputs.size());
  Values outputs = current_builder().add(op, attrs, inputs);
  if (!t_grad || !op.differentiable) return outputs;
  bool wanted = false;
  for (const Value& input : inputs) wanted |= input.requires_grad() && is_floating(input.dtype());
  if (!wanted) return outputs;
  auto node = std::make_shared<TapeNode>();
  node->op = &op;
  node->attrs = std::move(attrs);
  node->inputs = inputs;
  node->ordinal = ++g_ordinal;
  node->source = t_source;
  for (const Value& output : outputs) node->outputs.push_back(*output);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_floating(outputs[i].dtype())) outputs[i] = outputs[i].with_edge({node, static_cast<int32_t>(i)});
  return outputs;
}

Builder& current_builder() { return t_builder ? *t_builder : eager_builder(); }
BuilderScope::BuilderScope(Builder& builder) : previous_(t_builder) { t_builder = &builder; }
BuilderScope::~BuilderScope() { t_builder = previous_; }

bool grad_enabled() { return t_grad; }
void set_grad_enabled(bool enabled) { t_grad = enabled; }
GradScope::GradScope(bool enabled) : previous_(t_grad) { t_grad = enabled; }
GradScope::~GradScope() { t_grad = previous_; }

std::string to_string(const Source& source) {
  if (!source.file) return "";
  const char* slash = std::strrchr(source.file, '/');
  return format("{}:{}", slash ? slash + 1 : source.file, source.line);
}
Source current_source() { return t_source; }
SourceScope::SourceScope(Source source) : previous_(t_source) { t_source = source; }
SourceScope::~SourceScope() { t_source = previous_; }
StageScope::StageScope(Stage stage) : previous_(t_source.stage) { t_source.stage = stage; }
StageScope::~StageScope() { t_source.stage = previous_; }

}  // namespace corten::ir
