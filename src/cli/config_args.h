// Command-line flags that end up in the training configuration.
#pragma once

#include <string>
#include <vector>

#include "cli/args.h"
#include "train/config.h"

namespace corten::cli {

/// CONFIG.toml, --set and the common flags, as `train` and `config` take them.
struct ConfigArgs {
  std::string path;
  std::vector<std::string> sets;
  CommonFlags common;

  void add_to(ArgParser& parser, bool path_required = true);
  /// The layers of the configuration: the file, this process's environment, --set and flags.
  ConfigInputs inputs() const;
};

}  // namespace corten::cli
