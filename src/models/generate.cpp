#include "corten/generate.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/format.h"
#include "io/tensor_bytes.h"

namespace corten {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The logits as f32, whatever the weights are.
Tensor as_f32(const Tensor& logits) {
  return logits.dtype() == DType::f32 ? logits : logits.to(DType::f32);
}

std::vector<float> on_host(const Tensor& logits) {
  std::vector<float> out(static_cast<size_t>(logits.numel()));
  const TensorBytes bytes(logits);
  std::memcpy(out.data(), bytes.span().data(), bytes.span().size());
  return out;
}

}  // namespace

DecodeSession::DecodeSession(CausalLM& model, int64_t batch, int64_t length, bool compiled,
                             bool padded)
    : model_(model), cache_(model.make_cache(batch, length, padded)), compiled_(compiled) {
  model_.eval();
  prefill_ = std::make_unique<CompiledFunction>(compile([this](const std::vector<Tensor>& in) {
    const Tensor mask = in.size() > 1 ? in[1] : Tensor();
    return std::vector<Tensor>{as_f32(model_.prefill(in[0], cache_, mask))};
  }));
  decode_ = std::make_unique<CompiledFunction>(compile([this](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{as_f32(model_.decode(in[0], in[1], cache_))};
  }));
}
DecodeSession::~DecodeSession() = default;

std::vector<float> DecodeSession::prefill(const std::vector<int64_t>& ids,
                                          const std::vector<int64_t>& attention_mask) {
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

int64_t DecodeSession::cache_bytes() const {
  int64_t total = 0;
  for (const auto* side : {&cache_.keys, &cache_.values})
    for (const Tensor& t : *side) total += t.numel() * static_cast<int64_t>(size_of(t.dtype()));
  return total;
}
int64_t DecodeSession::arena_bytes() const {
  if (!compiled_ || position_ == 0) return 0;
  return std::max(prefill_->info().arena_bytes, decode_->info().arena_bytes);
}

const char* to_string(StopReason reason) noexcept {
  switch (reason) {
    case StopReason::length:
      return "length";
    case StopReason::eos:
      return "eos";
    case StopReason::stopped:
      return "stopped";
  }
  return "";
}

Generation generate(CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                    const GenerationOptions& options, const TokenCallback& on_token) {
  check_sampling(options.sampling);
  if (options.max_new_tokens < 1)
    usage_error("[generate] max_new_tokens {} is not positive", options.max_new_tokens);
  if (prompts.empty() || std::ranges::any_of(prompts, [](const auto& p) { return p.empty(); }))
    usage_error("[generate] the prompt is empty");
  const auto rows = static_cast<int64_t>(prompts.size());
  int64_t length = 0, prompt_tokens = 0;
  for (const auto& prompt : prompts) {
    length = std::max(length, static_cast<int64_t>(prompt.size()));
    prompt_tokens += static_cast<int64_t>(prompt.size());
  }
  const bool padded = prompt_tokens < rows * length;
  std::vector<int64_t> input, mask;
  for (const auto& prompt : prompts) {
    // Padding is hidden from all tokens, so that any id will do.
    const size_t padding = static_cast<size_t>(length) - prompt.size();
    input.insert(input.end(), padding, 0);
    if (padded) {
      mask.insert(mask.end(), padding, 0);
      mask.insert(mask.end(), prompt.size(), 1);
    }
    for (int64_t id : prompt)
      if (id < 0 || id >= model.vocab_size())
        usage_error("[generate] token {} is outside the vocabulary of {}", id, model.vocab_size());
    input.insert(input.end(), prompt.begin(), prompt.end());
  }
  const int64_t room = model.max_positions() - length;
  if (room < 1)
    usage_error("[generate] a prompt of {} tokens leaves no room within the model's {} positions",
                length, model.max_positions());
  const int64_t count = std::min(options.max_new_tokens, room);
  // Cache sizes in steps, so that prompts of similar length share programs and kernels.
  constexpr int64_t kStep = 64;
  const int64_t positions =
      std::min((length + count - 1 + kStep - 1) / kStep * kStep, model.max_positions());

  const std::vector<int64_t>& ends =
      options.eos_token_ids.empty() ? model.eos_token_ids() : options.eos_token_ids;
  Generation out;
  out.ids.resize(prompts.size());
  out.reasons.assign(prompts.size(), StopReason::length);
  out.prompt_tokens = prompt_tokens;
  std::vector<bool> done(prompts.size(), false);

  DecodeSession session(model, rows, positions, options.compiled, padded);
  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits = session.prefill(input, mask);
  out.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  std::vector<int64_t> next(prompts.size());
  for (int64_t step = 0;; ++step) {
    for (int64_t row = 0; row < rows; ++row) {
      const auto r = static_cast<size_t>(row);
      if (done[r]) continue;  // the row keeps its last token as input, and its results are ignored
      next[r] = sample_token(logits.data() + row * model.vocab_size(), model.vocab_size(),
                             options.sampling, step, row);
      if (options.stop_at_eos && std::ranges::find(ends, next[r]) != ends.end()) {
        out.reasons[r] = StopReason::eos;
        done[r] = true;
        continue;
      }
      out.ids[r].push_back(next[r]);
      if (on_token && !on_token(row, next[r])) {
        out.reasons[r] = StopReason::stopped;
        done[r] = true;
      }
    }
    if (step + 1 == count || std::ranges::all_of(done, [](bool d) { return d; })) break;
    logits = session.decode(next);
    ++out.decode_steps;
  }
  out.decode_seconds = seconds_since(start);
  return out;
}

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopMatcher::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t found = std::string::npos;
  for (const std::string& stop : stops_) found = std::min(found, held_.find(stop));
  size_t certain = held_.size();
  if (found != std::string::npos) {
    stopped_ = true;
    certain = found;
  } else {
    // Hold back the longest end of the text that begins a stop text.
    for (const std::string& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n)
        if (held_.ends_with(std::string_view(stop).substr(0, n))) {
          certain = std::min(certain, held_.size() - n);
          break;
        }
  }
  std::string out = held_.substr(0, certain);
  held_ = stopped_ ? "" : held_.substr(certain);
  return out;
}

std::string StopMatcher::flush() {
  return std::exchange(held_, {});
}

}  // namespace corten
