// Training data: text to token shards, and batches of windows in a reproducible order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// Appends the token ids of `text` (UTF-8) to `ids`. It must be a pure function of the text.
using EncodeFunction = std::function<void(std::string_view text, std::vector<uint32_t>& ids)>;

struct PrepareOptions {
  uint64_t vocab_size = 0;  ///< ids are below this; at most 65,536 gives 2 bytes a token, else 4
  int64_t separator_token =
      -1;  ///< id written after every document (GPT-2: <|endoftext|>); -1: none
  std::string document_separator = "<|endoftext|>";  ///< see prepare_tokens(); empty: files only
  std::string tokenizer_hash;  ///< recorded; data sets of different tokenizers do not mix
  uint64_t shard_tokens = uint64_t{1}
                          << 28;  ///< a shard ends at the first document that reaches this
  bool overwrite = false;         ///< replace a data set that is already there
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  ///< after each document
};

struct PrepareResult {
  uint64_t tokens = 0, documents = 0, text_bytes = 0;
  std::vector<std::string> shards;  ///< paths
  std::string fingerprint;          ///< as TokenShards::fingerprint()
};

/// Tokenises text files to a folder of token shards and "dataset.json".
///
/// Documents: every file is one document, except that a line consisting of `document_separator`
/// alone ends a document and is dropped; documents without any text are skipped. Documents keep the
/// order of the files and are otherwise passed to `encode` byte for byte. The result is the same
/// byte for byte for the same arguments and files; it records each file's path as given, size and
/// XXH3 hash.
///
/// The folder appears complete or not at all. Usage errors: a file that is missing, empty, binary
/// (NUL bytes) or no UTF-8 (with the byte offset), an `out` that exists and is not empty (or is no
/// data set, with `overwrite`), a token id that is not below `vocab_size`.
PrepareResult prepare_tokens(const std::vector<std::string>& text_files,
                             const EncodeFunction& encode, const std::string& out,
                             const PrepareOptions& options);

/// Documents of a text by the rule of prepare_tokens(), in order.
std::vector<std::string_view> split_documents(std::string_view text, std::string_view separator);

/// The whole text of a file after the checks of prepare_tokens().
std::string read_text_file(const std::string& path);

/// One stream of tokens: shards one behind the other, mapped into memory. Copies share the mapping.
class TokenShards {
 public:
  /// A folder written by prepare_tokens(), or single shard files in the order given. Structure,
  /// sizes and the table of documents are checked here; contents by verify(). Usage error with the
  /// file and the fault if one is truncated, damaged or of another tokenizer than the first.
  static TokenShards open(const std::string& folder);
  static TokenShards open(const std::vector<std::string>& shard_files);
  /// Tokens in memory; `document_starts` are offsets in increasing order, the first one 0.
  static TokenShards from_memory(std::vector<uint32_t> tokens,
                                 std::vector<uint64_t> document_starts = {0});

  uint64_t tokens() const noexcept;
  uint64_t documents() const noexcept;
  uint32_t max_token() const noexcept;  ///< largest id
  const std::string& tokenizer_hash() const noexcept;
  /// 32 hexadecimal digits that depend on the tokens, documents and provenance of all shards.
  const std::string& fingerprint() const noexcept;

  /// Reads every byte and compares the hashes. Usage error naming the damaged shard.
  void verify() const;

  /// Copies tokens [offset, offset + out.size()) of the stream. Usage error if a token is larger
  /// than its shard says (a damaged file).
  void copy(uint64_t offset, std::span<int32_t> out) const;
  void copy(uint64_t offset, std::span<int64_t> out) const;

  /// Where a token of the stream comes from.
  struct Place {
    std::string shard;             ///< path; empty for tokens in memory
    std::string source;            ///< the text file, as given to prepare_tokens()
    uint64_t document = 0;         ///< index over all shards
    uint64_t token_offset = 0;     ///< in the document
    uint64_t document_tokens = 0;  ///< length of the document, its separator included
  };
  Place place(uint64_t offset) const;

