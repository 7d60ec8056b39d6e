// tokenizer.json: reading and writing.
#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/json_file.h"
#include "text/component_json.h"
#include "text/model_scanner.h"
#include "text/tokenizer_impl.h"

namespace corten {
namespace {

// The lists from a parsed document.
void read_lists(const Json& model, ModelLists& lists, const std::string& where) {
  const Json& vocab = need_member(model, "vocab", where);
  if (vocab.is_array()) {
    for (const Json& entry : vocab.elements()) {
      const std::string here = format("{}: \"vocab\"[{}]", where, lists.scores.size());
      if (!entry.is_array() || entry.size() != 2) usage_error("{}: expected [token, score]", here);
      lists.scores.emplace_back(entry.at(size_t{0}).as_string(here),
                                entry.at(size_t{1}).as_double(here));
    }
    return;
  }
  for (const auto& [token, id] : vocab.items(where + ": \"vocab\""))
    lists.vocab.emplace_back(token, id.as_int(format("{}: id of {}", where, json_quote(token))));
  if (!model.contains("merges")) return;
  for (const Json& merge : model.at("merges").elements(where + ": \"merges\"")) {
    const size_t index = lists.merges.size();
    if (merge.is_array()) {
      if (merge.size() != 2 || !merge.at(size_t{0}).is_string() || !merge.at(size_t{1}).is_string())
        usage_error("{}: merge {} must be a pair of strings", where, index);
      lists.merges.emplace_back(merge.at(size_t{0}).as_string(), merge.at(size_t{1}).as_string());
      continue;
    }
    const std::string& text = merge.as_string(format("{}: merge {}", where, index));
    if (text.starts_with("#version")) continue;
    const size_t blank = text.find(' ');
    if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos)
      usage_error("{}: merge {} ({}) must be two tokens with a space between", where, index,
                  json_quote(text));
    lists.merges.emplace_back(text.substr(0, blank), text.substr(blank + 1));
  }
}

// What the model is, also of files from before there was a "type".
std::string model_type(const Json& model, const std::string& where) {
  if (const Json* type = find_member(model, "type")) return type->as_string(where + ": \"type\"");
  if (model.contains("merges")) return "BPE";
  if (const Json* vocab = model.find("vocab"); vocab != nullptr && vocab->is_array())
    return "Unigram";
  if (model.contains("max_input_chars_per_word")) return "WordPiece";
  return model.contains("unk_token") ? "WordLevel" : "BPE";
}

ModelConfig read_model(const Json& model, ModelLists lists, const std::string& where) {
  const std::string type = model_type(model, where);
  const auto is_list = model.contains("vocab") && model.at("vocab").is_array();
  if (model.contains("vocab") && is_list != (type == "Unigram"))
    usage_error("{}: \"vocab\": expected an {}, found {}", where, is_list ? "object" : "array",
                model.at("vocab").type_name());
  if (type != "BPE") need_member(model, "vocab", where);
  if (type == "WordPiece") {
    WordPiece::Config config;
    config.vocab = std::move(lists.vocab);
    config.unk_token = string_member(model, "unk_token", where);
    config.continuing_subword_prefix = string_member(model, "continuing_subword_prefix", where);
    config.max_input_chars_per_word = count_member(model, "max_input_chars_per_word", where);
    return config;
  }
  if (type == "WordLevel")
    return WordLevelConfig{std::move(lists.vocab), string_member(model, "unk_token", where)};
  if (type == "Unigram") {
    Unigram::Config config;
    config.vocab = std::move(lists.scores);
    if (find_member(model, "unk_id") != nullptr)
      config.unk_id = count_member(model, "unk_id", where);
    config.byte_fallback = flag_member(model, "byte_fallback", false, where);
    return config;
  }
  if (type != "BPE")
    usage_error("{}: the type \"{}\" is not supported (BPE, WordPiece, Unigram and WordLevel are)",
                where, type);
  for (const char* key : {"vocab", "merges"}) need_member(model, key, where);
  BpeConfig config;
  config.vocab = std::move(lists.vocab);
  config.merges = std::move(lists.merges);
  if (const Json* dropout = find_member(model, "dropout");
      dropout != nullptr && dropout->as_double(where + ": \"dropout\"") != 0)
    usage_error("{}: dropout {} is not supported", where, dropout->dump());
  const auto text = [&](const char* key) {
    const Json* value = find_member(model, key);
    return value == nullptr ? std::nullopt
                            : std::optional(value->as_string(format("{}: \"{}\"", where, key)));
  };
  config.unk_token = text("unk_token");
  config.continuing_subword_prefix = text("continuing_subword_prefix");
  config.end_of_word_suffix = text("end_of_word_suffix");
  config.fuse_unk = flag_member(model, "fuse_unk", false, where);
  config.byte_fallback = flag_member(model, "byte_fallback", false, where);
  config.ignore_merges = flag_member(model, "ignore_merges", false, where);
  return config;
}

// Whether the model can take raw bytes where ByteLevel gives characters for them.
bool takes_bytes(const ModelConfig& config) {
  const auto* bpe = std::get_if<BpeConfig>(&config);
  const auto empty = [](const std::optional<std::string>& text) { return !text || text->empty(); };
  return bpe != nullptr && !bpe->byte_fallback && empty(bpe->continuing_subword_prefix) &&
         empty(bpe->end_of_word_suffix);
}

std::unique_ptr<Model> make_model(ModelConfig config, bool bytes, const std::string& source_name) {
  if (auto* bpe = std::get_if<BpeConfig>(&config))
    return std::make_unique<Bpe>(std::move(*bpe), bytes ? Bpe::Units::Bytes : Bpe::Units::Characters,
                                 source_name);
  if (auto* word_piece = std::get_if<WordPiece::Config>(&config))
    return std::make_unique<WordPiece>(std::move(*word_piece), source_name);
  if (auto* unigram = std::get_if<Unigram::Config>(&config))
    return std::make_unique<Unigram>(std::move(*unigram), source_name);
  auto& word_level = std::get<WordLevelConfig>(config);
  return std::make_unique<WordLevel>(std::move(word_level.vocab), std::move(word_level.unk_token),
                                     source_name);
}

std::optional<Truncation> read_truncation(const Json& json, const std::string& where) {
  if (json.is_null()) return std::nullopt;
  Truncation result;
  result.max_length = count_member(json, "max_length", where);
  result.stride = find_member(json, "stride") == nullptr ? 0 : count_member(json, "stride", where);
  if (const Json* direction = find_member(json, "direction")) {
    if (*direction != Json("Left") && *direction != Json("Right"))
      usage_error("{}: \"direction\" must be Left or Right, not {}", where, direction->dump());
    result.from_left = *direction == Json("Left");
  }
  const std::string& strategy = string_member(json, "strategy", where);
  if (strategy == "OnlyFirst")
    result.strategy = Truncation::OnlyFirst;
  else if (strategy == "OnlySecond")
    result.strategy = Truncation::OnlySecond;
  else if (strategy != "LongestFirst")
    usage_error("{}: the strategy \"{}\" is not supported (LongestFirst, OnlyFirst and OnlySecond "
                "are)", where, strategy);
  return result;
}

std::optional<Padding> read_padding(const Json& json, const std::string& where) {
  if (json.is_null()) return std::nullopt;
  Padding result;
  const Json& strategy = need_member(json, "strategy", where);
  if (strategy.is_object())
    result.length = count_member(strategy, "Fixed", where + ": \"strategy\"");
  else if (strategy != Json("BatchLongest"))
    usage_error("{}: the strategy {} is not supported (BatchLongest and Fixed are)", where,
                strategy.dump());
  const Json& direction = need_member(json, "direction", where);
  if (direction != Json("Left") && direction != Json("Right"))
    usage_error("{}: \"direction\" must be Left or Right, not {}", where, direction.dump());
  result.left = direction == Json("Left");
  if (find_member(json, "pad_to_multiple_of") != nullptr)
    result.multiple_of = count_member(json, "pad_to_multiple_of", where);
  result.id = token_id_of(need_member(json, "pad_id", where), where + ": \"pad_id\"");
  result.type_id =
      token_id_of(need_member(json, "pad_type_id", where), where + ": \"pad_type_id\"");
  result.token = string_member(json, "pad_token", where);
  return result;
}

std::optional<int32_t> usual_token(const AddedTokens& added,
                                   std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const int32_t id = added.id(name); id >= 0) return id;
  return std::nullopt;
}

}  // namespace

