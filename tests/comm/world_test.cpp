// The variables of torchrun.
#include "comm/world.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "corten/error.h"

namespace corten::comm {
namespace {

constexpr const char* kNames[] = {"RANK",        "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
                                  "MASTER_ADDR", "MASTER_PORT"};

World world(const std::map<std::string, std::string>& variables) {
  for (const char* name : kNames) unsetenv(name);
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  return world_from_environment();
}
std::string fault(const std::map<std::string, std::string>& variables) {
  try {
    world(variables);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Usage);
    return e.what();
  }
  return "";
}

TEST(World, IsWhatTorchrunSays) {
  const World alone = world({});
  EXPECT_EQ(alone.rank, 0);
  EXPECT_EQ(alone.size, 1);
  EXPECT_EQ(alone.local_size, 1);
  const World w = world({{"RANK", "5"},
                         {"WORLD_SIZE", "8"},
                         {"LOCAL_RANK", "1"},
                         {"LOCAL_WORLD_SIZE", "4"},
                         {"MASTER_ADDR", "10.0.0.1"},
                         {"MASTER_PORT", "29500"}});
  EXPECT_EQ(w.rank, 5);
  EXPECT_EQ(w.size, 8);
  EXPECT_EQ(w.local_rank, 1);
  EXPECT_EQ(w.local_size, 4);
  EXPECT_EQ(w.master_address, "10.0.0.1");
  EXPECT_EQ(w.master_port, 29500);
  const World one_machine =
      world({{"RANK", "2"}, {"WORLD_SIZE", "3"}, {"MASTER_ADDR", "::1"}, {"MASTER_PORT", "1"}});
  EXPECT_EQ(one_machine.local_rank, 2);
  EXPECT_EQ(one_machine.local_size, 3);
  EXPECT_EQ(world({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).master_address, "");
}

TEST(World, FaultsNameTheVariable) {
  EXPECT_EQ(fault({{"RANK", "0"}}), "WORLD_SIZE is not set, but RANK is; torchrun sets both");
  EXPECT_EQ(fault({{"WORLD_SIZE", "2"}}), "RANK is not set, but WORLD_SIZE is; torchrun sets both");
  EXPECT_EQ(fault({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
            "RANK=2 is out of range: 0 to 1 is possible");
  EXPECT_EQ(fault({{"RANK", "1"}, {"WORLD_SIZE", "2"}}),
            "MASTER_ADDR is not set, but WORLD_SIZE is; torchrun sets both");
  EXPECT_EQ(fault({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "2"}}),
            "LOCAL_RANK=2 is out of range: 0 to 1 is possible");
  EXPECT_NE(fault({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), "");
  EXPECT_EQ(
      fault({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}}),
      "MASTER_PORT=70000 is out of range: 1 to 65535 is possible");
}

}  // namespace
}  // namespace corten::comm
