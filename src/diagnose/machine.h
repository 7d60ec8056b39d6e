// The figures of a machine that predictions rest on.
#pragma once

#include <string>

#include "base/json.h"
#include "corten/dtype.h"

namespace corten {

struct Machine {
  std::string name;         ///< of the processor or GPU
  double peak_flops = 0;    ///< FLOP/s of matrix products in the compute type
  double float8_flops = 0;  ///< of products of 8-bit floats; 0: they are none of its instructions
  double bandwidth = 0;     ///< bytes per second from and to memory
  double memory_bytes = 0;  ///< that a step can have
  std::string how;          ///< where the figures come from
};

/// This machine with the pool's threads. Peak and bandwidth are measured once (or `anew`) and kept in the cache folder of
/// this user; memory is what is available now.
Machine this_machine(DType dtype, bool anew = false);
/// Keeps a higher peak than the one that is kept, if one is: that was measured beside other work.
void raise_peak(DType dtype, double peak_flops);
/// A GPU by its name in the table of data sheets. Usage error with a did-you-mean for an unknown one.
Machine machine_by_name(const std::string& name, DType dtype);

/// The first CUDA device, or what is planned for where there is none: an H100. Usage error for a device
/// that the data sheets do not know.
Machine cuda_machine(DType dtype);

}  // namespace corten
