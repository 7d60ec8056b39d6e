#include "corten/tokenizer.h"

#include <algorithm>
#include <functional>

#include "base/file.h"
#include "base/format.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace corten {

// ---- encoding

namespace {

// Bytes of `buffer` from the beginning of `part` on; only those of `part` if it lies elsewhere.
size_t readable_bytes(std::string_view part, std::string_view buffer) {
  const std::less_equal<const char*> at_most;
  const char* const end = buffer.data() + buffer.size();
  if (!at_most(buffer.data(), part.data()) || !at_most(part.data() + part.size(), end))
    return part.size();
  return static_cast<size_t>(end - part.data());
}

// Where a piece of text that is being encoded comes from.
struct Source {
  std::string_view text;       // the segment, normalized
  const Alignment* alignment;  // of the segment before added tokens were cut out, or nullptr
  size_t origin;               // offset of the segment in the alignment or in the original
};

}  // namespace

// Calls on_added(id, source, begin, end) and on_piece(source, piece) in the order of the text.
template <typename OnAdded, typename OnPiece>
void Tokenizer::Impl::walk(std::string_view text, bool offsets, OnAdded&& on_added,
                           OnPiece&& on_piece) const {
  const auto pieces = [&](const Source& source) {
    pre_tokenizer.split(source.text, [&](const Piece& piece) { on_piece(source, piece); });
  };
  const auto segment = [&](std::string_view raw, size_t origin) {
    Source source{raw, nullptr, origin};
    std::string normal;
    Alignment alignment;
    if (normalize && !surely_nfc(raw)) {
      normal = nfc(raw, offsets ? &alignment : nullptr);
      for (auto& [begin, end] : alignment) {
        begin += origin;
        end += origin;
      }
      source = {normal, &alignment, 0};
    }
    if (!added.has(true)) return pieces(source);
    for (const AddedTokens::Part& part : added.split(source.text, true)) {
      if (part.id >= 0)
        on_added(part.id, source, part.begin, part.end);
      else
        pieces({source.text.substr(part.begin, part.end - part.begin), source.alignment,
                source.origin + part.begin});
    }
  };
  if (!added.has(false)) return segment(text, 0);
  for (const AddedTokens::Part& part : added.split(text, false)) {
    if (part.id >= 0)
      on_added(part.id, Source{text, nullptr, 0}, part.begin, part.end);
    else
      segment(text.substr(part.begin, part.end - part.begin), part.begin);
  }
}

void Tokenizer::Impl::encode_ids(std::string_view text, std::vector<int32_t>& ids) const {
  CacheLease cache(*this);
  walk(
      text, false, [&](int32_t id, const Source&, size_t, size_t) { ids.push_back(id); },
      [&](const Source& source, const Piece& piece) {
        bpe.encode(piece.text, readable_bytes(piece.text, source.text), *cache, ids);
      });
}

Tokenizer::Impl::CacheLease::CacheLease(const Impl& impl) : impl_(impl) {
  {
    const std::lock_guard lock(impl.mutex_);
    if (!impl.idle_caches_.empty()) {
      cache_ = std::move(impl.idle_caches_.back());
      impl.idle_caches_.pop_back();
    }
  }
  if (!cache_) cache_ = std::make_unique<WordCache>();
}
Tokenizer::Impl::CacheLease::~CacheLease() {
  const std::lock_guard lock(impl_.mutex_);
  impl_.idle_caches_.push_back(std::move(cache_));
}

std::vector<int32_t> Tokenizer::encode_ids(std::string_view text, bool add_special_tokens) const {
  std::vector<int32_t> ids;
  encode_ids(text, add_special_tokens, ids);
  return ids;
}

void Tokenizer::encode_ids(std::string_view text, bool add_special_tokens,
                           std::vector<int32_t>& ids) const {
  std::string buffer;
  text = valid_utf8(text, buffer);
  ids.reserve(ids.size() + text.size() / 4);
  for (const auto& part : add_special_tokens ? impl_->with_special : impl_->without_special) {
    if (part.is_text)
      impl_->encode_ids(text, ids);
    else
      ids.insert(ids.end(), part.ids.begin(), part.ids.end());
  }
}

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

Encoding apply(const std::vector<PostStep::Part>& parts, const Encoding& text,
               bool add_special_tokens) {
  Encoding result;
  for (const PostStep::Part& part : parts) {
    const bool is_text = part.is_text;
    if (!is_text && !add_special_tokens) continue;
    const auto& ids = is_text ? text.ids : part.ids;
    const auto& tokens = is_text ? text.tokens : part.tokens;
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    result.tokens.insert(result.tokens.end(), tokens.begin(), tokens.end());
    if (is_text)
      result.offsets.insert(result.offsets.end(), text.offsets.begin(), text.offsets.end());
    else
      result.offsets.resize(result.ids.size(), {0, 0});
  }
  return result;
}

}  // namespace

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string buffer;
  text = valid_utf8(text, buffer);
  // Number of the character that each byte belongs to.
  std::vector<uint32_t> characters(text.size() + 1);
  uint32_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++count;
    characters[i] = count - 1;
  }
  characters[text.size()] = count;

  Encoding encoding;
  const auto add = [&](int32_t id, std::string_view token, const Source& source, size_t begin,
                       size_t end) {
    encoding.ids.push_back(id);
    encoding.tokens.emplace_back(token);
    begin += source.origin;
    end += source.origin;
    if (source.alignment == nullptr) {
      encoding.offsets.emplace_back(characters[begin], characters[end - 1] + 1);
    } else {
      const size_t first = (*source.alignment)[begin].first;
      const size_t last = (*source.alignment)[end - 1].second;
      encoding.offsets.emplace_back(characters[first], characters[last]);
    }
  };
  Impl::CacheLease cache(*impl_);
  std::vector<Bpe::Span> spans;
  impl_->walk(
      text, true,
      [&](int32_t id, const Source& source, size_t begin, size_t end) {
        add(id, source.text.substr(begin, end - begin), source, begin, end);
      },
      [&](const Source& source, const Piece& piece) {
        impl_->bpe.encode_spans(piece.text, readable_bytes(piece.text, source.text), *cache, spans);
        for (const Bpe::Span& span : spans)
          add(span.id, impl_->bpe.token(span.id), source, piece.source(span.begin),
              piece.source(span.end - 1) + 1);
      });
  for (const PostStep& step : impl_->post_steps) {
    if (step.trim)
      trim_offsets(encoding, step.add_prefix_space);
    else
      encoding = apply(step.parts, encoding, add_special_tokens);
  }
  return encoding;
}

