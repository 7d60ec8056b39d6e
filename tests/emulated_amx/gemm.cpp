#include "tiles.h"

#include "gemm/gemm_bf16_amx.cpp"
