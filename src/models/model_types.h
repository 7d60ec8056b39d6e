// The types of models that configs name, of all families.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace corten {

/// The model_type of a class of transformers: "llama" for "LlamaForCausalLM"; "" for those of no
/// family here.
std::string_view type_of_architecture(std::string_view architecture);
/// The first of a config's "architectures"; "" if there is none.
std::string first_architecture(const Json& config);
/// Gives a config without "model_type" the one of its architecture, if it has one.
void complete_model_type(Json& config);

/// Usage error "source: unknown model_type ...": what was meant or is nearest, all families, and the
/// classes that load them.
[[noreturn]] void unknown_model_type(std::string_view wanted, std::string_view source);
/// Usage error for a type that is not of the kind that is needed ("an encoder"): which class loads
/// it, or as above if none does.
[[noreturn]] void wrong_model_type(std::string_view wanted, std::string_view needed,
                                   std::string_view source);

}  // namespace corten
