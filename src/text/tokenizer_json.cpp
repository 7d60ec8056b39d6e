// tokenizer.json: reading and writing.
#include <algorithm>
#include <array>

#include "base/format.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace corten {
namespace {

// Finds "vocab" and "merges" of the "model" and reads them without building a JSON tree: they are
// nearly the whole of the file. Anything unexpected makes it give up; Json::parse then says what
// is wrong.
class ModelScanner {
 public:
  explicit ModelScanner(std::string_view text) : text_(text) {}

  /// The document with empty values in the place of the two; nothing if it gave up.
  std::optional<std::string> run(BpeConfig& config) {
    std::string buffer;
    if (valid_utf8(text_, buffer).data() != text_.data()) return std::nullopt;
    const bool ok = members([&](const std::string& key) {
      if (key != "model") return skip_value();
      return members([&](const std::string& model_key) {
        const size_t begin = at_;
        if (model_key == "vocab") return vocab(config) && cut(begin, "{}");
        if (model_key == "merges") return merges(config) && cut(begin, "[]");
        return skip_value();
      });
    });
    space();
    if (!ok || at_ != text_.size() || cuts_ != 2) return std::nullopt;
    return rest_ + std::string(text_.substr(done_));
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  static bool blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  void space() {
    while (!at_end() && blank(text_[at_])) ++at_;
  }
  bool take(char c) {
    space();
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool cut(size_t begin, std::string_view replacement) {
    rest_ += text_.substr(done_, begin - done_);
    rest_ += replacement;
    done_ = at_;
    ++cuts_;
    return true;
  }

  template <typename Visit>
  bool members(Visit&& visit) {
    if (!take('{')) return false;
    if (take('}')) return true;
    std::string key;
    do {
      if (!string(key) || !take(':') || !visit(key)) return false;
    } while (take(','));
    return take('}');
  }
  template <typename Visit>
  bool elements(Visit&& visit) {
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      if (!visit()) return false;
    } while (take(','));
    return take(']');
  }

  bool vocab(BpeConfig& config) {
    std::string token;
    return members([&](const std::string& key) {
      int64_t id;
      if (!integer(id)) return false;
      config.vocab.emplace_back(key, id);
      return true;
    });
  }
  bool merges(BpeConfig& config) {
    std::string left, right;
    return elements([&] {
      space();
      if (take('[')) {
        if (!string(left) || !take(',') || !string(right) || !take(']')) return false;
      } else {
        if (!string(left)) return false;
        if (left.starts_with("#version")) return true;
        const size_t middle = left.find(' ');
        if (middle == std::string::npos || left.find(' ', middle + 1) != std::string::npos)
          return false;
        right.assign(left, middle + 1);
        left.resize(middle);
      }
      config.merges.emplace_back(left, right);
      return true;
    });
  }

  bool integer(int64_t& value) {
    space();
    const size_t begin = at_;
    value = 0;
    while (!at_end() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 18)
      value = value * 10 + (text_[at_++] - '0');
    if (at_ == begin || (text_[begin] == '0' && at_ > begin + 1) || at_end()) return false;
    return text_[at_] != '.' && text_[at_] != 'e' && text_[at_] != 'E';
  }

  bool string(std::string& out) {
    if (!take('"')) return false;
    out.clear();
    for (;;) {
      const size_t begin = at_;
      while (!at_end() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20)
        ++at_;
      out.append(text_, begin, at_ - begin);
      if (at_end()) return false;
      const char c = text_[at_++];
      if (c == '"') return true;
      if (c != '\\' || !escape(out)) return false;
    }
  }
  bool escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kCodes = "\"\\/\b\f\n\r\t";
    if (at_end()) return false;
    const char c = text_[at_++];
    if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
      out += kCodes[i];
      return true;
    }
    char32_t code;
    if (c != 'u' || !hex4(code)) return false;
    if (code >= 0xD800 && code < 0xE000) {
      char32_t low;
      if (code >= 0xDC00 || text_.substr(at_, 2) != "\\u") return false;
      at_ += 2;
      if (!hex4(low) || low < 0xDC00 || low >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
    }
    append_utf8(out, code);
    return true;
  }
  bool hex4(char32_t& code) {
    code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_end()) return false;
      const char c = text_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      code = code << 4 | static_cast<char32_t>(digit);
    }
    return true;
  }

  // Values that Json::parse will look at.
  bool skip_value() {
    space();
    int depth = 0;
    std::string ignored;
    do {
      space();
      if (at_end()) return false;
      const char c = text_[at_];
      if (c == '"') {
        if (!string(ignored)) return false;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']' || c == ',') && depth == 0) return false;
      if (c == '}' || c == ']') --depth;
      ++at_;
      if (depth == 0 && c != '}' && c != ']') {  // a number, true, false or null
        while (!at_end() && !blank(text_[at_]) && text_[at_] != ',' && text_[at_] != '}' &&
               text_[at_] != ']')
          ++at_;
      }
    } while (depth > 0);
    return true;
  }

  std::string_view text_;
  size_t at_ = 0, done_ = 0;
  int cuts_ = 0;
  std::string rest_;
};

