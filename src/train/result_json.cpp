#include "train/result_json.h"

#include "base/format.h"
#include "base/hash.h"

namespace corten {
namespace {

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

std::string losses_digest(std::span<const float> losses) {
  return hex(hash128(std::as_bytes(losses)));
}

Json to_json(const TrainResult& r) {
  if (!r.plan.is_null())  // nothing ran
    return Json::object({{"planned_peak_bytes", r.planned_peak_bytes}, {"plan", r.plan}});
  Json out = Json::object({{"run", r.run},
                           {"first_step", r.first_step},
                           {"steps", r.steps},
                           {"tokens", r.tokens},
                           {"train_loss", r.train_loss},
                           {"val_loss", or_null(r.val_loss)},
                           {"losses", r.losses},
                           {"digest", r.digest},
                           {"contract", r.contract},
                           {"checkpoint", r.checkpoint},
                           {"model_dir", r.model_dir},
                           {"peak_bytes", r.peak_bytes},
                           {"planned_peak_bytes", r.planned_peak_bytes}});
  if (r.val_accuracy) out.set("val_accuracy", *r.val_accuracy);
  if (r.stopped != StopSignal::None) out.set("stopped", to_string(r.stopped));
  return out;
}

TrainResult train_result_from_json(const Json& json, const std::string& source_name) {
  try {
    TrainResult r;
    r.run = json.at("run").as_string("run");
    r.first_step = json.at("first_step").as_int("first_step");
    r.steps = json.at("steps").as_int("steps");
    r.tokens = json.at("tokens").as_int("tokens");
    r.train_loss = json.at("train_loss").as_double("train_loss");
    if (const Json& loss = json.at("val_loss"); !loss.is_null())
      r.val_loss = loss.as_double("val_loss");
    if (const Json* accuracy = json.find("val_accuracy"))
      r.val_accuracy = accuracy->as_double("val_accuracy");
    for (const Json& loss : json.at("losses").elements("losses"))
      r.losses.push_back(static_cast<float>(loss.as_double("losses")));
    r.digest = json.at("digest").as_string("digest");
    r.contract = json.at("contract").as_string("contract");
    r.checkpoint = json.at("checkpoint").as_string("checkpoint");
    r.model_dir = json.at("model_dir").as_string("model_dir");
    r.peak_bytes = json.at("peak_bytes").as_uint("peak_bytes");
    r.planned_peak_bytes = json.at("planned_peak_bytes").as_uint("planned_peak_bytes");
    return r;
  } catch (const Error& error) {
    usage_error("{}: {}", source_name, error.what());
  }
}

Json to_json(const QuickstartResult& r) {
  Json out = to_json(r.train);
  out.set("val_loss_before", r.val_loss_before);
  out.set("unigram_entropy", r.unigram_entropy);
  out.set("prompt", r.prompt);
  out.set("sample", r.sample);
  return out;
}

Json to_json(const GeneratedText& r) {
  Json out = Json::object({{"text", r.text}, {"ids", r.ids}, {"stop_reason", r.stop_reason}});
  if (r.score) out.set("score", *r.score);
  return out;
}

/// The first sequence's fields, and all sequences if there are several.
Json to_json(const GenerateResult& r) {
  Json out = to_json(r.sequences.at(0));
  out.set("prompt_tokens", r.prompt_tokens);
  out.set("prefill_tokens_per_s", r.prefill_tokens_per_s);
  out.set("decode_tokens_per_s", r.decode_tokens_per_s);
  if (r.accepted_drafts) out.set("accepted_drafts", *r.accepted_drafts);
  if (r.sequences.size() > 1) {
    Json all = Json::array();
    for (const GeneratedText& one : r.sequences)
      all.push_back(to_json(one).set("prompt", one.prompt));
    out.set("sequences", std::move(all));
  }
  return out;
}

Json to_json(const EvalLogitsResult& r) {
  return Json::object({{"shape", r.shape},
                       {r.hidden_state ? "last_hidden_state" : "logits", r.values},
                       {"loss", or_null(r.loss)}});
}

Json to_json(const DeviceStepTimes& r) {
  Json families = Json::array();
  for (const DeviceStepTimes::Family& f : r.families)
    families.push_back(Json::object({{"family", f.name},
                                     {"steps", f.steps},
                                     {"launches", f.launches},
                                     {"bytes", f.bytes},
                                     {"flops", f.flops},
                                     {"ms", f.ms},
                                     {"floor_ms", f.floor_ms}}));
  return Json::object({{"step_ms", r.step_ms},
                       {"copy_bytes_per_s", r.copy_bytes_per_s},
                       {"busy_ms", r.busy_ms},
                       {"wall_ms", r.wall_ms},
                       {"traced", r.traced},
                       {"note", r.note},
                       {"launches", r.launches},
                       {"groups", r.groups},
                       {"products", r.products},
                       {"make_ms", r.make_ms},
                       {"kernels_ms", r.kernels_ms},
                       {"families", families}});
}

Json to_json(const BenchTrainResult& r) {
  Json out = Json::object({{"model", r.model},
                       {"params", r.params},
                       {"device", r.device},
                       {"threads", r.threads},
                       {"dtype", name(r.dtype)},
                       {"compiled", r.compiled},
                       {"batch", r.batch},
                       {"seq", r.seq},
                       {"steps", r.steps},
                       {"step_ms", Json::object({{"median", r.step_ms_median},
                                                 {"min", r.step_ms_min},
                                                 {"max", r.step_ms_max}})},
                       {"tokens_per_s", r.tokens_per_s},
                       {"flops_per_step", r.flops_per_step},
                       {"peak_flops", r.peak_flops},
                       {"mfu", or_null(r.mfu)},
                       {"mfu_measured", r.mfu_measured},
                       {"peak_bytes", r.peak_bytes},
                       {"planned_peak_bytes", r.planned_peak_bytes},
                       {"rss_peak_bytes", r.rss_peak_bytes},
                       {"rss_start_bytes", r.rss_start_bytes},
                       {"compile_ms", r.compile_ms},
                       {"first_step_ms", r.first_step_ms},
                       {"loss_first", r.loss_first},
                       {"loss_last", r.loss_last},
                       {"digest", r.digest}});
  if (r.on_device) out.set("on_device", to_json(*r.on_device));
  return out;
}

Json to_json(const BenchGenerateResult& r) {
  return Json::object({{"prefill_tokens_per_s", r.prefill_tokens_per_s},
                       {"decode_tokens_per_s", r.decode_tokens_per_s},
                       {"weight_bytes", r.weight_bytes},
                       {"read_bytes", r.read_bytes},
                       {"read_bandwidth", r.read_bandwidth},
                       {"bandwidth_fraction", r.bandwidth_fraction},
                       {"peak_bytes", r.peak_bytes},
                       {"load_ms", r.load_ms},
                       {"first_token_ms", r.first_token_ms}});
}

Json to_json(const QuantizeResult& r) {
  Json out = Json::object({{"model", r.model},
                           {"bits", r.how.bits},
                           {"group_size", r.how.bits == 4 ? Json(r.how.group_size) : Json()},
                           {"outlier_threshold", r.how.outlier_threshold},
                           {"model_dir", r.out},
                           {"bytes_before", r.bytes_before},
                           {"bytes_after", r.bytes_after}});
  if (!r.report) return out;
  const QuantizeReport& q = *r.report;
  out.set("report", Json::object({{"tokens", q.tokens},
                                  {"kl", Json::object({{"mean", q.kl_mean}, {"median", q.kl_median}, {"p99", q.kl_p99}, {"max", q.kl_max}})},
                                  {"same_top_token", q.same_top},
                                  {"perplexity_before", q.perplexity_before},
                                  {"perplexity_after", q.perplexity_after}}));
  return out;
}

Json to_json(const BenchOpResult& r) {
  return Json::object({{"ms", Json::object({{"median", r.ms_median}, {"min", r.ms_min}})},
                       {"gbytes_per_s", r.gbytes_per_s},
                       {"gflops_per_s", r.gflops_per_s},
                       {"floor_ms", r.floor_ms},
                       {"copy_gbytes_per_s", r.copy_gbytes_per_s},
                       {"bandwidth_fraction", r.bandwidth_fraction},
                       {"peak_bytes", static_cast<int64_t>(r.peak_bytes)}});
}

}  // namespace corten
