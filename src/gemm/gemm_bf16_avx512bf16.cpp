// bf16 operands by VDPBF16PS, two k at a time: register tiles of 14 x 32.
#include "gemm/simd_avx512.h"

namespace corten::gemm_detail {
namespace {
constexpr int kRows = 14;
}
}  // namespace corten::gemm_detail

#include "gemm/bf16_pack.h"

#include "gemm/word_block.h"

#include "gemm/bf16_few_rows.h"

namespace corten::gemm_detail {
namespace {

constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>,  tile<3>,  tile<4>,  tile<5>,  tile<6>, tile<7>,
                           tile<8>, tile<9>, tile<10>, tile<11>, tile<12>, tile<13>, tile<14>};

void begin() {}
constexpr void (*kFewRows[])(const Block&) = {nullptr, few_run<1>, few_run<2>, few_run<3>, few_run<4>};

Blocking plan(const GemmArgs& args) { return few_rows(args) ? few_plan(args) : word_plan(args); }
void run(const Block& block) {
  if (few_rows(*block.args)) return kFewRows[block.m1 - block.m0](block);
  word_run(block, kTiles);
}
void end() { _mm_sfence(); }
double peak(void* memory, int64_t repeats) { return word_peak(memory, repeats, kTiles[kRows]); }

}  // namespace

const Family kBf16Avx512 = {plan, begin, run, end, peak};

}  // namespace corten::gemm_detail
