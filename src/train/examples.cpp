#include "train/examples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/format.h"
#include "base/hash.h"
#include "data/permutation.h"

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

/// A text's ids and its class.
struct Labelled {
  std::vector<int32_t> ids;
  int64_t label = 0;
};

class LabelledExamples : public Examples {
 public:
  LabelledExamples(std::vector<Labelled> rows, int64_t seq, uint64_t seed)
      : rows_(std::move(rows)), seq_(seq), seed_(seed) {}
  uint64_t size() const override { return rows_.size(); }
  void fill(uint64_t step, int64_t batch, int64_t first, int64_t last, std::span<int64_t> ids,
            std::span<int64_t> targets) const override {
    std::ranges::fill(ids, kPaddingId);
    std::ranges::fill(targets, kIgnoredTarget);
    for (int64_t row = first; row < last; ++row) {
      const uint64_t sample = step * static_cast<uint64_t>(batch) + static_cast<uint64_t>(row);
      const uint64_t epoch = sample / rows_.size();
      const Labelled& one = rows_[Permutation(rows_.size(), seed_, epoch)(sample % rows_.size())];
      const auto place = static_cast<size_t>((row - first) * seq_);
      std::ranges::copy(one.ids, ids.begin() + static_cast<int64_t>(place));
      targets[place] = one.label;
    }
  }

 private:
  std::vector<Labelled> rows_;
  int64_t seq_;
  uint64_t seed_;
};

std::vector<Labelled> encode(const LabelledText& text, const std::vector<std::string>& names,
                             const Tokenizer& tokenizer, int64_t seq) {
  std::vector<TextInput> inputs;
  for (const std::string& one : text.texts) inputs.push_back({.first = one, .second = {}});
  EncodeOptions options;
  options.truncation = Truncation{};
  options.truncation->max_length = static_cast<size_t>(seq);
  const std::vector<int64_t> classes = classes_of(text, names);
  std::vector<Labelled> out;
  for (const Encoding& encoding : tokenizer.encode_batch(inputs, options)) {
    Labelled& row = out.emplace_back();
    row.label = classes[out.size() - 1];
    // A tokenizer's own settings may pad.
    for (size_t i = 0; i < encoding.ids.size(); ++i)
      if (encoding.attention_mask[i] != 0) row.ids.push_back(static_cast<int32_t>(encoding.ids[i]));
    if (row.ids.empty()) usage_error("{}: the text has no token", text.places[out.size() - 1]);
  }
  return out;
}

std::string fingerprint(const std::vector<Labelled>& rows) {
  std::vector<int64_t> all;
  for (const Labelled& row : rows) {
    all.insert(all.end(), {row.label, std::ssize(row.ids)});
    all.insert(all.end(), row.ids.begin(), row.ids.end());
  }
  return hex(hash128(std::as_bytes(std::span(all))));
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
  const int64_t seq = config.data.seq;
  const LabelledText text = read_labelled_text(config.data.text);
  std::vector<Labelled> train = encode(text, class_names, tokenizer, seq), validation;
  TrainingData out;
  out.train_fingerprint = fingerprint(train);
  if (!config.data.val_text.empty()) {
    validation = encode(read_labelled_text(config.data.val_text), class_names, tokenizer, seq);
    out.validation_fingerprint = fingerprint(validation);
  } else if (train.size() > 1 && config.data.val_fraction > 0) {
    const auto all = static_cast<double>(train.size());
    const auto held = std::clamp<uint64_t>(
        static_cast<uint64_t>(std::llround(config.data.val_fraction * all)), 1, train.size() - 1);
    std::vector<bool> is_held(train.size());
    for (uint64_t i = 0; i < held; ++i)
      is_held[Permutation(train.size(), kValidationSeed, 0)(i)] = true;
    std::vector<Labelled> rest;
    for (size_t i = 0; i < train.size(); ++i)
      (is_held[i] ? validation : rest).push_back(std::move(train[i]));
    train = std::move(rest);
  }
  for (const auto* rows : {&train, &validation})
    for (const Labelled& row : *rows)
      out.max_token = std::max(out.max_token, static_cast<uint32_t>(std::ranges::max(row.ids)));
  out.summary = format("{} classes; {} training texts of up to {} tokens", class_names.size(),
                       train.size(), seq);
  if (!validation.empty())
    out.validation =
        std::make_unique<LabelledExamples>(std::move(validation), seq, kValidationSeed);
  out.train = std::make_unique<LabelledExamples>(std::move(train), seq,
                                                 static_cast<uint64_t>(config.train.seed));
  return out;
}

}  // namespace corten
