// From text to tokens: added tokens, normalizer, pre-tokenizer, model, post-processor.
#include <algorithm>
#include <exception>
#include <thread>

#include "base/format.h"
#include "text/encoding.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace corten {

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

// Calls on_added(id, segment) and on_piece(segment, piece) in the order of the text. `track`: places
// in the original are asked for. `plain_special`: special tokens are not looked for.
template <typename OnAdded, typename OnPiece>
void Tokenizer::Impl::walk(std::string_view text, bool track, bool plain_special, OnAdded&& on_added,
                           OnPiece&& on_piece) const {
  track = track || normalizer.needs_tracking() ||
          (pre_tokenizer.needs_tracking() && !normalizer.empty());
  const auto pieces = [&](const Segment& segment) {
    pre_tokenizer.split(segment, [&](const Piece& piece) { on_piece(segment, piece); });
  };
  const auto part_of = [](const Segment& segment, size_t begin, size_t end) {
    return Segment{segment.text.substr(begin, end - begin),
                   segment.alignment == nullptr ? nullptr : segment.alignment + begin,
                   segment.origin + begin};
  };
  const auto normalized = [&](const Segment& segment) {
    if (!added.has(true)) return pieces(segment);
    for (const AddedTokens::Part& part : added.split(segment.text, true, plain_special)) {
      if (part.id >= 0)
        on_added(part.id, part_of(segment, part.begin, part.end));
      else
        pieces(part_of(segment, part.begin, part.end));
    }
  };
  const auto raw = [&](const Segment& segment) {
    if (normalizer.empty() || normalizer.surely_unchanged(segment.text))
      return normalized(segment);
    NormalizedText normal(segment.text, track);
    normalizer.run(normal);
    const std::string& result = normal.text();
    if (normal.in_place() || !track) return normalized({result, nullptr, segment.origin});
    Alignment alignment = normal.take_alignment();
    for (auto& [begin, end] : alignment) {
      begin += segment.origin;
      end += segment.origin;
    }
    normalized({result, alignment.data(), segment.origin});
  };
  const Segment whole{text, nullptr, 0};
  if (!added.has(false)) return raw(whole);
  for (const AddedTokens::Part& part : added.split(text, false, plain_special)) {
    if (part.id >= 0)
      on_added(part.id, part_of(whole, part.begin, part.end));
    else
      raw(part_of(whole, part.begin, part.end));
  }
}

void Tokenizer::Impl::encode_ids(std::string_view text, std::vector<int32_t>& ids) const {
  CacheLease cache(*this);
  walk(
      text, false, false, [&](int32_t id, const Segment&) { ids.push_back(id); },
      [&](const Segment&, const Piece& piece) {
        model->encode(piece.text, piece.readable(), *cache, ids);
      });
}

namespace {

// Number of the character that each byte belongs to; at the end, the number of characters.
std::vector<uint32_t> character_numbers(std::string_view text) {
  std::vector<uint32_t> numbers(text.size() + 1);
  uint32_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++count;
    numbers[i] = count - 1;
  }
  numbers[text.size()] = count;
  return numbers;
}

std::vector<size_t> character_starts(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

void to_byte_offsets(Encoding& encoding, const std::vector<size_t> (&starts)[2]) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    if (encoding.sequence_ids[i] < 0) continue;
    const std::vector<size_t>& of = starts[encoding.sequence_ids[i]];
    auto& [begin, end] = encoding.offsets[i];
    begin = of[std::min(begin, of.size() - 1)];
    end = of[std::min(end, of.size() - 1)];
  }
  for (Encoding& part : encoding.overflowing) to_byte_offsets(part, starts);
}

}  // namespace

