#include "train/eval_seq2seq.h"

#include <algorithm>

#include "base/format.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "corten/seq2seq.h"
#include "models/auto_seq2seq.h"
#include "models/model_folder.h"
#include "train/check_ids.h"

namespace corten {
namespace {

Tensor row(const std::vector<int64_t>& values) {
  return values.empty() ? Tensor() : from_vector(values, {1, std::ssize(values)});
}

void check_labels(const Seq2SeqLM& model, const EvalLogitsOptions& options) {
  if (!options.decoder_input_ids.empty() && !options.labels.empty() &&
      options.labels.size() != options.decoder_input_ids.size())
    usage_error("{} labels do not fit {} decoder input ids", options.labels.size(),
                options.decoder_input_ids.size());
  for (int64_t label : options.labels)
    if (label != -100 && (label < 0 || label >= model.vocab_size()))
      usage_error("label {} is outside the vocabulary of {}", label, model.vocab_size());
}

}  // namespace

bool holds_seq2seq(const std::string& folder) {
  const Json config = read_config_json(folder);
  const Json* type = config.is_object() ? config.find("model_type") : nullptr;
  return type && type->is_string() && is_seq2seq_type(type->as_string());
}

EvalLogitsResult eval_seq2seq(const EvalLogitsOptions& options, const ModelPlace& place) {
  const std::string& folder = place.folder;
  if (options.model.device != "cpu")
    usage_error("evaluation needs device \"cpu\", not \"{}\"", options.model.device);
  default_thread_pool().set_num_threads(static_cast<int>(options.model.threads));
  const Seq2SeqInput input{.ids = row(options.input_ids),
                           .attention_mask = row(options.attention_mask),
                           .decoder_ids = row(options.decoder_input_ids)};
  const Json config = read_config_json(folder);
  const Json* names = config.find("architectures");
  const bool without_head = names && (*names == Json(std::vector<std::string>{"T5Model"}) ||
                                      *names == Json(std::vector<std::string>{"T5EncoderModel"}));
  const NoGradGuard no_grad;
  EvalLogitsResult result;
  Tensor values;
  if (without_head) {
    if (!options.labels.empty())
      usage_error("labels need a model with a head, which {} (\"{}\") is not", folder,
                  names->at(0).as_string());
    const auto model = AutoSeq2SeqModel::from_pretrained(folder, options.model.dtype);
    const auto adapter = attach_adapter(*model, place);
    if (model->has_decoder() && options.decoder_input_ids.empty())
      usage_error("{} needs decoder input ids, too: it is an encoder-decoder", folder);
    if (!model->has_decoder() && !options.decoder_input_ids.empty())
      usage_error("decoder input ids need a decoder, which {} does not have", folder);
    for (const std::vector<int64_t>* ids : {&options.input_ids, &options.decoder_input_ids})
      check_token_ids(*ids, model->config_json());
    values = model->has_decoder() ? model->hidden_states(input)
                                  : model->encode(input.ids, input.attention_mask);
    result.hidden_state = true;
  } else {
    const auto model = AutoModelForSeq2SeqLM::from_pretrained(folder, options.model.dtype);
    const auto adapter = attach_adapter(*model, place);
    for (const std::vector<int64_t>* ids : {&options.input_ids, &options.decoder_input_ids})
      check_token_ids(*ids, model->config_json());
    check_labels(*model, options);
    if (options.decoder_input_ids.empty() && options.labels.empty())
      usage_error("{} needs decoder input ids or labels, too: it is an encoder-decoder", folder);
    Seq2SeqInput full = input;
    if (!full.decoder_ids.defined()) full.decoder_ids = model->shift_right(row(options.labels));
    values = (*model)(full);
    if (!options.labels.empty())
      result.loss = cross_entropy(values, row(options.labels)).item<double>();
  }
  result.shape = values.shape();
  result.values = values.to_vector<float>();
  return result;
}

}  // namespace corten
