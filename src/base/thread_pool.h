// A pool of threads that runs numbered tasks: deterministic, cheap to enter, safe to oversubscribe.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace corten {

/// Sets this thread's floating-point environment to what the numerics contract asks for (round to
/// nearest, subnormals kept, no traps) and restores the previous one on destruction.
class FpEnvironment {
 public:
  FpEnvironment() noexcept;
  ~FpEnvironment();
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
  uint32_t saved_;
};

/// A reference to a callable `void(int64_t task, int worker)`; the callable must outlive it.
class TaskRef {
 public:
  template <typename F,
            typename = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<F>, TaskRef>>>
  TaskRef(F&& f) noexcept  // NOLINT: implicit by design, as for a function reference
      : context_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* context, int64_t task, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(context))(task, worker);
        }) {}
  void operator()(int64_t task, int worker) const { call_(context_, task, worker); }

 private:
  void* context_;
  void (*call_)(void*, int64_t, int);
};

/// Runs tasks on `num_threads()` workers, of which the calling thread is number 0.
///
/// Waiting threads spin for some microseconds and then sleep, so that a pool larger than the cores
/// it gets stays correct and makes progress. Calls from several threads take turns.
class ThreadPool {
 public:
  /// `threads` = 0 means one per core this process may use. Usage error if negative or above
  /// kMaxThreads, Resource error if the system refuses to start them.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  static constexpr int kMaxThreads = 1024;

  int num_threads() const noexcept;
  /// Replaces the workers; errors as the constructor, and Usage if called from one of its tasks.
  void set_num_threads(int threads);

  /// Calls fn(task, worker) once for every task in [0, tasks). With n = min(tasks, num_threads()),
  /// worker w < n runs the w-th of n contiguous ranges in ascending order; the first tasks % n ranges
  /// are one longer than the others. No two calls at the same time see the same worker. Every task
  /// runs in the environment of FpEnvironment.
  ///
  /// A task that throws ends its worker's range; the other ranges are finished, and the exception of
  /// the lowest task number is rethrown here. A call from inside a task of this pool runs inline,
  /// under the number of its worker.
  void parallel_for(int64_t tasks, TaskRef fn);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The process's pool, made on first use with one thread per core.
ThreadPool& default_thread_pool();

}  // namespace corten
