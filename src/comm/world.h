// Which rank of which group this process is, by the variables that torchrun sets.
#pragma once

#include <string>

namespace corten::comm {

/// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
struct World {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  ///< among the processes of this machine: its device
  std::string master_address;          ///< where ranks meet; "" for one rank alone
  int master_port = 0;
};

/// One rank alone if neither RANK nor WORLD_SIZE is set. Usage error, naming the variable, if one
/// is missing or out of range. MASTER_ADDR and MASTER_PORT may be missing for one rank alone;
/// LOCAL_RANK and LOCAL_WORLD_SIZE may always be: all ranks are on this machine then.
///
/// Under torchrun its own agent listens on MASTER_PORT: nothing else can.
World world_from_environment();

}  // namespace corten::comm
