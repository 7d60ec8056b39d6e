// corten train CONFIG.toml
#include "base/format.h"
#include "base/signals.h"
#include "base/strings.h"
#include "cli/config_args.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/train_report.h"
#include "cli/verbs.h"
#include "corten/check_folder.h"
#include "train/trainer.h"

namespace corten::cli {

int run_train(const Args& args) {
  ConfigArgs config;
  TrainOptions options;
  bool no_compile = false;
  ArgParser parser("train", "Trains a model as the configuration says.");
  config.add_to(parser);
  parser.flag("--resume", options.resume, "continue the run in train.out");
  parser.flag("--plan", options.plan_only, "compile and plan the step, run nothing");
  parser.flag("--no-compile", no_compile, "run op by op");
  parser.flag("--detect-anomaly", options.detect_anomaly,
              "stop at the first op that makes a NaN");
  parser.footer(config_help());
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  ConfigInputs inputs = config.inputs();
  if (no_compile) inputs.flags.push_back({"train.compile", false, "--no-compile"});
  const ResolvedConfig resolved = load_config(inputs);
  // A run that goes on has its own copy of the data.
  if (!options.resume) {
    check_config_paths(resolved);
    const ModelConfig& model = resolved.config.model;
    if (!model.path.empty() && model.init != "random")
      for (const FolderProblem& problem : check_model_folder(model.path))
        print_note(format("warning: {}: {}; {}", model.path, problem.what, problem.fix));
  }
  install_stop_handlers();
  Progress progress;
  const TrainResult result = train(resolved, options, progress.callbacks());
  progress.finish();
  return report_train(result, to_json(result), config.common.json);
}

}  // namespace corten::cli
