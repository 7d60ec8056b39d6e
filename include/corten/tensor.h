// Tensors: n-dimensional arrays with automatic differentiation.
//
// A Tensor is a handle: copies share the same storage, as in PyTorch. Views (reshape, slices, transposes) share it too:
// writing through one is seen by all. Operations are functions (corten/ops.h) and run at once, or are recorded while a
// function is being compiled (corten/compile.h); both give the same bits.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "corten/device.h"
#include "corten/dtype.h"
#include "corten/error.h"

namespace corten {

using Shape = std::vector<int64_t>;
using At = std::source_location;  ///< where a call stands in user code; named in errors and dumps

struct TensorImpl;

class Tensor {
 public:
  Tensor() = default;  ///< undefined; most uses raise a Usage error
  bool defined() const noexcept { return impl_ != nullptr; }

  // ---- Type
  const Shape& shape() const;
  int64_t size(int64_t axis) const;  ///< negative axes count from the end
  int64_t dim() const;
  int64_t numel() const;
  DType dtype() const;
  Device device() const;
  bool is_cuda() const { return device().is_cuda(); }

  // ---- Values on the host; those of another device are copied, behind everything that was asked of it. Usage error while a
  // function is being compiled: the value does not exist yet.
  /// The only element, converted to T (double, float, int64_t, int or bool).
  template <typename T = double>
  T item(At at = At::current()) const;
  /// All elements in row-major order, converted to T.
  template <typename T>
  std::vector<T> to_vector(At at = At::current()) const;
  /// Text as PyTorch prints it: large tensors are summarised.
  std::string to_string() const;

  // ---- Differentiation
  bool requires_grad() const;
  /// Makes a leaf that collects gradients. Usage error for integer types and for results of operations.
  /// A detached tensor becomes a leaf of its own with the present values.
  Tensor& set_requires_grad(bool value = true);
  /// The accumulated gradient; undefined if there is none.
  Tensor grad() const;
  void set_grad(const Tensor& grad);
  void zero_grad();  ///< grad() becomes undefined
  bool is_leaf() const;
  /// Adds d(this)/d(leaf), weighted by `gradient` (default 1; required unless this has one element), to every leaf's grad().
  void backward(const Tensor& gradient = {}, bool create_graph = false, At at = At::current()) const;
  /// The same values, not differentiated.
  Tensor detach() const;

  // ---- Views (sharing storage)
  Tensor reshape(Shape shape, At at = At::current()) const;  ///< one size may be -1
  Tensor view(Shape shape, At at = At::current()) const { return reshape(std::move(shape), at); }
  Tensor flatten(int64_t first = 0, int64_t last = -1) const;
  Tensor unsqueeze(int64_t axis) const;
  Tensor squeeze(int64_t axis) const;
  Tensor permute(std::vector<int64_t> axes, At at = At::current()) const;
  Tensor transpose(int64_t a, int64_t b) const;
  Tensor t() const { return transpose(-2, -1); }
  Tensor expand(Shape shape, At at = At::current()) const;
  /// Elements start, start + 1, ..., stop - 1 along `axis`; negative positions count from the end, beyond it is clipped.
  Tensor slice(int64_t axis, int64_t start, int64_t stop, At at = At::current()) const;
  /// Position `index` of `axis`, which goes away.
  Tensor select(int64_t axis, int64_t index) const;
  Tensor operator[](int64_t index) const { return select(0, index); }
  /// Pieces of `size` along `axis` (the last may be smaller).
  std::vector<Tensor> split(int64_t size, int64_t axis) const;

  // ---- Conversions
  Tensor to(DType dtype) const;
  /// The same values on another device, differentiable; this tensor if it lies there. Usage error while a function is being
  /// compiled, which runs on one device.
  Tensor to(const Device& device, At at = At::current()) const;
  Tensor cpu(At at = At::current()) const { return to(Device(), at); }
  Tensor cuda(int index = 0, At at = At::current()) const { return to(Device(DeviceType::cuda, index), at); }
  Tensor clone() const;       ///< storage of its own, differentiable
  Tensor contiguous() const;  ///< this tensor: operations read any layout

