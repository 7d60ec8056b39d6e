#include "cli/train_report.h"

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"

namespace corten::cli {
namespace {

std::string summary(const TrainResult& result) {
  std::string text = format("run          {}\nsteps        {} ({} tokens)\n", result.run,
                            result.steps, result.tokens);
  if (result.steps > 0) text += format("train loss   {:.4f}\n", result.train_loss);
  if (result.val_loss) text += format("val loss     {:.4f}\n", *result.val_loss);
  if (result.val_accuracy) text += format("accuracy     {:.4f}\n", *result.val_accuracy);
  text += format("memory       {} peak, {} planned\n", format_bytes(result.peak_bytes),
                 format_bytes(result.planned_peak_bytes));
  if (!result.checkpoint.empty()) text += format("checkpoint   {}\n", result.checkpoint);
  if (!result.model_dir.empty()) text += format("model        {}\n", result.model_dir);
  if (!result.digest.empty())
    text += format("digest       {} ({})\n", result.digest, result.contract);
  if (!result.plan.is_null()) text += result.plan.dump(2) + "\n";
  return text;
}

}  // namespace

int report_train(const TrainResult& result, const Json& document, bool json) {
  if (!result.failure.empty()) {
    print_error("run", result.failure, json);
    return kRunFailed;
  }
  if (json)
    print_json(document);
  else
    print_text(summary(result));
  if (result.stopped != StopSignal::None)
    print_note(format("stopped by {} after step {}; continue with --resume",
                      to_string(result.stopped), result.steps));
  return exit_code(result.stopped);
}

}  // namespace corten::cli
