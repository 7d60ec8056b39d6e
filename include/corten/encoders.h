// Models that read text in Hugging Face layout: encoders (BERT, RoBERTa, DistilBERT) alone or with
// a head for masked tokens or for whole sequences, and decoders (GPT-2, LLaMA and its kin; see
// corten/models.h) without their head or with one for whole sequences; readable and written as the
// transformers library does.
//
//   auto model = AutoModelForSequenceClassification::from_pretrained(folder, {.num_labels = 3});
//   Tensor loss = model->loss({.ids = ids, .attention_mask = mask}, labels);
//   loss.backward();
//
// B sequences of T tokens, C width, V vocabulary entries, L labels.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corten/dtype.h"
#include "corten/load_report.h"
#include "corten/nn.h"
#include "corten/safetensors.h"

namespace corten {

namespace layers {
struct EncoderConfig;
struct EncoderFamily;
struct TextModelKind;
}  // namespace layers

/// What a model reads. All but `ids` may be undefined.
struct EncoderInput {
  Tensor ids = {};             ///< i64 or i32 [B, T]
  Tensor attention_mask = {};  ///< [B, T], 0 where a token is padding, which no other one sees
  /// Integers [B, T]; undefined: all 0. DistilBERT and decoders have none.
  Tensor token_type_ids = {};
  /// Integers [1 or B, T]; undefined: 0, 1, ..., in RoBERTa counted from pad_token_id + 1 over the
  /// ids that are no padding, which itself is at pad_token_id.
  Tensor position_ids = {};
  bool output_hidden_states = false;
};

struct EncoderOutput {
  Tensor last_hidden_state;  ///< [B, T, C]; of decoders after the final norm
  /// [B, C]: tanh of a linear layer of the first token; undefined for DistilBERT and decoders,
  /// which have none.
  Tensor pooler_output;
  /// If asked for: the embeddings and what follows each layer, [B, T, C] each; the last one of
  /// decoders is last_hidden_state.
  std::vector<Tensor> hidden_states;
};

struct EncoderLoadOptions {
  std::optional<DType> dtype = {};         ///< of the weights; unset: that of the file
  std::optional<int64_t> num_labels = {};  ///< instead of the config's (sequence classification)
  bool ignore_mismatched_sizes = false;    ///< heads of other shapes start anew instead of failing
  int64_t seed = 0;                        ///< of what the file lacks
};

using EncoderLoadReport = LoadReport;

/// What encoders, and decoders in their place, have in common.
class EncoderModel : public nn::Module {
 public:
  int64_t vocab_size() const;
  int64_t hidden_size() const;
  /// Tokens that a sequence can have.
  int64_t max_positions() const;
  /// The id that fills up short sequences; nothing if the config has none.
  std::optional<int64_t> pad_token_id() const;
  /// Of the weights: what parameters are stored as.
  DType dtype() const;
  /// The model's config.json.
  std::string config_json() const;
  /// The class of transformers: "BertForMaskedLM".
  std::string type_name() const override;

  /// Writes config.json and model.safetensors (tied weights once), each atomically, into `folder`,
  /// which is made if there is none. Weights of more than `max_shard_size` bytes become shards with
  /// an index. transformers' from_pretrained() reads it.
  void save_pretrained(const std::string& folder, uint64_t max_shard_size = kMaxShardSize) const;
  /// Copies weights from the .safetensors files of `folder`, of any floating type and with or
  /// without the prefix of the model without a head ("bert.", "model."); LayerNorm.gamma and .beta
  /// of old files are understood. What heads and poolers lack is drawn from `seed`. Usage error
  /// listing what the model without its head lacks and all differing shapes; then nothing was
  /// changed.
  EncoderLoadReport load_weights(const std::string& folder, int64_t seed = 0,
                                 bool ignore_mismatched_sizes = false);
  /// Of the last load_weights().
  const EncoderLoadReport& load_report() const { return report_; }
  ~EncoderModel() override;

