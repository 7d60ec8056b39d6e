// The verbs of the command line: `corten <verb> ...`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/args.h"

namespace corten::cli {

struct Verb {
  std::string_view name;
  std::string_view summary;  ///< one line for `corten --help`
  /// Runs the verb on the arguments behind its name and returns the exit code; failures are thrown.
  int (*run)(const Args& args);
};

/// All verbs, in the order of `corten --help`.
const std::vector<Verb>& verbs();

/// Runs the sub-verb that `args` begins with ("init" of `corten config init`), or prints their list
/// for --help. Usage error if there is none of that name.
int run_sub_verb(std::string_view verb, std::string_view summary, const std::vector<Verb>& sub_verbs,
                 const Args& args);

int run_config(const Args& args);
int run_data(const Args& args);
int run_tokenizer(const Args& args);
int run_quickstart(const Args& args);
int run_train(const Args& args);
int run_generate(const Args& args);
int run_eval_logits(const Args& args);
int run_bench(const Args& args);
int run_quantize(const Args& args);
int run_plan(const Args& args);
int run_explain_training(const Args& args);
int run_profile(const Args& args);

}  // namespace corten::cli
