#include "codegen/support.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/format.h"

namespace corten::codegen {
namespace {

using ir::ScalarOp;

template <typename T>
struct Sum {
  static T identity() { return T{0}; }
  static T combine(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};
template <typename T>
struct Max {
  static T identity() {
    return std::is_integral_v<T> ? std::numeric_limits<T>::min()
                                 : -std::numeric_limits<T>::infinity();
  }
  static T combine(T a, T b) {
    if constexpr (!std::is_integral_v<T>) {
      if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
      if (a == b) return std::signbit(a) ? b : a;
    }
    return a < b ? b : a;
  }
};
template <typename T>
struct Min {
  static T identity() {
    return std::is_integral_v<T> ? std::numeric_limits<T>::max()
                                 : std::numeric_limits<T>::infinity();
  }
  static T combine(T a, T b) {
    if constexpr (!std::is_integral_v<T>) {
      if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
      if (a == b) return std::signbit(a) ? a : b;
    }
    return a < b ? a : b;
  }
};

// Calls f with the combination that a code stands for: f(Sum<float>()), ...
template <typename F>
void dispatch(int32_t code, F f) {
  const auto typed = [&](auto zero) {
    using T = decltype(zero);
    switch (code >> 2) {
      case 0:
        return f(Sum<T>(), zero);
      case 1:
        return f(Max<T>(), zero);
      default:
        return f(Min<T>(), zero);
    }
  };
  switch (code & 3) {
    case 0:
      return typed(0.0f);
    case 1:
      return typed(0.0);
    case 2:
      return typed(int64_t{0});
    default:
      return typed(int32_t{0});
  }
}

// The pairwise tree over chunks, in the manner of a binary counter: stack[l] holds the combination
// of 2^l neighbours where bit l of the number of chunks so far is set. Every entry is a tile of n
// independent values.
template <typename Op, typename T>
void push(T* stack, int64_t level_bytes, int64_t chunk, T* tile, int64_t n) {
  T* level = stack;
  for (; chunk & 1; chunk >>= 1) {
    for (int64_t i = 0; i < n; ++i) tile[i] = Op::combine(level[i], tile[i]);
    level = reinterpret_cast<T*>(reinterpret_cast<char*>(level) + level_bytes);
  }
  std::memcpy(level, tile, static_cast<size_t>(n) * sizeof(T));
}
template <typename Op, typename T>
void finish(T* stack, int64_t level_bytes, int64_t chunks, T* tile, int64_t n) {
  bool first = true;
  T* level = stack;
  for (; chunks; chunks >>= 1) {
    if (chunks & 1) {
      if (first)
        std::memcpy(tile, level, static_cast<size_t>(n) * sizeof(T));
      else
        for (int64_t i = 0; i < n; ++i) tile[i] = Op::combine(level[i], tile[i]);
      first = false;
    }
    level = reinterpret_cast<T*>(reinterpret_cast<char*>(level) + level_bytes);
  }
}

extern "C" {

// Adds the result of the chunk number `chunk` (0, 1, ...); `tile` is overwritten.
void corten_tree_push(void* stack, int64_t level_bytes, int64_t chunk, void* tile, int64_t n,
                      int32_t code) {
  dispatch(code, [&]<typename Op, typename T>(Op, T) {
    push<Op>(static_cast<T*>(stack), level_bytes, chunk, static_cast<T*>(tile), n);
  });
}

// The result of all `chunks` >= 1.
void corten_tree_finish(void* stack, int64_t level_bytes, int64_t chunks, void* tile, int64_t n,
                        int32_t code) {
  dispatch(code, [&]<typename Op, typename T>(Op, T) {
    finish<Op>(static_cast<T*>(stack), level_bytes, chunks, static_cast<T*>(tile), n);
  });
}

// Combines the lanes of a chunk by halves, for n independent values: lane l of value i is tiles[l *
// lane_stride + i]. The result replaces lane 0.
void corten_tree_lanes(void* tiles, int64_t lane_stride, int64_t lanes, int64_t n, int32_t code) {
  dispatch(code, [&]<typename Op, typename T>(Op, T) {
    T* tile = static_cast<T*>(tiles);
    for (int64_t half = lanes / 2; half >= 1; half /= 2)
      for (int64_t l = 0; l < half; ++l)
        for (int64_t i = 0; i < n; ++i)
          tile[l * lane_stride + i] =
              Op::combine(tile[l * lane_stride + i], tile[(l + half) * lane_stride + i]);
  });
}

// A whole reduction of n elements by any tree.
void corten_tree_reduce(const void* elements, int64_t n, int64_t lanes, int64_t chunk, int32_t code,
                        void* result) {
  dispatch(code, [&]<typename Op, typename T>(Op, T) {
    const T* x = static_cast<const T*>(elements);
    T stack[64], *lane = static_cast<T*>(__builtin_alloca(static_cast<size_t>(lanes) * sizeof(T)));
    const int64_t chunks = n <= chunk ? 1 : (n + chunk - 1) / chunk;
    for (int64_t k = 0; k < chunks; ++k) {
      for (int64_t l = 0; l < lanes; ++l) lane[l] = Op::identity();
      const int64_t count = std::min(chunk, n - k * chunk);
      for (int64_t i = 0; i < count; ++i)
        lane[i % lanes] = Op::combine(lane[i % lanes], x[k * chunk + i]);
      corten_tree_lanes(lane, 1, lanes, 1, code);
      push<Op>(stack, sizeof(T), k, lane, 1);
    }
    finish<Op>(stack, sizeof(T), chunks, static_cast<T*>(result), 1);
  });
}

// Elements of `bytes` bytes whose bit in `mask` is set.
void corten_masked_copy(void* to, const void* from, uint32_t mask, int32_t bytes) {
  while (mask) {
    const size_t at = static_cast<size_t>(std::countr_zero(mask)) * static_cast<size_t>(bytes);
    std::memcpy(static_cast<char*>(to) + at, static_cast<const char*>(from) + at,
                static_cast<size_t>(bytes));
    mask &= mask - 1;
  }
}

void corten_fault(ir::KernelFault* fault, int64_t access, int64_t value) {
  int64_t none = 0;
  if (!std::atomic_ref(fault->flagged).compare_exchange_strong(none, 1)) return;
  fault->access = access;
  fault->value = value;
}

#define CORTEN_F64(function)                                    \
  void corten_f64_##function(double* x, int64_t n) {            \
    for (int64_t i = 0; i < n; ++i) x[i] = std::function(x[i]); \
  }
CORTEN_F64(exp)
CORTEN_F64(log)
CORTEN_F64(tanh)
CORTEN_F64(erf)
CORTEN_F64(sin)
CORTEN_F64(cos)
#undef CORTEN_F64

}  // extern "C"

#define CORTEN_X(function) {#function, reinterpret_cast<void*>(&function)}
const SupportFunction kFunctions[] = {
    CORTEN_X(corten_tree_push),
    CORTEN_X(corten_tree_finish),
    CORTEN_X(corten_tree_lanes),
    CORTEN_X(corten_tree_reduce),
    CORTEN_X(corten_masked_copy),
    CORTEN_X(corten_fault),
    CORTEN_X(corten_f64_exp),
    CORTEN_X(corten_f64_log),
    CORTEN_X(corten_f64_tanh),
    CORTEN_X(corten_f64_erf),
    CORTEN_X(corten_f64_sin),
    CORTEN_X(corten_f64_cos),
    // What the instruction selector itself may call.
    {"memcpy",
     reinterpret_cast<void*>(static_cast<void* (*)(void*, const void*, size_t)>(&std::memcpy))},
    {"memset", reinterpret_cast<void*>(static_cast<void* (*)(void*, int, size_t)>(&std::memset))},
};
#undef CORTEN_X

}  // namespace

int32_t combine_code(ScalarOp reduce, DType type) {
  const int32_t op = reduce == ScalarOp::reduce_sum ? 0 : reduce == ScalarOp::reduce_max ? 1 : 2;
  switch (type) {
    case DType::f32:
      return op << 2;
    case DType::f64:
      return op << 2 | 1;
    case DType::i64:
      return op << 2 | 2;
    case DType::i32:
      return op << 2 | 3;
    default:
      internal_error("no reduction of {}", corten::name(type));
  }
}

std::span<const SupportFunction> support_functions() {
  return kFunctions;
}

}  // namespace corten::codegen
