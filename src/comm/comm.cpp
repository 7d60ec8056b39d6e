#include "comm/comm.h"

#include "base/format.h"

namespace corten::comm {
namespace {

const char* name(Reduction reduction) {
  switch (reduction) {
    case Reduction::sum:
      return "sum";
    case Reduction::max:
      return "max";
    case Reduction::mean:
      return "mean";
  }
  return "?";
}

void check_dtype(CallKind kind, DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f64:
    case DType::bf16:
    case DType::f16:
    case DType::i64:
      return;
    default:
      usage_error("[{}] {} is not sent among ranks: f32, f64, bf16, f16 and i64 are", name(kind),
                  corten::name(dtype));
  }
}

void check_reduction(CallKind kind, DType dtype, Reduction reduction) {
  if (reduction == Reduction::mean && dtype == DType::i64)
    usage_error("[{}] there is no mean of i64: take the sum, or convert to a floating type",
                name(kind));
}

void check_memory(CallKind kind, const char* what, const void* data, int64_t count) {
  if (count < 0) usage_error("[{}] {} has {} elements", name(kind), what, count);
  if (count > 0 && !data)
    usage_error("[{}] {} of {} elements has no memory (null)", name(kind), what, count);
}

// `a` and `b` may share memory only where `same` says that they may.
void check_overlap(CallKind kind, Input a, Output b, DType dtype, const void* same_a,
                   const void* same_b) {
  const auto bytes = [&](int64_t count) { return static_cast<uintptr_t>(count) * size_of(dtype); };
  const auto from = reinterpret_cast<uintptr_t>(a.data), to = reinterpret_cast<uintptr_t>(b.data);
  if (a.count == 0 || b.count == 0 || (same_a && same_a == same_b)) return;
  if (from < to + bytes(b.count) && to < from + bytes(a.count))
    usage_error(
        "[{}] input ({} elements) and output ({} elements) of {} overlap by parts: the "
        "output starts {} bytes behind the input",
        name(kind), a.count, b.count, corten::name(dtype),
        static_cast<int64_t>(to) - static_cast<int64_t>(from));
}

// Element `index` of what starts at `data`.
const void* element(const void* data, int64_t index, DType dtype) {
  return static_cast<const char*>(data) + index * static_cast<int64_t>(size_of(dtype));
}

}  // namespace

const char* name(CallKind kind) {
  switch (kind) {
    case CallKind::all_reduce:
      return "all_reduce";
    case CallKind::all_gather:
      return "all_gather";
    case CallKind::reduce_scatter:
      return "reduce_scatter";
    case CallKind::broadcast:
      return "broadcast";
    case CallKind::send:
      return "send";
    case CallKind::recv:
      return "recv";
    case CallKind::barrier:
      return "barrier";
  }
  return "?";
}

std::string describe(const Call& call) {
  const std::string what = format("{}[{}]", corten::name(call.dtype), call.count);
  switch (call.kind) {
    case CallKind::all_reduce:
    case CallKind::reduce_scatter:
      return format("{}({}) of {}", name(call.kind), name(call.reduction), what);
    case CallKind::all_gather:
      return "all_gather of " + what;
    case CallKind::broadcast:
      return format("broadcast of {} from rank {}", what, call.peer);
    case CallKind::send:
      return format("send of {} to rank {}", what, call.peer);
    case CallKind::recv:
      return format("recv of {} from rank {}", what, call.peer);
    case CallKind::barrier:
      return "barrier";
  }
  return "?";
}

void check_group(int rank, int size) {
  if (size < 1) usage_error("a group of {} ranks: at least 1 is needed", size);
  if (rank < 0 || rank >= size)
    usage_error("rank {} is out of range for a group of {} (0 to {})", rank, size, size - 1);
}

void check_timeout(double seconds) {
  constexpr double kLongest = 30 * 86400;
  if (!(seconds > 0 && seconds <= kLongest))
    usage_error("a timeout of {} s: it must be above 0 and at most {} s", seconds, kLongest);
}

Comm::Comm(int rank, int size) : rank_(rank), size_(size) {
  check_group(rank, size);
}

void Comm::check_rank(CallKind kind, const char* what, int rank) const {
  if (rank < 0 || rank >= size_)
    usage_error("[{}] {} {} is out of range for a group of {} (0 to {})", name(kind), what, rank,
                size_, size_ - 1);
}

