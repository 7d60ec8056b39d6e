// float32 with 8-float vectors: register tiles of 6 x 16.
#include "gemm/simd_avx2.h"

namespace corten::gemm_detail {
namespace {
constexpr int kRows = 6;
}
}  // namespace corten::gemm_detail

#include "gemm/f32_pack.h"

#include "gemm/word_block.h"

namespace corten::gemm_detail {
namespace {

constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void begin() {}
void run(const Block& block) { word_run(block, kTiles); }
void end() { _mm_sfence(); }
double peak(void* memory, int64_t repeats) { return word_peak(memory, repeats, kTiles[kRows]); }

}  // namespace

const Family kF32Avx2 = {word_plan, begin, run, end, peak};

}  // namespace corten::gemm_detail
