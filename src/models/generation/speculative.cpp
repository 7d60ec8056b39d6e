#include "models/generation/speculative.h"

#include <algorithm>

#include "base/format.h"
#include "models/generation/generate.h"
#include "models/generation/logits_processors.h"

namespace corten {
namespace generation {

bool accepts(const std::vector<double>& p, const std::vector<double>& q, int64_t token, double u) {
  const auto at = static_cast<size_t>(token);
  return u * q[at] < p[at];
}

int64_t replacement(const std::vector<double>& p, const std::vector<double>& q, double u) {
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) total += std::max(p[i] - q[i], 0.0);
  double sum = 0;
  int64_t last = std::ranges::max_element(p) - p.begin();
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] <= q[i]) continue;
    last = static_cast<int64_t>(i);
    sum += p[i] - q[i];
    if (sum > u * total) break;
  }
  return last;
}

namespace {

/// A model that follows one row, whose last token it has not seen yet.
class Follower {
 public:
  Follower(CausalLM& model, const Plan& plan, int64_t positions)
      : session_(model, 1, std::min(positions, model.max_positions()), plan.options.compiled,
                 false, plan.options.device),
        vocab_(static_cast<size_t>(model.vocab_size())) {}

  DecodeSession& session() { return session_; }
  int64_t room() const { return session_.length() - session_.position(); }
  /// Logits after the last of `ids`, all of which but those in the cache are run.
  std::vector<float> catch_up(const std::vector<int64_t>& ids) {
    std::vector<float> logits;
    for (int64_t at = session_.position(); at < std::ssize(ids); ++at)
      logits = session_.decode({ids[static_cast<size_t>(at)]});
    return logits;
  }
  /// Row `t` of extend()'s logits.
  std::span<float> row(std::vector<float>& logits, size_t t) const {
    return std::span(logits).subspan(t * vocab_, vocab_);
  }

 private:
  DecodeSession session_;
  size_t vocab_;
};

/// A token that the draft model proposes, and the distribution it was drawn from.
struct Proposal {
  int64_t token = 0;
  std::vector<double> q;  ///< empty at temperature 0
};

/// The distribution that a token is drawn from.
std::vector<double> distribution(const Plan& plan, const TokenContext& context,
                                 std::span<float> logits) {
  const GenerationOptions& o = plan.options;
  if (has_constraints(o.constraints)) apply_constraints(context, o.constraints, plan.eos, logits);
  TokenScores scores(logits);
  apply_warpers(o.sampling, 1, scores);
  return scores.probabilities();
}

class Speculation {
 public:
  Speculation(CausalLM& model, CausalLM& draft, const Plan& plan, int64_t num_draft_tokens,
              const TokenCallback& on_token)
      : plan_(plan),
        s_(plan.options.sampling),
        on_token_(on_token),
        count_(num_draft_tokens),
        random_row_(plan.random_rows(1)[0]),
        row_(plan.prompts[0]),
        target_(model, plan, plan.positions + num_draft_tokens),
        draft_(draft, plan, plan.positions + num_draft_tokens) {}

  Generation run() {
    Generation out;
    out.prompt_tokens = plan_.prompt_tokens;
    auto start = std::chrono::steady_clock::now();
    std::vector<float> logits = target_.session().prefill(row_.ids);
    draft_.session().prefill(row_.ids);
    out.prefill_seconds = seconds_since(start);
    start = std::chrono::steady_clock::now();
    add(choose(plan_, row_.context(plan_), logits, random_row_));
    while (!row_.done) {
      verify(propose(), out);
      ++out.decode_steps;
    }
    out.decode_seconds = seconds_since(start);
    out.ids.emplace_back(row_.new_ids().begin(), row_.new_ids().end());
    out.reasons.push_back(row_.reason);
    return out;
  }

 private:
  void add(int64_t token) { row_.add(plan_, token, on_token_, 0); }
  int64_t step() const { return std::ssize(row_.new_ids()); }

