#include "corten/tokenizer.h"

#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "text/bpe_trainer.h"
#include "text/chat_template.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace corten {

// ---- decoding

std::string_view Tokenizer::Impl::token_text(int32_t id) const {
  if (const AddedToken* token = added.find(id))
    return token->normalized ? token->normal_form : token->content;
  return model->token(id);
}

std::string_view Tokenizer::Impl::text_to_decode(int32_t id, bool skip_special_tokens) const {
  const std::string_view token = token_text(id);
  if (token.data() != nullptr && skip_special_tokens && added.is_special(token)) return {};
  return token;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string text;
  if (impl_->decoder.is_byte_level()) {  // the same without the stages
    for (int32_t id : ids)
      if (const std::string_view token = impl_->text_to_decode(id, skip_special_tokens);
          token.data() != nullptr)
        text += Decoder::bytes_of(token);
    std::string buffer;
    if (valid_utf8(text, buffer).data() == text.data()) return text;
    return buffer;
  }
  Decoder::Stream stream(impl_->decoder);
  for (int32_t id : ids)
    if (const std::string_view token = impl_->text_to_decode(id, skip_special_tokens);
        token.data() != nullptr)
      stream.push(token, text);
  stream.finish(text);
  return text;
}

struct Tokenizer::StreamDecoder::State {
  std::shared_ptr<const Impl> impl;
  bool skip_special_tokens;
  Decoder::Stream stream;
};

Tokenizer::StreamDecoder::StreamDecoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
Tokenizer::StreamDecoder& Tokenizer::StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
Tokenizer::StreamDecoder::~StreamDecoder() = default;

Tokenizer::StreamDecoder Tokenizer::stream_decoder(bool skip_special_tokens) const {
  return StreamDecoder(std::unique_ptr<StreamDecoder::State>(new StreamDecoder::State{
      impl_, skip_special_tokens, Decoder::Stream(impl_->decoder)}));
}

std::string Tokenizer::StreamDecoder::push(int32_t id) {
  std::string text;
  const std::string_view token = state_->impl->text_to_decode(id, state_->skip_special_tokens);
  if (token.data() != nullptr) state_->stream.push(token, text);
  return text;
}

std::string Tokenizer::StreamDecoder::finish() {
  std::string text;
  state_->stream.finish(text);
  return text;
}

// ---- vocabulary and files

size_t Tokenizer::vocab_size() const noexcept {
  const auto& added = impl_->added.tokens();
  const int32_t last = added.empty() ? -1 : added.back().id;
  return static_cast<size_t>(std::max(last, impl_->model->max_id()) + 1);
}

int32_t Tokenizer::Impl::token_id(std::string_view token) const noexcept {
  const int32_t id = added.id(token);
  return id >= 0 ? id : model->id(token);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int32_t id = impl_->token_id(token);
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

std::optional<int32_t> Tokenizer::special_id(std::string_view role) const {
  const auto found = impl_->settings.special.find(role);
  return found == impl_->settings.special.end() ? std::nullopt : token_to_id(found->second);
}

std::optional<Truncation> Tokenizer::truncation() const {
  return impl_->truncation;
}
std::optional<Padding> Tokenizer::padding() const {
  return impl_->padding;
}

Tokenizer Tokenizer::from_file(const std::string& path) {
  const MappedFile file(path);
  std::shared_ptr<Impl> impl = Impl::parse(file.text(), path);
  impl->read_settings(parent_path(path));
  return Tokenizer(std::move(impl));
}

void Tokenizer::save_pretrained(const std::string& folder) const {
  create_folders(folder);
  save(join_path(folder, "tokenizer.json"));
  bool has_config = false;
  for (const auto& [name, content] : impl_->side_files) {
    write_file_atomic(join_path(folder, name), content);
    has_config = has_config || name == "tokenizer_config.json";
  }
  if (has_config) return;
  // Without it transformers knows neither the class nor the special tokens.
  Json config = Json::object({{"tokenizer_class", "PreTrainedTokenizerFast"}});
  for (const auto& [role, id] : {std::pair{"bos_token", bos_id()}, {"eos_token", eos_id()}})
    if (id)
      if (const std::optional<std::string> token = id_to_token(*id)) config.set(role, *token);
  write_file_atomic(join_path(folder, "tokenizer_config.json"), config.dump(2) + "\n");
}

Tokenizer Tokenizer::from_pretrained(const std::string& folder) {
  const std::string path = join_path(folder, "tokenizer.json");
  if (!has_file(path)) {
    const std::string absent = describe_absent(path);
    usage_error("{}: {}", folder, absent == "there is no " + path
                                      ? "there is no tokenizer.json in this folder"
                                      : absent);
  }
  return from_file(path);
}

const std::string& Tokenizer::chat_template() const noexcept {
  return impl_->settings.chat_template;
}

std::string Tokenizer::apply_chat_template(std::string_view messages,
                                           const ChatOptions& options) const {
  if (impl_->settings.chat_template.empty()) usage_error("the tokenizer has no chat template");
  return render_chat(impl_->settings.chat_template, messages, options, impl_->settings.special);
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
