#include "train/run_data.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/format.h"
#include "base/hash.h"
#include "base/strings.h"
#include "corten/models.h"
#include "corten/tokenizer.h"
#include "train/text_pairs.h"
#include "train/trained_model.h"

namespace corten {
namespace {

constexpr const char* kFileName = "tokenizer.json";
constexpr const char* kSeparator = "<|endoftext|>";  // of documents in a text, and its token
constexpr const char *kPadding = "<pad>", *kEnd = "</s>";  // of sources and targets
// Validation sees a fixed sample of its sequences, whatever the seed of the run.
constexpr uint64_t kValidationSeed = 0;

TokenizerInfo describe(Tokenizer tokenizer) {
  TokenizerInfo info;
  info.hash = tokenizer_hash(tokenizer);
  info.vocab_size = static_cast<int64_t>(tokenizer.vocab_size());
  info.end_of_text = tokenizer.eos_id().value_or(-1);
  info.tokenizer = std::move(tokenizer);
  return info;
}

/// Trains on all documents of data.text, or on the sources and targets of its pairs.
Tokenizer train_tokenizer(const Config& config, const RunDataCallbacks& callbacks) {
  Tokenizer::TrainOptions options;
  std::vector<std::string> texts;
  std::vector<std::string_view> documents;
  if (task_of(config) == Task::seq2seq_lm) {
    TextPairs pairs = read_text_pairs(config.data.text);
    texts = std::move(pairs.sources);
    texts.insert(texts.end(), pairs.targets.begin(), pairs.targets.end());
    documents.assign(texts.begin(), texts.end());
    options.special_tokens = {kPadding, kEnd};
  } else {
    for (const std::string& path : config.data.text) texts.push_back(read_text_file(path));
    for (const std::string& text : texts)
      for (const std::string_view document : split_documents(text, kSeparator))
        documents.push_back(document);
    options.special_tokens = {kSeparator};
  }
  uint64_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  if (callbacks.message)
    callbacks.message(format("training a tokenizer of {} tokens on {}", config.tokenizer.vocab_size,
                             format_bytes(bytes)));
  options.vocab_size = static_cast<size_t>(config.tokenizer.vocab_size);
  options.threads = static_cast<int>(config.train.threads);
  return Tokenizer::train(documents, options);
}

/// The tokenizer.json that a configuration names or implies; "" if there is none.
std::string tokenizer_path(const Config& config) {
  if (!config.tokenizer.path.empty()) return config.tokenizer.path;
  for (const std::string& folder : {config.data.shards, config.model.path}) {
    if (folder.empty()) continue;
    const std::string path = join_path(folder, kFileName);
    if (file_exists(path)) return path;
  }
  return "";
}

}  // namespace

std::string tokenizer_hash(const Tokenizer& tokenizer) {
  return hex(hash128(tokenizer.to_json()));
}

EncodeFunction document_encoder(Tokenizer tokenizer) {
  return [tokenizer = std::move(tokenizer)](std::string_view text, std::vector<uint32_t>& out) {
    const std::vector<int32_t> ids = tokenizer.encode_ids(text, false);
    out.insert(out.end(), ids.begin(), ids.end());
  };
}

TokenizerInfo make_tokenizer(const Config& config, const std::string& folder,
                             const RunDataCallbacks& callbacks) {
  if (!folder.empty()) create_folders(folder);
  if (config.tokenizer.vocab_size > 0) {
    TokenizerInfo info = describe(train_tokenizer(config, callbacks));
    if (!folder.empty()) info.tokenizer->save(join_path(folder, kFileName));
    return info;
  }
  const std::string path = tokenizer_path(config);
  if (path.empty() && !config.data.text.empty() && !config.model.path.empty() &&
      config.model.init != "random") {
    const std::string file = join_path(config.model.path, "config.json");
    if (task_of(config) == Task::causal_lm)
      model_info(read_file(file), file);  // that it is another kind of model comes first
    usage_error("{} has no tokenizer: set tokenizer.path to the one that it was trained with",
                config.model.path);
  }
  if (path.empty() && !config.data.text.empty())
    usage_error("there is no tokenizer for data.text: set tokenizer.path or tokenizer.vocab_size");
  if (path.empty()) return {};
  TokenizerInfo info = describe(Tokenizer::from_file(path));
  if (folder.empty()) return info;
  if (base_name(path) == kFileName)
    copy_tokenizer_files(parent_path(path), folder);
  else
    write_file_atomic(join_path(folder, kFileName), read_file(path));
  return info;
}

TokenizerInfo open_tokenizer(const std::string& folder) {
  const std::string path = join_path(folder, kFileName);
  return file_exists(path) ? describe(Tokenizer::from_file(path)) : TokenizerInfo();
}

void prepare_data(const Config& config, const TokenizerInfo& tokenizer, const std::string& folder,
                  const RunDataCallbacks& callbacks) {
  if (config.data.text.empty()) return;
  PrepareOptions options;
  options.vocab_size = static_cast<uint64_t>(tokenizer.vocab_size);
  options.separator_token = tokenizer.end_of_text;
  options.document_separator = kSeparator;
  options.tokenizer_hash = tokenizer.hash;
  options.progress = [&](uint64_t, uint64_t) {
    if (callbacks.stop && callbacks.stop()) throw SetupStopped();
  };
  const EncodeFunction encode = document_encoder(*tokenizer.tokenizer);
  const auto prepare = [&](const std::vector<std::string>& files, const char* name) {
    if (files.empty()) return;
    uint64_t bytes = 0;
    for (const std::string& file : files) bytes += file_size(file);
    if (callbacks.message)
      callbacks.message(format("tokenising {} of {} text", format_bytes(bytes), name));
    prepare_tokens(files, encode, join_path(folder, name), options);
  };
  prepare(config.data.text, "train");
  prepare(config.data.val_text, "validation");
}

RunData open_data(const Config& config, const TokenizerInfo& tokenizer, const std::string& folder) {
  const bool from_text = config.data.shards.empty();
  const TokenShards shards =
      TokenShards::open(from_text ? join_path(folder, "train") : config.data.shards);
  if (!tokenizer.hash.empty() && !shards.tokenizer_hash().empty() &&
      shards.tokenizer_hash() != tokenizer.hash)
    usage_error("{} was made by the tokenizer {}, the run has the tokenizer {}", config.data.shards,
                shards.tokenizer_hash(), tokenizer.hash);
  const bool own_validation = !config.data.val_text.empty();
  DatasetOptions options;
  options.seq = config.data.seq;
  options.seed = static_cast<uint64_t>(config.train.seed);
  // Of a single sequence nothing can be held out.
  const bool divisible = shards.tokens() > 2 * static_cast<uint64_t>(config.data.seq);
  options.val_fraction = own_validation || !divisible ? 0 : config.data.val_fraction;
  RunData data{TokenDataset(shards, options), {}, shards.max_token(), shards.fingerprint(), ""};
  if (own_validation) {
    DatasetOptions all;
    all.seq = options.seq;
    all.seed = kValidationSeed;
    const TokenShards validation = TokenShards::open(join_path(folder, "validation"));
    data.validation.emplace(validation, all);
    data.max_token = std::max(data.max_token, validation.max_token());
    data.validation_fingerprint = validation.fingerprint();
  } else if (options.val_fraction > 0) {
    DatasetOptions held_out = options;
    held_out.split = Split::validation;
    held_out.seed = kValidationSeed;
    data.validation.emplace(shards, held_out);
  }
  return data;
}

}  // namespace corten
