// Text files to a folder of token shards.
//
// The folder holds shard-00000.tokens, ... and dataset.json:
//   {"format": "corten-tokens", "version": 1, "tokenizer": hash, "vocab_size", "separator_token",
//    "tokens", "documents", "shards": [{"file", "tokens", "documents", "xxh3"}],
//    "sources": [{"path", "bytes", "xxh3", "documents", "tokens"}]}
// The provenance of a shard repeats the tokenizer and lists the sources of its own documents:
//   {"tokenizer", "vocab_size", "separator_token",
//    "sources": [{"path", "bytes", "xxh3", "documents"}]}, "documents" being those in this shard.

#include <cstring>
#include <limits>
#include <memory>

#include "base/format.h"
#include "base/strings.h"
#include "corten/data.h"
#include "data/token_shard.h"

namespace corten {
namespace {

// Checks a mapped text and returns its bytes.
void check_text(std::string_view text, const std::string& path) {
  if (text.empty()) usage_error("{}: the file is empty", path);
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    usage_error("{}: NUL byte at offset {}: a binary file or UTF-16, not UTF-8 text", path, nul);
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    usage_error("{}: byte 0x{:02x} at offset {} (line {}) is no UTF-8", path,
                static_cast<unsigned char>(text[bad]), bad, line_and_column(text, bad).first);
}

struct Source {
  std::string path;
  uint64_t bytes = 0;
  Hash128 hash;
  uint64_t documents = 0, tokens = 0;

  Json json(uint64_t document_count) const {
    return Json::object(
        {{"path", path}, {"bytes", bytes}, {"xxh3", hex(hash)}, {"documents", document_count}});
  }
};

class Preparer {
 public:
  Preparer(const EncodeFunction& encode, std::string folder, const PrepareOptions& options)
      : encode_(encode), folder_(std::move(folder)), options_(options) {}

  PrepareResult run(const std::vector<std::string>& files) {
    uint64_t total = 0;
    for (const std::string& path : files) total += file_size(path);
    for (const std::string& path : files) add_file(path, total);
    finish_shard();
    write_manifest();
    return std::move(result_);
  }

 private:
  void add_file(const std::string& path, uint64_t total) {
    const MappedFile file(path);
    const std::string_view text = file.text();
    check_text(text, path);
    Source source{path, file.size(), hash128(text)};
    shard_sources_.push_back({sources_.size(), 0});
    sources_.push_back(source);
    for (const std::string_view document : split_documents(text, options_.document_separator)) {
      add_document(document);
      if (options_.progress)
        options_.progress(result_.text_bytes + static_cast<uint64_t>(document.data() +
                                                                     document.size() - text.data()),
                          total);
    }
    if (sources_.back().documents == 0) usage_error("{}: the file holds no text", path);
    result_.text_bytes += file.size();
  }

  void add_document(std::string_view text) {
    tokens_.clear();
    encode_(text, tokens_);
    if (options_.separator_token >= 0)
      tokens_.push_back(static_cast<uint32_t>(options_.separator_token));
    if (tokens_.empty()) return;
    for (const uint32_t token : tokens_)
      if (token >= options_.vocab_size)
        usage_error("{}: the tokenizer gave id {}, but the vocabulary has {} entries",
                    sources_.back().path, token, options_.vocab_size);
    if (writer_ && writer_->tokens() + tokens_.size() > options_.shard_tokens) finish_shard();
    if (!writer_) {
      const std::string name = format("shard-{:05}.tokens", shards_.size());
      writer_ = std::make_unique<ShardWriter>(join_path(folder_, name),
                                              options_.vocab_size <= 65536 ? 2 : 4);
      shards_.push_back(Json::object({{"file", name}}));
    }
    writer_->add_document(tokens_);
    sources_.back().documents += 1;
    sources_.back().tokens += tokens_.size();
    shard_sources_.back().documents += 1;
  }

  Json provenance() const {
    return Json::object({{"tokenizer", options_.tokenizer_hash},
                         {"vocab_size", options_.vocab_size},
                         {"separator_token", options_.separator_token}});
  }

  void finish_shard() {
    Json sources = Json::array();
    for (const ShardSource& entry : shard_sources_)
      if (entry.documents > 0) sources.push_back(sources_[entry.source].json(entry.documents));
    const uint64_t tokens = writer_->tokens(), documents = writer_->documents();
    const Hash128 hash = writer_->finish(provenance().set("sources", std::move(sources)));
    writer_.reset();
    shards_.back().set("tokens", tokens).set("documents", documents).set("xxh3", hex(hash));
    result_.tokens += tokens;
    result_.documents += documents;
    shard_sources_ = {{sources_.size() - 1, 0}};  // the current file goes on in the next shard
  }

