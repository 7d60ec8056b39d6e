// Statistics, history and snapshots of memory under PyTorch's names; tensors without values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "corten/compile.h"
#include "corten/memory.h"
#include "corten/ops.h"
#include "runtime/allocator.h"
#include "runtime/memory_counters.h"
#include "runtime/null_device.h"
#include "runtime/recorder.h"
#include "runtime/tensor_impl.h"
#include "temp_folder.h"

namespace corten {
namespace {

std::string golden(const std::string& name) { return read_file(std::string(CORTEN_TEST_DATA) + "/" + name); }

std::map<std::string, int64_t> stats() {
  auto list = memory_stats();
  return {list.begin(), list.end()};
}

TEST(Memory, SummaryIsPyTorchs) {
  std::map<std::string, int64_t> values;
  const Json json = Json::parse(golden("memory_stats.json"), "memory_stats.json");
  for (const auto& [key, value] : json.items()) values[key] = value.as_int();
  EXPECT_EQ(runtime::summary_table(values, false), golden("memory_summary.txt"));
  EXPECT_EQ(runtime::summary_table(values, true), golden("memory_summary_short.txt"));
}

TEST(Memory, StatsHaveEveryKey) {
  const std::map<std::string, int64_t> now = stats();
  const Json expected = Json::parse(golden("memory_stats.json"), "memory_stats.json");
  for (const auto& [key, value] : expected.items()) EXPECT_TRUE(now.count(key)) << key;
  EXPECT_EQ(now.size(), expected.size());
  EXPECT_EQ(Json::parse(memory_stats_json(), "stats").size(), now.size());
}

// Parameters and moments are made as zeros: the pages of fresh ones come when they are first written.
TEST(Memory, FreshZerosTakeNoMemory) {
  empty_cache();
  constexpr int64_t kBytes = int64_t{256} << 20;
  const int64_t untouched = runtime::untouched_memory();
  {
    const Tensor z = zeros({kBytes / 4});
    EXPECT_GE(runtime::untouched_memory() - untouched, kBytes * 9 / 10);
    EXPECT_EQ(z.sum().item<float>(), 0);  // reads the system's page of zeros
  }
  empty_cache();
}

TEST(Memory, ReusedBlocksAreZeroedAgain) {
  for (int64_t n : {5, 3'000, 700'000}) {
    empty_cache();
    const void* where = nullptr;
    {
      const Tensor old = from_vector(std::vector<float>(static_cast<size_t>(n), 7), {n});
      where = runtime::concrete_value(old, "test", At::current())->buffer->data();
    }
    const Tensor z = zeros({n});
    if (n > 5) EXPECT_EQ(runtime::concrete_value(z, "test", At::current())->buffer->data(), where) << "the block was not reused";
    EXPECT_EQ(z.to_vector<float>(), std::vector<float>(static_cast<size_t>(n), 0));
    EXPECT_TRUE(std::signbit(full({n}, -0.0).to_vector<float>()[0]));
  }
}

// Storage has an element each, although ops share one number.
TEST(Memory, FilledTensorsAreStorage) {
  Tensor x = full({3, 2}, 1.5), y = ones_like(x);
  x.slice(0, 1, 2).fill_(4);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1.5, 1.5, 4, 4, 1.5, 1.5}));
  EXPECT_EQ((x * 2 + y).to_vector<float>(), (std::vector<float>{4, 4, 9, 9, 4, 4}));
  y.fill_(3);
  y.select(1, 0).add_(1);
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{4, 3, 4, 3, 4, 3}));
}

