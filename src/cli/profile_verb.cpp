// corten profile CONFIG.toml
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "cli/config_args.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "diagnose/chrome_trace.h"
#include "diagnose/profile.h"

namespace corten::cli {
namespace {

std::string signed_bytes(int64_t bytes) {
  return (bytes < 0 ? "-" : "+") + format_bytes(static_cast<uint64_t>(bytes < 0 ? -bytes : bytes));
}

std::string growth_text(const ProfileResult& result) {
  if (result.memory.size() < 2) return "growth between steps: at least two steps are needed\n";
  std::string text = format("growth between steps {} and {} by owner\n", result.memory.front().step, result.memory.back().step);
  bool any = false;
  for (const Growth& g : result.growth) {
    if (g.first == g.last) continue;
    any = true;
    text += format("  {:<44} {:>12} -> {:>12}  {}{}\n", g.owner, format_bytes(static_cast<uint64_t>(g.first)),
                   format_bytes(static_cast<uint64_t>(g.last)), signed_bytes(g.last - g.first),
                   g.leak ? format("  LEAK: grew in {} of {} steps", g.steps_that_grew, result.memory.size() - 1) : "");
  }
  if (!any) text += "  none\n";
  return text;
}

}  // namespace

int run_profile(const Args& args) {
  ConfigArgs config;
  ProfileOptions options;
  std::string out;
  int64_t rows = 100;
  bool no_compile = false;
  ArgParser parser("profile", "Measures training steps: time by kernel, memory over time, growth between steps.");
  config.add_to(parser);
  parser.option("--steps", options.steps, "steps to record, after two to warm up", {1, 1e6});
  parser.option("-o,--out", out, "folder for trace.json, key_averages.txt, snapshot.pickle and profile.json");
  parser.option("--rows", rows, "rows of the table", {1, 1e6});
  parser.flag("--no-compile", no_compile, "run op by op");
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  ConfigInputs inputs = config.inputs();
  if (no_compile) inputs.flags.push_back({"train.compile", false, "--no-compile"});
  const ResolvedConfig resolved = load_config(inputs);
  check_config_paths(resolved);
  if (!out.empty()) create_folders(out);  // before the work, should it fail
  Progress progress;
  options.message = [&](const std::string& text) { progress.message(text); };
  options.on_step = [&](int64_t step, double ms) {
    progress.task(format("step {}/{}", step, options.steps), static_cast<uint64_t>(step), static_cast<uint64_t>(options.steps), format("{:.1f} ms", ms));
  };
  const ProfileResult result = profile_training(resolved.config, options);
  progress.finish();
  const std::string table = key_averages_table(result.averages, static_cast<size_t>(rows));
  Json json = to_json(result);
  Json files = Json::object();
  if (!out.empty()) {
    auto file = [&](const char* kind, const char* name, const std::string& text) {
      write_file_atomic(join_path(out, name), text);
      files.set(kind, join_path(out, name));
    };
    file("trace", "trace.json", chrome_trace(result.ranges, join_path(out, "trace.json")));
    file("key_averages", "key_averages.txt", table);
    file("snapshot", "snapshot.pickle", result.snapshot.to_pickle());
    file("memory_summary", "memory_summary.txt", memory_summary());
    file("profile", "profile.json", json.dump(2) + "\n");
  }
  if (config.common.json) {
    json.set("files", files);
    print_json(json);
    return kOk;
  }
  print_text(table);
  double total = 0;
  for (double ms : result.step_ms) total += ms;
  print_text(format("data loading {} of {} in {} steps\n", format_duration(result.data_ms / 1e3), format_duration(total / 1e3), result.step_ms.size()));
  print_text(growth_text(result));
  if (!out.empty()) print_note(format("wrote {}: trace.json opens in Perfetto, snapshot.pickle at pytorch.org/memory_viz", out));
  return kOk;
}

}  // namespace corten::cli
