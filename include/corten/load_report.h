// How a file of weights and the model that it was read into differed.
#pragma once

#include <string>
#include <vector>

namespace corten {

/// Not an error: a model may get a new head.
struct LoadReport {
  std::vector<std::string> initialized;  ///< parameters of heads that the file lacks, drawn anew
  std::vector<std::string> mismatched;   ///< those among them that the file has in another shape
  std::vector<std::string> unused;       ///< tensors of the file that the model has no use for
};

}  // namespace corten
