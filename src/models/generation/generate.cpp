#include "models/generation/generate.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/format.h"
#include "base/hash.h"
#include "models/generation/logits_processors.h"

namespace corten {

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

namespace generation {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Plan::Plan(const CausalLM& model, const std::vector<std::vector<int64_t>>& the_prompts,
           const GenerationOptions& the_options)
    : Plan(ModelLimits{model.vocab_size(), model.max_positions(), model.eos_token_ids()},
           the_prompts, the_options, the_prompts) {}

Plan::Plan(const ModelLimits& model, const std::vector<std::vector<int64_t>>& the_prompts,
           const GenerationOptions& the_options,
           const std::vector<std::vector<int64_t>>& the_sources)
    : prompts(the_prompts),
      sources(the_sources),
      options(the_options),
      vocab_size(model.vocab_size) {
  const GenerationOptions& o = options;
  check_sampling(o.sampling);
  check_constraints(o.constraints, model.vocab_size);
  if (o.max_new_tokens < 1)
    usage_error("[generate] max_new_tokens {} is not positive", o.max_new_tokens);
  if (o.num_beams < 1 || o.num_return_sequences < 1)
    usage_error("[generate] num_beams {} or num_return_sequences {} is not positive", o.num_beams,
                o.num_return_sequences);
  if (o.num_beams > 1 && o.num_return_sequences > o.num_beams)
    usage_error("[generate] num_return_sequences {} exceeds num_beams {}", o.num_return_sequences,
                o.num_beams);
  if (o.num_beams == 1 && o.num_return_sequences > 1 && o.sampling.temperature == 0)
    usage_error("[generate] num_return_sequences {} at temperature 0: they would all be the same",
                o.num_return_sequences);
  if (prompts.empty()) usage_error("[generate] the prompt is empty");
  for (const auto& prompt : prompts) {
    if (prompt.empty()) usage_error("[generate] the prompt is empty");
    for (int64_t id : prompt)
      if (id < 0 || id >= model.vocab_size)
        usage_error("[generate] token {} is outside the vocabulary of {}", id, model.vocab_size);
    length = std::max(length, std::ssize(prompt));
    prompt_tokens += std::ssize(prompt);
  }
  const int64_t room = model.max_positions - length;
  if (room < 1)
    usage_error("[generate] a prompt of {} tokens leaves no room within the model's {} positions",
                length, model.max_positions);
  max_new_tokens = std::min(o.max_new_tokens, room);
  if (o.constraints.min_new_tokens > max_new_tokens)
    usage_error("[generate] min_new_tokens {} exceeds the {} tokens that there is room for",
                o.constraints.min_new_tokens, max_new_tokens);
  // Cache sizes in steps, so that prompts of similar length share programs and kernels.
  constexpr int64_t kStep = 64;
  positions =
      std::min((length + max_new_tokens - 1 + kStep - 1) / kStep * kStep, model.max_positions);
  const auto outside = [&](int64_t id) { return id < 0 || id >= model.vocab_size; };
  for (int64_t id : o.eos_token_ids)
    if (outside(id))
      usage_error("[generate] the end token {} is outside the vocabulary of {}", id,
                  model.vocab_size);
  if (o.stop_at_eos) eos = o.eos_token_ids.empty() ? model.eos_token_ids : o.eos_token_ids;
  // A default of the configuration that a small vocabulary lacks never comes.
  std::erase_if(eos, outside);
  padded = prompt_tokens < length * std::ssize(prompts);
}

int64_t Plan::rows() const {
  return std::ssize(prompts) * std::max(options.num_beams, options.num_return_sequences);
}

bool Plan::is_end(int64_t token) const {
  return std::ranges::find(eos, token) != eos.end();
}

Plan::Input Plan::input() const {
  Input out;
  for (const auto& prompt : prompts) {
    // Padding is hidden from all tokens, so that any id will do.
    const size_t padding = static_cast<size_t>(length) - prompt.size();
    out.ids.insert(out.ids.end(), padding, 0);
    out.ids.insert(out.ids.end(), prompt.begin(), prompt.end());
    if (!padded) continue;
    out.mask.insert(out.mask.end(), padding, 0);
    out.mask.insert(out.mask.end(), prompt.size(), 1);
  }
  return out;
}

std::vector<int64_t> Plan::random_rows(int64_t copies) const {
  std::map<std::vector<int64_t>, int64_t> seen;
  std::vector<int64_t> out;
  for (const auto& source : sources) {
    const uint64_t key = hash64(std::as_bytes(std::span(source)));
    for (int64_t copy = 0; copy < copies; ++copy)
      out.push_back(static_cast<int64_t>(key + static_cast<uint64_t>(seen[source]++)));
  }
  return out;
}

int64_t choose(const Plan& plan, const TokenContext& context, std::span<float> logits,
               int64_t random_row) {
  const GenerationOptions& o = plan.options;
  if (has_constraints(o.constraints)) apply_constraints(context, o.constraints, plan.eos, logits);
  TokenScores scores(logits);
  if (o.sampling.temperature == 0) return scores.best();
  apply_warpers(o.sampling, 1, scores);
  const int64_t step = std::ssize(context.ids) - context.prompt_tokens;
  return scores.draw(uniform(o.sampling.seed, step, random_row));
}

bool Row::add(const Plan& plan, int64_t token, const TokenCallback& on_token, int64_t number) {
  last = token;
  if (plan.is_end(token)) {
    reason = StopReason::eos;
    return done = true;
  }
  ids.push_back(token);
  const bool go_on = (!on_token || on_token(number, token)) &&
                     !(plan.options.stop && plan.options.stop(new_ids()));
  if (!go_on) {
    reason = StopReason::stopped;
    done = true;
  } else if (std::ssize(new_ids()) == plan.max_new_tokens) {
    done = true;
  }
  return done;
}

namespace {

class SessionContinuation : public Continuation {
 public:
  SessionContinuation(CausalLM& model, const Plan& plan, int64_t rows)
      : plan_(plan),
        session_(model, rows, plan.positions, plan.options.compiled, plan.padded,
                 plan.options.device) {}
  std::vector<float> start(int64_t copies) override {
    const Plan::Input input = plan_.input();
    return session_.prefill(input.ids, input.mask, copies);
  }
  std::vector<float> next(const std::vector<int64_t>& ids) override { return session_.decode(ids); }
  void reorder(const std::vector<int64_t>& rows) override { session_.reorder(rows); }

