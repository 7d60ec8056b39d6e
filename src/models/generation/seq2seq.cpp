// Writing with an encoder-decoder: the input is run once, and the texts begin with the start token.
#include <algorithm>

#include "base/format.h"
#include "corten/seq2seq.h"
#include "models/generation/generate.h"
#include "models/generation/program.h"
#include "runtime/device_function.h"

namespace corten {
namespace {

using generation::as_f32;
using generation::on_host;
using generation::Plan;
using generation::Program;

/// There are no learned positions, so that only memory ends a text.
constexpr int64_t kMaxPositions = 1 << 20;

/// Keys and values of the written tokens, compiled programs around them, and the input's.
class Seq2SeqContinuation : public generation::Continuation {
 public:
  Seq2SeqContinuation(Seq2SeqLM& model, const std::vector<std::vector<int64_t>>& inputs,
                      const Plan& plan)
      : model_(model), plan_(plan), compiled_(plan.options.compiled), device_(plan.options.device) {
    if (device_ && !compiled_)
      usage_error("[generate] a device executes compiled programs, not op by op");
    int64_t longest = 0;
    for (const auto& input : inputs) longest = std::max(longest, std::ssize(input));
    std::vector<int64_t> ids, mask;
    for (const auto& input : inputs) {
      const auto padding = static_cast<size_t>(longest) - input.size();
      ids.insert(ids.end(), input.begin(), input.end());
      ids.insert(ids.end(), padding, 0);
      mask.insert(mask.end(), input.size(), 1);
      mask.insert(mask.end(), padding, 0);
    }
    const Shape shape = {std::ssize(inputs), longest};
    input_ = {from_vector(ids, shape)};
    // Without padding there is nothing to hide, nor to combine with the scores' addends.
    if (std::ranges::find(mask, 0) != mask.end()) input_.push_back(from_vector(mask, shape));
    model_.eval();
    cache_ = model_.make_cache(plan.rows(), plan.positions, shape[0], longest);
    prefill_ = program([this](const std::vector<Tensor>& in) {
      model_.prefill(in[0], in.size() > 1 ? in[1] : Tensor(), cache_);
      return std::vector<Tensor>{};
    });
    decode_ = program([this](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{as_f32(model_.decode(in[0], in[1], cache_))};
    });
    reorder_ = program([this](const std::vector<Tensor>& in) {
      gather_rows(in[0]);
      return std::vector<Tensor>{};
    });
  }

  ~Seq2SeqContinuation() override {
    if (!device_) return;
    for (const auto& p : {&prefill_, &decode_, &reorder_}) p->reset();
    for (const auto* tensors : {&cache_.own.keys, &cache_.own.values, &cache_.cross_keys, &cache_.cross_values})
      for (const Tensor& t : *tensors) device_->forget(t.impl()->cell);
    if (cache_.visible.defined()) device_->forget(cache_.visible.impl()->cell);
  }

  std::vector<float> start(int64_t) override {
    if (compiled_)
      (*prefill_)(input_);
    else
      model_.prefill(input_[0], input_.size() > 1 ? input_[1] : Tensor(), cache_);
    std::vector<int64_t> first;
    const int64_t rows = plan_.rows();
    for (int64_t row = 0; row < rows; ++row)
      first.push_back(plan_.prompts[static_cast<size_t>(row / (rows / cache_.inputs))][0]);
    return next(first);
  }

  std::vector<float> next(const std::vector<int64_t>& ids) override {
    const Tensor input = from_vector(ids, {cache_.own.batch, 1});
    const Tensor position = from_vector(std::vector<int64_t>{position_++}, {});
    const Tensor logits = compiled_ ? (*decode_)({input, position})[0]
                                    : as_f32(model_.decode(input, position, cache_));
    return on_host(logits);
  }

  void reorder(const std::vector<int64_t>& rows) override {
    bool in_place = true;
    for (size_t i = 0; i < rows.size(); ++i)
      in_place = in_place && rows[i] == static_cast<int64_t>(i);
    if (in_place) return;
    const NoGradGuard no_grad;
    const Tensor index = from_vector(rows, {cache_.own.batch});
    if (compiled_)
      (*reorder_)({index});
    else
      gather_rows(index);
  }

 private:
  std::unique_ptr<Program> program(Function function) {
    return std::make_unique<Program>(std::move(function), device_);
  }
  /// The input's keys stay: sequences change places among those of one input.
  void gather_rows(const Tensor& index) {
    for (auto* side : {&cache_.own.keys, &cache_.own.values})
      for (Tensor& all : *side) all.copy_(index_select(all, 0, index));
  }

  Seq2SeqLM& model_;
  const Plan& plan_;
  bool compiled_;
  runtime::DeviceState* device_;
  std::vector<Tensor> input_;  ///< ids, and the mask if there is padding
  Seq2SeqCache cache_;
  int64_t position_ = 0;
  std::unique_ptr<Program> prefill_, decode_, reorder_;
};

void check_inputs(const Seq2SeqLM& model, const std::vector<std::vector<int64_t>>& inputs) {
  if (inputs.empty()) usage_error("[generate] there is no input");
  for (const auto& input : inputs) {
    if (input.empty()) usage_error("[generate] an input is empty");
    for (int64_t id : input)
      if (id < 0 || id >= model.vocab_size())
        usage_error("[generate] token {} is outside the vocabulary of {}", id, model.vocab_size());
  }
}

}  // namespace

Generation generate(Seq2SeqLM& model, const std::vector<std::vector<int64_t>>& inputs,
                    const GenerationOptions& options, const TokenCallback& on_token) {
  check_inputs(model, inputs);
  const auto start = model.decoder_start_token_id();
  if (!start)
    usage_error(
        "[generate] neither config.json nor generation_config.json has a "
        "\"decoder_start_token_id\" to begin with");
  const std::vector<std::vector<int64_t>> prompts(inputs.size(), {*start});
  const Plan plan({model.vocab_size(), kMaxPositions, model.eos_token_ids()}, prompts, options,
                  inputs);
  Seq2SeqContinuation continuation(model, inputs, plan);
  Generation out = generation::write(continuation, plan, on_token);
  out.prompt_tokens = 0;
  for (const auto& input : inputs) out.prompt_tokens += std::ssize(input);
  return out;
}

}  // namespace corten