// The same two from a parsed document.
void read_vocab_and_merges(const Json& model, BpeConfig& config, const std::string& where) {
  for (const char* key : {"vocab", "merges"})
    if (!model.contains(key)) usage_error("{}: there is no \"{}\"", where, key);
  for (const auto& [token, id] : model.at("vocab").items(where + ": \"vocab\""))
    config.vocab.emplace_back(token, id.as_int(format("{}: id of {}", where, json_quote(token))));
  for (const Json& merge : model.at("merges").elements(where + ": \"merges\"")) {
    const size_t index = config.merges.size();
    if (merge.is_array()) {
      if (merge.size() != 2 || !merge.at(size_t{0}).is_string() || !merge.at(size_t{1}).is_string())
        usage_error("{}: merge {} must be a pair of strings", where, index);
      config.merges.emplace_back(merge.at(size_t{0}).as_string(), merge.at(size_t{1}).as_string());
      continue;
    }
    const std::string& text = merge.as_string(format("{}: merge {}", where, index));
    if (text.starts_with("#version")) continue;
    const size_t blank = text.find(' ');
    if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos)
      usage_error("{}: merge {} ({}) must be two tokens with a space between", where, index,
                  json_quote(text));
    config.merges.emplace_back(text.substr(0, blank), text.substr(blank + 1));
  }
}

