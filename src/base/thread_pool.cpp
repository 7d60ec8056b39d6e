#include "base/thread_pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <exception>
#include <limits>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/format.h"

namespace corten {
namespace {

// MXCSR after reset: all exceptions masked, round to nearest, no FTZ, no DAZ (Intel SDM 1, 10.2.3).
constexpr uint32_t kDefaultMxcsr = 0x1f80;
constexpr uint32_t kMxcsrFlags = 0x3f;  // sticky exception flags, which change no result

// About 50 microseconds: longer than the gap between two kernels of a step, the serial ones of a
// decoded token included, and far shorter than a scheduler's time slice; waking a sleeper costs some
// 20. With more threads than cores every spin only delays a worker.
constexpr int kSpins = 1000;

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == sizeof(uint32_t));

void futex_wait(Word& word, uint32_t expected) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(Word& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// The pool and worker this thread runs a task for, if any.
struct Current {
  const void* pool = nullptr;
  int worker = 0;
};
thread_local Current current;

// Signals are the business of the program's own threads; faults and profilers stay per thread.
class BlockSignals {
 public:
  BlockSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF}) sigdelset(&all, s);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }

 private:
  sigset_t saved_;
};

}  // namespace

FpEnvironment::FpEnvironment() noexcept : saved_(_mm_getcsr()) {
  if ((saved_ & ~kMxcsrFlags) != kDefaultMxcsr) _mm_setcsr(kDefaultMxcsr);
}
FpEnvironment::~FpEnvironment() {
  if ((saved_ & ~kMxcsrFlags) != kDefaultMxcsr) _mm_setcsr(saved_);
}

struct ThreadPool::State {
  // A worker's mailbox. Only the caller moves it to kRun or kQuit, only its worker back.
  enum : uint32_t { kIdle, kRun, kSleeping, kQuit };
  struct alignas(64) Mailbox {
    Word word{kIdle};
  };
  static constexpr uint32_t kCallerSleeps = 1u << 31;

  int threads = 1;
  int spins = kSpins;
  std::vector<std::thread> workers;
  std::unique_ptr<Mailbox[]> mailboxes;  // [i] is worker i + 1's
  std::mutex turn;                       // one call at a time

  // The call in progress. Written before the mailboxes are filled, read by their owners only.
  const TaskRef* fn = nullptr;
  int64_t tasks = 0;
  int active = 0;
  alignas(64) Word pending{0};  // workers still running, and kCallerSleeps

  std::mutex error_lock;
  std::exception_ptr error;
  int64_t error_task = 0;

  void start(int count);
  void stop() noexcept;
  void worker_main(int worker) noexcept;
  uint32_t wait_for_work(Word& word) noexcept;
  void run_range(int worker) noexcept;
  void finish_one() noexcept;
  void join() noexcept;
};

void ThreadPool::State::start(int count) {
  if (count == 0) count = std::min(cpu_info().cores, kMaxThreads);
  if (count < 0 || count > kMaxThreads)
    usage_error("{} threads asked for: use 1 to {}, or 0 for one per core", count, kMaxThreads);
  cpu_features();  // asks for the permission to use AMX before the workers exist
  stop();
  mailboxes = std::make_unique<Mailbox[]>(static_cast<size_t>(count));
  spins = count > cpu_info().cores ? 0 : kSpins;
  BlockSignals quiet;
  for (int worker = 1; worker < count; ++worker) {
    try {
      workers.emplace_back([this, worker] { worker_main(worker); });
    } catch (const std::system_error& e) {
      stop();
      resource_error("cannot start thread {} of {}: {}", worker + 1, count, e.what());
    }
  }
  threads = count;
}

void ThreadPool::State::stop() noexcept {
  for (size_t i = 0; i < workers.size(); ++i) {
    Word& word = mailboxes[i].word;
    if (word.exchange(kQuit) == kSleeping) futex_wake(word);
  }
  for (std::thread& t : workers) t.join();
  workers.clear();
  threads = 1;
}

uint32_t ThreadPool::State::wait_for_work(Word& word) noexcept {
  for (int i = 0; i < spins; ++i) {
    const uint32_t value = word.load(std::memory_order_acquire);
    if (value != kIdle) return value;
    _mm_pause();
  }
  uint32_t value = kIdle;
  if (!word.compare_exchange_strong(value, kSleeping, std::memory_order_acq_rel)) return value;
  do {
    futex_wait(word, kSleeping);
    value = word.load(std::memory_order_acquire);
  } while (value == kSleeping);
  return value;
}

void ThreadPool::State::worker_main(int worker) noexcept {
  pthread_setname_np(pthread_self(), ("corten-" + std::to_string(worker)).c_str());
  FpEnvironment fp;
  current = {this, worker};
  Word& word = mailboxes[static_cast<size_t>(worker - 1)].word;
  while (wait_for_work(word) == kRun) {
    run_range(worker);
    word.store(kIdle, std::memory_order_relaxed);
    finish_one();
  }
}

void ThreadPool::State::run_range(int worker) noexcept {
  const int64_t begin = tasks / active * worker + std::min<int64_t>(tasks % active, worker);
  const int64_t end = begin + tasks / active + (worker < tasks % active ? 1 : 0);
  int64_t task = begin;
  try {
    for (; task < end; ++task) (*fn)(task, worker);
  } catch (...) {
    std::lock_guard lock(error_lock);
    if (!error || task < error_task) {
      error = std::current_exception();
      error_task = task;
    }
  }
}

void ThreadPool::State::finish_one() noexcept {
  if (pending.fetch_sub(1, std::memory_order_acq_rel) == (kCallerSleeps | 1)) futex_wake(pending);
}

void ThreadPool::State::join() noexcept {
  for (int i = 0; i < spins; ++i) {
    if (pending.load(std::memory_order_acquire) == 0) return;
    _mm_pause();
  }
  uint32_t value = pending.fetch_or(kCallerSleeps, std::memory_order_acq_rel) | kCallerSleeps;
  while (value != kCallerSleeps) {
    futex_wait(pending, value);
    value = pending.load(std::memory_order_acquire);
  }
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) { state_->start(threads); }
ThreadPool::~ThreadPool() { state_->stop(); }

int ThreadPool::num_threads() const noexcept { return state_->threads; }

void ThreadPool::set_num_threads(int threads) {
  if (current.pool == state_.get())
    usage_error("the number of threads cannot change inside a task of the pool");
  std::lock_guard lock(state_->turn);
  state_->start(threads);
}

void ThreadPool::parallel_for(int64_t tasks, TaskRef fn) {
  if (tasks <= 0) return;
  State& s = *state_;
  if (current.pool == &s) {  // nested
    for (int64_t task = 0; task < tasks; ++task) fn(task, current.worker);
    return;
  }
  FpEnvironment fp;
  std::lock_guard lock(s.turn);
  const Current outer = std::exchange(current, {&s, 0});
  s.fn = &fn;
  s.tasks = tasks;
  s.active = static_cast<int>(std::min<int64_t>(tasks, s.threads));
  s.pending.store(static_cast<uint32_t>(s.active - 1), std::memory_order_relaxed);
  for (int worker = 1; worker < s.active; ++worker) {
    Word& word = s.mailboxes[static_cast<size_t>(worker - 1)].word;
    if (word.exchange(State::kRun, std::memory_order_acq_rel) == State::kSleeping) futex_wake(word);
  }
  s.run_range(0);
  s.join();
  current = outer;
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

ThreadPool& default_thread_pool() {
  static ThreadPool pool;
  return pool;
}

}  // namespace corten
