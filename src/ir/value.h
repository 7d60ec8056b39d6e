// Values: immutable results of ops, either in a graph being built or concrete in memory.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ir/attrs.h"
#include "ir/type.h"

namespace corten::ir {

struct Op;
class Graph;

/// Storage of concrete values. May wrap foreign memory with its own deleter. That of another device has its address there.
class Buffer {
 public:
  using Deleter = std::function<void(void*)>;
  Buffer(void* data, int64_t bytes, Deleter deleter, Placement placement = {})
      : data_(data), bytes_(bytes), deleter_(std::move(deleter)), placement_(placement) {}
  ~Buffer() {
    if (deleter_) deleter_(data_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Placement placement() const { return placement_; }

 private:
  void* data_;
  int64_t bytes_;
  Deleter deleter_;
  Placement placement_;
};
using BufferPtr = std::shared_ptr<Buffer>;

/// Where the elements of a value lie in its buffer, in elements.
struct Layout {
  int64_t offset = 0;
  Dims strides;
  bool operator==(const Layout&) const = default;
};
bool is_contiguous(const Layout& layout, const Dims& dims);

struct TapeNode;
/// The op that made a value, for reverse mode. Null node: no gradient is wanted.
struct GradEdge {
  std::shared_ptr<TapeNode> node;
  int32_t output = 0;
  explicit operator bool() const { return node != nullptr; }
};

struct ValueImpl {
  Type type;
  uint64_t graph = 0;  // id of the graph that this is a value of; 0: concrete
  int32_t node = -1, output = 0;
  BufferPtr buffer;
  Layout layout;
  GradEdge edge;
};

/// Handle of an immutable value.
class Value {
 public:
  Value() = default;
  explicit Value(std::shared_ptr<const ValueImpl> impl) : impl_(std::move(impl)) {}
  explicit operator bool() const { return impl_ != nullptr; }
  const ValueImpl& operator*() const { return *impl_; }
  const ValueImpl* operator->() const { return impl_.get(); }
  const Type& type() const { return impl_->type; }
  const Dims& dims() const { return impl_->type.dims; }
  DType dtype() const { return impl_->type.dtype; }
  int64_t rank() const { return impl_->type.rank(); }
  bool concrete() const { return impl_->graph == 0; }
  bool requires_grad() const { return static_cast<bool>(impl_->edge); }
  long use_count() const { return impl_.use_count(); }
  /// The same value with another gradient edge.
  Value with_edge(GradEdge edge) const;

 private:
  std::shared_ptr<const ValueImpl> impl_;
};
using Values = std::vector<Value>;

/// A concrete value over a buffer.
Value make_concrete(Type type, BufferPtr buffer, Layout layout);
Value make_concrete(Type type, BufferPtr buffer);  // contiguous from the start

/// What a part of a training step is for. Owners of memory are told apart by it; it changes no result.
enum class Stage : uint8_t {
  forward,
  backward,    // differentiation
  accumulate,  // sums over virtual shards
  update,      // gradient norm, clipping, optimizer
};

/// Source position of user code, for messages, dumps and memory reports.
struct Source {
  const char* file = nullptr;
  int line = 0;
  Stage stage = Stage::forward;
};

struct Vjp;
/// One recorded op: what reverse mode needs. Leaves (parameters) have no op.
struct TapeNode {
  const Op* op = nullptr;
  AttrsPtr attrs;
  Values inputs;
  std::vector<ValueImpl> outputs;  // without edges: an output must not own its own maker
  uint64_t ordinal = 0;            // creation order
  Source source;                   // of the op; its gradient has the same
  std::weak_ptr<void> owner;       // leaves: who collects the gradient
  std::function<Values(const Vjp&)> rule;  // of a region that is run again for its gradients; such a node has no op
  bool leaf() const { return !op && !rule; }
  Value output(int32_t i, const std::shared_ptr<TapeNode>& self) const;
};
GradEdge make_leaf(std::weak_ptr<void> owner = {});

/// Where ops go. The current builder of a thread is the eager executor unless a graph is being built.
class Builder {
 public:
  virtual ~Builder() = default;
  virtual Values add(const Op& op, AttrsPtr attrs, const Values& inputs) = 0;
};

/// Applies an op through the current builder and records it on the tape when a gradient may be wanted.
Values emit(const Op& op, AttrsPtr attrs, const Values& inputs);

Builder& current_builder();
/// The builder used outside of any BuilderScope; defined by the runtime.
Builder& eager_builder();
/// Sets the current builder of this thread for a scope.
class BuilderScope {
 public:
  explicit BuilderScope(Builder& builder);
  ~BuilderScope();
  BuilderScope(const BuilderScope&) = delete;

 private:
  Builder* previous_;
};

bool grad_enabled();
void set_grad_enabled(bool enabled);
/// Switches recording on the tape on or off for a scope of this thread.
class GradScope {
 public:
  explicit GradScope(bool enabled);
  ~GradScope();
  GradScope(const GradScope&) = delete;

 private:
  bool previous_;
};

std::string to_string(const Source& source);  // "model.cpp:41", "" if unknown
Source current_source();
class SourceScope {
 public:
  explicit SourceScope(Source source);
  ~SourceScope();

 private:
  Source previous_;
};
/// Sets the stage of what this thread builds for a scope; file and line stay as they are.
class StageScope {
 public:
  explicit StageScope(Stage stage);
  ~StageScope();
  StageScope(const StageScope&) = delete;

 private:
  Stage previous_;
};

}  // namespace corten::ir
