#include "comm/local.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/format.h"
#include "comm/reduce.h"

namespace corten::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

// What the ranks share. A collective has two meetings: it opens when all ranks have arrived and
// their calls agree, and closes when all have done their part. Between the two every rank works on
// all ranks' memory, so nobody leaves, whatever fails meanwhile; before it opens nobody touches the
// memory of others, so leaving is safe. A message is posted by its sender and taken by its receiver
// in the same way.
class Group {
 public:
  Group(int size, double timeout_seconds)
      : seats_(static_cast<size_t>(size)),
        messages_(static_cast<size_t>(size) * static_cast<size_t>(size)),
        inputs_(static_cast<size_t>(size)),
        outputs_(static_cast<size_t>(size)),
        timeout_(timeout_seconds) {}

  void collective(int rank, const Call& call);
  void messages(int rank, std::span<const Call> calls);

  void fail(ErrorKind kind, std::string text) {
    const std::scoped_lock lock(mutex_);
    fail_locked(kind, std::move(text));
  }
  void leave(int rank) {
    const std::scoped_lock lock(mutex_);
    seat(rank).gone = true;
    changed_.notify_all();
  }

 private:
  struct Seat {
    Call call;
    int64_t collectives = 0;
    bool here = false;  // arrived at the collective that is not open yet
    bool gone = false;
  };
  enum class Stage { none, posted, taken, done };
  struct Message {
    Stage stage = Stage::none;
    Call call;
  };

  int size() const { return static_cast<int>(seats_.size()); }
  Seat& seat(int rank) { return seats_[static_cast<size_t>(rank)]; }
  Message& message(int from, int to) {
    return messages_[static_cast<size_t>(from) * seats_.size() + static_cast<size_t>(to)];
  }
  Clock::time_point deadline() const {
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_));
  }
  // The first failure is the one that all ranks report.
  void fail_locked(ErrorKind kind, std::string text) {
    if (!failure_) failure_.emplace(kind, std::move(text));
    changed_.notify_all();
  }
  void raise_failure() const {
    if (failure_) throw Error(*failure_);
  }

  std::string difference() const;
  void report_missing(const Call& call, bool gone_only);
  void work(int rank, const Call& call) noexcept;
  void receive(Lock& lock, int rank, const Call& call);
  void finish_send(Lock& lock, int rank, const Call& call);
  void withdraw(Lock& lock, Message& m);

  std::vector<Seat> seats_;
  std::vector<Message> messages_;  // [sender][receiver]
  // Of the collective that is open, by rank.
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
  double timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> failure_;
  int arrived_ = 0, finished_ = 0;
  int64_t opened_ = 0, closed_ = 0;  // collectives so far
};

// Of the calls of all ranks, "" if they agree.
std::string Group::difference() const {
  const Call& first = seats_[0].call;
  for (size_t r = 1; r < seats_.size(); ++r) {
    const Call& other = seats_[r].call;
    if (other.kind != first.kind || other.dtype != first.dtype || other.count != first.count ||
        other.reduction != first.reduction || other.peer != first.peer)
      return format("[{}] the ranks' collective {} differs: rank 0 calls {}, rank {} calls {}",
                    name(first.kind), seats_[0].collectives, describe(first), r, describe(other));
  }
  return "";
}

// Fails if a rank that has not arrived is gone, or because time is up.
void Group::report_missing(const Call& call, bool gone_only) {
  for (int r = 0; r < size(); ++r) {
    const Seat& s = seat(r);
    if (s.here || (gone_only && !s.gone)) continue;
    const std::string last = s.collectives ? format("its last collective was number {}, {}",
                                                    s.collectives, describe(s.call))
                                           : std::string("it has made no collective call yet");
    if (s.gone)
      fail_locked(ErrorKind::Resource, format("[{}] rank {} of {} has left the group; {}",
                                              name(call.kind), r, size(), last));
    else
      fail_locked(ErrorKind::Resource,
                  format("[{}] rank {} of {} did not arrive within {} s at collective {}, {}; {}",
                         name(call.kind), r, size(), timeout_, opened_ + 1, describe(call), last));
    return;
  }
}

void Group::collective(int rank, const Call& call) {
  Lock lock(mutex_);
  raise_failure();
  const int64_t turn = opened_ + 1;
  Seat& mine = seat(rank);
  mine.call = call;
  ++mine.collectives;
  mine.here = true;
  if (++arrived_ == size()) {
    if (std::string text = difference(); !text.empty()) {
      fail_locked(ErrorKind::Usage, std::move(text));
    } else {
      arrived_ = 0;
      for (size_t r = 0; r < seats_.size(); ++r) {
        inputs_[r] = seats_[r].call.from;
        outputs_[r] = seats_[r].call.to;
        seats_[r].here = false;
      }
      opened_ = turn;
      changed_.notify_all();
    }
  }
  const auto until = deadline();
  while (opened_ < turn) {
    raise_failure();
    report_missing(call, /*gone_only=*/true);
    if (failure_) continue;
    if (changed_.wait_until(lock, until) == std::cv_status::timeout && opened_ < turn)
      report_missing(call, /*gone_only=*/false);
  }
  lock.unlock();
  work(rank, call);
  lock.lock();
  if (++finished_ == size()) {
    finished_ = 0;
    closed_ = turn;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return closed_ >= turn; });
}

