#include "base/quantized_shape.h"

#include "base/format.h"

namespace corten {

void check(const QuantizedShape& s) {
  constexpr int64_t kMost = 1 << 17;  // sums of 127 * 127 fit into 32 bits
  if (s.n < 0 || s.k < 1 || s.k > kMost)
    usage_error("[quantize] weights [{}, {}]: k must be 1 to {}", s.n, s.k, kMost);
  if (s.bits != 8 && s.bits != 4) usage_error("[quantize] weights of {} bits: use 8 or 4", s.bits);
  const bool known = s.bits == 8 ? s.group == 0 : s.group == 32 || s.group == 64 || s.group == 128;
  if (!known)
    usage_error("[quantize] groups of {} with {} bits: use 32, 64 or 128 with 4 bits, none with 8",
                s.group, s.bits);
}

}  // namespace corten