TEST(Memory, CountsBlocks) {
  empty_cache();
  const auto before = stats();
  reset_peak_memory_stats();
  {
    const std::vector<float> values(1'000'000, 1);
    Tensor large = from_vector(values, {1'000'000});
    Tensor small = from_vector(std::vector<float>{1, 2, 3}, {3});
    const auto now = stats();
    EXPECT_EQ(now.at("allocation.large_pool.current") - before.at("allocation.large_pool.current"), 1);
    EXPECT_EQ(now.at("allocation.small_pool.current") - before.at("allocation.small_pool.current"), 1);
    EXPECT_EQ(now.at("requested_bytes.all.current") - before.at("requested_bytes.all.current"), 4'000'012);
    EXPECT_GE(now.at("allocated_bytes.all.current") - before.at("allocated_bytes.all.current"), 4'000'012);
    EXPECT_EQ(now.at("allocated_bytes.all.current"), memory_allocated());
    EXPECT_EQ(now.at("active_bytes.all.current"), memory_allocated());
    EXPECT_GE(memory_reserved(), memory_allocated());
  }
  EXPECT_EQ(memory_allocated(), before.at("allocated_bytes.all.current"));
  EXPECT_GE(max_memory_allocated(), memory_allocated() + 4'000'000);
  // The cache keeps what was freed until it is emptied.
  EXPECT_GE(memory_reserved(), memory_allocated() + 4'000'000);
  empty_cache();
  EXPECT_EQ(memory_reserved(), memory_allocated());
  reset_peak_memory_stats();
  EXPECT_EQ(max_memory_allocated(), memory_allocated());
  reset_accumulated_memory_stats();
  EXPECT_EQ(stats().at("allocation.all.allocated"), 0);
}

TEST(Memory, OutOfMemoryIsCounted) {
  const int64_t before = stats().at("num_ooms");
  EXPECT_THROW(runtime::allocate(int64_t{1} << 60), Error);
  EXPECT_EQ(stats().at("num_ooms"), before + 1);
}

TEST(Memory, HistoryNamesOpsAndLines) {
  record_memory_history(true, 100);
  Tensor kept;
  {
    Tensor x = from_vector(std::vector<float>(1000, 1), {1000});
    kept = softmax(x, -1);
  }
  const MemorySnapshot snapshot = memory_snapshot();
  record_memory_history(false);
  int64_t allocated = 0, freed = 0;
  bool named = false;
  for (const MemoryEvent& e : snapshot.trace) {
    allocated += e.action == MemoryEvent::Action::alloc;
    freed += e.action == MemoryEvent::Action::free_completed;
    for (const MemoryFrame& f : e.frames) named |= f.name == "softmax" && f.filename.ends_with("memory_test.cpp") && f.line > 0;
  }
  EXPECT_GE(allocated, 2);
  EXPECT_GE(freed, 1);
  EXPECT_TRUE(named);
  for (const MemorySegment& s : snapshot.segments) {
    int64_t at = s.address;
    for (const MemoryBlock& b : s.blocks) {
      EXPECT_EQ(b.address, at);
      at += b.size;
    }
    EXPECT_EQ(at, s.address + s.total_size);
  }
  EXPECT_TRUE(memory_snapshot().trace.empty());
}

TEST(Memory, HistoryIsBounded) {
  record_memory_history(true, 4);
  for (int i = 0; i < 10; ++i) from_vector(std::vector<float>{static_cast<float>(i)}, {1});
  const MemorySnapshot snapshot = memory_snapshot();
  record_memory_history(false);
  ASSERT_EQ(snapshot.trace.size(), 4u);
  EXPECT_TRUE(std::is_sorted(snapshot.trace.begin(), snapshot.trace.end(), [](const auto& a, const auto& b) { return a.time_us < b.time_us; }));
  EXPECT_EQ(snapshot.trace.back().action, MemoryEvent::Action::free_completed);
  EXPECT_THROW(record_memory_history(true, 0), Error);
}

