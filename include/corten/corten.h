// Everything.
#pragma once

#include "corten/amp.h"
#include "corten/compile.h"
#include "corten/data.h"
#include "corten/dtype.h"
#include "corten/error.h"
#include "corten/generate.h"
#include "corten/init.h"
#include "corten/models.h"
#include "corten/nn.h"
#include "corten/ops.h"
#include "corten/optim.h"
#include "corten/random.h"
#include "corten/safetensors.h"
#include "corten/tensor.h"
#include "corten/tokenizer.h"
