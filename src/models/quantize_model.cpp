#include "models/quantize_model.h"

#include "base/format.h"
#include "base/quantized_shape.h"
#include "corten/models.h"
#include "models/config_fields.h"

namespace corten {
namespace {

constexpr std::string_view kMethod = "corten";
// Of base/quantized_shape.h: files of another layout are not for this version.
constexpr std::string_view kLayout = "panels-of-16";
// Logits are compared with each other, and rows of embeddings are all that a token is: both need
// more than 4 bits.
constexpr int64_t kHeadBits = 8;

std::string_view last_part(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

}  // namespace

void quantize_model(CausalLM& model, const Quantization& how, bool keep_values) {
  check_quantization(how);
  if (model.quantization_)
    usage_error("[quantize] the model is quantised to {} bits already: quantise the original",
                model.quantization_->bits);
  Quantization kept = how;
  for (auto& [path, module] : model.named_modules()) {
    auto* layer = dynamic_cast<nn::Quantizable*>(module);
    if (!layer) continue;
    const std::string_view name = last_part(path);
    const bool embedding = dynamic_cast<nn::Embedding*>(module) != nullptr;
    if (embedding && name != "wte" && name != "embed_tokens") continue;  // positions
    const bool fine = embedding || name == "lm_head";
    layer->quantize(
        fine ? Quantization{.bits = kHeadBits, .outlier_threshold = how.outlier_threshold} : how,
        keep_values);
    if (!fine) kept = layer->quantized().how;
  }
  model.quantization_ = kept;
}

std::optional<Quantization> LoadOptions::quantization() const {
  if (load_in_8bit && load_in_4bit)
    usage_error("[load_model] load_in_8bit and load_in_4bit exclude each other");
  if (!load_in_8bit && !load_in_4bit) return std::nullopt;
  return Quantization{.bits = load_in_8bit ? 8 : 4,
                      .group_size = load_in_4bit ? group_size : 0,
                      .outlier_threshold = llm_int8_threshold};
}

std::optional<Quantization> read_quantization_config(const Json& config, std::string_view source) {
  const Json* json = config.find("quantization_config");
  if (!json || json->is_null()) return std::nullopt;
  const std::string where = format("{}: \"quantization_config\"", source);
  if (!json->is_object()) usage_error("{} is no object", where);
  const Json* method = json->find("quant_method");
  const std::string name = method && method->is_string() ? method->as_string(where) : "";
  if (name != kMethod)
    usage_error(
        "{} has the method \"{}\", which Corten does not read: quantise the original with corten "
        "quantize",
        where, name);
  const auto number = [&](const char* key, double otherwise) {
    const Json* value = json->find(key);
    return value ? value->as_double(format("{}.{}", where, key)) : otherwise;
  };
  const Json* layout = json->find("layout");
  if (!layout || !layout->is_string() || layout->as_string(where) != kLayout ||
      number("head_bits", 8) != kHeadBits)
    usage_error("{} has another layout than \"{}\" with {} bits for the head", where, kLayout,
                kHeadBits);
  Quantization how{.bits = static_cast<int64_t>(number("bits", 0)),
                   .group_size = static_cast<int64_t>(number("group_size", 0)),
                   .outlier_threshold = number("outlier_threshold", 0)};
  try {
    check_quantization(how);
  } catch (const Error& e) {
    usage_error("{}: {}", where, e.what());
  }
  return how;
}

Json quantization_config(const Quantization& how) {
  Json out = Json::object({{"quant_method", kMethod}, {"bits", how.bits}});
  if (how.bits == 4) out.set("group_size", how.group_size);
  out.set("head_bits", kHeadBits)
      .set("outlier_threshold", how.outlier_threshold)
      .set("layout", kLayout);
  return out;
}

}  // namespace corten