// A rank's part of an open collective. Calls do not change until it is closed.
void Group::work(int rank, const Call& call) noexcept {
  const size_t bytes = static_cast<size_t>(call.count) * size_of(call.dtype);
  const auto copy = [&](const void* from, void* to) {
    if (bytes && from != to) std::memcpy(to, from, bytes);
  };
  const auto r = static_cast<size_t>(rank);
  switch (call.kind) {
    case CallKind::all_reduce: {  // a part of the elements, for everyone
      const int64_t begin = call.count * rank / size(), end = call.count * (rank + 1) / size();
      return reduce_ranks(inputs_, begin, end - begin, outputs_, begin, call.dtype, call.reduction);
    }
    case CallKind::reduce_scatter:
      return reduce_ranks(inputs_, call.count * rank, call.count, {&outputs_[r], 1}, 0, call.dtype,
                          call.reduction);
    case CallKind::all_gather:
      for (void* to : outputs_) copy(call.from, static_cast<char*>(to) + r * bytes);
      return;
    case CallKind::broadcast:
      return copy(inputs_[static_cast<size_t>(call.peer)], call.to);
    case CallKind::barrier:
    case CallKind::send:
    case CallKind::recv:
      return;
  }
}

void Group::messages(int rank, std::span<const Call> calls) {
  Lock lock(mutex_);
  raise_failure();
  for (const Call& call : calls)
    if (call.kind == CallKind::send) message(rank, call.peer) = {Stage::posted, call};
  changed_.notify_all();
  try {
    for (const Call& call : calls)
      if (call.kind == CallKind::recv) receive(lock, rank, call);
    for (const Call& call : calls)
      if (call.kind == CallKind::send) finish_send(lock, rank, call);
  } catch (...) {
    for (const Call& call : calls)
      if (call.kind == CallKind::send) withdraw(lock, message(rank, call.peer));
    throw;
  }
}

void Group::receive(Lock& lock, int rank, const Call& call) {
  const int peer = call.peer;
  Message& m = message(peer, rank);
  const auto until = deadline();
  while (m.stage != Stage::posted) {
    raise_failure();
    if (seat(peer).gone)
      fail_locked(ErrorKind::Resource,
                  format("[recv] rank {} of {} has left the group; rank {} expected {}[{}] from it",
                         peer, size(), rank, corten::name(call.dtype), call.count));
    else if (changed_.wait_until(lock, until) == std::cv_status::timeout &&
             m.stage != Stage::posted)
      fail_locked(ErrorKind::Resource,
                  format("[recv] rank {} of {} sent nothing to rank {} within {} s, which expected "
                         "{}[{}]",
                         peer, size(), rank, timeout_, corten::name(call.dtype), call.count));
  }
  if (m.call.dtype != call.dtype || m.call.count != call.count) {
    fail_locked(ErrorKind::Usage,
                format("[recv] rank {} sent {}[{}] to rank {}, which expected {}[{}]", peer,
                       corten::name(m.call.dtype), m.call.count, rank, corten::name(call.dtype),
                       call.count));
    raise_failure();
  }
  m.stage = Stage::taken;
  lock.unlock();
  if (call.count)
    std::memcpy(call.to, m.call.from, static_cast<size_t>(call.count) * size_of(call.dtype));
  lock.lock();
  m.stage = Stage::done;
  changed_.notify_all();
}

void Group::finish_send(Lock& lock, int rank, const Call& call) {
  const int peer = call.peer;
  Message& m = message(rank, peer);
  const auto until = deadline();
  while (m.stage == Stage::posted) {
    raise_failure();
    if (seat(peer).gone)
      fail_locked(ErrorKind::Resource,
                  format("[send] rank {} of {} has left the group; rank {} had {}[{}] for it", peer,
                         size(), rank, corten::name(call.dtype), call.count));
    else if (changed_.wait_until(lock, until) == std::cv_status::timeout &&
             m.stage == Stage::posted)
      fail_locked(
          ErrorKind::Resource,
          format("[send] rank {} of {} received nothing from rank {} within {} s, which has "
                 "{}[{}] for it",
                 peer, size(), rank, timeout_, corten::name(call.dtype), call.count));
  }
  withdraw(lock, m);
}

// The sender's memory is its own again.
void Group::withdraw(Lock& lock, Message& m) {
  changed_.wait(lock, [&] { return m.stage != Stage::taken; });
  m.stage = Stage::none;
}

class LocalComm final : public Comm {
 public:
  LocalComm(std::shared_ptr<Group> group, int rank, int size)
      : Comm(rank, size), group_(std::move(group)) {}
  ~LocalComm() override { group_->leave(rank()); }
  std::string describe() const override { return format("local, rank {} of {}", rank(), size()); }
  bool fixed_order() const override { return true; }
  void synchronize() override {}
  void abort(const std::string& reason) override {
    group_->fail(ErrorKind::Resource, format("rank {} of {} gave up: {}", rank(), size(), reason));
  }

 protected:
  void run(std::span<const Call> together) override {
    const CallKind kind = together[0].kind;
    if (kind == CallKind::send || kind == CallKind::recv)
      group_->messages(rank(), together);
    else
      group_->collective(rank(), together[0]);
  }

 private:
  std::shared_ptr<Group> group_;
};

}  // namespace

std::vector<std::unique_ptr<Comm>> make_local_group(int size, double timeout_seconds) {
  check_group(0, size);
  check_timeout(timeout_seconds);
  const auto group = std::make_shared<Group>(size, timeout_seconds);
  std::vector<std::unique_ptr<Comm>> ranks;
  for (int r = 0; r < size; ++r) ranks.push_back(std::make_unique<LocalComm>(group, r, size));
  return ranks;
}

}  // namespace corten::comm
