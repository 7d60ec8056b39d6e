#include "tiles.h"

#include "quant/quant_amx.cpp"