// A member that may be missing or null.
const Json* find(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool flag(const Json& json, std::string_view key, bool fallback, const std::string& where) {
  const Json* value = find(json, key);
  return value == nullptr ? fallback : value->as_bool(format("{}: \"{}\"", where, key));
}

int32_t token_id(const Json& json, const std::string& where) {
  const int64_t id = json.as_int(where);
  if (id < 0 || id > INT32_MAX) usage_error("{}: the id {} is out of range", where, id);
  return static_cast<int32_t>(id);
}

const std::string& type_of(const Json& json, const std::string& where) {
  if (!json.is_object()) usage_error("{}: expected an object, found {}", where, json.type_name());
  const Json* type = json.find("type");
  if (type == nullptr) usage_error("{}: there is no \"type\"", where);
  return type->as_string(where + ": \"type\"");
}

bool parse_normalizer(const Json& json, const std::string& where) {
  if (json.is_null()) return false;
  const std::string& type = type_of(json, where);
  if (type == "NFC") return true;
  if (type != "Sequence")
    usage_error("{}: the type \"{}\" is not supported (NFC and Sequence are)", where, type);
  bool nfc = false;
  const Json* list = json.find("normalizers");
  if (list == nullptr) usage_error("{}: there is no \"normalizers\"", where);
  for (const Json& element : list->elements(where + ": \"normalizers\""))
    nfc = parse_normalizer(element, where) || nfc;
  return nfc;
}

bool parse_decoder(const Json& json, const std::string& where) {
  if (json.is_null()) return false;
  const std::string& type = type_of(json, where);
  if (type != "ByteLevel")
    usage_error("{}: the type \"{}\" is not supported (ByteLevel is)", where, type);
  return true;
}

PostStep parse_template(const Json& json, const std::string& where) {
  PostStep step;
  const Json* single = find(json, "single");
  const Json* special = find(json, "special_tokens");
  if (single == nullptr || special == nullptr)
    usage_error("{}: \"single\" and \"special_tokens\" are needed", where);
  for (const Json& piece : single->elements(where + ": \"single\"")) {
    PostStep::Part part;
    if (const Json* sequence = find(piece, "Sequence")) {
      const Json* id = find(*sequence, "id");
      if (id == nullptr || *id != Json("A"))
        usage_error("{}: \"single\" may only have the sequence A", where);
      part.is_text = true;
    } else if (const Json* token = find(piece, "SpecialToken")) {
      const Json* id = find(*token, "id");
      if (id == nullptr) usage_error("{}: a SpecialToken without \"id\"", where);
      const std::string& name = id->as_string(where + ": \"id\"");
      const Json* entry = find(*special, name);
      const Json* ids = entry == nullptr ? nullptr : find(*entry, "ids");
      const Json* tokens = entry == nullptr ? nullptr : find(*entry, "tokens");
      if (ids == nullptr || tokens == nullptr)
        usage_error("{}: \"special_tokens\" lacks ids or tokens of {}", where, json_quote(name));
      for (const Json& value : ids->elements(where + ": \"ids\""))
        part.ids.push_back(token_id(value, where + ": \"ids\""));
      for (const Json& value : tokens->elements(where + ": \"tokens\""))
        part.tokens.push_back(value.as_string(where + ": \"tokens\""));
      if (part.ids.size() != part.tokens.size())
        usage_error("{}: {} has {} ids and {} tokens", where, json_quote(name), part.ids.size(),
                    part.tokens.size());
    } else {
      usage_error("{}: a part of \"single\" is neither Sequence nor SpecialToken", where);
    }
    step.parts.push_back(std::move(part));
  }
  return step;
}

// RobertaProcessing and BertProcessing: cls, text, sep.
PostStep parse_cls_sep(const Json& json, const std::string& where) {
  const auto part = [&](const char* key) {
    const Json* value = find(json, key);
    if (value == nullptr || !value->is_array() || value->size() != 2)
      usage_error("{}: \"{}\" must be [token, id]", where, key);
    PostStep::Part result;
    result.tokens.push_back(value->at(size_t{0}).as_string(format("{}: \"{}\"", where, key)));
    result.ids.push_back(token_id(value->at(size_t{1}), format("{}: \"{}\"", where, key)));
    return result;
  };
  PostStep step;
  step.parts.push_back(part("cls"));
  step.parts.push_back({.is_text = true, .ids = {}, .tokens = {}});
  step.parts.push_back(part("sep"));
  return step;
}

void parse_post_processor(const Json& json, const std::string& where,
                          std::vector<PostStep>& steps) {
  if (json.is_null()) return;
  const std::string& type = type_of(json, where);
  const std::string here = where + " " + type;
  if (type == "Sequence") {
    const Json* list = json.find("processors");
    if (list == nullptr) usage_error("{}: there is no \"processors\"", here);
    for (const Json& element : list->elements(here + ": \"processors\""))
      parse_post_processor(element, where, steps);
    return;
  }
  if (type == "ByteLevel" || type == "RobertaProcessing") {
    if (flag(json, "trim_offsets", true, here))
      steps.push_back({.trim = true,
                       .add_prefix_space = flag(json, "add_prefix_space", true, here),
                       .parts = {}});
    if (type == "RobertaProcessing") steps.push_back(parse_cls_sep(json, here));
  } else if (type == "BertProcessing") {
    steps.push_back(parse_cls_sep(json, here));
  } else if (type == "TemplateProcessing") {
    steps.push_back(parse_template(json, here));
  } else {
    usage_error(
        "{}: the type \"{}\" is not supported (ByteLevel, TemplateProcessing, RobertaProcessing, "
        "BertProcessing and Sequence are)",
        where, type);
  }
}

// All templates in one; without special tokens if not `special`.
std::vector<PostStep::Part> flatten(const std::vector<PostStep>& steps, bool special) {
  std::vector<PostStep::Part> result = {{.is_text = true, .ids = {}, .tokens = {}}};
  for (const PostStep& step : steps) {
    if (step.trim) continue;
    std::vector<PostStep::Part> next;
    for (const PostStep::Part& part : step.parts) {
      if (part.is_text)
        next.insert(next.end(), result.begin(), result.end());
      else if (special)
        next.push_back(part);
    }
    result = std::move(next);
  }
  return result;
}

std::optional<int32_t> usual_token(const AddedTokens& added,
                                   std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const int32_t id = added.id(name); id >= 0) return id;
  return std::nullopt;
}

}  // namespace

Tokenizer::Impl::Impl(Components parts, BpeConfig config, std::vector<AddedToken> added_tokens,
                      const std::string& source_name)
    : components(std::move(parts)),
      normalize(parse_normalizer(components.normalizer, source_name + ": normalizer")),
      byte_level_decoder(parse_decoder(components.decoder, source_name + ": decoder")),
      pre_tokenizer(components.pre_tokenizer, source_name),
      bpe(std::move(config), source_name) {
  for (AddedToken& token : added_tokens) {
    if (normalize && token.normalized) token.normal_form = nfc(token.content);
    added.add(std::move(token), bpe);
  }
  parse_post_processor(components.post_processor, source_name + ": post_processor", post_steps);
  with_special = flatten(post_steps, true);
  without_special = flatten(post_steps, false);
  eos = usual_token(added, {"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>"});
  bos = usual_token(added, {"<|endoftext|>", "<s>", "<|begin_of_text|>", "<bos>"});
}

