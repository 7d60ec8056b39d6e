#include "train/generate.h"

#include "base/file.h"
#include "base/format.h"
#include "base/thread_pool.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "corten/tokenizer.h"
#include "train/run_folder.h"

namespace corten {
namespace {

std::unique_ptr<CausalLM> open_model(const ModelOptions& options, const std::string& folder) {
  if (options.device != "cpu")
    usage_error("generation needs device \"cpu\", not \"{}\"", options.device);
  default_thread_pool().set_num_threads(static_cast<int>(options.threads));
  return load_model(folder, options.dtype);
}

Tokenizer open_tokenizer_of(const std::string& folder) {
  const std::string path = join_path(folder, "tokenizer.json");
  if (!file_exists(path)) usage_error("{} has no tokenizer: there is no {}", folder, path);
  return Tokenizer::from_file(path);
}

/// An empty prompt is the beginning of a text, which GPT-2 knows as the token that ends one.
std::vector<int64_t> prompt_ids(const Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<int64_t> ids;
  for (int32_t id : tokenizer.encode_ids(prompt)) ids.push_back(id);
  if (!ids.empty()) return ids;
  const auto first = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  if (!first)
    usage_error("the prompt is empty, and the tokenizer has no token to begin a text with");
  return {*first};
}

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

void check_row(std::string_view what, const std::vector<int64_t>& row, size_t tokens) {
  if (row.size() != tokens)
    usage_error("{} numbers of {} do not fit {} input ids", row.size(), what, tokens);
}

}  // namespace

GenerateResult generate_text(const GenerateOptions& options, const TextCallback& on_text) {
  GenerationOptions settings{.max_new_tokens = options.max_new_tokens,
                             .sampling = {.temperature = options.temperature,
                                          .top_k = options.top_k,
                                          .top_p = options.top_p,
                                          .seed = options.seed}};
  check_sampling(settings.sampling);
  const std::string folder = find_model_folder(options.model.model);
  const Tokenizer tokenizer = open_tokenizer_of(folder);
  const std::vector<int64_t> prompt = prompt_ids(tokenizer, options.prompt);
  auto model = open_model(options.model, folder);

  GenerateResult result;
  StopMatcher matcher(options.stop);
  Tokenizer::StreamDecoder decoder = tokenizer.stream_decoder();
  auto emit = [&](const std::string& text) {
    result.text += text;
    return text.empty() || !on_text || on_text(text);
  };
  bool interrupted = false;
  const Generation out = generate(*model, {prompt}, settings, [&](int64_t, int64_t token) {
    interrupted = !emit(matcher.push(decoder.push(static_cast<int32_t>(token)))) ||
                  stop_requested() != StopSignal::None;
    return !interrupted && !matcher.stopped();
  });
  if (!matcher.stopped() && !interrupted) {
    emit(matcher.push(decoder.finish()));
    emit(matcher.flush());
  }
  result.ids = out.ids[0];
  result.prompt_tokens = out.prompt_tokens;
  result.stop_reason = interrupted         ? "interrupted"
                       : matcher.stopped() ? "stop"
                                           : to_string(out.reasons[0]);
  result.prefill_tokens_per_s = rate(out.prompt_tokens, out.prefill_seconds);
  result.decode_tokens_per_s = rate(out.decode_steps, out.decode_seconds);
  return result;
}

EvalLogitsResult eval_logits(const EvalLogitsOptions& options) {
  const size_t tokens = options.input_ids.size();
  if (tokens == 0) usage_error("there are no input ids");
  if (!options.decoder_input_ids.empty())
    usage_error("decoder input ids need an encoder-decoder model, which {} is not",
                options.model.model);
  if (!options.attention_mask.empty())
    check_row("the attention mask", options.attention_mask, tokens);
  if (!options.labels.empty()) check_row("labels", options.labels, tokens);
  const std::string folder = find_model_folder(options.model.model);
  auto model = open_model(options.model, folder);
  for (int64_t label : options.labels)
    if (label != -100 && (label < 0 || label >= model->vocab_size()))
      usage_error("label {} is outside the vocabulary of {}", label, model->vocab_size());

  const NoGradGuard no_grad;
  const Shape shape = {1, static_cast<int64_t>(tokens)};
  const Tensor ids = from_vector(options.input_ids, shape);
  Tensor mask;
  if (!options.attention_mask.empty()) mask = from_vector(options.attention_mask, shape);
  const Tensor logits = (*model)(ids, mask);
  EvalLogitsResult result;
  result.shape = logits.shape();
  result.values = logits.to_vector<float>();
  if (!options.labels.empty()) {
    std::vector<int64_t> targets(options.labels.begin() + 1, options.labels.end());
    targets.push_back(-100);  // nothing is known of what follows the last token
    result.loss = cross_entropy(logits, from_vector(targets, shape)).item<double>();
  }
  return result;
}

}  // namespace corten