  // ---- In place. The storage gets a new value and every view sees it; what was saved for backward keeps its own.
  // Usage error for a leaf that requires grad (unless gradients are off) and for expanded views.
  Tensor& copy_(const Tensor& source, At at = At::current());  ///< broadcast and converted, from any device
  Tensor& fill_(double value);
  Tensor& zero_() { return fill_(0); }
  Tensor& add_(const Tensor& other);
  Tensor& sub_(const Tensor& other);
  Tensor& mul_(const Tensor& other);
  Tensor& div_(const Tensor& other);
  Tensor& add_(double other);
  Tensor& mul_(double other);
  Tensor& operator+=(const Tensor& other) { return add_(other); }
  Tensor& operator-=(const Tensor& other) { return sub_(other); }
  Tensor& operator*=(const Tensor& other) { return mul_(other); }

  // ---- Methods of the same meaning as the functions in corten/ops.h
  Tensor sum(std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current()) const;
  Tensor mean(std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current()) const;
  Tensor amax(std::vector<int64_t> axes = {}, bool keepdim = false, At at = At::current()) const;
  Tensor argmax(int64_t axis, bool keepdim = false, At at = At::current()) const;
  Tensor matmul(const Tensor& other, At at = At::current()) const;

  /// For the library itself.
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
  const std::shared_ptr<TensorImpl>& impl() const { return impl_; }

 private:
  std::shared_ptr<TensorImpl> impl_;
};

std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// ---- Creation. dtype: integers give i64, floating-point numbers f32, bool gives bool, as in PyTorch.
Tensor tensor(std::initializer_list<int> values);
Tensor tensor(std::initializer_list<int64_t> values);
Tensor tensor(std::initializer_list<double> values);
Tensor tensor(std::initializer_list<float> values);
Tensor tensor(std::initializer_list<bool> values);
Tensor tensor(std::initializer_list<std::initializer_list<double>> rows);  ///< f32 [rows, columns]
Tensor tensor(std::initializer_list<std::initializer_list<int>> rows);     ///< i64 [rows, columns]
Tensor scalar(double value, DType dtype = DType::f32);                     ///< 0-d
/// Copies `values` (row-major) into a tensor of the given shape; the dtype is that of T (float f32, double f64,
/// int64_t i64, int32_t i32, uint8_t u8).
template <typename T>
Tensor from_vector(const std::vector<T>& values, Shape shape);
/// Copies raw memory of numel * size_of(dtype) bytes.
Tensor from_bytes(const void* data, Shape shape, DType dtype);
/// Wraps memory without a copy; `owner` keeps it alive.
Tensor from_memory(void* data, Shape shape, DType dtype, std::shared_ptr<void> owner);
Tensor zeros(Shape shape, DType dtype = DType::f32, const Device& device = {});
Tensor ones(Shape shape, DType dtype = DType::f32, const Device& device = {});
Tensor full(Shape shape, double value, DType dtype = DType::f32, const Device& device = {});
Tensor zeros_like(const Tensor& x);  ///< on its device
Tensor ones_like(const Tensor& x);
Tensor arange(int64_t stop, const Device& device = {});                                ///< i64: 0, 1, ..., stop - 1
Tensor arange(int64_t start, int64_t stop, int64_t step, const Device& device = {});   ///< i64

/// Switches differentiation off for a scope of this thread, as torch.no_grad.
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;

 private:
  bool previous_;
};
bool is_grad_enabled();

/// Gradients of `outputs` (weighted by `grad_outputs`, default 1) with respect to `inputs`; undefined where independent.
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& grad_outputs = {}, bool create_graph = false);

}  // namespace corten
