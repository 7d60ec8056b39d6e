// The models that look words up: WordPiece, in the longest parts that the vocabulary has, and
// WordLevel, as they are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/model.h"

namespace corten {

/// WordPiece (Schuster and Nakajima 2012; Devlin et al. 2019): greedy longest match from the left.
/// A word that cannot be taken apart wholly is one unknown token. Immutable.
class WordPiece final : public Model {
 public:
  struct Config {
    Vocabulary::Entries vocab;
    std::string unk_token = "[UNK]";
    std::string continuing_subword_prefix = "##";
    size_t max_input_chars_per_word = 100;
  };
  WordPiece(Config config, const std::string& source_name);

  void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                    std::vector<Span>& out) const override;
  Json to_json() const override;

 private:
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const override;
  /// Calls emit(id, begin, end) for each part; false if the word is unknown.
  template <typename Emit>
  bool take_apart(std::string_view word, Emit&& emit) const;
  int32_t unknown() const;

  Config config_;  // its vocabulary is moved away
  std::string where_;
  int32_t unk_id_;
  TokenIndex continuing_;             // tokens with the prefix, without it
  std::vector<int32_t> continuing_ids_;
  size_t longest_ = 0, longest_continuing_ = 0;  // in bytes, without the prefix
};

/// One token per word.
class WordLevel final : public Model {
 public:
  WordLevel(Vocabulary::Entries vocab, std::string unk_token, const std::string& source_name);

  void encode_spans(std::string_view word, size_t readable, WordCache& cache,
                    std::vector<Span>& out) const override;
  Json to_json() const override;

 private:
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const override;

  std::string unk_token_, where_;
};

}  // namespace corten
