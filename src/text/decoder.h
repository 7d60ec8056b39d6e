// From tokens back to text: the "decoder" of a tokenizer.json file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/pattern.h"

namespace corten {

/// The decoders BPEDecoder, ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, WordPiece and
/// Sequence. Immutable.
class Decoder {
 public:
  /// `json` is the value of "decoder", null for none. Usage error naming what is not supported.
  Decoder(const Json& json, const std::string& where);

  /// ByteLevel alone: tokens are bytes, one after the other.
  bool is_byte_level() const noexcept {
    return stages_.size() == 1 && stages_[0].kind == Kind::ByteLevel;
  }

  /// Takes tokens one by one and gives text as soon as it is certain. Decoding all at once is the
  /// same with finish() at the end, so that both give the same text.
  class Stream {
   public:
    explicit Stream(const Decoder& decoder);
    void push(std::string_view token, std::string& out) { push(0, token, out); }
    /// Gives the rest; the stream can then be used for another text.
    void finish(std::string& out);

   private:
    struct State {
      size_t count = 0;  // tokens seen; of Strip: characters stripped
      std::string held;
      bool started = false;
    };
    void push(size_t stage, std::string_view token, std::string& out);
    void flush_bytes(size_t stage, std::string& out);
    void strip(size_t stage, std::string_view part, std::string& out);

    const Decoder& decoder_;
    std::vector<State> states_;
  };

  /// The bytes that a byte-level token stands for; the token itself if it is none.
  static std::string bytes_of(std::string_view token);

 private:
  enum class Kind {
    Join,
    Bpe,
    ByteFallback,
    ByteLevel,
    Fuse,
    Metaspace,
    Replace,
    Strip,
    WordPiece
  };
  struct Stage {
    Kind kind;
    std::string text;     // suffix, prefix, replacement, content
    TextPattern pattern;  // Replace
    bool flag = false;    // WordPiece: clean up; Metaspace: leaves out marks of the first token
    size_t start = 0, stop = 0;  // Strip
    bool fused = false;          // gets parts of one token instead of tokens
  };
  void parse(const Json& json, const std::string& where, int depth);
  static std::string decode_one(const Stage& stage, std::string_view token, bool first);

  std::vector<Stage> stages_;
};

}  // namespace corten