  /// As many tokens as asked for, or none where a cache has no room for them: looking at the same
  /// number each time needs one program.
  std::vector<Proposal> propose() {
    std::vector<Proposal> out;
    if (target_.room() < count_ + 1 || draft_.session().length() < std::ssize(row_.ids) + count_)
      return out;
    std::vector<int64_t> ids = row_.ids;
    for (int64_t i = 0; i < count_; ++i) {
      std::vector<float> logits = draft_.catch_up(ids);
      const TokenContext context{ids, row_.prompt_tokens, plan_.max_new_tokens};
      Proposal& one = out.emplace_back();
      if (s_.temperature == 0) {
        one.token = choose(plan_, context, logits, 0);
      } else {
        one.q = distribution(plan_, context, logits);
        // Of another key than what the target model draws.
        const double u = uniform(s_.seed, step() + i, ~random_row_);
        double sum = 0;
        for (size_t id = 0; id < one.q.size(); ++id) {
          if (one.q[id] == 0) continue;
          one.token = static_cast<int64_t>(id);
          sum += one.q[id];
          if (sum > u) break;
        }
      }
      ids.push_back(one.token);
    }
    return out;
  }

  /// Adds the tokens that stand and the one after them, and counts them.
  void verify(const std::vector<Proposal>& proposals, Generation& out) {
    std::vector<int64_t> ids = {row_.last};
    for (const Proposal& one : proposals) ids.push_back(one.token);
    std::vector<float> logits = target_.session().extend(ids);
    for (size_t i = 0; !row_.done; ++i) {
      const TokenContext context = row_.context(plan_);
      const std::span<float> scores = target_.row(logits, i);
      const Proposal* proposal = i < proposals.size() ? &proposals[i] : nullptr;
      int64_t token = 0;
      bool stands = false;
      if (!proposal || s_.temperature == 0) {
        token = choose(plan_, context, scores, random_row_);
        stands = proposal && token == proposal->token;
      } else {
        const std::vector<double> p = distribution(plan_, context, scores);
        stands = accepts(p, proposal->q, proposal->token, uniform(s_.seed, step(), random_row_, 0));
        token = stands ? proposal->token
                       : replacement(p, proposal->q, uniform(s_.seed, step(), random_row_, 1));
      }
      add(token);
      out.drafted += proposal ? 1 : 0;
      out.accepted += stands ? 1 : 0;
      if (!stands) break;
    }
    // Neither cache keeps tokens that do not stand, nor the last one, which comes next.
    const int64_t seen = std::ssize(row_.ids) - (row_.done ? 0 : 1);
    for (Follower* follower : {&target_, &draft_})
      follower->session().truncate(std::min(follower->session().position(), seen));
  }

  const Plan& plan_;
  const Sampling& s_;
  const TokenCallback& on_token_;
  int64_t count_, random_row_;
  Row row_;
  Follower target_, draft_;
};

}  // namespace
}  // namespace generation

Generation generate_speculative(CausalLM& model, CausalLM& draft,
                                const std::vector<int64_t>& prompt,
                                const GenerationOptions& options, int64_t num_draft_tokens,
                                const TokenCallback& on_token) {
  if (options.num_beams != 1 || options.num_return_sequences != 1)
    usage_error(
        "[generate] a draft model works with one sequence, not with num_beams {} and "
        "num_return_sequences {}",
        options.num_beams, options.num_return_sequences);
  if (num_draft_tokens < 1)
    usage_error("[generate] {} draft tokens: at least one is needed", num_draft_tokens);
  if (model.vocab_size() != draft.vocab_size())
    usage_error("[generate] the draft model has a vocabulary of {} tokens, the model one of {}",
                draft.vocab_size(), model.vocab_size());
  const std::vector<std::vector<int64_t>> prompts = {prompt};
  const generation::Plan plan(model, prompts, options);
  if (plan.length > draft.max_positions())
    usage_error("[generate] a prompt of {} tokens exceeds the draft model's {} positions",
                plan.length, draft.max_positions());
  return generation::Speculation(model, draft, plan, num_draft_tokens, on_token).run();
}

}  // namespace corten
