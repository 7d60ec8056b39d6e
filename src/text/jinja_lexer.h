// The words of a template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corten::jinja {

struct Token {
  enum Kind {
    Text,  // outside of tags
    OutputBegin,
    OutputEnd,
    BlockBegin,
    BlockEnd,
    Name,
    String,  // without quotes and escapes
    Int,
    Float,
    Operator,
    End
  };
  Kind kind;
  std::string text;
  int line;
};

/// Usage error "line N: ..." for what is no token. White space around blocks is treated as with
/// trim_blocks and lstrip_blocks; the last newline of the template does not count.
std::vector<Token> tokenize(std::string_view source);

}  // namespace corten::jinja
