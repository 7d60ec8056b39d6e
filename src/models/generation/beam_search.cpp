// Beam search as in transformers: per prompt, num_beams running sequences and the best num_beams
// finished ones.
//
// Scores are f32 sums of log probabilities. "Never" is a score of -1e9: in f32 nothing that is
// added to it shows, so that sequences which must not be chosen lose against all others, in which
// case their order does not matter.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/format.h"
#include "models/generation/generate.h"
#include "models/generation/logits_processors.h"

namespace corten::generation {
namespace {

constexpr float kNever = -1e9f;

struct Beam {
  std::vector<int64_t> ids;  ///< with the prompt; an end token included
  float score = kNever;
  bool finished = false;
  StopReason reason = StopReason::length;
};

/// A continuation of one of the running beams by one token.
struct Candidate {
  int64_t beam = 0, token = 0;
  float score = 0;
};

/// The beams of one prompt.
class Beams {
 public:
  Beams(const Plan& plan, const std::vector<int64_t>& prompt, int64_t random_row)
      : plan_(plan), o_(plan.options), prompt_(prompt), random_row_(random_row) {
    // All but the first are out of the running, so that the first step does not choose the same
    // tokens num_beams times.
    running_.assign(static_cast<size_t>(o_.num_beams), Beam{prompt});
    running_[0].score = 0;
    finished_.assign(static_cast<size_t>(o_.num_beams), Beam{prompt});
  }

  bool is_open() const { return can_improve_ && can_go_on_ && !(is_full() && stops_when_full()); }
  int64_t last_token(int64_t beam) const { return running_[static_cast<size_t>(beam)].ids.back(); }
  /// Which beam each of the running ones goes on from.
  const std::vector<int64_t>& parents() const { return parents_; }
  const Beam& best(int64_t i) const { return finished_[static_cast<size_t>(i)]; }

  /// One more token, given the logits [num_beams, V] after the running beams.
  void advance(std::span<float> logits) {
    const auto vocab = logits.size() / running_.size();
    for (size_t b = 0; b < running_.size(); ++b)
      score_tokens(running_[b], logits.subspan(b * vocab, vocab));
    const std::vector<Candidate> candidates =
        o_.sampling.temperature == 0 ? best_candidates(logits) : drawn_candidates(logits);
    if (candidates[0].score == -std::numeric_limits<float>::infinity())
      usage_error("[generate] none of the {} tokens is left to choose from: all are forbidden",
                  vocab);
    std::vector<Beam> next;
    for (const Candidate& c : candidates) {
      Beam beam = running_[static_cast<size_t>(c.beam)];
      beam.ids.push_back(c.token);
      beam.score = c.score;
      beam.finished = ends(beam);
      next.push_back(std::move(beam));
    }
    ++written_;
    can_go_on_ = !std::ranges::all_of(next, &Beam::finished);
    choose_running(candidates, next);
    collect_finished(next);
    update_can_improve();
  }

 private:
  bool stops_when_full() const { return o_.early_stopping == EarlyStopping::yes; }
  bool is_full() const { return std::ranges::all_of(finished_, &Beam::finished); }

  /// Logits become log probabilities, processed, plus the score of the beam.
  void score_tokens(const Beam& beam, std::span<float> scores) const {
    TokenScores(scores).log_softmax();
    const TokenContext context{beam.ids, std::ssize(prompt_), plan_.max_new_tokens};
    apply_constraints(context, o_.constraints, plan_.eos, scores);
    TokenScores row(scores);
    // Enough tokens that one goes on even if all end tokens are chosen.
    const int64_t keep = plan_.eos.empty() ? 2 : std::ssize(plan_.eos) + 1;
    if (o_.sampling.temperature > 0) apply_warpers(o_.sampling, keep, row);
    if (o_.constraints.renormalize_logits) row.log_softmax();
    row.apply_removals();
    for (float& x : scores) x += beam.score;
  }

  size_t num_candidates() const {
    return static_cast<size_t>(std::max<int64_t>(2, 1 + std::ssize(plan_.eos)) * o_.num_beams);
  }

  Candidate candidate(std::span<const float> scores, size_t index) const {
    const size_t vocab = scores.size() / static_cast<size_t>(o_.num_beams);
    return {static_cast<int64_t>(index / vocab), static_cast<int64_t>(index % vocab),
            scores[index]};
  }

  /// The greatest scores, of equal ones those of smaller beam and token.
  std::vector<Candidate> best_candidates(std::span<const float> scores) const {
    const size_t count = std::min(num_candidates(), scores.size());
    const auto better = [&](size_t a, size_t b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    };
    std::vector<size_t> heap;  // the worst of them first
    for (size_t i = 0; i < scores.size(); ++i) {
      if (heap.size() == count && !(scores[i] > scores[heap.front()])) continue;
      if (heap.size() == count) {
        std::ranges::pop_heap(heap, better);
        heap.pop_back();
      }
      heap.push_back(i);
      std::ranges::push_heap(heap, better);
    }
    std::ranges::sort(heap, better);
    std::vector<Candidate> out;
    for (size_t index : heap) out.push_back(candidate(scores, index));
    return out;
  }

