#include "comm/reduce.h"

#include <algorithm>

#include "base/half.h"

namespace corten::comm {
namespace {

// Of one block, so that a partial result per level of the tree fits in the cache (and the stack).
constexpr int64_t kBlock = 512;

template <DType dtype>
struct Element;
template <>
struct Element<DType::f32> {
  using Stored = float;
  using Computed = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};
template <>
struct Element<DType::f64> {
  using Stored = double;
  using Computed = double;
  static double load(double x) { return x; }
  static double store(double x) { return x; }
};
template <>
struct Element<DType::bf16> {
  using Stored = uint16_t;
  using Computed = float;
  static float load(uint16_t x) { return from_bf16(x); }
  static uint16_t store(float x) { return to_bf16(x); }
};
template <>
struct Element<DType::f16> {
  using Stored = uint16_t;
  using Computed = float;
  static float load(uint16_t x) { return from_f16(x); }
  static uint16_t store(float x) { return to_f16(x); }
};
template <>
struct Element<DType::i64> {
  using Stored = int64_t;
  using Computed = int64_t;
  static int64_t load(int64_t x) { return x; }
  static int64_t store(int64_t x) { return x; }
};

template <typename T>
T sum(T a, T b) {
  return a + b;
}
template <>
int64_t sum(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
template <typename T>
T maximum(T a, T b) {
  return a != a ? a : (b > a || b != b) ? b : a;
}

template <DType dtype, Reduction reduction>
void reduce_block(std::span<const void* const> inputs, int64_t begin, int64_t count,
                  typename Element<dtype>::Computed* out) {
  using E = Element<dtype>;
  if (inputs.size() == 1) {
    const auto* in = static_cast<const typename E::Stored*>(inputs[0]) + begin;
    for (int64_t i = 0; i < count; ++i) out[i] = E::load(in[i]);
    return;
  }
  const size_t half = inputs.size() / 2;
  typename E::Computed right[kBlock];
  reduce_block<dtype, reduction>(inputs.first(half), begin, count, out);
  reduce_block<dtype, reduction>(inputs.subspan(half), begin, count, right);
  for (int64_t i = 0; i < count; ++i)
    out[i] = reduction == Reduction::max ? maximum(out[i], right[i]) : sum(out[i], right[i]);
}

struct Work {
  std::span<const void* const> inputs;
  int64_t begin, count;
  std::span<void* const> outputs;
  int64_t to_begin;
};

template <DType dtype, Reduction reduction>
void reduce_all(const Work& work) {
  using E = Element<dtype>;
  using Computed = typename E::Computed;
  Computed sums[kBlock];
  typename E::Stored rounded[kBlock];
  const auto ranks = static_cast<Computed>(work.inputs.size());
  for (int64_t done = 0; done < work.count; done += kBlock) {
    const int64_t count = std::min(kBlock, work.count - done);
    reduce_block<dtype, reduction>(work.inputs, work.begin + done, count, sums);
    for (int64_t i = 0; i < count; ++i)
      rounded[i] = E::store(reduction == Reduction::mean ? sums[i] / ranks : sums[i]);
    for (void* out : work.outputs)
      std::copy_n(rounded, count, static_cast<typename E::Stored*>(out) + work.to_begin + done);
  }
}

template <DType dtype>
void reduce_as(const Work& work, Reduction reduction) {
  switch (reduction) {
    case Reduction::sum:
      return reduce_all<dtype, Reduction::sum>(work);
    case Reduction::max:
      return reduce_all<dtype, Reduction::max>(work);
    case Reduction::mean:
      return reduce_all<dtype, Reduction::mean>(work);
  }
}

}  // namespace

void reduce_ranks(std::span<const void* const> inputs, int64_t begin, int64_t count,
                  std::span<void* const> outputs, int64_t to_begin, DType dtype,
                  Reduction reduction) noexcept {
  const Work work{inputs, begin, count, outputs, to_begin};
  switch (dtype) {
    case DType::f32:
      return reduce_as<DType::f32>(work, reduction);
    case DType::f64:
      return reduce_as<DType::f64>(work, reduction);
    case DType::bf16:
      return reduce_as<DType::bf16>(work, reduction);
    case DType::f16:
      return reduce_as<DType::f16>(work, reduction);
    case DType::i64:
      return reduce_as<DType::i64>(work, reduction);
    default:
      return;  // Comm lets no other pass
  }
}

}  // namespace corten::comm
