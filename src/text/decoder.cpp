#include "text/decoder.h"

#include <algorithm>

#include "text/component_json.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace corten {
namespace {

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  if (what.empty()) return;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
}

// What BERT's decoder does to spaces before punctuation and contractions.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},     {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"},   {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [what, with] : kRules) replace_all(text, what, with);
}

// The byte of a token <0xAB>, -1 if it is none.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  const int low = digit(token[4]);
  if (token[3] == '+') return low;  // as Rust reads numbers
  const int high = digit(token[3]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace

std::string Decoder::bytes_of(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  char32_t c;
  for (size_t i = 0; i < token.size();) {
    i += decode_valid_utf8(token.data() + i, c);
    const int byte = char_to_byte(c);
    if (byte < 0) return std::string(token);
    bytes += static_cast<char>(static_cast<uint8_t>(byte));
  }
  return bytes;
}

Decoder::Decoder(const Json& json, const std::string& where) {
  if (json.is_null())
    stages_.push_back({.kind = Kind::Join, .text = {}, .pattern = {}});
  else
    parse(json, where, 0);
  for (size_t i = 1; i < stages_.size(); ++i) {
    const Stage& before = stages_[i - 1];
    stages_[i].fused = before.kind == Kind::Fuse || before.kind == Kind::ByteLevel || before.fused;
  }
}

void Decoder::parse(const Json& json, const std::string& where, int depth) {
  const std::string& type = type_of(json, where);
  const std::string here = where + " " + type;
  Stage stage{.kind = Kind::Fuse, .text = {}, .pattern = {}};
  if (type == "Sequence") {
    if (depth > 16) usage_error("{}: more than 16 levels of Sequence", where);
    for (const Json& element :
         need_member(json, "decoders", here).elements(here + ": \"decoders\""))
      parse(element, where, depth + 1);
    return;
  }
  if (type == "ByteLevel") {
    stage.kind = Kind::ByteLevel;
  } else if (type == "ByteFallback") {
    stage.kind = Kind::ByteFallback;
  } else if (type == "BPEDecoder") {
    stage.kind = Kind::Bpe;
    stage.text = string_member(json, "suffix", here);
  } else if (type == "WordPiece") {
    stage.kind = Kind::WordPiece;
    stage.text = string_member(json, "prefix", here);
    stage.flag = need_member(json, "cleanup", here).as_bool(here + ": \"cleanup\"");
  } else if (type == "Metaspace") {
    stage.kind = Kind::Metaspace;
    stage.text = string_member(json, "replacement", here);
    const Json* scheme = find_member(json, "prepend_scheme");
    stage.flag = flag_member(json, "add_prefix_space", true, here) &&
                 (scheme == nullptr || *scheme != Json("never"));
  } else if (type == "Replace") {
    stage.kind = Kind::Replace;
    stage.pattern = TextPattern(need_member(json, "pattern", here), here);
    stage.text = string_member(json, "content", here);
  } else if (type == "Strip") {
    stage.kind = Kind::Strip;
    stage.text = string_member(json, "content", here);
    stage.start = count_member(json, "start", here);
    stage.stop = count_member(json, "stop", here);
    char32_t ignored;
    if (stage.text.empty() ||
        decode_valid_utf8(stage.text.data(), ignored) != stage.text.size())
      usage_error("{}: \"content\" must be one character, not {}", here, json_quote(stage.text));
  } else if (type != "Fuse") {
    usage_error(
        "{}: the type \"{}\" is not supported (BPEDecoder, ByteFallback, ByteLevel, Fuse, "
        "Metaspace, Replace, Strip, WordPiece and Sequence are)",
        where, type);
  }
  stages_.push_back(std::move(stage));
}

// What a stage that looks at each token alone makes of it.
std::string Decoder::decode_one(const Stage& stage, std::string_view token, bool first) {
  std::string text(token);
  switch (stage.kind) {
    case Kind::Join:
      if (!first) text.insert(0, 1, ' ');
      break;
    case Kind::WordPiece:
      if (!first) {
        if (token.starts_with(stage.text))
          text.erase(0, stage.text.size());
        else
          text.insert(0, 1, ' ');
      }
      if (stage.flag) clean_up(text);
      break;
    case Kind::Metaspace:
      replace_all(text, stage.text, first && stage.flag ? "" : " ");
      break;
    case Kind::Replace:
      text = stage.pattern.replaced(token, stage.text);
      break;
    case Kind::Strip: {
      const size_t size = stage.text.size();
      std::string_view rest = token;
      for (size_t i = 0; i < stage.start && rest.starts_with(stage.text); ++i)
        rest.remove_prefix(size);
      for (size_t i = 0; i < stage.stop && rest.ends_with(stage.text); ++i)
        rest.remove_suffix(size);
      text = rest;
      break;
    }
    default:
      break;
  }
  return text;
}

Decoder::Stream::Stream(const Decoder& decoder)
    : decoder_(decoder), states_(decoder.stages_.size()) {}

void Decoder::Stream::push(size_t index, std::string_view token, std::string& out) {
  if (index == states_.size()) {
    out += token;
    return;
  }
  const Stage& stage = decoder_.stages_[index];
  State& state = states_[index];
  const bool first = !state.started;
  state.started = true;
  switch (stage.kind) {
    case Kind::Fuse:
      return push(index + 1, token, out);
    case Kind::Strip:
      if (stage.fused) return strip(index, token, out);
      break;
    case Kind::ByteLevel: {
      if (stage.fused) break;
      state.held += bytes_of(token);
      std::string text;
      state.held.erase(0, append_lossy(text, state.held, false));
      if (!text.empty()) push(index + 1, text, out);
      return;
    }
    case Kind::ByteFallback: {
      if (stage.fused) break;
      const int byte = byte_of(token);
      if (byte >= 0) {
        state.held += static_cast<char>(static_cast<uint8_t>(byte));
        return;
      }
      flush_bytes(index, out);
      return push(index + 1, token, out);
    }
    case Kind::Bpe: {
      if (stage.fused) break;
      std::string before = std::move(state.held);
      state.held = token;
      if (first) return;
      replace_all(before, stage.text, " ");
      return push(index + 1, before, out);
    }
    default:
      break;
  }
  if (stage.fused) {  // the one token must be complete
    state.held += token;
    return;
  }
  push(index + 1, decode_one(stage, token, first), out);
}

// Bytes that are no UTF-8 as a whole become one U+FFFD each.
void Decoder::Stream::flush_bytes(size_t index, std::string& out) {
  State& state = states_[index];
  if (state.held.empty()) return;
  const std::string bytes = std::move(state.held);
  state.held.clear();
  std::string buffer;
  if (valid_utf8(bytes, buffer).data() == bytes.data()) return push(index + 1, bytes, out);
  for (size_t i = 0; i < bytes.size(); ++i) push(index + 1, "\uFFFD", out);
}

// Strip on parts of one text: what may be its end is held back.
void Decoder::Stream::strip(size_t index, std::string_view part, std::string& out) {
  const Stage& stage = decoder_.stages_[index];
  State& state = states_[index];
  const size_t size = stage.text.size();
  if (state.count < stage.start && state.held.empty()) {
    while (state.count < stage.start && part.starts_with(stage.text)) {
      part.remove_prefix(size);
      ++state.count;
    }
    if (part.empty()) return;
    state.count = stage.start;  // something else has been seen
  }
  std::string text = std::move(state.held);
  text += part;
  size_t keep = text.size();
  if (stage.stop > 0)
    while (keep >= size && std::string_view(text).substr(keep - size, size) == stage.text)
      keep -= size;
  state.held = text.substr(keep);
  if (keep > 0) push(index + 1, std::string_view(text).substr(0, keep), out);
}

void Decoder::Stream::finish(std::string& out) {
  for (size_t index = 0; index < states_.size(); ++index) {
    const Stage& stage = decoder_.stages_[index];
    State& state = states_[index];
    if (stage.kind == Kind::Strip && stage.fused) {
      std::string text = std::move(state.held);
      state.held.clear();
      for (size_t i = 0; i < stage.stop && text.ends_with(stage.text); ++i)
        text.resize(text.size() - stage.text.size());
      if (!text.empty()) push(index + 1, text, out);
    } else if (stage.fused && stage.kind != Kind::Fuse) {
      const std::string text = std::move(state.held);
      state.held.clear();
      if (stage.kind == Kind::ByteLevel) {
        std::string lossy;
        append_lossy(lossy, bytes_of(text), true);
        push(index + 1, lossy, out);
      } else if (stage.kind == Kind::ByteFallback) {
        const int byte = byte_of(text);
        if (byte < 0) {
          push(index + 1, text, out);
        } else {
          state.held = static_cast<char>(static_cast<uint8_t>(byte));
          flush_bytes(index, out);
        }
      } else if (stage.kind == Kind::Bpe) {
        std::string last = text;
        replace_all(last, stage.text, "");
        push(index + 1, last, out);
      } else {
        push(index + 1, decode_one(stage, text, true), out);
      }
    } else if (stage.kind == Kind::ByteLevel) {
      std::string text;
      append_lossy(text, state.held, true);
      state.held.clear();
      if (!text.empty()) push(index + 1, text, out);
    } else if (stage.kind == Kind::ByteFallback) {
      flush_bytes(index, out);
    } else if (stage.kind == Kind::Bpe && state.started) {
      std::string last = std::move(state.held);
      replace_all(last, stage.text, "");
      push(index + 1, last, out);
    }
    state = State();
  }
}

}  // namespace corten
