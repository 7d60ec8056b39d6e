#include "comm/world.h"

#include "base/env.h"
#include "base/format.h"

namespace corten::comm {
namespace {

int between(const char* name, int64_t fallback, int64_t least, int64_t most) {
  const int64_t value = env_int(name, fallback);
  if (value < least || value > most)
    usage_error("{}={} is out of range: {} to {} is possible", name, value, least, most);
  return static_cast<int>(value);
}

void require(const char* name, const char* because) {
  if (!env_string(name)) usage_error("{} is not set, but {} is; torchrun sets both", name, because);
}

}  // namespace

World world_from_environment() {
  constexpr int64_t kMostRanks = 1 << 20;
  World world;
  if (!env_string("RANK") && !env_string("WORLD_SIZE")) return world;
  require("RANK", "WORLD_SIZE");
  require("WORLD_SIZE", "RANK");
  world.size = between("WORLD_SIZE", 1, 1, kMostRanks);
  world.rank = between("RANK", 0, 0, world.size - 1);
  world.local_size = between("LOCAL_WORLD_SIZE", world.size, 1, world.size);
  world.local_rank = between("LOCAL_RANK", world.rank % world.local_size, 0, world.local_size - 1);
  if (world.size > 1) {
    require("MASTER_ADDR", "WORLD_SIZE");
    require("MASTER_PORT", "WORLD_SIZE");
  }
  world.master_address = env_string("MASTER_ADDR").value_or("");
  if (env_string("MASTER_PORT")) world.master_port = between("MASTER_PORT", 0, 1, 65535);
  return world;
}

}  // namespace corten::comm
