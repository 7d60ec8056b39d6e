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
#include "models/auto_model.h"
#include "models/auto_seq2seq.h"
#include "models/model_folder.h"
#include "models/model_types.h"
#include "models/token_ids.h"
#include "text/chat_template.h"
#include "text/tokenizer_impl.h"

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
    check_type();
    check_ids(config_, "config.json");
    check_ids(generation_, "generation_config.json");
    check_rope();
    if (has_file(join_path(folder_, "tokenizer.json")))
      check_tokenizer(Tokenizer::from_pretrained(folder_), read_tokenizer_settings(folder_));
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
    const std::string name = first_architecture(config_);
    return name.ends_with("ForCausalLM") || name.ends_with("ForConditionalGeneration");
  }
  /// Whether the model writes texts.
  bool generates() const {
    const std::string name = first_architecture(config_);
    if (!name.empty() && !is_causal() && !name.ends_with("LMHeadModel")) return false;
    return is_seq2seq_type(type()) || !decoder_defaults(type()).is_null();
  }
  std::string type() const {
    const Json* found = config_.find("model_type");
    return found && found->is_string() ? found->as_string() : "";
  }

  void check_type() {
    const std::string architecture = first_architecture(config_);
    const std::string_view other = type_of_architecture(architecture);
    if (other.empty() || type().empty() || other == type()) return;
    add(false,
        format("config.json says model_type = \"{}\", but its architecture {} is of type \"{}\"",
               type(), architecture, other),
        format("set \"model_type\": \"{}\" in config.json if that is what the weights are of", other));
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
    const Json *scaling = config_.find("rope_scaling"),
               *parameters = config_.find("rope_parameters");
    if (scaling && scaling->is_object()) check_extended("rope_scaling", *scaling);
    if (!parameters || !parameters->is_object()) return;
    if (scaling && scaling->is_object()) compare_rope(*scaling, *parameters);
    const auto older = number(config_, "rope_theta"), newer = number(*parameters, "rope_theta");
    if (older && newer && *older != *newer)
      add(false,
          format("config.json has rope_theta = {} and rope_parameters.rope_theta = {}", *older, *newer),
          "remove \"rope_theta\", the older spelling, if rope_parameters is right");
    check_extended("rope_parameters", *parameters);
  }

  /// A length before it was extended.
  void check_extended(std::string_view place, const Json& rope) {
    const auto original = number(rope, "original_max_position_embeddings"),
               longest = number(config_, "max_position_embeddings");
    if (original && longest && *original > *longest)
      add(false,
          format("{}.original_max_position_embeddings = {} is above max_position_embeddings = {}",
                 place, *original, *longest),
          "set \"max_position_embeddings\" in config.json to the extended length");
  }

  /// The older spelling is what is read where both are there.
  void compare_rope(const Json& older, const Json& newer) {
    const auto kind = [](const Json& rope) {
      for (const char* key : {"rope_type", "type"})
        if (const Json* found = rope.find(key)) return *found;
      return Json();
    };
    const auto value = [&](const Json& rope, const std::string& key) {
      if (key == "rope_type") return kind(rope);
      const Json* found = rope.find(key);
      return found ? *found : Json();
    };
    std::vector<std::string> keys = {"rope_type"};
    for (const auto& [key, ignored] : older.items())
      if (key != "type" && key != "rope_type") keys.push_back(key);
    for (const std::string& key : keys) {
      const Json a = value(older, key), b = value(newer, key);
      const bool same =
          a == b || (a.is_number() && b.is_number() && a.as_double() == b.as_double());
      if (!a.is_null() && !b.is_null() && !same)
        add(false,
            format("config.json has rope_scaling.{0} = {1} and rope_parameters.{0} = {2}", key,
                   a.dump(), b.dump()),
            "remove \"rope_scaling\", the older spelling, which is the one that is read, if "
            "rope_parameters is right");
    }
  }

  /// The ids that end a text, as generation reads them: generation_config.json before config.json,
  /// and what is usual for the type of the model if neither says anything.
  struct Ends {
    std::vector<int64_t> ids;
    std::string_view file;  ///< that names them; "" if none does
  };
  Ends ends() const {
    for (const Json* json : {&generation_, &config_})
      if (json->is_object())
        if (const Json* found = json->find("eos_token_id"); found && !found->is_null())
          return {token_ids(*found, "eos_token_id"),
                  json == &generation_ ? "generation_config.json" : "config.json"};
    if (config_.contains("eos_token_id")) return {};
    const Json defaults =
        is_seq2seq_type(type()) ? seq2seq_defaults() : decoder_defaults(type());
    const Json* usual = defaults.find("eos_token_id");
    return {usual ? token_ids(*usual, "eos_token_id") : std::vector<int64_t>(), ""};
  }

  void check_tokenizer(const Tokenizer& tokenizer, const TokenizerSettings& settings) {
    const auto tokens = static_cast<int64_t>(tokenizer.vocab_size());
    if (vocabulary_ && tokens > *vocabulary_)
      add(false,
          format("tokenizer.json has ids up to {} (\"{}\"), but the model has {} tokens", tokens - 1,
                 tokenizer.id_to_token(static_cast<int32_t>(tokens - 1)).value_or(""), *vocabulary_),
          format("remove the tokens from id {} on, or enlarge the embedding", *vocabulary_));
    for (const auto& [role, text] : settings.special)
      if (!tokenizer.token_to_id(text))
        add(false,
            format("{}_token of tokenizer_config.json is {}, which is no token of tokenizer.json", role,
                   json_quote(text)),
            format("correct \"{}_token\" in tokenizer_config.json", role));
    check_template(tokenizer);
    if (generates()) check_ends(tokenizer);
  }

  void check_template(const Tokenizer& tokenizer) {
    if (tokenizer.chat_template().empty()) return;
    try {
      check_chat_template(tokenizer.chat_template());
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Usage) throw;
      add(false, format("the chat template cannot be used: {}", error.what()),
          format("correct {}", file_exists(join_path(folder_, "chat_template.jinja"))
                                   ? "chat_template.jinja"
                                   : "\"chat_template\" in tokenizer_config.json"));
    }
  }

  void check_ends(const Tokenizer& tokenizer) {
    const Ends ends = this->ends();
    const auto check = [&](int64_t id, std::string_view what, std::string_view effect) {
      if (std::ranges::find(ends.ids, id) != ends.ids.end()) return;
      const std::string text = tokenizer.id_to_token(static_cast<int32_t>(id)).value_or("");
      if (!ends.file.empty())
        return add(false,
                   format("{} {} (\"{}\"), which eos_token_id of {} does not name{}", what, id, text,
                          ends.file, effect),
                   format("add {} to \"eos_token_id\" in {}", id, ends.file));
      add(false,
          format("{} {} (\"{}\"), but neither config.json nor generation_config.json has an "
                 "eos_token_id{}{}",
                 what, id, text,
                 ends.ids.empty() ? ""
                                  : format(", which is then {}, as of other {} models",
                                           fmt::join(ends.ids, ", "), type()),
                 effect),
          format("set \"eos_token_id\": {} in generation_config.json", id));
    };
    const auto end = tokenizer.special_id("eos");
    if (end) check(*end, "the tokenizer's eos_token is", "");
    if (const auto turn = turn_end(tokenizer); turn && turn != end)
      check(*turn, "the chat template ends an answer with",
            ": answers will not end");
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
