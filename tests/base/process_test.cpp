#include "base/process.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "temp_folder.h"

namespace corten {
namespace {

TEST(Process, ResidentMemoryGrows) {
  const uint64_t before = resident_bytes();
  ASSERT_GT(before, uint64_t{1} << 20);
  constexpr size_t kBytes = size_t{64} << 20;
  {
    const std::unique_ptr<char[]> block(new char[kBytes]);
    std::memset(block.get(), 1, kBytes);
    asm volatile("" : : "r"(block.get()) : "memory");
    EXPECT_GE(resident_bytes(), before + kBytes * 9 / 10);
  }
  EXPECT_GE(peak_resident_bytes(), before + kBytes * 9 / 10);
}

TEST(Process, AddressSpaceLimitCounts) {
  const uint64_t available = available_memory_bytes();
  EXPECT_GT(available, uint64_t{1} << 20);
  EXPECT_EQ(testing::in_child([] {
              const rlimit limit{rlim_t{1} << 44, rlim_t{1} << 44};
              if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
              const rlimit tight{rlim_t{1} << 20, rlim_t{1} << 44};  // less than is in use
              if (::setrlimit(RLIMIT_AS, &tight) != 0) return 2;
              return available_memory_bytes() == 0 ? 0 : 3;
            }),
            0);
}

TEST(Process, Age) {
  const double before = process_age_seconds();
  EXPECT_GE(before, 0);
  ::usleep(50'000);
  const double after = process_age_seconds();
  EXPECT_NEAR(after - before, 0.05, 0.04);
}

}  // namespace
}  // namespace corten
