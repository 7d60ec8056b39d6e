// generation_config.json
#include <algorithm>
#include <array>

#include "base/format.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/generate.h"
#include "models/token_ids.h"

namespace corten {
namespace {

/// Calls f(key, field) for every field.
template <typename Config, typename F>
void visit_fields(Config& c, F&& f) {
  f("max_length", c.max_length);
  f("max_new_tokens", c.max_new_tokens);
  f("min_length", c.min_length);
  f("min_new_tokens", c.min_new_tokens);
  f("do_sample", c.do_sample);
  f("num_beams", c.num_beams);
  f("num_return_sequences", c.num_return_sequences);
  f("early_stopping", c.early_stopping);
  f("length_penalty", c.length_penalty);
  f("temperature", c.temperature);
  f("top_k", c.top_k);
  f("top_p", c.top_p);
  f("min_p", c.min_p);
  f("typical_p", c.typical_p);
  f("epsilon_cutoff", c.epsilon_cutoff);
  f("eta_cutoff", c.eta_cutoff);
  f("repetition_penalty", c.repetition_penalty);
  f("presence_penalty", c.presence_penalty);
  f("frequency_penalty", c.frequency_penalty);
  f("no_repeat_ngram_size", c.no_repeat_ngram_size);
  f("bad_words_ids", c.bad_words_ids);
  f("sequence_bias", c.sequence_bias);
  f("forced_bos_token_id", c.forced_bos_token_id);
  f("forced_eos_token_id", c.forced_eos_token_id);
  f("suppress_tokens", c.suppress_tokens);
  f("begin_suppress_tokens", c.begin_suppress_tokens);
  f("remove_invalid_values", c.remove_invalid_values);
  f("renormalize_logits", c.renormalize_logits);
  f("exponential_decay_length_penalty", c.exponential_decay_length_penalty);
  f("stop_strings", c.stop_strings);
  f("bos_token_id", c.bos_token_id);
  f("pad_token_id", c.pad_token_id);
  f("eos_token_id", c.eos_token_id);
}

using Ids = std::vector<int64_t>;
using Biases = std::vector<std::pair<Ids, double>>;

void read(const Json& json, std::string_view what, int64_t& out) {
  out = json.as_int(what);
}
void read(const Json& json, std::string_view what, double& out) {
  out = json.as_double(what);
}
void read(const Json& json, std::string_view what, bool& out) {
  out = json.as_bool(what);
}
void read(const Json& json, std::string_view what, Ids& out) {
  out = token_ids(json, what);
}
void read(const Json& json, std::string_view what, std::vector<Ids>& out) {
  for (const Json& ids : json.elements(what)) out.push_back(token_ids(ids, what));
}
void read(const Json& json, std::string_view what, std::vector<std::string>& out) {
  if (json.is_string())
    out.push_back(json.as_string(what));
  else
    for (const Json& text : json.elements(what)) out.push_back(text.as_string(what));
}
void read(const Json& json, std::string_view what, EarlyStopping& out) {
  if (json.is_string() && json.as_string() == "never") {
    out = EarlyStopping::never;
  } else {
    if (!json.is_bool())
      usage_error("{}: expected true, false or \"never\", found {}", what, json.dump());
    out = json.as_bool() ? EarlyStopping::yes : EarlyStopping::open;
  }
}
const std::vector<Json>& pair_of(const Json& json, std::string_view what) {
  const std::vector<Json>& both = json.elements(what);
  if (both.size() != 2) usage_error("{}: expected two elements, found {}", what, both.size());
  return both;
}
void read(const Json& json, std::string_view what, std::pair<int64_t, double>& out) {
  const std::vector<Json>& both = pair_of(json, what);
  out = {both[0].as_int(what), both[1].as_double(what)};
}
void read(const Json& json, std::string_view what, Biases& out) {
  for (const Json& one : json.elements(what)) {
    const std::vector<Json>& both = pair_of(one, what);
    out.emplace_back(token_ids(both[0], what), both[1].as_double(what));
  }
}

template <typename T>
Json written(const T& value) {
  return Json(value);
}
Json written(const EarlyStopping& value) {
  return value == EarlyStopping::never ? Json("never") : Json(value == EarlyStopping::yes);
}
Json written(const std::pair<int64_t, double>& value) {
  return Json(std::vector<Json>{Json(value.first), Json(value.second)});
}
Json written(const Biases& value) {
  Json out = Json::array();
  for (const auto& [ids, bias] : value)
    out.push_back(Json(std::vector<Json>{Json(ids), Json(bias)}));
  return out;
}

/// What would change the text and is not done here, with the value that changes nothing.
struct Unsupported {
  std::string_view key;
  double neutral;
};
constexpr std::array kUnsupported = {
    Unsupported{"top_h", -1},
    Unsupported{"guidance_scale", 1},
    Unsupported{"penalty_alpha", 0},
    Unsupported{"num_beam_groups", 1},
    Unsupported{"diversity_penalty", 0},
    Unsupported{"constraints", -1},
    Unsupported{"force_words_ids", -1},
    Unsupported{"dola_layers", -1},
    Unsupported{"watermarking_config", -1},
};

void check_features(const Json& json, std::string_view source) {
  for (const auto& [key, neutral] : kUnsupported) {
    const Json* value = json.find(key);
    if (value && !value->is_null() && !(value->is_number() && value->as_double() == neutral))
      usage_error("{}: \"{}\" is not supported: {}", source, key, value->dump());
  }
}

}  // namespace

GenerationConfig GenerationConfig::from_json(std::string_view text, std::string_view source) {
  Json json = parse_config(text, source);
  if (!json.is_object()) usage_error("{}: expected an object, found {}", source, json.type_name());
  check_features(json, source);
  GenerationConfig config;
  visit_fields(config, [&](std::string_view key, auto& field) {
    const Json* value = json.find(key);
    if (value && !value->is_null())
      read(*value, format("{}: \"{}\"", source, key), field.emplace());
    json.erase(key);
  });
  config.other_fields = json.dump();
  return config;
}

std::string GenerationConfig::to_json() const {
  Json out = Json::object();
  visit_fields(*this, [&](std::string_view key, const auto& field) {
    if (field) out.set(key, written(*field));
  });
  // One end token is written as a number, as transformers does.
  if (eos_token_id) out.set("eos_token_id", token_ids_json(*eos_token_id));
  const Json others = Json::parse(other_fields, "GenerationConfig::other_fields");
  for (const auto& [key, value] : others.items("GenerationConfig::other_fields"))
    out.set(key, value);
  return out.dump(2) + "\n";
}

void GenerationConfig::override_with(const GenerationConfig& other) {
  // A length of one kind replaces that of the other kind.
  if (other.max_new_tokens) max_length.reset();
  if (other.max_length) max_new_tokens.reset();
  if (other.min_new_tokens) min_length.reset();
  if (other.min_length) min_new_tokens.reset();
  // Fields are walked side by side, by their names.
  visit_fields(*this, [&](std::string_view key, auto& mine) {
    visit_fields(other, [&](std::string_view other_key, const auto& theirs) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(mine)>,
                                   std::remove_cvref_t<decltype(theirs)>>)
        if (key == other_key && theirs) mine = theirs;
    });
  });
}

