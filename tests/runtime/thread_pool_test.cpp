#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "corten/error.h"
#include "runtime/thread_pool.h"

namespace corten {
namespace {

TEST(ThreadPool, EveryTaskRunsOnceOnTheWorkerOfItsRange) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (int64_t tasks : {0, 1, 2, 5, 7, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      std::vector<int> worker_of(static_cast<size_t>(tasks), -1);
      pool.parallel_for(tasks, [&](int64_t task, int worker) {
        ++runs[static_cast<size_t>(task)];
        worker_of[static_cast<size_t>(task)] = worker;
      });
      const int64_t n = std::min<int64_t>(tasks, threads);
      for (int64_t t = 0; t < tasks; ++t) {
        ASSERT_EQ(runs[static_cast<size_t>(t)], 1) << "task " << t << " of " << tasks;
        if (t > 0) {
          ASSERT_GE(worker_of[static_cast<size_t>(t)], worker_of[static_cast<size_t>(t - 1)]);
        }
      }
      for (int w = 0; w < n; ++w) {
        const auto count = std::count(worker_of.begin(), worker_of.end(), w);
        EXPECT_EQ(count, tasks / n + (w < tasks % n ? 1 : 0)) << "worker " << w << " of " << n;
      }
    }
  }
}

TEST(ThreadPool, NoWorkerNumberIsUsedTwiceAtATime) {
  ThreadPool pool(7);
  std::vector<std::atomic<int>> inside(7);
  std::atomic<bool> clash{false};
  for (int round = 0; round < 200; ++round)
    pool.parallel_for(21, [&](int64_t, int worker) {
      if (inside[static_cast<size_t>(worker)].fetch_add(1) != 0) clash = true;
      inside[static_cast<size_t>(worker)].fetch_sub(1);
    });
  EXPECT_FALSE(clash);
}

TEST(ThreadPool, TasksRunOnSeveralThreads) {
  ThreadPool pool(3);
  std::vector<std::thread::id> ids(3);
  pool.parallel_for(3, [&](int64_t task, int) {
    ids[static_cast<size_t>(task)] = std::this_thread::get_id();
  });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[0], ids[1]);
  EXPECT_NE(ids[1], ids[2]);
}

TEST(ThreadPool, RethrowsTheExceptionOfTheLowestTask) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 20; ++round) {
      try {
        pool.parallel_for(50, [&](int64_t task, int) {
          if (task == 13 || task == 27 || task == 49) throw std::runtime_error(std::to_string(task));
        });
        FAIL() << "nothing thrown";
      } catch (const std::runtime_error& e) {
        EXPECT_STREQ(e.what(), "13");
      }
    }
    std::atomic<int> runs{0};  // the pool is still usable
    pool.parallel_for(50, [&](int64_t, int) { ++runs; });
    EXPECT_EQ(runs, 50);
  }
}

TEST(ThreadPool, OtherRangesAreFinishedAfterAnException) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  EXPECT_THROW(pool.parallel_for(10,
                                 [&](int64_t task, int) {
                                   if (task == 0) throw std::runtime_error("first");
                                   ++runs;
                                 }),
               std::runtime_error);
  EXPECT_EQ(runs, 5);  // all of worker 1's
}

TEST(ThreadPool, NestedCallsRunInlineUnderTheSameWorker) {
  ThreadPool pool(3);
  std::atomic<int> runs{0};
  pool.parallel_for(6, [&](int64_t, int outer) {
    const std::thread::id here = std::this_thread::get_id();
    pool.parallel_for(4, [&](int64_t, int inner) {
      EXPECT_EQ(inner, outer);
      EXPECT_EQ(std::this_thread::get_id(), here);
      ++runs;
    });
  });
  EXPECT_EQ(runs, 24);
  EXPECT_THROW(pool.parallel_for(
                   2, [&](int64_t, int) { pool.parallel_for(1, [](int64_t, int) { throw 1; }); }),
               int);
}

TEST(ThreadPool, CallsFromSeveralThreadsTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int> runs{0}, inside{0};
  std::atomic<bool> overlap{false};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 100; ++i)
        pool.parallel_for(2, [&](int64_t, int) {
          if (inside.fetch_add(1) >= 2) overlap = true;
          ++runs;
          inside.fetch_sub(1);
        });
    });
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(runs, 800);
  EXPECT_FALSE(overlap);
}