 private:
  struct State;
  explicit TokenShards(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}
  template <typename T>
  void copy_as(uint64_t offset, std::span<T> out) const;
  std::shared_ptr<const State> state_;
};

enum class Split { train, validation };

struct DatasetOptions {
  int64_t seq = 0;          ///< tokens per sequence
  uint64_t seed = 1;        ///< of the order
  double val_fraction = 0;  ///< of the windows; the last ones of the stream
  Split split = Split::train;
  bool shuffle = true;  ///< false: windows in the order of the stream, in every epoch
};

/// Token ids of `rows` sequences of `seq` tokens, row-major; targets are the inputs one token
/// later.
struct Batch {
  int64_t rows = 0, seq = 0;
  std::vector<int32_t> inputs, targets;  ///< [rows, seq]
};

/// Batches of windows over a token stream.
///
/// The stream is cut into windows of `seq` + 1 tokens, window w starting at token w * seq, so that
/// every token but the first is a target exactly once (a remainder shorter than seq is left out).
/// Windows ignore document boundaries, as in GPT-2: the target of a document's last token is the
/// separator, the target of the separator is the first token of the next document. How the stream
/// is divided into shards makes no difference.
///
/// Of W windows, round(val_fraction * W) (at least one if the fraction is positive and W > 1) at
/// the end are the validation split: no target of it is a training target, nor is any of its inputs
/// but the first token, which is the last training target.
///
/// Order: training sees one endless sequence of samples, and batch `step` of `batch_size` rows
/// holds the samples [step * batch_size, (step + 1) * batch_size). Sample s is window p_e(s mod W)
/// of epoch e = s / W, where p_e is a permutation keyed by (seed, e). So every epoch sees every
/// window once, a batch may span two epochs, and any batch is computed directly: resuming needs
/// nothing but the step. The order does not depend on the number of ranks or shards.
class TokenDataset {
 public:
  /// Usage error if seq < 1, the fraction is not in [0, 1), or the split has no window (with the
  /// numbers).
  TokenDataset(TokenShards shards, const DatasetOptions& options);

  uint64_t windows() const noexcept { return window_count_; }  ///< per epoch
  int64_t seq() const noexcept { return options_.seq; }
  const TokenShards& shards() const noexcept { return shards_; }

  /// Rows [first_row, last_row) of batch `step` (all of them by default). O(rows * seq) at any
  /// step.
  Batch batch(uint64_t step, int64_t batch_size) const;
  Batch batch(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row) const;
  /// The same into existing memory of rows * seq elements each.
  void fill(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
            std::span<int32_t> inputs, std::span<int32_t> targets) const;
  void fill(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
            std::span<int64_t> inputs, std::span<int64_t> targets) const;

  /// A part of a window that lies in one document.
  struct Piece {
    std::string shard, source;  ///< paths, as in TokenShards::Place
    uint64_t document = 0;      ///< index over all shards
    uint64_t token_offset = 0;  ///< of the first token in the document
    uint64_t tokens = 0;
  };
  struct Trace {
    uint64_t sample = 0, epoch = 0;
    uint64_t window = 0;         ///< over the whole stream
    uint64_t stream_offset = 0;  ///< of the first token in the stream
    std::vector<Piece> pieces;   ///< cover the seq + 1 tokens in order
  };
  /// Where row `row` of batch `step` comes from.
  Trace trace(uint64_t step, int64_t batch_size, int64_t row) const;

  /// Window (over the whole stream) of a sample; the pure function behind every batch.
  uint64_t window_of_sample(uint64_t sample) const noexcept;

 private:
  template <typename T>
  void fill_as(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
               std::span<T> inputs, std::span<T> targets) const;
  uint64_t first_sample(uint64_t step, int64_t batch_size) const;

  TokenShards shards_;
  DatasetOptions options_;
  uint64_t first_window_ = 0, window_count_ = 0;
};

}  // namespace corten