void Comm::all_reduce(Input from, Output to, DType dtype, Reduction reduction) {
  constexpr CallKind kind = CallKind::all_reduce;
  check_dtype(kind, dtype);
  check_reduction(kind, dtype, reduction);
  check_memory(kind, "the input", from.data, from.count);
  check_memory(kind, "the output", to.data, to.count);
  if (to.count != from.count)
    usage_error("[all_reduce] the input has {} elements and the output {}; they must be as many",
                from.count, to.count);
  check_overlap(kind, from, to, dtype, from.data, to.data);
  const Call call{kind, dtype, reduction, 0, from.data, to.data, from.count};
  run({&call, 1});
}

void Comm::all_gather(Input from, Output to, DType dtype) {
  constexpr CallKind kind = CallKind::all_gather;
  check_dtype(kind, dtype);
  check_memory(kind, "the input", from.data, from.count);
  check_memory(kind, "the output", to.data, to.count);
  if (to.count % size_ != 0 || to.count / size_ != from.count)
    usage_error(
        "[all_gather] {} ranks give {} elements each, which the output of {} cannot hold: "
        "it must have as many as all ranks give",
        size_, from.count, to.count);
  check_overlap(kind, from, to, dtype, from.data, element(to.data, rank_ * from.count, dtype));
  const Call call{kind, dtype, Reduction::sum, 0, from.data, to.data, from.count};
  run({&call, 1});
}

void Comm::reduce_scatter(Input from, Output to, DType dtype, Reduction reduction) {
  constexpr CallKind kind = CallKind::reduce_scatter;
  check_dtype(kind, dtype);
  check_reduction(kind, dtype, reduction);
  check_memory(kind, "the input", from.data, from.count);
  check_memory(kind, "the output", to.data, to.count);
  if (from.count % size_ != 0 || from.count / size_ != to.count)
    usage_error(
        "[reduce_scatter] {} ranks take {} elements each of an input that has {}: it must "
        "have as many as all ranks take",
        size_, to.count, from.count);
  check_overlap(kind, from, to, dtype, element(from.data, rank_ * to.count, dtype), to.data);
  const Call call{kind, dtype, reduction, 0, from.data, to.data, to.count};
  run({&call, 1});
}

void Comm::broadcast(Output data, DType dtype, int root) {
  constexpr CallKind kind = CallKind::broadcast;
  check_dtype(kind, dtype);
  check_rank(kind, "root", root);
  check_memory(kind, "the memory", data.data, data.count);
  const Call call{kind, dtype, Reduction::sum, root, data.data, data.data, data.count};
  run({&call, 1});
}

void Comm::send(Input from, DType dtype, int to_rank) {
  constexpr CallKind kind = CallKind::send;
  check_dtype(kind, dtype);
  check_rank(kind, "rank", to_rank);
  check_memory(kind, "the input", from.data, from.count);
  if (to_rank == rank_) usage_error("[send] rank {} sends to itself; exchange() can", rank_);
  const Call call{kind, dtype, Reduction::sum, to_rank, from.data, nullptr, from.count};
  run({&call, 1});
}

void Comm::recv(Output to, DType dtype, int from_rank) {
  constexpr CallKind kind = CallKind::recv;
  check_dtype(kind, dtype);
  check_rank(kind, "rank", from_rank);
  check_memory(kind, "the output", to.data, to.count);
  if (from_rank == rank_) usage_error("[recv] rank {} receives from itself; exchange() can", rank_);
  const Call call{kind, dtype, Reduction::sum, from_rank, nullptr, to.data, to.count};
  run({&call, 1});
}

void Comm::exchange(Input from, int to_rank, Output to, int from_rank, DType dtype) {
  check_dtype(CallKind::send, dtype);
  check_rank(CallKind::send, "rank", to_rank);
  check_rank(CallKind::recv, "rank", from_rank);
  check_memory(CallKind::send, "the input", from.data, from.count);
  check_memory(CallKind::recv, "the output", to.data, to.count);
  check_overlap(CallKind::recv, from, to, dtype, nullptr, nullptr);
  const Call calls[] = {
      {CallKind::send, dtype, Reduction::sum, to_rank, from.data, nullptr, from.count},
      {CallKind::recv, dtype, Reduction::sum, from_rank, nullptr, to.data, to.count}};
  run(calls);
}

void Comm::barrier() {
  const Call call;
  run({&call, 1});
}

}  // namespace corten::comm
