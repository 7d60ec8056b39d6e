#include "cli/config_args.h"

namespace corten::cli {

void ConfigArgs::add_to(ArgParser& parser, bool path_required) {
  parser.positional("CONFIG.toml", path, "the configuration", path_required);
  parser.option("--set", sets, "override a key: --set train.steps=10; may be repeated");
  common.add_to(parser);
}

ConfigInputs ConfigArgs::inputs() const {
  ConfigInputs inputs;
  inputs.path = path;
  inputs.environment = config_environment();
  inputs.sets = sets;
  if (common.device) inputs.flags.push_back({"train.device", *common.device, "--device"});
  if (common.threads) inputs.flags.push_back({"train.threads", *common.threads, "--threads"});
  if (common.seed) inputs.flags.push_back({"train.seed", *common.seed, "--seed"});
  if (common.dtype) inputs.flags.push_back({"train.dtype", *common.dtype, "--dtype"});
  return inputs;
}

}  // namespace corten::cli
