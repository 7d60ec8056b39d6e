// Models, configs and tokenizers of a folder in Hugging Face layout, whatever the architecture: the Auto classes of
// transformers. Those of encoders, encoder-decoders and images are declared with their models and come along.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/encoders.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "corten/tokenizer.h"
#include "corten/vision.h"

namespace corten {

/// A config.json.
class AutoConfig {
 public:
  /// Of a folder. Usage error if it holds none, or it is no JSON object with a "model_type".
  static AutoConfig from_pretrained(const std::string& folder);
  /// Of its text.
  static AutoConfig from_json(std::string_view text, std::string_view source = "config.json");

  const std::string& model_type() const { return model_type_; }
  /// "LlamaForCausalLM", ...; may be empty.
  const std::vector<std::string>& architectures() const { return architectures_; }
  /// The text.
  const std::string& json() const { return json_; }
  /// For from_config() of the classes below, which take a text or this.
  operator std::string_view() const { return json_; }
  /// Writes config.json into `folder`, which is made if there is none.
  void save_pretrained(const std::string& folder) const;
  /// A field as JSON; nothing if there is none.
  std::optional<std::string> field(std::string_view name) const;

 private:
  std::string model_type_, json_;
  std::vector<std::string> architectures_;
};

/// Tokenizer::save_pretrained() writes what transformers reads.
struct AutoTokenizer {
  static Tokenizer from_pretrained(const std::string& folder) {
    return Tokenizer::from_pretrained(folder);
  }
};

/// Decoders. from_pretrained() is load_model() and gives a model in eval mode; from_config() is
/// make_model() and gives one in training mode that has no values until initialize() or load_weights().
struct AutoModelForCausalLM {
  static std::unique_ptr<CausalLM> from_pretrained(const std::string& folder,
                                                   std::optional<DType> dtype = {}) {
    return load_model(folder, dtype);
  }
  /// With load_in_8bit or load_in_4bit.
  static std::unique_ptr<CausalLM> from_pretrained(const std::string& folder, const LoadOptions& options) {
    return load_model(folder, options);
  }
  static std::unique_ptr<CausalLM> from_config(std::string_view config_json,
                                               std::string_view source = "config.json") {
    return make_model(config_json, source);
  }
};

}  // namespace corten
