// corten generate and corten eval-logits
#include "train/generate.h"

#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/file.h"
#include "base/format.h"
#include "base/signals.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "train/result_json.h"

namespace corten::cli {
namespace {

ModelOptions model_options(const std::string& model, const CommonFlags& common) {
  ModelOptions options;
  options.model = model;
  if (common.dtype) options.dtype = dtype_from_name(*common.dtype);
  if (common.device) options.device = *common.device;
  if (common.threads) options.threads = *common.threads;
  return options;
}

std::string read_stdin() {
  return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
}

}  // namespace

int run_generate(const Args& args) {
  CommonFlags common;
  GenerateOptions options;
  std::string model;
  std::optional<std::string> prompt, prompt_file;
  bool stream = false;
  ArgParser parser("generate", "Continues a prompt.");
  parser.positional("MODEL", model, "a folder in Hugging Face layout, or a run");
  parser.option("--prompt", prompt, "the text to continue");
  parser.option("--prompt-file", prompt_file, "read it from a file; - is stdin");
  parser.option("--max-new-tokens", options.max_new_tokens, "tokens to generate", {0, 1e9});
  parser.option("--temperature", options.temperature, "0: the most likely token", {0, 1e6});
  parser.option("--top-k", options.top_k, "only the k most likely tokens; 0: all", {0, 1e9});
  parser.option("--top-p", options.top_p, "only the most likely tokens of this total probability",
                {0, 1});
  parser.option("--stop", options.stop, "end at this text; may be repeated");
  parser.flag("--stream", stream, "print tokens as they come");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (prompt.has_value() == prompt_file.has_value())
    usage_error("corten generate: give one of --prompt and --prompt-file");
  options.prompt = prompt               ? *prompt
                   : *prompt_file == "-" ? read_stdin()
                                         : read_file(*prompt_file, uint64_t{1} << 30);
  options.model = model_options(model, common);
  if (common.seed) options.seed = *common.seed;
  TextCallback on_text;
  if (stream && !common.json)
    on_text = [](const std::string& text) {
      print_text(text);
      return std::fflush(stdout) == 0;
    };
  const GenerateResult result = generate_text(options, on_text);
  if (common.json)
    print_json(to_json(result));
  else
    print_text(on_text ? "\n" : result.text + "\n");
  if (!common.json)
    print_note(format("{} prompt tokens at {:.0f}/s, {} new tokens at {:.1f}/s", result.prompt_tokens,
                      result.prefill_tokens_per_s, result.ids.size(),
                      result.decode_tokens_per_s));
  return kOk;
}

int run_eval_logits(const Args& args) {
  CommonFlags common;
  EvalLogitsOptions options;
  std::string model;
  const Range ids{0, 2147483647};
  ArgParser parser("eval-logits", "Evaluates a model on given tokens.");
  parser.positional("MODEL", model, "a folder in Hugging Face layout, or a run");
  parser.option("--input-ids", options.input_ids, "token ids", ids);
  parser.option("--attention-mask", options.attention_mask, "1 for tokens to see, 0 for padding",
                {0, 1});
  parser.option("--decoder-input-ids", options.decoder_input_ids, "of encoder-decoder models", ids);
  parser.option("--labels", options.labels, "tokens to predict; -100: ignored",
                {-100, 2147483647});
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (options.input_ids.empty()) usage_error("corten eval-logits: --input-ids is missing");
  auto check_length = [&](const char* flag, size_t length) {
    if (length != 0 && length != options.input_ids.size())
      usage_error("corten eval-logits: {} has {} entries, --input-ids has {}", flag, length,
                  options.input_ids.size());
  };
  check_length("--attention-mask", options.attention_mask.size());
  if (options.decoder_input_ids.empty()) check_length("--labels", options.labels.size());
  options.model = model_options(model, common);
  const EvalLogitsResult result = eval_logits(options);
  if (common.json) {
    print_json(to_json(result));
    return kOk;
  }
  print_text(format("{} [{}]\n", result.hidden_state ? "last_hidden_state" : "logits",
                    fmt::join(result.shape, ", ")));
  if (result.loss) print_text(format("loss {}\n", *result.loss));
  const size_t width = result.shape.empty() ? 0 : static_cast<size_t>(result.shape.back());
  for (size_t at = 0; width > 0 && at < result.values.size(); at += width)
    print_text(format("{:.6g}{}\n",
                      fmt::join(result.values.begin() + at,
                                result.values.begin() + at + std::min<size_t>(width, 8), " "),
                      width > 8 ? " ..." : ""));
  return kOk;
}

}  // namespace corten::cli
