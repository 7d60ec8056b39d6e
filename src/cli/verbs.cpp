#include "cli/verbs.h"

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"

namespace corten::cli {

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {
      {"quickstart", "train a small model on an embedded text, from tokenizer to sample",
       run_quickstart},
      {"config", "write, check and explain training configurations", run_config},
      {"data", "tokenise text to shards", run_data},
      {"tokenizer", "train and use tokenizers", run_tokenizer},
      {"train", "train a model as a configuration says", run_train},
      {"generate", "continue a prompt", run_generate},
      {"eval-logits", "evaluate a model on given tokens", run_eval_logits},
      {"quantize", "write a model with int8 or int4 weights, and how far it is from the original", run_quantize},
      {"plan", "predict memory, work and time of a training step", run_plan},
      {"explain", "show passes, kernels and why a step is compiled", run_explain_training},
      {"profile", "measure training steps: time by kernel, memory, leaks", run_profile},
      {"bench", "measure training, generation and single ops", run_bench},
  };
  return all;
}

int run_sub_verb(std::string_view verb, std::string_view summary, const std::vector<Verb>& sub_verbs,
                 const Args& args) {
  std::vector<std::string> names;
  for (const Verb& sub : sub_verbs) names.emplace_back(sub.name);
  if (args.empty() || args[0].starts_with("--json"))
    usage_error("corten {} needs one of {}", verb, fmt::join(names, ", "));
  if (args[0] == "--help" || args[0] == "-h") {
    std::string text = format("{}\nUsage: corten {} VERB ...\n\nVerbs:\n", summary, verb);
    for (const Verb& sub : sub_verbs) text += format("  {:<12} {}\n", sub.name, sub.summary);
    print_text(text + format("\nSee corten {} VERB --help.\n", verb));
    return 0;
  }
  for (const Verb& sub : sub_verbs)
    if (args[0] == sub.name) return sub.run(Args(args.begin() + 1, args.end()));
  usage_error("corten {}: unknown verb \"{}\"{} (one of {})", verb, args[0],
              did_you_mean(args[0], names), fmt::join(names, ", "));
}

}  // namespace corten::cli