// ---- decoding

std::string Tokenizer::Impl::token_bytes(std::string_view token) const {
  std::string bytes;
  char32_t c;
  for (size_t i = 0; i < token.size();) {
    i += decode_valid_utf8(token.data() + i, c);
    const int byte = char_to_byte(c);
    if (byte < 0) return std::string(token);  // no byte-level text
    bytes += static_cast<char>(static_cast<uint8_t>(byte));
  }
  return bytes;
}

std::string_view Tokenizer::Impl::token_text(int32_t id) const {
  if (const AddedToken* token = added.find(id))
    return token->normalized ? token->normal_form : token->content;
  return bpe.token(id);
}

bool Tokenizer::Impl::append_decoded(int32_t id, bool skip_special_tokens, bool first,
                                     std::string& out) const {
  const std::string_view token = token_text(id);
  if (token.data() == nullptr || (skip_special_tokens && added.is_special(token))) return false;
  if (byte_level_decoder) {
    out += token_bytes(token);
  } else {
    if (!first) out += ' ';
    out += token;
  }
  return true;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  bool first = true;
  for (int32_t id : ids)
    if (impl_->append_decoded(id, skip_special_tokens, first, bytes)) first = false;
  std::string buffer;
  if (valid_utf8(bytes, buffer).data() == bytes.data()) return bytes;
  return buffer;
}

Tokenizer::StreamDecoder Tokenizer::stream_decoder(bool skip_special_tokens) const {
  return StreamDecoder(impl_, skip_special_tokens);
}

std::string Tokenizer::StreamDecoder::push(int32_t id) {
  if (impl_->append_decoded(id, skip_special_tokens_, first_, pending_)) first_ = false;
  std::string text;
  pending_.erase(0, append_lossy(text, pending_, false));
  return text;
}

std::string Tokenizer::StreamDecoder::finish() {
  std::string text;
  append_lossy(text, pending_, true);
  pending_.clear();
  first_ = true;
  return text;
}

// ---- vocabulary and files

size_t Tokenizer::vocab_size() const noexcept {
  const auto& added = impl_->added.tokens();
  const int32_t last = added.empty() ? -1 : added.back().id;
  return static_cast<size_t>(std::max(last, impl_->bpe.max_id()) + 1);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  int32_t id = impl_->added.id(token);
  if (id < 0) id = impl_->bpe.id(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  const std::string_view text = impl_->token_text(id);
  return text.data() == nullptr ? std::nullopt : std::optional(std::string(text));
}

std::optional<int32_t> Tokenizer::bos_id() const noexcept {
  return impl_->bos;
}
std::optional<int32_t> Tokenizer::eos_id() const noexcept {
  return impl_->eos;
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& source_name) {
  return Tokenizer(Impl::parse(json, source_name));
}

Tokenizer Tokenizer::from_file(const std::string& path) {
  const MappedFile file(path);
  std::shared_ptr<Impl> impl = Impl::parse(file.text(), path);
  const std::string config_path = join_path(parent_path(path), "tokenizer_config.json");
  if (!file_exists(config_path)) return Tokenizer(std::move(impl));
  const Json config = Json::parse(read_file(config_path), config_path);
  // A token is a string or an object with "content".
  const auto read = [&](const char* key, std::optional<int32_t>& id) {
    const Json* value = config.find(key);
    if (value != nullptr && value->is_object()) value = value->find("content");
    if (value == nullptr || value->is_null()) return;
    const std::string& token = value->as_string(format("{}: \"{}\"", config_path, key));
    const int32_t added = impl->added.id(token);
    const int32_t found = added >= 0 ? added : impl->bpe.id(token);
    if (found >= 0) id = found;
  };
  read("bos_token", impl->bos);
  read("eos_token", impl->eos);
  return Tokenizer(std::move(impl));
}

std::string Tokenizer::to_json() const {
  return impl_->to_json();
}
void Tokenizer::save(const std::string& path) const {
  write_file_atomic(path, impl_->to_json());
}

Tokenizer Tokenizer::train(std::span<const std::string_view> texts, const TrainOptions& options) {
  BpeConfig config = train_bpe(texts, options);
  std::vector<AddedToken> added;
  for (const std::string& content : options.special_tokens)
    added.push_back(
        {.content = content, .normalized = false, .special = true, .normal_form = content});
  const auto byte_level = [](bool add_prefix_space, bool trim_offsets) {
    return Json::object({{"type", "ByteLevel"},
                         {"add_prefix_space", add_prefix_space},
                         {"trim_offsets", trim_offsets},
                         {"use_regex", true}});
  };
  Impl::Components components;
  components.pre_tokenizer = byte_level(false, true);
  components.post_processor = byte_level(true, false);
  components.decoder = byte_level(true, true);
  return Tokenizer(std::make_shared<Impl>(std::move(components), std::move(config),
                                          std::move(added), "trained tokenizer"));
}

}  // namespace corten
