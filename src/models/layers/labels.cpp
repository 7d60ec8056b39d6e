#include "models/layers/labels.h"

#include <algorithm>
#include <array>

#include "models/config_fields.h"
#include "nn/state.h"

namespace corten::layers {
namespace {

constexpr std::array kProblemTypes = {"regression", "single_label_classification",
                                      "multi_label_classification"};

}  // namespace

LabelsConfig read_labels(const Json& json, std::string_view source) {
  LabelsConfig c;
  FieldReader read(json, source);
  read("num_labels", c.num_labels);
  if (const Json* names = json.find("id2label"); names && !names->is_null())
    c.num_labels = static_cast<int64_t>(names->items(format("{}: \"id2label\"", source)).size());
  check_field(source, "num_labels", c.num_labels, 1, kManyTokens);
  read("problem_type", c.problem_type);
  if (!c.problem_type.empty() &&
      std::ranges::find(kProblemTypes, c.problem_type) == kProblemTypes.end())
    usage_error("{}: \"problem_type\" \"{}\" is not supported (known: {})", source, c.problem_type,
                fmt::join(kProblemTypes, ", "));
  return c;
}

void name_labels(Json& config, int64_t labels) {
  check_field("from_pretrained", "num_labels", labels, 1, kManyTokens);
  Json names = Json::object(), ids = Json::object();
  for (int64_t i = 0; i < labels; ++i) {
    names.set(std::to_string(i), format("LABEL_{}", i));
    ids.set(format("LABEL_{}", i), i);
  }
  config.erase("num_labels");
  config.set("id2label", names);
  config.set("label2id", ids);
}

ProblemType problem_type(const LabelsConfig& config, const Tensor& labels) {
  const std::string& type = config.problem_type;
  if (type == "regression" || (type.empty() && config.num_labels == 1))
    return ProblemType::regression;
  if (type == "single_label_classification" || (type.empty() && !is_floating(labels.dtype())))
    return ProblemType::single_label_classification;
  return ProblemType::multi_label_classification;
}

Tensor classification_loss(const LabelsConfig& config, std::string_view owner,
                           const Tensor& logits_BL, const Tensor& labels) {
  const int64_t B = logits_BL.size(0), L = logits_BL.size(1);
  const ProblemType type = problem_type(config, labels);
  const bool classes = type == ProblemType::single_label_classification;
  const Shape expected = classes ? Shape{B} : Shape{B, L};
  const bool one_column =
      (classes || L == 1) && (labels.shape() == Shape{B} || labels.shape() == Shape{B, 1});
  if ((labels.shape() != expected && !one_column) || (classes && is_floating(labels.dtype())))
    usage_error("[{}] labels {} do not fit the logits {}: expected {}[{}]", owner,
                nn::type_text(labels), nn::type_text(logits_BL), classes ? "integers " : "numbers ",
                fmt::join(expected, ","));
  if (classes) return cross_entropy(logits_BL, labels.reshape({B}));
  const Tensor x_BL = logits_BL.to(DType::f32), y_BL = labels.reshape({B, L}).to(DType::f32);
  if (type == ProblemType::regression) return mean(square(x_BL - y_BL));
  // log sigmoid(x) and log sigmoid(-x) are the log softmax of (x, 0), accurate on both sides.
  Tensor log_BL2 = log_softmax(stack({x_BL, zeros_like(x_BL)}, 2), 2);
  return -mean(y_BL * log_BL2.select(2, 0) + (1.0 - y_BL) * log_BL2.select(2, 1));
}

}  // namespace corten::layers
