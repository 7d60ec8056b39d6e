#include <algorithm>

#include "base/format.h"
#include "corten/generate.h"
#include "models/generation/program.h"
#include "runtime/device_function.h"

namespace corten {
namespace {

using generation::as_f32;
using generation::on_host;

/// Every tensor of the cache that has a row per sequence.
std::vector<Tensor> rows_of(const KvCache& cache) {
  std::vector<Tensor> out = cache.keys;
  out.insert(out.end(), cache.values.begin(), cache.values.end());
  if (cache.visible.defined()) out.insert(out.end(), {cache.visible, cache.shift});
  return out;
}

}  // namespace

std::unique_ptr<generation::Program> DecodeSession::program(Function function) {
  return std::make_unique<generation::Program>(std::move(function), device_);
}

DecodeSession::DecodeSession(CausalLM& model, int64_t batch, int64_t length, bool compiled,
                             bool padded, runtime::DeviceState* device)
    : model_(model),
      cache_(model.make_cache(batch, length, padded)),
      compiled_(compiled),
      device_(device) {
  if (device_ && !compiled_)
    usage_error("[generate] a device executes compiled programs, not op by op");
  model_.eval();
  prefill_ = program([this](const std::vector<Tensor>& in) {
    const Tensor mask = in.size() > 1 ? in[1] : Tensor();
    return std::vector<Tensor>{as_f32(model_.prefill(in[0], cache_, mask))};
  });
  decode_ = program([this](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{as_f32(model_.decode(in[0], in[1], cache_))};
  });
  extend_ = program([this](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{as_f32(model_.extend(in[0], in[1], cache_))};
  });
  reorder_ = program([this](const std::vector<Tensor>& in) {
    for (Tensor rows : rows_of(cache_)) rows.copy_(index_select(rows, 0, in[0]));
    return std::vector<Tensor>{};
  });
}
DecodeSession::~DecodeSession() {
  if (!device_) return;
  for (const auto& p : {&prefill_, &decode_, &extend_, &reorder_}) p->reset();
  for (const Tensor& t : rows_of(cache_)) device_->forget(t.impl()->cell);
}

std::vector<float> DecodeSession::prefill(const std::vector<int64_t>& ids,
                                          const std::vector<int64_t>& attention_mask,
                                          int64_t copies) {
  if (copies != 1) return prefill_copied(ids, attention_mask, copies);
  const auto tokens = static_cast<int64_t>(ids.size()) / cache_.batch;
  if (tokens < 1 || tokens * cache_.batch != static_cast<int64_t>(ids.size()))
    usage_error("[generate] {} prompt tokens do not make {} prompts of one length", ids.size(),
                cache_.batch);
  std::vector<Tensor> input = {from_vector(ids, {cache_.batch, tokens})};
  if (!attention_mask.empty()) {
    if (attention_mask.size() != ids.size())
      usage_error("[generate] an attention mask of {} entries does not fit {} prompt tokens",
                  attention_mask.size(), ids.size());
    input.push_back(from_vector(attention_mask, {cache_.batch, tokens}));
  }
  Tensor logits =
      compiled_ ? (*prefill_)(input)[0]
                : as_f32(model_.prefill(input[0], cache_, input.size() > 1 ? input[1] : Tensor()));
  position_ = tokens;
  return on_host(logits);
}

std::vector<float> DecodeSession::prefill_copied(const std::vector<int64_t>& ids,
                                                 const std::vector<int64_t>& attention_mask,
                                                 int64_t copies) {
  if (copies < 1 || cache_.batch % copies != 0)
    usage_error("[generate] {} copies of each prompt do not make {} sequences", copies,
                cache_.batch);
  DecodeSession once(model_, cache_.batch / copies, cache_.length, compiled_,
                     cache_.visible.defined(), device_);
  const std::vector<float> logits = once.prefill(ids, attention_mask);
  std::vector<int64_t> origin;
  for (int64_t row = 0; row < cache_.batch; ++row) origin.push_back(row / copies);
  const NoGradGuard no_grad;
  const Tensor index = from_vector(origin, {cache_.batch});
  const std::vector<Tensor> few = rows_of(once.cache_);
  std::vector<Tensor> all = rows_of(cache_);
  const auto copy = [&](const std::vector<Tensor>& in) {
    for (size_t i = 0; i < all.size(); ++i) all[i].copy_(index_select(few[i], 0, in[0]));
    return std::vector<Tensor>{};
  };
  if (device_)
    generation::Program(copy, device_)({index});
  else
    copy({index});
  position_ = once.position_;
  std::vector<float> out;
  const int64_t vocab = std::ssize(logits) / once.cache_.batch;
  for (int64_t row : origin)
    out.insert(out.end(), logits.begin() + row * vocab, logits.begin() + (row + 1) * vocab);
  return out;
}

std::vector<float> DecodeSession::decode(const std::vector<int64_t>& ids) {
  if (static_cast<int64_t>(ids.size()) != cache_.batch || position_ < 1 ||
      position_ >= cache_.length)
    usage_error("[generate] cannot decode {} tokens at position {} with a cache of {} x {}",
                ids.size(), position_, cache_.batch, cache_.length);
  Tensor input = from_vector(ids, {cache_.batch, 1});
  Tensor position = from_vector(std::vector<int64_t>{position_}, {});
  Tensor logits =
      compiled_ ? (*decode_)({input, position})[0] : as_f32(model_.decode(input, position, cache_));
  ++position_;
  return on_host(logits);
}

std::vector<float> DecodeSession::extend(const std::vector<int64_t>& ids) {
  const int64_t batch = cache_.batch, tokens = std::ssize(ids) / batch;
  if (tokens < 1 || tokens * batch != std::ssize(ids) || position_ < 1 ||
      position_ + tokens > cache_.length)
    usage_error("[generate] cannot go on with {} tokens at position {} with a cache of {} x {}",
                ids.size(), position_, batch, cache_.length);
  if (model_.can_extend() && !cache_.visible.defined()) {
    const Tensor input = from_vector(ids, {batch, tokens});
    const Tensor position = from_vector(std::vector<int64_t>{position_}, {});
    Tensor logits = compiled_ ? (*extend_)({input, position})[0]
                              : as_f32(model_.extend(input, position, cache_));
    position_ += tokens;
    return on_host(logits);
  }
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  std::vector<float> out(ids.size() * vocab);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int64_t> column;
    for (int64_t row = 0; row < batch; ++row)
      column.push_back(ids[static_cast<size_t>(row * tokens + t)]);
    const std::vector<float> logits = decode(column);
    for (int64_t row = 0; row < batch; ++row)
      std::copy_n(logits.begin() + row * static_cast<int64_t>(vocab), vocab,
                  out.begin() + (row * tokens + t) * static_cast<int64_t>(vocab));
  }
  return out;
}

