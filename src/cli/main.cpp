// Entry point: finds the verb, runs it, and turns failures into exit codes and one-line messages.
#include <signal.h>

#include <algorithm>
#include <exception>
#include <new>

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "cli/version.h"

namespace corten::cli {
namespace {

std::string overview() {
  std::string text =
      "Corten prepares text, trains transformers and runs them.\n"
      "Usage: corten VERB ...\n\nVerbs:\n";
  for (const Verb& verb : verbs()) text += format("  {:<12} {}\n", verb.name, verb.summary);
  return text +
         "\nFlags of every verb that computes:\n"
         "  --device cpu|cuda|null   --threads N   --seed N   --dtype f32|bf16|f16   --json\n"
         "\nSee corten VERB --help, corten --version.\n";
}

/// Whether --json is among the arguments; known before they are parsed, for errors in them.
bool wants_json(const Args& args) {
  auto end = std::find(args.begin(), args.end(), "--");
  return std::find(args.begin(), end, "--json") != end;
}

int dispatch(Args args) {
  if (!args.empty() && args[0] == "--json") std::rotate(args.begin(), args.begin() + 1, args.end());
  if (args.empty() || args[0] == "--json") usage_error("corten: a verb is missing (see corten --help)");
  std::string verb = args[0];
  args.erase(args.begin());
  if (verb == "help" && !args.empty()) {
    verb = args[0];
    args = {"--help"};
  }
  if (verb == "--help" || verb == "-h" || verb == "help") {
    print_text(overview());
    return kOk;
  }
  if (verb == "--version" || verb == "-V" || verb == "version") {
    ArgParser parser("--version", "Prints the version and what is found on this machine.");
    bool json = false;
    parser.flag("--json", json, "print one JSON document");
    if (!parser.parse(args))
      print_text(parser.help());
    else if (json)
      print_json(version_json());
    else
      print_text(version_text());
    return kOk;
  }
  std::vector<std::string> names;
  for (const Verb& known : verbs()) {
    if (verb == known.name) return known.run(args);
    names.emplace_back(known.name);
  }
  usage_error("corten: unknown {} {}{} (see corten --help)",
              verb.starts_with('-') ? "option" : "verb", json_quote(verb),
              did_you_mean(verb, names));
}

/// Exit code for the exception that is being handled.
int report_failure(bool json) {
  try {
    throw;
  } catch (const Error& error) {
    print_error(to_string(error.kind()), error.what(), json);
    return error.kind() == ErrorKind::Usage      ? kUsage
           : error.kind() == ErrorKind::Resource ? kResource
                                                 : kRunFailed;
  } catch (const std::bad_alloc&) {
    print_error("resource", "out of memory", json);
    return kResource;
  } catch (const std::exception& error) {
    print_error("internal", error.what(), json);
  } catch (...) {
    print_error("internal", "unknown exception", json);
  }
  return kRunFailed;
}

int run(const Args& args) {
  const bool json = wants_json(args);
  try {
    const int code = dispatch(args);
    flush_output();
    return code;
  } catch (...) {
    return report_failure(json);
  }
}

}  // namespace
}  // namespace corten::cli

int main(int argc, char** argv) {
  // A write beyond the limit on file sizes becomes an error, like one to a full disk.
  ::signal(SIGXFSZ, SIG_IGN);
  return corten::cli::run(corten::cli::Args(argv + std::min(argc, 1), argv + argc));
}
