#include "text/post_processor.h"

#include <algorithm>

#include "text/component_json.h"
#include "text/encoding.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {
namespace {

// The library's ByteLevel and Roberta post-processors: white space at both ends of a token, also
// as the character of byte 0x20, does not count to its place.
void trim_offsets(Encoding& encoding, bool add_prefix_space) {
  const char32_t space = byte_to_char(' ');
  for (size_t i = 0; i < encoding.tokens.size(); ++i) {
    const std::string_view token = encoding.tokens[i];
    auto& [begin, end] = encoding.offsets[i];
    char32_t c;
    size_t leading = 0, trailing = 0;
    for (size_t at = 0; at < token.size(); ++leading) {
      at += decode_valid_utf8(token.data() + at, c);
      if (c != space && !is_space(c)) break;
    }
    for (size_t at = token.size(); at > 0; ++trailing) {
      at -= decode_before(token, at, c);
      if (c != space && !is_space(c)) break;
    }
    if (leading > 0) {
      if ((i == 0 || begin == 0) && add_prefix_space && leading == 1) leading = 0;
      begin = std::min(begin + leading, end);
    }
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

}  // namespace

PostProcessor::PostProcessor(const Json& json, const std::string& where) {
  if (!json.is_null()) {
    none_ = false;
    parse(json, where, 0);
  }
  make_plain();
}

void PostProcessor::parse(const Json& json, const std::string& where, int depth) {
  const std::string& type = type_of(json, where);
  const std::string here = where + " " + type;
  Step step;
  if (type == "Sequence") {
    if (depth > 16) usage_error("{}: more than 16 levels of Sequence", where);
    for (const Json& element :
         need_member(json, "processors", here).elements(here + ": \"processors\""))
      parse(element, where, depth + 1);
    return;
  }
  if (type == "ByteLevel" || type == "RobertaProcessing") {
    step.trim = flag_member(json, "trim_offsets", true, here);
    step.add_prefix_space = flag_member(json, "add_prefix_space", true, here);
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    parse_cls_sep(json, here, type == "RobertaProcessing", step);
  } else if (type == "TemplateProcessing") {
    step.is_template = step.sets_type_ids = true;
    step.single = parse_template(json, "single", here);
    step.pair = parse_template(json, "pair", here);
    for (const Piece& piece : step.single)
      if (piece.text == 1) usage_error("{}: \"single\" may only have the sequence A", here);
  } else if (type != "ByteLevel") {
    usage_error(
        "{}: the type \"{}\" is not supported (ByteLevel, TemplateProcessing, RobertaProcessing, "
        "BertProcessing and Sequence are)",
        where, type);
  }
  steps_.push_back(std::move(step));
}

PostProcessor::Template PostProcessor::parse_template(const Json& json, const char* key,
                                                      const std::string& where) {
  Template result;
  const Json* pieces = find_member(json, key);
  const Json* special = find_member(json, "special_tokens");
  if (pieces == nullptr && std::string_view(key) == "pair") return result;
  if (pieces == nullptr || special == nullptr)
    usage_error("{}: \"{}\" and \"special_tokens\" are needed", where, key);
  const auto type_id = [&](const Json& piece) {
    const Json* value = find_member(piece, "type_id");
    return value == nullptr ? 0 : token_id_of(*value, where + ": \"type_id\"");
  };
  for (const Json& piece : pieces->elements(format("{}: \"{}\"", where, key))) {
    Piece part;
    if (const Json* sequence = find_member(piece, "Sequence")) {
      const Json* id = find_member(*sequence, "id");
      if (id == nullptr || (*id != Json("A") && *id != Json("B")))
        usage_error("{}: a Sequence of \"{}\" is neither A nor B", where, key);
      part.text = *id == Json("B");
      part.type_id = type_id(*sequence);
    } else if (const Json* token = find_member(piece, "SpecialToken")) {
      const Json* id = find_member(*token, "id");
      if (id == nullptr) usage_error("{}: a SpecialToken without \"id\"", where);
      const std::string& name = id->as_string(where + ": \"id\"");
      const Json* entry = find_member(*special, name);
      const Json* ids = entry == nullptr ? nullptr : find_member(*entry, "ids");
      const Json* tokens = entry == nullptr ? nullptr : find_member(*entry, "tokens");
      if (ids == nullptr || tokens == nullptr)
        usage_error("{}: \"special_tokens\" lacks ids or tokens of {}", where, json_quote(name));
      for (const Json& value : ids->elements(where + ": \"ids\""))
        part.ids.push_back(token_id_of(value, where + ": \"ids\""));
      for (const Json& value : tokens->elements(where + ": \"tokens\""))
        part.tokens.push_back(value.as_string(where + ": \"tokens\""));
      if (part.ids.size() != part.tokens.size())
        usage_error("{}: {} has {} ids and {} tokens", where, json_quote(name), part.ids.size(),
                    part.tokens.size());
      part.type_id = type_id(*token);
    } else {
      usage_error("{}: a part of \"{}\" is neither Sequence nor SpecialToken", where, key);
    }
    result.push_back(std::move(part));
  }
  return result;
}

// BERT: cls A sep, and B sep for a second text. RoBERTa: cls A sep and sep B sep, all of type 0.
void PostProcessor::parse_cls_sep(const Json& json, const std::string& where, bool roberta,
                                  Step& step) {
  const auto special = [&](const char* key, int32_t type_id) {
    const Json* value = find_member(json, key);
    if (value == nullptr || !value->is_array() || value->size() != 2)
      usage_error("{}: \"{}\" must be [token, id]", where, key);
    Piece piece;
    piece.type_id = type_id;
    piece.tokens.push_back(value->at(size_t{0}).as_string(format("{}: \"{}\"", where, key)));
    piece.ids.push_back(token_id_of(value->at(size_t{1}), format("{}: \"{}\"", where, key)));
    return piece;
  };
  const auto text = [](int number, int32_t type_id) {
    Piece piece;
    piece.text = number;
    piece.type_id = type_id;
    return piece;
  };
  step.is_template = true;
  step.zero_type_ids = roberta;
  step.without_special = false;
  const int32_t second = roberta ? 0 : 1;
  step.single = {special("cls", 0), text(0, 0), special("sep", 0)};
  step.pair = step.single;
  if (roberta) step.pair.push_back(special("sep", 0));
  step.pair.push_back(text(1, second));
  step.pair.push_back(special("sep", second));
}

void PostProcessor::make_plain() {
  const auto templates = std::count_if(steps_.begin(), steps_.end(),
                                       [](const Step& step) { return step.is_template; });
  has_plain_ = templates <= 1;
  for (const bool special : {false, true}) {
    plain_[special] = {{.is_text = true, .ids = {}}};
    for (const Step& step : steps_) {
      if (!step.is_template || (!special && !step.without_special)) continue;
      plain_[special].clear();
      for (const Piece& piece : step.single)
        if (piece.text >= 0 || special)
          plain_[special].push_back({.is_text = piece.text >= 0, .ids = piece.ids});
    }
  }
}

size_t PostProcessor::added_tokens(bool pair) const noexcept {
  size_t count = 0;
  for (const Step& step : steps_)
    for (const Piece& piece : pair ? step.pair : step.single)
      if (piece.text < 0) count += piece.ids.size();
  return count;
}

Encoding PostProcessor::process(std::vector<Encoding> texts, bool add_special_tokens) const {
  for (size_t i = 0; i < texts.size() && !none_; ++i)
    texts[i].type_ids.assign(texts[i].ids.size(), static_cast<int32_t>(i));
  for (const Step& step : steps_) {
    if (step.trim) {
      for (Encoding& text : texts) {
        trim_offsets(text, step.add_prefix_space);
        for (Encoding& part : text.overflowing) trim_offsets(part, step.add_prefix_space);
      }
    }
    if (step.zero_type_ids)
      for (Encoding& text : texts) text.type_ids.assign(text.ids.size(), 0);
    if (!step.is_template || (!add_special_tokens && !step.without_special)) continue;
    if (texts.size() > 2)
      usage_error("post_processor: a second template after one that gave {} parts is not supported",
                  texts.size());
    const Template& pieces = texts.size() == 2 ? step.pair : step.single;
    if (step.sets_type_ids) {
      std::vector<Encoding> parts;
      for (const Piece& piece : pieces) {
        if (piece.text >= 0) {
          if (static_cast<size_t>(piece.text) >= texts.size())
            usage_error("post_processor: the template asks for text B of {} text", texts.size());
          Encoding& text = texts[static_cast<size_t>(piece.text)];
          text.type_ids.assign(text.ids.size(), piece.type_id);
          parts.push_back(text);
        } else if (add_special_tokens) {
          parts.emplace_back();
          append_special(parts.back(), piece.ids, piece.tokens, piece.type_id);
        }
      }
      if (pieces.empty() && texts.size() == 2)
        usage_error("post_processor: the template has no \"pair\"");
      texts = std::move(parts);
      continue;
    }
    // cls and sep are put around each text and each part that overflowed.
    std::vector<Encoding> parts(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto around = [&](const Encoding& text, bool overflow) {
        Encoding result;
        size_t at = 0;
        const size_t own = static_cast<size_t>(
            std::find_if(pieces.begin(), pieces.end(),
                         [&](const Piece& p) { return p.text == static_cast<int>(i); }) -
            pieces.begin());
        // The special tokens before a second text are those after the sep of the first.
        const size_t begin = i == 0 ? 0 : 3, end = i == 0 ? 3 : pieces.size();
        for (at = begin; at < end; ++at) {
          if (at == own) {
            Encoding plain = text;
            plain.overflowing.clear();
            plain.special_tokens_mask.assign(plain.ids.size(), 0);
            plain.attention_mask.assign(plain.ids.size(), 1);
            if (overflow && step.zero_type_ids) plain.type_ids.assign(plain.ids.size(), 0);
            append(result, plain);
          } else {
            append_special(result, pieces[at].ids, pieces[at].tokens, pieces[at].type_id);
          }
        }
        return result;
      };
      parts[i] = around(texts[i], false);
      for (const Encoding& part : texts[i].overflowing)
        parts[i].overflowing.push_back(around(part, true));
    }
    texts = std::move(parts);
  }
  if (texts.empty()) return {};
  Encoding result;
  for (const Encoding& text : texts) append(result, text);
  return result;
}

}  // namespace corten
