// The scores of one row's next token while processors and warpers change them: logits [V], or
// log probabilities in beam search.
//
// A warper that removes tokens leaves a list of the others, so that what follows looks at these
// alone; a vocabulary of 150,000 is then walked through once or twice per token and not ten times.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace corten::generation {

class TokenScores {
 public:
  /// `values` must outlive this and are changed in place.
  explicit TokenScores(std::span<float> values);
  ~TokenScores();
  TokenScores(const TokenScores&) = delete;
  TokenScores& operator=(const TokenScores&) = delete;

  int64_t size() const { return static_cast<int64_t>(values_.size()); }
  /// All scores, for processors that change some of them. Only before the first warper.
  std::span<float> values() { return values_; }
  float value(int64_t id) const { return values_[static_cast<size_t>(id)]; }

  /// Token with the greatest score, of equal ones that of smallest id. Usage error for a NaN or an
  /// infinite score, and if there is no token left.
  int64_t best() const;

  // ---- Warpers, named and defined as in transformers. `keep`: of the best tokens, so many are
  // never removed.
  void temperature(double temperature);
  /// Fan et al. (2018). Tokens as good as the k-th stay too.
  void top_k(int64_t k, int64_t keep = 1);
  /// Holtzman et al. (2020): the fewest tokens whose probabilities reach p.
  void top_p(double p, int64_t keep = 1);
  /// Nguyen et al. (2024): tokens of at least min_p times the best one's probability.
  void min_p(double min_p, int64_t keep = 1);
  /// Meister et al. (2023), locally typical sampling: the tokens nearest to the entropy in surprise
  /// whose probabilities reach `mass`.
  void typical(double mass, int64_t keep = 1);
  /// Hewitt et al. (2022): tokens of at least this probability.
  void epsilon(double epsilon, int64_t keep = 1);
  /// The same with min(eta, sqrt(eta) exp(-entropy)).
  void eta(double eta, int64_t keep = 1);

  /// Scores become the logarithms of their probabilities.
  void log_softmax();
  /// Writes -infinity for every removed token; the list is empty afterwards.
  void apply_removals();

  /// The token at which the summed probabilities of tokens 0, 1, ... exceed u in [0, 1).
  int64_t draw(double u);
  /// The probabilities [V].
  std::vector<double> probabilities();

 private:
  /// Memory as large as the vocabulary. A thread keeps it for the next token: asking the system for
  /// it anew costs more than the sums that go into it.
  struct Buffers {
    std::vector<float> weights;
    std::vector<int32_t> left, intervals;
  };
  static std::vector<std::unique_ptr<Buffers>>& spare_buffers();

  /// exp(score - best score) by id, of the tokens that are left.
  const float* weights();
  double total();
  /// Calls f(id) for the tokens that are left, in ascending order.
  template <typename F>
  void each(F&& f) const;
  /// Keeps the tokens for which keep(id).
  template <typename F>
  void filter(F&& keep);
  /// The tokens of the `count` greatest scores, of equal ones those of smaller id.
  std::vector<int32_t> greatest(int64_t count) const;
  /// Of the tokens by the distance of their scores from `centre`: the last of the fewest whose
  /// weights reach `mass`. Of tokens as near those of greater id come first.
  struct Last {
    float distance = 0;
    int32_t id = 0;
  };
  Last reach(double mass, float centre);
  void remove_improbable(double least, int64_t keep);
  double entropy();

  std::span<float> values_;
  std::unique_ptr<Buffers> buffers_;
  bool all_ = true;             ///< nothing was removed
  std::vector<int32_t>& left_;  ///< otherwise what is left, ascending
  mutable std::optional<int64_t> best_;
  bool has_weights_ = false;  ///< buffers_ holds those of all tokens that are left, by id
  std::optional<double> total_;
};

}  // namespace corten::generation
