#include "corten/check_folder.h"

#include <algorithm>
#include <optional>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/json_file.h"
#include "corten/safetensors.h"
#include "corten/tokenizer.h"
#include "models/model_folder.h"
#include "models/token_ids.h"

namespace corten {
namespace {

class FolderCheck {
 public:
  explicit FolderCheck(const std::string& folder) : folder_(folder), config_(read_config_json(folder)) {
    if (!config_.is_object())
      usage_error("{}: expected an object, found {}", join_path(folder, "config.json"),
                  config_.type_name());
    const std::string path = join_path(folder, "generation_config.json");
    if (std::optional<Json> generation = read_optional_json(path)) {
      if (!generation->is_object())
        usage_error("{}: expected an object, found {}", path, generation->type_name());
      generation_ = std::move(*generation);
    }
    vocabulary_ = integer(config_, "vocab_size");
  }

  std::vector<FolderProblem> run() {
    if (has_file(join_path(folder_, "model.safetensors")) ||
        has_file(join_path(folder_, "model.safetensors.index.json")))
      check_weights(Safetensors::open(folder_));
    check_ids(config_, "config.json");
    check_ids(generation_, "generation_config.json");
    check_rope();
    if (has_file(join_path(folder_, "tokenizer.json")))
      check_tokenizer(Tokenizer::from_pretrained(folder_));
    return std::move(problems_);
  }

 private:
  void add(bool fatal, std::string what, std::string fix) {
    problems_.push_back({fatal, std::move(what), std::move(fix)});
  }

  static std::optional<int64_t> integer(const Json& json, std::string_view key) {
    const Json* found = json.find(key);
    if (!found || !found->is_int()) return std::nullopt;
    return found->as_int(key);
  }
  static std::optional<double> number(const Json& json, std::string_view key) {
    const Json* found = json.find(key);
    if (!found || !found->is_number()) return std::nullopt;
    return found->as_double(key);
  }
  static std::optional<bool> boolean(const Json& json, std::string_view key) {
    const Json* found = json.find(key);
    if (!found || !found->is_bool()) return std::nullopt;
    return found->as_bool(key);
  }

  void check_weights(const Safetensors& file) {
    const StoredTensor *embedding = nullptr, *head = nullptr;
    for (const StoredTensor& tensor : file.tensors()) {
      const std::string_view name = tensor.name;
      for (std::string_view end : {"wte.weight", "embed_tokens.weight", "word_embeddings.weight", "shared.weight"})
        if (!embedding && name.ends_with(end) && tensor.dims.size() == 2) embedding = &tensor;
      if (name == "lm_head.weight" && tensor.dims.size() == 2) head = &tensor;
    }
    if (embedding && vocabulary_ && embedding->dims[0] != *vocabulary_)
      add(true,
          format("config.json says vocab_size = {}, but {} has {} rows", *vocabulary_,
                 embedding->name, embedding->dims[0]),
          format("set \"vocab_size\": {} in config.json", embedding->dims[0]));
    const auto tied = boolean(config_, "tie_word_embeddings");
    if (!embedding || !tied) return;
    if (*tied && head &&
        (head->dims != embedding->dims || !std::ranges::equal(head->bytes, embedding->bytes)))
      add(false,
          format("config.json ties the head to {}, but the file has an lm_head.weight of its own, "
                 "which is not read",
                 embedding->name),
          "set \"tie_word_embeddings\": false in config.json if the file is right");
    if (!*tied && !head && is_causal())
      add(true, "config.json says tie_word_embeddings = false, but there is no lm_head.weight",
          "set \"tie_word_embeddings\": true in config.json");
  }

  /// Whether config.json names a model with a head over the vocabulary.
  bool is_causal() const {
    const Json* names = config_.find("architectures");
    if (!names || !names->is_array() || names->empty()) return false;
    const Json& first = names->at(0);
    if (!first.is_string()) return false;
    const std::string name = first.as_string("architectures");
    return name.ends_with("ForCausalLM") || name.ends_with("ForConditionalGeneration");
  }

