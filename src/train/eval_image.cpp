#include "train/eval_image.h"

#include <algorithm>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "corten/vision.h"
#include "io/tensor_bytes.h"
#include "models/model_folder.h"

namespace corten {
namespace {

Json config_of(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  return has_file(path) ? read_config_json(folder) : Json::object();
}

/// Whether the config names a model without a head. A config of timm names no classes.
bool is_headless(const Json& config) {
  const Json* names = config.find("architectures");
  if (!names || !names->is_array() || names->elements().empty()) return false;
  const Json& first = names->elements().front();
  return first.is_string() && first.as_string().ends_with("Model");
}

/// "pixel_values", or the only tensor of the file; one image is a batch of one.
Tensor read_pixels(const std::string& path) {
  const StateDict state = read_state(path);
  const Tensor* found = find_tensor(state, "pixel_values");
  if (!found && state.size() == 1) found = &state.front().second;
  if (!found)
    usage_error("{} holds no \"pixel_values\" among its {} tensors", path, state.size());
  return found->dim() == 3 ? found->unsqueeze(0) : *found;
}

Tensor labels_of(const ImageClassifier& model, const std::vector<int64_t>& labels, int64_t images) {
  const auto count = static_cast<int64_t>(labels.size());
  const Tensor classes = from_vector(labels, {count});
  const bool one_each =
      model.problem_type(classes) == ProblemType::single_label_classification;
  const int64_t expected = one_each ? images : images * model.num_labels();
  if (count != expected)
    usage_error("{} labels do not fit {} images, which have {}", count, images, expected);
  if (!one_each) return classes.to(DType::f32).reshape({images, model.num_labels()});
  for (int64_t label : labels)
    if (label != -100 && (label < 0 || label >= model.num_labels()))
      usage_error("label {} is outside the {} classes of the model", label, model.num_labels());
  return classes;
}

void set_result(EvalLogitsResult& result, const Tensor& values) {
  result.shape = values.shape();
  result.values = values.to_vector<float>();
}

}  // namespace

bool holds_image_model(const std::string& folder) {
  const Json config = config_of(folder);
  if (!config.is_object()) return false;
  const Json* type = config.find("model_type");
  if (!type) return config.contains("architecture");
  const std::vector<std::string> known = image_model_types();
  return type->is_string() && std::ranges::find(known, type->as_string()) != known.end();
}

EvalLogitsResult eval_image_model(const EvalLogitsOptions& options, const std::string& folder) {
  if (options.model.device != "cpu")
    usage_error("evaluation needs device \"cpu\", not \"{}\"", options.model.device);
  default_thread_pool().set_num_threads(static_cast<int>(options.model.threads));
  const EncoderLoadOptions load{.dtype = options.model.dtype};
  const Tensor pixels = read_pixels(options.pixel_values);
  const NoGradGuard no_grad;
  EvalLogitsResult result;
  if (is_headless(config_of(folder))) {
    if (!options.labels.empty()) usage_error("labels need a model with a head, which {} is not", folder);
    auto model = AutoImageModel::from_pretrained(folder, load);
    model->set_interpolate_pos_encoding(options.interpolate_pos_encoding);
    set_result(result, (*model)(pixels).last_hidden_state);
    result.hidden_state = true;
    return result;
  }
  auto model = AutoModelForImageClassification::from_pretrained(folder, load);
  model->set_interpolate_pos_encoding(options.interpolate_pos_encoding);
  // Numbers of a head that was drawn at random would say nothing.
  for (const std::string& name : model->load_report().initialized)
    if (!name.ends_with("num_batches_tracked"))
      usage_error("{} holds no {}, which {} needs", folder, name, model->type_name());
  set_result(result, (*model)(pixels));
  if (!options.labels.empty())
    result.loss =
        model->loss(pixels, labels_of(*model, options.labels, pixels.size(0))).item<double>();
  return result;
}

}  // namespace corten
