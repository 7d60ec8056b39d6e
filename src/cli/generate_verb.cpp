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
#include "train/model_place.h"
#include "train/result_json.h"

namespace corten::cli {
namespace {

ModelOptions model_options(const std::string& model, const std::string& adapter,
                           const CommonFlags& common) {
  ModelOptions options;
  options.adapter = adapter;
  options.model = model;
  if (common.dtype) options.dtype = dtype_from_name(*common.dtype);
  if (common.device) options.device = *common.device;
  if (common.threads) options.threads = *common.threads;
  return options;
}

/// Says what in the model's folder contradicts what.
void check_files(const ModelOptions& options) {
  for (const std::string& line : check_place(find_model(options.model, options.adapter)))
    print_note("warning: " + line);
}

std::string read_stdin() {
  return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
}

}  // namespace

int run_generate(const Args& args) {
  CommonFlags common;
  GenerateOptions options;
  std::string model;
  std::optional<std::string> prompt_file, early_stopping;
  GenerationConfig& s = options.settings;
  bool stream = false;
  ArgParser parser("generate", "Continues a prompt.");
  parser.positional("MODEL", model, "a folder in Hugging Face layout, or a run");
  parser.option("--adapter", options.model.adapter,
                "a LoRA adapter for it: a folder in PEFT's layout, or a run");
  parser.option("--prompt", options.prompts, "the text to continue; may be repeated");
  parser.option("--prompt-file", prompt_file, "read it from a file; - is stdin");
  parser.option("--max-new-tokens", s.max_new_tokens, "tokens to generate (100)", {1, 1e9});
  parser.option("--min-new-tokens", s.min_new_tokens, "no end before so many", {0, 1e9});
  parser.option("--temperature", s.temperature, "0: the most likely token (that of generation_config.json, or 1)", {0, 1e6});
  parser.option("--top-k", s.top_k, "only the k most likely tokens; 0: all", {0, 1e9});
  parser.option("--top-p", s.top_p, "only the most likely tokens of this total probability",
                {0, 1});
  parser.option("--min-p", s.min_p, "only tokens of this probability, relative to the best",
                {0, 1});
  parser.option("--typical-p", s.typical_p,
                "only the most typical tokens of this total probability", {0, 1});
  parser.option("--epsilon-cutoff", s.epsilon_cutoff, "only tokens of this probability", {0, 1});
  parser.option("--eta-cutoff", s.eta_cutoff, "the same, adapted to the entropy", {0, 1});
  parser.option("--repetition-penalty", s.repetition_penalty,
                "divides the logits of tokens that occurred; 1: none", {0, 1e6});
  parser.option("--presence-penalty", s.presence_penalty,
                "subtracted from the logits of new tokens that occurred", {-1e6, 1e6});
  parser.option("--frequency-penalty", s.frequency_penalty, "the same for each time they occurred",
                {-1e6, 1e6});
  parser.option("--no-repeat-ngram-size", s.no_repeat_ngram_size,
                "no sequence of so many tokens occurs twice", {0, 1e9});
  parser.option("--bad-word", options.bad_words, "a text not to write; may be repeated");
  parser.option("--num-beams", s.num_beams, "beam search", {1, 1e6});
  parser.option("--length-penalty", s.length_penalty,
                "beams compare by log probability / length^this (1)", {-1e6, 1e6});
  parser.choice("--early-stopping", early_stopping, "when beam search ends (false)",
                {"false", "true", "never"});
  parser.option("--num-return-sequences", s.num_return_sequences, "texts for each prompt",
                {1, 1e6});
  parser.option("--draft-model", options.draft_model,
                "a smaller model of the same vocabulary, for speculative decoding");
  parser.option("--num-draft-tokens", options.num_draft_tokens, "tokens it proposes at a time",
                {1, 1000});
  parser.option("--stop", options.stop, "end at this text; may be repeated");
  parser.flag("--stream", stream, "print tokens as they come");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (options.prompts.empty() != prompt_file.has_value())
    usage_error("corten generate: give one of --prompt and --prompt-file");
  if (prompt_file)
    options.prompts = {*prompt_file == "-" ? read_stdin()
                                           : read_file(*prompt_file, uint64_t{1} << 30)};
  for (const std::string& prompt : options.prompts)
    if (const size_t at = find_invalid_utf8(prompt); at != std::string::npos)
      usage_error("corten generate: the prompt is no UTF-8: byte {} is 0x{:02X}", at,
                  static_cast<unsigned char>(prompt[at]));
  if (early_stopping)
    s.early_stopping = *early_stopping == "never"  ? EarlyStopping::never
                       : *early_stopping == "true" ? EarlyStopping::yes
                                                   : EarlyStopping::open;
  options.model = model_options(model, options.model.adapter, common);
  if (common.seed) options.seed = *common.seed;
  TextCallback on_text;
  if (stream && !common.json)
    on_text = [](const std::string& text) {
      print_text(text);
      return std::fflush(stdout) == 0;
    };
  check_files(options.model);
  const GenerateResult result = generate_text(options, on_text);
  if (common.json)
    print_json(to_json(result));
  else if (on_text)
    print_text("\n");
  else
    for (size_t i = 0; i < result.sequences.size(); ++i)  // a line between several
      print_text((i ? "---\n" : "") + result.sequences[i].text + "\n");
  if (!common.json) flush_output();  // before the note
  size_t new_tokens = 0;
  for (const GeneratedText& one : result.sequences) new_tokens += one.ids.size();
  if (!common.json)
    print_note(format("{} prompt tokens at {:.0f}/s, {} new tokens at {:.1f}/s{}",
                      result.prompt_tokens, result.prefill_tokens_per_s, new_tokens,
                      result.decode_tokens_per_s,
                      result.accepted_drafts
                          ? format(", {:.0f} % of the drafts stood", 100 * *result.accepted_drafts)
                          : ""));
  return kOk;
}

int run_eval_logits(const Args& args) {
  CommonFlags common;
  EvalLogitsOptions options;
  std::string model;
  const Range ids{0, 2147483647};
  ArgParser parser("eval-logits", "Evaluates a model on given tokens or images.");
  parser.positional("MODEL", model, "a folder in Hugging Face layout, or a run");
  parser.option("--adapter", options.model.adapter,
                "a LoRA adapter for it: a folder in PEFT's layout, or a run");
  parser.option("--input-ids", options.input_ids, "token ids", ids);
  parser.option("--attention-mask", options.attention_mask, "1 for tokens to see, 0 for padding",
                {0, 1});
  parser.option("--decoder-input-ids", options.decoder_input_ids, "of encoder-decoder models", ids);
  parser.option("--labels", options.labels,
                "tokens to predict, -100: ignored; or the class of the sequence or of each image",
                {-100, 2147483647});
  parser.option("--pixel-values", options.pixel_values,
                "image models: a safetensors file with pixel_values [images, channels, rows, "
                "columns], normalised, instead of --input-ids");
  parser.flag("--interpolate-pos-encoding", options.interpolate_pos_encoding,
              "vit: images may be of any size, for which positions are interpolated");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (options.input_ids.empty() && options.pixel_values.empty())
    usage_error("corten eval-logits: --input-ids is missing (or --pixel-values of an image model)");
  auto check_length = [&](const char* flag, size_t length) {
    if (length != 0 && length != options.input_ids.size())
      usage_error("corten eval-logits: {} has {} entries, --input-ids has {}", flag, length,
                  options.input_ids.size());
  };
  check_length("--attention-mask", options.attention_mask.size());
  options.model = model_options(model, options.model.adapter, common);
  check_files(options.model);
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
