// Image models in Hugging Face layout: ViT and ResNet, alone or with a classifier; readable and
// written as the transformers library does, and readable as timm writes them.
//
//   auto model = AutoModelForImageClassification::from_pretrained(folder);
//   Tensor logits = (*model)(pixels);             // pixels: normalised, [N, channels, rows, columns]
//   Tensor loss = model->loss(pixels, classes);   // integers [N]
//
// N images, T tokens (patches and the class token), C width, L labels.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corten/encoders.h"
#include "corten/nn.h"

namespace corten {

namespace layers {
struct ImageConfig;
struct ImageFamily;
}  // namespace layers

struct ImageModelOutput {
  Tensor last_hidden_state;  ///< ViT: [N, T, C]; ResNet: [N, C, rows, columns]
  /// ViT: [N, C], a layer of the class token; undefined if the model has no pooler. ResNet: the mean
  /// over pixels, [N, C, 1, 1].
  Tensor pooler_output;
  /// If asked for: the embeddings and what follows each layer (ViT) or stage (ResNet).
  std::vector<Tensor> hidden_states;
};

/// What all image models have in common.
class ImageModel : public nn::Module {
 public:
  int64_t num_channels() const;
  /// Whether ViT takes images of other sizes than the model's, for whose patches its learned
  /// positions are interpolated (bicubic, in f32); otherwise they are an error. Off at first. Usage
  /// error for models without positions, which take images of any size.
  virtual void set_interpolate_pos_encoding(bool interpolate);
  /// Of the weights: what parameters are stored as.
  DType dtype() const;
  /// The model's config.json.
  std::string config_json() const;
  /// The class of transformers: "ViTForImageClassification".
  std::string type_name() const override;

  /// Writes config.json and model.safetensors, each atomically, into `folder`, which is made if
  /// there is none. transformers' from_pretrained() reads it.
  void save_pretrained(const std::string& folder, uint64_t max_shard_size = kMaxShardSize) const;
  /// Copies weights from the .safetensors files of `folder`, of any floating type, with or without
  /// the prefix of the model without a head ("vit."), under the names of transformers or of timm.
  /// What classifiers and poolers lack is drawn from `seed`, and a batch norm without
  /// num_batches_tracked starts to count anew. Usage error listing whatever else is missing and all
  /// differing shapes; then nothing was changed.
  EncoderLoadReport load_weights(const std::string& folder, int64_t seed = 0,
                                 bool ignore_mismatched_sizes = false);
  /// Of the last load_weights().
  const EncoderLoadReport& load_report() const { return report_; }
  ~ImageModel() override;

 protected:
  /// `task`: what follows the family's name in type_name().
  ImageModel(const layers::ImageFamily& family, std::shared_ptr<const layers::ImageConfig> config,
             std::string_view task);
  const layers::ImageConfig& config() const { return *config_; }
  /// pixels in the model's dtype. Usage error unless they are floating [N, channels, rows, columns].
  Tensor checked(const Tensor& pixels) const;

 private:
  bool has_head() const;
  bool belongs_to_body(std::string_view name) const;

  const layers::ImageFamily& family_;
  std::shared_ptr<const layers::ImageConfig> config_;
  std::string task_;
  EncoderLoadReport report_;
};

/// A model without a head.
class ImageEncoder : public ImageModel {
 public:
  /// Usage error if the images' size or channels do not fit the model.
  virtual ImageModelOutput operator()(const Tensor& pixels, bool output_hidden_states = false) = 0;

 protected:
  using ImageModel::ImageModel;
};

/// A model that judges whole images.
class ImageClassifier : public ImageModel {
 public:
  /// Logits [N, L].
  Tensor operator()(const Tensor& pixels);
  /// Mean loss of labels: integers [N]; floating [N, L]; or, for regression, numbers.
  Tensor loss(const Tensor& pixels, const Tensor& labels);
  int64_t num_labels() const;
  /// As of SequenceClassifier.
  ProblemType problem_type(const Tensor& labels) const;

 protected:
  using ImageModel::ImageModel;
  virtual Tensor forward_logits(const Tensor& pixels) = 0;
};

/// Image models by the "model_type" of a config.json, or by the "architecture" of one that timm
/// wrote. from_pretrained() gives a model in eval mode; from_config() takes the text of a config.json
/// and gives one in training mode that has no values until initialize() or load_weights(). Usage
/// error if the folder holds no model, or one that Corten does not know.
struct AutoImageModel {
  static std::unique_ptr<ImageEncoder> from_pretrained(const std::string& folder,
                                                       const EncoderLoadOptions& options = {});
  static std::unique_ptr<ImageEncoder> from_config(std::string_view config_json,
                                                   std::string_view source = "config.json");
};
struct AutoModelForImageClassification {
  static std::unique_ptr<ImageClassifier> from_pretrained(const std::string& folder,
                                                          const EncoderLoadOptions& options = {});
  static std::unique_ptr<ImageClassifier> from_config(std::string_view config_json,
                                                      std::string_view source = "config.json");
};

/// vit, resnet.
std::vector<std::string> image_model_types();

}  // namespace corten
