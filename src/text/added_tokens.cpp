#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "base/format.h"
#include "text/unicode.h"

namespace corten {

// ---- TextFinder

void TextFinder::add(std::string_view text, size_t value) {
  const int first = static_cast<unsigned char>(text[0]);
  first_[static_cast<size_t>(first)] = true;
  only_first_ = only_first_ == -1 || only_first_ == first ? first : -2;
  uint32_t node = 0;
  for (char c : text) {
    const uint64_t edge = uint64_t{node} << 8 | static_cast<unsigned char>(c);
    const auto [place, inserted] = edges_.try_emplace(edge, values_.size());
    if (inserted) values_.push_back(0);
    node = place->second;
  }
  values_[node] = value + 1;
}

bool TextFinder::find(std::string_view in, size_t from, size_t& begin, size_t& end,
                      size_t& value) const {
  for (size_t i = from; i < in.size(); ++i) {
    if (only_first_ >= 0) {
      const void* found = std::memchr(in.data() + i, only_first_, in.size() - i);
      if (found == nullptr) return false;
      i = static_cast<size_t>(static_cast<const char*>(found) - in.data());
    } else if (!first_[static_cast<unsigned char>(in[i])]) {
      continue;
    }
    bool any = false;
    uint32_t node = 0;
    for (size_t k = i; k < in.size(); ++k) {
      const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(in[k]));
      if (edge == edges_.end()) break;
      node = edge->second;
      if (values_[node] == 0) continue;
      any = true;
      begin = i;
      end = k + 1;
      value = values_[node] - 1;
    }
    if (any) return true;
  }
  return false;
}

// ---- AddedTokens

void AddedTokens::add(AddedToken token, const Model& model) {
  if (token.content.empty()) return;
  token.id = id(token.content);
  if (token.id < 0) token.id = model.id(token.content);
  if (next_id_ < 0) next_id_ = static_cast<int32_t>(model.size());
  if (token.id < 0) token.id = next_id_++;
  ids_[token.content] = token.id;
  if (token.special) special_[token.content] = true;
  const std::string& text = token.normalized ? token.normal_form : token.content;
  if (!text.empty()) finders_[token.normalized].add(text, static_cast<size_t>(token.id));
  const auto place =
      std::lower_bound(tokens_.begin(), tokens_.end(), token.id,
                       [](const AddedToken& other, int32_t id) { return other.id < id; });
  if (place != tokens_.end() && place->id == token.id)
    *place = std::move(token);
  else
    tokens_.insert(place, std::move(token));
}

const AddedToken* AddedTokens::find(int32_t id) const noexcept {
  const auto place =
      std::lower_bound(tokens_.begin(), tokens_.end(), id,
                       [](const AddedToken& token, int32_t wanted) { return token.id < wanted; });
  return place != tokens_.end() && place->id == id ? &*place : nullptr;
}

int32_t AddedTokens::id(std::string_view content) const noexcept {
  const auto found = ids_.find(std::string(content));
  return found == ids_.end() ? -1 : found->second;
}

bool AddedTokens::is_special(std::string_view content) const noexcept {
  return !special_.empty() && special_.contains(std::string(content));
}

namespace {

// \w beside a token with single_word.
bool is_word(char32_t c) {
  return (unicode_table().properties(c) & kWordFlag) != 0;
}

bool word_before(std::string_view text, size_t position) {
  char32_t c;
  if (position == 0) return false;
  decode_before(text, position, c);
  return is_word(c);
}
bool word_after(std::string_view text, size_t position) {
  char32_t c;
  if (position == text.size()) return false;
  decode_valid_utf8(text.data() + position, c);
  return is_word(c);
}

}  // namespace

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool normalized,
                                                  bool plain_special) const {
  std::vector<Part> parts;
  size_t done = 0;  // end of the last part
  size_t begin, end, value;
  for (size_t from = 0; finders_[normalized].find(text, from, begin, end, value);) {
    from = end;
    const AddedToken& token = *find(static_cast<int32_t>(value));
    if (plain_special && is_special(token.content)) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    char32_t c;
    if (token.lstrip) {
      while (begin > done) {
        const size_t length = decode_before(text, begin, c);
        if (!is_space(c)) break;
        begin -= length;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size()) {
        const size_t length = decode_valid_utf8(text.data() + end, c);
        if (!is_space(c)) break;
        end += length;
      }
    }
    if (done < begin) parts.push_back({done, begin, -1});
    // Nothing is left of one within the space that the last one took.
    if (begin < end) parts.push_back({begin, end, token.id});
    done = std::max(begin, end);
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

// ---- JSON

std::vector<AddedToken> parse_added_tokens(const Json& json, const std::string& source_name) {
  std::vector<AddedToken> tokens;
  const std::string list = source_name + ": added_tokens";
  for (const Json& entry : json.elements(list)) {
    const std::string where = format("{}[{}]", list, tokens.size());
    if (!entry.is_object())
      usage_error("{}: expected an object, found {}", where, entry.type_name());
    AddedToken token;
    const auto member = [&](const char* key) -> const Json& {
      const Json* value = entry.find(key);
      if (value == nullptr) usage_error("{}: there is no \"{}\"", where, key);
      return *value;
    };
    const auto flag = [&](const char* key) {
      return member(key).as_bool(format("{}: \"{}\"", where, key));
    };
    token.content = member("content").as_string(where + ": \"content\"");
    if (member("id").as_int(where + ": \"id\"") < 0) usage_error("{}: a negative \"id\"", where);
    token.single_word = flag("single_word");
    token.lstrip = flag("lstrip");
    token.rstrip = flag("rstrip");
    token.normalized = flag("normalized");
    token.special = flag("special");
    token.normal_form = token.content;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Json to_json(const AddedToken& token) {
  return Json::object({{"id", token.id},
                       {"content", token.content},
                       {"single_word", token.single_word},
                       {"lstrip", token.lstrip},
                       {"rstrip", token.rstrip},
                       {"normalized", token.normalized},
                       {"special", token.special}});
}

}  // namespace corten
