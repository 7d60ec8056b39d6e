// Programs of single ops by everything that they depend on; least recently used ones are forgotten.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/thread_pool.h"
#include "ir/op.h"
#include "passes/precision.h"

namespace corten::runtime {

template <typename P>
class ProgramCache {
 public:
  /// Null if there is none.
  std::shared_ptr<P> find(const std::string& key) {
    std::lock_guard lock(mutex_);
    auto found = map_.find(key);
    if (found == map_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return found->second->second;
  }
  void insert(const std::string& key, std::shared_ptr<P> program) {
    std::lock_guard lock(mutex_);
    if (map_.count(key)) return;
    order_.emplace_front(key, std::move(program));
    map_[key] = order_.begin();
    if (order_.size() > kLimit) {
      map_.erase(order_.back().first);
      order_.pop_back();
    }
  }
  size_t size() {
    std::lock_guard lock(mutex_);
    return map_.size();
  }

 private:
  static constexpr size_t kLimit = 4096;
  std::mutex mutex_;
  std::list<std::pair<std::string, std::shared_ptr<P>>> order_;
  std::unordered_map<std::string, typename decltype(order_)::iterator> map_;
};

/// Everything that a program of one op depends on, as bytes. Whoever depends on where operands
/// begin adds that.
inline void make_program_key(const ir::Op& op, const ir::Attrs& attrs, const ir::Values& inputs,
                             std::string& key) {
  auto bytes = [&key](const auto& value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  auto dims = [&key](const ir::Dims& d) {
    key.append(reinterpret_cast<const char*>(d.data()), d.size() * sizeof(int64_t));
  };
  key.clear();
  bytes(&op);
  bytes(default_thread_pool().num_threads());
  bytes(passes::matmul_precision().data());
  key += attrs.text();
  key += '\0';
  for (const ir::Value& v : inputs) {
    bytes(v.dtype());
    bytes(v.rank());
    dims(v.dims());
    dims(v->layout.strides);
  }
}

}  // namespace corten::runtime