 protected:
  /// `task`: what follows the family's name in type_name().
  EncoderModel(const layers::EncoderFamily& family, const layers::EncoderConfig& config,
               std::string_view task);
  explicit EncoderModel(std::unique_ptr<const layers::TextModelKind> kind);
  const layers::TextModelKind& kind() const { return *kind_; }

 private:
  std::unique_ptr<const layers::TextModelKind> kind_;
  LoadReport report_;
};

/// An encoder or a decoder without a head.
class Encoder : public EncoderModel {
 public:
  /// Usage error if T exceeds max_positions(), an id the vocabulary, or shapes do not fit.
  virtual EncoderOutput operator()(const EncoderInput& input) = 0;

 protected:
  using EncoderModel::EncoderModel;
};

/// An encoder that predicts hidden tokens.
class MaskedLM : public EncoderModel {
 public:
  /// Logits [B, T, V] of the token at each position.
  Tensor operator()(const EncoderInput& input);
  /// Mean (or sum, or none: [B, T]) cross entropy in nats of labels [B, T]: the hidden tokens;
  /// those of -100 do not count.
  Tensor loss(const EncoderInput& input, const Tensor& labels,
              Reduction reduction = Reduction::mean);

 protected:
  using EncoderModel::EncoderModel;
  virtual Tensor forward_logits(const EncoderInput& input) = 0;
};

/// What the labels of a sequence classifier are ("problem_type" of its config).
enum class ProblemType {
  regression,                   ///< numbers: mean squared error
  single_label_classification,  ///< classes: cross entropy
  multi_label_classification,   ///< 0 or 1 for each class: binary cross entropy of its logit
};

/// An encoder or a decoder that judges whole sequences. A decoder judges by the state of the last
/// token that is not pad_token_id() (of a row of nothing else: the first one); without a padding
/// token it takes one sequence at a time, whose last token that is.
class SequenceClassifier : public EncoderModel {
 public:
  /// Logits [B, L].
  Tensor operator()(const EncoderInput& input);
  /// Mean loss of labels: regression [B, L] or, for one label, [B]; integers [B]; or floating
  /// [B, L].
  Tensor loss(const EncoderInput& input, const Tensor& labels);
  int64_t num_labels() const;
  /// Of the products of `batch` sequences of `tokens` tokens.
  double forward_flops(int64_t batch, int64_t tokens) const;
  /// As the config says; otherwise regression for one label, and for several of them by the type of
  /// `labels`: classes if they are integers.
  ProblemType problem_type(const Tensor& labels) const;

 protected:
  using EncoderModel::EncoderModel;
  virtual Tensor forward_logits(const EncoderInput& input) = 0;
};

/// Models by the "model_type" of a config.json: AutoModel and AutoModelForSequenceClassification
/// know encoders and decoders, AutoModelForMaskedLM encoders. from_pretrained() reads a folder in
/// Hugging Face layout and gives a model in eval mode; from_config() takes the text of a
/// config.json (or an AutoConfig) and gives one in training mode that has no values until
/// initialize() or load_weights(). Usage error if the folder holds no model, or one that Corten
/// does not know; for an encoder-decoder or an image model it names the class to use.
struct AutoModel {
  static std::unique_ptr<Encoder> from_pretrained(const std::string& folder,
                                                  const EncoderLoadOptions& options = {});
  static std::unique_ptr<Encoder> from_config(std::string_view config_json,
                                              std::string_view source = "config.json");
};
struct AutoModelForMaskedLM {
  static std::unique_ptr<MaskedLM> from_pretrained(const std::string& folder,
                                                   const EncoderLoadOptions& options = {});
  static std::unique_ptr<MaskedLM> from_config(std::string_view config_json,
                                               std::string_view source = "config.json");
};
struct AutoModelForSequenceClassification {
  static std::unique_ptr<SequenceClassifier> from_pretrained(
      const std::string& folder, const EncoderLoadOptions& options = {});
  static std::unique_ptr<SequenceClassifier> from_config(std::string_view config_json,
                                                         std::string_view source = "config.json");
};

/// bert, roberta, distilbert.
std::vector<std::string> encoder_model_types();

}  // namespace corten
