// Vision transformer (Dosovitskiy et al., 2021), with the parameter names of the files of
// transformers' ViTModel and ViTForImageClassification.
#pragma once

#include "models/layers/image_model.h"

namespace corten::vit {

extern const layers::ImageFamily kFamily;

}  // namespace corten::vit