Tokenizer::Impl::Impl(Components parts, ModelConfig config, std::vector<AddedToken> added_tokens,
                      const std::string& source_name)
    : components(std::move(parts)),
      truncation(read_truncation(components.truncation, source_name + ": truncation")),
      padding(read_padding(components.padding, source_name + ": padding")),
      normalizer(components.normalizer, source_name + ": normalizer"),
      pre_tokenizer(components.pre_tokenizer, takes_bytes(config), source_name),
      model(make_model(std::move(config), pre_tokenizer.gives_bytes(), source_name)),
      post_processor(components.post_processor, source_name + ": post_processor"),
      decoder(components.decoder, source_name + ": decoder") {
  for (AddedToken& token : added_tokens) {
    if (token.normalized) token.normal_form = normalizer.normalize(token.content);
    added.add(std::move(token), *model);
  }
  eos = usual_token(added, {"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>"});
  bos = usual_token(added, {"<|endoftext|>", "<s>", "<|begin_of_text|>", "<bos>"});
}

std::shared_ptr<Tokenizer::Impl> Tokenizer::Impl::parse(std::string_view text,
                                                        const std::string& source_name) {
  ModelLists lists;
  Json json;
  const std::optional<std::string> rest = scan_model(text, lists);
  if (rest) {
    try {
      json = parse_config(*rest, source_name);
    } catch (const Error&) {  // its place would be that in `rest`
      parse_config(text, source_name);
      throw;
    }
  } else {
    json = parse_config(text, source_name);
  }
  if (!json.is_object())
    usage_error("{}: expected an object, found {}", source_name, json.type_name());
  if (const Json* version = json.find("version"); version != nullptr && *version != Json("1.0"))
    usage_error("{}: version {} is not supported (\"1.0\" is)", source_name, version->dump());

  const std::string where = source_name + ": model";
  const Json* model = find_member(json, "model");
  if (model == nullptr || !model->is_object())
    usage_error("{}: there is no object \"model\"", source_name);
  if (!rest) {
    lists = {};
    read_lists(*model, lists, where);
  }
  ModelConfig config = read_model(*model, std::move(lists), where);
  const auto part = [&](std::string_view key) {
    const Json* value = json.find(key);
    return value == nullptr ? Json() : *value;
  };
  Components components{part("truncation"),    part("padding"),        part("normalizer"),
                        part("pre_tokenizer"), part("post_processor"), part("decoder")};
  std::vector<AddedToken> added;
  if (const Json* list = find_member(json, "added_tokens"))
    added = parse_added_tokens(*list, source_name);
  return std::make_shared<Impl>(std::move(components), std::move(config), std::move(added),
                                source_name);
}

