// Residual networks (He et al., 2016), with the parameter names of transformers' ResNetModel and
// ResNetForImageClassification.
#pragma once

#include "models/layers/image_model.h"

namespace corten::resnet {

extern const layers::ImageFamily kFamily;

}  // namespace corten::resnet
