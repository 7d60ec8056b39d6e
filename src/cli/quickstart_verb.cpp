// corten quickstart
#include "train/quickstart.h"

#include "base/format.h"
#include "base/signals.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/train_report.h"
#include "cli/verbs.h"

namespace corten::cli {

int run_quickstart(const Args& args) {
  CommonFlags common;
  QuickstartOptions options;
  bool no_compile = false;
  ArgParser parser("quickstart",
                   "Trains a small model on an embedded text, from tokenizer to sample.");
  parser.option("--steps", options.steps, "optimizer steps", {1, 1e9});
  parser.option("--text", options.text, "UTF-8 text file to train on instead");
  parser.option("--out", options.out, "run folder; by default a new one under runs/");
  parser.flag("--no-compile", no_compile, "run op by op");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  options.compile = !no_compile;
  if (common.dtype) options.dtype = dtype_from_name(*common.dtype);
  if (common.device) options.device = *common.device;
  if (common.threads) options.threads = *common.threads;
  if (common.seed) options.seed = *common.seed;
  install_stop_handlers();
  Progress progress;
  const QuickstartResult result = quickstart(options, progress.callbacks());
  progress.finish();
  const int code = report_train(result.train, to_json(result), common.json);
  if (code == kRunFailed || common.json) return code;
  print_text(format("before       {:.4f} validation loss ({:.4f}: entropy of single tokens)\n",
                    result.val_loss_before, result.unigram_entropy));
  if (!result.sample.empty()) print_text(format("\n{}{}\n", result.prompt, result.sample));
  if (code == kOk)
    print_text(format("\nTry: corten generate {} --prompt \"{}\"\n", result.train.model_dir,
                      result.prompt));
  return code;
}

}  // namespace corten::cli