  /// Drawn one after the other without replacement, in proportion to exp(score).
  std::vector<Candidate> drawn_candidates(std::span<float> scores) const {
    std::vector<Candidate> out;
    const float top = *std::ranges::max_element(scores);
    std::vector<double> weights(scores.size());
    for (size_t i = 0; i < scores.size(); ++i)
      weights[i] = std::isinf(scores[i]) ? 0 : std::exp(static_cast<double>(scores[i] - top));
    const size_t count = std::min(num_candidates(), scores.size());
    std::vector<bool> taken(scores.size());
    for (size_t n = 0; n < count; ++n) {
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      // Fewer tokens than candidates have a probability: the rest are the best of the others.
      size_t chosen = scores.size();
      if (total > 0) {
        const int64_t draw = written_ * static_cast<int64_t>(count) + static_cast<int64_t>(n);
        const double target = uniform(o_.sampling.seed, draw, random_row_) * total;
        double sum = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
          if (weights[i] == 0) continue;
          chosen = i;
          sum += weights[i];
          if (sum > target) break;
        }
      } else {
        for (size_t i = 0; i < scores.size(); ++i)
          if (!taken[i] && (chosen == scores.size() || scores[i] > scores[chosen])) chosen = i;
      }
      out.push_back(candidate(scores, chosen));
      weights[chosen] = 0;
      taken[chosen] = true;
    }
    return out;
  }

  bool ends(Beam& beam) const {
    if (plan_.is_end(beam.ids.back())) {
      beam.reason = StopReason::eos;
      return true;
    }
    const std::span<const int64_t> new_ids = std::span(beam.ids).subspan(prompt_.size());
    if (o_.stop && o_.stop(new_ids)) {
      beam.reason = StopReason::stopped;
      return true;
    }
    return std::ssize(new_ids) == plan_.max_new_tokens;
  }

  void choose_running(const std::vector<Candidate>& candidates, const std::vector<Beam>& next) {
    std::vector<float> scores;
    for (const Beam& beam : next)
      scores.push_back(beam.finished ? beam.score + kNever : beam.score);
    std::vector<size_t> order(next.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return scores[i]; });
    running_.clear();
    parents_.clear();
    for (size_t i = 0; i < static_cast<size_t>(o_.num_beams); ++i) {
      running_.push_back(next[order[i]]);
      running_.back().score = scores[order[i]];
      parents_.push_back(candidates[order[i]].beam);
    }
  }

  /// Keeps the best num_beams of what was finished and what ended now. Only the first num_beams
  /// candidates may end: the others are there to go on.
  void collect_finished(const std::vector<Beam>& next) {
    const bool closed = (is_full() && stops_when_full()) || !can_improve_;
    const auto length =
        std::pow(static_cast<float>(written_), static_cast<float>(o_.length_penalty));
    for (size_t i = 0; i < next.size(); ++i) {
      Beam beam = next[i];
      beam.finished = beam.finished && i < static_cast<size_t>(o_.num_beams);
      beam.score = beam.score / length + (closed ? kNever : 0.0f) + (beam.finished ? 0.0f : kNever);
      finished_.push_back(std::move(beam));
    }
    std::ranges::stable_sort(finished_, std::greater<>(), &Beam::score);
    finished_.resize(static_cast<size_t>(o_.num_beams));
  }

  void update_can_improve() {
    const bool to_the_end = o_.early_stopping == EarlyStopping::never && o_.length_penalty > 0;
    const int64_t tokens = to_the_end ? plan_.max_new_tokens : written_;
    const float possible = running_[0].score / std::pow(static_cast<float>(tokens),
                                                        static_cast<float>(o_.length_penalty));
    const float worst = std::ranges::min(finished_, {}, &Beam::score).score;
    can_improve_ = can_improve_ && std::ranges::any_of(finished_, [&](const Beam& beam) {
                     return possible > (beam.finished ? worst : kNever);
                   });
  }

  const Plan& plan_;
  const GenerationOptions& o_;
  const std::vector<int64_t>& prompt_;
  int64_t random_row_;
  int64_t written_ = 0;
  std::vector<Beam> running_, finished_;
  std::vector<int64_t> parents_;
  bool can_improve_ = true, can_go_on_ = true;
};

}  // namespace

Generation beam_search(Continuation& model, const Plan& plan) {
  const int64_t beams = plan.options.num_beams, vocab = plan.vocab_size;
  const std::vector<int64_t> random_rows = plan.random_rows(1);
  std::vector<Beams> searches;
  for (size_t i = 0; i < plan.prompts.size(); ++i)
    searches.emplace_back(plan, plan.prompts[i], random_rows[i]);

  Generation out;
  out.prompt_tokens = plan.prompt_tokens;
  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits = model.start(beams);
  out.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  while (true) {
    bool any_open = false;
    std::vector<int64_t> parents, next;
    for (size_t i = 0; i < searches.size(); ++i) {
      Beams& search = searches[i];
      const auto first = static_cast<int64_t>(i) * beams;
      const bool open = search.is_open();
      if (open)
        search.advance(std::span(logits).subspan(static_cast<size_t>(first * vocab),
                                                 static_cast<size_t>(beams * vocab)));
      any_open = any_open || search.is_open();
      for (int64_t b = 0; b < beams; ++b) {
        // What is over keeps its cache and its last tokens; results are ignored.
        parents.push_back(first + (open ? search.parents()[static_cast<size_t>(b)] : b));
        next.push_back(search.last_token(b));
      }
    }
    if (!any_open) break;
    model.reorder(parents);
    logits = model.next(next);
    ++out.decode_steps;
  }
  out.decode_seconds = seconds_since(start);
  for (size_t i = 0; i < searches.size(); ++i)
    for (int64_t k = 0; k < plan.options.num_return_sequences; ++k) {
      const Beam& beam = searches[i].best(k);
      const auto begin = beam.ids.begin() + std::ssize(plan.prompts[i]);
      out.ids.emplace_back(begin, beam.ids.end() - (beam.reason == StopReason::eos ? 1 : 0));
      out.reasons.push_back(beam.reason);
      out.scores.push_back(static_cast<double>(beam.score));
    }
  return out;
}

}  // namespace corten::generation
