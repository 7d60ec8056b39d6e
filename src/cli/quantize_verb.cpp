// corten quantize
#include "train/quantize.h"

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "train/result_json.h"

namespace corten::cli {

int run_quantize(const Args& args) {
  CommonFlags common;
  QuantizeOptions options;
  std::string bits;
  std::optional<std::string> group;
  ArgParser parser("quantize", "Writes a folder with int8 or int4 weights.");
  parser.positional("MODEL", options.model.model, "a folder in Hugging Face layout, or a run");
  parser.choice("--bits", bits, "of a weight", {"8", "4"});
  parser.choice("--group-size", group, "weights that share a scale, of 4 bits (32)",
                {"32", "64", "128"});
  parser.option("--outlier-threshold", options.how.outlier_threshold,
                "activations of more root mean squares of their token stay floats; 0: none",
                {0, 1e5});
  parser.option("--report", options.report_text,
                "a text file on which to compare with the original");
  parser.option("--report-tokens", options.report_tokens, "how much of it", {1, 1e9});
  parser.option("-o,--out", options.out, "folder to write (MODEL-int8 or MODEL-int4)");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (bits.empty()) usage_error("corten quantize: --bits 8 or --bits 4 is missing");
  options.how.bits = bits == "8" ? 8 : 4;
  if (group && options.how.bits == 8) usage_error("corten quantize: --group-size is for --bits 4");
  if (group) options.how.group_size = std::stoll(*group);
  if (common.dtype) options.model.dtype = dtype_from_name(*common.dtype);
  if (common.device) options.model.device = *common.device;
  if (common.threads) options.model.threads = *common.threads;
  Progress progress;
  const QuantizeResult r = quantize_folder(options, [&](int64_t done, int64_t total) {
    progress.task("comparing", static_cast<uint64_t>(done), static_cast<uint64_t>(total),
                  format("{} of {} tokens", done, total));
  });
  progress.finish();
  if (common.json) {
    print_json(to_json(r));
    return kOk;
  }
  print_text(format("{}: {} instead of {} of weights ({:.2f}x)\n", r.out,
                    format_bytes(r.bytes_after), format_bytes(r.bytes_before),
                    static_cast<double>(r.bytes_before) / static_cast<double>(r.bytes_after)));
  if (!r.report) return kOk;
  const QuantizeReport& q = *r.report;
  print_text(format(
      "KL divergence  mean {:.6f}, median {:.6f}, 99% {:.6f}, max {:.6f} nats over {} tokens\n",
      q.kl_mean, q.kl_median, q.kl_p99, q.kl_max, q.tokens));
  print_text(
      format("perplexity     {:.4f} instead of {:.4f}\n", q.perplexity_after, q.perplexity_before));
  print_text(format("best token     the same at {:.2f}% of the positions\n", 100 * q.same_top));
  return kOk;
}

}  // namespace corten::cli
