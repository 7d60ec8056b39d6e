#include "models/model_types.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/format.h"
#include "base/strings.h"
#include "corten/encoders.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "corten/vision.h"

namespace corten {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

/// How the classes of a type begin. What follows is "Model", "ForCausalLM", ...: "ViTMAEModel" is
/// of another type.
constexpr std::array kClasses = {
    Names{"GPT2", "gpt2"},       Names{"Llama", "llama"},     Names{"Mistral", "mistral"},
    Names{"Qwen2", "qwen2"},     Names{"Qwen3", "qwen3"},     Names{"Gemma2", "gemma2"},
    Names{"Bert", "bert"},       Names{"Roberta", "roberta"}, Names{"DistilBert", "distilbert"},
    Names{"T5", "t5"},           Names{"ViT", "vit"},         Names{"ResNet", "resnet"},
};

/// Types that are not here, and the one that is built most alike.
constexpr std::array kRelatives = {
    Names{"xlm-roberta", "roberta"},
    Names{"xlm-roberta-xl", "roberta"},
    Names{"camembert", "roberta"},
    Names{"roberta-prelayernorm", "roberta"},
    Names{"data2vec-text", "roberta"},
    Names{"longformer", "roberta"},
    Names{"xmod", "roberta"},
    Names{"esm", "roberta"},
    Names{"mpnet", "roberta"},
    Names{"deberta", "bert"},
    Names{"deberta-v2", "bert"},
    Names{"electra", "bert"},
    Names{"albert", "bert"},
    Names{"ernie", "bert"},
    Names{"layoutlm", "bert"},
    Names{"megatron-bert", "bert"},
    Names{"mobilebert", "bert"},
    Names{"modernbert", "bert"},
    Names{"nomic_bert", "bert"},
    Names{"squeezebert", "bert"},
    Names{"mt5", "t5"},
    Names{"umt5", "t5"},
    Names{"longt5", "t5"},
    Names{"switch_transformers", "t5"},
    Names{"pix2struct", "t5"},
    Names{"bart", "t5"},
    Names{"mbart", "t5"},
    Names{"pegasus", "t5"},
    Names{"marian", "t5"},
    Names{"deit", "vit"},
    Names{"beit", "vit"},
    Names{"dinov2", "vit"},
    Names{"vit_mae", "vit"},
    Names{"vit_msn", "vit"},
    Names{"clip_vision_model", "vit"},
    Names{"siglip_vision_model", "vit"},
    Names{"regnet", "resnet"},
    Names{"convnext", "resnet"},
    Names{"bit", "resnet"},
    Names{"phi", "llama"},
    Names{"phi3", "llama"},
    Names{"granite", "llama"},
    Names{"olmo", "llama"},
    Names{"olmo2", "llama"},
    Names{"smollm3", "llama"},
    Names{"stablelm", "llama"},
    Names{"cohere", "llama"},
    Names{"falcon", "llama"},
    Names{"mllama_text_model", "llama"},
    Names{"mixtral", "mistral"},
    Names{"ministral", "mistral"},
    Names{"starcoder2", "mistral"},
    Names{"qwen", "qwen2"},
    Names{"gemma", "gemma2"},
    Names{"gemma3", "gemma2"},
    Names{"gemma3_text", "gemma2"},
    Names{"distilgpt2", "gpt2"},
    Names{"openai-gpt", "gpt2"},
    Names{"gpt_bigcode", "gpt2"},
    Names{"gpt_neo", "gpt2"},
    Names{"gpt_neox", "gpt2"},
    Names{"gptj", "gpt2"},
    Names{"opt", "gpt2"},
    Names{"bloom", "gpt2"},
};

struct Kind {
  std::string_view name, one, classes;
  std::vector<std::string> types;
};

std::vector<Kind> kinds() {
  return {{"decoders", "a decoder", "AutoModelForCausalLM", model_types()},
          {"encoders", "an encoder",
           "AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification",
           encoder_model_types()},
          {"encoder-decoders", "an encoder-decoder", "AutoModelForSeq2SeqLM, AutoSeq2SeqModel",
           seq2seq_model_types()},
          {"image models", "an image model", "AutoModelForImageClassification, AutoImageModel",
           image_model_types()}};
}

/// Of "an encoder", or of "an encoder or a decoder".
std::vector<std::string> types_of(std::string_view needed) {
  std::vector<std::string> out;
  for (const Kind& kind : kinds()) {
    const size_t at = needed.find(kind.one), end = at + kind.one.size();
    if (at != needed.npos && (end == needed.size() || needed[end] == ' '))
      out.insert(out.end(), kind.types.begin(), kind.types.end());
  }
  return out;
}

/// "; did you mean ...?" for a misspelt type; "; the nearest is ..." for a relative of one.
std::string nearest(std::string_view name, const std::vector<std::string>& known) {
  const auto relative = std::ranges::find(kRelatives, name, &Names::first);
  if (relative != kRelatives.end()) return format("; the nearest is \"{}\"", relative->second);
  if (std::string text = did_you_mean(name, known); !text.empty()) return text;
  std::string_view best;
  size_t most = 3;  // letters that relatives share: "qwen" of qwen2_moe, "gemma" of gemma3_text
  for (const std::string& type : known) {
    const auto end = std::ranges::mismatch(name, type).in1;
    if (const auto shared = static_cast<size_t>(end - name.begin()); shared > most) {
      most = shared;
      best = type;
    }
  }
  return best.empty() ? "" : format("; the nearest is \"{}\"", best);
}

}  // namespace

std::string_view type_of_architecture(std::string_view architecture) {
  for (const auto& [begin, type] : kClasses) {
    if (!architecture.starts_with(begin)) continue;
    const std::string_view rest = architecture.substr(begin.size());
    for (std::string_view part : {"Model", "For", "LMHeadModel", "EncoderModel", "DoubleHeads"})
      if (rest.starts_with(part)) return type;
  }
  return "";
}

std::string first_architecture(const Json& config) {
  const Json* names = config.find("architectures");
  if (!names || !names->is_array() || names->empty()) return "";
  const Json& first = names->at(size_t{0});
  return first.is_string() ? first.as_string() : "";
}

void complete_model_type(Json& config) {
  if (!config.is_object()) return;
  if (const Json* given = config.find("model_type"); given && !given->is_null()) return;
  if (const std::string_view type = type_of_architecture(first_architecture(config)); !type.empty())
    config.set("model_type", type);
}

void unknown_model_type(std::string_view wanted, std::string_view source) {
  std::vector<std::string> known, lines;
  for (const Kind& kind : kinds()) {
    known.insert(known.end(), kind.types.begin(), kind.types.end());
    lines.push_back(
        format("{} of {}: {}", kind.name, kind.classes, fmt::join(kind.types, ", ")));
  }
  usage_error("{}: unknown model_type \"{}\"{} (known: {})", source, wanted,
              nearest(wanted, known), fmt::join(lines, "; "));
}

void wrong_model_type(std::string_view wanted, std::string_view needed, std::string_view source) {
  for (const Kind& kind : kinds())
    if (std::ranges::find(kind.types, wanted) != kind.types.end())
      usage_error("{}: model_type \"{}\" is {} (of {}), not {} (known: {})", source, wanted, kind.one,
                  kind.classes, needed, fmt::join(types_of(needed), ", "));
  unknown_model_type(wanted, source);
}

}  // namespace corten
