// corten explain CONFIG.toml
#include "base/format.h"
#include "base/strings.h"
#include "cli/config_args.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "diagnose/explain.h"

namespace corten::cli {
namespace {

void print_program(const ProgramExplanation& program, size_t rows, bool kernel_texts) {
  const ProgramInfo& info = program.info;
  std::string text = format("{}: {} kernels ({} distinct), {} matrix products, {:.3f} GFLOP, {} moved\n", program.name, info.kernels,
                            info.distinct_kernels, info.gemms, info.flops / 1e9, format_bytes(static_cast<uint64_t>(info.bytes_moved)));
  text += "  compiled because\n";
  for (const CompileRecord& c : program.compilations)
    text += format("    {}: trace {:.1f} ms, passes {:.1f} ms, kernels {:.1f} ms ({} compiled, {} from disk, {} known)\n", c.reason, c.trace_ms,
                   c.passes_ms, c.compile_ms, c.kernels_compiled, c.kernels_from_disk, c.kernels_from_memory);
  text += "  passes\n";
  for (const passes::PassRecord& pass : program.passes)
    text += pass.skipped ? format("    {:<12} skipped\n", pass.name)
                         : format("    {:<12} {:>9.2f} ms  {:>6} -> {:>6} nodes\n", pass.name, pass.ms, pass.nodes_before, pass.nodes_after);
  for (bool products : {true, false}) {
    text += products ? "  matrix products by bytes\n" : "  kernels by bytes\n";
    size_t shown = 0, all = 0;
    for (const StepGroup& group : program.groups) {
      if (group.product != products || ++all > rows) continue;
      ++shown;
      std::string name = group.name.size() > 60 ? group.name.substr(0, 57) + "..." : group.name;
      text += format("    {:<60} x {:<5} {:>12}", name, group.count, format_bytes(static_cast<uint64_t>(group.bytes)));
      text += products ? format("  {:.3f} GFLOP\n", group.flops / 1e9) : format("  {}\n", group.example);
    }
    if (all > shown) text += format("    and {} more (--rows N)\n", all - shown);
  }
  text += info.copies.empty() ? "  all state is written in place\n" : "  state that is copied\n";
  for (const std::string& copy : info.copies) text += format("    {}\n", copy);
  if (kernel_texts)
    for (const std::string& kernel : program.kernel_texts) text += kernel + "\n";
  print_text(text);
}

}  // namespace

int run_explain_training(const Args& args) {
  ConfigArgs config;
  int64_t rows = 12;
  bool kernel_texts = false;
  ArgParser parser("explain", "Shows what a training step is compiled to, why, and at what cost. Nothing runs.");
  config.add_to(parser);
  parser.option("--rows", rows, "kernels and products to list", {1, 1e6});
  parser.flag("--kernels", kernel_texts, "print the text of every distinct kernel");
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  const ResolvedConfig resolved = load_config(config.inputs());
  Progress progress;
  const std::vector<ProgramExplanation> programs =
      explain_training(resolved.config, [&](const std::string& text) { progress.message(text); });
  progress.finish();
  if (config.common.json) {
    Json list = Json::array();
    for (const ProgramExplanation& program : programs) {
      Json json = to_json(program);
      if (kernel_texts) json.set("kernel_texts", program.kernel_texts);
      list.push_back(std::move(json));
    }
    print_json(Json::object({{"programs", list}}));
    return kOk;
  }
  for (const ProgramExplanation& program : programs) print_program(program, static_cast<size_t>(rows), kernel_texts);
  return kOk;
}

}  // namespace corten::cli
