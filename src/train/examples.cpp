#include "train/examples.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/format.h"
#include "base/hash.h"
#include "data/permutation.h"
#include "train/labelled_text.h"
#include "train/text_pairs.h"

namespace corten {
namespace {

// Which texts are held out, and in which order they are looked at, is the same for all seeds.
constexpr uint64_t kValidationSeed = 0;

class TokenWindows : public Examples {
 public:
  explicit TokenWindows(TokenDataset data) : data_(std::move(data)) {}
  uint64_t size() const override { return data_.windows(); }
  void fill(uint64_t step, int64_t batch, int64_t first, int64_t last, std::span<int64_t> ids,
            std::span<int64_t> targets) const override {
    data_.fill(step, batch, first, last, ids, targets);
  }

 private:
  TokenDataset data_;
};

/// A text's ids and its targets: a class, or the ids of another text.
struct Row {
  std::vector<int32_t> ids;
  std::vector<int64_t> targets;
};

class Rows : public Examples {
 public:
  Rows(std::vector<Row> rows, int64_t seq, int64_t targets_per_row, uint64_t seed)
      : rows_(std::move(rows)), seq_(seq), targets_per_row_(targets_per_row), seed_(seed) {}
  uint64_t size() const override { return rows_.size(); }
  void fill(uint64_t step, int64_t batch, int64_t first, int64_t last, std::span<int64_t> ids,
            std::span<int64_t> targets) const override {
    std::ranges::fill(ids, kPaddingId);
    std::ranges::fill(targets, kIgnoredTarget);
    for (int64_t row = first; row < last; ++row) {
      const uint64_t sample = step * static_cast<uint64_t>(batch) + static_cast<uint64_t>(row);
      const uint64_t epoch = sample / rows_.size();
      const Row& one = rows_[Permutation(rows_.size(), seed_, epoch)(sample % rows_.size())];
      std::ranges::copy(one.ids, ids.begin() + (row - first) * seq_);
      std::ranges::copy(one.targets, targets.begin() + (row - first) * targets_per_row_);
    }
  }

 private:
  std::vector<Row> rows_;
  int64_t seq_, targets_per_row_;
  uint64_t seed_;
};

/// Ids of texts with special tokens, cut to `length`.
std::vector<std::vector<int32_t>> encode(const std::vector<std::string>& texts,
                                         const Tokenizer& tokenizer, int64_t length) {
  std::vector<TextInput> inputs;
  for (const std::string& one : texts) inputs.push_back({.first = one, .second = {}});
  EncodeOptions options;
  options.truncation = Truncation{};
  options.truncation->max_length = static_cast<size_t>(length);
  std::vector<std::vector<int32_t>> out;
  for (const Encoding& encoding : tokenizer.encode_batch(inputs, options)) {
    std::vector<int32_t>& ids = out.emplace_back();
    // A tokenizer's own settings may pad.
    for (size_t i = 0; i < encoding.ids.size(); ++i)
      if (encoding.attention_mask[i] != 0) ids.push_back(static_cast<int32_t>(encoding.ids[i]));
  }
  return out;
}

/// The same, where a text without tokens is an error.
std::vector<Row> encode_rows(const std::vector<std::string>& texts,
                             const std::vector<std::string>& places, const Tokenizer& tokenizer,
                             int64_t seq) {
  std::vector<Row> rows;
  for (std::vector<int32_t>& ids : encode(texts, tokenizer, seq)) {
    if (ids.empty()) usage_error("{}: the text has no token", places[rows.size()]);
    rows.push_back({.ids = std::move(ids), .targets = {}});
  }
  return rows;
}

std::vector<Row> labelled_rows(const std::vector<std::string>& files, const Tokenizer& tokenizer,
                               int64_t seq, const std::vector<std::string>& class_names) {
  const LabelledText text = read_labelled_text(files);
  const std::vector<int64_t> classes = classes_of(text, class_names);
  std::vector<Row> rows = encode_rows(text.texts, text.places, tokenizer, seq);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].targets = {classes[i]};
  return rows;
}

/// A tokenizer's template ends a target in most cases; where it does not, a model must still learn
/// to end.
std::vector<Row> paired_rows(const std::vector<std::string>& files, const TokenizerInfo& tokenizer,
                             int64_t seq, int64_t target_seq) {
  const TextPairs pairs = read_text_pairs(files);
  std::vector<Row> rows = encode_rows(pairs.sources, pairs.places, *tokenizer.tokenizer, seq);
  const auto targets = encode(pairs.targets, *tokenizer.tokenizer, target_seq);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<int64_t>& row = rows[i].targets;
    row.assign(targets[i].begin(), targets[i].end());
    const int64_t end = tokenizer.end_of_text;
    if (end >= 0 && (row.empty() || row.back() != end) && std::ssize(row) < target_seq)
      row.push_back(end);
    if (row.empty()) usage_error("{}: the target has no token", pairs.places[i]);
  }
  return rows;
}

