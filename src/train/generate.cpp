#include "train/generate.h"

#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json_file.h"
#include "base/thread_pool.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "corten/tokenizer.h"
#include "cuda/load.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "runtime/device_function.h"
#include "train/check_ids.h"
#include "train/eval_encoder.h"
#include "train/eval_image.h"
#include "train/eval_seq2seq.h"
#include "train/model_place.h"
#include "train/run_folder.h"

namespace corten {
namespace {

/// Where models run.
struct Where {
  explicit Where(const ModelOptions& options) {
    default_thread_pool().set_num_threads(static_cast<int>(options.threads));
    if (options.device == "cpu") return;
    if (options.device != "cuda")
      usage_error("generation needs device \"cpu\" or \"cuda\", not \"{}\"", options.device);
    if (options.cuda_device) {
      state = options.cuda_device();
      return;
    }
    if (const std::string missing = cuda::missing_device(); !missing.empty())
      resource_error("--device cuda: {}", missing);
    device = cuda::open_device(0);
    state = std::make_unique<runtime::DeviceState>(*device);
  }
  std::unique_ptr<cuda::Device> device;
  std::unique_ptr<runtime::DeviceState> state;  // null: the CPU
};

/// What a head that was drawn at random says means nothing; an adapter may bring one.
void check_head(const CausalLM& model, const ModelPlace& place, const LoraModel* adapter) {
  for (const std::string& name : model.load_report().initialized)
    if (!adapter || !adapter->brings(name))
      usage_error(
          "{} holds no {}: it was saved without its head, or its head is the token embedding, "
          "which \"tie_word_embeddings\": true in config.json says",
          place.folder, name);
}

/// A decoder or an encoder-decoder, and its adapter.
struct Writer {
  Writer(const ModelOptions& options, const ModelPlace& place) {
    if (holds_seq2seq(place.folder)) {
      seq2seq = AutoModelForSeq2SeqLM::from_pretrained(place.folder, options.dtype);
      adapter = attach_adapter(*seq2seq, place);
    } else {
      const std::string architecture = first_architecture(read_config_json(place.folder));
      if (architecture.ends_with("ForSequenceClassification"))
        usage_error("{} holds a {}, which judges texts and continues none", place.folder,
                    architecture);
      decoder = load_model(place.folder, options.dtype);
      adapter = attach_adapter(*decoder, place);
      check_head(*decoder, place, adapter.get());
    }
  }
  Generation operator()(const std::vector<std::vector<int64_t>>& prompts,
                        const GenerationOptions& options, const TokenCallback& on_token = {}) {
    return seq2seq ? generate(*seq2seq, prompts, options, on_token)
                   : generate(*decoder, prompts, options, on_token);
  }

  std::vector<int64_t> eos_token_ids() const {
    return seq2seq ? seq2seq->eos_token_ids() : decoder->eos_token_ids();
  }
  int64_t vocab_size() const { return seq2seq ? seq2seq->vocab_size() : decoder->vocab_size(); }

