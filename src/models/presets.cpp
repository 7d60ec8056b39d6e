#include "models/presets.h"

#include <cstdint>

#include "base/format.h"
#include "base/strings.h"

namespace corten {
namespace {

struct Gpt2Preset {
  const char* name;
  int64_t n_layer, n_head, n_embd, n_positions;
};
// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", table 2; heads as in
// the published checkpoints. distilgpt2: Sanh et al. 2019. gpt2-mini trains on a laptop.
constexpr Gpt2Preset kGpt2[] = {{"gpt2", 12, 12, 768, 1024},
                                {"gpt2-medium", 24, 16, 1024, 1024},
                                {"gpt2-large", 36, 20, 1280, 1024},
                                {"gpt2-xl", 48, 25, 1600, 1024},
                                {"distilgpt2", 6, 12, 768, 1024},
                                {"gpt2-mini", 4, 4, 256, 256}};

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Gpt2Preset& preset : kGpt2) names.emplace_back(preset.name);
  return names;
}

Json preset_config(std::string_view name) {
  for (const Gpt2Preset& preset : kGpt2)
    if (preset.name == name)
      return Json::object({{"model_type", "gpt2"},
                           {"vocab_size", 50257},
                           {"n_positions", preset.n_positions},
                           {"n_embd", preset.n_embd},
                           {"n_layer", preset.n_layer},
                           {"n_head", preset.n_head}});
  usage_error("unknown model preset \"{}\"{} (known: {})", name, did_you_mean(name, preset_names()),
              fmt::join(preset_names(), ", "));
}

Json default_config(std::string_view model_type) {
  if (model_type == "gpt2") return preset_config("gpt2");
  usage_error("unknown model_type \"{}\" (known: gpt2)", model_type);
}

}  // namespace corten