Encoding Tokenizer::Impl::encode(std::string_view text, int32_t sequence, bool plain_special) const {
  const std::vector<uint32_t> characters = character_numbers(text);
  Encoding encoding;
  int32_t words = 0;
  const auto add = [&](int32_t id, std::string_view token, const Segment& segment, size_t begin,
                       size_t last) {  // in the segment, both inclusive
    encoding.ids.push_back(id);
    encoding.tokens.emplace_back(token);
    encoding.word_ids.push_back(words);
    if (segment.alignment == nullptr)
      encoding.offsets.emplace_back(characters[segment.origin + begin],
                                    characters[segment.origin + last] + 1);
    else
      encoding.offsets.emplace_back(characters[segment.alignment[begin].first],
                                    characters[segment.alignment[last].second]);
  };
  CacheLease cache(*this);
  std::vector<Model::Span> spans;
  walk(
      text, true, plain_special,
      [&](int32_t id, const Segment& segment) {
        add(id, segment.text, segment, 0, segment.text.size() - 1);
        ++words;
      },
      [&](const Segment& segment, const Piece& piece) {
        model->encode_spans(piece.text, piece.readable(), *cache, spans);
        for (const Model::Span& span : spans)
          add(span.id,
              span.verbatim ? piece.text.substr(span.begin, span.end - span.begin)
                            : model->token(span.id),
              segment, piece.source(span.begin), piece.source(span.end - 1));
        ++words;
      });
  const size_t size = encoding.ids.size();
  encoding.type_ids.assign(size, sequence);
  encoding.attention_mask.assign(size, 1);
  encoding.special_tokens_mask.assign(size, 0);
  encoding.sequence_ids.assign(size, sequence);
  return encoding;
}

Encoding Tokenizer::Impl::encode(const TextInput& input, const EncodeOptions& options) const {
  std::string buffers[2];
  std::vector<std::string_view> texts = {valid_utf8(input.first, buffers[0])};
  if (input.second) texts.push_back(valid_utf8(*input.second, buffers[1]));
  const Truncation* const limit = options.truncation ? &*options.truncation : nullptr;
  std::vector<Encoding> encodings;
  for (size_t i = 0; i < texts.size(); ++i)
    encodings.push_back(encode(texts[i], static_cast<int32_t>(i), options.split_special_tokens));
  if (limit != nullptr)
    truncate(encodings[0], encodings.size() == 2 ? &encodings[1] : nullptr, *limit,
             options.add_special_tokens ? post_processor.added_tokens(encodings.size() == 2) : 0);
  Encoding result = post_processor.process(std::move(encodings), options.add_special_tokens);
  if (options.byte_offsets) {
    std::vector<size_t> starts[2];
    for (size_t i = 0; i < texts.size(); ++i) starts[i] = character_starts(texts[i]);
    to_byte_offsets(result, starts);
  }
  return result;
}

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  EncodeOptions options;
  options.add_special_tokens = add_special_tokens;
  return impl_->encode({text, std::nullopt}, options);
}

Encoding Tokenizer::encode(const TextInput& input, const EncodeOptions& options) const {
  Encoding encoding = impl_->encode(input, options);
  if (options.padding) pad(std::span(&encoding, 1), *options.padding);
  return encoding;
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const TextInput> inputs,
                                              const EncodeOptions& options) const {
  std::vector<Encoding> encodings(inputs.size());
  size_t workers = options.threads > 0 ? static_cast<size_t>(options.threads)
                                       : std::thread::hardware_concurrency();
  workers = std::clamp<size_t>(workers, 1, std::max<size_t>(1, inputs.size()));
  std::vector<std::exception_ptr> errors(workers);
  const auto work = [&](size_t worker) {
    try {
      for (size_t i = worker; i < inputs.size(); i += workers)
        encodings[i] = impl_->encode(inputs[i], options);
    } catch (...) {
      errors[worker] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
    work(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  if (options.padding) pad(encodings, *options.padding);
  return encodings;
}

std::vector<int32_t> Tokenizer::encode_ids(std::string_view text, bool add_special_tokens) const {
  std::vector<int32_t> ids;
  encode_ids(text, add_special_tokens, ids);
  return ids;
}

void Tokenizer::encode_ids(std::string_view text, bool add_special_tokens,
                           std::vector<int32_t>& ids) const {
  const std::vector<PostProcessor::Part>* parts = impl_->post_processor.plain(add_special_tokens);
  if (parts == nullptr) {
    const Encoding encoding = encode(text, add_special_tokens);
    ids.insert(ids.end(), encoding.ids.begin(), encoding.ids.end());
    return;
  }
  std::string buffer;
  text = valid_utf8(text, buffer);
  ids.reserve(ids.size() + text.size() / 4);
  for (const PostProcessor::Part& part : *parts) {
    if (part.is_text)
      impl_->encode_ids(text, ids);
    else
      ids.insert(ids.end(), part.ids.begin(), part.ids.end());
  }
}

}  // namespace corten