std::string fingerprint(const std::vector<Row>& rows) {
  std::vector<int64_t> all;
  for (const Row& row : rows) {
    all.push_back(std::ssize(row.targets));
    all.insert(all.end(), row.targets.begin(), row.targets.end());
    all.push_back(std::ssize(row.ids));
    all.insert(all.end(), row.ids.begin(), row.ids.end());
  }
  return hex(hash128(std::as_bytes(std::span(all))));
}

/// Moves a fixed sample of `rows`, the part val_fraction, to the result.
std::vector<Row> hold_out(std::vector<Row>& rows, double val_fraction) {
  std::vector<Row> validation;
  if (rows.size() < 2 || val_fraction <= 0) return validation;
  const auto held = std::clamp<uint64_t>(
      static_cast<uint64_t>(std::llround(val_fraction * static_cast<double>(rows.size()))), 1,
      rows.size() - 1);
  std::vector<bool> is_held(rows.size());
  for (uint64_t i = 0; i < held; ++i) is_held[Permutation(rows.size(), kValidationSeed, 0)(i)] = true;
  std::vector<Row> rest;
  for (size_t i = 0; i < rows.size(); ++i)
    (is_held[i] ? validation : rest).push_back(std::move(rows[i]));
  rows = std::move(rest);
  return validation;
}

/// `own_validation`: the rows of data.val_text; unset: some of `train` are held out. The targets are
/// tokens, too.
TrainingData rows_data(const Config& config, std::vector<Row> train,
                       std::optional<std::vector<Row>> own_validation, int64_t targets_per_row,
                       bool targets_are_tokens) {
  TrainingData out;
  out.train_fingerprint = fingerprint(train);
  if (own_validation) out.validation_fingerprint = fingerprint(*own_validation);
  std::vector<Row> validation =
      own_validation ? std::move(*own_validation) : hold_out(train, config.data.val_fraction);
  for (const auto* rows : {&train, &validation})
    for (const Row& row : *rows) {
      out.max_token = std::max(out.max_token, static_cast<uint32_t>(std::ranges::max(row.ids)));
      if (targets_are_tokens)
        out.max_token =
            std::max(out.max_token, static_cast<uint32_t>(std::ranges::max(row.targets)));
    }
  const int64_t seq = config.data.seq;
  if (!validation.empty())
    out.validation =
        std::make_unique<Rows>(std::move(validation), seq, targets_per_row, kValidationSeed);
  out.train = std::make_unique<Rows>(std::move(train), seq, targets_per_row,
                                     static_cast<uint64_t>(config.train.seed));
  return out;
}

}  // namespace

TrainingData token_windows(RunData data, int64_t seq) {
  TrainingData out;
  out.max_token = data.max_token;
  out.train_fingerprint = data.train_fingerprint;
  out.validation_fingerprint = data.validation_fingerprint;
  out.summary = format("{} tokens; {} training sequences of {}", data.train.shards().tokens(),
                       data.train.windows(), seq);
  out.train = std::make_unique<TokenWindows>(std::move(data.train));
  if (data.validation) out.validation = std::make_unique<TokenWindows>(std::move(*data.validation));
  return out;
}

TrainingData labelled_examples(const Config& config, const Tokenizer& tokenizer,
                               const std::vector<std::string>& class_names) {
  const auto rows = [&](const std::vector<std::string>& files) {
    return labelled_rows(files, tokenizer, config.data.seq, class_names);
  };
  std::optional<std::vector<Row>> validation;
  std::vector<Row> train = rows(config.data.text);
  if (!config.data.val_text.empty()) validation = rows(config.data.val_text);
  TrainingData out = rows_data(config, std::move(train), std::move(validation), 1, false);
  out.summary = format("{} classes; {} training texts of up to {} tokens", class_names.size(),
                       out.train->size(), config.data.seq);
  return out;
}

TrainingData paired_examples(const Config& config, const TokenizerInfo& tokenizer) {
  const int64_t seq = config.data.seq, target_seq = targets_per_row(config, Task::seq2seq_lm);
  const auto rows = [&](const std::vector<std::string>& files) {
    return paired_rows(files, tokenizer, seq, target_seq);
  };
  std::optional<std::vector<Row>> validation;
  std::vector<Row> train = rows(config.data.text);
  if (!config.data.val_text.empty()) validation = rows(config.data.val_text);
  TrainingData out = rows_data(config, std::move(train), std::move(validation), target_seq, true);
  out.summary = format("{} training pairs of up to {} and {} tokens", out.train->size(), seq,
                       target_seq);
  return out;
}

TrainingData open_examples(const Config& config, Task task, const TokenizerInfo& tokenizer,
                           const std::vector<std::string>& class_names, const std::string& folder) {
  if (task == Task::causal_lm)
    return token_windows(open_data(config, tokenizer, folder), config.data.seq);
  if (!tokenizer.tokenizer)
    usage_error("there is no tokenizer for data.text: set tokenizer.path");
  return task == Task::seq2seq_lm ? paired_examples(config, tokenizer)
                                  : labelled_examples(config, *tokenizer.tokenizer, class_names);
}

}  // namespace corten
