#include "models/layers/rope_config.h"

#include "base/strings.h"
#include "models/config_fields.h"

namespace corten::layers {
namespace {

const Json* set_object(const Json& config, std::string_view source, std::string_view key) {
  const Json* value = config.find(key);
  if (!value || value->is_null()) return nullptr;
  if (!value->is_object())
    usage_error("{}: \"{}\" is {}, not an object", source, key, value->type_name());
  return value->empty() ? nullptr : value;
}

void check_positive(std::string_view source, std::string_view key, double value) {
  if (!(value > 0) || value > 1e30)
    usage_error("{}: \"{}\" is {}, not a positive number", source, key, value);
}

}  // namespace

RopeConfig read_rope(const Json& config, std::string_view source, int64_t max_positions) {
  RopeConfig rope;
  const Json* given = set_object(config, source, "rope_scaling");
  std::string_view key = "rope_scaling";
  if (!given) {
    given = set_object(config, source, "rope_parameters");
    key = "rope_parameters";
  }
  FieldReader(config, source)("rope_theta", rope.theta);
  const std::string place = format("{}: \"{}\"", source, key);
  if (given) {
    for (std::string_view nested : {"full_attention", "sliding_attention"})
      if (given->contains(nested))
        usage_error("{} differs by kind of layer, which this model of Corten does not support",
                    place);
    FieldReader read(*given, place);
    read("type", rope.type);
    read("rope_type", rope.type);
    read("rope_theta", rope.theta);
    read("factor", rope.factor);
    read("low_freq_factor", rope.low_freq_factor);
    read("high_freq_factor", rope.high_freq_factor);
    read("beta_fast", rope.beta_fast);
    read("beta_slow", rope.beta_slow);
    read("attention_factor", rope.attention_factor);
    read("mscale", rope.mscale);
    read("mscale_all_dim", rope.mscale_all_dim);
    read("truncate", rope.truncate);
    read("original_max_position_embeddings", rope.original_max_positions);
    const std::vector<std::string> known = {"default", "linear", "dynamic", "yarn", "llama3"};
    if (std::ranges::find(known, rope.type) == known.end())
      usage_error("{}: \"rope_type\" \"{}\" is not supported{} (known: {})", place, rope.type,
                  did_you_mean(rope.type, known), fmt::join(known, ", "));
    const auto need = [&](std::string_view field) {
      const Json* value = given->find(field);
      if (!value || value->is_null())
        usage_error("{} of type \"{}\" lacks \"{}\"", place, rope.type, field);
    };
    if (rope.type == "llama3")
      for (std::string_view field : {"factor", "low_freq_factor", "high_freq_factor"}) need(field);
    if (rope.type == "linear" || rope.type == "dynamic") need("factor");
  }
  // Older configs keep it beside the others, where it wins.
  FieldReader(config, source)("original_max_position_embeddings", rope.original_max_positions);
  if (rope.original_max_positions == 0) rope.original_max_positions = max_positions;
  check_field(place, "original_max_position_embeddings", rope.original_max_positions, 1,
              kManyTokens);
  if (rope.type == "yarn" && (!given->find("factor") || given->find("factor")->is_null()))
    rope.factor =
        static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  check_positive(place, "rope_theta", rope.theta);
  check_positive(place, "factor", rope.factor);
  check_positive(place, "low_freq_factor", rope.low_freq_factor);
  if (!(rope.high_freq_factor > rope.low_freq_factor))
    usage_error("{}: \"high_freq_factor\" {} is not above \"low_freq_factor\" {}", place,
                rope.high_freq_factor, rope.low_freq_factor);
  if (rope.type == "yarn") {
    // As in the reference, 0 stands for the default.
    if (rope.beta_fast == 0) rope.beta_fast = RopeConfig().beta_fast;
    if (rope.beta_slow == 0) rope.beta_slow = RopeConfig().beta_slow;
    check_positive(place, "beta_fast", rope.beta_fast);
    check_positive(place, "beta_slow", rope.beta_slow);
    if (rope.theta == 1) usage_error("{}: \"rope_theta\" is 1, which \"yarn\" cannot use", place);
    if (rope.attention_factor && !(*rope.attention_factor >= 0))
      usage_error("{}: \"attention_factor\" {} is negative", place, *rope.attention_factor);
  }
  return rope;
}

void write_rope(const RopeConfig& rope, Json& config) {
  config.set("rope_theta", rope.theta);
  config.set("rope_parameters",
             Json::object({{"rope_theta", rope.theta}, {"rope_type", rope.type}}));
}

}  // namespace corten::layers
