// eval-logits of image models.
#pragma once

#include <string>

#include "train/generate.h"

namespace corten {

/// Whether the config.json of `folder` is that of an image model.
bool holds_image_model(const std::string& folder);
/// The logits of each image, or the last hidden state if the config's "architectures" names no
/// classifier. Labels: each image's class, or a number for each of its labels.
EvalLogitsResult eval_image_model(const EvalLogitsOptions& options, const std::string& folder);

}  // namespace corten