GenerationOptions GenerationConfig::options(int64_t prompt_tokens,
                                            const GenerationOptions& defaults) const {
  GenerationOptions out = defaults;
  const auto take = [](auto& target, const auto& value) {
    if (value) target = *value;
  };
  if (max_new_tokens) {
    out.max_new_tokens = *max_new_tokens;
  } else if (max_length) {
    out.max_new_tokens = *max_length - prompt_tokens;
    if (out.max_new_tokens < 1)
      usage_error("[generate] max_length {} leaves no room for new tokens after a prompt of {}",
                  *max_length, prompt_tokens);
  }
  Sampling& s = out.sampling;
  take(s.temperature, temperature);
  take(s.top_k, top_k);
  take(s.top_p, top_p);
  take(s.min_p, min_p);
  take(s.typical_p, typical_p);
  take(s.epsilon_cutoff, epsilon_cutoff);
  take(s.eta_cutoff, eta_cutoff);
  if (do_sample.value_or(false) && !top_k) s.top_k = 50;
  take(out.num_beams, num_beams);
  if (!do_sample.value_or(out.num_beams <= 1)) s.temperature = 0;
  take(out.num_return_sequences, num_return_sequences);
  take(out.early_stopping, early_stopping);
  take(out.length_penalty, length_penalty);
  take(out.eos_token_ids, eos_token_id);

  Constraints& c = out.constraints;
  take(c.sequence_bias, sequence_bias);
  take(c.repetition_penalty, repetition_penalty);
  take(c.presence_penalty, presence_penalty);
  take(c.frequency_penalty, frequency_penalty);
  take(c.no_repeat_ngram_size, no_repeat_ngram_size);
  take(c.bad_words_ids, bad_words_ids);
  take(c.min_length, min_length);
  take(c.min_new_tokens, min_new_tokens);
  if (min_new_tokens) c.min_length = 0;
  if (forced_bos_token_id) c.forced_bos_token_id = forced_bos_token_id;
  take(c.forced_eos_token_ids, forced_eos_token_id);
  take(c.remove_invalid_values, remove_invalid_values);
  if (exponential_decay_length_penalty)
    c.exponential_decay_length_penalty = exponential_decay_length_penalty;
  take(c.suppress_tokens, suppress_tokens);
  take(c.begin_suppress_tokens, begin_suppress_tokens);
  take(c.renormalize_logits, renormalize_logits);
  return out;
}

}  // namespace corten
