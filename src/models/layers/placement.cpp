#include "models/layers/placement.h"

namespace corten::layers {

Placement Placement::whole(int64_t tokens, const Tensor& attention_mask) {
  Placement out;
  out.tokens_ = out.slots_ = tokens;
  out.positions_ = arange(tokens).reshape({1, tokens});
  if (attention_mask.defined()) {
    const int64_t B = attention_mask.size(0), T = tokens;
    out.visible_BS_ = attention_mask != 0.0;
    // Visible tokens up to each one, less itself.
    Tensor upto_TT = arange(T).reshape({1, T}) <= arange(T).reshape({T, 1});
    Tensor counted_BTT = logical_and(upto_TT, out.visible_BS_.reshape({B, 1, T})).to(DType::i64);
    Tensor count_BT = counted_BTT.sum({2});
    out.positions_ = where(out.visible_BS_, count_BT - 1.0, zeros_like(count_BT));
  }
  return out;
}

Placement Placement::next(const Tensor& position, const KvCache& cache, int64_t tokens) {
  Placement out;
  out.tokens_ = tokens;
  out.slots_ = cache.length;
  out.position_ = position;
  out.visible_BS_ = cache.visible;
  out.positions_ = position.reshape({1, 1});
  if (tokens > 1) out.positions_ = out.positions_ + arange(tokens).reshape({1, tokens});
  if (cache.shift.defined()) out.positions_ = position - cache.shift.reshape({cache.batch, 1});
  return out;
}

Tensor Placement::positions() const {
  return positions_;
}

bool Placement::is_causal(int64_t window) const {
  return !position_.defined() && !visible_BS_.defined() && (window == 0 || window >= tokens_);
}

Tensor Placement::slots() const {
  if (!position_.defined()) return arange(tokens_);
  return tokens_ == 1 ? position_.reshape({1}) : position_ + arange(tokens_);
}

Tensor Placement::mask(int64_t window) const {
  if (!position_.defined() && window >= tokens_) window = 0;
  Tensor& mask = masks_[window];
  if (mask.defined()) return mask;
  const int64_t T = tokens_, S = slots_;
  Tensor query_T1 = slots().reshape({T, 1});
  Tensor key_1S = arange(S).reshape({1, S});
  Tensor seen = key_1S <= query_T1;
  if (window > 0) seen = logical_and(seen, key_1S > query_T1 - static_cast<double>(window));
  if (visible_BS_.defined()) {
    // A query always sees itself, so that no row is empty.
    Tensor visible_B11S = visible_BS_.reshape({visible_BS_.size(0), 1, 1, S});
    mask = logical_or(logical_and(seen, visible_B11S), key_1S == query_T1);
  } else {
    mask = seen.reshape({1, 1, T, S});
  }
  return mask;
}

void remember_padding(const Tensor& attention_mask, KvCache& cache) {
  Tensor visible_BT = attention_mask != 0.0;
  cache.visible.fill_(1);  // what is decoded is no padding
  cache.visible.slice(1, 0, visible_BT.size(1)).copy_(visible_BT);
  cache.shift.copy_(logical_not(visible_BT).to(DType::i64).sum({1}));
}

}  // namespace corten::layers
