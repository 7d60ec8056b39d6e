// The Unigram model (Kudo 2018): the most probable way to take a word apart.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/model.h"

namespace corten {

/// Finds all tokens that a text begins with: a trie with sorted edges in flat arrays.
class TokenTrie {
 public:
  /// `tokens`: {text, value}; a later value of the same text replaces an earlier one.
  explicit TokenTrie(std::vector<std::pair<std::string_view, int32_t>> tokens);

  /// Calls found(length, value) for each, shorter ones first.
  template <typename Found>
  void prefixes(std::string_view text, Found&& found) const {
    if (text.empty()) return;
    uint32_t node = roots_[static_cast<unsigned char>(text[0])];
    for (size_t i = 1; node != 0; ++i) {
      if (values_[node] >= 0) found(i, values_[node]);
      if (i == text.size()) return;
      node = child(node, static_cast<unsigned char>(text[i]));
    }
  }

 private:
  uint32_t child(uint32_t node, unsigned char label) const noexcept {
    uint32_t low = first_[node], high = first_[node + 1];
    while (high - low > 8) {
      const uint32_t middle = (low + high) / 2;
      if (labels_[middle] <= label)
        low = middle;
      else
        high = middle;
    }
    for (; low < high; ++low)
      if (labels_[low] == label) return low + 1;  // edge e leads to node e + 1
    return 0;
  }

  std::array<uint32_t, 256> roots_{};
  std::vector<uint32_t> first_;         // per node: its first edge; edges are in the order of nodes
  std::vector<unsigned char> labels_;   // per edge
  std::vector<int32_t> values_;         // per node, -1 if no token ends there
};

/// A Unigram model. Immutable.
class Unigram final : public Model {
 public:
  struct Config {
    std::vector<std::pair<std::string, double>> vocab;  ///< tokens with log probabilities
    std::optional<size_t> unk_id;
    bool byte_fallback = false;
  };
  Unigram(Config config, const std::string& source_name);

  void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                    std::vector<Span>& out) const override;
  Json to_json() const override;
  size_t size() const noexcept override { return config_.vocab.size(); }
  int32_t max_id() const noexcept override {
    return static_cast<int32_t>(config_.vocab.size()) - 1;
  }

 private:
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const override;
  void spans_of(std::string_view word, std::vector<Span>& out) const;
  template <typename Emit>
  void best_path(std::string_view word, Emit&& emit) const;

  Config config_;
  std::string where_;
  TokenTrie trie_;
  double unknown_score_;
  int32_t unk_id_;
  int32_t byte_ids_[256];
};

}  // namespace corten