std::shared_ptr<Tokenizer::Impl> Tokenizer::Impl::parse(std::string_view text,
                                                        const std::string& source_name) {
  BpeConfig config;
  Json json;
  const std::optional<std::string> rest = ModelScanner(text).run(config);
  if (rest) {
    try {
      json = Json::parse(*rest, source_name);
    } catch (const Error&) {  // its place would be that in `rest`
      Json::parse(text, source_name);
      throw;
    }
  } else {
    json = Json::parse(text, source_name);
  }
  if (!json.is_object())
    usage_error("{}: expected an object, found {}", source_name, json.type_name());
  if (const Json* version = json.find("version"); version != nullptr && *version != Json("1.0"))
    usage_error("{}: version {} is not supported (\"1.0\" is)", source_name, version->dump());

  const std::string where = source_name + ": model";
  const Json* model = find(json, "model");
  if (model == nullptr || !model->is_object())
    usage_error("{}: there is no object \"model\"", source_name);
  if (const Json* type = find(*model, "type"); type != nullptr && *type != Json("BPE"))
    usage_error("{}: the type {} is not supported (byte-level BPE is)", where, type->dump());
  if (!rest) {
    config = {};
    read_vocab_and_merges(*model, config, where);
  }
  if (const Json* dropout = find(*model, "dropout");
      dropout != nullptr && dropout->as_double(where + ": \"dropout\"") != 0)
    usage_error("{}: dropout {} is not supported", where, dropout->dump());
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json* value = find(*model, key);
    if (value != nullptr && !value->as_string(format("{}: \"{}\"", where, key)).empty())
      usage_error("{}: {} {} is not supported", where, key, value->dump());
  }
  if (const Json* unknown = find(*model, "unk_token"))
    config.unk_token = unknown->as_string(where + ": \"unk_token\"");
  config.fuse_unk = flag(*model, "fuse_unk", false, where);
  config.byte_fallback = flag(*model, "byte_fallback", false, where);
  config.ignore_merges = flag(*model, "ignore_merges", false, where);

  const auto part = [](const Json& object, std::string_view key) {
    const Json* value = object.find(key);
    return value == nullptr ? Json() : *value;
  };
  Components components;
  components.truncation = part(json, "truncation");
  components.padding = part(json, "padding");
  components.normalizer = part(json, "normalizer");
  components.pre_tokenizer = part(json, "pre_tokenizer");
  components.post_processor = part(json, "post_processor");
  components.decoder = part(json, "decoder");
  components.continuing_subword_prefix = part(*model, "continuing_subword_prefix");
  components.end_of_word_suffix = part(*model, "end_of_word_suffix");
  std::vector<AddedToken> added;
  if (const Json* list = find(json, "added_tokens")) added = parse_added_tokens(*list, source_name);
  return std::make_shared<Impl>(std::move(components), std::move(config), std::move(added),
                                source_name);
}

std::string Tokenizer::Impl::to_json() const {
  const BpeConfig& config = bpe.config();
  Json vocab = Json::object();
  for (int32_t id = 0; id <= bpe.max_id(); ++id)
    if (const std::string_view token = bpe.token(id); token.data() != nullptr) vocab.set(token, id);
  Json merges = Json::array();
  for (const auto& [left, right] : bpe.merges().pairs_by_rank()) {
    Json pair = Json::array();
    pair.push_back(bpe.token(left));
    pair.push_back(bpe.token(right));
    merges.push_back(std::move(pair));
  }
  Json tokens = Json::array();
  for (const AddedToken& token : added.tokens()) tokens.push_back(corten::to_json(token));
  Json model = Json::object();
  model.set("type", "BPE")
      .set("dropout", Json())
      .set("unk_token", config.unk_token ? Json(*config.unk_token) : Json())
      .set("continuing_subword_prefix", components.continuing_subword_prefix)
      .set("end_of_word_suffix", components.end_of_word_suffix)
      .set("fuse_unk", config.fuse_unk)
      .set("byte_fallback", config.byte_fallback)
      .set("ignore_merges", config.ignore_merges)
      .set("vocab", std::move(vocab))
      .set("merges", std::move(merges));
  Json json = Json::object();
  json.set("version", "1.0")
      .set("truncation", components.truncation)
      .set("padding", components.padding)
      .set("added_tokens", std::move(tokens))
      .set("normalizer", components.normalizer)
      .set("pre_tokenizer", components.pre_tokenizer)
      .set("post_processor", components.post_processor)
      .set("decoder", components.decoder)
      .set("model", std::move(model));
  return json.dump(2);
}

}  // namespace corten
