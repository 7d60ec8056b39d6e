// Models by the model_type of their config.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "corten/models.h"
#include "models/layers/headless_decoder.h"

namespace corten {

/// The model of a Hugging Face config, with zeros for weights. Usage error "source: ..." for an
/// unknown model_type and wrong fields.
std::unique_ptr<CausalLM> make_model(const Json& config, std::string_view source);
bool is_decoder_type(std::string_view model_type);
/// The same model without the head that continues text.
layers::HeadlessDecoder headless_decoder(const Json& config, std::string_view source);
ModelInfo model_info(const Json& config, std::string_view source);
/// The config of a decoder with every field at its default; null for other types.
Json decoder_defaults(std::string_view model_type);
/// The fields of config.json that a model_type has a use for.
std::vector<std::string> config_field_names(std::string_view model_type);

}  // namespace corten