  void write_manifest() {
    Json manifest = Json::object({{"format", "corten-tokens"}, {"version", 1}});
    const Json common = provenance();
    for (const auto& [key, value] : common.items()) manifest.set(key, value);
    manifest.set("tokens", result_.tokens).set("documents", result_.documents);
    manifest.set("shards", Json(shards_));
    Json sources = Json::array();
    for (const Source& source : sources_)
      sources.push_back(source.json(source.documents).set("tokens", source.tokens));
    manifest.set("sources", std::move(sources));
    write_file_atomic(join_path(folder_, "dataset.json"), manifest.dump(2) + "\n");
  }

  struct ShardSource {
    size_t source;       // index in sources_
    uint64_t documents;  // in the current shard
  };

  const EncodeFunction& encode_;
  std::string folder_;
  const PrepareOptions& options_;
  std::vector<Source> sources_;
  std::vector<ShardSource> shard_sources_;
  std::vector<Json> shards_;
  std::unique_ptr<ShardWriter> writer_;
  std::vector<uint32_t> tokens_;  // scratch
  PrepareResult result_;
};

}  // namespace

std::vector<std::string_view> split_documents(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> documents;
  const auto add = [&](std::string_view document) {
    if (!trim(document).empty()) documents.push_back(document);
  };
  size_t begin = 0, from = 0;
  while (!separator.empty()) {
    const size_t at = text.find(separator, from);
    if (at == std::string_view::npos) break;
    size_t end = at + separator.size();
    from = end;
    if (end < text.size() && text[end] == '\r') ++end;
    const bool line_begins = at == 0 || text[at - 1] == '\n';
    const bool line_ends = end == text.size() || text[end] == '\n';
    if (!line_begins || !line_ends) continue;  // in the middle of a line: ordinary text
    add(text.substr(begin, at - begin));
    begin = from = end == text.size() ? end : end + 1;
  }
  add(text.substr(begin));
  return documents;
}

std::string read_text_file(const std::string& path) {
  std::string text = read_file(path);
  check_text(text, path);
  return text;
}

PrepareResult prepare_tokens(const std::vector<std::string>& text_files,
                             const EncodeFunction& encode, const std::string& out,
                             const PrepareOptions& options) {
  if (text_files.empty()) usage_error("no text files to prepare");
  if (options.vocab_size == 0 || options.vocab_size > uint64_t{1} << 31)
    usage_error("vocab_size is {}; expected 1 to 2^31", options.vocab_size);
  if (options.separator_token >= static_cast<int64_t>(options.vocab_size))
    usage_error("separator token {} is not below the vocabulary size {}", options.separator_token,
                options.vocab_size);
  if (options.shard_tokens == 0) usage_error("shard_tokens is 0");
  const std::string name = base_name(out);
  if (name.empty() || name == "." || name == "..")
    usage_error("cannot write the data set to \"{}\": name a folder", out);
  const std::string final_dir = join_path(parent_path(out), name);
  if (path_exists(final_dir)) {
    if (!folder_exists(final_dir)) usage_error("{} exists and is no folder", final_dir);
    if (options.overwrite) {
      if (!list_folder(final_dir).empty() && !file_exists(join_path(final_dir, "dataset.json")))
        usage_error("{} holds something else than a data set: it is not overwritten", final_dir);
    } else if (!list_folder(final_dir).empty()) {
      usage_error("{} exists and is not empty: choose another folder", final_dir);
    }
  }
  create_folders(parent_path(out));
  const std::string partial = final_dir + ".partial";
  remove_folder(partial);  // left by an interrupted run
  create_folders(partial);
  try {
    PrepareResult result = Preparer(encode, partial, options).run(text_files);
    replace_folder_atomic(partial, final_dir);
    const TokenShards shards = TokenShards::open(final_dir);
    result.fingerprint = shards.fingerprint();
    for (const std::string& file : list_folder(final_dir))
      if (file != "dataset.json") result.shards.push_back(join_path(final_dir, file));
    return result;
  } catch (...) {
    try {
      remove_folder(partial);
    } catch (const Error&) {  // the first error is the one to report
    }
    throw;
  }
}

}  // namespace corten