  void check_ids(const Json& json, std::string_view file) {
    if (!vocabulary_ || !json.is_object()) return;
    for (std::string_view key : {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"}) {
      const Json* found = json.find(key);
      if (!found || found->is_null()) continue;
      for (int64_t id : token_ids(*found, format("{}: \"{}\"", file, key)))
        if (id >= *vocabulary_)
          add(false,
              format("{} of {} is {}, but the model has {} tokens", key, file, id, *vocabulary_),
              format("correct or remove \"{}\" in {}", key, file));
    }
  }

  void check_rope() {
    const Json* parameters = config_.find("rope_parameters");
    if (!parameters || !parameters->is_object()) return;
    const auto older = number(config_, "rope_theta"), newer = number(*parameters, "rope_theta");
    if (older && newer && *older != *newer)
      add(false,
          format("config.json has rope_theta = {} and rope_parameters.rope_theta = {}", *older, *newer),
          "remove \"rope_theta\", the older spelling, if rope_parameters is right");
    const auto original = number(*parameters, "original_max_position_embeddings"),
               longest = number(config_, "max_position_embeddings");
    if (original && longest && *original > *longest)
      add(false,
          format("rope_parameters.original_max_position_embeddings = {} is above "
                 "max_position_embeddings = {}",
                 *original, *longest),
          "set \"max_position_embeddings\" in config.json to the extended length");
  }

  /// The ids that end a text, as generation reads them: generation_config.json before config.json.
  std::vector<int64_t> ends() const {
    for (const Json* json : {&generation_, &config_})
      if (json->is_object())
        if (const Json* found = json->find("eos_token_id"); found && !found->is_null())
          return token_ids(*found, "eos_token_id");
    return {};
  }

  void check_tokenizer(const Tokenizer& tokenizer) {
    const auto tokens = static_cast<int64_t>(tokenizer.vocab_size());
    if (vocabulary_ && tokens > *vocabulary_)
      add(false,
          format("tokenizer.json has ids up to {} (\"{}\"), but the model has {} tokens", tokens - 1,
                 tokenizer.id_to_token(static_cast<int32_t>(tokens - 1)).value_or(""), *vocabulary_),
          format("remove the tokens from id {} on, or enlarge the embedding", *vocabulary_));
    const std::vector<int64_t> ends = this->ends();
    const auto missing = [&](int64_t id) {
      return !ends.empty() && std::find(ends.begin(), ends.end(), id) == ends.end();
    };
    const std::string_view file = generation_.is_object() && generation_.contains("eos_token_id")
                                      ? "generation_config.json"
                                      : "config.json";
    const auto end = tokenizer.special_id("eos");
    if (end && missing(*end))
      add(false,
          format("the tokenizer's eos_token is {} (\"{}\"), which eos_token_id of {} does not name",
                 *end, tokenizer.id_to_token(*end).value_or(""), file),
          format("add {} to \"eos_token_id\" in {}", *end, file));
    if (const auto turn = turn_end(tokenizer); turn && missing(*turn) && turn != end)
      add(false,
          format("the chat template ends an answer with {} (\"{}\"), which eos_token_id of {} does "
                 "not name: answers will not end",
                 *turn, tokenizer.id_to_token(*turn).value_or(""), file),
          format("add {} to \"eos_token_id\" in {}", *turn, file));
  }

  /// The special token that the chat template puts behind an answer.
  static std::optional<int64_t> turn_end(const Tokenizer& tokenizer) {
    if (tokenizer.chat_template().empty()) return std::nullopt;
    constexpr std::string_view kAnswer = "forty-two";
    std::string text;
    try {
      text = tokenizer.apply_chat_template(
          format(R"([{{"role": "user", "content": "?"}}, {{"role": "assistant", "content": "{}"}}])", kAnswer),
          {});
    } catch (const Error&) {  // templates may refuse a conversation
      return std::nullopt;
    }
    const size_t at = text.rfind(kAnswer);
    if (at == std::string::npos) return std::nullopt;
    const std::string rest = text.substr(at + kAnswer.size());
    for (int32_t id : tokenizer.encode_ids(rest, false)) {
      const std::string plain = tokenizer.decode({{id}}, true);
      if (plain.empty()) return id;
      if (plain.find_first_not_of(" \n") != std::string::npos) break;
    }
    return std::nullopt;
  }

  const std::string folder_;
  Json config_, generation_;
  std::optional<int64_t> vocabulary_;
  std::vector<FolderProblem> problems_;
};

}  // namespace

std::vector<FolderProblem> check_model_folder(const std::string& folder) {
  return FolderCheck(folder).run();
}

}  // namespace corten
