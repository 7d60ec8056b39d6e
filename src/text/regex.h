// Regular expressions of tokenizer files: a backtracking matcher whose character classes are those
// of the `tokenizers` library.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace corten {

struct RegexProgram;

/// A compiled pattern; immutable, may be shared by threads.
class Regex {
 public:
  /// Compiles a pattern in Oniguruma's Ruby syntax, which tokenizer.json files use. Supported are
  /// alternatives, groups (none captures), look-around, atomic groups, the flag i for ASCII,
  /// classes with nesting and &&, categories and the common scripts (\p{L}, \p{Han}), quantifiers
  /// (greedy, lazy, possessive) and ^ $ \A \z \Z \b \B. Usage error
  /// "<what>: ... at byte 3 of the pattern "..." is not supported" for anything else.
  Regex(std::string_view pattern, std::string what);

  /// Finds the matches in one text from left to right, as Rust's onig::Regex::find_iter: they do
  /// not overlap, and an empty match is skipped where the previous match ended.
  class Matcher {
   public:
    /// `text` is valid UTF-8; it and the regex outlive the matcher.
    Matcher(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}
    /// The next match in byte offsets, or false. Usage error if a pattern that backtracks
    /// excessively needs more steps than 20 million + 100 per byte of the text.
    bool next(size_t& begin, size_t& end);

   private:
    // A place to go back to. A run of characters may be shortened down to `least`.
    struct Choice {
      uint32_t next;  // instruction
      size_t position, least;
    };
    size_t match_at(uint32_t instruction, size_t position);  // end of the match or npos

    const Regex& regex_;
    std::string_view text_;
    std::vector<Choice> choices_;
    size_t position_ = 0;
    size_t last_end_ = std::string_view::npos;
    size_t steps_ = 0;
  };

 private:
  std::shared_ptr<const RegexProgram> program_;
  std::string what_;
};

}  // namespace corten
