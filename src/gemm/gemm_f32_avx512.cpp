// float32 with 16-float vectors: register tiles of 14 x 32.
#include "gemm/simd_avx512.h"

namespace corten::gemm_detail {
namespace {
constexpr int kRows = 14;
}
}  // namespace corten::gemm_detail

#include "gemm/f32_pack.h"

#include "gemm/word_block.h"

namespace corten::gemm_detail {
namespace {

constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>,  tile<3>,  tile<4>,  tile<5>,  tile<6>, tile<7>,
                           tile<8>, tile<9>, tile<10>, tile<11>, tile<12>, tile<13>, tile<14>};

void begin() {}
void run(const Block& block) { word_run(block, kTiles); }
void end() { _mm_sfence(); }
double peak(void* memory, int64_t repeats) { return word_peak(memory, repeats, kTiles[kRows]); }

}  // namespace

const Family kF32Avx512 = {word_plan, begin, run, end, peak};

}  // namespace corten::gemm_detail