std::string Tokenizer::Impl::to_json() const {
  Json tokens = Json::array();
  for (const AddedToken& token : added.tokens()) tokens.push_back(corten::to_json(token));
  Json json = Json::object();
  json.set("version", "1.0")
      .set("truncation", components.truncation)
      .set("padding", components.padding)
      .set("added_tokens", std::move(tokens))
      .set("normalizer", components.normalizer)
      .set("pre_tokenizer", components.pre_tokenizer)
      .set("post_processor", components.post_processor)
      .set("decoder", components.decoder)
      .set("model", model->to_json());
  return json.dump(2);
}

// ---- the files beside it

TokenizerSettings read_tokenizer_settings(const std::string& folder) {
  TokenizerSettings settings;
  const std::string path = join_path(folder, "tokenizer_config.json");
  // A token is a string or an object with "content".
  const auto read_roles = [&](const Json& json, const std::string& where) {
    for (const char* role : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}) {
      const std::string key = format("{}_token", role);
      const Json* value = json.find(key);
      if (value != nullptr && value->is_object()) value = value->find("content");
      if (value == nullptr || value->is_null() || settings.special.contains(role)) continue;
      settings.special[role] = value->as_string(format("{}: \"{}\"", where, key));
    }
  };
  if (const std::optional<Json> config = read_optional_json(path)) {
    read_roles(*config, path);
    if (const Json* chat = find_member(*config, "chat_template")) {
      // A text, or a list of named ones of which "default" is used.
      if (chat->is_array()) {
        for (const Json& entry : chat->elements())
          if (const Json* name = entry.find("name"); name != nullptr && *name == Json("default"))
            settings.chat_template =
                string_member(entry, "template", path + ": \"chat_template\"");
      } else {
        settings.chat_template = chat->as_string(path + ": \"chat_template\"");
      }
    }
  }
  const std::string map = join_path(folder, "special_tokens_map.json");
  if (const std::optional<Json> json = read_optional_json(map)) read_roles(*json, map);
  const std::string jinja = join_path(folder, "chat_template.jinja");
  if (has_file(jinja)) settings.chat_template = read_file(jinja);
  return settings;
}

void Tokenizer::Impl::read_settings(const std::string& folder) {
  settings = read_tokenizer_settings(folder);
  for (const char* name :
       {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"})
    if (const std::string path = join_path(folder, name); file_exists(path))
      side_files.emplace_back(name, read_file(path));
  const auto set = [&](const char* role, std::optional<int32_t>& id) {
    const auto found = settings.special.find(role);
    if (found == settings.special.end()) return;
    if (const int32_t known = token_id(found->second); known >= 0) id = known;
  };
  set("bos", bos);
  set("eos", eos);
}

}  // namespace corten
