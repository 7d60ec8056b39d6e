// What classifiers of sequences and of images share: the labels of a config.json and their losses.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "corten/encoders.h"

namespace corten::layers {

struct LabelsConfig {
  int64_t num_labels = 2;    ///< "num_labels", or as many as "id2label" names
  std::string problem_type;  ///< empty: by the labels
};
/// Usage error "source: ..." for impossible numbers and unknown types.
LabelsConfig read_labels(const Json& json, std::string_view source);
/// Names `labels` labels LABEL_0, LABEL_1, ... in a config. Usage error for impossible numbers.
void name_labels(Json& config, int64_t labels);

/// As the config says; otherwise regression for one label, and for several of them by the type of
/// `labels`: classes if they are integers.
ProblemType problem_type(const LabelsConfig& config, const Tensor& labels);
/// The mean loss of logits [B, L]. Usage error "[owner] ..." if the labels do not fit.
Tensor classification_loss(const LabelsConfig& config, std::string_view owner,
                           const Tensor& logits_BL, const Tensor& labels);

}  // namespace corten::layers
