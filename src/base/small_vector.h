// A vector of a few trivially copyable elements: up to N lie in the object itself, more on the heap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>
#include <vector>

namespace corten {

template <typename T, uint32_t N>
class SmallVector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;
  using iterator = T*;
  using const_iterator = const T*;

  SmallVector() noexcept {}
  explicit SmallVector(size_t count, const T& value = T()) { assign(count, value); }
  SmallVector(std::initializer_list<T> list) { append(list.begin(), list.end()); }
  SmallVector(const std::vector<T>& from) { append(from.data(), from.data() + from.size()); }
  SmallVector(const SmallVector& from) { append(from.begin(), from.end()); }
  SmallVector(SmallVector&& from) noexcept { steal(from); }
  SmallVector& operator=(const SmallVector& from) {
    if (this == &from) return *this;
    size_ = 0;
    append(from.begin(), from.end());
    return *this;
  }
  SmallVector& operator=(SmallVector&& from) noexcept {
    if (this == &from) return *this;
    release();
    steal(from);
    return *this;
  }
  ~SmallVector() { release(); }

  size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* data() noexcept { return capacity_ > N ? heap_ : reinterpret_cast<T*>(inside_); }
  const T* data() const noexcept { return capacity_ > N ? heap_ : reinterpret_cast<const T*>(inside_); }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size_; }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  T& back() { return data()[size_ - 1]; }
  const T& back() const { return data()[size_ - 1]; }
  bool operator==(const SmallVector& o) const { return std::equal(begin(), end(), o.begin(), o.end()); }

  void clear() noexcept { size_ = 0; }
  void reserve(size_t count) {
    if (count > capacity_) grow(count);
  }
  void push_back(T value) {
    if (size_ == capacity_) grow(size_t{2} * capacity_);
    data()[size_++] = value;
  }
  void pop_back() noexcept { --size_; }
  void assign(size_t count, T value) {
    size_ = 0;
    reserve(count);
    std::fill_n(data(), count, value);
    size_ = static_cast<uint32_t>(count);
  }

 private:
  void append(const T* first, const T* last) {
    const auto count = static_cast<size_t>(last - first);
    reserve(size_ + count);
    std::copy(first, last, data() + size_);
    size_ += static_cast<uint32_t>(count);
  }
  void grow(size_t capacity) {
    T* fresh = static_cast<T*>(::operator new(capacity * sizeof(T)));
    std::copy(begin(), end(), fresh);
    release();
    heap_ = fresh;
    capacity_ = static_cast<uint32_t>(capacity);
  }
  void release() noexcept {
    if (capacity_ > N) ::operator delete(heap_);
    capacity_ = N;
  }
  void steal(SmallVector& from) noexcept {
    size_ = from.size_;
    capacity_ = from.capacity_;
    if (capacity_ > N) heap_ = from.heap_;
    else std::copy(from.begin(), from.end(), begin());
    from.size_ = 0;
    from.capacity_ = N;
  }

  uint32_t size_ = 0, capacity_ = N;
  union {
    alignas(T) unsigned char inside_[N * sizeof(T)];
    T* heap_;
  };
};

}  // namespace corten
