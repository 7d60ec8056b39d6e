// Communication among ranks: one narrow interface over the engines that carry it out.
//
// Engines: the ranks of one process (comm/local.h), and NCCL on NVIDIA GPUs (cuda/device_comm.h).
// All ranks make the same collective calls in the same order. Arguments are checked here, before
// an engine sees them; what needs a look at other ranks is the engine's to check.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "comm/call.h"

namespace corten::comm {

/// Memory of the engine's device that is read, `count` elements; null only if there are none.
struct Input {
  const void* data = nullptr;
  int64_t count = 0;
};
/// The same, written.
struct Output {
  void* data = nullptr;
  int64_t count = 0;
};

/// "all_reduce(sum) of f32[12]", "send of i64[3] to rank 1".
std::string describe(const Call& call);
const char* name(CallKind kind);

/// One rank of a group. It belongs to one thread. An operation that fails leaves the group
/// unusable: the others fail too, with the same reason where the engine can tell them.
///
/// Calls may be asynchronous: what they read and write belongs to the engine until synchronize().
/// Errors are usage errors (arguments, calls that do not fit those of other ranks) or resource
/// errors (a rank that does not come, devices, networks). Element types: f32, f64, bf16, f16, i64.
class Comm {
 public:
  virtual ~Comm() = default;
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// "local, rank 1 of 4".
  virtual std::string describe() const = 0;
  /// Whether reductions have the order of comm/reduce.h: then their bits depend on the values and
  /// on the number of ranks, and on nothing else.
  virtual bool fixed_order() const = 0;

  /// `to` gets the reduction of all ranks' `from`, in every rank. They may be the same memory.
  void all_reduce(Input from, Output to, DType dtype, Reduction reduction);
  /// `to` gets `from` of rank 0, of rank 1, ...: it has size() times as many elements. `from` may
  /// be its own place within `to`.
  void all_gather(Input from, Output to, DType dtype);
  /// `to` gets this rank's part of the reduction of all ranks' `from`, which has size() times as
  /// many elements. `to` may be its own place within `from`.
  void reduce_scatter(Input from, Output to, DType dtype, Reduction reduction);
  /// `data` gets what it holds in rank `root`.
  void broadcast(Output data, DType dtype, int root);
  /// The other rank receives as many elements of the same type. May wait until it does: two ranks
  /// that both send first wait for each other, which is what exchange() is for.
  void send(Input from, DType dtype, int to_rank);
  void recv(Output to, DType dtype, int from_rank);
  /// Sends to one rank and receives from one (the same, another, or oneself) at once.
  void exchange(Input from, int to_rank, Output to, int from_rank, DType dtype);
  /// Waits until every rank is here.
  void barrier();

  /// Waits for the calls so far.
  virtual void synchronize() = 0;
  /// Gives the group up: calls of all its ranks fail, those that wait too, with this reason where
  /// the engine can tell them. From any thread.
  virtual void abort(const std::string& reason) = 0;

 protected:
  Comm(int rank, int size);
  /// A collective, or sends and receives that go on at the same time.
  virtual void run(std::span<const Call> together) = 0;

 private:
  void check_rank(CallKind kind, const char* what, int rank) const;

  int rank_, size_;
};

/// Usage error unless 0 <= rank < size.
void check_group(int rank, int size);
/// Usage error unless it is above 0 and at most 30 days.
void check_timeout(double seconds);

}  // namespace corten::comm