  std::unique_ptr<CausalLM> decoder;
  std::unique_ptr<Seq2SeqLM> seq2seq;
  std::unique_ptr<LoraModel> adapter;
};

Tokenizer open_tokenizer_of(const std::string& folder) {
  const std::string path = join_path(folder, "tokenizer.json");
  if (!has_file(path)) usage_error("{} has no tokenizer: {}", folder, describe_absent(path));
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

/// generation_config.json of a model folder.
GenerationConfig stored_settings(const std::string& folder) {
  const std::string path = join_path(folder, "generation_config.json");
  const std::optional<Json> json = read_optional_json(path);
  return json ? GenerationConfig::from_json(json->dump(), path) : GenerationConfig();
}

void override_settings(GenerationConfig& config, const GenerationConfig& settings) {
  const bool draws = config.do_sample.value_or(false);
  config.override_with(settings);
  const GenerationConfig& s = settings;
  const bool asks_to_draw = s.temperature.value_or(0) > 0 || s.top_k || s.top_p || s.min_p ||
                            s.typical_p || s.epsilon_cutoff || s.eta_cutoff;
  if (!asks_to_draw || s.do_sample) return;
  config.do_sample = s.temperature.value_or(1) > 0;
  // transformers' default belongs to what its own files say.
  if (!draws && !config.top_k) config.top_k = 0;
}

/// Texts become tokens as they stand and after a space, which most words follow.
void forbid_words(GenerationConfig& config, const Tokenizer& tokenizer,
                  const std::vector<std::string>& words) {
  for (const std::string& word : words)
    for (const std::string& text : {word, " " + word}) {
      const std::vector<int32_t> ids = tokenizer.encode_ids(text, false);
      if (ids.empty()) usage_error("a bad word is empty");
      if (!config.bad_words_ids) config.bad_words_ids.emplace();
      config.bad_words_ids->emplace_back(ids.begin(), ids.end());
    }
}

/// The text of one sequence as its tokens come.
class RowText {
 public:
  RowText(const Tokenizer& tokenizer, const std::vector<std::string>& stops, TextCallback on_text)
      : matcher_(stops), decoder_(tokenizer.stream_decoder()), on_text_(std::move(on_text)) {}

  /// False if the callback wants no more.
  bool push(int64_t token) {
    return emit(matcher_.push(decoder_.push(static_cast<int32_t>(token))));
  }
  void finish() {
    if (matcher_.stopped()) return;
    emit(matcher_.push(decoder_.finish()));
    emit(matcher_.flush());
  }
  bool stopped() const { return matcher_.stopped(); }
  const std::string& text() const { return text_; }

 private:
  bool emit(const std::string& text) {
    text_ += text;
    return text.empty() || !on_text_ || on_text_(text);
  }

  StopMatcher matcher_;
  Tokenizer::StreamDecoder decoder_;
  TextCallback on_text_;
  std::string text_;
};

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

void check_row(std::string_view what, const std::vector<int64_t>& row, size_t tokens) {
  if (row.size() != tokens)
    usage_error("{} numbers of {} do not fit {} input ids", row.size(), what, tokens);
}

}  // namespace

GenerateResult generate_text(const GenerateOptions& options, const TextCallback& on_text) {
  const ModelPlace place = find_model(options.model.model, options.model.adapter);
  const std::string& folder = place.folder;
  const Tokenizer tokenizer = open_tokenizer_of(place.tokenizer_folder());
  if (options.prompts.empty()) usage_error("there is no prompt");
  std::vector<std::vector<int64_t>> prompts;
  int64_t longest = 0;
  for (const std::string& prompt : options.prompts) {
    prompts.push_back(prompt_ids(tokenizer, prompt));
    longest = std::max(longest, std::ssize(prompts.back()));
  }
  // What an encoder-decoder writes stands after its start token alone.
  if (holds_seq2seq(folder)) longest = 1;
  GenerationConfig config = stored_settings(folder);
  override_settings(config, options.settings);
  forbid_words(config, tokenizer, options.bad_words);
  GenerationOptions settings = config.options(longest);
  settings.sampling.seed = options.seed;
  check_sampling(settings.sampling);
  std::vector<std::string> stops = options.stop;
  if (config.stop_strings)
    stops.insert(stops.end(), config.stop_strings->begin(), config.stop_strings->end());
  const bool beams = settings.num_beams > 1;
  const auto rows =
      prompts.size() * static_cast<size_t>(std::max<int64_t>(1, settings.num_return_sequences));
  if (on_text && (rows != 1 || beams))
    usage_error(
        "streaming is for one sequence without beams, not for {} prompts, num_beams {} and "
        "num_return_sequences {}",
        prompts.size(), settings.num_beams, settings.num_return_sequences);
  const Where where(options.model);
  settings.device = where.state.get();
  Writer model(options.model, place);
  // Where neither config says what ends a text, the tokenizer does.
  if (settings.eos_token_ids.empty() && model.eos_token_ids().empty())
    if (const auto end = tokenizer.eos_id(); end && *end < model.vocab_size())
      settings.eos_token_ids = {*end};
  if (model.seq2seq && !options.draft_model.empty())
    usage_error("a draft model works with a decoder, which {} is not", folder);

  std::vector<RowText> texts;
  for (size_t row = 0; row < rows; ++row) texts.emplace_back(tokenizer, stops, on_text);
  bool interrupted = false;
  const auto on_token = [&](int64_t row, int64_t token) {
    RowText& text = texts[static_cast<size_t>(row)];
    const bool goes_on = text.push(token);
    interrupted = interrupted || !goes_on || stop_requested() != StopSignal::None;
    return !interrupted && !text.stopped();
  };
  Generation out;
  if (beams) {
    settings.stop = [&](std::span<const int64_t> ids) {
      interrupted = interrupted || stop_requested() != StopSignal::None;
      if (interrupted || stops.empty()) return interrupted;
      RowText text(tokenizer, stops, {});
      for (int64_t id : ids) text.push(id);
      return text.stopped();
    };
    if (!options.draft_model.empty())
      usage_error("a draft model works without beams, not with num_beams {}", settings.num_beams);
    out = model(prompts, settings);
    for (size_t row = 0; row < rows; ++row)
      for (int64_t id : out.ids[row]) texts[row].push(id);
  } else if (!options.draft_model.empty()) {
    if (prompts.size() != 1)
      usage_error("a draft model works with one prompt, not with {}", prompts.size());
    const Writer draft(options.model, find_model(options.draft_model));
    if (!draft.decoder)
      usage_error("a draft model is a decoder, which {} is not", options.draft_model);
    out = generate_speculative(*model.decoder, *draft.decoder, prompts[0], settings,
                               options.num_draft_tokens, on_token);
  } else {
    out = model(prompts, settings, on_token);
  }

  GenerateResult result;
  int64_t new_tokens = 0;
  for (size_t row = 0; row < rows; ++row) {
    if (!interrupted) texts[row].finish();
    GeneratedText& one = result.sequences.emplace_back();
    one.prompt = static_cast<int64_t>(row / (rows / prompts.size()));
    one.text = texts[row].text();
    one.ids = out.ids[row];
    const bool cut = interrupted && out.reasons[row] == StopReason::stopped;
    one.stop_reason = cut                    ? "interrupted"
                      : texts[row].stopped() ? "stop"
                                             : to_string(out.reasons[row]);
    if (beams) one.score = out.scores[row];
    new_tokens += std::ssize(one.ids);
  }
  result.prompt_tokens = out.prompt_tokens;
  result.prefill_tokens_per_s = rate(out.prompt_tokens, out.prefill_seconds);
  // The first tokens come from the prompts.
  const auto sequences = static_cast<int64_t>(rows);
  result.decode_tokens_per_s =
      rate(std::max<int64_t>(0, new_tokens - sequences), out.decode_seconds);
  if (out.drafted > 0)
    result.accepted_drafts = static_cast<double>(out.accepted) / static_cast<double>(out.drafted);
  return result;
}

EvalLogitsResult eval_logits(const EvalLogitsOptions& options) {
  const size_t tokens = options.input_ids.size();
  if (!options.pixel_values.empty()) {
    const std::string folder = find_model_folder(options.model.model);
    if (!holds_image_model(folder))
      usage_error("pixel values need an image model, which {} is not", folder);
    if (tokens > 0 || !options.attention_mask.empty() || !options.decoder_input_ids.empty())
      usage_error("an image model reads pixel values and no ids");
    return eval_image_model(options, folder);
  }
  if (options.interpolate_pos_encoding)
    usage_error("interpolated positions are for the pixel values of an image model");
  if (tokens == 0) usage_error("there are no input ids");
  if (!options.attention_mask.empty())
    check_row("the attention mask", options.attention_mask, tokens);
  const ModelPlace place = find_model(options.model.model, options.model.adapter);
  if (holds_seq2seq(place.folder)) return eval_seq2seq(options, place);
  if (!options.decoder_input_ids.empty())
    usage_error("decoder input ids need an encoder-decoder model, which {} is not",
                options.model.model);
  if (holds_image_model(place.folder))
    usage_error("{} is an image model and needs pixel values", place.folder);
  if (evaluated_as_encoder(place)) return eval_encoder(options, place);
  if (!options.labels.empty()) check_row("labels", options.labels, tokens);
  if (options.model.device != "cpu")
    usage_error("logits are evaluated on the CPU, not on \"{}\"", options.model.device);
  default_thread_pool().set_num_threads(static_cast<int>(options.model.threads));
  const Writer writer(options.model, place);
  CausalLM* const model = writer.decoder.get();
  check_token_ids(options.input_ids, model->config_json());
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
