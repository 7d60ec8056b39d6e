// Runs the built command line and collects what it says.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace corten::cli {

struct Outcome {
  int code = -1;  ///< exit code, or -1 if a signal ended the process
  std::string out, err;

  /// stdout as one JSON document; a test failure if it is none.
  Json json() const;
};

/// Environment variables ("NAME=value") on top of this process's own.
Outcome run_corten(const std::vector<std::string>& args, const std::string& input = "",
                   const std::vector<std::string>& environment = {});

/// Starts the command, waits for `sign` to appear on its stderr, and sends it `signal` once.
Outcome interrupt_corten(const std::vector<std::string>& args, const std::string& sign, int signal);

}  // namespace corten::cli