TEST(ThreadPool, ResizingKeepsWorking) {
  ThreadPool pool(1);
  for (int threads : {4, 2, 9, 1, 3}) {
    pool.set_num_threads(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    std::atomic<int64_t> sum{0};
    pool.parallel_for(100, [&](int64_t task, int) { sum += task; });
    EXPECT_EQ(sum, 4950);
  }
  pool.set_num_threads(0);
  EXPECT_EQ(pool.num_threads(), cpu_info().cores);
}

TEST(ThreadPool, BadCountsAreUsageErrors) {
  ThreadPool pool(2);
  for (int threads : {-1, ThreadPool::kMaxThreads + 1}) {
    try {
      pool.set_num_threads(threads);
      FAIL() << threads;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
      EXPECT_NE(std::string(e.what()).find(std::to_string(threads)), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(pool.num_threads(), 2);
  EXPECT_THROW(pool.parallel_for(2, [&](int64_t, int) { pool.set_num_threads(1); }), Error);
}

// A caller that flushes subnormals and rounds up must not change what tasks compute, and gets its
// own settings back.
TEST(ThreadPool, TasksSeeTheDefaultFloatingPointEnvironment) {
  ThreadPool pool(3);
  const unsigned before = _mm_getcsr();
  const unsigned odd = (before | 0x8040u | 0x4000u) & ~0x3fu;  // FTZ, DAZ, round up
  std::vector<float> products(6);
  std::vector<unsigned> control(6);
  for (int round = 0; round < 2; ++round) {
    if (round == 1) _mm_setcsr(odd);
    pool.parallel_for(6, [&](int64_t task, int) {
      volatile float tiny = 1e-30f, small = 1e-10f;
      products[static_cast<size_t>(task)] = tiny * small;
      control[static_cast<size_t>(task)] = _mm_getcsr() & ~0x3fu;
    });
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    if (round == 1) {
      EXPECT_EQ(after & ~0x3fu, odd);
    }
    for (size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(control[i], 0x1f80u) << "task " << i;
      EXPECT_GT(products[i], 0.0f) << "task " << i;
      EXPECT_EQ(products[i], 0x1.16c262p-133f) << "task " << i;
    }
  }
}

// More threads than cores, each call waiting for all of them: spinning alone would take a time slice
// of milliseconds per call.
TEST(ThreadPool, OversubscribedPoolMakesProgress) {
  ThreadPool pool(4 * cpu_info().cores + 1);
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int64_t> runs{0};
  for (int i = 0; i < 200; ++i)
    pool.parallel_for(pool.num_threads(), [&](int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 200 * pool.num_threads());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 20);
}

TEST(Cpu, NamesAndChoices) {
  CpuFeatures none;
  EXPECT_THROW(best_isa(none), Error);
  try {
    choose_isa("", none);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Resource);
  }
  CpuFeatures old;
  old.avx2 = old.fma = old.f16c = true;
  EXPECT_EQ(best_isa(old), Isa::avx2);
  EXPECT_EQ(choose_isa("avx2", old), Isa::avx2);
  for (const char* request : {"avx512", "avx512bf16", "amx", "sse2", "AVX2"}) {
    try {
      choose_isa(request, old);
      FAIL() << request;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Usage);
      EXPECT_NE(std::string(e.what()).find(request), std::string::npos) << e.what();
    }
  }
  CpuFeatures server = old;
  server.avx512f = server.avx512bw = server.avx512dq = server.avx512vl = true;
  EXPECT_EQ(best_isa(server), Isa::avx512);
  EXPECT_EQ(choose_isa("avx2", server), Isa::avx2);
  server.amx_tile = server.amx_bf16 = true;
  EXPECT_EQ(best_isa(server), Isa::avx512);  // AMX comes with AVX512_BF16
  server.avx512_bf16 = true;
  EXPECT_EQ(best_isa(server), Isa::amx);
  EXPECT_EQ(choose_isa("avx512bf16", server), Isa::avx512bf16);
  EXPECT_EQ(choose_isa("avx512", server), Isa::avx512);
  server.amx_bf16 = false;
  EXPECT_EQ(best_isa(server), Isa::avx512bf16);
  server.f16c = false;
  EXPECT_THROW(best_isa(server), Error);
}

TEST(Cpu, InfoIsPlausible) {
  EXPECT_FALSE(cpu_info().model.empty());
  EXPECT_GE(cpu_info().cores, 1);
  EXPECT_GE(cpu_info().l1d_bytes, size_t{8} << 10);
  EXPECT_GE(cpu_info().l2_bytes, cpu_info().l1d_bytes);
  EXPECT_EQ(name(Isa::avx2), "avx2");
  EXPECT_EQ(name(Isa::avx512), "avx512");
  EXPECT_EQ(name(Isa::avx512bf16), "avx512bf16");
  EXPECT_EQ(name(Isa::amx), "amx");
  EXPECT_LE(cpu_isa(), best_isa(cpu_features()));
}

}  // namespace
}  // namespace corten