TEST(Memory, SnapshotBytes) {
  const int64_t base = int64_t{1} << 40, time = 1'700'000'000'000'000;
  const std::vector<MemoryFrame> where{{"loss.cpp", 12, "softmax"}};
  MemorySnapshot s;
  MemorySegment segment{.address = base, .total_size = 1 << 21, .large = true};
  segment.blocks.push_back({base, 1 << 20, 1'000'000, true, where});
  segment.blocks.push_back({base + (1 << 20), 1 << 20, 0, false, {}});
  s.segments.push_back(segment);
  using Action = MemoryEvent::Action;
  s.trace.push_back({Action::alloc, base, 1 << 21, time, where, "activation", "softmax f32[4]"});
  s.trace.push_back({Action::free_requested, base, 1 << 21, time, where, "", ""});
  s.trace.push_back({Action::oom, base, 1 << 21, 200, {}, "", ""});
  EXPECT_EQ(s.to_pickle(), golden("snapshot.pickle"));
  testing::TempFolder folder;
  dump_snapshot(folder / "now.pickle");
  EXPECT_EQ(read_file(folder / "now.pickle").substr(0, 2), "\x80\x02");
  EXPECT_THROW(dump_snapshot(folder / "missing/now.pickle"), Error);
}

TEST(NullDevice, HasTypesOnly) {
  Tensor w, ids;
  const int64_t before = memory_allocated();
  {
    const runtime::NullDeviceScope no_values;
    w = zeros({1 << 20, 1 << 20});  // 4 TiB
    ids = arange(8);
  }
  EXPECT_EQ(memory_allocated(), before);
  Tensor y = matmul(w, w);  // ops stay on the null device
  EXPECT_EQ(y.shape(), (Shape{1 << 20, 1 << 20}));
  w.set_requires_grad();
  auto step = compile([&](const std::vector<Tensor>& in) { return std::vector<Tensor>{(w * in[0]).sum()}; });
  EXPECT_EQ(step.plan({scalar(2)}).state_bytes, int64_t{1} << 42);
  auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message([&] { y.to_vector<float>(); }).find("null device"), std::string::npos);
  EXPECT_NE(message([&] { step({scalar(2)}); }).find("null device"), std::string::npos);
}

TEST(CompileHistory, SaysWhatChanged) {
  auto twice = compile([](const std::vector<Tensor>& in) { return std::vector<Tensor>{in[0] * 2}; });
  EXPECT_TRUE(twice.compilations().empty());
  twice({zeros({2, 3})});
  twice({zeros({2, 3})});
  twice({zeros({4, 3})});
  twice({zeros({2, 3}), zeros({1})});
  const std::vector<CompileRecord> records = twice.compilations();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].reason, "first call");
  EXPECT_EQ(records[1].reason, "argument 0: f32[2,3] became f32[4,3]");
  EXPECT_EQ(records[2].reason, "1 arguments became 2; argument 0: f32[4,3] became f32[2,3]");
  EXPECT_EQ(records[1].kernels_compiled, 0) << "a new size needs no new kernel";
  for (int64_t n = 10; n < 30; ++n) twice({zeros({n})});
  twice({zeros({4, 3})});
  EXPECT_NE(twice.compilations().back().reason.find("forgotten"), std::string::npos) << twice.compilations().back().reason;
}

TEST(Recorder, NestsRanges) {
  EXPECT_EQ(runtime::Recorder::active(), nullptr);
  Tensor kept;
  runtime::Recorder recorder;
  EXPECT_THROW(runtime::Recorder(), Error);
  {
    runtime::RangeScope outer("outer", "user_annotation");
    kept = softmax(ones({64, 64}), -1);
  }
  const auto& ranges = recorder.ranges();
  ASSERT_GE(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].name, "outer");
  EXPECT_EQ(ranges[0].memory, 64 * 64 * 4);  // what is still there
  for (size_t i = 1; i < ranges.size(); ++i) {
    EXPECT_EQ(ranges[i].parent, 0);
    EXPECT_LE(ranges[0].start_ns, ranges[i].start_ns);
    EXPECT_LE(ranges[i].end_ns, ranges[0].end_ns);
  }
}

}  // namespace
}  // namespace corten
