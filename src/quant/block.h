// Between the driver (quantized_product.cpp) and the kernel families: some rows times one or two
// panels per call. See gemm/block.h on what the families' files may include.
#pragma once

#include "quant/quantized_product.h"

namespace corten::quant_detail {

/// Rows of x as quantize_row() leaves them.
struct Rows {
  int8_t* a;           ///< in the layout of the family
  float* scale;        ///< [m]
  int32_t* sums;       ///< [m, groups] sums of a
  int32_t* outliers;   ///< [m] how many there are
  int32_t* outlier_k;  ///< [m, most_outliers], ascending
  float* outlier_x;
  int64_t most_outliers;
};

inline constexpr int64_t kTileColumns = 2 * kPanelColumns;

/// Adjacent rows times one or two adjacent panels.
struct Strip {
  int rows, panels;
  const int8_t* a;      ///< [k / 4][rows][4], or [rows][padded_k] where the family says so
  const int32_t* sums;  ///< [rows][groups]
  const uint8_t* b;     ///< panels, b_stride bytes apart
  int64_t b_stride;
  const uint16_t* scale;  ///< of 4 bits, panels groups * 16 apart
  int64_t padded_k, group, groups;
  float* out;     ///< [rows][kTileColumns] the sums without the row's scale
  void* scratch;  ///< kTileScratch bytes
};
inline constexpr size_t kTileScratch = 32 * kTileColumns * 4;

/// What makes results of a strip's sums.
struct Finish {
  const QuantizedArgs* args;
  const Rows* rows;
  const float* tile;   ///< [rows][kTileColumns]
  int64_t row, count;  ///< of x
  int64_t panel, panels;
};

struct Family {
  bool by_rows;                ///< a lies row by row
  int most_rows8, most_rows4;  ///< of a strip
  void (*begin)();
  void (*end)();
  void (*product8)(const Strip& strip);
  void (*product4)(const Strip& strip);  ///< b as stored
  void (*product4_unpacked)(
      const Strip& strip);  ///< b as unpack4() leaves it: the layout of 8 bits, weight + 8
  void (*finish)(const Finish& finish);
};
extern const Family kAvx2, kAvx512Vnni, kAmx;

/// One row: into `a` [padded_k] and entry `row` of the other arrays. `group` divides padded_k.
void quantize_row(const void* x, DType dtype, int64_t k, int64_t padded_k, int64_t group,
                  float threshold, int8_t* a, const Rows& rows, int64_t row);
/// One panel of 4 bits, padded_k * 8 bytes, into padded_k * 16 bytes.
void unpack4(const uint8_t* packed, int64_t padded_k, uint8_t* out);

}  // namespace corten::quant_detail