 private:
  const Plan& plan_;
  DecodeSession session_;
};

}  // namespace

Generation write(Continuation& model, const Plan& plan, const TokenCallback& on_token) {
  const GenerationOptions& options = plan.options;
  if (options.num_beams > 1) {
    if (on_token)
      usage_error("[generate] {} beams cannot be streamed: their tokens are known at the end",
                  options.num_beams);
    return beam_search(model, plan);
  }
  const int64_t copies = options.num_return_sequences, vocab = plan.vocab_size;
  std::vector<Row> rows;
  for (const auto& prompt : plan.prompts)
    for (int64_t copy = 0; copy < copies; ++copy) rows.emplace_back(prompt);
  const std::vector<int64_t> random_rows = plan.random_rows(copies);

  Generation out;
  out.prompt_tokens = plan.prompt_tokens;
  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits = model.start(copies);
  out.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  while (true) {
    bool all_done = true;
    std::vector<int64_t> next;
    for (size_t r = 0; r < rows.size(); ++r) {
      Row& row = rows[r];
      // A row that is done keeps its last token as input, and its results are ignored.
      if (!row.done) {
        const std::span<float> scores(logits.data() + static_cast<int64_t>(r) * vocab,
                                      static_cast<size_t>(vocab));
        const int64_t token = choose(plan, row.context(plan), scores, random_rows[r]);
        row.add(plan, token, on_token, static_cast<int64_t>(r));
      }
      next.push_back(row.last);
      all_done = all_done && row.done;
    }
    if (all_done) break;
    logits = model.next(next);
    ++out.decode_steps;
  }
  out.decode_seconds = seconds_since(start);
  for (const Row& row : rows) {
    out.ids.emplace_back(row.new_ids().begin(), row.new_ids().end());
    out.reasons.push_back(row.reason);
  }
  return out;
}

}  // namespace generation

using namespace generation;

Generation generate(CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                    const GenerationOptions& options, const TokenCallback& on_token) {
  const Plan plan(model, prompts, options);
  SessionContinuation continuation(model, plan, plan.rows());
  return write(continuation, plan, on_token);
}

}  // namespace corten