void DecodeSession::reorder(const std::vector<int64_t>& rows) {
  if (static_cast<int64_t>(rows.size()) != cache_.batch)
    usage_error("[generate] {} row numbers do not fit a cache of {} sequences", rows.size(),
                cache_.batch);
  bool in_place = true;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= cache_.batch)
      usage_error("[generate] there is no row {} in a cache of {} sequences", rows[i],
                  cache_.batch);
    in_place = in_place && rows[i] == static_cast<int64_t>(i);
  }
  if (in_place) return;
  const NoGradGuard no_grad;
  const Tensor index = from_vector(rows, {cache_.batch});
  if (compiled_) {
    (*reorder_)({index});
    return;
  }
  for (Tensor all : rows_of(cache_)) all.copy_(index_select(all, 0, index));
}

void DecodeSession::truncate(int64_t position) {
  if (position < 1 || position > position_)
    usage_error("[generate] a cache of {} tokens cannot be cut down to {}", position_, position);
  position_ = position;
}

int64_t DecodeSession::cache_bytes() const {
  int64_t total = 0;
  for (const auto* side : {&cache_.keys, &cache_.values})
    for (const Tensor& t : *side) total += t.numel() * static_cast<int64_t>(size_of(t.dtype()));
  return total;
}
int64_t DecodeSession::arena_bytes() const {
  if (!compiled_ || position_ == 0) return 0;
  return std::max(prefill_->arena_bytes(), decode_->arena_bytes());
}

}  // namespace corten
