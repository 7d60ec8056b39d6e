// The caching allocator of devices: sizes and splits as PyTorch's, reuse, statistics, snapshots,
// the end of memory.
#include "runtime/device_allocator.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "corten/error.h"
#include "gpu/cpu_device.h"

namespace corten::cuda::test {
namespace {

using runtime::DeviceAllocator;
constexpr int64_t kMiB = 1 << 20;

struct Allocator {
  CpuDevice device;
  std::shared_ptr<DeviceAllocator> is =
      std::make_shared<DeviceAllocator>(device, ir::Placement{ir::DeviceKind::cuda, 0});
  ~Allocator() {
    is->close();
    EXPECT_EQ(device.allocated_bytes(), 0);
  }
};

TEST(DeviceAllocator, HasPyTorchsSizes) {
  Allocator a;
  const auto segment_of = [&](int64_t bytes) {
    const int64_t before = a.device.allocated_bytes();
    const ir::BufferPtr block = a.is->allocate(bytes);
    EXPECT_EQ(block->bytes(), bytes);
    EXPECT_EQ(block->placement(), (ir::Placement{ir::DeviceKind::cuda, 0}));
    EXPECT_EQ(reinterpret_cast<uint64_t>(block->data()) % 256, 0u);
    return a.device.allocated_bytes() - before;
  };
  EXPECT_EQ(segment_of(1), 2 * kMiB);
  EXPECT_EQ(segment_of(kMiB), 0) << "the small segment has room";
  EXPECT_EQ(segment_of(kMiB + 1), 20 * kMiB);
  EXPECT_EQ(segment_of(10 * kMiB - 512), 0) << "so has the large one";
  EXPECT_EQ(segment_of(21 * kMiB + 5), 22 * kMiB);
  EXPECT_EQ(a.is->counters().segment.all.current, 3);
  EXPECT_EQ(a.is->counters().segment.small.current, 1);
  a.is->empty_cache();
  EXPECT_EQ(a.device.allocated_bytes(), 0);
  EXPECT_EQ(a.is->counters().reserved_bytes.all.current, 0);
  EXPECT_EQ(segment_of(10 * kMiB), 10 * kMiB);
}

TEST(DeviceAllocator, SplitsAndJoins) {
  Allocator a;
  ir::BufferPtr first = a.is->allocate(1000), second = a.is->allocate(600),
                third = a.is->allocate(1);
  const auto at = [](const ir::BufferPtr& b) { return reinterpret_cast<uint64_t>(b->data()); };
  EXPECT_EQ(at(second), at(first) + 1024);
  EXPECT_EQ(at(third), at(second) + 1024);
  auto c = a.is->counters();
  EXPECT_EQ(c.allocated_bytes.all.current, 1024 + 1024 + 512);
  EXPECT_EQ(c.requested_bytes.all.current, 1601);
  EXPECT_EQ(c.inactive_split.all.current, 1);
  EXPECT_EQ(c.inactive_split_bytes.small.current, 2 * kMiB - 2560);
  const uint64_t place = at(second);
  second.reset();
  EXPECT_EQ(a.is->counters().inactive_split.all.current, 2);
  EXPECT_EQ(at(second = a.is->allocate(1024)), place) << "the smallest that fits";
  second.reset();
  first.reset();  // joins with what lies behind it
  EXPECT_EQ(a.is->counters().inactive_split.all.current, 2);
  EXPECT_EQ(at(first = a.is->allocate(2048)), place - 1024);
  first.reset();
  third.reset();
  c = a.is->counters();
  EXPECT_EQ(c.inactive_split.all.current, 0);
  EXPECT_EQ(c.inactive_split_bytes.all.current, 0);
  EXPECT_EQ(c.allocated_bytes.all.current, 0);
  EXPECT_EQ(c.allocated_bytes.all.peak, 2560);
  EXPECT_EQ(c.reserved_bytes.all.current, 2 * kMiB);
  // Of large blocks, a rest of a MiB or less is not split off.
  ir::BufferPtr large = a.is->allocate(19 * kMiB);
  EXPECT_EQ(a.is->counters().inactive_split.large.current, 0);
  const ir::BufferPtr whole = a.is->allocate(31 * kMiB);
  EXPECT_EQ(a.is->counters().allocated_bytes.large.current, 20 * kMiB + 32 * kMiB);
  large.reset();
  large = a.is->allocate(19 * kMiB - 512);
  EXPECT_EQ(a.is->counters().inactive_split_bytes.large.current, kMiB + 512);
}

// Random blocks do not overlap, and snapshots and counters agree with what is in use.
TEST(DeviceAllocator, KeepsItsBooks) {
  Allocator a;
  a.is->record(true, 1 << 20);
  std::mt19937_64 random(5);
  std::map<uint64_t, ir::BufferPtr> held;
  for (int step = 0; step < 3000; ++step) {
    if (held.size() > 40 || (!held.empty() && random() % 3 == 0)) {
      held.erase(std::next(held.begin(), static_cast<int64_t>(random() % held.size())));
    } else {
      const int64_t bytes = static_cast<int64_t>(random() % (uint64_t{1} << (4 + random() % 20)));
      ir::BufferPtr block = a.is->allocate(bytes);
      const auto address = reinterpret_cast<uint64_t>(block->data());
      const auto next = held.upper_bound(address);
      if (next != held.end()) ASSERT_LE(address + static_cast<uint64_t>(bytes), next->first);
      if (next != held.begin()) {
        const auto& [before, other] = *std::prev(next);
        ASSERT_LE(before + static_cast<uint64_t>(other->bytes()), address);
      }
      held[address] = std::move(block);
    }
    if (step % 500 == 250) a.is->empty_cache();
    if (step % 100) continue;
    const MemorySnapshot snapshot = a.is->snapshot();
    const auto c = a.is->counters();
    int64_t reserved = 0, used = 0, requested = 0, blocks = 0, splits = 0;
    for (const MemorySegment& s : snapshot.segments) {
      int64_t at = s.address;
      bool was_free = false;
      for (const MemoryBlock& b : s.blocks) {
        ASSERT_EQ(b.address, at);
        at += b.size;
        blocks += b.active;
        splits += !b.active && s.blocks.size() > 1;
        ASSERT_FALSE(was_free && !b.active) << "free neighbours are one block";
        was_free = !b.active;
      }
      ASSERT_EQ(at, s.address + s.total_size);
      reserved += s.total_size;
      used += s.allocated_size();
      requested += s.requested_size();
    }
    ASSERT_EQ(blocks, static_cast<int64_t>(held.size()));
    ASSERT_EQ(c.allocation.all.current, blocks);
    ASSERT_EQ(c.inactive_split.all.current, splits);
    ASSERT_EQ(c.reserved_bytes.all.current, reserved);
    ASSERT_EQ(reserved, a.device.allocated_bytes());
    ASSERT_EQ(c.allocated_bytes.all.current, used);
    ASSERT_EQ(c.requested_bytes.all.current, requested);
  }
  int64_t allocated = 0, freed = 0, taken = 0;
  for (const MemoryEvent& e : a.is->snapshot().trace) {
    allocated += e.action == MemoryEvent::Action::alloc;
    freed += e.action == MemoryEvent::Action::free_completed;
    taken += e.action == MemoryEvent::Action::segment_alloc;
  }
  EXPECT_EQ(allocated - freed, static_cast<int64_t>(held.size()));
  EXPECT_EQ(taken, a.is->counters().num_device_alloc);
  held.clear();
  a.is->empty_cache();
  EXPECT_EQ(a.device.allocated_bytes(), 0);
}

TEST(DeviceAllocator, GivesBackWhatIsCachedAndTriesAgain) {
  Allocator a;
  a.device.memory_bytes = 64 * kMiB;
  a.is->allocate(40 * kMiB);  // cached
  EXPECT_EQ(a.device.allocated_bytes(), 40 * kMiB);
  const ir::BufferPtr held = a.is->allocate(50 * kMiB);
  EXPECT_EQ(a.is->counters().num_alloc_retries, 1);
  EXPECT_EQ(a.device.allocated_bytes(), 50 * kMiB);
  std::string message;
  try {
    a.is->allocate(30 * kMiB);
  } catch (const Error& e) {
    message = e.what();
    EXPECT_EQ(e.kind(), ErrorKind::Resource);
  }
  EXPECT_EQ(message.substr(0, message.find(';')),
            "out of memory on cuda:0: 30.00 MiB were asked for, 14.00 MiB of 64.00 MiB are free");
  EXPECT_NE(message.find("tensors hold 50.00 MiB (peak 50.00 MiB)"), std::string::npos) << message;
  EXPECT_NE(message.find("lower the batch"), std::string::npos);
  EXPECT_EQ(a.is->counters().num_ooms, 1);
  EXPECT_NO_THROW(a.is->allocate(10 * kMiB));
  try {
    a.is->allocate(100 * kMiB);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("more than the device has"), std::string::npos)
        << e.what();
  }
}

// Tensors may live longer than their device.
TEST(DeviceAllocator, ClosesBeforeItsBlocks) {
  ir::BufferPtr left;
  {
    Allocator a;
    left = a.is->allocate(5);
  }
  left.reset();
}

}  // namespace
}  // namespace corten::cuda::test
